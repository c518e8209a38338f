/**
 * C = alpha op(A) op(B) + beta C in float32 (schema: `sdk/engine/kernels/matmul.ts`). BLIS's structure:
 *
 *     work item    a block of C, at most BLOCK_ROWS x BLOCK_COLUMNS, over the whole inner dimension
 *       depth      DEPTH steps of it at a time: pack op(A)'s rows and op(B)'s columns of the block into scratch
 *         columns  panels of 8 columns of B: 8 x DEPTH floats stay in L1
 *           rows   panels of 4 rows of A stream from L2: one micro-kernel call each
 *
 * Scratch: (BLOCK_ROWS + BLOCK_COLUMNS) x DEPTH floats = 768 KiB, and one micro-tile for C's ragged edges.
 * An entry of C is the sum, in order, of alpha times its sums over DEPTH terms: the same bits for any block size, edge
 * or thread count. Packing costs each item (rows + columns) x k moves against rows x columns x k products.
 */
import { buffer } from "./dispatch";
import { MatmulParams } from "./generated/kernels";
import { multiplyPacked } from "./gemm/macro32";
import { MICRO_COLUMNS, MICRO_ROWS } from "./gemm/micro32";
import { packAcross, packAlong } from "./gemm/pack32";

const BLOCK_ROWS: i32 = 128;
const BLOCK_COLUMNS: i32 = 256;
/** 8 x 512 floats of B are 16 KiB, a third of the L1 of current machines; 128 x 512 of A are 256 KiB of L2. */
const DEPTH: i32 = 512;
/** Blocks shrink until there is one for each of that many threads: the same rule as `wasmBlocks` of the schema. */
const WANTED_ITEMS: i32 = 16;

export function matmul(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<MatmulParams>(params);
  const m = <i32>p.m;
  const n = <i32>p.n;
  let rows = BLOCK_ROWS;
  let columns = BLOCK_COLUMNS;
  while (rows > 32 && ceilDiv(m, rows) * ceilDiv(n, columns) < WANTED_ITEMS) {
    if (columns > rows) columns >>= 1;
    else rows >>= 1;
  }
  const across = ceilDiv(n, columns);
  for (let item = begin; item < end; item++) {
    const row = (item / across) * rows;
    const column = (item % across) * columns;
    block(p, buffers, row, min(rows, m - row), column, min(columns, n - column), scratch);
  }
}

/** One block of C: `rows` x `columns` entries from (row, column) on. */
function block(
  p: MatmulParams,
  buffers: usize,
  row: i32,
  rows: i32,
  column: i32,
  columns: i32,
  scratch: usize,
): void {
  const k = <i32>p.k;
  const alpha = p.alpha;
  const stride = <usize>p.n << 2;
  const c = buffer(buffers, 2) + <usize>row * stride + (<usize>column << 2);
  const empty = k == 0 || alpha == 0;
  if (empty || p.beta != 0) scale(c, stride, rows, columns, p.beta);
  if (empty) return;
  const a = buffer(buffers, 0);
  const b = buffer(buffers, 1);
  const packedB = scratch + (<usize>(BLOCK_ROWS * DEPTH) << 2);
  const edge = packedB + (<usize>(BLOCK_COLUMNS * DEPTH) << 2);
  for (let q = 0; q < k; q += DEPTH) {
    const depth = min(DEPTH, k - q);
    const overwrite = q == 0 && p.beta == 0;
    if (p.transposeA) packAcross(at(a, p.m, q, row), <usize>p.m << 2, rows, depth, MICRO_ROWS, scratch);
    else packAlong(at(a, p.k, row, q), <usize>p.k << 2, rows, depth, MICRO_ROWS, scratch);
    if (p.transposeB) packAlong(at(b, p.k, column, q), <usize>p.k << 2, columns, depth, MICRO_COLUMNS, packedB);
    else packAcross(at(b, p.n, q, column), stride, columns, depth, MICRO_COLUMNS, packedB);
    multiplyPacked(rows, columns, depth, scratch, packedB, alpha, c, stride, overwrite, edge);
  }
}

/** C = beta C. With beta = 0, C is not read: it may hold NaN. */
function scale(c: usize, stride: usize, rows: i32, columns: i32, beta: f32): void {
  for (let i = 0; i < rows; i++) {
    if (beta == 0) memory.fill(c, 0, <usize>columns << 2);
    else if (beta != 1) {
      for (let j: usize = 0; j < <usize>columns << 2; j += 4) store<f32>(c + j, beta * load<f32>(c + j));
    }
    c += stride;
  }
}

/** The address of entry (row, column) of a row-major matrix. */
// @ts-ignore: decorator
@inline
function at(base: usize, columns: u32, row: i32, column: i32): usize {
  return base + ((<usize>row * <usize>columns + <usize>column) << 2);
}

// @ts-ignore: decorator
@inline
function ceilDiv(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}
