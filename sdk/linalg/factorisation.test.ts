/**
 * The factor itself, entry by entry, for tile and matrix sizes that meet in every way at their edges, in one panel and in
 * many, in memory, in buffers and in files: the same bits wherever it is made.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { planOf } from "../../test/forced-plan.ts";
import { difference, naiveCholesky, norm, randoms, times, withSpectrum, type Matrix } from "../../test/spectra.ts";
import { openWasm, wasmConfigurations } from "../../test/wasm.ts";
import type { Backend } from "../engine/backend.ts";
import { nodeFiles } from "../platform/files.node.ts";
import type { Files } from "../platform/files.ts";
import { attempt, setup, type RunOptions } from "./attempt.ts";
import { cholesky, openFactor } from "./cholesky.ts";
import type { FactorTiles } from "./factor-tiles.ts";
import type { CholeskyPlan } from "./plan.ts";
import { denseSymmetric } from "./source.ts";

const UNIT_ROUNDOFF = 2 ** -53;

let files: Files;
let folder: string;
beforeAll(async () => {
  files = await nodeFiles();
  folder = await mkdtemp(join(tmpdir(), "widefield-factor-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** L as a row-major n x n matrix. */
async function lower(tiles: FactorTiles): Promise<Matrix> {
  const { n, tile, blocks } = tiles.tiling;
  const l = new Float64Array(n * n);
  for (let i = 0; i < blocks; i++) {
    for (let j = 0; j <= i; j++) {
      const values = await tiles.readTile(i, j);
      const columns = tiles.tiling.extent(j);
      for (let r = i * tile; r < Math.min(n, (i + 1) * tile); r++) {
        for (let c = j * tile; c < Math.min(r + 1, (j + 1) * tile); c++) {
          const [row, column] = [r - i * tile, c - j * tile];
          l[r * n + c] = values[((row >> 2) * columns + column) * 4 + (row & 3)] ?? Number.NaN;
        }
      }
    }
  }
  return l;
}

function product(l: Matrix, n: number): Matrix {
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k <= j; k++) sum += (l[i * n + k] ?? Number.NaN) * (l[j * n + k] ?? Number.NaN);
      a[i * n + j] = sum;
      a[j * n + i] = sum;
    }
  }
  return a;
}

const spectrum = fc.constantFrom<(i: number, n: number) => number>(
  () => 0.1 + Math.random(),
  (i, n) => 10 ** ((-12 * i) / n),
  (i) => (i % 3 === 0 ? 1 : 1e-6) * (1 + 1e-9 * Math.random()),
  (i) => (i === 0 ? 1e-11 : 1),
);
const tileSizes = fc.constantFrom(4, 8, 12, 20, 32, 64, 128);
const places = fc.constantFrom<CholeskyPlan["where"]>("memory", "buffers", "scratch");

describe.each(wasmConfigurations)("tiled Cholesky on wasm: $variant, $threads threads", (configuration) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm(configuration);
  });
  afterAll(() => backend.close());

  const run = async (a: Matrix, n: number, options: RunOptions) => {
    const facts = await setup(backend, denseSymmetric(a, n), options);
    return attempt(facts, { absolute: 0, relative: 0 });
  };
  const optionsOf = (n: number, tile: number, where: CholeskyPlan["where"], columns: number): RunOptions => ({
    tile,
    plan: planOf(n, tile, where, columns),
    scratch: { files, folder: `${folder}/run` },
  });

  it("L L^T is A for every meeting of size, tile and panel, whatever the spectrum, and wherever tiles are kept", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 300 }),
        tileSizes,
        places,
        fc.integer({ min: 1, max: 4 }),
        spectrum,
        async (n, tile, where, columns, eigenvalue) => {
          const a = withSpectrum(Array.from({ length: n }, (_, i) => eigenvalue(i, n)));
          const { tiles, failure } = await run(a, n, optionsOf(n, tile, where, columns));
          expect(failure).toBeUndefined();
          const l = await lower(tiles);
          tiles.dispose();
          expect(norm(difference(product(l, n), a)) / norm(a)).toBeLessThan(4 * UNIT_ROUNDOFF * Math.sqrt(n));
          // Not one bit depends on where it is made.
          const { tiles: again } = await run(a, n, optionsOf(n, tile, "memory", 1));
          expect(await lower(again)).toEqual(l);
          again.dispose();
        },
      ),
      { numRuns: 40 },
    );
    expect(backend.stats().slots).toBe(0);
    expect(await readdir(folder)).toEqual([]);
  });

  it("L is the textbook's L on a well-conditioned matrix", async () => {
    for (const [n, tile] of [
      [1, 4],
      [97, 16],
      [203, 64],
      [260, 128],
    ] as const) {
      const a = withSpectrum(Array.from({ length: n }, () => 1 + Math.random()));
      const { tiles } = await run(a, n, optionsOf(n, tile, "buffers", 2));
      const [l, expected] = [await lower(tiles), naiveCholesky(a, n).l];
      expect(Math.max(...difference(l, expected).map(Math.abs))).toBeLessThan(1e-14);
      tiles.dispose();
    }
  });

  it("an indefinite matrix stops at the textbook's pivot, and rows before it are the factor", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 140 }),
        fc.nat(),
        fc.constantFrom(4, 16, 64),
        places,
        async (n, seed, tile, where) => {
          const bad = seed % n;
          const unit = new Float64Array(n * n).map(() => (Math.random() - 0.5) / Math.sqrt(n));
          const pivots = Array.from({ length: n }, (_, i) => (i === bad ? -0.25 : 0.5 + Math.random()));
          const a = fromPivots(unit, pivots);
          const { tiles, failure, pivots: found } = await run(a, n, optionsOf(n, tile, where, 2));
          expect(failure?.index).toBe(bad);
          expect(Math.abs((failure?.value ?? Number.NaN) + 0.25)).toBeLessThan(1e-13);
          for (let i = 0; i < bad; i++)
            expect(Math.abs((found[i] ?? Number.NaN) - (pivots[i] ?? Number.NaN))).toBeLessThan(1e-13);
          tiles.dispose();
        },
      ),
      { numRuns: 60 },
    );
    expect(backend.stats().slots).toBe(0);
    expect(await readdir(folder)).toEqual([]);
  });

  it("solves, half-solves and inverts the diagonal with the same bits wherever the factor is", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom(4, 16, 64),
        fc.constantFrom<CholeskyPlan["where"]>("buffers", "scratch"),
        async (n, m, tile, where) => {
          const a = withSpectrum(Array.from({ length: n }, () => 0.1 + Math.random()));
          const b = randoms(n * m);
          using here = await cholesky(backend, denseSymmetric(a, n), { tile });
          using there = await cholesky(backend, denseSymmetric(a, n), optionsOf(n, tile, where, 1));
          expect(there.plan.where).toBe(where);
          const x = await here.solve(b);
          expect(norm(difference(times(a, n, x, m), b)) / norm(b)).toBeLessThan(1e-12);
          expect(await there.solve(b)).toEqual(x);
          expect(await there.forward(b)).toEqual(await here.forward(b));
          expect(there.logDeterminant).toBe(here.logDeterminant);
          const inverse = await here.inverseDiagonal();
          expect(await there.inverseDiagonal()).toEqual(inverse);
          const identity = new Float64Array(n * n).map((_, at) => (at % (n + 1) === 0 ? 1 : 0));
          const whole = await here.solve(identity);
          inverse.forEach((value, i) => {
            expect(Math.abs(value / (whole[i * (n + 1)] ?? Number.NaN) - 1)).toBeLessThan(1e-12);
          });
        },
      ),
      { numRuns: 25 },
    );
    expect(backend.stats().slots).toBe(0);
  });

  it("extending by rows gives the bits of a factorisation of the whole, wherever the two factors are", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 150 }),
        fc.integer({ min: 0, max: 100 }),
        fc.constantFrom(4, 16, 64),
        places,
        places,
        async (n, more, tile, before, after) => {
          const all = n + more;
          const a = withSpectrum(Array.from({ length: all }, () => 0.1 + Math.random()));
          const leading = new Float64Array(n * n).map((_, at) => a[Math.floor(at / n) * all + (at % n)] ?? Number.NaN);
          const lambda = 0.25;
          using old = await cholesky(backend, denseSymmetric(leading, n), { ...optionsOf(n, tile, before, 2), lambda });
          const scratch = { files, folder: `${folder}/extended` };
          using extended = await old.extend(denseSymmetric(a, all), { ...optionsOf(all, tile, after, 2), scratch });
          using whole = await cholesky(backend, denseSymmetric(a, all), { tile, lambda });
          const b = randoms(all * 2);
          expect(await extended.solve(b)).toEqual(await whole.solve(b));
          expect(extended.logDeterminant).toBe(whole.logDeterminant);
          expect(extended.shift).toBe(lambda);
          // The old one is as it was.
          expect(await old.solve(b.subarray(0, n))).toHaveLength(n);
        },
      ),
      { numRuns: 30 },
    );
    expect(backend.stats().slots).toBe(0);
    expect(await readdir(folder)).toEqual([]);
  });

  it("a factor that is disposed while it solves says so, and computes with nobody else's memory", async () => {
    const [n, tile] = [150, 16];
    const a = withSpectrum(Array.from({ length: n }, () => 0.1 + Math.random()));
    for (const where of ["memory", "buffers", "scratch"] as const) {
      for (const work of ["solve", "forward", "inverseDiagonal"] as const) {
        const factor = await cholesky(backend, denseSymmetric(a, n), optionsOf(n, tile, where, 2));
        const outcome = work === "inverseDiagonal" ? factor.inverseDiagonal() : factor[work](randoms(n));
        factor.dispose();
        await expect(outcome).rejects.toMatchObject({ code: "E_CLOSED" });
        await backend.finish();
      }
    }
    expect(backend.stats().slots).toBe(0);
  });

  it("a kept factor is opened again, in memory or streamed, and a second run takes it from its folder", async () => {
    const [n, tile] = [150, 16];
    const a = withSpectrum(Array.from({ length: n }, () => 0.1 + Math.random()));
    const b = randoms(n);
    const kept = { files, folder: `${folder}/kept` };
    const source = { ...denseSymmetric(a, n), identity: "a matrix" };
    for (const where of ["memory", "scratch"] as const) {
      const options = { ...optionsOf(n, tile, where, 2), scratch: { ...kept, keep: true } };
      using first = await cholesky(backend, source, options);
      const x = await first.solve(b);
      using opened = await openFactor(backend, kept);
      expect(await opened.solve(b)).toEqual(x);
      expect(opened.logDeterminant).toBe(first.logDeterminant);
      let work = 0;
      using again = await cholesky(backend, source, { ...options, onProgress: () => work++ });
      expect(await again.solve(b)).toEqual(x);
      expect(work).toBe(0);
      await rm(kept.folder, { recursive: true });
    }
    using here = await cholesky(backend, source, { tile });
    await here.save(kept);
    using saved = await openFactor(backend, kept);
    expect(await saved.solve(b)).toEqual(await here.solve(b));
    await rm(kept.folder, { recursive: true });
  });
});

/** U D U^T for the unit lower triangle of `unit` (its diagonal taken as 1). */
function fromPivots(unit: Matrix, pivots: readonly number[]): Matrix {
  const n = pivots.length;
  const u = (i: number, k: number): number => (i === k ? 1 : (unit[i * n + k] ?? Number.NaN));
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k <= j; k++) sum += u(i, k) * (pivots[k] ?? Number.NaN) * u(j, k);
      a[i * n + j] = sum;
      a[j * n + i] = sum;
    }
  }
  return a;
}

it("the factor has the same bits for one thread and three, with and without shared memory", async () => {
  const n = 333;
  const a = withSpectrum(Array.from({ length: n }, () => 0.01 + Math.random()));
  const factors: Matrix[] = [];
  const configurations = [...wasmConfigurations, { variant: "threads", threads: 3 } as const];
  for (const configuration of configurations.filter(({ variant }) => variant !== "relaxed")) {
    const backend = await openWasm(configuration);
    for (const columns of [1, 3, 11]) {
      const options = { tile: 32, plan: planOf(n, 32, "buffers", columns) };
      const facts = await setup(backend, denseSymmetric(a, n), options);
      factors.push(await lower((await attempt(facts, { absolute: 0, relative: 0 })).tiles));
    }
    await backend.close();
  }
  for (const factor of factors) expect(factor).toEqual(factors[0]);
});

it("works beyond 2 GiB, where addresses have their highest bit set", async () => {
  const n = 150;
  const a = withSpectrum(Array.from({ length: n }, () => 1 + Math.random()));
  const b = randoms(n);
  for (const variant of ["single", "threads"] as const) {
    const backend = await openWasm({ variant, threads: variant === "single" ? 1 : 2, memoryBytes: 3 * 2 ** 30 });
    using expected = await cholesky(backend, denseSymmetric(a, n), { tile: 64 });
    const x = await expected.solve(b);
    backend.allocate(2 ** 31, "the lower half");
    for (const where of ["memory", "buffers"] as const) {
      using factor = await cholesky(backend, denseSymmetric(a, n), { tile: 64, plan: planOf(n, 64, where, 1) });
      expect(await factor.solve(b)).toEqual(x);
    }
    await backend.close();
  }
});

it("takes at most 1.1 times the triangle's memory at n = 4096", async () => {
  const backend = await openWasm({ variant: "threads", threads: 1 });
  const n = 4096;
  let most = 0;
  const a = { n, block: (i: number, k: number, j: number, l: number) => new Float32Array((k - i) * (l - j)) };
  const stop = new AbortController();
  const onProgress = (): void => {
    most = Math.max(most, backend.stats().bytes);
    // The whole matrix need not be read to know.
    if (most > 0) stop.abort();
  };
  await expect(cholesky(backend, a, { lambda: 1, onProgress, signal: stop.signal })).rejects.toMatchObject({
    code: "E_ABORTED",
  });
  expect(most).toBeGreaterThan((n * (n + 1) * 8) / 2);
  expect(most).toBeLessThan((1.1 * n * (n + 1) * 8) / 2);
  expect(backend.stats().bytes).toBe(0);
  await backend.close();
});
