/**
 * Eigenvectors of the matrix from those of its tridiagonal form: X = Q Z(:, order), with Q the product of the block
 * reflectors I - V F V' that `tridiagonal.ts` left in A and `factors` (schema: `eigenBack` in
 * `sdk/engine/kernels/eigen.ts`). Eight strips of four vectors each go through all of them, the last block first:
 *
 *     M = -V'X        V's rows in pieces of 128, transposed in scratch, so that a piece serves all eight strips from L1
 *     N = -F M
 *     X -= V N
 *
 * all by the micro-kernel. Cost: 2 n^2 multiplications and additions a vector. No item waits for another.
 */
import { buffer } from "../dispatch";
import { EigenBackParams } from "../generated/kernels";
import { micro64 } from "../gemm/micro64";
import { paddedRows, stepAt, stripAt } from "./tiles";
import { PANEL } from "./tridiagonal";

/** The same number as in the schema. */
const BACK_STRIPS: i32 = 8;
/** Rows of V that are transposed at a time: 32 KiB. */
const PIECE: i32 = 128;
/** Bytes of M, or N, of one strip. */
const COEFFICIENTS: usize = <usize>PANEL << 5;

export function eigenBack(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<EigenBackParams>(params);
  const padded = paddedRows(<i32>p.n);
  const size = stripAt(4, padded);
  for (let item = begin; item < end; item++) {
    const from = item * BACK_STRIPS;
    const count = min(BACK_STRIPS, <i32>p.strips - from);
    const first = <i32>p.first + from;
    const x = buffer(buffers, 4) + <usize>first * size;
    for (let s = 0; s < count; s++) {
      gather(padded, buffer(buffers, 2), buffer(buffers, 3) + (<usize>(first + s) << 4), x + <usize>s * size);
    }
    for (let panel = (padded - 1) & ~(PANEL - 1); panel >= 0; panel -= PANEL) {
      applyBlock(padded, panel, buffer(buffers, 0), buffer(buffers, 1), x, count, scratch);
    }
  }
}

/** Four columns of Z, by index, to one strip of X. */
function gather(padded: i32, z: usize, order: usize, x: usize): void {
  const c0 = stepAt(load<i32>(order));
  const c1 = stepAt(load<i32>(order, 4));
  const c2 = stepAt(load<i32>(order, 8));
  const c3 = stepAt(load<i32>(order, 12));
  for (let row = 0; row < padded; row += 4) {
    const strip = z + stripAt(row, padded);
    transposeFour(strip + c0, strip + c1, strip + c2, strip + c3, x + stepAt(row));
  }
}

/** X -= V F V'X for `count` strips and the reflections from column `panel` on. */
function applyBlock(padded: i32, panel: i32, a: usize, factors: usize, x: usize, count: i32, scratch: usize): void {
  const width = min(PANEL, padded - panel);
  const v = a + stepAt(panel);
  const size = stripAt(4, padded);
  const m = scratch;
  const coefficients = scratch + COEFFICIENTS * BACK_STRIPS;
  const piece = coefficients + COEFFICIENTS * BACK_STRIPS;
  memory.fill(scratch, 0, 2 * COEFFICIENTS * BACK_STRIPS);
  for (let row = panel; row < padded; row += PIECE) {
    const depth = min(PIECE, padded - row);
    transposePiece(v + stripAt(row, padded), padded, depth, width, piece);
    for (let s = 0; s < count; s++) {
      const xs = x + <usize>s * size + stepAt(row);
      for (let q = 0; q < width; q += 4) {
        micro64(depth, xs, piece + stripAt(q, depth), m + <usize>s * COEFFICIENTS + stepAt(q));
      }
    }
  }
  for (let s = 0; s < count; s++) {
    const ms = m + <usize>s * COEFFICIENTS;
    for (let q = 0; q < width; q += 4) {
      const factor = factors + stripAt(panel + q, PANEL);
      micro64(width, ms, factor, coefficients + <usize>s * COEFFICIENTS + stepAt(q));
    }
  }
  for (let row = panel; row < padded; row += 4) {
    const strip = v + stripAt(row, padded);
    for (let s = 0; s < count; s++) {
      micro64(width, coefficients + <usize>s * COEFFICIENTS, strip, x + <usize>s * size + stepAt(row));
    }
  }
}

/** `depth` rows of V in strips of four rows, `padded` apart, to strips of four columns of that depth. */
function transposePiece(v: usize, padded: i32, depth: i32, width: i32, to: usize): void {
  for (let row = 0; row < depth; row += 4) {
    const strip = v + stripAt(row, padded);
    for (let q = 0; q < width; q += 4) {
      const from = strip + stepAt(q);
      transposeFour(from, from + 32, from + 64, from + 96, to + stripAt(q, depth) + stepAt(row));
    }
  }
}

/** Four quadruples become the columns of a 4 x 4 block. */
// @ts-ignore: decorator
@inline
function transposeFour(c0: usize, c1: usize, c2: usize, c3: usize, to: usize): void {
  for (let half: usize = 0; half < 32; half += 16) {
    const q0 = v128.load(c0 + half);
    const q1 = v128.load(c1 + half);
    const q2 = v128.load(c2 + half);
    const q3 = v128.load(c3 + half);
    const at = to + (half << 2);
    v128.store(at, v128.shuffle<f64>(q0, q1, 0, 2));
    v128.store(at, v128.shuffle<f64>(q2, q3, 0, 2), 16);
    v128.store(at, v128.shuffle<f64>(q0, q1, 1, 3), 32);
    v128.store(at, v128.shuffle<f64>(q2, q3, 1, 3), 48);
  }
}
