/** The kernels of `full-covariance.ts` in float64, on wasm only: `precision: "f64"`, and the project's own reference. */
import { d, defineKernel } from "../schema.ts";
import { fullProgramParams } from "./full-covariance.ts";

/** Where maps and states of pairs stand: a slice for each thread. */
const workspace = { name: "workspace", access: "readwrite", element: "f64" } as const;

export const fullVarianceF64 = defineKernel({
  name: "fullVarianceF64",
  params: { images: d.u32, ...fullProgramParams },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "images", access: "read", element: "f64" },
    { name: "table", access: "readwrite", element: "f64" },
    { name: "variances", access: "write", element: "f64" },
    workspace,
  ],
  split: ({ images }) => ({ items: images, grain: 1 }),
});

export const fullCovarianceF64 = defineKernel({
  name: "fullCovarianceF64",
  params: { rows: d.u32, columns: d.u32, ...fullProgramParams, diagonal: d.i32, lower: d.u32 },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "rowTable", access: "read", element: "f64" },
    { name: "columnTable", access: "read", element: "f64" },
    { name: "variances", access: "read", element: "f64" },
    { name: "output", access: "write", element: "f64" },
    workspace,
  ],
  split: ({ rows, columns }) => ({ items: rows * columns, grain: 1 }),
});
