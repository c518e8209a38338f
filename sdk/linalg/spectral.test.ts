/** Square roots and ridge paths from one eigendecomposition, against products, dense solves and plain determinants. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { refusal, shifted } from "../../test/krylov-systems.ts";
import { gaussSolve } from "../../test/naive-eigen.ts";
import { difference, matrixChoices, naiveCholesky, norm, spectralMatrix, times } from "../../test/spectra.ts";
import { openWasm, wasmConfigurations } from "../../test/wasm.ts";
import type { Backend } from "../engine/backend.ts";
import { eigh, type Eigen } from "./eigh.ts";
import { effectiveDimension, inverseSquareRoot, logDeterminant, ridgePath, squareRoot } from "./spectral.ts";

const identityMiss = (product: Float64Array, n: number) =>
  norm(product.map((value, at) => value - (at % (n + 1) === 0 ? 1 : 0)));

describe.each(wasmConfigurations)("from one decomposition on wasm: $variant, $threads threads", (configuration) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm(configuration);
  });
  afterAll(() => backend.close());

  it("the square root is symmetric, and its square is the matrix; times the inverse root it is the identity", async () => {
    await fc.assert(
      fc.asyncProperty(matrixChoices({ max: 200 }), async ({ kind, n, seed }) => {
        const { a, condition } = spectralMatrix(kind, n, seed);
        const eigen = await eigh(backend, a);
        const root = await squareRoot(backend, eigen);
        expect(norm(difference(times(root, n, root, n), a))).toBeLessThan(1e-14 * n * norm(a));
        const inverse = await inverseSquareRoot(backend, eigen, { floor: 0 });
        for (const matrix of [root, inverse])
          for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) expect(matrix[i * n + j]).toBe(matrix[j * n + i]);
        // An eigenvalue's rounding error, 2^-53 n of the largest, is relative to the smallest here.
        expect(identityMiss(times(root, n, inverse, n), n)).toBeLessThan(1e-14 * n * Math.sqrt(condition) + 1e-14);
        expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
      }),
      { numRuns: 12 },
    );
  });

  it("a floor bounds the inverse root along directions of no variance", async () => {
    const n = 70;
    const { a } = spectralMatrix("nearlySingular", n, 3);
    const eigen = await eigh(backend, a);
    const inverse = await inverseSquareRoot(backend, eigen, { floor: 1e-4 });
    const largest = eigen.values[n - 1] as number;
    const roots = (await eigh(backend, inverse)).values;
    const expected = eigen.values.map((s) => 1 / Math.sqrt(Math.max(s, 1e-4 * largest))).sort();
    expect(norm(difference(roots, expected)) / norm(expected)).toBeLessThan(1e-13);
  });
});

describe("from one decomposition", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm({ variant: "threads", threads: 2 });
  });
  afterAll(() => backend.close());

  it("a ridge path solves for every lambda as elimination does, and knows dimension, determinant and condition", async () => {
    await fc.assert(
      fc.asyncProperty(
        matrixChoices({ max: 120 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.double({ min: -9, max: 4, noNaN: true }), { minLength: 1, maxLength: 5 }),
        async ({ kind, n, seed }, m, decades) => {
          const { a, eigenvalues, uniform } = spectralMatrix(kind, n, seed);
          const lambdas = [...decades.map((decade) => 10 ** decade), 0];
          const b = new Float64Array(n * m).map(() => uniform() - 0.5);
          const eigen = await eigh(backend, a);
          const path = await ridgePath(eigen, b, lambdas);
          expect(path.map(({ lambda }) => lambda)).toEqual(lambdas);
          for (const { lambda, x, ...facts } of path) {
            const full = shifted(a, n, lambda);
            const rounding = 1e-15 * n * facts.condition + 1e-14;
            expect(norm(difference(times(full, n, x, m), b))).toBeLessThan(1e-14 * n * norm(full) * norm(x) + 1e-14);
            const expected = gaussSolve(full, n, b, m);
            expect(norm(difference(x, expected))).toBeLessThan(rounding * norm(expected));
            const logarithm = naiveCholesky(full, n).pivots.reduce((sum, pivot) => sum + Math.log(pivot), 0);
            expect(Math.abs(facts.logDeterminant - logarithm)).toBeLessThan(rounding * n);
            const dimension = eigenvalues.reduce((sum, s) => sum + s / (s + lambda), 0);
            expect(Math.abs(facts.effectiveDimension - dimension)).toBeLessThan(rounding * n);
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  it("the effective dimension falls from n to 0, and needs no vectors", async () => {
    const n = 40;
    const eigen = await eigh(backend, spectralMatrix("graded", n, 1).a, { vectors: false });
    expect(effectiveDimension(eigen, 0)).toBe(n);
    const path = [1e-8, 1e-4, 1, 1e4, 1e20].map((lambda) => effectiveDimension(eigen, lambda));
    expect(path).toEqual([...path].sort((x, y) => y - x));
    expect(path.at(-1)).toBeLessThan(1e-15);
    expect(Math.abs(logDeterminant(eigen, 1e20) - n * Math.log(1e20))).toBeLessThan(1e-10);
    expect((await refusal(ridgePath(eigen, new Float64Array(n), [1]))).message).toContain("without");
    expect((await refusal(squareRoot(backend, eigen))).code).toBe("E_CONFIG");
  });

  it("a lambda that leaves the matrix singular or indefinite is refused, with what is needed", async () => {
    const eigen = await eigh(backend, Float64Array.of(1, 1, 1, 1));
    const b = Float64Array.of(1, 2);
    const singular = await refusal(ridgePath(eigen, b, [1, 0]));
    expect(singular).toMatchObject({ code: "E_NOT_POSITIVE_DEFINITE", details: { lambda: 0 } });
    expect(singular.message).toContain("singular to working precision");
    const needed = singular.details["needed"] as number;
    expect((await ridgePath(eigen, b, [2 * needed]))[0]?.x.every(Number.isFinite)).toBe(true);
    const indefinite = await eigh(backend, Float64Array.of(1, 2, 2, 1));
    expect((await refusal(ridgePath(indefinite, b, [0.5]))).message).toContain("not positive definite");
    expect((await ridgePath(indefinite, b, [1.5])).length).toBe(1);
    expect(() => logDeterminant(indefinite, 1)).toThrow("lambda of more than 1.00e+0");
    const root = await refusal(squareRoot(backend, indefinite));
    expect(root).toMatchObject({ code: "E_NOT_POSITIVE_DEFINITE", details: { index: 0 } });
  });

  it("rounding below zero is a zero of a covariance, and a zero has an inverse root only above a floor", async () => {
    const eigen: Eigen = { n: 2, values: Float64Array.of(-1e-9, 4), vectors: Float64Array.of(1, 0, 0, 1) };
    expect(await squareRoot(backend, eigen)).toEqual(Float64Array.of(0, 0, 0, 2));
    expect((await refusal(squareRoot(backend, eigen, { negative: 1e-12 }))).code).toBe("E_NOT_POSITIVE_DEFINITE");
    expect(await inverseSquareRoot(backend, eigen, { floor: 0.25 })).toEqual(Float64Array.of(1, 0, 0, 0.5));
    expect((await refusal(inverseSquareRoot(backend, eigen, { floor: 0 }))).message).toContain("floor above 0");
    const zero = await eigh(backend, new Float64Array(9));
    expect(await squareRoot(backend, zero)).toEqual(new Float64Array(9));
    expect((await refusal(inverseSquareRoot(backend, zero))).details["index"]).toBe(0);
  });

  it("refuses bad grids, wrong lengths, entries that are not finite, and partial decompositions; stops on a signal", async () => {
    const n = 5;
    const { a } = spectralMatrix("random", n, 1);
    const eigen = await eigh(backend, a);
    const b = new Float64Array(n).fill(1);
    expect((await refusal(ridgePath(eigen, b, []))).code).toBe("E_CONFIG");
    for (const lambda of [-1, NaN, Infinity])
      expect((await refusal(ridgePath(eigen, b, [1, lambda]))).code).toBe("E_CONFIG");
    expect((await refusal(ridgePath(eigen, new Float64Array(7), [1]))).details).toMatchObject({ n, length: 7 });
    expect((await refusal(ridgePath(eigen, new Float64Array(0), [1]))).code).toBe("E_SHAPE");
    expect((await refusal(ridgePath(eigen, Float64Array.of(1, 2, 3, 4, 5, 6, 7, NaN, 9, 1), [1]))).message).toContain(
      "entry (3, 1)",
    );
    const partial = await eigh(backend, a, { largest: 2 });
    for (const refused of [ridgePath(partial, b, [1]), squareRoot(backend, partial)])
      expect((await refusal(refused)).message).toContain("all 5 eigenvalues");
    const signal = AbortSignal.abort();
    expect((await refusal(ridgePath(eigen, b, [1], { signal }))).code).toBe("E_ABORTED");
    expect((await refusal(squareRoot(backend, eigen, { signal }))).code).toBe("E_ABORTED");
    expect((await refusal(inverseSquareRoot(backend, eigen, { floor: -1 }))).code).toBe("E_CONFIG");
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });
});
