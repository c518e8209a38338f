/**
 * Products of a float32 tile with blocks of float64 vectors, for methods that need nothing of a matrix but its products;
 * wasm only. A block of m vectors of length n holds them one after the other: entry i of vector v at v * n + i.
 *
 * A tile T of a larger matrix stands at (row, column) in it. In one pass over T's bytes, `tileProduct` adds T X to the
 * block `out`, and leaves T' Y in parts, which `tileFold` adds to another block: a symmetric matrix of which only the lower
 * triangle is there needs both, for each tile below the diagonal.
 */
import { d, defineKernel } from "../schema.ts";

/** Rows of a tile that one work item takes: few enough for 16 threads on a tile of 1024, enough to keep the parts small. */
export const PRODUCT_ITEM_ROWS = 64;

/** Parts of T' Y that `tileProduct` leaves for a tile of so many rows: one for each work item. */
export function productParts(rows: number): number {
  return Math.ceil(rows / PRODUCT_ITEM_ROWS);
}

/** Doubles of the buffer `parts`. */
export function partDoubles(rows: number, columns: number, vectors: number): number {
  return productParts(rows) * columns * vectors;
}

/** What `tileProduct` computes; they add up. */
export const ProductDirection = { forward: 1, transposed: 2 } as const;

export const tileProduct = defineKernel({
  name: "tileProduct",
  params: {
    rows: d.u32,
    columns: d.u32,
    /** Where the tile begins in the matrix. */
    row: d.u32,
    column: d.u32,
    vectors: d.u32,
    /** Rows and columns of the matrix: lengths of the vectors on its left and on its right. */
    leftLength: d.u32,
    rightLength: d.u32,
    directions: d.u32,
  },
  buffers: [
    { name: "tile", access: "read", element: "f32" },
    { name: "right", access: "read", element: "f64" },
    { name: "out", access: "readwrite", element: "f64" },
    { name: "left", access: "read", element: "f64" },
    { name: "parts", access: "write", element: "f64" },
  ],
  split: ({ rows, columns, vectors }) => ({
    items: columns === 0 || vectors === 0 ? 0 : productParts(rows),
    grain: 1,
  }),
});

/** Adds the parts of T' Y, in their order, to a block of vectors of length `rightLength`, from entry `column` on. */
export const tileFold = defineKernel({
  name: "tileFold",
  params: { parts: d.u32, columns: d.u32, column: d.u32, vectors: d.u32, rightLength: d.u32 },
  buffers: [
    { name: "parts", access: "read", element: "f64" },
    { name: "out", access: "readwrite", element: "f64" },
  ],
  split: ({ columns, vectors }) => ({ items: columns * vectors, grain: 512 }),
});
