/** The factor itself, entry by entry, for tile sizes and matrix sizes that meet in every way at their edges. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { difference, naiveCholesky, norm, withSpectrum, type Matrix } from "../../test/spectra.ts";
import { openWasm, wasmConfigurations } from "../../test/wasm.ts";
import type { Backend } from "../engine/backend.ts";
import { denseSymmetric } from "./source.ts";
import { Triangle } from "./triangle.ts";

const UNIT_ROUNDOFF = 2 ** -53;

async function factorised(backend: Backend, a: Matrix, n: number, tile: number): Promise<Triangle> {
  const triangle = new Triangle(backend, n, tile);
  triangle.setDiagonal(await triangle.fill(denseSymmetric(a, n), () => undefined));
  for (let step = 0; step < triangle.blocks; step++) triangle.appendStep(step);
  return triangle;
}

/** L as a row-major n x n matrix. */
async function lower(triangle: Triangle): Promise<Matrix> {
  const { n, tile } = triangle;
  const l = new Float64Array(n * n);
  for (let i = 0; i < triangle.blocks; i++) {
    for (let j = 0; j <= i; j++) {
      const values = await triangle.readTile(i, j);
      const columns = triangle.extent(j);
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

describe.each(wasmConfigurations)("tiled Cholesky on wasm: $variant, $threads threads", (configuration) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm(configuration);
  });
  afterAll(() => backend.close());

  it("L L^T is A for every meeting of size and tile, whatever the spectrum", async () => {
    const spectrum = fc.constantFrom<(i: number, n: number) => number>(
      () => 0.1 + Math.random(),
      (i, n) => 10 ** ((-12 * i) / n),
      (i) => (i % 3 === 0 ? 1 : 1e-6) * (1 + 1e-9 * Math.random()),
      (i) => (i === 0 ? 1e-11 : 1),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 131 }),
        fc.constantFrom(4, 8, 12, 20, 32, 64, 128),
        spectrum,
        async (n, tile, eigenvalue) => {
          const a = withSpectrum(Array.from({ length: n }, (_, i) => eigenvalue(i, n)));
          const triangle = await factorised(backend, a, n, tile);
          expect(await triangle.failure()).toBeUndefined();
          const error = norm(difference(product(await lower(triangle), n), a)) / norm(a);
          expect(error).toBeLessThan(4 * UNIT_ROUNDOFF * Math.sqrt(n));
          triangle.free();
        },
      ),
      { numRuns: 80 },
    );
  });

  it("L is the textbook's L on a well-conditioned matrix", async () => {
    for (const [n, tile] of [
      [1, 4],
      [97, 16],
      [203, 64],
      [260, 128],
    ] as const) {
      const a = withSpectrum(Array.from({ length: n }, () => 1 + Math.random()));
      const triangle = await factorised(backend, a, n, tile);
      const [l, expected] = [await lower(triangle), naiveCholesky(a, n).l];
      expect(Math.max(...difference(l, expected).map(Math.abs))).toBeLessThan(1e-14);
      triangle.free();
    }
  });

  it("an indefinite matrix stops at the textbook's pivot, and rows before it are the factor", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 140 }),
        fc.nat(),
        fc.constantFrom(4, 16, 64),
        async (n, seed, tile) => {
          const bad = seed % n;
          const unit = new Float64Array(n * n).map(() => (Math.random() - 0.5) / Math.sqrt(n));
          const pivots = Array.from({ length: n }, (_, i) => (i === bad ? -0.25 : 0.5 + Math.random()));
          const a = fromPivots(unit, pivots);
          const triangle = await factorised(backend, a, n, tile);
          const failure = await triangle.failure();
          expect(failure?.index).toBe(bad);
          expect(Math.abs((failure?.value ?? Number.NaN) + 0.25)).toBeLessThan(1e-13);
          const found = await triangle.readPivots(bad);
          found.forEach((pivot, i) => expect(Math.abs(pivot - (pivots[i] ?? Number.NaN))).toBeLessThan(1e-13));
          triangle.free();
        },
      ),
      { numRuns: 60 },
    );
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

it("the factor has the same bits for one thread and two, with and without shared memory", async () => {
  const n = 333;
  const a = withSpectrum(Array.from({ length: n }, () => 0.01 + Math.random()));
  const factors: Matrix[] = [];
  for (const configuration of wasmConfigurations.filter(({ variant }) => variant !== "relaxed")) {
    const backend = await openWasm(configuration);
    for (let repeat = 0; repeat < 3; repeat++) factors.push(await lower(await factorised(backend, a, n, 32)));
    await backend.close();
  }
  for (const factor of factors) expect(factor).toEqual(factors[0]);
});

it("works beyond 2 GiB, where addresses have their highest bit set", async () => {
  const n = 150;
  const a = withSpectrum(Array.from({ length: n }, () => 1 + Math.random()));
  for (const variant of ["single", "threads"] as const) {
    const backend = await openWasm({ variant, threads: variant === "single" ? 1 : 2, memoryBytes: 3 * 2 ** 30 });
    backend.allocate(2 ** 31, "the lower half");
    const l = await lower(await factorised(backend, a, n, 64));
    expect(Math.max(...difference(l, naiveCholesky(a, n).l).map(Math.abs))).toBeLessThan(1e-14);
    await backend.close();
  }
});

it("takes at most 1.1 times the triangle's memory at n = 4096", async () => {
  const backend = await openWasm({ variant: "threads", threads: 1 });
  const n = 4096;
  const triangle = new Triangle(backend, n);
  expect(backend.stats().bytes).toBeLessThan((1.1 * n * (n + 1) * 8) / 2);
  triangle.free();
  expect(backend.stats().bytes).toBe(0);
  await backend.close();
});
