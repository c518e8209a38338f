/**
 * The two kernels that interpret covariance programs (`sdk/covariance/program.ts`).
 *
 * `variance` runs a program on each image paired with itself: K(x, x), and the per-image *table* that `covariance`
 * reads. A table's layout is each backend's own, chosen for its memory system (see the head of `assembly/variance.ts`
 * and of `shaders/variance.wgsl`); it holds the image itself and the variances before every nonlinearity.
 * `covariance` runs the program on a tile of pairs, fused: one pair's maps never leave workgroup memory or L1, unless
 * they are too large for it. Then they stand in a *workspace* in the backend's memory, which the caller allocates as
 * `webgpuWorkspace` says, and on wasm `wasmWorkspace` in `sdk/covariance/wasm-maps.ts`.
 */
import { WidefieldError } from "../../errors.ts";
import type { BackendInfo, BackendName } from "../backend.ts";
import { d, defineKernel, type Geometry, type WorkgroupLimits } from "../schema.ts";

/** `diagonal` of a tile in which no image meets itself. */
export const NO_DIAGONAL = 0x7fffffff;

/** Images that share one group of a wasm table: the SIMD lanes of float32. */
export const WASM_LANES = 4;

/** Floats of the wasm table of `images` images: twice its pixels, and twice (s, 1/s) for every pixel of a nonlinearity. */
export function wasmTableFloats(images: number, imageFloats: number, tablePixels: number): number {
  return Math.ceil(images / WASM_LANES) * WASM_LANES * 2 * (imageFloats + 2 * tablePixels);
}

/** Floats of a table, in the layout of a backend. */
export function tableFloats(backend: BackendName, images: number, imageFloats: number, tablePixels: number): number {
  if (backend === "wasm") return wasmTableFloats(images, imageFloats, tablePixels);
  return webgpuTableFloats(images, imageFloats, tablePixels);
}

/** Floats of the webgpu table of `images` images: per image its pixels, then one float for every pixel before a nonlinearity. */
export function webgpuTableFloats(images: number, imageFloats: number, tablePixels: number): number {
  return images * (imageFloats + tablePixels);
}

/** Bits of a program's `nonlinearities`. */
export const NONLINEARITIES = { rectifier: 1, step: 2, erf: 4 } as const;

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
  /** Sum of the NONLINEARITIES that the program has: code for others is not compiled. */
  nonlinearities: d.u32,
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

/** What a program's maps take: the part of its shape that decides where they stand. */
interface MapSizes {
  readonly slots: number;
  readonly mapPixels: number;
  readonly sumPixels: number;
}

interface PixelShape extends MapSizes {
  readonly slices: number;
  readonly sliceFloats: number;
  readonly nonlinearities: number;
}

/** Floats of a pair's maps with a pixel a lane: see shaders/pixel-maps.wgsl. */
function mapFloats({ slots, mapPixels, sumPixels }: MapSizes): number {
  return slots * mapPixels + sumPixels;
}

/** Whether these maps fit in workgroup memory beside the lanes' shares of a mean. */
function fitsWorkgroup(sizes: MapSizes, workgroupBytes: number): boolean {
  return 4 * (mapFloats(sizes) + PIXEL_LANES) <= workgroupBytes;
}

/** The buffer `workspace` of the kernels. */
export interface Workspace {
  /** How many pairs (or groups of them) are worked on at a time; 0: maps stay in fast memory. */
  readonly slices: number;
  /** Numbers of the workspace's element type in a slice. */
  readonly sliceFloats: number;
  readonly bytes: number;
}

/** Enough workgroups for the largest GPUs, eight for each of 132 multiprocessors; a software adapter has a few cores. */
const HARDWARE_SLICES = 1056;
const SOFTWARE_SLICES = 16;
/** Above this there are fewer slices: caches keep no more of it, and a job has better uses for its memory. */
const WORKSPACE_BYTES = 2 ** 27;

/**
 * The workspace of a program's webgpu kernels, at most an eighth of a job's memory unless one slice takes more. Without
 * slices where even one is larger than a buffer may be: the kernels then refuse the program.
 */
export function webgpuWorkspace(info: BackendInfo, sizes: MapSizes, memoryBytes: number): Workspace {
  const sliceFloats = mapFloats(sizes);
  if (fitsWorkgroup(sizes, info.workgroupBytes)) return { slices: 0, sliceFloats: 0, bytes: 0 };
  const affordable = Math.max(1, Math.floor(Math.min(WORKSPACE_BYTES, memoryBytes / 8) / (4 * sliceFloats)));
  const possible = Math.floor(info.maxBufferBytes / (4 * sliceFloats));
  const slices = Math.min(info.software ? SOFTWARE_SLICES : HARDWARE_SLICES, affordable, possible);
  return { slices, sliceFloats, bytes: 4 * slices * sliceFloats };
}

/** Which nonlinearities get code. */
export function branches(nonlinearities: number): Record<string, number> {
  const has = (bit: number): number => (nonlinearities & bit ? 1 : 0);
  return {
    HAS_RECTIFIER: has(NONLINEARITIES.rectifier),
    HAS_STEP: has(NONLINEARITIES.step),
    HAS_ERF: has(NONLINEARITIES.erf),
  };
}

/** A pixel a lane, `items` images or pairs: a workgroup for each, or for each slice of the workspace. */
function pixelGeometry(items: number, shape: PixelShape, limits: WorkgroupLimits): Geometry {
  const { slices, nonlinearities } = shape;
  const floats = mapFloats(shape);
  if (slices === 0 && !fitsWorkgroup(shape, limits.storageBytes)) {
    const bytes = 4 * floats;
    throw new WidefieldError(
      "E_MEMORY",
      `maps of ${shape.mapPixels} pixels need ${bytes} bytes, more than the ${limits.storageBytes} of a workgroup's ` +
        `memory, and no workspace was given for them: use the wasm backend for images of this size`,
      { details: { neededBytes: bytes, availableBytes: limits.storageBytes } },
    );
  }
  const constants = {
    FLOATS: slices > 0 ? 0 : floats,
    LANES: Math.min(PIXEL_LANES, limits.preferred),
    ...branches(nonlinearities),
  };
  return { workgroups: unfold(slices > 0 ? Math.min(items, slices, 65535) : items), constants };
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
  geometry: (params, limits) => pixelGeometry(params.images, params, limits),
  split: ({ images }) => ({ items: Math.ceil(images / WASM_LANES), grain: 1 }),
});

/** What decides between the layouts of `covariance`. */
interface LineShape {
  readonly places: number;
  readonly line: number;
  readonly nonlinearities: number;
}

interface CovarianceShape extends PixelShape, LineShape {
  readonly rows: number;
  readonly columns: number;
  readonly box: number;
  readonly boxPad: number;
}

/** An odd pitch keeps both directions of the transpose free of bank conflicts; one more than the line holds a zero. */
function pitchOf(line: number): number {
  return line + 1 + (line % 2);
}

/** Bytes of workgroup memory of a pair with a line a lane: the transposed map, and the maps in places. */
function lineBytes({ line, places }: LineShape): number {
  return 4 * (1 + places) * line * pitchOf(line);
}

/**
 * Whether a pair takes a line a lane: where a map's lines fit in registers, and its maps in workgroup memory.
 *
 * A pixel a lane, too, for steps (Heaviside's): their slope at cosine 1 is infinite, so that equal pixels of two images
 * come out right only if covariances and variances were rounded alike, and variances are computed with a pixel a lane.
 */
export function takesLines(shape: LineShape, workgroupBytes: number): boolean {
  const steps = (shape.nonlinearities & NONLINEARITIES.step) !== 0;
  return shape.line <= LONGEST_LINE && !steps && lineBytes(shape) <= workgroupBytes;
}

/** The layout and the grid of a tile. The layout never depends on the tile's size. */
function covarianceGeometry(params: CovarianceShape, limits: WorkgroupLimits): Geometry {
  const { rows, columns, line, places, nonlinearities } = params;
  if (!takesLines(params, limits.storageBytes))
    return { ...pixelGeometry(rows * columns, params, limits), shader: "covariance-pixels" };
  // How many pairs share a workgroup changes what they share, not how many fit on a multiprocessor.
  const wanted = Math.max(1, Math.floor(limits.preferred / line));
  const pairs = Math.min(wanted, Math.floor(limits.storageBytes / lineBytes(params)));
  const unrolled = params.box > 1 && params.box <= LONGEST_BOX;
  const constants = {
    LINE: line,
    PITCH: pitchOf(line),
    PAIRS: pairs,
    PLACES: places,
    BOX: unrolled ? params.box : 0,
    BOX_PAD: unrolled ? params.boxPad : 0,
    ...branches(nonlinearities),
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
