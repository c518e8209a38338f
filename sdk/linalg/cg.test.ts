/** Conjugate gradients against dense float64 solves: accuracy, stopping, refusals. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { difference, naiveCholesky, naiveForward, norm, randoms, times, withSpectrum } from "../../test/spectra.ts";
import { WidefieldError } from "../errors.ts";
import { blockCg } from "./block-cg.ts";
import { cg } from "./cg.ts";
import { multiShiftCg } from "./multi-shift-cg.ts";
import { denseOperator, type LinearOperator } from "./operator.ts";
import { pivotedCholesky } from "./pivoted-cholesky.ts";
import { blockJacobi, jacobi } from "./preconditioner.ts";

async function refusal(promise: Promise<unknown>): Promise<WidefieldError> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(outcome).toBeInstanceOf(WidefieldError);
  return outcome as WidefieldError;
}

/** A + shift I. */
function shifted(a: Float64Array, n: number, shift: number): Float64Array {
  return a.map((value, at) => (at % (n + 1) === 0 ? value + shift : value));
}

/** The solution of a dense positive definite system by the plain Cholesky algorithm. */
function denseSolve(a: Float64Array, n: number, b: Float64Array, m = 1): Float64Array {
  const { l } = naiveCholesky(a, n);
  const y = naiveForward(l, n, b, m);
  const reversed = (values: Float64Array) => {
    const out = new Float64Array(values.length);
    for (let i = 0; i < n; i++) out.set(values.subarray(i * m, (i + 1) * m), (n - 1 - i) * m);
    return out;
  };
  const transposed = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) transposed[(n - 1 - i) * n + (n - 1 - j)] = l[j * n + i] as number;
  return reversed(naiveForward(transposed, n, reversed(y), m));
}

const graded = (n: number, decades: number) =>
  Array.from({ length: n }, (_, i) => 10 ** ((-decades * i) / Math.max(1, n - 1)));
const mild = (n: number) => withSpectrum(Array.from({ length: n }, () => 0.1 + Math.random()));
const sizes = fc.integer({ min: 1, max: 60 });

describe("cg", () => {
  it("solves as the plain dense algorithm does, for any size and ridge", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.double({ min: 0, max: 10, noNaN: true }), async (n, lambda) => {
        const a = mild(n);
        const b = randoms(n);
        const { x, converged, relativeResidual } = await cg(denseOperator(a, n), b, { lambda, tolerance: 1e-13 });
        const full = shifted(a, n, lambda);
        const expected = denseSolve(full, n, b);
        expect(converged).toBe(true);
        expect(norm(difference(x, expected)) / norm(expected)).toBeLessThan(1e-11);
        expect(norm(difference(times(full, n, x), b)) / norm(b)).toBeLessThan(2e-13);
        expect(relativeResidual).toBeLessThanOrEqual(1e-13);
      }),
      { numRuns: 40 },
    );
  });

  it.each([4, 8, 10])("is as accurate as a condition of 1e%i permits", async (decades) => {
    const n = 120;
    const a = withSpectrum(graded(n, decades));
    const exact = randoms(n);
    const b = times(a, n, exact);
    const tolerance = 1e-13;
    const options = { tolerance, maxIterations: 100_000 };
    const { x, converged, iterations, history } = await cg(denseOperator(a, n), b, options);
    expect(converged).toBe(true);
    expect(norm(difference(times(a, n, x), b)) / norm(b)).toBeLessThan(2 * tolerance);
    // ||x - exact|| <= ||A^-1|| ||r||, and the same again for the rounding of b.
    expect(norm(difference(x, exact)) / norm(exact)).toBeLessThan(10 ** decades * 2 * tolerance);
    expect(history.length).toBeGreaterThanOrEqual(iterations);
    expect(history[0]).toBe(1);
  });

  it("counts preconditioned iterations below plain ones on a kernel matrix, and solves the same system", async () => {
    const n = 200;
    const points = Array.from(randoms(n)).sort((a, b) => a - b);
    const a = Float64Array.from({ length: n * n }, (_, at) => {
      const distance = (points[Math.floor(at / n)] as number) - (points[at % n] as number);
      return Math.exp(-8 * distance * distance);
    });
    const lambda = 1e-4;
    const operator = denseOperator(a, n);
    const b = randoms(n);
    const options = { lambda, tolerance: 1e-8, maxIterations: 20_000 };
    const plain = await cg(operator, b, options);
    const expected = denseSolve(shifted(a, n, lambda), n, b);
    for (const preconditioner of [
      await jacobi(operator, { lambda }),
      await blockJacobi(operator, { lambda, block: 23 }),
      await pivotedCholesky(operator, { lambda, rank: 30 }),
    ]) {
      const { x, converged, relativeResidual } = await cg(operator, b, { ...options, preconditioner });
      expect(converged).toBe(true);
      expect(relativeResidual).toBeLessThanOrEqual(1e-8);
      expect(norm(difference(x, expected))).toBeLessThan((2e-8 * norm(b)) / lambda);
    }
    const strong = await cg(operator, b, {
      ...options,
      preconditioner: await pivotedCholesky(operator, { lambda, rank: 30 }),
    });
    expect(strong.iterations).toBeLessThan(plain.iterations / 3);
  });

  it("gives zero for a right-hand side of zero, without a product", async () => {
    let products = 0;
    const operator = { n: 7, apply: (x: Float64Array) => (products++, x) };
    const { x, iterations, converged, relativeResidual, history } = await cg(operator, new Float64Array(7));
    expect(x).toEqual(new Float64Array(7));
    expect([iterations, converged, relativeResidual, history, products]).toEqual([0, true, 0, [0], 0]);
  });

  it("solves one equation in one unknown", async () => {
    const { x, iterations } = await cg(denseOperator(Float64Array.of(4), 1), Float64Array.of(2), { lambda: 1 });
    expect(x[0]).toBeCloseTo(0.4, 15);
    expect(iterations).toBe(1);
  });

  it("solves the same system in any unit, down to the exponent", async () => {
    const n = 30;
    const a = mild(n);
    const b = randoms(n);
    const { x } = await cg(denseOperator(a, n), b);
    const tiny = await cg(
      denseOperator(a, n),
      b.map((value) => value * 2 ** -900),
    );
    expect(tiny.x.map((value) => value * 2 ** 900)).toEqual(x);
    // 2^1100 A is beyond float64, and its solution is not.
    const huge = await cg(
      { ...denseOperator(a, n), exponent: 1100 },
      b.map((value) => value * 2 ** 1000),
    );
    expect(huge.x.map((value) => value * 2 ** 100)).toEqual(x);
    const ridge = await cg(denseOperator(a, n), b, { lambda: 0.5 });
    expect(
      (await cg({ ...denseOperator(a, n), exponent: 10 }, b, { lambda: 512 })).x.map((value) => value * 1024),
    ).toEqual(ridge.x);
  });

  it("begins where it is told to", async () => {
    const n = 40;
    const a = mild(n);
    const x = randoms(n);
    const { iterations, converged } = await cg(denseOperator(a, n), times(a, n, x), { start: x, tolerance: 1e-12 });
    expect([iterations, converged]).toEqual([0, true]);
  });

  it("stops at an absolute residual, or at the cap with the residual of what it has", async () => {
    const n = 50;
    const a = withSpectrum(graded(n, 4));
    const b = randoms(n);
    const operator = denseOperator(a, n);
    const absolute = await cg(operator, b, { tolerance: 0, absoluteTolerance: 1e-3 });
    expect(absolute.stop).toBe("absolute");
    expect(absolute.residualNorm).toBeLessThanOrEqual(1e-3);
    const capped = await cg(operator, b, { maxIterations: 3 });
    expect(capped).toMatchObject({ stop: "iterations", converged: false, iterations: 3 });
    const residual = norm(difference(times(a, n, capped.x), b));
    expect(Math.abs(capped.residualNorm - residual) / residual).toBeLessThan(1e-12);
  });

  it("names the iteration and the curvature of an indefinite matrix", async () => {
    const n = 40;
    const a = withSpectrum(Array.from({ length: n }, (_, i) => (i === 3 ? -0.5 : 1 + Math.random())));
    const error = await refusal(cg(denseOperator(a, n), randoms(n)));
    expect(error.code).toBe("E_NOT_POSITIVE_DEFINITE");
    expect(error.details["iteration"]).toBeGreaterThanOrEqual(1);
    expect(error.details["curvature"]).toBeLessThan(0);
    expect((await cg(denseOperator(a, n), randoms(n), { lambda: 0.7 })).converged).toBe(true);
  });

  it("solves a singular system that has a solution, and refuses one that has none", async () => {
    const n = 30;
    const a = withSpectrum(Array.from({ length: n }, (_, i) => (i < 20 ? 1 + i / 10 : 0)));
    const operator = denseOperator(a, n);
    const b = times(a, n, randoms(n));
    const { x } = await cg(operator, b, { tolerance: 1e-10 });
    expect(norm(difference(times(a, n, x), b)) / norm(b)).toBeLessThan(2e-10);
    const error = await refusal(cg(operator, randoms(n), { tolerance: 1e-10 }));
    expect(["E_NOT_POSITIVE_DEFINITE", "E_NOT_CONVERGED"]).toContain(error.code);
    expect(error.details["iteration"]).toBeGreaterThanOrEqual(1);
    expect((await refusal(cg(denseOperator(new Float64Array(9), 3), Float64Array.of(1, 2, 3)))).details).toMatchObject({
      iteration: 1,
      singular: true,
    });
  });

  it("says that a tolerance below rounding cannot be reached, and what could", async () => {
    const n = 60;
    const a = withSpectrum(graded(n, 10));
    const error = await refusal(cg(denseOperator(a, n), randoms(n), { tolerance: 1e-15, maxIterations: 100_000 }));
    expect(error.code).toBe("E_NOT_CONVERGED");
    expect(error.message).toMatch(/stagnated in iteration \d+/);
    expect(error.details["residual"]).toBeGreaterThan(1e-15);
    expect(error.details["history"]).toBeInstanceOf(Array);
  });

  it("looks at the true residual on a plateau, and goes on unchanged where it is as it should be", async () => {
    const n = 60;
    const operator = denseOperator(withSpectrum(graded(n, 6)), n);
    const b = randoms(n);
    const options = { tolerance: 1e-6 };
    const { x, iterations } = await cg(operator, b, options);
    const watched = await cg(operator, b, { ...options, stagnationWindow: 1 });
    expect([watched.x, watched.iterations]).toEqual([x, iterations]);
  });

  it("refuses what is not finite with its place, and sizes that do not fit", async () => {
    const operator = denseOperator(mild(5), 5);
    const bad = await refusal(cg(operator, Float64Array.of(1, 2, 3, NaN, 5)));
    expect(bad.code).toBe("E_DATA");
    expect(bad.message).toContain("(3, 0)");
    const matrix = Float64Array.from({ length: 9 }, (_, at) => (at === 7 ? Infinity : 1));
    expect(() => denseOperator(matrix, 3)).toThrow("entry (2, 1) of the matrix is Infinity");
    expect(() => denseOperator(matrix, 4)).toThrow("must be square");
    expect((await refusal(cg(operator, randoms(7)))).code).toBe("E_SHAPE");
    expect((await refusal(cg(operator, randoms(10)))).message).toContain("blockCg");
    expect((await refusal(cg({ n: 0, apply: (x) => x }, randoms(0)))).code).toBe("E_SHAPE");
    expect((await refusal(cg({ n: 3, apply: () => new Float64Array(2) }, randoms(3)))).code).toBe("E_SHAPE");
    const poisoned = { n: 3, apply: (x: Float64Array) => x.map((value, i) => (i === 1 ? NaN : value)) };
    const product = await refusal(cg(poisoned, randoms(3)));
    expect([product.code, product.details["index"]]).toEqual(["E_DATA", 1]);
    for (const options of [
      { lambda: -1 },
      { lambda: NaN },
      { tolerance: -1 },
      { maxIterations: 0 },
      { absoluteTolerance: NaN },
    ])
      expect((await refusal(cg(operator, randoms(5), options))).code).toBe("E_CONFIG");
  });

  it("refuses a preconditioner that is not positive definite", async () => {
    const preconditioner = { n: 4, apply: (r: Float64Array) => r.map((value) => -value) };
    const error = await refusal(cg(denseOperator(mild(4), 4), randoms(4), { preconditioner }));
    expect(error.code).toBe("E_NOT_POSITIVE_DEFINITE");
    expect(error.message).toContain("preconditioner");
  });

  it("reports every iteration, and stops when it is told to", async () => {
    const n = 50;
    const operator = denseOperator(withSpectrum(graded(n, 6)), n);
    const controller = new AbortController();
    const seen: number[] = [];
    const error = await refusal(
      cg(operator, randoms(n), {
        signal: controller.signal,
        onProgress: ({ iteration }) => {
          seen.push(iteration);
          if (iteration === 4) controller.abort();
        },
      }),
    );
    expect([error.code, error.details["iteration"]]).toEqual(["E_ABORTED", 4]);
    expect(seen).toEqual([0, 1, 2, 3, 4]);
  });

  it("lets the event loop run, so that a signal can arrive at all", async () => {
    const n = 400;
    const operator: LinearOperator = {
      n,
      apply(x) {
        for (const end = performance.now() + 2; performance.now() < end;);
        return x.map((value, i) => value * (1 + i));
      },
    };
    const controller = new AbortController();
    setTimeout(() => {
      controller.abort();
    }, 1);
    const error = await refusal(cg(operator, randoms(n), { signal: controller.signal, tolerance: 1e-14 }));
    expect(error.code).toBe("E_ABORTED");
  });
});

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

  it("gives zeros for zeros, refuses an empty grid, a negative ridge, several right-hand sides", async () => {
    const operator = denseOperator(mild(5), 5);
    const { solutions, iterations } = await multiShiftCg(operator, new Float64Array(5), [0, 1]);
    expect([solutions.map(({ x }) => x), iterations]).toEqual([[new Float64Array(5), new Float64Array(5)], 0]);
    expect((await refusal(multiShiftCg(operator, randoms(5), []))).code).toBe("E_CONFIG");
    expect((await refusal(multiShiftCg(operator, randoms(5), [1, -1]))).message).toContain("lambdas[1]");
    expect((await refusal(multiShiftCg(operator, randoms(10), [1]))).code).toBe("E_SHAPE");
  });
});
