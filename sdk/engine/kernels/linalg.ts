/**
 * Float64 linear algebra on a tiled lower triangle; wasm only.
 *
 * An n x n matrix is cut into square tiles of `tile` rows (a multiple of 4; the last row of tiles is lower). n is padded to
 * a multiple of 4 with rows of the identity. A tile's inside, and a right-hand side's, are described in
 * `assembly/linalg/tiles.ts`.
 *
 * Commands work on a **window**: a `tiles` buffer with some of the tiles, and a `table` with one number a tile column,
 *
 *     byte offset of tile (i, j) in the window = table[j] + (i - j) tile^2 8    (modulo 2^32)
 *
 * so a column's tiles lie one below the other, and a window can hold the whole triangle, a panel of columns, or the
 * rows that a solve needs next. All indices of tiles are those of the whole matrix.
 *
 * A factorisation is left-looking. For a panel of columns: tileLoad and tileDiagonal fill it, choleskyUpdate subtracts
 * what finished columns in other windows contribute, choleskyFactor does the rest. `status` is two words: whether a
 * pivot failed, and which.
 */
import { d, defineKernel } from "../schema.ts";

/** Rows of tiles of a matrix. */
export function tileRows(n: number, tile: number): number {
  return Math.ceil(n / tile);
}

/** Tiles of the columns [first, end), on and below the diagonal, in the rows from `rowBegin` on. */
export function panelTiles(blocks: number, first: number, end: number, rowBegin: number): number {
  let tiles = 0;
  for (let j = first; j < end; j++) tiles += Math.max(0, blocks - Math.max(j, rowBegin));
  return tiles;
}

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

/**
 * Sets the diagonal of rows and columns [begin, end), which are whole tiles, and turns the padding below them into the
 * identity's. Last step of filling a panel.
 */
export const tileDiagonal = defineKernel({
  name: "tileDiagonal",
  params: { tile: d.u32, n: d.u32, begin: d.u32, end: d.u32 },
  buffers: [
    /** Of the whole matrix: n values. */
    { name: "diagonal", access: "read", element: "f64" },
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "readwrite", element: "f64" },
  ],
  split: ({ begin, end }) => ({ items: Math.ceil((end - begin) / 4), grain: 256 }),
});

/**
 * A(i, j) -= sum of L(i, k) L(j, k)^T over the finished columns leftBegin <= k < leftEnd, for the tiles of the columns
 * [first, end) in the rows from `rowBegin` on; leftEnd <= first. One item a tile.
 */
export const choleskyUpdate = defineKernel({
  name: "choleskyUpdate",
  params: {
    tile: d.u32,
    n: d.u32,
    first: d.u32,
    end: d.u32,
    rowBegin: d.u32,
    leftBegin: d.u32,
    leftEnd: d.u32,
  },
  buffers: [
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "readwrite", element: "f64" },
    { name: "leftTable", access: "read", element: "u32" },
    { name: "left", access: "read", element: "f64" },
  ],
  split: ({ tile, n, first, end, rowBegin }) => ({
    items: panelTiles(tileRows(n, tile), first, end, rowBegin),
    grain: 1,
  }),
});

/**
 * Finishes the columns [first, end) of a window that holds the columns from `windowBegin` on, from which what columns
 * before those contribute has been subtracted: a task graph in one command. One item is one tile (i, j), i >= rowBegin,
 *
 *     A(i, j) -= sum of L(i, k) L(j, k)^T, windowBegin <= k < j;   L(j, j) = potrf(A(j, j)),   L(i, j) = A(i, j) L(j, j)^-T
 *
 * and waits for the tiles that it reads: `finished[i]` counts the finished columns of tile row i. Items run down the
 * columns, so whatever an item waits for was taken before it. Writes the pivots (squares of L's diagonal).
 */
export const choleskyFactor = defineKernel({
  name: "choleskyFactor",
  params: { tile: d.u32, n: d.u32, first: d.u32, end: d.u32, rowBegin: d.u32, windowBegin: d.u32 },
  buffers: [
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "readwrite", element: "f64" },
    { name: "pivots", access: "readwrite", element: "f64" },
    { name: "status", access: "readwrite", element: "u32" },
    { name: "finished", access: "readwrite", element: "u32" },
  ],
  split: ({ tile, n, first, end, rowBegin }) => ({
    items: panelTiles(tileRows(n, tile), first, end, rowBegin),
    grain: 1,
  }),
});

/**
 * One step of L X = B (transpose 0) or L^T X = B (transpose 1), in place: takes the block of X before `block` (transposed:
 * behind it) out of all blocks from `block` on (down to 0), if `update` is 1, and solves for `block` itself, if `solve`
 * is 1. It reads one column (row) of tiles and one diagonal tile.
 */
export const triangularSolve = defineKernel({
  name: "triangularSolve",
  params: {
    tile: d.u32,
    n: d.u32,
    block: d.u32,
    transpose: d.u32,
    update: d.u32,
    solve: d.u32,
    /** Right-hand sides in fours. */
    strips: d.u32,
  },
  buffers: [
    { name: "table", access: "read", element: "u32" },
    { name: "tiles", access: "read", element: "f64" },
    { name: "rhs", access: "readwrite", element: "f64" },
  ],
  split: ({ tile, n, block, transpose, update, strips }) => {
    const targets = transpose === 1 ? block + 1 : tileRows(n, tile) - block;
    return { items: (update === 1 ? targets : 1) * Math.ceil(strips / SOLVE_ITEM_STRIPS), grain: 1 };
  },
});
