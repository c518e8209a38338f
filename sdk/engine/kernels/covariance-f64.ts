/**
 * The covariance kernels in float64, on wasm only: `precision: "f64"`, and the project's own reference. A table holds
 * per image its pixels, then its standard deviations before every relu.
 */
import { d, defineKernel } from "../schema.ts";

export const varianceF64 = defineKernel({
  name: "varianceF64",
  params: { images: d.u32, steps: d.u32, imageFloats: d.u32, tablePixels: d.u32, mapPixels: d.u32 },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "images", access: "read", element: "f64" },
    { name: "table", access: "write", element: "f64" },
    { name: "variances", access: "write", element: "f64" },
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
    mapPixels: d.u32,
    diagonal: d.i32,
    lower: d.u32,
  },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "rowTable", access: "read", element: "f64" },
    { name: "columnTable", access: "read", element: "f64" },
    { name: "variances", access: "read", element: "f64" },
    { name: "output", access: "write", element: "f64" },
  ],
  split: ({ rows, columns }) => ({ items: rows * columns, grain: 4 }),
});
