/** `widefield recipe`: runs that papers published, by name. */
import { Command } from "commander";
import { recipe, recipes } from "../sdk/experiments/ftprop-recipes.ts";
import { table } from "./format.ts";
import { addOutputOptions, withSession, type CommonOptions } from "./session.ts";
import { runTrain } from "./train.ts";
import {
  addRunOptions,
  addSettingsOptions,
  settingsOf,
  type RunOptions,
  type SettingsOptions,
} from "./train-options.ts";

export function recipeCommand(): Command {
  return new Command("recipe")
    .description("runs of papers, by name")
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(runCommand());
}

function listCommand(): Command {
  const command = new Command("list").description("all recipes");
  return addOutputOptions(command).action(async (options: Pick<CommonOptions, "json" | "quiet">) => {
    await withSession(options, async (session) => {
      if (session.json) session.print(JSON.stringify(recipes));
      else session.print(table(recipes.map(({ name, summary }) => [name, summary])));
      return Promise.resolve();
    });
  });
}

function showCommand(): Command {
  const command = new Command("show").description("the settings of a recipe").argument("<name>");
  return addOutputOptions(command).action(async (name: string, options: Pick<CommonOptions, "json" | "quiet">) => {
    await withSession(options, async (session) => {
      session.print(JSON.stringify(recipe(name), null, session.json ? 0 : 2));
      return Promise.resolve();
    });
  });
}

function runCommand(): Command {
  const command = new Command("run")
    .description("train as a recipe says; options stand in place of its settings")
    .argument("<name>", "see widefield recipe list");
  return addRunOptions(addSettingsOptions(command)).action(
    async (name: string, options: SettingsOptions & RunOptions) => {
      await runTrain(await settingsOf(options, recipe(name).settings), options);
    },
  );
}
