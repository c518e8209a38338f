/**
 * Reduces each row of a row-major matrix to one float32: sums are pairwise, so their error grows with log(columns).
 * An empty row has sum 0, max -infinity, min +infinity and argmax 0. On wasm a NaN makes its row's sum, max and min NaN,
 * and the first NaN is the argmax, as in NumPy; WGSL leaves a shader's NaN open, so on a GPU rows must not hold any.
 */
import { d, defineKernel, type Geometry, type WorkgroupLimits } from "../schema.ts";

export const ReduceOperation = {
  sum: 0,
  max: 1,
  min: 2,
  /** The column of the first largest entry, as a float32. */
  argmax: 3,
} as const;

/** Lanes for a row, a power of two for the tree in which they meet, and rows of lanes that fill a workgroup. */
export function rowsOfLanes(rows: number, columns: number, { preferred }: WorkgroupLimits): Geometry {
  const lanes = Math.min(2 ** Math.ceil(Math.log2(Math.max(1, columns))), 2 ** Math.floor(Math.log2(preferred)));
  const rowsAtOnce = Math.max(1, Math.floor(preferred / lanes));
  return {
    workgroups: [Math.min(Math.ceil(rows / rowsAtOnce), 65535), 1, 1],
    constants: { LANES: lanes, ROWS: rowsAtOnce },
  };
}

export const reduce = defineKernel({
  name: "reduce",
  params: { rows: d.u32, columns: d.u32, operation: d.u32 },
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: ({ rows, columns }, limits) => rowsOfLanes(rows, columns, limits),
  split: ({ rows, columns }) => ({ items: rows, grain: Math.max(1, Math.floor(16384 / Math.max(1, columns))) }),
});
