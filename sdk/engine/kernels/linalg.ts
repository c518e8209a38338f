/**
 * Float64 linear algebra on a tiled lower triangle; wasm only.
 *
 * An n x n matrix is cut into square tiles of `tile` rows (a multiple of 4; the last row of tiles is lower), numbered
 * (0,0) (1,0) (1,1) (2,0) ...: tile (i, j) has number i (i + 1) / 2 + j. The `table` buffer holds each tile's byte offset
 * in the `tiles` buffer, so tiles can lie anywhere in it and be exchanged between commands. n is padded to a multiple of
 * 4 with rows of the identity. A tile's inside, and a right-hand side's, are described in `assembly/linalg/tiles.ts`.
 *
 * A factorisation is choleskyDiagonal for step 0, then choleskyPanel and choleskyUpdate for each step. `status` is two
 * words: whether a pivot failed, and which; every command after a failure returns at once.
 */
import { d, defineKernel } from "../schema.ts";

/** Rows of tiles of a matrix. */
export function tileRows(n: number, tile: number): number {
  return Math.ceil(n / tile);
}

/** Panel rows that one work item of `choleskyPanel` solves: fine enough to busy 16 threads on a short panel. */
const PANEL_ITEM_ROWS = 32;
/** Right-hand sides that one work item of `triangularSolve` carries through a tile: 8 strips of 4. */
const SOLVE_ITEM_STRIPS = 8;
/** Matrix rows that one thread takes at a time when it copies. */
const COPY_ROWS = 16;

/** Copies a row-major block of the matrix into the tiles it covers; entries above the diagonal are not read. */
export const tileLoad = defineKernel({
  name: "tileLoad",
  params: {
    tile: d.u32,
    n: d.u32,
    /** Place and size of the block. */
    row: d.u32,
    column: d.u32,
    rows: d.u32,
    columns: d.u32,
    /** 1: the block is float64, 0: float32. */
    wide: d.u32,
  },
  buffers: [
    { name: "block", access: "read", element: "f32" },
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "readwrite", element: "f64" },
  ],
  split: ({ rows }) => ({ items: rows, grain: COPY_ROWS }),
});

/** Sets the diagonal, and turns the padding into the identity. Last step of filling a matrix. */
export const tileDiagonal = defineKernel({
  name: "tileDiagonal",
  params: { tile: d.u32, n: d.u32 },
  buffers: [
    { name: "diagonal", access: "read", element: "f64" },
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "readwrite", element: "f64" },
  ],
  split: ({ n }) => ({ items: Math.ceil(n / 4), grain: 256 }),
});

/** Factorises the diagonal tile of `step`, and writes its pivots (squares of L's diagonal). */
export const choleskyDiagonal = defineKernel({
  name: "choleskyDiagonal",
  params: { tile: d.u32, n: d.u32, step: d.u32 },
  buffers: [
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "readwrite", element: "f64" },
    { name: "pivots", access: "write", element: "f64" },
    { name: "status", access: "readwrite", element: "u32" },
  ],
  split: () => ({ items: 1, grain: 1 }),
});

/** Column `step` below its diagonal tile: L(i, step) = A(i, step) L(step, step)^-T. */
export const choleskyPanel = defineKernel({
  name: "choleskyPanel",
  params: { tile: d.u32, n: d.u32, step: d.u32 },
  buffers: [
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "readwrite", element: "f64" },
    { name: "status", access: "read", element: "u32" },
  ],
  split: ({ tile, n, step }) => ({
    items: Math.max(0, Math.ceil((n - (step + 1) * tile) / PANEL_ITEM_ROWS)),
    grain: 1,
  }),
});

/**
 * The rest of the matrix: A(i, j) -= L(i, step) L(j, step)^T for i >= j > step. Its first item is tile
 * (step + 1, step + 1), which it also factorises, so the next panel never waits for one thread.
 */
export const choleskyUpdate = defineKernel({
  name: "choleskyUpdate",
  params: { tile: d.u32, n: d.u32, step: d.u32 },
  buffers: [
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "readwrite", element: "f64" },
    { name: "pivots", access: "write", element: "f64" },
    { name: "status", access: "readwrite", element: "u32" },
  ],
  split: ({ tile, n, step }) => {
    const left = tileRows(n, tile) - step - 1;
    return { items: left > 0 ? (left * (left + 1)) / 2 : 0, grain: 1 };
  },
});

/**
 * Step `step` of L X = B (transpose 0) or L^T X = B (transpose 1), in place. Step 0 solves with the first diagonal tile
 * (the last, transposed); each later step takes the block of X that was found before out of all that are left, and
 * solves the next one. tileRows(n, tile) steps in all, each of which touches one column (row) of tiles.
 */
export const triangularSolve = defineKernel({
  name: "triangularSolve",
  params: {
    tile: d.u32,
    n: d.u32,
    step: d.u32,
    transpose: d.u32,
    /** Right-hand sides in fours. */
    strips: d.u32,
  },
  buffers: [
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "read", element: "f64" },
    { name: "rhs", access: "readwrite", element: "f64" },
  ],
  split: ({ tile, n, step, strips }) => ({
    items: (step === 0 ? 1 : tileRows(n, tile) - step) * Math.ceil(strips / SOLVE_ITEM_STRIPS),
    grain: 1,
  }),
});
