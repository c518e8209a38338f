/** Data sets by the options of `gp`, `kernel`, `search` and `converge`: with noise, where that is asked for. */
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openProblem } from "../sdk/data/problems.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { wasmEngine } from "../test/engines.ts";
import { addDatasetOptions, openDataset, shapeOfImages, type DataOptions } from "./inputs.ts";
import { ProgressLine } from "./progress.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(async () => engine.close());

const session = { signal: new AbortController().signal, progress: new ProgressLine(true) };

function optionsOf(...words: string[]): DataOptions {
  const command = addDatasetOptions(new Command("test"));
  command.parse(words, { from: "user" });
  return command.opts<DataOptions>();
}

describe("the data set of a command line", () => {
  it("is one with noise, by its name or by --noise, for the images that the command's options name", async () => {
    const problem = await openProblem("digits-hf", { engine, level: 7, noiseSeed: 3, ranges: "0:4" });
    const images = { train: "0:3", test: "60000:60001" };
    for (const words of ["--data digits-hf", "--data Digits --noise hf"]) {
      const options = optionsOf(...words.split(" "), "--level", "7", "--noise-seed", "3");
      const dataset = await openDataset(options, engine, session, images);
      expect(dataset.name).toBe("digits-hf level 7");
      expect(dataset.select("0:3").images).toEqual(problem.dataset.select("0:3").images);
      expect(await dataset.sha256()).toBe(await problem.dataset.sha256());
      expect(dataset.select("60000:60001").labels).toHaveLength(1);
      expect(() => dataset.select("3:4")).toThrow(/image 3 was not made/);
      expect(await shapeOfImages(options)).toEqual(dataset.shape);
    }
    expect((await openDataset(optionsOf("--noise", "hf"), engine, session, images)).name).toBe("digits-hf level 0");
    expect((await openDataset(optionsOf(), engine, session, images)).bytes).toBe(0);
    expect(await shapeOfImages(optionsOf("--data", "cifar2-lf"))).toEqual({ channels: 1, height: 32, width: 32 });
  });

  it.each([
    ["--data synth", /its labels are numbers, not classes/],
    ["--data digits --level 3", /digits has no noise that could have a level/],
    ["--data digits-hf --level 15", /level 15 is out of range/],
    ["--data digits-hf --noise lf", /has hf noise already/],
    ["--data mnits", /no dataset is named "mnits".*did you mean "mnist"/],
    ["--data mnits-hf", /no dataset is named "mnits-hf"/],
    ["--data cifar2", /give the folder/],
  ])("%s is refused", async (words, message) => {
    await expect(openDataset(optionsOf(...words.split(" ")), engine, session, {})).rejects.toThrow(message);
  });
});
