/** Conjugate gradients against dense float64 solves: accuracy, stopping, refusals. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { denseSolve, graded, mild, refusal, shifted } from "../../test/krylov-systems.ts";
import { difference, norm, randoms, times, withSpectrum } from "../../test/spectra.ts";
import { WidefieldError } from "../errors.ts";
import { blockCg } from "./block-cg.ts";
import { cg } from "./cg.ts";
import { multiShiftCg } from "./multi-shift-cg.ts";
import { denseOperator, type LinearOperator } from "./operator.ts";
import { pivotedCholesky } from "./pivoted-cholesky.ts";
import { blockJacobi, jacobi } from "./preconditioner.ts";

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

  it.each([1e250, 1e-250])(
    "solves with entries of %f, preconditioned or not, and knows an indefinite one",
    async (size) => {
      const n = 30;
      const a = mild(n).map((value) => value * size);
      const b = randoms(n);
      const operator = denseOperator(a, n);
      for (const preconditioner of [undefined, await jacobi(operator), await pivotedCholesky(operator, { rank: 5 })]) {
        const { x, converged } = await cg(operator, b, { preconditioner, tolerance: 1e-12 });
        expect(converged).toBe(true);
        expect(norm(difference(times(a, n, x), b)) / norm(b)).toBeLessThan(2e-12);
        const block = await blockCg(operator, b, { preconditioner, tolerance: 1e-12 });
        expect(norm(difference(times(a, n, block.x), b)) / norm(b)).toBeLessThan(2e-12);
      }
      const { solutions } = await multiShiftCg(operator, b, [size, 0], { tolerance: 1e-12 });
      for (const { lambda, x } of solutions)
        expect(norm(difference(times(shifted(a, n, lambda), n, x), b)) / norm(b)).toBeLessThan(2e-12);
      const indefinite = withSpectrum(Array.from({ length: n }, (_, i) => (i === 3 ? -0.5 : 1) * size));
      const error = await refusal(cg(denseOperator(indefinite, n), b));
      expect(error.details).toMatchObject({ singular: false });
      expect((error.details["curvature"] as number) / size).toBeLessThan(-1e-3);
    },
  );

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

  it("refuses what a preconditioner returns by mistake, with the iteration", async () => {
    const operator = denseOperator(mild(4), 4);
    const short = await refusal(cg(operator, randoms(4), { preconditioner: { n: 4, apply: () => randoms(3) } }));
    expect([short.code, short.details["iteration"]]).toEqual(["E_SHAPE", 0]);
    let calls = 0;
    const apply = (r: Float64Array) => (calls++ < 2 ? r.slice() : r.map((value, i) => (i === 2 ? NaN : value)));
    const bad = await refusal(cg(operator, randoms(4), { preconditioner: { n: 4, apply }, tolerance: 1e-15 }));
    expect([bad.code, bad.details["index"], bad.details["iteration"]]).toEqual(["E_DATA", 2, 2]);
  });

  it("knows the iteration in which an operator stopped in the middle of a product", async () => {
    const dense = denseOperator(withSpectrum(graded(40, 6)), 40);
    const controller = new AbortController();
    let products = 0;
    const operator: LinearOperator = {
      n: 40,
      apply(x, vectors) {
        if (products++ < 3) return dense.apply(x, vectors);
        controller.abort();
        throw new WidefieldError("E_ABORTED", "in the middle of a tile");
      },
    };
    const error = await refusal(cg(operator, randoms(40), { signal: controller.signal }));
    expect([error.code, error.details["iteration"]]).toEqual(["E_ABORTED", 3]);
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
