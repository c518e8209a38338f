/**
 * The loop that full programs spend their time in: a 3x3 convolution of stride 1 that keeps its map's size, what its
 * weights add to the NTK, and the relu behind it, in one pass over the map of an offset.
 *
 *     D1 = box D,   n, d, k, u as in `bend.ts`,   T1 = box T + k,   D' = D1 - 2 d q P(u),   T' = T1 (1 - 2 q A(u))
 *
 * Maps are padded here: a ring of one pixel around the rows holds what taps beside the map see (D = sigma^2 of the image
 * that has a pixel there, T = 0), so that no tap asks where it is. Columns of three are summed first and their sums slide
 * along the row: four additions a map and pixel, and nothing is subtracted.
 */
import { gapOf, inverseOf, multiplyAdd, multiplySubtract, normOf } from "./bend";
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

/** c0 + c1 u + .. + c5 u^5, in the fewest dependent operations. */
// @ts-ignore: decorator
@inline
function quintic(u: v128, square: v128, c0: v128, c1: v128, c2: v128, c3: v128, c4: v128, c5: v128): v128 {
  const high = multiplyAdd(multiplyAdd(c5, u, c4), square, multiplyAdd(c3, u, c2));
  return multiplyAdd(high, square, multiplyAdd(c1, u, c0));
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
  const p0 = v128.load(constants, 48);
  const p1 = v128.load(constants, 64);
  const p2 = v128.load(constants, 80);
  const p3 = v128.load(constants, 96);
  const p4 = v128.load(constants, 112);
  const p5 = v128.load(constants, 128);
  const a0 = v128.load(constants, 144);
  const a1 = v128.load(constants, 160);
  const a2 = v128.load(constants, 176);
  const a3 = v128.load(constants, 192);
  const a4 = v128.load(constants, 208);
  const a5 = v128.load(constants, 224);
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
      const u = f32x4.mul(d, inverseOf(xs, ys));
      const q = f32x4.sqrt(u);
      const square = f32x4.mul(u, u);
      const straight = mode & Mode.SIGNED ? f32x4.add(distance, f32x4.pmin(zero, k)) : distance;
      const bend = quintic(u, square, p0, p1, p2, p3, p4, p5);
      v128.store(target, multiplySubtract(f32x4.mul(d, q), bend, straight));
      if (mode & Mode.TANGENT_OUT) {
        let tangent = k;
        if (mode & Mode.TANGENT_IN) {
          const t2 = column(at, fromPitch, 2 * inUnit + 16);
          tangent = f32x4.add(f32x4.add(f32x4.add(t0, t1), t2), k);
          t0 = t1;
          t1 = t2;
        }
        const turn = quintic(u, square, a0, a1, a2, a3, a4, a5);
        let slope = multiplySubtract(q, turn, one);
        if (mode & Mode.SIGNED) slope = v128.bitselect(slope, f32x4.mul(q, turn), f32x4.ge(k, zero));
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
