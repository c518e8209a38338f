/**
 * Products of a symmetric float32 matrix with float64 vectors on wasm, tiles in memory, against a plain float32 sum over
 * the same bytes on the same threads, in turns: GB/s of tile bytes, medians of seven pairs.
 *
 *     npm run bench -- krylov [--threads t] [n ...]
 */
import { parseArgs } from "node:util";
import type { Backend, Slot } from "../sdk/engine/backend.ts";
import { reduce, tileFold, tileProduct } from "../sdk/engine/kernels/index.ts";
import { partDoubles, ProductDirection, productParts } from "../sdk/engine/kernels/krylov.ts";
import { ReduceOperation } from "../sdk/engine/kernels/reduce.ts";
import { open } from "../sdk/index.node.ts";

const PAIRS = 7;
const TILE = 1024;
const VECTORS = [1, 8] as const;

interface Tiles {
  readonly slots: readonly { readonly slot: Slot; readonly i: number; readonly j: number }[];
  readonly bytes: number;
}

function lowerTiles(backend: Backend, side: number): Tiles {
  const values = new Float32Array(TILE * TILE).map(Math.random);
  const slots: { slot: Slot; i: number; j: number }[] = [];
  for (let i = 0; i < side; i++) {
    for (let j = 0; j <= i; j++) {
      const slot = backend.allocate(values.byteLength, "tile");
      backend.write(slot, 0, values);
      slots.push({ slot, i, j });
    }
  }
  return { slots, bytes: slots.length * values.byteLength };
}

/** Seconds of one pass of `append` and the wait for it. */
async function timed(backend: Backend, append: () => void): Promise<number> {
  const begun = performance.now();
  append();
  await backend.finish();
  return (performance.now() - begun) / 1000;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

const { values, positionals } = parseArgs({ options: { threads: { type: "string" } }, allowPositionals: true });
const sizes = positionals.length > 0 ? positionals.map(Number) : [4096, 8192];
await using engine = await open({
  backend: "wasm",
  threads: values.threads === undefined ? undefined : Number(values.threads),
});
const backend = await engine.cpu();
console.log(`${engine.info.adapter}, ${engine.info.threads} threads`);
console.log(["n", "vectors", "MiB", "sum GB/s", "product GB/s", "ratio"].map((title) => title.padStart(13)).join(""));
for (const size of sizes) {
  const side = Math.max(1, Math.round(size / TILE));
  const n = side * TILE;
  const tiles = lowerTiles(backend, side);
  const sums = backend.allocate(4 * TILE, "sums");
  const sum = (): void => {
    for (const { slot } of tiles.slots) {
      backend.dispatch(reduce, { rows: TILE, columns: TILE, operation: ReduceOperation.sum }, [slot, sums]);
    }
  };
  for (const vectors of VECTORS) {
    const x = backend.allocate(8 * n * vectors, "x");
    const y = backend.allocate(8 * n * vectors, "y");
    const parts = backend.allocate(8 * partDoubles(TILE, TILE, vectors), "parts");
    backend.write(x, 0, new Float64Array(n * vectors).map(Math.random));
    const product = (): void => {
      for (const { slot, i, j } of tiles.slots) {
        const { forward, transposed } = ProductDirection;
        const directions = i === j ? forward : forward + transposed;
        const place = { rows: TILE, columns: TILE, row: i * TILE, column: j * TILE };
        const shape = { ...place, vectors, leftLength: n, rightLength: n, directions };
        backend.dispatch(tileProduct, shape, [slot, x, y, x, parts]);
        if (i === j) continue;
        const fold = { parts: productParts(TILE), columns: TILE, column: j * TILE, vectors, rightLength: n };
        backend.dispatch(tileFold, fold, [parts, y]);
      }
    };
    const seconds: { sum: number; product: number }[] = [];
    for (let pair = 0; pair <= PAIRS; pair++) {
      const both = { sum: await timed(backend, sum), product: await timed(backend, product) };
      if (pair > 0) seconds.push(both);
    }
    const rate = (each: readonly number[]) => (tiles.bytes / median(each) / 1e9).toFixed(1);
    const cells = [
      String(n),
      String(vectors),
      (tiles.bytes / 2 ** 20).toFixed(0),
      rate(seconds.map((pair) => pair.sum)),
      rate(seconds.map((pair) => pair.product)),
      median(seconds.map((pair) => pair.sum / pair.product)).toFixed(2),
    ];
    console.log(cells.map((cell) => cell.padStart(13)).join(""));
    for (const slot of [x, y, parts]) backend.free(slot);
  }
  backend.free(sums);
  for (const { slot } of tiles.slots) backend.free(slot);
}
