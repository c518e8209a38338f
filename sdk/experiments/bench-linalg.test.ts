/** The benchmark's matrix, its rows, and the peak that its shares are of. No test looks at how long anything takes. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { open, type Engine } from "../index.node.ts";
import { measurePeak, samplePeak } from "../engine/peak.ts";
import { cholesky } from "../linalg/cholesky.ts";
import { benchLinalg } from "./bench-linalg.ts";
import { LineKernel } from "./bench-matrix.ts";
import { BENCH_METHODS, type BenchMethod } from "./bench-workloads.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await open({ backend: "wasm", threads: 2, memory: "1GB", seed: 7 });
});
afterAll(() => engine.close());

describe("the line kernel", () => {
  it("has the same bits in whatever block they are asked for, and in a larger matrix", () => {
    const whole = new LineKernel(1100, 3).block(0, 1100, 0, 1100);
    const place = fc.nat(1099);
    fc.assert(
      fc.property(place, place, place, place, fc.nat(300), (a, b, c, d, more) => {
        const [rowBegin, rowEnd] = [Math.min(a, b), Math.max(a, b) + 1];
        const [columnBegin, columnEnd] = [Math.min(c, d), Math.max(c, d) + 1];
        const block = new LineKernel(1100 + more, 3).block(rowBegin, rowEnd, columnBegin, columnEnd);
        const width = columnEnd - columnBegin;
        const off = block.findIndex((value, at) => {
          const [i, j] = [rowBegin + Math.floor(at / width), columnBegin + (at % width)];
          return value !== (j > i ? 0 : whole[i * 1100 + j]);
        });
        expect(off).toBe(-1);
      }),
      { numRuns: 30 },
    );
  });

  it("is exp of minus a distance: ordered points' entries multiply, and neighbours' are near 1", () => {
    const n = 700;
    const dense = new LineKernel(n, 11).dense();
    const at = (i: number, j: number): number => dense[i * n + j] ?? NaN;
    for (let k = 0; k + 9 < n; k += 13) {
      const [i, j] = [k + 4, k + 9];
      expect(at(j, i) * at(i, k)).toBeCloseTo(at(j, k), 6);
      expect(at(i, j)).toBe(at(j, i));
      expect(at(k, k)).toBe(Math.fround(1.1));
      expect(at(k + 1, k)).toBeGreaterThan(0.97);
    }
  });

  it("is positive definite: no pivot falls below the noise, at any size", async () => {
    for (const n of [1, 2, 5, 513, 1025]) {
      using factor = await cholesky(engine, new LineKernel(n, n));
      expect(factor.smallestPivot).toBeGreaterThan(0.0999);
    }
  });

  it("differs from seed to seed", () => {
    const [a, b] = [1, 2].map((seed) => new LineKernel(40, seed).dense());
    expect(a).not.toEqual(b);
  });
});

describe("the peak", () => {
  it("counts the operations of whole samples, is a finite rate, and leaves nothing in the engine", async () => {
    for (const precision of ["f32", "f64"] as const) {
      const { operations, seconds } = await samplePeak(engine.backend, precision, 0.002);
      expect(Number.isInteger(operations) && operations > 0).toBe(true);
      expect(seconds).toBeGreaterThan(0);
      const peak = await measurePeak(engine.backend, precision, 1);
      expect(peak > 0 && Number.isFinite(peak)).toBe(true);
    }
    expect(engine.backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });
});

describe("a row", () => {
  const n = 96;
  const operations: Record<BenchMethod, number | undefined> = {
    cholesky: n ** 3 / 3,
    solve: 2 * n * n * 3,
    inverse: n ** 3 / 3,
    extend: (n ** 3 - (n - 12) ** 3) / 3,
    eigh: 9 * n ** 3,
    eigenvalues: (4 * n ** 3) / 3,
    cg: undefined,
    product: 2 * n * n * 3,
  };

  it.each(BENCH_METHODS)("of %s counts the textbook's operations and frees all it took", async (method) => {
    const progress: number[] = [];
    const onProgress = (done: number, of: number): void => void progress.push(done / of);
    const row = await benchLinalg(engine, { method, n, vectors: 3, repeats: 2 }, { onProgress });
    expect(row).toMatchObject({ method, n, adapter: engine.info.adapter, threads: 2 });
    expect(row.operations).toBe(operations[method] ?? 2 * n * n * (row.iterations ?? NaN));
    expect(row.samples.length).toBe(2);
    expect(row.gflops).toBeCloseTo(row.operations / row.seconds / 1e9, 9);
    expect(row.shareOfPeak).toBeCloseTo(row.gflops / row.peakGflops, 9);
    expect(row.engineBytes).toBeGreaterThanOrEqual(row.triangleBytes);
    expect(row.vectors).toBe(method === "solve" || method === "product" ? 3 : undefined);
    expect((row.shareOfSum ?? 0) > 0).toBe(method === "product");
    expect((row.gigabytesPerSecond ?? 0) > 0).toBe(method === "product" || method === "cg");
    expect(progress[0]).toBe(0);
    expect(progress.every((value) => value >= 0 && value <= 1)).toBe(true);
    expect(engine.backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });

  it.each(BENCH_METHODS)("of %s that does not fit says what it needs, and leaves nothing behind", async (method) => {
    for (const n of [200_000, 10 ** 9]) {
      await expect(benchLinalg(engine, { method, n, vectors: 1 })).rejects.toMatchObject({
        code: "E_MEMORY",
        message: expect.stringMatching(/memory/) as string,
      });
    }
    expect(engine.backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });

  it("ends with the signal", async () => {
    const controller = new AbortController();
    const onProgress = (): void => controller.abort();
    const { signal } = controller;
    const bench = { method: "cholesky", n: 600 } as const;
    await expect(benchLinalg(engine, bench, { signal, onProgress })).rejects.toMatchObject({ code: "E_ABORTED" });
    expect(engine.backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });
});
