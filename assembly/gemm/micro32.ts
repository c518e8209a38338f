/**
 * The float32 micro-kernel: the one function of matmul that knows the instruction set.
 *
 *     C[4 x 8] (+)= alpha sum over p of a[p][4] b[p][8]'
 *
 * `a` and `b` are packed panels (see `pack32.ts`). 4 x 8 is what V8 likes: 8 accumulators, two vectors of b and one
 * broadcast of a fit the 16 registers of x86-64, while larger tiles and unrolled loops spill. Each entry is one running
 * sum in the order of p, so a result never depends on which tile its entry fell into. The scaling by alpha and the
 * addition to C are plain multiplications and additions in either build.
 */
import { microRelaxed32 } from "./micro32.relaxed";
import { microSimd32 } from "./micro32.simd";

/** Rows and columns of C that one call computes. */
export const MICRO_ROWS: i32 = 4;
export const MICRO_COLUMNS: i32 = 8;

/** `depth` >= 1; `stride`: bytes between rows of C; `overwrite`: C is not read. */
// @ts-ignore: decorator
@inline
export function micro32(depth: i32, a: usize, b: usize, alpha: f32, c: usize, stride: usize, overwrite: bool): void {
  if (ASC_FEATURE_RELAXED_SIMD) microRelaxed32(depth, a, b, alpha, c, stride, overwrite);
  else microSimd32(depth, a, b, alpha, c, stride, overwrite);
}

/** One row of the tile: C = alpha * sums, or C += alpha * sums. */
// @ts-ignore: decorator
@inline
export function storeRow(c: usize, alpha: v128, left: v128, right: v128, overwrite: bool): void {
  left = f32x4.mul(alpha, left);
  right = f32x4.mul(alpha, right);
  if (!overwrite) {
    left = f32x4.add(v128.load(c), left);
    right = f32x4.add(v128.load(c, 16), right);
  }
  v128.store(c, left);
  v128.store(c, right, 16);
}
