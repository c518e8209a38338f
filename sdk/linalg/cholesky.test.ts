/** The front of the Cholesky factorisation: solves, jitter, errors, scale, progress, memory. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  difference,
  entry,
  naiveCholesky,
  naiveForward,
  norm,
  randoms,
  times,
  withSpectrum,
} from "../../test/spectra.ts";
import { openWasm, wasmConfigurations } from "../../test/wasm.ts";
import type { Backend } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import { cholesky, type CholeskyOptions, type CholeskyProgress } from "./cholesky.ts";
import { denseSymmetric, type SymmetricSource, type Values } from "./source.ts";

async function refusal(promise: Promise<unknown>): Promise<WidefieldError> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(outcome).toBeInstanceOf(WidefieldError);
  return outcome as WidefieldError;
}

const positive = (n: number): Float64Array => withSpectrum(Array.from({ length: n }, () => 0.2 + Math.random()));

/**
 * How far rounding may move pivot `index` of a matrix of norm 2: it is v^T A v for v = (-L11^-T l, 1), so by v^T v times
 * the backward error of a factorisation.
 */
function pivotRounding(l: Float64Array, n: number, index: number): number {
  const w = l.slice(index * n, index * n + index);
  for (let i = index - 1; i >= 0; i--) {
    const x = (w[i] ?? Number.NaN) / entry(l, n, i, i);
    w[i] = x;
    for (let j = 0; j < i; j++) w[j] = (w[j] ?? Number.NaN) - entry(l, n, i, j) * x;
  }
  return 2 * n * 2 ** -53 * (1 + norm(w) ** 2);
}

describe.each(wasmConfigurations)("cholesky on wasm: $variant, $threads threads", (configuration) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm(configuration);
  });
  afterAll(() => backend.close());

  const factorise = (values: Values, n: number, options?: CholeskyOptions) =>
    cholesky(backend, denseSymmetric(values, n), options);

  it("solves, half-solves and takes the log-determinant as the plain algorithm does", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 150 }), fc.integer({ min: 1, max: 37 }), async (n, m) => {
        const a = positive(n);
        const x = randoms(n * m);
        const b = times(a, n, x, m);
        using factor = await factorise(a, n);
        const naive = naiveCholesky(a, n);
        expect(norm(difference(await factor.solve(b), x)) / norm(x)).toBeLessThan(1e-13);
        const y = await factor.forward(b);
        expect(norm(difference(y, naiveForward(naive.l, n, b, m))) / norm(y)).toBeLessThan(1e-13);
        const logDeterminant = naive.pivots.reduce((sum, pivot) => sum + Math.log(pivot), 0);
        expect(Math.abs(factor.logDeterminant - logDeterminant)).toBeLessThan(1e-13 * n);
        expect(factor.smallestPivot).toBeCloseTo(Math.min(...naive.pivots), 12);
        expect(factor.smallestPivotIndex).toBe(naive.pivots.indexOf(Math.min(...naive.pivots)));
        expect(factor.jitterUsed).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  it("solves a large system with many right-hand sides to a small backward error, from float32 entries", async () => {
    const n = 1157;
    const m = 70;
    const points = Array.from({ length: n }, () => [Math.random(), Math.random()] as const);
    const a = new Float32Array(n * n);
    points.forEach(([x, y], i) => {
      points.forEach(([u, v], j) => (a[i * n + j] = Math.exp(-Math.hypot(x - u, y - v)) + (i === j ? 0.01 : 0)));
    });
    const b = randoms(n * m);
    using factor = await factorise(a, n);
    const x = await factor.solve(b);
    expect(norm(difference(times(a, n, x, m), b)) / (norm(a) * norm(x))).toBeLessThan(1e-15);
  });

  it("solves ill-conditioned systems to what their conditioning permits", async () => {
    const n = 120;
    const a = withSpectrum(Array.from({ length: n }, (_, i) => 10 ** ((-10 * i) / (n - 1))));
    const b = randoms(n);
    using factor = await factorise(a, n);
    const x = await factor.solve(b);
    expect(norm(difference(times(a, n, x), b)) / (norm(a) * norm(x))).toBeLessThan(1e-15);
  });

  it("is scale-invariant: powers of four change no bit but the exponent", async () => {
    const n = 75;
    const a = positive(n);
    const b = randoms(n);
    using factor = await factorise(a, n, { jitter: 1e-3 });
    const x = await factor.solve(b);
    for (const exponent of [-240, -126, 2, 126, 400]) {
      const scale = 2 ** exponent;
      using scaled = await factorise(
        a.map((value) => value * scale),
        n,
        { jitter: 1e-3 },
      );
      expect((await scaled.solve(b)).map((value) => value * scale)).toEqual(x);
      expect(scaled.smallestPivot).toBe(factor.smallestPivot * scale);
    }
  });

  it("adds the jitter that was asked for, relative to the mean diagonal", async () => {
    const n = 40;
    const a = positive(n).map((value) => value * 50);
    const mean = Array.from({ length: n }, (_, i) => entry(a, n, i, i)).reduce((sum, value) => sum + value, 0) / n;
    using factor = await factorise(a, n, { jitter: 0.25 });
    expect(factor.jitterUsed).toBe(0.25);
    expect(factor.meanDiagonal).toBeCloseTo(mean, 10);
    const x = randoms(n);
    const b = times(a, n, x).map((value, i) => value + 0.25 * mean * (x[i] ?? Number.NaN));
    expect(norm(difference(await factor.solve(b), x))).toBeLessThan(1e-12);
  });

  it("auto takes no jitter where none is needed, and the first decade that passes where it is", async () => {
    const n = 90;
    using good = await factorise(positive(n), n, { jitter: "auto" });
    expect(good.jitterUsed).toBe(0);
    for (const smallest of [-1e-13, -3e-7, -2e-3]) {
      const a = withSpectrum(Array.from({ length: n }, (_, i) => (i === 0 ? smallest : 1)));
      const mean = (n - 1 + smallest) / n;
      const reads: number[] = [];
      using factor = await factorise(a, n, {
        jitter: "auto",
        onProgress: ({ phase, fraction, jitter }) => {
          if (phase === "read" && fraction === 1) reads.push(jitter);
        },
      });
      const expected = Math.max(1e-10, 10 ** Math.ceil(Math.log10(-smallest / mean)));
      expect(factor.jitterUsed / expected).toBeCloseTo(1, 10);
      // The failed pivot proves most decades hopeless: they are not tried.
      expect(reads.length).toBeLessThanOrEqual(1 + 3);
    }
  });

  it("auto does not accept a pivot that is rounding noise: two equal rows", async () => {
    for (let repeat = 0; repeat < 10; repeat++) {
      const n = 50;
      const points = Array.from({ length: n }, () => Math.random());
      points[n - 1] = points[7] ?? 0;
      const a = new Float64Array(n * n).map((_, at) =>
        Math.exp(-8 * Math.abs((points[at % n] ?? 0) - (points[Math.floor(at / n)] ?? 0))),
      );
      using factor = await factorise(a, n, { jitter: "auto" });
      expect(factor.jitterUsed).toBe(1e-10);
      expect(factor.smallestPivot).toBeGreaterThan(1e-11);
    }
  });

  it("a failure names the pivot, its value, the smallest before it, a lower bound and what would have passed", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 200 }),
        fc.double({ min: 1e-9, max: 0.9, noNaN: true }),
        async (n, size) => {
          const a = withSpectrum(Array.from({ length: n }, (_, i) => (i === 0 ? -size : 1 + Math.random())));
          const naive = naiveCholesky(a, n);
          const error = await refusal(factorise(a, n, { jitter: 0 }));
          expect(error.code).toBe("E_NOT_POSITIVE_DEFINITE");
          expect(error.details["pivot"]).toBe(naive.passed);
          const off = (detail: string, value: number): number => Math.abs((error.details[detail] as number) - value);
          const value = naive.pivots[naive.passed] ?? Number.NaN;
          expect(off("value", value)).toBeLessThan(pivotRounding(naive.l, n, naive.passed));
          const before = naive.pivots.subarray(0, naive.passed);
          const least = before.indexOf(Math.min(...before));
          if (least >= 0)
            expect(off("smallestBefore", Math.min(...before))).toBeLessThan(pivotRounding(naive.l, n, least));
          const mean = Array.from({ length: n }, (_, i) => entry(a, n, i, i)).reduce((sum, x) => sum + x, 0) / n;
          if (!(mean > 0)) return;
          // What eigenvalues of this size can be known to in float64.
          const slack = 20 * n * 2 ** -53;
          expect(error.details["jitterBound"]).toBeGreaterThan(0);
          expect(error.details["jitterBound"]).toBeLessThan((size + slack) / mean);
          const needed = error.details["jitterNeeded"] as number | undefined;
          if (size < 0.9 * mean) expect(needed).toBeDefined();
          if (needed === undefined) return;
          expect(needed * mean).toBeGreaterThan(size - slack);
          expect(needed === 1e-10 || (needed / 10) * mean <= size + slack).toBe(true);
          expect(error.message).toContain(`pivot ${naive.passed} `);
          using factor = await factorise(a, n, { jitter: needed });
          expect(factor.jitterUsed).toBe(needed);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("without explain, a failure costs one attempt and still gives the bound", async () => {
    const n = 30;
    const a = withSpectrum(Array.from({ length: n }, (_, i) => (i === 0 ? -0.01 : 1)));
    let blocks = 0;
    const dense = denseSymmetric(a, n);
    const source: SymmetricSource = {
      n,
      block: (...range) => {
        blocks++;
        return dense.block(...range);
      },
    };
    const error = await refusal(cholesky(backend, source, { explain: false }));
    expect(blocks).toBe(2); // its diagonal, and all of it
    expect(error.details["jitterNeeded"]).toBeUndefined();
    expect(error.message).toMatch(/at least .* times the mean diagonal/);
  });

  it("says so when no jitter can help", async () => {
    const zero = await refusal(factorise(new Float64Array(9), 3, { jitter: "auto" }));
    expect(zero.code).toBe("E_NOT_POSITIVE_DEFINITE");
    const indefinite = withSpectrum([-5, 1, 1, 1, 1, 1.5]);
    const error = await refusal(factorise(indefinite, 6, { jitter: "auto" }));
    expect(error.message).toContain("not the covariance of anything");
  });

  it("gives the same bits for any block size of the source, synchronous or not", async () => {
    const n = 210;
    const a = positive(n);
    const b = randoms(n * 5);
    using whole = await factorise(a, n);
    const expected = await whole.solve(b);
    for (const blockSize of [1, 7, 64, 100, 209, 210, 5000]) {
      const dense = denseSymmetric(a, n);
      const source: SymmetricSource = { n, blockSize, block: async (...range) => dense.block(...range) };
      using factor = await cholesky(backend, source);
      expect(await factor.solve(b)).toEqual(expected);
    }
  });

  it("never reads above the diagonal", async () => {
    const n = 70;
    const a = positive(n);
    const half = a.map((value, at) => (at % n > Math.floor(at / n) ? Number.NaN : value));
    const b = randoms(n);
    using full = await factorise(a, n);
    using lower = await factorise(half, n);
    expect(await lower.solve(b)).toEqual(await full.solve(b));
  });

  it("refuses what cannot be factorised or solved, by name", async () => {
    const n = 20;
    const a = positive(n);
    expect((await refusal(cholesky(backend, { n: 0, block: () => new Float64Array(0) }))).code).toBe("E_SHAPE");
    expect(() => denseSymmetric(new Float64Array(12), 4)).toThrow(/must be square/);
    const short = await refusal(cholesky(backend, { n, block: () => new Float64Array(3) }));
    expect([short.code, short.details["length"]]).toEqual(["E_SHAPE", 3]);
    for (const [row, column, value] of [
      [13, 4, Number.NaN],
      [0, 0, Infinity],
      [19, 19, -Infinity],
    ] as const) {
      const wrong = a.slice();
      wrong[row * n + column] = value;
      const error = await refusal(factorise(wrong, n));
      expect([error.code, error.details["row"], error.details["column"]]).toEqual(["E_DATA", row, column]);
      expect(error.message).toContain(`entry (${row}, ${column})`);
    }
    for (const jitter of [-1e-9, Number.NaN, Infinity])
      expect((await refusal(factorise(a, n, { jitter }))).code).toBe("E_CONFIG");
    const factor = await factorise(a, n);
    for (const length of [0, 1, 19, 21]) {
      const error = await refusal(factor.solve(new Float64Array(length)));
      expect([error.code, error.details["length"]]).toEqual(["E_SHAPE", length]);
    }
    const rhs = randoms(n * 3);
    rhs[7 * 3 + 2] = Number.NaN;
    const error = await refusal(factor.forward(rhs));
    expect([error.code, error.details["row"], error.details["column"]]).toEqual(["E_DATA", 7, 2]);
    factor.dispose();
    factor.dispose();
    expect((await refusal(factor.solve(randoms(n)))).code).toBe("E_CLOSED");
  });

  it("says how large a matrix is that does not fit, and keeps nothing of it", async () => {
    const before = backend.stats().slots;
    const error = await refusal(cholesky(backend, { n: 40_000, block: () => new Float64Array(0) }));
    expect(error.code).toBe("E_MEMORY");
    expect(error.message).toContain("40000 x 40000");
    expect(backend.stats().slots).toBe(before);
  });

  it("stops when told to, before, while reading and while factorising", async () => {
    const n = 700;
    const a = positive(n);
    const aborted = AbortSignal.abort();
    expect((await refusal(factorise(a, n, { signal: aborted }))).code).toBe("E_ABORTED");
    for (const phase of ["read", "factor"] as const) {
      const controller = new AbortController();
      const stop = ({ phase: now }: CholeskyProgress): void => {
        if (now === phase) controller.abort();
      };
      const run = factorise(a, n, { signal: controller.signal, onProgress: stop });
      if (phase === "read") expect((await refusal(run)).code).toBe("E_ABORTED");
      else (await run.catch(() => undefined))?.dispose();
    }
  });

  it("reports progress that grows to 1, with a rate", async () => {
    const n = 600;
    const seen: CholeskyProgress[] = [];
    using factor = await factorise(positive(n), n, { onProgress: (progress) => seen.push(progress) });
    for (const phase of ["read", "factor"]) {
      const fractions = seen.filter((progress) => progress.phase === phase).map(({ fraction }) => fraction);
      expect(fractions).toEqual([...fractions].sort((x, y) => x - y));
      expect(fractions.at(-1)).toBeCloseTo(1, 1);
    }
    expect(factor.gflops).toBeGreaterThan(0);
    expect(factor.seconds).toBeGreaterThan(0);
  });

  it("releases all memory, whatever happened", async () => {
    await backend.finish();
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });
});
