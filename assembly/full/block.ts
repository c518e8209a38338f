/**
 * The loop that full programs spend their time in: a 3x3 convolution of stride 1 that keeps its map's size, what its
 * weights add to the NTK, and the relu behind it, in one pass over the map of an offset.
 *
 *     D1 = box D,   n, d, k, u as in `bend.ts`,   T1 = box T + k,   D' = D1 - 2 d q P(u),   T' = T1 (1 - 2 q A(u))
 *
 * Maps are padded here: a ring of one pixel around the rows holds what taps beside the map see (D = sigma^2 of the
 * image that has a pixel there, T = 0), so that no tap asks where it is. Columns of three are summed first and their
 * sums slide along the row: four additions a map and pixel, and nothing is subtracted.
 */
import { BLOCK_A, BLOCK_P, gapOf, multiplyAdd, multiplySubtract, normOf, slantOf } from "./bend";
import { ROW_PIXEL_BYTES } from "./run";
import { LANES_PIXEL_BYTES } from "../covariance/table";

/** What a loop is for. */
export namespace Mode {
  /** T comes in, T goes out, covariances may be negative. */
  export const TANGENT_IN: u32 = 1;
  export const TANGENT_OUT: u32 = 2;
  export const SIGNED: u32 = 4;
}

/** The sum of a column of three. */
// @ts-ignore: decorator
@inline
function column(row: usize, pitch: usize, offset: usize): v128 {
  const at = row + offset;
  return f32x4.add(f32x4.add(v128.load(at), v128.load(at + pitch)), v128.load(at + 2 * pitch));
}

/** c0 + c1 v + .. + c5 v^5. */
// @ts-ignore: decorator
@inline
function quintic(v: v128, c0: v128, c1: v128, c2: v128, c3: v128, c4: v128, c5: v128): v128 {
  const top = multiplyAdd(multiplyAdd(multiplyAdd(c5, v, c4), v, c3), v, c2);
  return multiplyAdd(multiplyAdd(top, v, c1), v, c0);
}

/** 2 sqrt(u) P(u) / sqrt(v): see `SLANT`. */
// @ts-ignore: decorator
@inline
function arc(v: v128, p0: v128, p1: v128, p2: v128, p3: v128, p4: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const top = multiplyAdd(multiplyAdd(p4, v, p3), v, p2);
    return multiplyAdd(multiplyAdd(top, v, p1), v, p0);
  }
  const first = f32x4.add(f32x4.mul(f32x4.add(v, p0), v), p1);
  const second = f32x4.add(f32x4.mul(f32x4.add(v, p2), v), p3);
  return f32x4.mul(first, second);
}

/**
 * `rows` rows of `columns` pixels, from the padded map whose corner is `from` to the one whose first pixel is `to`. `x`
 * and `y` point at the table entries of the first pixels, whose rows are `xPitch` and `yPitch` bytes apart.
 */
// @ts-ignore: decorator
@inline
export function convRelu(
  mode: u32, rows: u32, columns: u32, from: usize, fromPitch: usize, to: usize, toPitch: usize,
  x: usize, xPitch: usize, y: usize, yPitch: usize, constants: usize, limits: usize,
): void {
  const p0 = v128.load(constants, BLOCK_P);
  const p1 = v128.load(constants, BLOCK_P + 16);
  const p2 = v128.load(constants, BLOCK_P + 32);
  const p3 = v128.load(constants, BLOCK_P + 48);
  const p4 = v128.load(constants, BLOCK_P + 64);
  const a0 = v128.load(constants, BLOCK_A);
  const a1 = v128.load(constants, BLOCK_A + 16);
  const a2 = v128.load(constants, BLOCK_A + 32);
  const a3 = v128.load(constants, BLOCK_A + 48);
  const a4 = v128.load(constants, BLOCK_A + 64);
  const a5 = v128.load(constants, BLOCK_A + 80);
  const one = v128.load(constants);
  const limit = v128.load(limits);
  const zero = f32x4.splat(0);
  const inUnit: usize = mode & Mode.TANGENT_IN ? 32 : 16;
  const outUnit: usize = mode & Mode.TANGENT_OUT ? 32 : 16;
  do {
    let at = from;
    let target = to;
    let xs = x;
    let ys = y;
    let d0 = column(at, fromPitch, 0);
    let d1 = column(at, fromPitch, inUnit);
    let t0 = zero;
    let t1 = zero;
    if (mode & Mode.TANGENT_IN) {
      t0 = column(at, fromPitch, 16);
      t1 = column(at, fromPitch, inUnit + 16);
    }
    let left = columns;
    do {
      const d2 = column(at, fromPitch, 2 * inUnit);
      const distance = f32x4.add(f32x4.add(d0, d1), d2);
      d0 = d1;
      d1 = d2;
      const n = normOf(xs, ys);
      const all = gapOf(distance, xs, ys, mode & Mode.SIGNED ? f32x4.mul(limit, n) : n);
      const k = f32x4.sub(n, all);
      const d = mode & Mode.SIGNED ? f32x4.pmin(f32x4.sub(f32x4.add(n, n), all), all) : all;
      const v = slantOf(d, xs, ys);
      const root = f32x4.sqrt(v);
      const straight = mode & Mode.SIGNED ? f32x4.add(distance, f32x4.pmin(zero, k)) : distance;
      v128.store(target, multiplySubtract(f32x4.mul(d, root), arc(v, p0, p1, p2, p3, p4), straight));
      if (mode & Mode.TANGENT_OUT) {
        let tangent = k;
        if (mode & Mode.TANGENT_IN) {
          const t2 = column(at, fromPitch, 2 * inUnit + 16);
          tangent = f32x4.add(f32x4.add(f32x4.add(t0, t1), t2), k);
          t0 = t1;
          t1 = t2;
        }
        const turn = quintic(v, a0, a1, a2, a3, a4, a5);
        let slope = multiplySubtract(root, turn, one);
        if (mode & Mode.SIGNED) slope = v128.bitselect(slope, f32x4.mul(root, turn), f32x4.ge(k, zero));
        v128.store(target, f32x4.mul(tangent, slope), 16);
      }
      at += inUnit;
      target += outUnit;
      xs += ROW_PIXEL_BYTES;
      ys += LANES_PIXEL_BYTES;
    } while (--left);
    from += fromPitch;
    to += toPitch;
    x += xPitch;
    y += yPitch;
  } while (--rows);
}
