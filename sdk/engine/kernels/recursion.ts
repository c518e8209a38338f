/**
 * Tiles of kernels that are recursions on one number per pair (`sdk/covariance/recursion.ts`, `recursion-images.ts`).
 *
 * `recursion`, in float32, turns products of points, which a matmul has left in `output`, into kernel values, where they
 * stand. Where points are close, and their product has lost what matters, it goes back to the points themselves.
 * `recursionF64`, on wasm only, takes all distances from the points, one pair at a time.
 */
import { d, defineKernel } from "../schema.ts";

/** What goes into `output`: a sum of these. */
export const Wanted = { nngp: 1, ntk: 2 } as const;

/** Pairs of a workgroup. */
const LANES = 64;
/** Columns that the wasm kernel takes through all steps at a time: their gaps stay in L1. */
export const STRIP = 256;
/** Rows of a work item. */
export const ITEM_ROWS = 8;

const sizes = {
  rows: d.u32,
  columns: d.u32,
  /** Numbers of a point. */
  floats: d.u32,
  steps: d.u32,
  slots: d.u32,
  /** 1: points are directions, and gaps n - |K|; 0: gaps are those of distances. */
  angle: d.u32,
  /** A sum of `Wanted`; with both, theta stands rows x columns behind K. */
  wanted: d.u32,
};

export const recursion = defineKernel({
  name: "recursion",
  params: {
    ...sizes,
    /** Gaps below near (h + h') are taken from the points. */
    near: d.f32,
  },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "rowTable", access: "read", element: "f32" },
    { name: "columnTable", access: "read", element: "f32" },
    { name: "rowPoints", access: "read", element: "f32" },
    { name: "columnPoints", access: "read", element: "f32" },
    { name: "output", access: "readwrite", element: "f32" },
  ],
  // One dimension holds at most 65,535 workgroups; the shader strides over what is left.
  geometry: ({ rows, columns, slots, wanted }) => ({
    workgroups: [Math.min(Math.ceil((rows * columns) / LANES), 65535), 1, 1],
    constants: { LANES, SLOTS: slots, NTK: wanted >= Wanted.ntk ? 1 : 0 },
  }),
  split: ({ rows, columns }) => ({ items: Math.ceil(columns / STRIP) * Math.ceil(rows / ITEM_ROWS), grain: 1 }),
});

export const recursionF64 = defineKernel({
  name: "recursionF64",
  params: sizes,
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "rowTable", access: "read", element: "f64" },
    { name: "columnTable", access: "read", element: "f64" },
    { name: "rowPoints", access: "read", element: "f64" },
    { name: "columnPoints", access: "read", element: "f64" },
    { name: "output", access: "write", element: "f64" },
  ],
  split: ({ rows, columns }) => ({ items: rows * columns, grain: 16 }),
});
