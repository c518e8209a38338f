/** Many right-hand sides, and grids of ridges, against solves one by one and dense float64 solves. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { denseSolve, graded, mild, refusal, shifted } from "../../test/krylov-systems.ts";
import { gaussSolve } from "../../test/naive-eigen.ts";
import { difference, norm, randoms, times, withSpectrum } from "../../test/spectra.ts";
import { blockCg } from "./block-cg.ts";
import { cg } from "./cg.ts";
import { multiShiftCg } from "./multi-shift-cg.ts";
import { denseOperator, type LinearOperator } from "./operator.ts";
import { jacobi } from "./preconditioner.ts";

const sizes = fc.integer({ min: 1, max: 60 });

describe("blockCg", () => {
  it("solves every column as cg does by itself", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.integer({ min: 1, max: 12 }), async (n, m) => {
        const a = mild(n);
        const b = randoms(n * m);
        const operator = denseOperator(a, n);
        const preconditioner = Math.random() < 0.5 ? undefined : await jacobi(operator, { lambda: 0.1 });
        const options = { lambda: 0.1, tolerance: 1e-12, preconditioner };
        const { x, converged } = await blockCg(operator, b, options);
        expect(converged).toBe(true);
        for (let v = 0; v < m; v++) {
          const column = (values: Float64Array) => values.filter((_, at) => at % m === v);
          const alone = (await cg(operator, column(b), options)).x;
          expect(norm(difference(column(x), alone)) / norm(alone)).toBeLessThan(1e-10);
        }
      }),
      { numRuns: 40 },
    );
  });

  it("handles right-hand sides of any rank and scale: repeated, dependent, zero, more than there are rows", async () => {
    const n = 25;
    const a = mild(n);
    const [u, v] = [randoms(n), randoms(n)];
    const columns = [u, v, u, u.map((x, i) => x - 3 * (v[i] as number)), new Float64Array(n), v.map((x) => x * 1e-30)];
    for (let extra = 0; extra < 30; extra++) columns.push(randoms(n));
    const m = columns.length;
    const b = Float64Array.from(
      { length: n * m },
      (_, at) => (columns[at % m] as Float64Array)[Math.floor(at / m)] as number,
    );
    const { x, ranks, relativeResiduals } = await blockCg(denseOperator(a, n), b, { tolerance: 1e-12 });
    const residual = difference(times(a, n, x, m), b);
    columns.forEach((column, index) => {
      const own = residual.filter((_, at) => at % m === index);
      expect(norm(own)).toBeLessThanOrEqual(2e-12 * norm(column));
      expect(relativeResiduals[index]).toBeLessThanOrEqual(1e-12);
    });
    expect(Math.max(...ranks)).toBeLessThanOrEqual(n);
    const few = await blockCg(
      denseOperator(a, n),
      b.filter((_, at) => at % m < 6),
      { tolerance: 1e-12 },
    );
    expect(few.ranks[0]).toBe(2);
  });

  it("needs no more passes than its hardest column alone, and fewer where the spectrum is hard", async () => {
    const n = 100;
    const a = withSpectrum(graded(n, 5));
    const m = 10;
    const b = randoms(n * m);
    const operator = denseOperator(a, n);
    const block = await blockCg(operator, b, { tolerance: 1e-8 });
    const alone = await cg(
      operator,
      b.filter((_, at) => at % m === 0),
      { tolerance: 1e-8 },
    );
    expect(block.iterations).toBeLessThan(alone.iterations / 2);
  });

  it("is as accurate as a condition of 1e10 permits", async () => {
    const [n, m] = [120, 7];
    const a = withSpectrum(graded(n, 10));
    const exact = randoms(n * m);
    const b = times(a, n, exact, m);
    const { x, converged } = await blockCg(denseOperator(a, n), b, { tolerance: 1e-13, maxIterations: 100_000 });
    expect(converged).toBe(true);
    expect(norm(difference(x, exact)) / norm(exact)).toBeLessThan(2e-3);
    expect(norm(difference(times(a, n, x, m), b)) / norm(b)).toBeLessThan(2e-13);
  });

  it("refuses indefinite and singular matrices with the iteration", async () => {
    const n = 30;
    const a = withSpectrum(Array.from({ length: n }, (_, i) => (i === 3 ? -0.5 : 1 + Math.random())));
    const error = await refusal(blockCg(denseOperator(a, n), randoms(n * 4)));
    expect(error.code).toBe("E_NOT_POSITIVE_DEFINITE");
    expect(error.details["iteration"]).toBeGreaterThanOrEqual(1);
    const singular = withSpectrum(Array.from({ length: n }, (_, i) => (i < 20 ? 1 + i / 10 : 0)));
    const none = await refusal(blockCg(denseOperator(singular, n), randoms(n * 3), { tolerance: 1e-10 }));
    expect(["E_NOT_POSITIVE_DEFINITE", "E_NOT_CONVERGED"]).toContain(none.code);
  });

  it("gives zeros for zeros, and solves one equation with three right-hand sides", async () => {
    const { x, iterations } = await blockCg(denseOperator(mild(6), 6), new Float64Array(18));
    expect([x, iterations]).toEqual([new Float64Array(18), 0]);
    const one = await blockCg(denseOperator(Float64Array.of(4), 1), Float64Array.of(1, 0, -8));
    expect(Array.from(one.x, (value) => value + 0)).toEqual([0.25, 0, -2]);
  });
});

describe("multiShiftCg", () => {
  it("solves for every ridge as cg does by itself", async () => {
    await fc.assert(
      fc.asyncProperty(
        sizes,
        fc.array(fc.double({ min: -6, max: 6, noNaN: true }), { minLength: 1, maxLength: 8 }),
        async (n, decades) => {
          const a = mild(n);
          const b = randoms(n);
          const lambdas = decades.map((decade) => 10 ** decade);
          const operator = denseOperator(a, n);
          const { solutions, converged } = await multiShiftCg(operator, b, lambdas, { tolerance: 1e-12 });
          expect(converged).toBe(true);
          expect(solutions.map(({ lambda }) => lambda)).toEqual(lambdas);
          for (const { lambda, x } of solutions) {
            const alone = (await cg(operator, b, { lambda, tolerance: 1e-12 })).x;
            expect(norm(difference(x, alone)) / norm(alone)).toBeLessThan(1e-10);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it("takes one Krylov space for a whole grid, down to a condition of 1e10", async () => {
    const n = 120;
    const a = withSpectrum(graded(n, 12));
    const b = randoms(n);
    const lambdas = [1, 1e-10, 1e-2, 1e-4, 0.1, 1e-6, 1e-8, 1e-8];
    let passes = 0;
    const dense = denseOperator(a, n);
    const operator: LinearOperator = { n, apply: (x, vectors) => (passes++, dense.apply(x, vectors)) };
    const options = { tolerance: 1e-5, maxIterations: 100_000 };
    const { solutions, iterations } = await multiShiftCg(operator, b, lambdas, options);
    expect(passes).toBeLessThan(1.01 * iterations + 10); // the rest are looks at true residuals
    for (const { lambda, x, relativeResidual } of solutions) {
      const full = shifted(a, n, lambda);
      expect(norm(difference(times(full, n, x), b)) / norm(b)).toBeLessThan(1.1e-5);
      expect(relativeResidual).toBeLessThanOrEqual(1e-5);
      const expected = denseSolve(full, n, b);
      // By ||r|| / (smallest eigenvalue), and what the dense solve may be off by.
      expect(norm(difference(x, expected))).toBeLessThan((1.1e-5 * norm(b)) / (lambda + 1e-12) + 1e-5 * norm(expected));
    }
    const order = [...solutions].sort((p, q) => q.lambda - p.lambda).map(({ iterations: own }) => own);
    expect(order).toEqual([...order].sort((p, q) => p - q));
  });

  it("needs no more passes for a grid than its smallest ridge needs alone", async () => {
    const n = 80;
    const operator = denseOperator(withSpectrum(graded(n, 3)), n);
    const b = randoms(n);
    const alone = await cg(operator, b, { lambda: 1e-3 });
    const { iterations } = await multiShiftCg(operator, b, [10, 1, 0.1, 0.01, 1e-3]);
    expect(iterations).toBe(alone.iterations);
  });

  it("says which lambda fails and which had arrived, and the rest can be asked for", async () => {
    const n = 60;
    const singular = withSpectrum(Array.from({ length: n }, (_, i) => (i < 40 ? 1 + i : 0)));
    const operator = denseOperator(singular, n);
    const b = randoms(n);
    const lambdas = [1, 0, 100, 1e-3];
    const error = await refusal(multiShiftCg(operator, b, lambdas, { tolerance: 1e-10 }));
    expect(["E_NOT_POSITIVE_DEFINITE", "E_NOT_CONVERGED"]).toContain(error.code);
    expect(error.message).toContain("lambda = 0, of a grid");
    expect(error.details["lambda"]).toBe(0);
    expect(error.details["iteration"]).toBeGreaterThanOrEqual(1);
    expect(error.details["arrived"]).toContain(100);
    expect(error.details["arrived"]).not.toContain(0);
    const rest = await multiShiftCg(operator, b, [1, 100, 1e-3], { tolerance: 1e-10 });
    expect(rest.converged).toBe(true);
  });

  it("takes a grid from 0 and tiny ridges to huge ones where the matrix alone is regular", async () => {
    const n = 50;
    const a = mild(n);
    const b = randoms(n);
    const lambdas = [0, 1e-300, 1e-17, 1e-8, 1, 1e8, 1e150, 1e300];
    const { solutions, converged } = await multiShiftCg(denseOperator(a, n), b, lambdas, { tolerance: 1e-12 });
    expect(converged).toBe(true);
    for (const { lambda, x } of solutions) {
      const expected = gaussSolve(shifted(a, n, lambda), n, b);
      const miss = x.map((value, i) => value / (expected[i] as number) - 1);
      const far = norm(difference(x, expected)) / norm(expected);
      expect(lambda < 1e100 ? far : norm(miss)).toBeLessThan(1e-10);
    }
  });

  it("gives zeros for zeros, refuses an empty grid, a negative ridge, several right-hand sides", async () => {
    const operator = denseOperator(mild(5), 5);
    const { solutions, iterations } = await multiShiftCg(operator, new Float64Array(5), [0, 1]);
    expect([solutions.map(({ x }) => x), iterations]).toEqual([[new Float64Array(5), new Float64Array(5)], 0]);
    expect((await refusal(multiShiftCg(operator, randoms(5), []))).code).toBe("E_CONFIG");
    expect((await refusal(multiShiftCg(operator, randoms(5), [1, -1]))).message).toContain("lambdas[1]");
    expect((await refusal(multiShiftCg(operator, randoms(10), [1]))).code).toBe("E_SHAPE");
  });
});
