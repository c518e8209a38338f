/**
 * The covariance kernels in float64, on wasm only: `precision: "f64"`, and the project's own reference. A table holds
 * per image its pixels, then its variances before every nonlinearity (for erf, with its offset).
 */
import { d, defineKernel } from "../schema.ts";

const maps = {
  /** Maps that are live at once, and pixels of the largest. */
  slots: d.u32,
  mapPixels: d.u32,
  /** Slices of `workspace`, and the numbers of one; 0: maps stay in a thread's scratch. */
  slices: d.u32,
  sliceFloats: d.u32,
};

/** Where maps stand that are too large for a thread's scratch: one slice for each thread. */
const workspace = { name: "workspace", access: "readwrite", element: "f64" } as const;

export const varianceF64 = defineKernel({
  name: "varianceF64",
  params: { images: d.u32, steps: d.u32, imageFloats: d.u32, tablePixels: d.u32, ...maps },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "images", access: "read", element: "f64" },
    { name: "table", access: "write", element: "f64" },
    { name: "variances", access: "write", element: "f64" },
    workspace,
  ],
  split: ({ images }) => ({ items: images, grain: 1 }),
});

export const covarianceF64 = defineKernel({
  name: "covarianceF64",
  params: {
    rows: d.u32,
    columns: d.u32,
    steps: d.u32,
    imageFloats: d.u32,
    tablePixels: d.u32,
    ...maps,
    diagonal: d.i32,
    lower: d.u32,
  },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "rowTable", access: "read", element: "f64" },
    { name: "columnTable", access: "read", element: "f64" },
    { name: "variances", access: "read", element: "f64" },
    { name: "output", access: "write", element: "f64" },
    workspace,
  ],
  split: ({ rows, columns }) => ({ items: rows * columns, grain: 4 }),
});
