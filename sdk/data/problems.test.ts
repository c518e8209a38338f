import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../engine/engine.ts";
import { inMemory, tinyFolder } from "../../test/idx-files.ts";
import { wasmEngine } from "../../test/engines.ts";
import { fromArrays } from "./dataset.ts";
import { digits } from "./digits.ts";
import { classification, noiseLevel, noiseLevels, openProblem, problemNames } from "./problems.ts";
import { highFrequencyNoise } from "./transforms/high-frequency.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(async () => engine.close());

/** CIFAR batches of `records` images each whose bytes follow from their place. */
function cifarFolder(records: number): Map<string, Uint8Array> {
  const batch = (shift: number) =>
    Uint8Array.from({ length: records * 3073 }, (_, at) =>
      at % 3073 === 0 ? (at / 3073 + shift) % 10 : (at * at * 7 + at * shift) % 251,
    );
  return new Map([
    ["data/data_batch_1.bin", batch(0)],
    ["data/test_batch.bin", batch(3)],
  ]);
}

describe("named problems", () => {
  it("are datasets as they are, with one-hot labels less a tenth", async () => {
    const problem = await openProblem("digits", { engine, seed: 5 });
    const source = digits({ seed: 5 });
    expect(problem).toMatchObject({ name: "digits", outputs: 10, decision: "argmax" });
    expect(problem.dataset.select("7:9").images).toEqual(source.select("7:9").images);
    const targets = problem.targets("60000:60003,4:5");
    expect(targets).toHaveLength(40);
    [60_000, 60_001, 60_002, 4].forEach((index, row) => {
      const wanted = Array.from({ length: 10 }, (_, k) => (k === source.labels[index] ? 0.9 : -0.1));
      expect([...targets.subarray(row * 10, (row + 1) * 10)]).toEqual(wanted);
    });
    expect(() => problem.targets("0:70001")).toThrow(/out of bounds/);
  });

  it("have noise by their name or by an option, at a level of the paper's", async () => {
    const ranges = "3:5,60000:60001";
    const named = await openProblem("Digits-HF", { engine, level: 7, ranges });
    const asked = await openProblem("digits", { engine, noise: "hf", level: 7, ranges });
    const made = await highFrequencyNoise(digits(), { multiplier: 1.5, ranges });
    expect(named.name).toBe("digits-hf level 7");
    expect(named.dataset.select(ranges).images).toEqual(made.select(ranges).images);
    expect(asked.dataset.select(ranges).images).toEqual(made.select(ranges).images);
    expect(await asked.dataset.sha256()).toBe(await named.dataset.sha256());
    expect(named.targets("3:5")).toEqual((await openProblem("digits", { engine })).targets("3:5"));
    const other = await openProblem("digits-hf", { engine, level: 7, ranges, noiseSeed: 1 });
    expect(other.dataset.select(ranges).images).not.toEqual(made.select(ranges).images);
    const numpy = await openProblem("digits-hf", { engine, level: 7, ranges: "3:5", rng: "numpy" });
    expect(numpy.dataset.select("3:5").images).not.toEqual(made.select("3:5").images);
  });

  it("read files from a folder", async () => {
    const readFile = inMemory(tinyFolder(4, 6, 3));
    const problem = await openProblem("fmnist-lf", { engine, dataDir: "data", readFile, level: 1, ranges: "0:9" });
    expect(problem.name).toBe("fmnist-lf level 1");
    expect(problem.dataset).toMatchObject({ trainCount: 6, testCount: 3 });
    await expect(openProblem("mnist-hf", { engine })).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(openProblem("mnist-hf", { engine, dataDir: "no", readFile })).rejects.toMatchObject({
      code: "E_DATA",
    });
  });

  it("of cats and airplanes have one output, plus or minus a half", async () => {
    const readFile = inMemory(cifarFolder(20));
    const options = { engine, dataDir: "data", readFile };
    const problem = await openProblem("cifar2", options);
    expect(problem).toMatchObject({ name: "cifar2", outputs: 1, decision: "sign" });
    expect(problem.dataset).toMatchObject({ trainCount: 4, testCount: 4, imageFloats: 1024 });
    expect([...problem.targets("0:8")]).toEqual([0.5, -0.5, 0.5, -0.5, -0.5, 0.5, -0.5, 0.5]);
    const noisy = await openProblem("cifar2-hf", { ...options, level: 14 });
    const { images } = noisy.dataset.selectFloat64("5:6");
    expect(Math.hypot(...images)).toBeCloseTo(32, 10);
    const colour = await openProblem("cifar10-lf", { ...options, level: 0 });
    expect(colour.dataset).toMatchObject({ trainCount: 20, testCount: 20, imageFloats: 3072 });
  });

  it("of synthetic features have one output as it is", async () => {
    const problem = await openProblem("synth", { engine, kappa: 0.4, ranges: "0:5" });
    expect(problem).toMatchObject({ name: "synth kappa 0.4", outputs: 1, decision: undefined });
    expect(problem.targets("0:5")).toHaveLength(5);
  });

  it("of k classes are one-hot less 1 / k", () => {
    const images = new Uint8Array(12);
    const three = fromArrays({ shape: { channels: 1, height: 2, width: 2 }, images, labels: [2, 0, 1] });
    const [a, b] = [1 - 1 / 3, -1 / 3];
    expect([...classification("three", three).targets("0:3")]).toEqual([b, b, a, a, b, b, b, a, b]);
  });

  it("tell the paper's levels", () => {
    expect(noiseLevels("mnist")).toEqual([]);
    expect(noiseLevels("mnist-hf")).toHaveLength(15);
    expect(noiseLevels("fmnist", "lf")).toHaveLength(14);
    expect(noiseLevels("cifar10-lf")).toHaveLength(15);
    expect(noiseLevels("cifar2-lf")).toHaveLength(14);
    expect(noiseLevel("cifar10-lf", undefined, 14)).toBe(30);
    expect(problemNames()).toContain("cifar2-hf");
  });

  it.each([
    ["fmist-hf", {}, /did you mean "fmnist-hf"/],
    ["cifar-2", {}, /did you mean "cifar2"/],
    ["synth-hf", {}, /no problem is named "synth-hf"/],
    ["nothing like it", {}, /no problem is named "nothing like it" \(there are mnist, [^?]*$/],
    [
      "digits-hf",
      { level: 15 },
      /level 15 is out of range: high-frequency noise of digits has levels 0 to 14 \(multipliers 0 to 3\)/,
    ],
    ["mnist-lf", { level: 14 }, /low-frequency noise of mnist has levels 0 to 13 \(thresholds 1 to 27\)/],
    ["cifar10", { noise: "lf", level: 0.5 }, /level 0\.5 is out of range.*levels 0 to 14 \(thresholds 0 to 30\)/],
    ["digits-hf", { noise: "lf" }, /has hf noise already/],
    ["digits", { level: 3 }, /digits has no noise that could have a level: choose digits-hf or digits-lf/],
    ["digits", { noiseSeed: 3 }, /no noise that could have a seed/],
    ["digits", { kappa: 0.5 }, /no kappa/],
    ["synth", { level: 3 }, /its difficulty is kappa/],
    ["synth", { noise: "hf" }, /its difficulty is kappa/],
    ["synth", { kappa: 1.5 }, /kappa is a number from 0 to below 1/],
  ] as const)("refuse %s with %j", async (name, options, message) => {
    const opening = openProblem(name, { engine, ...options });
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toMatchObject({ code: "E_CONFIG" });
  });
});

it("one class is nothing to be learned", () => {
  const dataset = fromArrays({
    shape: { channels: 1, height: 1, width: 2 },
    images: new Uint8Array(6),
    labels: [0, 0, 0],
  });
  const problem = classification("one", dataset);
  expect(() => problem.targets("0:3")).toThrow(expect.objectContaining({ code: "E_DATA" }) as Error);
  expect(() => problem.targets("0:3")).toThrow(/one: all labels are 0, one class/);
});
