/** The recipes, number by number. */
import { describe, expect, it } from "vitest";
import { archOf } from "./train-parts.ts";
import { recipe, recipes } from "./ftprop-recipes.ts";

const VARIANTS = ["step-ftpsh", "step-sste", "staircase-ftpsh", "staircase-sste", "relu", "threshrelu"];
const SUITES = ["cifar10-convnet4", "cifar10-convnet8", "imagenet-alexnet", "imagenet-resnet18"];

/** Settings that the variants of a suite share. */
const shared: Readonly<Record<string, object>> = {
  "cifar10-convnet4": {
    ...{ ds: "cifar10", arch: "convnet4", opt: "adam", lr: 2.5e-4, batch: 64, epochs: 300, useBn: false },
    ...{ lrDecay: 0.1, lrDecayEpochs: [200, 250] },
  },
  "cifar10-convnet8": {
    ...{ ds: "cifar10", arch: "convnet8", opt: "adam", lr: 1e-3, batch: 64, epochs: 300, useBn: true },
    ...{ lrDecay: 0.1, lrDecayEpochs: [200, 250] },
  },
  "imagenet-alexnet": {
    ...{ ds: "imagenet", arch: "alexnet_drf", opt: "adam", lr: 1e-4, batch: 128, epochs: 80, useBn: true },
    ...{ lrDecay: 0.1, lrDecayEpochs: [56, 64] },
  },
  "imagenet-resnet18": {
    ...{ ds: "imagenet", arch: "resnet18", opt: "sgd", lr: 0.1, momentum: 0.9, batch: 256, epochs: 90, useBn: true },
    ...{ lrDecay: 0.1, lrDecayEpochs: [30, 60] },
  },
};

/** Weight decay of steps, staircases and rectifiers. */
const decay: Readonly<Record<string, readonly [number, number, number]>> = {
  "cifar10-convnet4": [5e-4, 5e-4, 5e-4],
  "cifar10-convnet8": [5e-4, 5e-4, 5e-4],
  "imagenet-alexnet": [5e-6, 5e-5, 5e-4],
  "imagenet-resnet18": [5e-7, 1e-5, 1e-4],
};

describe("recipes of feasible target propagation", () => {
  it("are four networks with six activations each", () => {
    expect(recipes.map(({ name }) => name)).toEqual(
      SUITES.flatMap((suite) => VARIANTS.map((variant) => `ftprop/${suite}-${variant}`)),
    );
  });

  it.each(SUITES)("of %s have the paper's settings", (suite) => {
    const staircase = suite === "imagenet-resnet18" ? "staircase" : "staircase3";
    const [steps, staircases, rectifiers] = decay[suite] ?? [];
    const own: Readonly<Record<string, object>> = {
      "step-ftpsh": { nonlin: "step11", tpRule: "SoftHinge", wtdecay: steps },
      "step-sste": { nonlin: "step11", tpRule: "SSTE", wtdecay: steps },
      "staircase-ftpsh": { nonlin: staircase, tpRule: "SoftHinge", wtdecay: staircases },
      "staircase-sste": { nonlin: staircase, tpRule: "SSTE", wtdecay: staircases },
      relu: { nonlin: "relu", wtdecay: rectifiers },
      threshrelu: { nonlin: "threshrelu", wtdecay: rectifiers },
    };
    const rest = { loss: "crossent", schedule: "steps", tpGradScale: true, accumulate: 1, aug: true, val: false };
    for (const variant of VARIANTS)
      expect(recipe(`ftprop/${suite}-${variant}`).settings).toMatchObject({
        ...shared[suite],
        ...own[variant],
        ...rest,
      });
  });

  it("make their networks for the images that they are of", () => {
    for (const { name, settings } of recipes) {
      const [channels, height] = settings.ds === "imagenet" ? [3, 224] : [3, 32];
      const source = { shape: { channels, height, width: height }, classes: settings.ds === "imagenet" ? 1000 : 10 };
      const text = JSON.stringify(archOf(settings, source).toJSON());
      expect([name, text.includes("batchNorm")]).toEqual([name, settings.useBn]);
      const hard =
        settings.nonlin === "step11" ? '"threshold"' : settings.nonlin.startsWith("stair") ? '"staircase"' : "relu";
      expect(text).toContain(hard === "relu" && settings.nonlin === "threshrelu" ? '"clippedRelu"' : hard);
    }
  });

  it("that there are not are refused with the nearest", () => {
    expect(() => recipe("ftprop/cifar10-convnet4-step-ftsh")).toThrow(
      /there is no recipe .* did you mean "ftprop\/cifar10-convnet4-step-ftpsh"\?/,
    );
  });
});
