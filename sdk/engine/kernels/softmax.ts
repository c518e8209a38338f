/**
 * Rows of a matrix, float32. A row that holds a NaN comes out as NaN.
 *
 *     softmax           out = e^(a - max) / sum, or, with log = 1, a - max - log sum
 *     softmaxGradient   from y, what softmax gave, and g: y (g - sum of g y), or, with log = 1, g - e^y sum of g
 */
import { d, defineKernel, type WorkgroupLimits } from "../schema.ts";
import { rowsOfLanes } from "./reduce.ts";

const params = { rows: d.u32, columns: d.u32, log: d.u32 };

interface Sizes {
  readonly rows: number;
  readonly columns: number;
}

const geometry = ({ rows, columns }: Sizes, limits: WorkgroupLimits) => rowsOfLanes(rows, columns, limits);
const split = ({ rows, columns }: Sizes) => ({
  items: columns === 0 ? 0 : rows,
  grain: Math.max(1, Math.floor(4096 / Math.max(1, columns))),
});

export const softmax = defineKernel({
  name: "softmax",
  params,
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry,
  split,
});

export const softmaxGradient = defineKernel({
  name: "softmaxGradient",
  params,
  buffers: [
    { name: "y", access: "read", element: "f32" },
    { name: "g", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry,
  split,
});
