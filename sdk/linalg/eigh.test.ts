/** Eigenpairs of symmetric matrices: known spectra, awkward spectra, sizes, scales, bad input. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { entry, norm, randoms, times, withSpectrum } from "../../test/spectra.ts";
import { openWasm, wasmConfigurations } from "../../test/wasm.ts";
import type { Backend } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import { eigh, eighBytes, type EighOptions, type EighProgress } from "./eigh.ts";
import type { Values } from "./source.ts";

function symmetric(n: number, of: (i: number, j: number) => number): Float64Array {
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = of(i, j);
  return a;
}

/** Diagonal 2, neighbours -1: eigenvalues 2 - 2 cos(pi k / (n + 1)). */
const secondDifference = (n: number): Float64Array => symmetric(n, (i, j) => (i === j ? 2 : i - j === 1 ? -1 : 0));

function transposed(v: Float64Array, rows: number, columns: number): Float64Array {
  return new Float64Array(v.length).map((_, at) => entry(v, columns, at % rows, Math.floor(at / rows)));
}

describe.each(wasmConfigurations)("eigh on wasm: $variant, $threads threads", (configuration) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm(configuration);
  });
  afterAll(() => backend.close());

  /** Decomposes, and checks A V = V L and V'V = I to 1e-13 n (of |A|, of 1), the order, and that nothing leaks. */
  async function decompose(a: Values, n: number, options: EighOptions = {}): Promise<Float64Array> {
    const { values, vectors } = await eigh(backend, a, options);
    expect(backend.stats().slots).toBe(0);
    const k = values.length;
    expect(k).toBe(options.largest ?? n);
    for (let j = 1; j < k; j++) expect(values[j]).toBeGreaterThanOrEqual(values[j - 1] ?? NaN);
    if (vectors === undefined) return values;
    const scale = Math.max(...a.map(Math.abs), Number.MIN_VALUE);
    const normalised = Float64Array.from(a, (x) => x / scale);
    const product = times(normalised, n, vectors, k);
    const miss = product.map((x, at) => x - ((values[at % k] ?? NaN) / scale) * (vectors[at] ?? NaN));
    expect(norm(miss)).toBeLessThan(1e-13 * n);
    const v = transposed(vectors, n, k);
    for (let i = 0; i < k; i++) {
      for (let j = 0; j <= i; j++) {
        let dot = i === j ? -1 : 0;
        for (let r = 0; r < n; r++) dot += entry(v, n, i, r) * entry(v, n, j, r);
        expect(Math.abs(dot)).toBeLessThan(1e-13 * n);
      }
    }
    return values;
  }

  function expectValues(actual: Float64Array, expected: readonly number[], n: number): void {
    const sorted = [...expected].sort((x, y) => x - y).slice(-actual.length);
    const scale = Math.max(...expected.map(Math.abs));
    actual.forEach((value, j) => {
      expect(Math.abs(value - (sorted[j] ?? NaN))).toBeLessThanOrEqual(1e-14 * n * scale);
    });
  }

  it("finds random spectra of either sign, with all vectors, some or none", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 70 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (n, share) => {
          const spectrum = [...randoms(n)];
          const a = withSpectrum(spectrum);
          const largest = 1 + Math.floor(share * (n - 1));
          const all = await decompose(a, n);
          expectValues(all, spectrum, n);
          expect(await decompose(a, n, { largest })).toEqual(all.slice(n - largest));
          expect(await decompose(a, n, { vectors: false })).toEqual(all);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("is right across panels, work items and batches of sweeps", async () => {
    for (const n of [31, 32, 33, 64, 65, 127, 130, 197]) {
      const spectrum = [...randoms(n)];
      expectValues(await decompose(withSpectrum(spectrum), n), spectrum, n);
    }
  });

  it("finds the eigenvalues of second differences", async () => {
    for (const n of [2, 3, 16, 150]) {
      const expected = Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos((Math.PI * (k + 1)) / (n + 1)));
      expectValues(await decompose(secondDifference(n), n), expected, n);
    }
  });

  it("takes zero, the identity, diagonals, rank one and pairs that only meet across", async () => {
    for (const n of [1, 2, 3, 40, 67]) {
      expectValues(await decompose(new Float64Array(n * n), n), new Array<number>(n).fill(0), n);
      expectValues(
        await decompose(
          symmetric(n, (i, j) => (i === j ? 1 : 0)),
          n,
        ),
        new Array<number>(n).fill(1),
        n,
      );
      const entries = [...randoms(n)];
      expectValues(
        await decompose(
          symmetric(n, (i, j) => (i === j ? (entries[i] ?? 0) : 0)),
          n,
        ),
        entries,
        n,
      );
      const ones = Array.from({ length: n }, (_, i) => (i === 0 ? n : 0));
      expectValues(await decompose(new Float64Array(n * n).fill(1), n), ones, n);
      const swapped = Array.from({ length: n }, (_, i) => (2 * i + 1 === n ? 1 : 2 * i + 1 < n ? -1 : 1));
      expectValues(
        await decompose(
          symmetric(n, (i, j) => (i + j === n - 1 ? 1 : 0)),
          n,
        ),
        swapped,
        n,
      );
    }
  });

  it("keeps vectors orthogonal in repeated and clustered eigenvalues", async () => {
    const n = 90;
    for (const width of [0, 1e-15, 1e-10, 1e-5]) {
      const spectrum = Array.from({ length: n }, (_, i) => (i % 3) + width * Math.random());
      expectValues(await decompose(withSpectrum(spectrum), n), spectrum, n);
    }
  });

  it("keeps its backward error on graded matrices, whichever end is the large one", async () => {
    const n = 60;
    for (const decades of [12, 200]) {
      for (const up of [true, false]) {
        const size = (i: number): number => 10 ** ((-decades * (up ? i : n - 1 - i)) / n);
        await decompose(
          symmetric(n, (i, j) => size(i) * size(j) * (i === j ? 1 : 0.3)),
          n,
        );
      }
    }
  });

  it("a power of two scales the values, and changes no bit of the vectors", async () => {
    const n = 45;
    const a = withSpectrum([...randoms(n)]);
    const plain = await eigh(backend, a);
    for (const exponent of [-900, -40, 3, 1000]) {
      const scaled = await eigh(
        backend,
        a.map((x) => x * 2 ** exponent),
      );
      expect(scaled.values).toEqual(plain.values.map((x) => x * 2 ** exponent));
      expect(scaled.vectors).toEqual(plain.vectors);
    }
  });

  it("keeps its backward error at both ends of float64's range, and across it", async () => {
    const n = 50;
    const spectrum = [...randoms(n)];
    for (const size of [1e-300, 1e-308, 1e300]) {
      const a = withSpectrum(spectrum).map((x) => x * size);
      const found = await decompose(a, n);
      expectValues(
        found,
        spectrum.map((x) => x * size),
        n,
      );
    }
    for (const ends of [
      [300, -300],
      [-300, 300],
      [0, -320],
    ] as const) {
      const size = (i: number): number => 10 ** ((ends[0] + ((ends[1] - ends[0]) * i) / (n - 1)) / 2);
      await decompose(
        symmetric(n, (i, j) => size(i) * size(j) * (i === j ? 1 : 0.3)),
        n,
      );
    }
  });

  it("finds the null space of matrices of low rank", async () => {
    for (const [n, rank] of [
      [2, 1],
      [30, 1],
      [60, 7],
      [130, 64],
    ] as const) {
      const spectrum = Array.from({ length: n }, (_, i) => (i < rank ? 1 + i : 0));
      expectValues(await decompose(withSpectrum(spectrum), n), spectrum, n);
    }
  });

  it("takes float32 entries, and asymmetry no larger than float32's rounding", async () => {
    const n = 37;
    const a = Float32Array.from(withSpectrum([...randoms(n)]));
    const values = await decompose(a, n);
    a[5] = (a[5] ?? 0) + 5e-8 * Math.max(...a.map(Math.abs));
    expect((await eigh(backend, a)).values).toEqual(values);
  });

  async function refusal(a: Values, options?: EighOptions): Promise<WidefieldError> {
    const thrown: unknown = await eigh(backend, a, options).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(thrown).toBeInstanceOf(WidefieldError);
    expect(backend.stats().slots).toBe(0);
    return thrown as WidefieldError;
  }

  it("refuses what has no eigenvalues, and says where", async () => {
    expect(await refusal(new Float64Array(0))).toMatchObject({ code: "E_SHAPE" });
    expect(await refusal(new Float64Array(6))).toMatchObject({ code: "E_SHAPE", details: { length: 6 } });
    for (const value of [NaN, Infinity, -Infinity]) {
      const a = secondDifference(9);
      a[4 * 9 + 7] = value;
      expect(await refusal(a)).toMatchObject({ code: "E_DATA", details: { row: 4, column: 7, value } });
    }
    const skew = secondDifference(80);
    skew[70 * 80 + 3] = 0.5;
    skew[9 * 80 + 8] = -1.25;
    const error = await refusal(skew);
    expect(error).toMatchObject({ code: "E_DATA", details: { row: 70, column: 3, below: 0.5, above: 0 } });
    expect(error.message).toContain("entry (70, 3) is 0.5 and entry (3, 70) is 0");
    for (const largest of [0, -1, 1.5, 5, NaN])
      expect(await refusal(secondDifference(4), { largest })).toMatchObject({ code: "E_CONFIG" });
  });
});

describe("a decomposition under way", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm({ variant: "threads", threads: 2 });
  });
  afterAll(() => backend.close());
  const stopped = async (a: Values, options: EighOptions): Promise<unknown> =>
    eigh(backend, a, options).then(
      () => undefined,
      (error: unknown) => error,
    );

  it("tells how far it is, phase by phase, up to all", async () => {
    const n = 150;
    for (const options of [{}, { vectors: false }, { largest: 3 }]) {
      const seen: EighProgress[] = [];
      await eigh(backend, withSpectrum([...randoms(n)]), { ...options, onProgress: (progress) => seen.push(progress) });
      const phases = [...new Set(seen.map(({ phase }) => phase))];
      const vectors = "vectors" in options ? [] : ["vectors"];
      expect(phases).toEqual(["tridiagonal", "iteration", ...vectors]);
      const fractions = seen.map(({ fraction }) => fraction);
      expect(fractions).toEqual([...fractions].sort((x, y) => x - y));
      expect(fractions[0]).toBeGreaterThan(0);
      expect(fractions.at(-1)).toBe(1);
      expect(seen.at(-1)?.secondsLeft).toBe(0);
    }
  });

  it("stops in any phase, or before the first, and gives its memory back", async () => {
    const n = 150;
    const a = withSpectrum([...randoms(n)]);
    expect(await stopped(a, { signal: AbortSignal.abort() })).toMatchObject({ code: "E_ABORTED" });
    for (const phase of ["tridiagonal", "iteration", "vectors"]) {
      const controller = new AbortController();
      const reached: string[] = [];
      const onProgress = (progress: EighProgress): void => {
        reached.push(progress.phase);
        if (progress.phase === phase) controller.abort("enough");
      };
      const error = await stopped(a, { signal: controller.signal, onProgress });
      // The last piece of the last phase has no work behind it that could be stopped.
      if (phase !== "vectors") expect(error).toMatchObject({ code: "E_ABORTED", cause: "enough" });
      expect(reached.at(-1)).toBe(phase);
      expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
    }
    const error = await stopped(a, {
      onProgress: () => {
        throw new Error("mine");
      },
    });
    expect(error).toMatchObject({ message: "mine" });
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });

  it("takes the memory it says, and refuses one that is too small before any work", async () => {
    const n = 700;
    const a = secondDifference(n);
    for (const options of [{}, { largest: 9 }, { vectors: false }]) {
      let most = 0;
      await eigh(backend, a, { ...options, onProgress: () => (most = Math.max(most, backend.stats().bytes)) });
      expect(most).toBeLessThanOrEqual(eighBytes(n, options) + 16 * 64);
      expect(most).toBeGreaterThan(0.99 * eighBytes(n, options));
    }
    const small = await openWasm({ variant: "threads", threads: 2, memoryBytes: 2 ** 24 });
    let worked = 0;
    const outcome: unknown = await eigh(small, a, { onProgress: () => worked++ }).catch((error: unknown) => error);
    expect(outcome).toMatchObject({ code: "E_MEMORY", details: { requested: eighBytes(n) } });
    expect([worked, small.stats().slots]).toEqual([0, 0]);
    await small.close();
  });
});

it("the same bits come from any number of threads", async () => {
  const n = 203;
  const a = withSpectrum([...randoms(n)]);
  const results = [];
  for (const threads of [1, 2, 5]) {
    const backend = await openWasm({ variant: "threads", threads });
    results.push(await eigh(backend, a));
    await backend.close();
  }
  for (const result of results) expect(result).toEqual(results[0]);
});
