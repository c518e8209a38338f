/** Matrices in float32 tiles and features as operators, against plain float64 loops, on every build of the wasm backend. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freshFolder, specOf } from "../../test/kernel-job-fixtures.ts";
import { difference, norm, randoms, times } from "../../test/spectra.ts";
import { openWasm, wasmConfigurations } from "../../test/wasm.ts";
import { kernelSource } from "../covariance/kernel-source.ts";
import { MemoryMatrix, storedMatrix } from "../covariance/matrix.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { columnRange, rowRange, snakeOrder } from "../covariance/store/grid.ts";
import { KernelStore } from "../covariance/store/store.ts";
import type { Backend } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import { blockCg } from "./block-cg.ts";
import { cg } from "./cg.ts";
import type { Range } from "./range.ts";
import { pivotedCholesky } from "./pivoted-cholesky.ts";
import { featureOperator, tileOperator, type FeatureSource } from "./tile-operator.ts";

async function refusal(promise: Promise<unknown>): Promise<WidefieldError> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(outcome).toBeInstanceOf(WidefieldError);
  return outcome as WidefieldError;
}

/** A kernel matrix of n random points, and a small ridge; float32, symmetric. */
function kernelMatrix(n: number): Float32Array<ArrayBuffer> {
  const points = Array.from({ length: n }, () => [Math.random(), Math.random()] as const);
  const a = new Float32Array(n * n);
  points.forEach(([x, y], i) => {
    points.forEach(([u, v], j) => (a[i * n + j] = Math.exp(-Math.hypot(x - u, y - v)) + (i === j ? 0.05 : 0)));
  });
  return a;
}

const symmetric = (n: number, exponent = 0) => ({ rows: n, columns: n, symmetric: true, exponent });

/** The lower tiles only, as a store has them; entries above the diagonal of its diagonal tiles are nonsense. */
async function storeOf(a: Float32Array, n: number, tile: number, exponent = 0): Promise<KernelStore> {
  const path = `${await freshFolder()}/K.zarr`;
  const store = await KernelStore.create(await nodeFiles(), path, specOf(n, n, tile, { symmetric: true, exponent }));
  for (const place of snakeOrder(store.grid)) {
    const [rows, columns] = [rowRange(store.grid, place.i), columnRange(store.grid, place.j)];
    const values: number[] = [];
    for (let i = rows.begin; i < rows.end; i++)
      for (let j = columns.begin; j < columns.end; j++) values.push(j > i ? 77 : (a[i * n + j] as number));
    await store.writeTile(place, Float32Array.from(values));
  }
  return store;
}

/** Vectors one after the other, from the row-major product. */
function product(a: ArrayLike<number>, n: number, x: Float64Array): Float64Array {
  const out = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += n) out.set(times(a, n, x.subarray(at, at + n)), at);
  return out;
}

describe.each(wasmConfigurations)("operators on wasm: $variant, $threads threads", (configuration) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm(configuration);
  });
  afterAll(() => backend.close());

  it("multiplies by a store's lower tiles, with any part of them in memory, to the same bits", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 90 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 6 }),
        async (n, tile, vectors) => {
          const a = kernelMatrix(n);
          const store = await storeOf(a, n, tile);
          const x = randoms(n * vectors);
          const expected = product(a, n, x);
          const bits: Float64Array[] = [];
          for (const memoryBytes of [0, 2 * n * n, 2 ** 30]) {
            await using operator = await tileOperator(backend, await kernelSource(store), { memoryBytes });
            for (let pass = 0; pass < 2; pass++) bits.push(await operator.apply(x, vectors));
            expect(operator.residentBytes).toBeLessThanOrEqual(memoryBytes);
          }
          expect(norm(difference(bits[0] as Float64Array, expected)) / norm(expected)).toBeLessThan(1e-14);
          for (const other of bits) expect(other).toEqual(bits[0]);
        },
      ),
      { numRuns: 8 },
    );
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });

  it("multiplies by features without forming their product", async () => {
    for (const [n, features, vectors] of [
      [1, 1, 1],
      [37, 5, 3],
      [5, 37, 2],
      [700, 2050, 1],
    ] as const) {
      const phi = Float32Array.from(randoms(n * features));
      const source: FeatureSource = { n, features, rows: (begin, end) => phi.slice(begin * features, end * features) };
      const x = randoms(n * vectors);
      const expected = new Float64Array(n * vectors);
      for (let v = 0; v < vectors; v++) {
        const middle = new Float64Array(features);
        for (let i = 0; i < n; i++)
          for (let k = 0; k < features; k++)
            middle[k] = (middle[k] as number) + (phi[i * features + k] as number) * (x[v * n + i] as number);
        for (let i = 0; i < n; i++)
          for (let k = 0; k < features; k++)
            expected[v * n + i] =
              (expected[v * n + i] as number) + (phi[i * features + k] as number) * (middle[k] as number);
      }
      await using operator = await featureOperator(backend, source);
      const actual = await operator.apply(x, vectors);
      expect(norm(difference(actual, expected)) / norm(expected)).toBeLessThan(1e-13);
      const row = await operator.entries({ begin: 0, end: n }, { begin: 0, end: 1 });
      const squares = (await operator.diagonal?.()) ?? new Float64Array(0);
      for (let i = 0; i < n; i++) {
        const [own] = await operator.entries({ begin: i, end: i + 1 }, { begin: i, end: i + 1 });
        expect(squares[i]).toBe(own);
      }
      const unit = new Float64Array(n);
      unit[0] = 1;
      expect(norm(difference(row, await operator.apply(unit, 1))) / norm(row)).toBeLessThan(1e-13);
    }
  });

  it("solves from a store, in the kernel's own units, with and without a preconditioner", async () => {
    const [n, m, exponent] = [150, 3, 40];
    const a = kernelMatrix(n);
    const store = await storeOf(a, n, 64, exponent);
    const exact = randoms(n * m);
    const kernel = Float64Array.from(a, (value) => value * 2 ** exponent);
    const b = times(kernel, n, exact, m);
    const columnOf = (values: Float64Array, v: number) => values.filter((_, at) => at % m === v);
    for (const matrix of [store, storedMatrix(store, n, n), new MemoryMatrix(a, symmetric(n, exponent))]) {
      await using operator = await tileOperator(backend, await kernelSource(matrix), { memoryBytes: 64 * 64 * 4 * 3 });
      const preconditioner = await pivotedCholesky(operator, { rank: 20, lambda: 0 });
      const options = { tolerance: 1e-12, preconditioner };
      const block = await blockCg(operator, b, options);
      expect(norm(difference(block.x, exact)) / norm(exact)).toBeLessThan(1e-8);
      const single = await cg(operator, columnOf(b, 1), { tolerance: 1e-12 });
      expect(norm(difference(single.x, columnOf(exact, 1))) / norm(exact)).toBeLessThan(1e-8);
    }
  });

  it("makes room for more vectors by reading tiles again", async () => {
    const n = 2048;
    const a = Float32Array.from({ length: n * n }, (_, at) => 1 / (1 + Math.abs((at % n) - Math.floor(at / n))));
    const small = await openWasm({ ...configuration, memoryBytes: (16 + 4 * configuration.threads) * 2 ** 20 });
    const operator = await tileOperator(small, await kernelSource(new MemoryMatrix(a, symmetric(n))), {
      memoryBytes: 2 ** 30,
    });
    const x = randoms(n * 30);
    const first = await operator.apply(x.subarray(0, n), 1);
    const resident = operator.residentBytes;
    expect(resident).toBeGreaterThan(0);
    const all = await operator.apply(x, 30);
    expect(all.subarray(0, n)).toEqual(first);
    expect(operator.residentBytes).toBeLessThan(resident);
    await operator.dispose();
    expect(small.stats()).toMatchObject({ slots: 0, bytes: 0 });
    await small.close();
  });

  it("reads each tile once a product, those in memory once in all, and features twice a product", async () => {
    const n = 2500;
    const a = Float32Array.from({ length: n * n }, (_, at) => 1 / (1 + Math.abs((at % n) - Math.floor(at / n))));
    const memory = new MemoryMatrix(a, symmetric(n));
    let entries = 0;
    const counted = new Proxy(memory, {
      get: (target, name) =>
        name === "read"
          ? (rows: Range, columns: Range) => {
              entries += (rows.end - rows.begin) * (columns.end - columns.begin);
              return target.read(rows, columns);
            }
          : (Reflect.get(target, name) as unknown),
    });
    const lower = [1024, 1024, 452].reduce((sum, side, i) => sum + side * (side + 1024 * i), 0);
    for (const [memoryBytes, again] of [
      [0, lower],
      [4 * (lower - 452 * 452), 452 * 452],
      [2 ** 30, 0],
    ] as const) {
      entries = 0;
      await using operator = await tileOperator(backend, await kernelSource(counted), { memoryBytes });
      const seen: number[] = [];
      for (let product = 0; product < 3; product++) {
        await operator.apply(randoms(3 * n), 3);
        seen.push(entries);
      }
      expect(seen).toEqual([lower, lower + again, lower + 2 * again]);
    }
    const phi = Float32Array.from(randoms(60));
    let rows = 0;
    const source: FeatureSource = {
      n: 20,
      features: 3,
      rows: (begin, end) => ((rows += end - begin), phi.slice(3 * begin, 3 * end)),
    };
    await using operator = await featureOperator(backend, source, { memoryBytes: 0 });
    for (let product = 0; product < 2; product++) await operator.apply(randoms(20), 1);
    expect(rows).toBe(2 * 2 * 20);
  });

  it("answers products asked for at once one after the other", async () => {
    const n = 33;
    const a = kernelMatrix(n);
    await using operator = await tileOperator(backend, await kernelSource(new MemoryMatrix(a, symmetric(n))));
    const xs = Array.from({ length: 4 }, (_, k) => randoms(n * (k + 1)));
    const ys = await Promise.all(xs.map(async (x, k) => operator.apply(x, k + 1)));
    ys.forEach((y, k) => {
      expect(norm(difference(y, product(a, n, xs[k] as Float64Array))) / norm(y)).toBeLessThan(1e-14);
    });
  });
});

describe("an operator of tiles refuses", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm({ variant: "threads", threads: 2 });
  });
  afterAll(() => backend.close());

  it("entries that are not finite, by their place, and gives its memory back", async () => {
    const n = 40;
    const a = kernelMatrix(n);
    a[31 * n + 7] = Infinity;
    const operator = await tileOperator(backend, await kernelSource(new MemoryMatrix(a, symmetric(n))));
    const error = await refusal(cg(operator, randoms(n)));
    expect([error.code, error.message]).toEqual(["E_DATA", "entry (31, 7) of the matrix is Infinity"]);
    await operator.dispose();
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
    expect((await refusal(Promise.resolve(operator.apply(randoms(n), 1)))).code).toBe("E_CLOSED");
  });

  it("blocks of another length, which its kernels would read past, and budgets that are none", async () => {
    const n = 10;
    const matrix = await kernelSource(new MemoryMatrix(kernelMatrix(n), symmetric(n)));
    const source: FeatureSource = { n, features: 2, rows: () => new Float32Array(2 * n) };
    for (const operator of [await tileOperator(backend, matrix), await featureOperator(backend, source)]) {
      for (const [length, vectors] of [
        [n - 1, 1],
        [n, 2],
        [0, 0],
        [n, 0.5],
      ] as const)
        expect((await refusal(Promise.resolve(operator.apply(randoms(length), vectors)))).code).toBe("E_SHAPE");
      await operator.dispose();
    }
    for (const memoryBytes of [-1, NaN])
      expect((await refusal(tileOperator(backend, matrix, { memoryBytes }))).code).toBe("E_CONFIG");
  });

  it("matrices without rows, or not in float32", async () => {
    const values = new Float32Array(6);
    expect((await refusal(tileOperator(backend, { n: 0, block: () => values }))).code).toBe("E_SHAPE");
    const wide = await kernelSource(new MemoryMatrix(Float64Array.of(1), symmetric(1)));
    await using double = await tileOperator(backend, wide);
    expect((await refusal(Promise.resolve(double.apply(randoms(1), 1)))).message).toContain("denseOperator");
    expect((await refusal(featureOperator(backend, { n: 3, features: 0, rows: () => values }))).code).toBe("E_SHAPE");
  });

  it("a tile that is missing, and stops where a signal says so", async () => {
    const n = 20;
    const path = `${await freshFolder()}/K.zarr`;
    const empty = await KernelStore.create(await nodeFiles(), path, specOf(n, n, 8, { symmetric: true }));
    await using operator = await tileOperator(backend, await kernelSource(empty));
    expect((await refusal(cg(operator, randoms(n)))).message).toContain("missing");
    const error = await refusal(Promise.resolve(operator.apply(randoms(n), 1, AbortSignal.abort())));
    expect(error.code).toBe("E_ABORTED");
  });
});
