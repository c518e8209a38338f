/** Krylov methods on systems of 0 to 300 rows and spectra of all kinds, against elimination in plain float64. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kernelSource } from "../sdk/covariance/kernel-source.ts";
import { MemoryMatrix } from "../sdk/covariance/matrix.ts";
import type { Backend } from "../sdk/engine/backend.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { blockCg } from "../sdk/linalg/block-cg.ts";
import { cg } from "../sdk/linalg/cg.ts";
import { multiShiftCg } from "../sdk/linalg/multi-shift-cg.ts";
import { denseOperator, type LinearOperator } from "../sdk/linalg/operator.ts";
import { pivotedCholesky } from "../sdk/linalg/pivoted-cholesky.ts";
import { blockJacobi, jacobi, type Preconditioner } from "../sdk/linalg/preconditioner.ts";
import { featureOperator, tileOperator } from "../sdk/linalg/tile-operator.ts";
import { refusal, shifted } from "./krylov-systems.ts";
import { gaussSolve } from "./naive-eigen.ts";
import { difference, matrixChoices, norm, SPECTRA, spectralMatrix, times, type MatrixChoice } from "./spectra.ts";
import { openWasm } from "./wasm.ts";

const TOLERANCE = 1e-9;
const MANY = 200_000;

type Make = (operator: LinearOperator, lambda: number) => Promise<Preconditioner | undefined>;
const preconditioners: Readonly<Record<string, Make>> = {
  none: () => Promise.resolve(undefined),
  jacobi: (operator, lambda) => jacobi(operator, { lambda }),
  blockJacobi: (operator, lambda) => blockJacobi(operator, { lambda, block: 16 }),
  pivotedCholesky: (operator, lambda) => pivotedCholesky(operator, { lambda, rank: 40 }),
};
const names = fc.constantFrom(...Object.keys(preconditioners));
/** What is added to the smallest eigenvalue: nothing up to about the largest. */
const ridges = fc.oneof(
  fc.constant(0),
  fc.double({ min: -8, max: 1, noNaN: true }).map((decade) => 10 ** decade),
);
const large: MatrixChoice[] = SPECTRA.map((kind, seed) => ({ kind, n: 300 - seed, seed }));

interface Solved {
  readonly x: Float64Array;
  readonly full: Float64Array;
  readonly smallest: number;
}

/** The residual is below the tolerance, and x off by no more than that divided by the smallest eigenvalue. */
function expectSolved({ x, full, smallest }: Solved, n: number, b: Float64Array, m: number): void {
  const residual = difference(times(full, n, x, m), b);
  const expected = gaussSolve(full, n, b, m);
  const miss = difference(x, expected);
  for (let v = 0; v < m; v++) {
    const column = (values: Float64Array) => values.filter((_, at) => at % m === v);
    const size = norm(column(b));
    const rounding = 1e-15 * n * norm(full);
    expect(norm(column(residual))).toBeLessThanOrEqual(TOLERANCE * size + rounding * norm(column(x)));
    expect(norm(column(miss))).toBeLessThanOrEqual(
      (TOLERANCE * size + 2 * rounding * norm(column(expected))) / smallest + 1e-13 * norm(column(expected)),
    );
  }
}

const smallestOf = (values: Float64Array, lambda: number) =>
  values.reduce((least, s) => Math.min(least, s), 1e9) + lambda;

describe("Krylov methods on any spectrum", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm({ variant: "threads", threads: 2 });
  });
  afterAll(() => backend.close());

  it("refuse a system without equations", async () => {
    const empty: LinearOperator = { n: 0, apply: (x) => x };
    const none = new Float64Array(0);
    for (const outcome of [cg(empty, none), blockCg(empty, none), multiShiftCg(empty, none, [1])]) {
      const error = await refusal(outcome);
      expect(error.code).toBe("E_SHAPE");
      expect(error.message).toContain("at least one row");
    }
    for (const make of [jacobi, blockJacobi, pivotedCholesky])
      expect((await refusal(make(empty))).code).toBe("E_SHAPE");
    const matrix = new MemoryMatrix(new Float32Array(0), { rows: 0, columns: 0, symmetric: true, exponent: 0 });
    expect((await refusal(tileOperator(backend, await kernelSource(matrix)))).code).toBe("E_SHAPE");
    const features = featureOperator(backend, { n: 0, features: 3, rows: () => new Float32Array(0) });
    expect((await refusal(features)).code).toBe("E_SHAPE");
  });

  /**
   * What `work` returns; undefined where it was refused for stagnation, with the iteration. That is right only where
   * rounding x alone, by half a unit in its last places, leaves about a residual that is too large.
   */
  async function solvedOr<T>(full: Float64Array, n: number, b: Float64Array, m: number, work: () => Promise<T>) {
    const outcome = await work().catch((thrown: unknown) => {
      if (thrown instanceof WidefieldError && thrown.code === "E_NOT_CONVERGED") return thrown;
      throw thrown;
    });
    if (!(outcome instanceof WidefieldError)) return outcome;
    expect(outcome.details["iteration"]).toBeGreaterThanOrEqual(1);
    const x = gaussSolve(full, n, b, m);
    const reachable = Array.from({ length: m }, (_, v) => {
      const column = (values: Float64Array) => values.filter((__, at) => at % m === v);
      const size = norm(column(b));
      return size === 0 ? 0 : (2 ** -53 * norm(full) * norm(column(x))) / size;
    });
    expect(Math.max(...reachable)).toBeGreaterThan(TOLERANCE / 100);
    return undefined;
  }

  it("cg solves as elimination does, with any preconditioner and ridge", async () => {
    await fc.assert(
      fc.asyncProperty(matrixChoices({ max: 150 }), names, ridges, async ({ kind, n, seed }, name, lambda) => {
        const { a, eigenvalues, uniform } = spectralMatrix(kind, n, seed);
        const b = new Float64Array(n).map(() => uniform() - 0.5);
        const operator = denseOperator(a, n);
        const preconditioner = await preconditioners[name]?.(operator, lambda);
        const options = { lambda, preconditioner, tolerance: TOLERANCE, maxIterations: MANY };
        const full = shifted(a, n, lambda);
        const solved = await solvedOr(full, n, b, 1, () => cg(operator, b, options));
        if (solved === undefined) return;
        expect(solved.converged).toBe(true);
        expect(solved.history.length).toBeGreaterThan(solved.iterations);
        expect(solved.relativeResidual).toBeLessThanOrEqual(TOLERANCE);
        expectSolved({ x: solved.x, full, smallest: smallestOf(eigenvalues, lambda) }, n, b, 1);
      }),
      { numRuns: 30, examples: large.map((choice) => [choice, "pivotedCholesky", 1e-4]) },
    );
  });

  it("blockCg solves as elimination does, with dependent and zero right-hand sides among the others", async () => {
    await fc.assert(
      fc.asyncProperty(
        matrixChoices({ max: 150 }),
        names,
        ridges,
        fc.array(fc.constantFrom("fresh", "zero", "repeated", "sum", "tiny"), { minLength: 1, maxLength: 8 }),
        async ({ kind, n, seed }, name, lambda, columns) => {
          const { a, eigenvalues, uniform } = spectralMatrix(kind, n, seed);
          const m = columns.length;
          const b = new Float64Array(n * m);
          columns.forEach((column, v) => {
            for (let i = 0; i < n; i++) {
              const [first = 0, before = 0] = [b[i * m], b[i * m + Math.max(0, v - 1)]];
              const fresh = uniform() - 0.5;
              const kinds = { fresh, zero: 0, repeated: before, sum: first - 3 * before, tiny: 1e-100 * fresh };
              b[i * m + v] = kinds[column];
            }
          });
          const operator = denseOperator(a, n);
          const preconditioner = await preconditioners[name]?.(operator, lambda);
          const options = { lambda, preconditioner, tolerance: TOLERANCE, maxIterations: MANY };
          const full = shifted(a, n, lambda);
          const solved = await solvedOr(full, n, b, m, () => blockCg(operator, b, options));
          if (solved === undefined) return;
          expect(solved.converged).toBe(true);
          expect(Math.max(...solved.relativeResiduals)).toBeLessThanOrEqual(TOLERANCE);
          expect(Math.max(0, ...solved.ranks)).toBeLessThanOrEqual(Math.min(n, m));
          expectSolved({ x: solved.x, full, smallest: smallestOf(eigenvalues, lambda) }, n, b, m);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("multiShiftCg solves a whole grid as elimination does, from 0 and tiny ridges to large ones", async () => {
    await fc.assert(
      fc.asyncProperty(
        matrixChoices({ max: 150 }),
        fc.array(ridges, { minLength: 1, maxLength: 6 }),
        async ({ kind, n, seed }, lambdas) => {
          const { a, eigenvalues, uniform } = spectralMatrix(kind, n, seed);
          const b = new Float64Array(n).map(() => uniform() - 0.5);
          const hardest = shifted(a, n, Math.min(...lambdas));
          const options = { tolerance: TOLERANCE, maxIterations: MANY };
          const solved = await solvedOr(hardest, n, b, 1, () => multiShiftCg(denseOperator(a, n), b, lambdas, options));
          if (solved === undefined) return;
          expect(solved.converged).toBe(true);
          solved.solutions.forEach(({ x, lambda, relativeResidual }, index) => {
            expect(lambda).toBe(lambdas[index]);
            expect(relativeResidual).toBeLessThanOrEqual(TOLERANCE);
            expectSolved({ x, full: shifted(a, n, lambda), smallest: smallestOf(eigenvalues, lambda) }, n, b, 1);
          });
        },
      ),
      { numRuns: 30 },
    );
  });

  it("an indefinite matrix is named with the iteration, or its system is solved all the same", async () => {
    let named = 0;
    await fc.assert(
      fc.asyncProperty(matrixChoices({ min: 2, max: 80 }), fc.integer({ min: 1, max: 3 }), async (choice, m) => {
        const { kind, n, seed } = choice;
        const { a: positive, eigenvalues, uniform } = spectralMatrix(kind, n, seed);
        // Below the middle of the spectrum everything is negative now.
        const middle = eigenvalues.slice().sort()[n >> 1] ?? NaN;
        const a = shifted(positive, n, -middle - 1e-3);
        const b = new Float64Array(n * m).map(() => uniform() - 0.5);
        const outcome = await blockCg(denseOperator(a, n), b, { tolerance: TOLERANCE }).catch(
          (thrown: unknown) => thrown,
        );
        if (outcome instanceof WidefieldError) {
          named++;
          expect(["E_NOT_POSITIVE_DEFINITE", "E_NOT_CONVERGED"]).toContain(outcome.code);
          expect(outcome.details["iteration"]).toBeGreaterThanOrEqual(1);
          return;
        }
        const { x, converged } = outcome as Awaited<ReturnType<typeof blockCg>>;
        if (converged) expect(norm(difference(times(a, n, x, m), b))).toBeLessThan(1e-8 * norm(b));
      }),
      { numRuns: 30 },
    );
    expect(named).toBeGreaterThan(15);
  });

  it("tiles in float32 solve the rounded matrix to the same tolerance, whatever part of them is in memory", async () => {
    await fc.assert(
      fc.asyncProperty(matrixChoices(), fc.nat({ max: 400_000 }), async ({ kind, n, seed }, memoryBytes) => {
        const { a, uniform } = spectralMatrix(kind, n, seed);
        const rounded = Float32Array.from(a);
        const b = new Float64Array(n).map(() => uniform() - 0.5);
        const lambda = 1e-2;
        const matrix = new MemoryMatrix(rounded, { rows: n, columns: n, symmetric: true, exponent: 0 });
        await using operator = await tileOperator(backend, await kernelSource(matrix), { memoryBytes });
        const preconditioner = await pivotedCholesky(operator, { lambda, rank: 30 });
        const { x, converged } = await cg(operator, b, { lambda, preconditioner, tolerance: TOLERANCE });
        expect(converged).toBe(true);
        // Rounding to float32 moves eigenvalues by 6e-8 of the norm at most.
        const full = shifted(Float64Array.from(rounded), n, lambda);
        expectSolved({ x, full, smallest: lambda - 6e-8 * norm(full) }, n, b, 1);
      }),
      { numRuns: 12, examples: large.map((choice) => [choice, 0]) },
    );
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });
});
