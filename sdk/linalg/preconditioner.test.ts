/** Jacobi, block Jacobi and pivoted Cholesky against the matrices that they stand for. */
import fc from "fast-check";
import { gaussSolve } from "../../test/naive-eigen.ts";
import { refusal } from "../../test/krylov-systems.ts";
import { describe, expect, it } from "vitest";
import { difference, norm, randoms, spectralMatrix, times, withSpectrum } from "../../test/spectra.ts";
import { cg } from "./cg.ts";
import { denseOperator } from "./operator.ts";
import { pivotedCholesky } from "./pivoted-cholesky.ts";
import { blockJacobi, jacobi } from "./preconditioner.ts";

const mild = (n: number) => withSpectrum(Array.from({ length: n }, () => 0.2 + Math.random()));
const sizes = fc.integer({ min: 1, max: 40 });

describe("preconditioners", () => {
  it("invert the diagonal, the diagonal blocks, or L L' + lambda I, for blocks of vectors", async () => {
    await fc.assert(
      fc.asyncProperty(
        sizes,
        fc.integer({ min: 1, max: 45 }),
        fc.integer({ min: 1, max: 3 }),
        async (n, k, vectors) => {
          const a = mild(n);
          const lambda = 0.3;
          const operator = denseOperator(a, n);
          const r = randoms(n * vectors);
          const pivoted = await pivotedCholesky(operator, { lambda, rank: k });
          const low = (i: number, j: number) => {
            let sum = 0;
            for (let c = 0; c < pivoted.rank; c++)
              sum += (pivoted.factor[c * n + i] as number) * (pivoted.factor[c * n + j] as number);
            return sum;
          };
          const meant: readonly (readonly [{ apply: typeof pivoted.apply }, (i: number, j: number) => number])[] = [
            [await jacobi(operator, { lambda }), (i, j) => (i === j ? (a[i * n + i] as number) : 0)],
            [
              await blockJacobi(operator, { lambda, block: k }),
              (i, j) => (Math.floor(i / k) === Math.floor(j / k) ? (a[i * n + j] as number) : 0),
            ],
            [pivoted, low],
          ];
          for (const [preconditioner, entry] of meant) {
            const m = new Float64Array(n * n);
            for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) m[i * n + j] = entry(i, j) + (i === j ? lambda : 0);
            const z = await preconditioner.apply(r, vectors);
            for (let v = 0; v < vectors; v++) {
              const [part, whole] = [z.subarray(v * n, (v + 1) * n), r.subarray(v * n, (v + 1) * n)];
              expect(norm(difference(times(m, n, part), whole)) / norm(whole)).toBeLessThan(1e-12);
            }
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  it("pivoted Cholesky takes the largest pivots first, and is exact at full rank", async () => {
    const n = 30;
    const a = mild(n);
    const { rank, pivots, factor, relativeTrace } = await pivotedCholesky(denseOperator(a, n), { rank: n, lambda: 1 });
    expect(rank).toBe(n);
    expect([...pivots].sort((x, y) => x - y)).toEqual(Array.from({ length: n }, (_, i) => i));
    const diagonal = Array.from({ length: n }, (_, i) => a[i * n + i] as number);
    expect(pivots[0]).toBe(diagonal.indexOf(Math.max(...diagonal)));
    const back = new Float64Array(n * n).map((_, at) => {
      let sum = 0;
      for (let c = 0; c < n; c++)
        sum += (factor[c * n + Math.floor(at / n)] as number) * (factor[c * n + (at % n)] as number);
      return sum;
    });
    expect(norm(difference(back, a)) / norm(a)).toBeLessThan(1e-14);
    expect(relativeTrace).toBeLessThan(1e-14);
  });

  it("pivoted Cholesky finds the rank, and the ridge alone makes a singular matrix regular", async () => {
    const n = 25;
    const a = withSpectrum(Array.from({ length: n }, (_, i) => (i < 6 ? 1 + i : 0)));
    const operator = denseOperator(a, n);
    const { rank, relativeTrace } = await pivotedCholesky(operator, { lambda: 1e-3 });
    expect(rank).toBeGreaterThanOrEqual(6);
    expect(rank).toBeLessThanOrEqual(8);
    expect(relativeTrace).toBeLessThan(1e-13);
    const zero = await refusal(pivotedCholesky(denseOperator(new Float64Array(9), 3)));
    expect(zero.code).toBe("E_NOT_POSITIVE_DEFINITE");
  });

  it("stays accurate where the ridge is 1e-12 of the matrix", async () => {
    const n = 60;
    const a = withSpectrum(Array.from({ length: n }, (_, i) => 10 ** (-i / 4)));
    const lambda = 1e-12;
    const preconditioner = await pivotedCholesky(denseOperator(a, n), { lambda, rank: 20 });
    const x = randoms(n);
    const m = (z: Float64Array) => {
      const y = z.map((value) => value * lambda);
      for (let c = 0; c < preconditioner.rank; c++) {
        const column = preconditioner.factor.subarray(c * n, (c + 1) * n);
        const along = column.reduce((sum, value, i) => sum + value * (z[i] as number), 0);
        for (let i = 0; i < n; i++) y[i] = (y[i] as number) + along * (column[i] as number);
      }
      return y;
    };
    // M^-1 of M x: rounding of M x is amplified by the condition, 1e12; Woodbury with L' L would lose its square.
    const back = await preconditioner.apply(m(x), 1);
    expect(norm(difference(back, x)) / norm(x)).toBeLessThan(1e-2);
  });

  it("are the inverse itself at full rank, without a ridge, down to one row", async () => {
    for (const n of [1, 2, 3, 17, 40]) {
      const { a } = spectralMatrix("random", n, n);
      const operator = denseOperator(a, n);
      const r = randoms(2 * n);
      for (const preconditioner of [
        await pivotedCholesky(operator, { rank: n }),
        await pivotedCholesky(operator, { rank: 3 * n }),
        await blockJacobi(operator, { block: n + 5 }),
        ...(n === 1 ? [await jacobi(operator)] : []),
      ]) {
        const z = await preconditioner.apply(r, 2);
        for (const at of [0, n]) {
          const expected = gaussSolve(a, n, r.subarray(at, at + n));
          expect(norm(difference(z.subarray(at, at + n), expected)) / norm(expected)).toBeLessThan(1e-12);
        }
        const { iterations } = await cg(operator, r.subarray(0, n), { preconditioner, tolerance: 1e-12 });
        expect(iterations).toBeLessThanOrEqual(2);
      }
    }
  });

  it("pivoted Cholesky stays positive definite where the ridge is far below the rounding of the matrix", async () => {
    const n = 60;
    const { a } = spectralMatrix("graded", n, 5);
    for (const lambda of [1e-16, 1e-20, 1e-100]) {
      const preconditioner = await pivotedCholesky(denseOperator(a, n), { lambda, rank: 20 });
      for (let draw = 0; draw < 20; draw++) {
        // Along the columns of A, where (I - Q Q') / sigma is all cancellation.
        const r = times(a, n, randoms(n));
        const z = await preconditioner.apply(r, 1);
        expect(r.reduce((sum, value, i) => sum + value * (z[i] as number), 0)).toBeGreaterThan(0);
      }
    }
  });

  it("pivoted Cholesky takes kernels that are indefinite by float32's rounding, if there is a ridge", async () => {
    const n = 150;
    const points = randoms(n).sort();
    const a = Float32Array.from({ length: n * n }, (_, at) => {
      const distance = (points[Math.floor(at / n)] as number) - (points[at % n] as number);
      return Math.exp(-distance * distance);
    });
    const operator = denseOperator(a, n);
    const lambda = 1e-4;
    const preconditioner = await pivotedCholesky(operator, { lambda, rank: 100 });
    expect(preconditioner.rank).toBeGreaterThanOrEqual(5);
    expect(preconditioner.relativeTrace).toBeLessThan(1e-5);
    const b = randoms(n);
    const solved = await cg(operator, b, { lambda, preconditioner });
    expect(solved.converged).toBe(true);
    expect(solved.iterations).toBeLessThan(10);
  });

  it("of features take the diagonal from where it is cheap", async () => {
    let blocks = 0;
    const dense = denseOperator(spectralMatrix("random", 9, 1).a, 9);
    const operator = {
      ...dense,
      entries: () => (blocks++, new Float64Array(81)),
      diagonal: () => Float64Array.from({ length: 9 }, (_, i) => i + 1),
    };
    const inverse = await jacobi(operator);
    expect(await inverse.apply(new Float64Array(9).fill(1), 1)).toEqual(
      Float64Array.from({ length: 9 }, (_, i) => 1 / (i + 1)),
    );
    expect(blocks).toBe(0);
    expect((await refusal(jacobi({ ...operator, diagonal: () => new Float64Array(8) }))).code).toBe("E_SHAPE");
    const bad = await refusal(jacobi({ ...operator, diagonal: () => new Float64Array(9).fill(NaN) }));
    expect(bad.details).toMatchObject({ row: 0, column: 0 });
  });

  it("name the pivot of an indefinite block whose diagonal is positive, and stop on a signal", async () => {
    const indefinite = Float64Array.of(1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0, 2, 1);
    const operator = denseOperator(indefinite, 4);
    expect((await refusal(blockJacobi(operator, { block: 2 }))).details).toMatchObject({ pivot: 3, value: -3 });
    expect((await refusal(pivotedCholesky(operator))).code).toBe("E_NOT_POSITIVE_DEFINITE");
    expect((await jacobi(operator)).n).toBe(4);
    expect((await blockJacobi(operator, { block: 2, lambda: 1.5 })).n).toBe(4);
    for (const make of [jacobi, blockJacobi, pivotedCholesky])
      expect((await refusal(make(operator, { signal: AbortSignal.abort() }))).code).toBe("E_ABORTED");
    for (const traceTolerance of [-1, 1, NaN])
      expect((await refusal(pivotedCholesky(operator, { traceTolerance }))).code).toBe("E_CONFIG");
  });

  it("refuse what they cannot use, and say which pivot", async () => {
    const bad = Float64Array.of(1, 0, 0, 0, -2, 0, 0, 0, 1);
    for (const make of [jacobi, blockJacobi, pivotedCholesky]) {
      const error = await refusal(make(denseOperator(bad, 3)));
      expect([error.code, error.details["pivot"]]).toEqual(["E_NOT_POSITIVE_DEFINITE", 1]);
      expect((await refusal(make({ n: 3, apply: (x) => x }))).message).toContain("entries");
      expect((await refusal(make(denseOperator(bad, 3), { lambda: -1 }))).code).toBe("E_CONFIG");
    }
    expect((await refusal(blockJacobi(denseOperator(bad, 3), { block: 0 }))).code).toBe("E_CONFIG");
    expect((await refusal(pivotedCholesky(denseOperator(bad, 3), { rank: 0.5 }))).code).toBe("E_CONFIG");
    const entries = () => Float64Array.of(1, NaN, 0, 0, 1, 0, 0, 0, 1);
    expect((await refusal(jacobi({ n: 3, apply: (x) => x, entries }))).message).toContain("(0, 1)");
  });
});
