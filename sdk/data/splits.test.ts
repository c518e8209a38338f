import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { freshSeed } from "../../test/seed.ts";
import { byteTables, normalisationOf, requireNormalisation } from "./normalisation.ts";
import { trainingSplit } from "./splits.ts";

const seed = freshSeed();
const run = (from: number, to: number) => Uint32Array.from({ length: to - from }, (_, i) => from + i);

describe("a training split", () => {
  it("of MNIST validates on the last sixth, of CIFAR on the last fifth, in order", () => {
    const mnist = trainingSplit("mnist", { trainCount: 60_000, testCount: 10_000 }, { validation: true, seed });
    expect(mnist).toEqual({ train: run(0, 50_000), validation: run(50_000, 60_000), test: run(60_000, 70_000) });
    for (const name of ["cifar10", "cifar100"]) {
      const cifar = trainingSplit(name, { trainCount: 50_000, testCount: 10_000 }, { validation: true, seed });
      expect(cifar).toEqual({ train: run(0, 40_000), validation: run(40_000, 50_000), test: run(50_000, 60_000) });
    }
  });

  it("of SVHN and ImageNet validates on a tenth that the seed draws", () => {
    for (const name of ["svhn", "imagenet"]) {
      const counts = { trainCount: 1003, testCount: 7 };
      const split = trainingSplit(name, counts, { validation: true, seed });
      expect(split.validation).toHaveLength(100);
      expect(split.validation).not.toEqual(run(903, 1003));
      expect(trainingSplit(name, counts, { validation: true, seed })).toEqual(split);
      expect(trainingSplit(name, counts, { validation: true, seed: seed + 1 })).not.toEqual(split);
    }
  });

  it("is a partition of the training images, and cuts only those that train", () => {
    const names = fc.constantFrom("mnist", "cifar10", "svhn", "another");
    fc.assert(
      fc.property(names, fc.nat(300), fc.nat(20), fc.boolean(), (name, trainCount, testCount, validation) => {
        const counts = { trainCount, testCount };
        const split = trainingSplit(name, counts, { validation, seed });
        const all = [...split.train, ...split.validation].sort((a, b) => a - b);
        expect(all).toEqual([...run(0, trainCount)]);
        expect(split.test).toEqual(run(trainCount, trainCount + testCount));
        if (!validation) expect(split.validation).toHaveLength(0);
        const limited = trainingSplit(name, counts, { validation, seed, limit: 5 });
        expect(limited).toEqual({ ...split, train: split.train.slice(0, 5) });
      }),
      { seed },
    );
  });

  it("refuses a limit that is no number of images", () => {
    const counts = { trainCount: 10, testCount: 0 };
    for (const limit of [0, 1.5, NaN])
      expect(() => trainingSplit("mnist", counts, { validation: true, seed, limit })).toThrow(
        "limit on training images",
      );
  });
});

describe("normalisation", () => {
  it("has the published constants, one for each channel", () => {
    const grey = { channels: 1, height: 28, width: 28 };
    const colour = { channels: 3, height: 32, width: 32 };
    for (const [name, shape] of [
      ["mnist", grey],
      ["cifar10", colour],
      ["cifar100", colour],
      ["svhn", colour],
      ["imagenet", colour],
    ] as const) {
      const constants = normalisationOf(name);
      expect(constants).toBeDefined();
      if (constants !== undefined) requireNormalisation(constants, shape, name);
    }
    expect(normalisationOf("mnist")).toEqual({ mean: [0.1307], std: [0.3081] });
    expect(normalisationOf("toString")).toBeUndefined();
  });

  it("gives every byte (byte / 255 - mean) / std, rounded once", () => {
    const [table] = byteTables({ mean: [0.3], std: [0.7] });
    expect(table).toHaveLength(256);
    for (const byte of [0, 1, 128, 255]) expect(table?.[byte]).toBe(Math.fround((byte / 255 - 0.3) / 0.7));
  });

  it("that cannot be applied is refused", () => {
    const shape = { channels: 1, height: 2, width: 2 };
    expect(() => requireNormalisation({ mean: [0], std: [0] }, shape, "x")).toThrow("positive standard deviations");
    expect(() => requireNormalisation({ mean: [NaN], std: [1] }, shape, "x")).toThrow("finite means");
    expect(() => requireNormalisation({ mean: [0, 0], std: [1, 1] }, shape, "x")).toThrow("1 channels");
  });
});
