/**
 * Windows of 2, 3, 4, 5 and 7 that slide by one pixel, for both passes of `lines.ts`, with the sums in registers; and
 * what is done with a sum before it is stored, so that a map is touched once.
 *
 * Additions per output, sums shared between neighbours: 1 for windows of 2, 1.5 for 3 (a + (b + c), (b + c) + d), 2 for
 * 4 (of pairs) and 5 (an end and two pairs), 2.4 for 7 (suffix sums of one block and prefix sums of the next). Nothing
 * is subtracted.
 *
 * The loop is written once, for all windows and all that may follow: `window` and `mode` are constants wherever these
 * functions are inlined, and the compiler keeps what they ask for.
 */
import { Form, rectify } from "./kappa";
import { biasOf, constantsOf, Plan, weightOf } from "./plan";
import { LANE_BYTES as L, LANES_PIXEL_BYTES as Y, SPLAT_PIXEL_BYTES as X } from "./table";

/** What is done with a sum k. */
export namespace Mode {
  /** The bare sum is stored, and that is all. */
  export const SUM: u32 = 32;
  /** k is multiplied by the weight and added to the map that stands there. Otherwise the weight is 1. */
  export const ADD: u32 = 1;
  /** k is stored. */
  export const KEEP: u32 = 2;
  /** k goes through a relu, which is stored: any, or one of form PLAIN. */
  export const RELU: u32 = 4;
  export const PLAIN: u32 = 8;
  /** The relu is added to the map that stands there. */
  export const ADD_RELU: u32 = 16;
}

/**
 * `lines` lines of `count` sums each. A line is read in one piece, `sourcePitch` behind the one before it, and written
 * across the lines of `target`, `pitch` apart, and of `through`, where a relu goes. `plan` is the convolution's and
 * `after` the relu's, whose table entries `x` and `y` point at. False: not one of these windows. Callers give every
 * `mode` a function of its own: in one, a compiler that is quadratic in a function's size takes a minute.
 */
// @ts-ignore: decorator
@inline
export function slide(
  mode: u32, window: u32, lines: u32, count: u32, source: usize, sourcePitch: usize, target: usize, pitch: usize,
  through: usize, throughPitch: usize, plan: Plan, after: Plan, x: usize, y: usize,
): bool {
  if (window == 2)
    sums(2, mode, lines, count, source, sourcePitch, target, pitch, through, throughPitch, plan, after, x, y);
  else if (window == 5)
    sums(5, mode, lines, count, source, sourcePitch, target, pitch, through, throughPitch, plan, after, x, y);
  else if (window == 3)
    sums(3, mode, lines, count, source, sourcePitch, target, pitch, through, throughPitch, plan, after, x, y);
  else if (window == 4)
    sums(4, mode, lines, count, source, sourcePitch, target, pitch, through, throughPitch, plan, after, x, y);
  else if (window == 7)
    sums(7, mode, lines, count, source, sourcePitch, target, pitch, through, throughPitch, plan, after, x, y);
  else return false;
  return true;
}

// @ts-ignore: decorator
@inline
function sums(
  window: u32, mode: u32, lineCount: u32, count: u32, sources: usize, sourcePitch: usize, targets: usize, tp: usize,
  throughs: usize, up: usize, plan: Plan, after: Plan, xs: usize, ys: usize,
): void {
  const weight = v128.load(weightOf(plan));
  const bias = v128.load(biasOf(plan));
  const constants = constantsOf(after);
  const m = v128.load(constants);
  const positive = v128.load(constants, 16);
  const a = v128.load(constants, 32);
  const b = v128.load(constants, 48);
  const c = v128.load(constants, 64);
  const e = v128.load(constants, 80);
  const f = v128.load(constants, 96);
  const g = v128.load(constants, 112);
  let source = sources;
  let target = targets;
  let through = throughs;
  let x = xs;
  let y = ys;
  let lines = lineCount;
  do {
    let from = source;
    let t = target;
    let u = through;
    if (window == 2) {
      let v0 = v128.load(from);
      for (let left = count; left; left--) {
        from += L;
        const v1 = v128.load(from);
        finish(mode, f32x4.add(v0, v1), t, u, x, y, weight, bias, m, positive, a, b, c, e, f, g);
        t += tp;
        u += up;
        x += X;
        y += Y;
        v0 = v1;
      }
    }
    if (window == 5) {
      let first = v128.load(from);
      let second = v128.load(from, 2 * L);
      let pair = f32x4.add(v128.load(from, L), second);
      for (let left = count >> 1; left; left--) {
        const v4 = v128.load(from, 4 * L);
        const nextPair = f32x4.add(v128.load(from, 3 * L), v4);
        const inner = f32x4.add(pair, nextPair);
        finish(mode, f32x4.add(first, inner), t, u, x, y, weight, bias, m, positive, a, b, c, e, f, g);
        const sum = f32x4.add(inner, v128.load(from, 5 * L));
        finish(mode, sum, t + tp, u + up, x + X, y + Y, weight, bias, m, positive, a, b, c, e, f, g);
        from += 2 * L;
        t += 2 * tp;
        u += 2 * up;
        x += 2 * X;
        y += 2 * Y;
        first = second;
        second = v4;
        pair = nextPair;
      }
      if (count & 1) {
        const nextPair = f32x4.add(v128.load(from, 3 * L), v128.load(from, 4 * L));
        const sum = f32x4.add(first, f32x4.add(pair, nextPair));
        finish(mode, sum, t, u, x, y, weight, bias, m, positive, a, b, c, e, f, g);
        x += X;
        y += Y;
      }
    }
    if (window == 3) {
      let v0 = v128.load(from);
      let v1 = v128.load(from, L);
      for (let left = count >> 1; left; left--) {
        const v2 = v128.load(from, 2 * L);
        const v3 = v128.load(from, 3 * L);
        const inner = f32x4.add(v1, v2);
        finish(mode, f32x4.add(v0, inner), t, u, x, y, weight, bias, m, positive, a, b, c, e, f, g);
        finish(mode, f32x4.add(inner, v3), t + tp, u + up, x + X, y + Y, weight, bias, m, positive, a, b, c, e, f, g);
        from += 2 * L;
        t += 2 * tp;
        u += 2 * up;
        x += 2 * X;
        y += 2 * Y;
        v0 = v2;
        v1 = v3;
      }
      if (count & 1) {
        const sum = f32x4.add(v0, f32x4.add(v1, v128.load(from, 2 * L)));
        finish(mode, sum, t, u, x, y, weight, bias, m, positive, a, b, c, e, f, g);
        x += X;
        y += Y;
      }
    }
    if (window == 4) {
      let last = v128.load(from, 2 * L);
      let even = f32x4.add(v128.load(from), v128.load(from, L));
      let odd = f32x4.add(v128.load(from, L), last);
      for (let left = count >> 1; left; left--) {
        const v3 = v128.load(from, 3 * L);
        const v4 = v128.load(from, 4 * L);
        const nextEven = f32x4.add(last, v3);
        const nextOdd = f32x4.add(v3, v4);
        finish(mode, f32x4.add(even, nextEven), t, u, x, y, weight, bias, m, positive, a, b, c, e, f, g);
        const sum = f32x4.add(odd, nextOdd);
        finish(mode, sum, t + tp, u + up, x + X, y + Y, weight, bias, m, positive, a, b, c, e, f, g);
        from += 2 * L;
        t += 2 * tp;
        u += 2 * up;
        x += 2 * X;
        y += 2 * Y;
        even = nextEven;
        odd = nextOdd;
        last = v4;
      }
      if (count & 1) {
        const sum = f32x4.add(even, f32x4.add(last, v128.load(from, 3 * L)));
        finish(mode, sum, t, u, x, y, weight, bias, m, positive, a, b, c, e, f, g);
        x += X;
        y += Y;
      }
    }
    if (window == 7) {
      let left = count;
      for (; left >= 7; left -= 7) {
        const s6 = v128.load(from, 6 * L);
        const s5 = f32x4.add(s6, v128.load(from, 5 * L));
        const s4 = f32x4.add(s5, v128.load(from, 4 * L));
        const s3 = f32x4.add(s4, v128.load(from, 3 * L));
        const s2 = f32x4.add(s3, v128.load(from, 2 * L));
        const s1 = f32x4.add(s2, v128.load(from, L));
        finish(mode, f32x4.add(s1, v128.load(from)), t, u, x, y, weight, bias, m, positive, a, b, c, e, f, g);
        let prefix = v128.load(from, 7 * L);
        t += tp;
        u += up;
        finish(mode, f32x4.add(s1, prefix), t, u, x + 1 * X, y + 1 * Y, weight, bias, m, positive, a, b, c, e, f, g);
        prefix = f32x4.add(prefix, v128.load(from, 8 * L));
        t += tp;
        u += up;
        finish(mode, f32x4.add(s2, prefix), t, u, x + 2 * X, y + 2 * Y, weight, bias, m, positive, a, b, c, e, f, g);
        prefix = f32x4.add(prefix, v128.load(from, 9 * L));
        t += tp;
        u += up;
        finish(mode, f32x4.add(s3, prefix), t, u, x + 3 * X, y + 3 * Y, weight, bias, m, positive, a, b, c, e, f, g);
        prefix = f32x4.add(prefix, v128.load(from, 10 * L));
        t += tp;
        u += up;
        finish(mode, f32x4.add(s4, prefix), t, u, x + 4 * X, y + 4 * Y, weight, bias, m, positive, a, b, c, e, f, g);
        prefix = f32x4.add(prefix, v128.load(from, 11 * L));
        t += tp;
        u += up;
        finish(mode, f32x4.add(s5, prefix), t, u, x + 5 * X, y + 5 * Y, weight, bias, m, positive, a, b, c, e, f, g);
        prefix = f32x4.add(prefix, v128.load(from, 12 * L));
        t += tp;
        u += up;
        finish(mode, f32x4.add(s6, prefix), t, u, x + 6 * X, y + 6 * Y, weight, bias, m, positive, a, b, c, e, f, g);
        t += tp;
        u += up;
        from += 7 * L;
        x += 7 * X;
        y += 7 * Y;
      }
      for (; left; left--) {
        finish(mode, seven(from), t, u, x, y, weight, bias, m, positive, a, b, c, e, f, g);
        t += tp;
        u += up;
        from += L;
        x += X;
        y += Y;
      }
    }
    source += sourcePitch;
    target += L;
    through += L;
  } while (--lines);
}

/** What `mode` says, for one pixel: `t` and `u` are its places in the sums' map and in the relu's. */
// @ts-ignore: decorator
@inline
function finish(
  mode: u32, sum: v128, t: usize, u: usize, x: usize, y: usize, weight: v128, bias: v128,
  m: v128, positive: v128, a: v128, b: v128, c: v128, e: v128, f: v128, g: v128,
): void {
  if (mode & Mode.SUM) {
    v128.store(t, sum);
    return;
  }
  const k = mode & Mode.ADD
    ? f32x4.add(v128.load(t), f32x4.add(f32x4.mul(weight, sum), bias))
    : f32x4.add(sum, bias);
  if (mode & Mode.KEEP) v128.store(t, k);
  if (!(mode & Mode.RELU)) return;
  const form = mode & Mode.PLAIN ? Form.PLAIN : Form.RELU;
  const value = rectify(form, k, x, y, m, positive, a, b, c, e, f, g, m, m);
  v128.store(u, mode & Mode.ADD_RELU ? f32x4.add(v128.load(u), value) : value);
}

/** A single window, behind the last whole block. */
// @ts-ignore: decorator
@inline
function seven(from: usize): v128 {
  const first = f32x4.add(f32x4.add(v128.load(from), v128.load(from, L)), v128.load(from, 2 * L));
  const last = f32x4.add(f32x4.add(v128.load(from, 4 * L), v128.load(from, 5 * L)), v128.load(from, 6 * L));
  return f32x4.add(f32x4.add(first, v128.load(from, 3 * L)), last);
}
