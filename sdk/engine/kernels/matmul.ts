/** C = alpha op(A) op(B) + beta C in float32, row-major and contiguous; op is the identity or the transpose. */
import { d, defineKernel } from "../schema.ts";

export const MATMUL_TILE = 64;

/**
 * Work items of the wasm kernel: blocks of C, halved until there are 16 of them or they are 32 x 64. The same rule stands
 * in `assembly/matmul.ts`; the values of C do not depend on it.
 */
function wasmBlocks(m: number, n: number): number {
  const blocks = (rows: number, columns: number): number => Math.ceil(m / rows) * Math.ceil(n / columns);
  let rows = 128;
  let columns = 256;
  while (rows > 32 && blocks(rows, columns) < 16) {
    if (columns > rows) columns /= 2;
    else rows /= 2;
  }
  return blocks(rows, columns);
}

export const matmul = defineKernel({
  name: "matmul",
  params: {
    /** Rows of C. */
    m: d.u32,
    /** Columns of C. */
    n: d.u32,
    /** Inner dimension; with k = 0 the product is zero and C becomes beta C. */
    k: d.u32,
    /** 1: A is stored k x m, and B n x k. */
    transposeA: d.u32,
    transposeB: d.u32,
    /** With alpha = 0, A and B are never read. */
    alpha: d.f32,
    /** With beta = 0, C is never read (it may hold NaN). */
    beta: d.f32,
  },
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "b", access: "read", element: "f32" },
    { name: "c", access: "readwrite", element: "f32" },
  ],
  geometry: ({ m, n }) => ({
    workgroups: [Math.ceil(n / MATMUL_TILE), Math.ceil(m / MATMUL_TILE), 1],
    constants: { TILE: MATMUL_TILE },
  }),
  split: ({ m, n }) => ({ items: wasmBlocks(m, n), grain: 1 }),
});
