/**
 * out[outOffset + sum i_k outStride_k] = alpha a[inOffset + sum i_k inStride_k] + beta out[..]
 *
 * over all i in [0, n0) x [0, n1) x [0, n2) x [0, n3), in float32: transposes, slices, padding, concatenation, repetition
 * (stride 0 in `a`) and reversal (a negative stride). No two indices may meet in one place of out. With beta = 0, out is
 * not read there. What no index reaches stays as it is.
 */
import { d, defineKernel } from "../schema.ts";

const PER_WORKGROUP = 256;
/** Elements of one work item, which is a share of the whole; the same number stands in `assembly/stridedCopy.ts`. */
const SHARE = 16384;

export const stridedCopy = defineKernel({
  name: "stridedCopy",
  params: {
    n0: d.u32,
    n1: d.u32,
    n2: d.u32,
    n3: d.u32,
    inOffset: d.u32,
    inStride0: d.i32,
    inStride1: d.i32,
    inStride2: d.i32,
    inStride3: d.i32,
    outOffset: d.u32,
    outStride0: d.i32,
    outStride1: d.i32,
    outStride2: d.i32,
    outStride3: d.i32,
    alpha: d.f32,
    beta: d.f32,
  },
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "out", access: "readwrite", element: "f32" },
  ],
  geometry: ({ n0, n1, n2, n3 }) => ({
    workgroups: [Math.min(Math.ceil((n0 * n1 * n2 * n3) / PER_WORKGROUP), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  split: ({ n0, n1, n2, n3 }) => ({ items: Math.ceil((n0 * n1 * n2 * n3) / SHARE), grain: 1 }),
});
