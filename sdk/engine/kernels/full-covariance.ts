/**
 * The two kernels that interpret full covariance programs (`sdk/covariance/program.ts`, `sdk/covariance/offsets.ts`), in
 * float32; `full-covariance-f64.ts` has them in float64.
 *
 * `fullVariance` runs a program on each image paired with itself: K(x, x), the NTK T(x, x), and the per-image *table*
 * that `fullCovariance` reads: the image, the standard deviations of every map that is asked for, and the spreads within
 * the windows of pools. A table's layout is each backend's own. `fullCovariance` runs the program on a tile of pairs,
 * fused: the maps of one offset of a pair stay in workgroup memory or L1, its state in a slice of `workspace`.
 */
import { d, defineKernel, type Geometry, type WorkgroupLimits } from "../schema.ts";
import { branches, WASM_LANES } from "./covariance.ts";
import { fullCells, MOST_PIXELS, workgroupCells, spillsCells, type FullSizes } from "./full-workspace.ts";
import { WidefieldError } from "../../errors.ts";

/** Lanes of a workgroup: powers of two. */
const FEWEST_LANES = 32;
const MOST_LANES = 128;

/** Bits of `kinds`, which matrices to give. Outputs stand one behind the other, NNGP first. */
export const NNGP = 1;
export const NTK = 2;

/** What both kernels know of a program; `fullShape` in `sdk/covariance/full-shape.ts` derives it. */
export const fullProgramParams = {
  steps: d.u32,
  stages: d.u32,
  /** Word address of the first stage. */
  stagesAt: d.u32,
  imageFloats: d.u32,
  tablePixels: d.u32,
  /** 1: the NTK's map is carried beside the covariances. */
  ntk: d.u32,
  /** NNGP + NTK: which of the two come out. */
  kinds: d.u32,
  /** Entry of the output's standard deviation in the tables. */
  outputTable: d.u32,
  /** Maps that are live at once, pixels of the largest, and of the largest between the two passes of a convolution. */
  slots: d.u32,
  mapPixels: d.u32,
  sumPixels: d.u32,
  /** The same in float64, whose columns are summed first, and a line. */
  passPixels: d.u32,
  /** Longest side of any map. */
  line: d.u32,
  /** Pixels of a pair's state. */
  statePixels: d.u32,
  /** Sum of the NONLINEARITIES that the program has. */
  nonlinearities: d.u32,
  /** Slices of `workspace`, and the floats of one. */
  slices: d.u32,
  sliceFloats: d.u32,
};

/** Where maps and states of pairs stand: a slice for each thread, or for each workgroup in flight. */
const workspace = { name: "workspace", access: "readwrite", element: "f32" } as const;

interface FullParams extends FullSizes {
  readonly nonlinearities: number;
  readonly slices: number;
}

/** The map of an offset has, on average, a quarter of the whole map's pixels: more lanes would idle. */
function lanesFor(mapPixels: number, { preferred }: WorkgroupLimits): number {
  const useful = 2 ** Math.ceil(Math.log2(mapPixels / 4));
  return Math.min(Math.max(useful, FEWEST_LANES), MOST_LANES, preferred);
}

/** One pair (or image) a workgroup; every workgroup has a slice, and takes one item after the other. */
function fullGeometry(params: FullParams, items: number, limits: WorkgroupLimits): Geometry {
  const { slices, mapPixels, ntk } = params;
  if (slices === 0 || mapPixels > MOST_PIXELS) {
    throw new WidefieldError(
      "E_MEMORY",
      `maps of ${mapPixels} pixels with offsets between them do not fit this GPU: use the wasm backend`,
    );
  }
  const spilled = spillsCells(params, limits.storageBytes);
  const constants = {
    LANES: lanesFor(mapPixels, limits),
    CELLS: spilled ? 0 : workgroupCells(params, limits.storageBytes),
    SPILLED: spilled ? fullCells(params) : 0,
    NTK: ntk,
    ...branches(params.nonlinearities),
  };
  return { workgroups: [Math.min(items, slices), 1, 1], constants };
}

export const fullVariance = defineKernel({
  name: "fullVariance",
  params: { images: d.u32, ...fullProgramParams },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "images", access: "read", element: "f32" },
    { name: "table", access: "readwrite", element: "f32" },
    /** [outputs, images]: K(x, x) and T(x, x), as `kinds` says. */
    { name: "variances", access: "write", element: "f32" },
    workspace,
  ],
  geometry: (params, limits) => fullGeometry(params, params.images, limits),
  split: ({ images }) => ({ items: Math.ceil(images / WASM_LANES), grain: 1 }),
});

export const fullCovariance = defineKernel({
  name: "fullCovariance",
  params: {
    rows: d.u32,
    columns: d.u32,
    ...fullProgramParams,
    /** Entry (i, j) with j - i = diagonal pairs an image with itself and takes its variance; NO_DIAGONAL: none does. */
    diagonal: d.i32,
    /** 1: entries with j - i > diagonal are not wanted and may hold anything. */
    lower: d.u32,
  },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "rowTable", access: "read", element: "f32" },
    { name: "columnTable", access: "read", element: "f32" },
    /** Of the rows' images, [outputs, rows]. */
    { name: "variances", access: "read", element: "f32" },
    /** [outputs, rows, columns]. */
    { name: "output", access: "write", element: "f32" },
    workspace,
  ],
  geometry: (params, limits) => fullGeometry(params, params.rows * params.columns, limits),
  split: ({ rows, columns }) => ({ items: Math.ceil(columns / WASM_LANES) * rows, grain: 1 }),
});
