/** What settings say by default, what they mean, and what tells one run from another. */
import { describe, expect, it } from "vitest";
import { parameterCount } from "../arch/describe.ts";
import { datasetSource } from "../data/batch-source.ts";
import { digits } from "../data/digits.ts";
import { WidefieldError } from "../errors.ts";
import { archOf, identityOf, lossNameOf, optimiserOf, scheduleOf, splitOf } from "./train-parts.ts";
import { trainSettings, type TrainSettingsInput } from "./train-settings.ts";

const settingsOf = (changes: Partial<TrainSettingsInput> = {}) =>
  trainSettings({ arch: "convnet4", lr: 0.1, ...changes });

function refusal(changes: Partial<TrainSettingsInput>): string {
  try {
    settingsOf(changes);
  } catch (thrown) {
    if (thrown instanceof WidefieldError) return `${thrown.code}: ${thrown.message}`;
    throw thrown;
  }
  throw new Error("nothing was thrown");
}

describe("settings of a training run", () => {
  it("have the published program's defaults", () => {
    expect(settingsOf()).toEqual({
      ...{ ds: "cifar10", arch: "convnet4", nonlin: "relu", tpRule: "SoftHinge", tpGradScale: true, loss: "crossent" },
      ...{ useBn: false, opt: "sgd", lr: 0.1, momentum: 0.9, wtdecay: 0, lrDecay: 0.1, lrDecayEpochs: [] },
      ...{ schedule: "steps", warmup: 0, epochs: 300, batch: 64, testBatch: 0, accumulate: 1, val: true },
      ...{ plotTest: false, testFinalModel: false, aug: true, dbgDsSize: 0, init: "pytorch", seed: 468412397 },
    });
  });

  it("that cannot be meant are refused, each with a line of its own", () => {
    expect(refusal({ lr: Number.NaN, batch: 0 })).toBe("E_CONFIG: lr is a number\nbatch must be at least 1");
    expect(refusal({ momentum: 1 })).toBe("E_CONFIG: momentum must be below 1");
    expect(refusal({ lrDecayEpochs: [0] })).toMatch(/lr-decay-epochs must be at least 1/);
    expect(refusal({ warmup: 5 })).toBe("E_CONFIG: warmup goes with the schedule cosine, not with steps");
    expect(refusal({ tpRule: "SofHinge" })).toMatch(
      /no rule of target propagation "SofHinge"; did you mean "SoftHinge"\?/,
    );
    expect(refusal({ arch: "convnet5" })).toMatch(/no architecture to train "convnet5"; did you mean "convnet4"\?/);
    expect(refusal({ seed: 2 ** 32 })).toMatch(/below 2\^32/);
    expect(refusal({ weightDecay: 1 } as never)).toMatch(/weightDecay/);
  });

  it("name losses and optimisers: momentum is sgd's alone, and the rest is PyTorch's", () => {
    const losses = {
      crossent: "crossEntropy",
      hinge: "hinge",
      hingeL2: "squaredHinge",
      hingeSM: "logHinge",
      hingeTrunc: "truncatedHinge",
    } as const;
    for (const [loss, name] of Object.entries(losses))
      expect(lossNameOf(settingsOf({ loss: loss as keyof typeof losses }))).toBe(name);
    const of = (opt: "sgd" | "adam" | "rmsprop") => optimiserOf(settingsOf({ opt, lr: 0.25, wtdecay: 0.5 })).settings;
    expect(of("sgd")).toEqual({ rate: 0.25, momentum: 0.9, nesterov: false, weightDecay: 0.5 });
    expect(of("adam")).toEqual({ rate: 0.25, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.5 });
    expect(of("rmsprop")).toEqual({ rate: 0.25, alpha: 0.99, epsilon: 1e-8, momentum: 0, weightDecay: 0.5 });
  });

  it("name schedules", () => {
    const factors = (changes: Partial<TrainSettingsInput>): number[] => {
      const schedule = scheduleOf(settingsOf({ epochs: 4, ...changes }));
      return [1, 2, 3, 4].map((epoch) => schedule(epoch, 0, 10));
    };
    expect(factors({})).toEqual([1, 1, 1, 1]);
    expect(factors({ lrDecayEpochs: [2, 4], lrDecay: 0.5 })).toEqual([1, 0.5, 0.5, 0.25]);
    expect(factors({ schedule: "linear" })).toEqual([1, 0.75, 0.5, 0.25]);
    expect(factors({ schedule: "cosine", warmup: 2 }).map((factor) => expect.closeTo(factor, 12) as number)).toEqual([
      0.05, 0.55, 1, 0.5,
    ]);
  });

  it("make named networks for the images' shape and classes", () => {
    const counted = (changes: Partial<TrainSettingsInput>, side: number, channels: number, classes: number) => {
      const shape = { channels, height: side, width: side };
      return parameterCount(archOf(settingsOf(changes), { shape, classes }), [channels, side, side]);
    };
    expect(counted({}, 32, 3, 10)).toBe(4_259_274);
    expect(counted({ useBn: true, nonlin: "step11" }, 32, 3, 10)).toBe(4_259_274 + 2 * (64 + 1024));
    expect(counted({}, 28, 1, 10)).toBe(3_274_634);
    expect(counted({ arch: "resnet18", useBn: true }, 224, 3, 1000)).toBe(11_689_512);
    expect(() => counted({ arch: "resnet18" }, 32, 3, 10)).toThrow(/--use-bn/);
    expect(() => counted({ nonlin: "step12" }, 32, 3, 10)).toThrow(/did you mean "step11"/);
  });

  it("are another run where its numbers would be others, and the same where they only look at it", async () => {
    const dataset = digits({ trainCount: 12, testCount: 3 });
    const images = { source: datasetSource(dataset), trainCount: 12, digest: await dataset.sha256() };
    const engine = { info: { backend: "wasm", adapter: "threads" } } as never;
    const identity = (
      changes: Partial<TrainSettingsInput>,
      engines: readonly [never, ...never[]] = [engine],
    ): string => {
      const settings = settingsOf(changes);
      return JSON.stringify(identityOf(settings, archOf(settings, images.source), images, engines));
    };
    const same: Partial<TrainSettingsInput>[] = [
      { epochs: 7 },
      { plotTest: true },
      { testBatch: 9 },
      { testFinalModel: true },
    ];
    for (const changes of same) expect(identity(changes)).toBe(identity({}));
    const others: Partial<TrainSettingsInput>[] = [
      ...[{ lr: 0.2 }, { seed: 1 }, { batch: 65 }, { accumulate: 2 }, { val: false }, { aug: false }, { dbgDsSize: 5 }],
      ...[{ nonlin: "step11" }, { useBn: true }, { loss: "hinge" as const }, { opt: "adam" as const }, { init: "he" }],
      ...[
        { lrDecayEpochs: [3] },
        { schedule: "linear" as const },
        { schedule: "linear" as const, epochs: 7 },
        { wtdecay: 1e-4 },
      ],
    ];
    const seen = new Set([identity({}), ...others.map((changes) => identity(changes)), identity({}, [engine, engine])]);
    expect(seen.size).toBe(others.length + 2);
  });

  it("split images: a limit takes from those that train alone", () => {
    const dataset = digits({ trainCount: 60, testCount: 3 });
    const images = { source: datasetSource(dataset), trainCount: 60, digest: "" };
    const counts = (changes: Partial<TrainSettingsInput>): number[] => {
      const { train, validation, test } = splitOf(settingsOf(changes), images);
      return [train.length, validation.length, test.length];
    };
    expect(counts({})).toEqual([50, 10, 3]);
    expect(counts({ val: false })).toEqual([60, 0, 3]);
    expect(counts({ dbgDsSize: 7 })).toEqual([7, 10, 3]);
    expect(counts({ dbgDsSize: 7, val: false })).toEqual([7, 0, 3]);
  });
});
