/**
 * Both passes of `lines.ts` for windows of 3, 4 and 7 that slide by one pixel, with the sums in registers, and what
 * stands behind a convolution done to a sum before it is stored: a map is touched once.
 *
 * Additions per output, sums shared between neighbours: 1.5 for windows of 3 (a + (b + c), (b + c) + d), 2 for 4 (of
 * pairs), 2.4 for 7 (suffix sums of one block and prefix sums of the next). Nothing is subtracted.
 *
 * Each loop is written once, for all windows and all that may follow: `window` and `mode` are constants wherever these
 * functions are inlined, and the compiler keeps what they ask for.
 */
import { StepKind } from "../generated/kernels";
import { Form, rectify } from "./kappa";
import { biasOf, constantsOf, Plan, weightOf } from "./plan";
import { Step } from "./step";
import { LANE_BYTES as L, LANES_PIXEL_BYTES as Y, SPLAT_PIXEL_BYTES as X } from "./table";

/** What is done with a sum k. */
export namespace Mode {
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

// --- pass 1 ----------------------------------------------------------------------------------------------------------

/** Down the columns of M, into the rows of V. False: the window is none of these. */
export function slideColumns(step: Step, plan: Plan, maps: usize, rows: usize): bool {
  if (step.strideHeight != 1 || step.dilationHeight != 1) return false;
  const from = maps + plan.from;
  const to = rows + plan.rowFront;
  const window = step.filterHeight;
  if (window == 3) columns3(from, plan.fromPitch, to, plan.rowPitch, step.inWidth, step.outHeight);
  else if (window == 4) columns4(from, plan.fromPitch, to, plan.rowPitch, step.inWidth, step.outHeight);
  else if (window == 7) columns7(from, plan.fromPitch, to, plan.rowPitch, step.inWidth, step.outHeight);
  else return false;
  return true;
}

function columns3(source: usize, sourcePitch: usize, target: usize, pitch: usize, lines: u32, count: u32): void {
  do {
    let from = source;
    let to = target;
    let a = v128.load(from);
    let b = v128.load(from, L);
    for (let left = count >> 1; left; left--) {
      const c = v128.load(from, 2 * L);
      const d = v128.load(from, 3 * L);
      const inner = f32x4.add(b, c);
      v128.store(to, f32x4.add(a, inner));
      to += pitch;
      v128.store(to, f32x4.add(inner, d));
      to += pitch;
      from += 2 * L;
      a = c;
      b = d;
    }
    if (count & 1) v128.store(to, f32x4.add(a, f32x4.add(b, v128.load(from, 2 * L))));
    source += sourcePitch;
    target += L;
  } while (--lines);
}

function columns4(source: usize, sourcePitch: usize, target: usize, pitch: usize, lines: u32, count: u32): void {
  do {
    let from = source;
    let to = target;
    let last = v128.load(from, 2 * L);
    let even = f32x4.add(v128.load(from), v128.load(from, L));
    let odd = f32x4.add(v128.load(from, L), last);
    for (let left = count >> 1; left; left--) {
      const c = v128.load(from, 3 * L);
      const d = v128.load(from, 4 * L);
      const nextEven = f32x4.add(last, c);
      const nextOdd = f32x4.add(c, d);
      v128.store(to, f32x4.add(even, nextEven));
      to += pitch;
      v128.store(to, f32x4.add(odd, nextOdd));
      to += pitch;
      from += 2 * L;
      even = nextEven;
      odd = nextOdd;
      last = d;
    }
    if (count & 1) v128.store(to, f32x4.add(even, f32x4.add(last, v128.load(from, 3 * L))));
    source += sourcePitch;
    target += L;
  } while (--lines);
}

function columns7(source: usize, sourcePitch: usize, target: usize, pitch: usize, lines: u32, count: u32): void {
  do {
    let from = source;
    let to = target;
    let left = count;
    for (; left >= 7; left -= 7) {
      const s6 = v128.load(from, 6 * L);
      const s5 = f32x4.add(s6, v128.load(from, 5 * L));
      const s4 = f32x4.add(s5, v128.load(from, 4 * L));
      const s3 = f32x4.add(s4, v128.load(from, 3 * L));
      const s2 = f32x4.add(s3, v128.load(from, 2 * L));
      const s1 = f32x4.add(s2, v128.load(from, L));
      v128.store(to, f32x4.add(s1, v128.load(from)));
      to += pitch;
      let prefix = v128.load(from, 7 * L);
      v128.store(to, f32x4.add(s1, prefix));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 8 * L));
      v128.store(to, f32x4.add(s2, prefix));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 9 * L));
      v128.store(to, f32x4.add(s3, prefix));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 10 * L));
      v128.store(to, f32x4.add(s4, prefix));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 11 * L));
      v128.store(to, f32x4.add(s5, prefix));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 12 * L));
      v128.store(to, f32x4.add(s6, prefix));
      to += pitch;
      from += 7 * L;
    }
    for (; left; left--) {
      v128.store(to, seven(from));
      to += pitch;
      from += L;
    }
    source += sourcePitch;
    target += L;
  } while (--lines);
}

/** A single window, behind the last whole block. */
// @ts-ignore: decorator
@inline
function seven(from: usize): v128 {
  const first = f32x4.add(f32x4.add(v128.load(from), v128.load(from, L)), v128.load(from, 2 * L));
  const last = f32x4.add(f32x4.add(v128.load(from, 4 * L), v128.load(from, 5 * L)), v128.load(from, 6 * L));
  return f32x4.add(f32x4.add(first, v128.load(from, 3 * L)), last);
}

// --- pass 2 ----------------------------------------------------------------------------------------------------------

/** Along the rows of V and through what follows, into the columns of M. False: not one of these windows and modes. */
export function slideRows(
  step: Step, plan: Plan, next: Step, after: Plan, rows: usize, x: usize, y: usize, maps: usize,
): bool {
  if (step.strideWidth != 1 || step.dilationWidth != 1) return false;
  switch (modeOf(step, plan, next, after)) {
    case Mode.RELU:
      return relu(step, plan, after, rows, x, y, maps);
    case Mode.RELU | Mode.PLAIN:
      return plainRelu(step, plan, after, rows, x, y, maps);
    case Mode.RELU | Mode.ADD_RELU:
      return reluAdded(step, plan, after, rows, x, y, maps);
    case Mode.KEEP:
      return plain(step, plan, after, rows, x, y, maps);
    case Mode.ADD | Mode.KEEP:
      return added(step, plan, after, rows, x, y, maps);
    case Mode.ADD | Mode.KEEP | Mode.RELU:
      return addedThenRelu(step, plan, after, rows, x, y, maps);
    case Mode.ADD | Mode.KEEP | Mode.RELU | Mode.PLAIN:
      return addedThenPlainRelu(step, plan, after, rows, x, y, maps);
    default:
      return false;
  }
}

function modeOf(step: Step, plan: Plan, next: Step, after: Plan): u32 {
  let mode: u32 = 0;
  if (step.accumulate) mode |= Mode.ADD;
  else if (step.factor != 1) return 0;
  if (plan.keep) mode |= Mode.KEEP;
  if (!plan.fused) return mode;
  if (next.kind != StepKind.rectifier || after.form == Form.GENERAL) return 0;
  mode |= Mode.RELU;
  if (after.form == Form.PLAIN && !next.accumulate) mode |= Mode.PLAIN;
  if (next.accumulate) mode |= Mode.ADD_RELU;
  return mode;
}

// Functions of their own: in one, a compiler that is quadratic in a function's size takes a minute.

function relu(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return slideAny(Mode.RELU, step, plan, after, rows, x, y, maps);
}

function plainRelu(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return slideAny(Mode.RELU | Mode.PLAIN, step, plan, after, rows, x, y, maps);
}

function reluAdded(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return slideAny(Mode.RELU | Mode.ADD_RELU, step, plan, after, rows, x, y, maps);
}

function plain(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return slideAny(Mode.KEEP, step, plan, after, rows, x, y, maps);
}

function added(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return slideAny(Mode.ADD | Mode.KEEP, step, plan, after, rows, x, y, maps);
}

function addedThenRelu(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return slideAny(Mode.ADD | Mode.KEEP | Mode.RELU, step, plan, after, rows, x, y, maps);
}

function addedThenPlainRelu(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return slideAny(Mode.ADD | Mode.KEEP | Mode.RELU | Mode.PLAIN, step, plan, after, rows, x, y, maps);
}

// @ts-ignore: decorator
@inline
function slideAny(
  mode: u32, step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize,
): bool {
  const window = step.filterWidth;
  if (window == 3) slide(3, mode, step, plan, after, rows, x, y, maps);
  else if (window == 4) slide(4, mode, step, plan, after, rows, x, y, maps);
  else if (window == 7) slide(7, mode, step, plan, after, rows, x, y, maps);
  else return false;
  return true;
}

// @ts-ignore: decorator
@inline
function slide(
  window: u32, mode: u32, step: Step, plan: Plan, after: Plan, rows: usize, xs: usize, ys: usize, maps: usize,
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
  const sourcePitch = <usize>plan.rowPitch;
  const tp = <usize>plan.toPitch;
  const up = <usize>after.toPitch;
  const count = step.outWidth;
  let source = rows;
  let target = maps + plan.to;
  let through = maps + after.to;
  let x = xs;
  let y = ys;
  let lines = step.outHeight;
  do {
    let from = source;
    let t = target;
    let u = through;
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
  const k = mode & Mode.ADD
    ? f32x4.add(v128.load(t), f32x4.add(f32x4.mul(weight, sum), bias))
    : f32x4.add(sum, bias);
  if (mode & Mode.KEEP) v128.store(t, k);
  if (!(mode & Mode.RELU)) return;
  const form = mode & Mode.PLAIN ? Form.PLAIN : Form.RELU;
  const value = rectify(form, k, x, y, m, positive, a, b, c, e, f, g, m, m);
  v128.store(u, mode & Mode.ADD_RELU ? f32x4.add(v128.load(u), value) : value);
}
