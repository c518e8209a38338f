/**
 * The two kernels that interpret covariance programs (`sdk/covariance/program.ts`).
 *
 * `variance` runs a program on each image paired with itself: K(x, x), and the per-image *table* that `covariance`
 * reads. A table's layout is each backend's own, chosen for its memory system (see the head of `assembly/variance.ts`
 * and of `shaders/variance.wgsl`); it holds the image itself and the standard deviations before every relu.
 * `covariance` runs the program on a tile of pairs, fused: one pair's map never leaves workgroup memory or L1.
 */
import { WidefieldError } from "../../errors.ts";
import type { BackendName } from "../backend.ts";
import { d, defineKernel, type Geometry, type WorkgroupLimits } from "../schema.ts";

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
  return webgpuTableFloats(images, imageFloats, tablePixels);
}

/** Floats of the webgpu table of `images` images: per image its pixels, then s for every relu pixel. */
export function webgpuTableFloats(images: number, imageFloats: number, tablePixels: number): number {
  return images * (imageFloats + tablePixels);
}

/** What the shaders are cut to; `programShape` in `sdk/covariance/shape.ts` derives it. The wasm kernels ignore it. */
const shape = {
  /** Maps that are live at once. */
  slots: d.u32,
  /** Maps that the line layout keeps in workgroup memory beside the one in its registers. */
  places: d.u32,
  /** Pixels of the largest map. */
  mapPixels: d.u32,
  /** Pixels of the largest map between the two passes of a convolution. */
  sumPixels: d.u32,
  /** Longest side of any map. */
  line: d.u32,
  /** Filter length and leading padding of the window sums that get unrolled code; box = 0: none. */
  box: d.u32,
  boxPad: d.u32,
  /** Slices of `workspace`, and the floats of one; 0: maps stay in workgroup memory, or in a wasm thread's scratch. */
  slices: d.u32,
  sliceFloats: d.u32,
};

/** Where maps stand that are too large for fast memory: one slice for each pair that is worked on at a time. */
const workspace = { name: "workspace", access: "readwrite", element: "f32" } as const;

/** Most lanes of a workgroup that takes a pixel a lane: more would idle on small maps. A power of two. */
const PIXEL_LANES = 128;
/** Longest line kept in registers: above it the unrolled code compiles slowly and registers spill. */
const LONGEST_LINE = 48;
/** Unrolled filters beyond this length cost more code than the loop over taps costs time. */
const LONGEST_BOX = 16;

/** One dimension holds at most 65,535 workgroups: the shaders read (x, y) as y * 65535 + x. */
function unfold(workgroups: number): readonly [number, number, number] {
  return [Math.min(workgroups, 65535), Math.ceil(workgroups / 65535), 1];
}

function pixelConstants(
  { mapPixels, sumPixels }: { readonly mapPixels: number; readonly sumPixels: number },
  limits: WorkgroupLimits,
): Record<string, number> {
  const bytes = 4 * (mapPixels + sumPixels);
  if (bytes > limits.storageBytes) {
    throw new WidefieldError(
      "E_MEMORY",
      `maps of ${mapPixels} pixels need ${bytes} bytes of workgroup memory, and this GPU grants ${limits.storageBytes}: ` +
        `use the wasm backend for images of this size`,
      { details: { neededBytes: bytes, availableBytes: limits.storageBytes } },
    );
  }
  return { MAP: mapPixels, SUMS: sumPixels, LANES: Math.min(PIXEL_LANES, limits.preferred) };
}

export const variance = defineKernel({
  name: "variance",
  params: {
    images: d.u32,
    steps: d.u32,
    imageFloats: d.u32,
    tablePixels: d.u32,
    ...shape,
  },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "images", access: "read", element: "f32" },
    { name: "table", access: "write", element: "f32" },
    { name: "variances", access: "write", element: "f32" },
    workspace,
  ],
  geometry: (params, limits) => ({
    workgroups: unfold(params.images),
    constants: pixelConstants(params, limits),
  }),
  split: ({ images }) => ({ items: Math.ceil(images / WASM_LANES), grain: 1 }),
});

interface CovarianceShape {
  readonly rows: number;
  readonly columns: number;
  readonly mapPixels: number;
  readonly sumPixels: number;
  readonly line: number;
  readonly box: number;
  readonly boxPad: number;
}

/** A line a lane where a map's lines fit in registers, else a pixel a lane. Never depends on the tile's size. */
function covarianceGeometry(params: CovarianceShape, limits: WorkgroupLimits): Geometry {
  const { rows, columns, line } = params;
  // An odd pitch keeps both directions of the transpose free of bank conflicts; one more than the line holds a zero.
  const pitch = line + 1 + (line % 2);
  const pairs = Math.min(
    Math.max(1, Math.floor(limits.preferred / line)),
    Math.floor(limits.storageBytes / (4 * line * pitch)),
  );
  if (line > LONGEST_LINE || pairs === 0) {
    return {
      workgroups: unfold(rows * columns),
      constants: pixelConstants(params, limits),
      shader: "covariance-pixels",
    };
  }
  const unrolled = params.box > 1 && params.box <= LONGEST_BOX;
  const constants = {
    LINE: line,
    PITCH: pitch,
    PAIRS: pairs,
    BOX: unrolled ? params.box : 0,
    BOX_PAD: unrolled ? params.boxPad : 0,
  };
  return { workgroups: unfold(rows * Math.ceil(columns / pairs)), constants };
}

export const covariance = defineKernel({
  name: "covariance",
  params: {
    rows: d.u32,
    columns: d.u32,
    steps: d.u32,
    imageFloats: d.u32,
    tablePixels: d.u32,
    /** Entry (i, j) with j - i = diagonal pairs an image with itself and takes its variance; NO_DIAGONAL: none does. */
    diagonal: d.i32,
    /** 1: entries with j - i > diagonal are not wanted and may hold anything. */
    lower: d.u32,
    ...shape,
  },
  buffers: [
    { name: "program", access: "read", element: "u32" },
    { name: "rowTable", access: "read", element: "f32" },
    { name: "columnTable", access: "read", element: "f32" },
    /** K(x, x) of the rows' images. */
    { name: "variances", access: "read", element: "f32" },
    /** rows x columns, row-major. */
    { name: "output", access: "write", element: "f32" },
    workspace,
  ],
  geometry: covarianceGeometry,
  split: ({ rows, columns }) => ({ items: Math.ceil(columns / WASM_LANES) * Math.ceil(rows / 16), grain: 1 }),
});
