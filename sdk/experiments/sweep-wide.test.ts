/** Sweeps over trained models: their cells, what stops and resumes, what they refuse, and the grids of the paper. */
import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { freshFolder } from "../../test/kernel-job-fixtures.ts";
import { digitsProblem } from "../../test/regression-problem.ts";
import { freshSeed } from "../../test/seed.ts";
import { Dataset } from "../data/dataset.ts";
import type { Problem } from "../data/problem.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";
import { regressionScores } from "../learn/regression-scores.ts";
import { unitDirections } from "../learn/wide/directions.ts";
import { dot, smallCholesky, smallSolve } from "../linalg/vectors.ts";
import type { Files } from "../platform/files.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { joinSweeps, readSweep } from "./sweep-join.ts";
import { sweepKernels } from "./sweep-kernels.ts";
import { runKrrSweep } from "./sweep-krr.ts";
import { bestOfSweep, type SweepRow } from "./sweep-row.ts";
import { runWideSweep, wideCells, type WideSweep } from "./sweep-wide.ts";
import { wideLambdas } from "./wide-lambdas.ts";
import { PAPER_CG, PAPER_STEPS, wideLine, type WideModel } from "./wide-models.ts";

const seed = freshSeed();
const cg = { ...PAPER_CG, tolerance: 1e-6 };
const steps = { ...PAPER_STEPS, epochs: 4, rate: 0.01, batch: 30 };
const rf: WideModel = { name: "rf", width: 64, seed, fit: cg };
const nn: WideModel = { name: "nn", width: 16, seed, fit: { ...steps, rate: 1e-3 } };

let engine: Engine;
let files: Files;
beforeAll(async () => {
  engine = await wasmEngine();
  files = await nodeFiles();
});
afterAll(() => engine.close());

const place = async () => `${await freshFolder()}/sweep`;
const base = { problem: "digits-hf", train: "0:60", test: "200:240" };

function sweep(path: string, changes: Partial<WideSweep> = {}) {
  return runWideSweep({
    ...{ engine, files, path, ...base, levels: [0, 3], model: rf, lambdas: [0.01, 1] },
    open: (level) => Promise.resolve(digitsProblem(seed + level)),
    ...changes,
  });
}

/** What does not depend on the clock. */
const timeless = (rows: readonly SweepRow[]) =>
  rows.map(({ seconds, ...row }) => ({ ...row, timed: Object.keys(seconds) }));

/** Digits of ten sorts of brightness in three channels. */
function colourProblem(of: number): Problem {
  const problem = digitsProblem(of);
  const { name, classes, trainCount, testCount, labels } = problem.dataset;
  const shape = { channels: 3, height: 32, width: 32 };
  const dataset = new Dataset({
    ...{ name, shape, classes, trainCount, testCount, labels, digest: () => problem.dataset.sha256() },
    writeImage: (index, out, offset) => {
      const noise = new RandomStream(of, "colour", index).fillNormal(new Float32Array(3 * 32 * 32));
      const bright = (labels[index] ?? 0) / 5 - 0.9;
      out.set(
        noise.map((value) => 0.3 * value + bright),
        offset,
      );
    },
  });
  return { ...problem, dataset };
}

/** Predictions of `rf` by its kernel among images, K = R R' + 1 with n lambda on its diagonal, in float64. */
function byKernel(problem: Problem, lambda: number): Float64Array {
  const { imageFloats } = problem.dataset;
  const directions = unitDirections(seed, 0, rf.width, imageFloats);
  const featuresOf = (ranges: string): Float64Array[] => {
    const { images, indices } = problem.dataset.selectFloat64(ranges);
    return Array.from(indices, (_, row) => {
      const x = images.subarray(row * imageFloats, (row + 1) * imageFloats);
      const unit = (j: number) => Float64Array.from(directions.subarray(j * imageFloats, (j + 1) * imageFloats));
      return Float64Array.from({ length: rf.width + 1 }, (_, j) => (j === rf.width ? 1 : Math.max(0, dot(unit(j), x))));
    });
  };
  const [train, test] = [featuresOf(base.train), featuresOf(base.test)];
  const n = train.length;
  const kernel = Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return dot(train[i] as Float64Array, train[j] as Float64Array) + (i === j ? n * lambda : 0);
  });
  const factor = smallCholesky(kernel, n, 0);
  if (!(factor instanceof Float64Array)) throw new Error("the kernel is not positive definite");
  const targets = problem.targets(base.train);
  const out = new Float64Array(test.length * 10);
  for (let c = 0; c < 10; c++) {
    const alpha = Float64Array.from({ length: n }, (_, i) => targets[i * 10 + c] as number);
    smallSolve(factor, n, alpha);
    test.forEach((row, at) => {
      out[at * 10 + c] = train.reduce((total, other, i) => total + dot(row, other) * (alpha[i] as number), 0);
    });
  }
  return out;
}

describe("a sweep of least squares", () => {
  it("has a cell a level, with all ridges, and the errors of a regression by its kernel", async () => {
    const { rows } = await sweep(await place());
    expect(rows.map(({ cell, line, status, method }) => [cell, line, status, method])).toEqual([
      ["level-00.rf-64", "rf 64", "done", "multi-shift-cg"],
      ["level-03.rf-64", "rf 64", "done", "multi-shift-cg"],
    ]);
    for (const { level, fits } of rows) {
      const problem = digitsProblem(seed + level);
      for (const { lambda, test } of fits) {
        const expected = regressionScores(byKernel(problem, lambda), problem.targets(base.test), 10, "argmax");
        expect(Math.abs((test?.squaredError ?? NaN) / expected.squaredError - 1)).toBeLessThan(1e-3);
        expect(Math.abs((test?.accuracy ?? NaN) - (expected.accuracy ?? NaN))).toBeLessThan(0.03); // one image of 40
      }
    }
  });

  it("says of ridges that did not converge where they stopped, and keeps what they reached", async () => {
    const model: WideModel = { ...rf, name: "nt", fit: { ...PAPER_CG, maxIterations: 3 } };
    const { rows } = await sweep(await place(), { levels: [0], model, lambdas: [1e-3, 1e3] });
    const [small, large] = rows[0]?.fits ?? [];
    expect(small?.reason).toMatch(/^stopped after 3 iterations at a relative residual of/);
    expect(small?.test?.squaredError).toBeLessThan(1);
    expect(large?.reason).toBeNull();
  });
});

describe("a sweep of trained networks", () => {
  it("has a cell a ridge, goes on where it was stopped, and ends with the rows of one that was not", async () => {
    const path = await place();
    const controller = new AbortController();
    const options = { model: nn, levels: [0], lambdas: [1e-4, 1e-3, 1e-2] };
    const stopped = sweep(path, {
      ...options,
      signal: controller.signal,
      onCells: (_, done) => {
        if (done === 2) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: "E_ABORTED" });
    const names = ["level-00.nn-16-l0.0001.json", "level-00.nn-16-l0.001.json"];
    expect((await readdir(`${path}/cells`)).sort()).toEqual(names);
    const [rest, whole] = [await sweep(path, options), await sweep(await place(), options)];
    expect(timeless(rest.rows)).toEqual(timeless(whole.rows));
    expect(rest.rows.map(({ fits, method }) => [fits.length, fits[0]?.lambda, method])).toEqual([
      [1, 1e-4, "sgd"],
      [1, 1e-3, "sgd"],
      [1, 1e-2, "sgd"],
    ]);
    expect(bestOfSweep(rest.rows)).toHaveLength(1);
  });

  it.each<WideModel>([
    { ...rf, fit: steps },
    { ...rf, name: "nt", fit: { ...steps, loss: "crossEntropy" } },
    { ...nn, hidden: 2, dropout: 0.1, fit: { ...steps, epochs: 15, rate: 0.003 } },
  ])("trains $name to less than the error of no model", async (model) => {
    const { rows } = await sweep(await place(), { levels: [0], model, lambdas: [1e-5] });
    const { train } = rows[0]?.fits[0] ?? {};
    // One-hot targets less a tenth have squares of 0.9.
    expect(train?.squaredError).toBeLessThan(0.9);
    expect(train?.accuracy).toBeGreaterThan(0.1);
  });

  it("trains the CNN on images of 3 x 32 x 32, with the paper's batches, to less than it starts at", async () => {
    const open = (level: number) => Promise.resolve(colourProblem(seed + level));
    const squaredErrors = async (epochs: number) => {
      const model: WideModel = { name: "myrtle", width: 6, seed, fit: { ...PAPER_STEPS, rate: 0.01, epochs } };
      const options = { levels: [0], model, lambdas: [1e-4], train: "0:20", test: "200:210", open };
      const { rows } = await sweep(await place(), options);
      expect(rows[0]).toMatchObject({ cell: "level-00.myrtle-6-l0.0001", line: "myrtle 6", method: "sgd" });
      expect(rows[0]?.fits[0]?.test?.accuracy).toBeGreaterThanOrEqual(0);
      return rows[0]?.fits[0]?.train?.squaredError ?? NaN;
    };
    // The rate of the first epoch is 0.
    expect(await squaredErrors(16)).toBeLessThan(await squaredErrors(1));
  });

  it("records a loss that diverges as a failure, and goes on", async () => {
    const model: WideModel = { ...nn, fit: { ...steps, rate: 1e6, epochs: 6 } };
    const { rows } = await sweep(await place(), { levels: [0], model, lambdas: [1e-4, 1e-3] });
    expect(rows.map(({ status, fits }) => [status, fits])).toEqual([
      ["failed", []],
      ["failed", []],
    ]);
    expect(rows[0]?.reason).toMatch(/the loss is .*\[E_DIVERGED\]$/s);
  });
});

describe("what cannot be", () => {
  it.each<[string, Partial<WideSweep>, string]>([
    ["models that are none", { model: { ...rf, width: 0 } }, "E_CONFIG"],
    ["hidden layers of random features", { model: { ...rf, hidden: 2 } }, "E_CONFIG"],
    ["conjugate gradients for nn", { model: { ...nn, fit: cg } }, "E_CONFIG"],
    ["rates that are none", { model: { ...nn, fit: { ...steps, rate: 0 } } }, "E_CONFIG"],
    ["negative ridges", { lambdas: [-1] }, "E_CONFIG"],
    ["no ridges", { lambdas: [] }, "E_CONFIG"],
    ["ridges that would share a cell", { model: nn, lambdas: [1, 1] }, "E_CONFIG"],
    ["levels that there are not", { problem: "mnist-hf", levels: [99] }, "E_CONFIG"],
    ["images that are too small", { model: { ...nn, name: "myrtle" } }, "E_SHAPE"],
    ["test images that it is fitted to", { test: "50:70" }, "E_RANGE"],
  ])("%s are refused before anything is written", async (_, changes, code) => {
    const path = await place();
    await expect(sweep(path, changes)).rejects.toMatchObject({ code });
    expect(await files.read(`${path}/sweep.json`)).toBeUndefined();
  });

  it("cross-entropy of numbers is refused", async () => {
    const numbers = (): Promise<Problem> => Promise.resolve({ ...digitsProblem(seed), decision: undefined });
    const model: WideModel = { ...nn, fit: { ...steps, loss: "crossEntropy" } };
    await expect(sweep(await place(), { model, open: numbers })).rejects.toMatchObject({ code: "E_CONFIG" });
  });

  it("another model in the same folder is refused, with what differs", async () => {
    const path = await place();
    await sweep(path, { levels: [0] });
    await expect(sweep(path, { levels: [0], model: { ...rf, width: 65 } })).rejects.toMatchObject({
      code: "E_MISMATCH",
      details: { differences: ["grid.fitted.width: 64 -> 65"] },
    });
  });
});

describe("several sweeps in one figure", () => {
  it("have a line for each model, kernels and networks alike", async () => {
    const [first, second] = [await place(), await place()];
    const openArch = () => Promise.reject(new Error("none"));
    const kernels = await sweepKernels("ntk2", { problem: "digits", lambdas: [0.1, 1], openArch });
    const open = (level: number) => Promise.resolve(digitsProblem(seed + level));
    await runKrrSweep({ engine, files, path: first, ...base, levels: [0, 3], open, kernels });
    await sweep(second);
    const joined = joinSweeps([await readSweep(files, first), await readSweep(files, second)]);
    expect(joined).toMatchObject(base);
    expect(bestOfSweep(joined.rows).map(({ line, level }) => [line, level])).toEqual([
      ["ntk2", 0],
      ["ntk2", 3],
      ["rf 64", 0],
      ["rf 64", 3],
    ]);
  });

  it("keep models apart whose lines have one name, and join the ridges and levels of one model", async () => {
    const [first, second, third] = [await place(), await place(), await place()];
    const model: WideModel = { ...nn, fit: { ...steps, rate: 1e-3, epochs: 2 } };
    await sweep(first, { levels: [0], model, lambdas: [1e-4] });
    await sweep(second, { levels: [0], model, lambdas: [1e-3] });
    await sweep(third, { levels: [0], model: { ...model, seed: seed + 1 }, lambdas: [1e-3] });
    const read = async (...paths: string[]) => {
      const sweeps = [];
      for (const path of paths) sweeps.push(await readSweep(files, path));
      return bestOfSweep(joinSweeps(sweeps).rows).map(({ line }) => line);
    };
    expect(await read(first, second)).toEqual(["nn 16"]);
    expect(await read(first, third)).toEqual([`nn 16 (${first})`, `nn 16 (${third})`]);
  });

  it("have lines that tell losses and dropout apart", () => {
    const lines = [nn, { ...nn, dropout: 0.5 }, { ...nn, fit: { ...steps, loss: "crossEntropy" as const } }].map(
      wideLine,
    );
    expect(lines).toEqual(["nn 16", "nn 16 dropout 0.5", "nn 16 cross-entropy"]);
  });

  it("are refused where they are of other images, or of no sweep", async () => {
    const [first, second, third] = [await place(), await place(), await place()];
    await sweep(first, { levels: [0] });
    await sweep(second, { levels: [0], train: "0:50", model: { ...rf, width: 9 } });
    const other = (level: number) => Promise.resolve(digitsProblem(seed + level + 1));
    await sweep(third, { levels: [0], open: other, model: { ...rf, width: 9 } });
    const join = async (path: string) => joinSweeps([await readSweep(files, first), await readSweep(files, path)]);
    await expect(join(second)).rejects.toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringContaining("train: 0:60 -> 0:50") as string,
    });
    await expect(join(third)).rejects.toMatchObject({ code: "E_MISMATCH" });
    await expect(readSweep(files, await freshFolder())).rejects.toMatchObject({ code: "E_DATA" });
  });
});

describe("the paper's ridges", () => {
  const ends = (grid: readonly number[]) => [grid.length, Math.log10(grid[0] ?? 0), Math.log10(grid.at(-1) ?? 0)];

  it("are those of its tables", () => {
    expect(ends(wideLambdas("rf", "synth"))).toEqual([10, -5, 2]);
    expect(ends(wideLambdas("rf", "fmnist-hf"))).toEqual([20, -5, 3]);
    expect(ends(wideLambdas("rf", "cifar2-hf"))).toEqual([20, -4, 4]);
    expect(ends(wideLambdas("nt", "synth"))).toEqual([10, -4, 2]);
    expect(ends(wideLambdas("nt", "mnist-lf"))).toEqual([20, -5, 3]);
    expect(ends(wideLambdas("myrtle", "cifar10-lf"))).toEqual([10, -5, -2]);
    expect(ends(wideLambdas("nn", "synth"))).toEqual([25, -8, -2]);
    expect(wideLambdas("nn", "synth")[15]).toBeCloseTo(10 ** -4.8, 12);
    expect(ends(wideLambdas("nn", "fmnist-lf", 2))).toEqual([10, -7, -5]);
    expect(ends(wideLambdas("nn", "fmnist", 3))).toEqual([20, -6, -2]);
    expect(ends(wideLambdas("nn", "mnist-hf", 2))).toEqual([20, -6, -2]);
    expect(ends(wideLambdas("nn", "synth", 2))).toEqual([25, -8, -2]);
    expect(ends(wideLambdas("nn", "cifar2-hf", 2))).toEqual([20, -6, -2]);
    expect(wideCells({ levels: [7], model: nn, lambdas: wideLambdas("nn", "fmnist") })[0]?.name).toBe(
      "level-07.nn-16-l0.000001",
    );
  });
});
