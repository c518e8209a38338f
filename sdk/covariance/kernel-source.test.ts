/** Kernel matrices in memory and on disk as sources of linear algebra. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { freshFolder, specOf } from "../../test/kernel-job-fixtures.ts";
import { symmetricEntries } from "../linalg/symmetric-entries.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { kernelSource } from "./kernel-source.ts";
import { MemoryMatrix, storedMatrix } from "./matrix.ts";
import type { KernelSpec } from "./store/manifest.ts";
import { columnRange, rowRange, snakeOrder } from "./store/grid.ts";
import { KernelStore } from "./store/store.ts";

/** Entry (i, j) of a symmetric matrix is i + j / 1000 for j <= i. */
const entry = (i: number, j: number) => Math.fround(Math.max(i, j) + Math.min(i, j) / 1000);

/** Its tiles are made of the entries on and below the diagonal. */
async function storeOf(n: number, tile: number, changes: Partial<KernelSpec> = {}): Promise<KernelStore> {
  const path = `${await freshFolder()}/K.zarr`;
  const spec = specOf(n, n, tile, { symmetric: true, exponent: 5, ...changes });
  const store = await KernelStore.create(await nodeFiles(), path, spec);
  for (const place of snakeOrder(store.grid)) {
    const [rows, columns] = [rowRange(store.grid, place.i), columnRange(store.grid, place.j)];
    const values: number[] = [];
    for (let i = rows.begin; i < rows.end; i++)
      for (let j = columns.begin; j < columns.end; j++) values.push(j > i ? 77 : entry(i, j));
    await store.writeTile(place, Float32Array.from(values));
  }
  return store;
}

const anyRange = (n: number) =>
  fc
    .tuple(fc.integer({ min: 0, max: n - 1 }), fc.integer({ min: 1, max: n }))
    .map(([begin, length]) => ({ begin, end: Math.min(n, begin + length) }));

describe("a kernel matrix as a source", () => {
  it("gives the entries on and below the diagonal, and through them all others, of any leading part", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 50 }), async (n, tile) => {
        const store = await storeOf(n + 3, tile);
        const values = Float32Array.from({ length: n * n }, (_, at) => entry(Math.floor(at / n), at % n));
        const memory = new MemoryMatrix(values, { rows: n, columns: n, symmetric: true, exponent: 5 });
        const sources = [
          await kernelSource(store, n),
          await kernelSource(storedMatrix(store, n, n)),
          await kernelSource(memory),
        ];
        const [rows, columns] = fc.sample(anyRange(n), 2) as [
          { begin: number; end: number },
          { begin: number; end: number },
        ];
        for (const source of sources) {
          expect(source).toMatchObject({ n, exponent: 5 });
          const part = await symmetricEntries(source, rows, columns);
          const width = columns.end - columns.begin;
          const expected = part.map((_, at) =>
            entry(rows.begin + Math.floor(at / width), columns.begin + (at % width)),
          );
          expect(part).toEqual(expected);
        }
      }),
      { numRuns: 25 },
    );
  });

  it("has a store's tile as its block size, and reads each tile once a pass", async () => {
    const store = await storeOf(50, 16);
    let reads = 0;
    const files = { ...store.files, read: (path: string) => (reads++, store.files.read(path)) };
    const source = await kernelSource(await KernelStore.open(files, store.path));
    expect(source.blockSize).toBe(16);
    reads = 0;
    for (let row = 0; row < 50; row += 16)
      for (let column = 0; column <= row; column += 16) {
        const block = await source.block(row, Math.min(50, row + 16), column, Math.min(50, column + 16));
        expect(block[0]).toBe(entry(row, column));
      }
    expect(reads).toBe(10);
  });

  it("is told from every other by what its tiles depend on and by its rows, wherever it lies and however it was written down", async () => {
    const store = await storeOf(20, 8);
    const own = (await kernelSource(store)).identity;
    expect(own).toMatch(/^[0-9a-f]{64}$/);
    expect((await kernelSource(await storeOf(20, 8, { threads: 7, seeds: { engine: 4 } }))).identity).toBe(own);
    expect((await kernelSource(storedMatrix(store, 20, 20))).identity).toBe(own);
    const others = [
      await kernelSource(store, 19),
      await kernelSource(storedMatrix(store, 18, 18)),
      await kernelSource(await storeOf(20, 9)),
      await kernelSource(await storeOf(20, 8, { exponent: 6 })),
      await kernelSource(await storeOf(20, 8, { dataset: { name: "other", sha256: "1".repeat(64) } })),
    ].map(({ identity }) => identity);
    expect(new Set([own, ...others]).size).toBe(6);
    const inMemory = new MemoryMatrix(Float32Array.of(1), { rows: 1, columns: 1, symmetric: true, exponent: 0 });
    expect((await kernelSource(inMemory)).identity).toBeUndefined();
  });

  it("is refused unless it is square, symmetric, and has the rows asked for", async () => {
    const wide = new MemoryMatrix(new Float32Array(6), { rows: 2, columns: 3, symmetric: false, exponent: 0 });
    await expect(kernelSource(wide)).rejects.toMatchObject({ code: "E_SHAPE" });
    const plain = new MemoryMatrix(new Float32Array(4), { rows: 2, columns: 2, symmetric: false, exponent: 0 });
    await expect(kernelSource(plain)).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(kernelSource(await storeOf(7, 4), 8)).rejects.toMatchObject({ code: "E_SHAPE" });
  });
});
