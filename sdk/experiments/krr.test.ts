/** Kernel ridge regression of a problem, its kernels in memory, in a folder and from stores. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf } from "../../test/engines.ts";
import { freshFolder } from "../../test/kernel-job-fixtures.ts";
import { digitsProblem } from "../../test/regression-problem.ts";
import { freshSeed } from "../../test/seed.ts";
import { openWasm } from "../../test/wasm.ts";
import { KernelStore } from "../covariance/store/store.ts";
import { parseRanges } from "../data/ranges.ts";
import type { Backend } from "../engine/backend.ts";
import type { Engine } from "../engine/engine.ts";
import { methodPlan } from "../linalg/solve-plan.ts";
import type { Files } from "../platform/files.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { runKrr, type KrrExperiment } from "./krr.ts";
import { krrCsv, krrJson, writeArrays } from "./krr-files.ts";
import { geometric, PAPER_CONSTANTS, paperLambdas, paperLevels, parseLambdas } from "./krr-lambdas.ts";

const problem = digitsProblem(freshSeed());
const ranges = (text: string) => parseRanges(text, problem.dataset.count);
const lambdas = [0.01, 1, 100];

let backend: Backend;
let engine: Engine;
let files: Files;
const told: string[] = [];
beforeAll(async () => {
  backend = await openWasm({ variant: "threads", threads: 2 });
  engine = engineOf(backend, 2 ** 30, (line) => told.push(line));
  files = await nodeFiles();
});
afterAll(() => engine.close());

function run(changes: Partial<KrrExperiment> = {}) {
  return runKrr({
    ...{ engine, problem, lambdas, kernel: { name: "ntk2" } },
    ...{ train: ranges("0:120"), test: ranges("200:260") },
    ...changes,
  });
}

describe("a regression", () => {
  it("has the errors of every lambda, and finds the best on test images", async () => {
    const result = await run();
    expect(result.rows.map(({ lambda }) => lambda)).toEqual(lambdas);
    const least = Math.min(...result.rows.map(({ test }) => test?.squaredError ?? NaN));
    expect(result.best?.test?.squaredError).toBe(least);
    const [exact, , blunt] = result.rows;
    expect(exact?.train?.accuracy).toBe(1);
    // K a = Y - lambda a: what is left is lambda a, whatever the digits are.
    const left = result.model.coefficients(0).reduce((sum, a) => sum + (0.01 * a) ** 2 / 120, 0);
    expect((exact?.train?.squaredError ?? NaN) / left).toBeCloseTo(1, 9);
    expect(exact?.test?.accuracy).toBeGreaterThan(0.5);
    expect(blunt?.train?.squaredError).toBeGreaterThan(exact?.train?.squaredError ?? NaN);
    expect(result.kernel.pairs).toBe((120 * 121) / 2 + 120 * 60);
    expect(result.predictions[1]?.predictions).toHaveLength(60 * 10);
    const json = JSON.parse(JSON.stringify(krrJson(result))) as { rows: { test: { r2: number } }[] };
    expect(json.rows[1]?.test.r2).toBe(result.rows[1]?.test?.r2);
    expect(krrCsv(result.rows).split("\n")[2]).toMatch(/^1,[\d.e-]+,[\d.e-]+,[\d.]+,[\d.e-]+,[\d.e-]+,[\d.]+,$/);
  });

  it("keeps its kernels in a folder, computes nothing twice, and takes other lambdas from there", async () => {
    const folder = { files, path: await freshFolder() };
    const memory = await run();
    const first = await run({ folder, tile: 50 });
    expect(first.rows).toEqual(memory.rows);
    const again = await run({ folder, tile: 50, lambdas: [1, 7] });
    expect(again.kernel.pairs).toBe(0);
    expect(again.rows[0]).toEqual(memory.rows[1]);
    const other = run({ folder, tile: 50, kernel: { name: "rf2" } });
    await expect(other).rejects.toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringContaining("ntk2 -> rf2") as string,
    });
  });

  it("goes on with half a kernel where it was stopped", async () => {
    const folder = { files, path: await freshFolder() };
    const controller = new AbortController();
    const stopped = run({
      ...{ folder, tile: 30, signal: controller.signal },
      onProgress: ({ label, done }) => {
        if (label === "Kxx" && done > 0) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: "E_ABORTED" });
    const whole = await run();
    const rest = await run({ folder, tile: 30 });
    expect(rest.kernel.pairs).toBeLessThan(whole.kernel.pairs);
    expect(rest.rows).toEqual(whole.rows);
  });

  it("takes the leading part of stores, of the same kernel and images only", async () => {
    const path = await freshFolder();
    await run({ folder: { files, path }, tile: 50 });
    const stores = {
      kxx: await KernelStore.open(files, `${path}/kxx.zarr`),
      kxt: await KernelStore.open(files, `${path}/kxt.zarr`),
    };
    const part = { train: ranges("0:70"), test: ranges("200:231") };
    const taken = await run({ stores, ...part });
    expect(taken.kernel.pairs).toBe(0);
    expect(taken.rows).toEqual((await run(part)).rows);
    await expect(run({ stores, train: ranges("1:70") })).rejects.toMatchObject({ code: "E_MISMATCH" });
    const kernel = { name: "poly", degree: 2, constant: 1 } as const;
    await expect(run({ stores, ...part, kernel })).rejects.toMatchObject({ code: "E_MISMATCH" });
    const elsewhere = digitsProblem(1);
    await expect(run({ stores, ...part, problem: elsewhere })).rejects.toMatchObject({
      message: expect.stringContaining("dataset.sha256") as string,
    });
  });

  it("refuses lambda 0 with a singular kernel, or leaves it out, and warns of test images that it was fitted to", async () => {
    // 101 numbers determine a polynomial of degree one: 120 images are too many.
    const kernel = { name: "poly", degree: 1, constant: 1 } as const;
    const singular = { kernel, precision: "f64", lambdas: [0, 1], test: ranges("100:160") } as const;
    await expect(run(singular)).rejects.toMatchObject({
      code: "E_NOT_POSITIVE_DEFINITE",
      message: expect.stringMatching(/^with lambda 0 .*; lambda [\d.e-]+ would have passed$/) as string,
    });
    told.length = 0;
    const { rows, best } = await run({ ...singular, indefinite: "skip" });
    expect(told).toContain("warning: test overlaps train in 100:120: its errors are too good");
    expect(rows.map(({ train }) => train === undefined)).toEqual([true, false]);
    expect(rows[0]?.reason).toMatch(/not positive definite/);
    expect(best?.lambda).toBe(1);
  });

  it("solves in what the kernel and the answers leave of the budget", async () => {
    const n = 260;
    const many = geometric(-2, 2, 100);
    const solve = { n, rhs: 10, lambdas: many.length, entries: true, memoryBytes: 2 ** 30, threads: 2 };
    const alone = methodPlan("eigh", { ...solve, scratchBytes: undefined }).memoryBytes;
    const held = 4 * n * n + 8 * n * 10 * (1 + 2 * many.length);
    const wide = { train: ranges(`0:${n}`), test: undefined, method: "eigh", lambdas: many } as const;
    const within = (memoryBytes: number) => run({ ...wide, engine: engineOf(backend, memoryBytes, () => undefined) });
    await expect(within(alone + held - 1)).rejects.toThrow(/^eigh does not fit/);
    expect((await within(alone + held)).rows).toHaveLength(100);
  });

  it("computes the test kernel after the solve, as predictions read it", async () => {
    const labels: string[] = [];
    const { kernel } = await run({
      onProgress: ({ label }) => {
        if (labels.at(-1) !== label) labels.push(label);
      },
    });
    expect(labels).toEqual(["Kxx", "Cholesky", "Kxt", "predictions"]);
    expect(kernel.pairs).toBe((120 * 121) / 2 + 120 * 60);
  });

  it("tells of a finite model's features while they come, and stops among them", async () => {
    const kernel = { name: "rf", width: 6000, seed: 1 } as const;
    const labels = new Set<string>();
    await run({ kernel, onProgress: ({ label }) => labels.add(label) });
    expect([...labels]).toEqual(["Kxx features", "Kxx", "Cholesky", "Kxt features", "Kxt", "predictions"]);
    const controller = new AbortController();
    const stopped = run({
      ...{ kernel, signal: controller.signal },
      onProgress: ({ label }) => {
        if (label !== "Kxx features") throw new Error(`it went on to ${label}`);
        controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: "E_ABORTED" });
    const path = await freshFolder();
    await run({ kernel, folder: { files, path }, onProgress: ({ label }) => labels.delete(label) });
    expect([...labels]).toEqual([]);
  });

  it("refuses a store in float32 where float64 is asked for", async () => {
    const path = await freshFolder();
    await run({ folder: { files, path }, tile: 50 });
    const kxx = await KernelStore.open(files, `${path}/kxx.zarr`);
    await expect(run({ stores: { kxx }, precision: "f64" })).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringContaining("kxx.zarr was computed in float32") as string,
    });
  });

  it("writes arrays as .npy, one shape for all of them", async () => {
    const path = `${await freshFolder()}/a.npy`;
    const { model } = await run();
    const arrays = lambdas.map((_, index) => model.coefficients(index));
    await writeArrays(files, path, arrays, [3, 120, 10]);
    const bytes = await readFile(path);
    expect(bytes.toString("latin1", 0, 128)).toMatch(
      /'descr': '<f8', 'fortran_order': False, 'shape': \(3, 120, 10\), }/,
    );
    const values = new Float64Array(bytes.buffer.slice(bytes.byteOffset + 128, bytes.byteOffset + bytes.length));
    expect([...values.subarray(1200, 2400)]).toEqual([...(arrays[1] ?? [])]);
  });
});

describe("lambdas", () => {
  it("are a geometric grid with exact ends, a list, or one number", () => {
    const grid = parseLambdas("1e-1:1e5:20");
    expect(grid).toHaveLength(20);
    expect([grid[0], grid[19]]).toEqual([0.1, 1e5]);
    for (let i = 1; i < 20; i++) expect((grid[i] ?? NaN) / (grid[i - 1] ?? NaN)).toBeCloseTo(10 ** (6 / 19), 10);
    expect(parseLambdas("0, 0.1,-1e-3")).toEqual([0, 0.1, -1e-3]);
    expect(parseLambdas("3")).toEqual([3]);
    expect(parseLambdas("5:5:1,7")).toEqual([5, 7]);
  });

  it.each(["", "a", "1:2", "0:1:5", "1:10:0", "1:10:2.5", "1:10:3:4", "1,,2", "1:1e400:3"])("refuse %j", (text) => {
    expect(() => parseLambdas(text)).toThrow(/^lambda ".*": .*; write low:high:count/);
  });

  it("of the paper are those of its problems and kernels", () => {
    expect(paperLambdas("cifar10-lf", false)).toEqual(geometric(-6, 1, 20));
    expect(paperLambdas("cifar2-hf", false)).toHaveLength(40);
    expect(paperLambdas("synth", true)).toEqual(geometric(0, 6, 10));
    expect(paperLambdas("fmnist-hf", false).at(-1)).toBeCloseTo(1e5, 6);
    expect(paperLambdas("fmnist-lf", true)[0]).toBeCloseTo(1e-4, 12);
    expect(["fmnist-hf", "fmnist-lf", "cifar10-lf", "synth"].map((name) => paperLevels(name).length)).toEqual([
      15, 14, 15, 10,
    ]);
    expect([PAPER_CONSTANTS[0], PAPER_CONSTANTS[9]]).toEqual([0.125, 8]);
  });
});
