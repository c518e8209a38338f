/** The front door: every method against the plain dense algorithm, what it refuses, and what it says. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, wasmEngine } from "../../test/engines.ts";
import { freshFolder, specOf } from "../../test/kernel-job-fixtures.ts";
import { denseSolve, graded, mild, refusal, shifted } from "../../test/krylov-systems.ts";
import { difference, naiveCholesky, norm, randoms, times, withSpectrum } from "../../test/spectra.ts";
import { openWasm } from "../../test/wasm.ts";
import { kernelSource } from "../covariance/kernel-source.ts";
import { columnRange, rowRange, snakeOrder } from "../covariance/store/grid.ts";
import { KernelStore } from "../covariance/store/store.ts";
import type { Engine } from "../engine/engine.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { denseOperator } from "./operator.ts";
import { jacobi } from "./preconditioner.ts";
import { solve, type SolveOptions } from "./solve.ts";
import { denseSymmetric } from "./source.ts";

const METHODS = ["cholesky", "cg", "eigh"] as const;

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(() => engine.close());

const square = (values: Float32Array | Float64Array, exponent = 0) => {
  const n = Math.sqrt(values.length);
  return { values, rows: n, columns: n, exponent };
};

/** Exactly symmetric, rounded to float32. */
const single = (n: number) => Float32Array.from(mild(n));

const relative = (actual: ArrayLike<number>, expected: ArrayLike<number>) =>
  norm(difference(actual, expected)) / norm(expected);

/** Largest relative residual of a right-hand side, by plain loops. */
function residual(a: ArrayLike<number>, n: number, x: Float64Array, b: ArrayLike<number>, lambda: number): number {
  const m = x.length / n;
  const product = times(a, n, x, m);
  const column = (values: ArrayLike<number>, c: number) =>
    Float64Array.from({ length: n }, (_, i) => values[i * m + c] ?? NaN);
  const r = Float64Array.from(product, (value, at) => (b[at] ?? NaN) - value - lambda * (x[at] ?? NaN));
  return Math.max(...Array.from({ length: m }, (_, c) => norm(column(r, c)) / norm(column(b, c))));
}

describe.each(METHODS)("solve by %s", (method) => {
  const options: SolveOptions = { method, tolerance: 1e-13 };

  it("agrees with the dense algorithm, for every size, any right-hand sides and any grid of lambdas", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.double({ min: 0, max: 10, noNaN: true }), { minLength: 1, maxLength: 4 }),
        async (n, m, lambda) => {
          const a = mild(n);
          const b = randoms(n * m);
          const { solutions, ...result } = await solve(engine, square(a), b, { ...options, lambda });
          expect(result.method).toBe(method);
          expect(solutions.map((solution) => solution.lambda)).toEqual(lambda);
          for (const solution of solutions) {
            const expected = denseSolve(shifted(a, n, solution.lambda), n, b, m);
            expect(relative(solution.x, expected)).toBeLessThan(1e-11);
            expect(solution.relativeResidual).toBeLessThan(1e-12);
            const actual = residual(a, n, solution.x, b, solution.lambda);
            expect(Math.abs(actual - (solution.relativeResidual ?? NaN))).toBeLessThan(1e-14);
          }
        },
      ),
      { numRuns: 15 },
    );
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("takes an array, a source, and a store, in float32 too, and answers alike", async () => {
    const [n, m, lambda] = [90, 2, 0.25];
    const a = single(n);
    const b = Float32Array.from(randoms(n * m));
    const expected = denseSolve(shifted(Float64Array.from(a), n, lambda), n, Float64Array.from(b), m);
    const path = `${await freshFolder()}/K.zarr`;
    const store = await KernelStore.create(await nodeFiles(), path, specOf(n, n, 32, { symmetric: true, exponent: 0 }));
    for (const place of snakeOrder(store.grid)) {
      const [rows, columns] = [rowRange(store.grid, place.i), columnRange(store.grid, place.j)];
      const values: number[] = [];
      for (let i = rows.begin; i < rows.end; i++)
        for (let j = columns.begin; j < columns.end; j++) values.push(a[i * n + j] ?? NaN);
      await store.writeTile(place, Float32Array.from(values));
    }
    for (const K of [
      square(a),
      square(Float64Array.from(a)),
      denseSymmetric(a, n),
      denseSymmetric(Float64Array.from(a), n),
      await kernelSource(store),
    ]) {
      const { solutions } = await solve(engine, K, b, { ...options, lambda });
      expect(relative(solutions[0]?.x ?? [], expected)).toBeLessThan(1e-11);
    }
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("takes lambda and answers in the matrix's own units, whatever power of two was taken out", async () => {
    const [n, m] = [40, 3];
    const a = mild(n);
    const b = randoms(n * m);
    const plain = await solve(engine, square(a), b, { ...options, lambda: [0, 0.5] });
    for (const exponent of [37, -500, 800]) {
      const scale = 2 ** exponent;
      const { solutions } = await solve(engine, square(a, exponent), b, { ...options, lambda: [0, 0.5 * scale] });
      solutions.forEach(({ x, logDeterminant, relativeResidual }, index) => {
        const same = plain.solutions[index];
        expect(
          relative(
            x.map((value) => value * scale),
            same?.x ?? [],
          ),
        ).toBeLessThan(1e-12);
        expect(relativeResidual).toBeLessThan(1e-12);
        if (method === "cg") expect(logDeterminant).toBeUndefined();
        else expect((logDeterminant ?? NaN) - n * exponent * Math.LN2).toBeCloseTo(same?.logDeterminant ?? NaN, 8);
      });
    }
  });

  it("knows the determinant, unless it is conjugate gradients", async () => {
    const n = 60;
    const a = mild(n);
    const { solutions } = await solve(engine, square(a), randoms(n), { ...options, lambda: 0.3 });
    const expected = naiveCholesky(a, n, 0.3).pivots.reduce((sum, pivot) => sum + Math.log(pivot), 0);
    if (method === "cg") expect(solutions[0]?.logDeterminant).toBeUndefined();
    else expect(solutions[0]?.logDeterminant).toBeCloseTo(expected, 9);
    expect(solutions[0]?.iterations).toEqual(method === "cg" ? expect.any(Number) : undefined);
  });

  it("has small residuals on graded and nearly singular spectra", async () => {
    for (const spectrum of [graded(80, 8), [...Array.from({ length: 79 }, () => 1), 1e-7]]) {
      const n = spectrum.length;
      const a = withSpectrum(spectrum);
      const b = randoms(n * 2);
      for (const lambda of [1e-8, 1e-3]) {
        const { solutions } = await solve(engine, square(a), b, { method, tolerance: 1e-9, lambda });
        expect(residual(a, n, solutions[0]?.x ?? new Float64Array(), b, lambda)).toBeLessThan(1e-8);
      }
    }
  });

  it("refuses an indefinite matrix, with what lambda it takes at least", async () => {
    const n = 30;
    const a = withSpectrum([...Array.from({ length: n - 1 }, () => 1 + Math.random()), -0.5]);
    const error = await refusal(solve(engine, square(a), randoms(n), options));
    expect(error.code).toBe("E_NOT_POSITIVE_DEFINITE");
    const { solutions } = await solve(engine, square(a), randoms(n), { ...options, lambda: 0.6 });
    expect(solutions).toHaveLength(1);
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("refuses an entry that is not finite, by its place, in an array and in a source", async () => {
    const n = 20;
    const a = single(n);
    for (const value of [NaN, Infinity]) {
      a[13 * n + 5] = value;
      for (const K of [square(a), denseSymmetric(a, n)]) {
        const error = await refusal(solve(engine, K, randoms(n), options));
        expect([error.code, error.message]).toEqual(["E_DATA", `entry (13, 5) of the matrix is ${value}`]);
      }
    }
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("stops where a signal says so", async () => {
    const controller = new AbortController();
    controller.abort();
    const error = await refusal(
      solve(engine, square(mild(50)), randoms(50), { ...options, signal: controller.signal }),
    );
    expect(error.code).toBe("E_ABORTED");
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("is the same again, and tells how far it is", async () => {
    const n = 64;
    const [a, b] = [single(n), randoms(2 * n)];
    const seen: string[] = [];
    const run = () =>
      solve(engine, square(a), b, { ...options, lambda: 1, onProgress: (progress) => seen.push(progress.method) });
    expect((await run()).solutions[0]?.x).toEqual((await run()).solutions[0]?.x);
    expect(new Set(seen)).toEqual(new Set([method]));
  });
});

describe("solve refuses, whatever the method", () => {
  const n = 12;
  const a = mild(n);
  const cases: [string, Parameters<typeof solve>[1], Float64Array, SolveOptions, string, RegExp][] = [
    ["a matrix that is not square", { values: a, rows: 9, columns: 16 }, randoms(9), {}, "E_SHAPE", /9 x 16.*square/],
    [
      "an empty matrix",
      { values: new Float64Array(), rows: 0, columns: 0 },
      randoms(1),
      {},
      "E_SHAPE",
      /at least one row/,
    ],
    ["an empty source", { n: 0, block: () => a }, randoms(1), {}, "E_SHAPE", /at least one row/],
    [
      "an array of another length",
      { values: a, rows: 11, columns: 11 },
      randoms(11),
      {},
      "E_SHAPE",
      /121 entries.*144/,
    ],
    ["right-hand sides of a wrong length", square(a), randoms(n + 1), {}, "E_SHAPE", /12 x m numbers.*13 were given/],
    ["no right-hand sides", square(a), randoms(0), {}, "E_SHAPE", /12 x m numbers/],
    ["a negative lambda", square(a), randoms(n), { lambda: [1, -1] }, "E_CONFIG", /lambda.*-1/],
    ["a lambda that is no number", square(a), randoms(n), { lambda: NaN }, "E_CONFIG", /lambda.*NaN/],
    ["an empty grid", square(a), randoms(n), { lambda: [] }, "E_CONFIG", /at least one/],
    ["a lambda outside float64", square(a, -900), randoms(n), { lambda: 1e200 }, "E_CONFIG", /range/],
    ["an unknown method", square(a), randoms(n), { method: "lu" as "cg" }, "E_CONFIG", /auto, cholesky, cg and eigh/],
    ["memory that is no amount", square(a), randoms(n), { memory: "much" }, "E_CONFIG", /"much"/],
    ["memory for nothing", square(a), randoms(n), { memory: 1000 }, "E_MEMORY", /no method.*cholesky.*eigh.*cg/],
    [
      "memory for nothing, cholesky",
      square(a),
      randoms(n),
      { memory: 1000, method: "cholesky" },
      "E_MEMORY",
      /cholesky/,
    ],
    ["Cholesky of products", denseOperator(a, n), randoms(n), { method: "cholesky" }, "E_CONFIG", /only has products/],
    ["eigh of products", denseOperator(a, n), randoms(n), { method: "eigh" }, "E_CONFIG", /only has products/],
  ];

  it.each(cases)("%s", async (_, K, b, options, code, message) => {
    const error = await refusal(solve(engine, K, b, options));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("right-hand sides that are not finite, by their place", async () => {
    const b = randoms(3 * n);
    b[3 * 7 + 2] = NaN;
    const error = await refusal(solve(engine, square(a), b));
    expect([error.code, error.message]).toEqual(["E_DATA", "entry (7, 2) of the right-hand sides is NaN"]);
  });

  it("an asymmetric array, by its worst pair, beyond a tolerance that fits its type", async () => {
    const off = a.slice();
    off[3 * n + 8] = (off[3 * n + 8] ?? NaN) + 1e-9;
    off[9 * n + 2] = (off[9 * n + 2] ?? NaN) + 1e-3;
    const [below, above] = [off[9 * n + 2], off[2 * n + 9]];
    const error = await refusal(solve(engine, square(off), randoms(n)));
    expect(error).toMatchObject({ code: "E_DATA", details: { row: 9, column: 2, below, above } });
    expect(error.message).toContain(`entry (9, 2) is ${below} and entry (2, 9) is ${above}`);
    const b = randoms(n);
    for (const method of METHODS) {
      const { solutions } = await solve(engine, square(off), b, { method, symmetryTolerance: 1e-2, tolerance: 1e-12 });
      const lower = off.map((value, at) =>
        at % n > Math.floor(at / n) ? (off[(at % n) * n + Math.floor(at / n)] ?? NaN) : value,
      );
      expect(relative(solutions[0]?.x ?? [], denseSolve(lower, n, b))).toBeLessThan(1e-9);
    }
    const rounded = Float32Array.from(a);
    rounded[5] = (rounded[5] ?? NaN) * (1 + 2 ** -22);
    await solve(engine, square(rounded), b);
    expect((await refusal(solve(engine, square(Float64Array.from(rounded)), b))).code).toBe("E_DATA");
  });

  it("an answer that has not converged, with its history", async () => {
    const hard = withSpectrum(graded(60, 9));
    const options = { method: "cg", tolerance: 1e-12, maxIterations: 5, preconditioner: "none" } as const;
    for (const lambda of [0, [1e-9, 1e-8]]) {
      const error = await refusal(solve(engine, square(hard), randoms(60), { ...options, lambda }));
      expect(error.code).toBe("E_NOT_CONVERGED");
      expect(error.details["history"]).toHaveLength(6);
    }
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("a preconditioner with a method that has no use for it, and a kept factor of a grid", async () => {
    const preconditioner = await jacobi(denseOperator(a, n));
    const options = { method: "eigh", preconditioner } as const;
    expect((await refusal(solve(engine, square(a), randoms(n), options))).code).toBe("E_CONFIG");
    const scratch = { files: await nodeFiles(), folder: await freshFolder(), keep: true };
    const grid = { method: "cholesky", lambda: [1, 2], scratch } as const;
    expect((await refusal(solve(engine, square(a), randoms(n), grid))).message).toMatch(/one lambda/);
  });
});

describe("solve", () => {
  it("chooses by itself and says why in the engine's log; told what to do it says nothing", async () => {
    const backend = await openWasm({ variant: "single", threads: 1 });
    const lines: string[] = [];
    const talkative = engineOf(backend, 2 ** 30, (line) => lines.push(line));
    const n = 25;
    const [a, b] = [mild(n), randoms(n)];
    const result = await solve(talkative, square(a), b, { lambda: 1 });
    expect(result.method).toBe("cholesky");
    expect(lines).toEqual([`solve: ${result.reason}`]);
    const products = await solve(talkative, denseOperator(a, n), b, { lambda: 1 });
    expect(products.method).toBe("cg");
    expect(products.reason).toMatch(/only has products/);
    await solve(talkative, square(a), b, { lambda: 1, method: "eigh" });
    expect(lines).toHaveLength(2);
    await backend.close();
  });

  it("uses the preconditioner that it is given, for each lambda", async () => {
    const n = 50;
    const a = withSpectrum(graded(n, 3));
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) a[i * n + j] = (a[i * n + j] ?? NaN) * 10 ** (i % 4) * 10 ** (j % 4);
    const preconditioner = await jacobi(denseOperator(a, n), { lambda: 1 });
    const b = randoms(n);
    const run = (more: SolveOptions) => solve(engine, square(a), b, { method: "cg", lambda: [1, 10], ...more });
    const [given, none] = [await run({ preconditioner }), await run({ preconditioner: "none" })];
    given.solutions.forEach(({ iterations = NaN, x, lambda }, index) => {
      expect(residual(a, n, x, b, lambda)).toBeLessThan(2e-8);
      expect(iterations).toBeLessThan(none.solutions[index]?.iterations ?? NaN);
    });
  });
});
