/** Command lines of `widefield train`, and the settings that they make. */
import { Command } from "commander";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { WidefieldError } from "../sdk/errors.ts";
import { recipe } from "../sdk/experiments/ftprop-recipes.ts";
import { trainSettings, type TrainSettings } from "../sdk/experiments/train-settings.ts";
import {
  addRunOptions,
  addSettingsOptions,
  settingsOf,
  type RunOptions,
  type SettingsOptions,
} from "./train-options.ts";

async function parse(line: string, base?: TrainSettings): Promise<TrainSettings> {
  const command = addRunOptions(addSettingsOptions(new Command("test")));
  command.parse(line.split(" ").filter(Boolean), { from: "user" });
  return settingsOf(command.opts<SettingsOptions & RunOptions>(), base);
}

async function refusal(line: string, base?: TrainSettings): Promise<string> {
  const error = await parse(line, base).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(WidefieldError);
  const { code, message } = error as WidefieldError;
  return `${code}: ${message}`;
}

describe("a command line of training", () => {
  it("is the settings under the published names, lists with spaces or commas", async () => {
    const line =
      "--ds mnist --arch convnet4 --nonlin staircase11_3 --tp-rule TruncWtHinge --no-tp-grad-scale --loss hingeL2 --use-bn " +
      "--opt rmsprop --lr 1e-3 --momentum 0.5 --wtdecay 5e-4 --lr-decay 0.2 --lr-decay-epochs 3 5 --epochs 7 --batch 32 " +
      "--test-batch 100 --accumulate 2 --no-val --plot-test --test-final-model --no-aug --dbg-ds-size 99 --init he --seed 5";
    const settings = trainSettings({
      ...{ ds: "mnist", arch: "convnet4", nonlin: "staircase11_3", tpRule: "TruncWtHinge", tpGradScale: false },
      ...{ loss: "hingeL2", useBn: true, opt: "rmsprop", lr: 1e-3, momentum: 0.5, wtdecay: 5e-4, lrDecay: 0.2 },
      ...{ lrDecayEpochs: [3, 5], epochs: 7, batch: 32, testBatch: 100, accumulate: 2, val: false, plotTest: true },
      ...{ testFinalModel: true, aug: false, dbgDsSize: 99, init: "he", seed: 5 },
    });
    expect(await parse(line)).toEqual(settings);
    expect(await parse(line.replace("3 5", "3,5").replace("--dbg-ds-size", "--limit"))).toEqual(settings);
    expect(await parse("--arch convnet4 --lr 0.1")).toEqual(trainSettings({ arch: "convnet4", lr: 0.1 }));
  });

  it("stands in place of a recipe's settings, one by one", async () => {
    const { settings } = recipe("ftprop/cifar10-convnet4-step-ftpsh");
    expect(await parse("--epochs 2 --limit 2000", settings)).toEqual({ ...settings, epochs: 2, dbgDsSize: 2000 });
    expect(await parse("", settings)).toEqual(settings);
  });

  it("names an architecture's file, whose layers are all in it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "widefield-options-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const file = join(folder, "arch.json");
    const arch = { type: "serial", layers: [{ type: "flatten" }, { type: "dense" }] };
    await writeFile(file, JSON.stringify(arch));
    expect((await parse(`--arch ${file} --lr 1`)).arch).toEqual(arch);
    expect(await refusal(`--arch ${file} --lr 1 --nonlin step11 --use-bn`)).toBe(
      `E_CONFIG: --nonlin, --use-bn: for convnet4, convnet8, alexnet_drf, resnet18; the layers of ${file} are all in the file`,
    );
    expect(await refusal(`--arch ${file} --lr 1 --tp-rule SSTE --no-tp-grad-scale`)).toMatch(
      /--tp-rule, --no-tp-grad-scale/,
    );
    // A recipe's own activation is that of the network whose place the file takes.
    expect((await parse(`--arch ${file}`, recipe("ftprop/cifar10-convnet8-step-sste").settings)).arch).toEqual(arch);
    expect(await refusal("--arch ./missing.json --lr 1")).toMatch(/^E_CONFIG: --arch \.\/missing\.json: .*ENOENT/);
  });

  it("is refused before anything is fetched where it cannot be meant", async () => {
    expect(await refusal("--lr 1")).toMatch(/^E_CONFIG: --arch is needed/);
    expect(await refusal("--arch convnet4")).toMatch(/^E_CONFIG: --lr is needed/);
    expect(await refusal("--arch convnet4 --lr 1 --nonlin step12")).toMatch(/no nonlinearity "step12"/);
    expect(await refusal("--arch convnet4 --lr 1 --nonlin staircase3 --tp-rule Adaline")).toMatch(/does not go with/);
    expect(await refusal("--arch convnet4 --lr 1 --lr-decay-epochs 3,,5")).toMatch(
      /lr-decay-epochs must be at least 1/,
    );
    expect(await refusal("--arch convnet4 --lr fast")).toMatch(/lr is a number/);
  });
});
