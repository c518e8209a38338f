/**
 * The two kernels that interpret covariance programs (`sdk/covariance/program.ts`).
 *
 * `variance` runs a program on each image paired with itself: K(x, x), and the per-image *table* that `covariance`
 * reads. A table's layout is each backend's own, chosen for its memory system (see the head of `assembly/variance.ts`
 * and of `shaders/variance.wgsl`); it holds the image itself and the standard deviations before every relu.
 * `covariance` runs the program on a tile of pairs, fused: one pair's map never leaves workgroup memory or L1.
 */
import type { BackendName } from "../backend.ts";
import { d, defineKernel } from "../schema.ts";

/** `diagonal` of a tile in which no image meets itself. */
export const NO_DIAGONAL = 0x7fffffff;

/** Images that share one group of a wasm table: the SIMD lanes of float32. */
export const WASM_LANES = 4;

/** Floats of the wasm table of `images` images: twice its pixels, and twice (s, 1/s) for every relu pixel. */
export function wasmTableFloats(images: number, imageFloats: number, tablePixels: number): number {
  return Math.ceil(images / WASM_LANES) * WASM_LANES * 2 * (imageFloats + 2 * tablePixels);
}

/** Floats of a table, in the layout of a backend. */
export function tableFloats(backend: BackendName, images: number, imageFloats: number, tablePixels: number): number {
  if (backend === "wasm") return wasmTableFloats(images, imageFloats, tablePixels);
  return images * (imageFloats + tablePixels);
}

export const variance = defineKernel({
  name: "variance",
  params: {
    images: d.u32,
    steps: d.u32,
    imageFloats: d.u32,
    tablePixels: d.u32,
    mapPixels: d.u32,
  },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "images", access: "read", element: "f32" },
    { name: "table", access: "write", element: "f32" },
    { name: "variances", access: "write", element: "f32" },
  ],
  geometry: ({ images }) => ({ workgroups: [Math.min(images, 65535), 1, 1] }),
  split: ({ images }) => ({ items: Math.ceil(images / WASM_LANES), grain: 1 }),
});

export const covariance = defineKernel({
  name: "covariance",
  params: {
    rows: d.u32,
    columns: d.u32,
    steps: d.u32,
    imageFloats: d.u32,
    tablePixels: d.u32,
    mapPixels: d.u32,
    /** Entry (i, j) with j - i = diagonal pairs an image with itself and takes its variance; NO_DIAGONAL: none does. */
    diagonal: d.i32,
    /** 1: entries with j - i > diagonal are not wanted and may hold anything. */
    lower: d.u32,
  },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "rowTable", access: "read", element: "f32" },
    { name: "columnTable", access: "read", element: "f32" },
    /** K(x, x) of the rows' images. */
    { name: "variances", access: "read", element: "f32" },
    /** rows x columns, row-major. */
    { name: "output", access: "write", element: "f32" },
  ],
  geometry: ({ rows, columns }) => ({ workgroups: [Math.ceil(columns / 8), Math.min(rows, 65535), 1] }),
  split: ({ rows, columns }) => ({ items: Math.ceil(columns / WASM_LANES) * Math.ceil(rows / 16), grain: 1 }),
});
