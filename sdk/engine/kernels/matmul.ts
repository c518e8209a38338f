/** C = alpha op(A) op(B) + beta C in float32, row-major and contiguous; op is the identity or the transpose. */
import { d, defineKernel } from "../schema.ts";

export const MATMUL_TILE = 64;

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
  split: ({ m, n }) => ({ items: Math.ceil(m / 128) * Math.ceil(n / 256), grain: 1 }),
});
