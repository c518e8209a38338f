/**
 * The symmetric eigenproblem in float64; wasm only. A = Q T Q' by panels of Householder reflections (Golub and Van Loan,
 * Matrix Computations, 8.3; the panels are those of Dongarra, Hammarling and Sorensen, LAPACK working note 2), T = Z L Z'
 * by the implicit QL and QR iterations (ibid. 8.3.3; LAPACK's dsteqr), and the eigenvectors Q Z by block reflectors
 * (Schreiber and Van Loan 1989).
 *
 * A matrix is square here, padded with zeros to a multiple of 4, and lies in strips of four rows: entry (r, c) at
 * ((r >> 2) * padded + c) * 4 + (r & 3). Of A, only entries on and below the diagonal's 4 x 4 blocks are read.
 *
 * For each panel and each of its columns: tridiagonalColumn, tridiagonalProduct. Then tridiagonalColumn once more, which
 * finishes the last column, and tridiagonalUpdate. After that eigenSweeps until its `state` says done, and once more;
 * then eigenBack.
 */
import { d, defineKernel } from "../schema.ts";

/** Columns of a panel, and the reflections of one block reflector. */
export const PANEL = 32;
/** Matrix rows of one work item of the product and of the update. */
const ITEM_ROWS = 64;
/** Pairs of sweeps in one batch of rotations. */
export const SWEEP_PAIRS = 32;
/** Eigenvectors in fours that one item carries through all block reflectors. */
export const BACK_STRIPS = 8;
/** Bytes in front of a batch's rotations: how many pairs there are, and each one's range and direction. */
const BATCH_HEAD = 1024;
/** Words of `state`: done, failed, and where the iteration stands. */
export const STATE_WORDS = 8;

export function paddedRows(n: number): number {
  return Math.ceil(n / 4) * 4;
}

/** Doubles of the buffers that do not hold a matrix. */
export const eigenSizes = {
  /** The reflection under way, and its products with the panel. */
  vector: (n: number): number => paddedRows(n) + 2 * PANEL,
  /** One vector for each item of the product. */
  partials: (n: number): number => Math.ceil(paddedRows(n) / ITEM_ROWS) * paddedRows(n),
  /** `left` and `right` each: V and W of a panel, interleaved. */
  panel: (n: number): number => paddedRows(n) * 2 * PANEL,
  /** The triangular factors of all block reflectors; must be zero at the start. */
  factors: (n: number): number => Math.ceil(n / PANEL) * PANEL * PANEL,
  /** Two batches. */
  rotations: (n: number): number => (2 * (BATCH_HEAD + SWEEP_PAIRS * n * 32)) / 8,
} as const;

/**
 * Finishes column - 1 (unless it belongs to an earlier panel) from the product's partial sums: w = tau (A v - V W'v -
 * W V'v), less its half along v. Then, if `column` is in this panel, brings it up to date and makes its reflection.
 * `panel` is the panel's first column. A's column is replaced by v.
 */
export const tridiagonalColumn = defineKernel({
  name: "tridiagonalColumn",
  params: { n: d.u32, panel: d.u32, column: d.u32 },
  buffers: [
    { name: "a", access: "readwrite", element: "f64" },
    { name: "vector", access: "readwrite", element: "f64" },
    { name: "partials", access: "read", element: "f64" },
    { name: "left", access: "readwrite", element: "f64" },
    { name: "right", access: "readwrite", element: "f64" },
    { name: "diagonal", access: "write", element: "f64" },
    { name: "offDiagonal", access: "write", element: "f64" },
    { name: "factors", access: "readwrite", element: "f64" },
  ],
  split: () => ({ items: 1, grain: 1 }),
});

/** A v from the lower triangle below `column`: each item the share of its 64 rows, for all rows above them too. */
export const tridiagonalProduct = defineKernel({
  name: "tridiagonalProduct",
  params: { n: d.u32, column: d.u32 },
  buffers: [
    { name: "a", access: "read", element: "f64" },
    { name: "vector", access: "read", element: "f64" },
    { name: "partials", access: "write", element: "f64" },
  ],
  split: ({ n, column }) => {
    const top = Math.floor((column + 1) / 4) * 4;
    const items = Math.ceil(paddedRows(n) / ITEM_ROWS) - Math.floor(top / ITEM_ROWS);
    return { items: top < paddedRows(n) ? items : 0, grain: 1 };
  },
});

/**
 * A -= V W' + W V' from row and column `first` on, behind a whole panel: A -= left right', of depth 2 x PANEL, on the lower
 * triangle. Functions of a matrix are put together by it, too (`sdk/linalg/spectral.ts`).
 */
export const tridiagonalUpdate = defineKernel({
  name: "tridiagonalUpdate",
  params: { n: d.u32, first: d.u32 },
  buffers: [
    { name: "a", access: "readwrite", element: "f64" },
    { name: "left", access: "read", element: "f64" },
    { name: "right", access: "read", element: "f64" },
  ],
  split: ({ n, first }) => ({ items: Math.max(0, Math.ceil((paddedRows(n) - first) / ITEM_ROWS)), grain: 1 }),
});

/**
 * The next batch of QL or QR sweeps on the tridiagonal matrix (item 0), while the other items apply the batch before it
 * to four rows of Z each. `turn` counts the commands from 0, of which the first makes Z the identity.
 */
export const eigenSweeps = defineKernel({
  name: "eigenSweeps",
  params: {
    n: d.u32,
    turn: d.u32,
    /** 1: with Z; 0: eigenvalues only. */
    vectors: d.u32,
  },
  buffers: [
    { name: "diagonal", access: "readwrite", element: "f64" },
    { name: "offDiagonal", access: "readwrite", element: "f64" },
    { name: "state", access: "readwrite", element: "u32" },
    { name: "rotations", access: "readwrite", element: "f64" },
    { name: "z", access: "readwrite", element: "f64" },
  ],
  split: ({ n, vectors }) => ({ items: 1 + (vectors === 1 ? paddedRows(n) / 4 : 0), grain: 1 }),
});

/**
 * X = Q Z(:, order): the eigenvectors in strips of four, entry (row i, vector j) at ((j >> 2) * padded + i) * 4 + (j & 3).
 * `order` has an entry for each vector of each strip. A command makes strips [first, first + strips): all at once would
 * leave nobody a chance to stop it.
 */
export const eigenBack = defineKernel({
  name: "eigenBack",
  params: { n: d.u32, first: d.u32, strips: d.u32 },
  buffers: [
    { name: "a", access: "read", element: "f64" },
    { name: "factors", access: "read", element: "f64" },
    { name: "z", access: "read", element: "f64" },
    { name: "order", access: "read", element: "u32" },
    { name: "x", access: "write", element: "f64" },
  ],
  split: ({ strips }) => ({ items: Math.ceil(strips / BACK_STRIPS), grain: 1 }),
});
