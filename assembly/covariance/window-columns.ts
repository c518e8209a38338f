/**
 * Pass 1 of `lines.ts` for windows of 2, 3, 4, 5 and 7 that slide by one pixel, with the sums in registers.
 *
 * Additions per output, sums shared between neighbours: 1 for windows of 2, 1.5 for 3 (a + (b + c), (b + c) + d), 2 for 4
 * (of pairs) and 5 (an end and two pairs), 2.4 for 7 (suffix sums of one block and prefix sums of the next). Nothing is
 * subtracted.
 */
import { Plan } from "./plan";
import { Step } from "./step";
import { LANE_BYTES as L } from "./table";

/** Down the columns of M, into the rows of V. False: the window is none of these. */
export function slideColumns(step: Step, plan: Plan, maps: usize, rows: usize): bool {
  if (step.strideHeight != 1 || step.dilationHeight != 1) return false;
  const from = maps + plan.from;
  const to = rows + plan.rowFront;
  const window = step.filterHeight;
  if (window == 2) columns2(from, plan.fromPitch, to, plan.rowPitch, step.inWidth, step.outHeight);
  else if (window == 5) columns5(from, plan.fromPitch, to, plan.rowPitch, step.inWidth, step.outHeight);
  else if (window == 3) columns3(from, plan.fromPitch, to, plan.rowPitch, step.inWidth, step.outHeight);
  else if (window == 4) columns4(from, plan.fromPitch, to, plan.rowPitch, step.inWidth, step.outHeight);
  else if (window == 7) columns7(from, plan.fromPitch, to, plan.rowPitch, step.inWidth, step.outHeight);
  else return false;
  return true;
}

function columns2(source: usize, sourcePitch: usize, target: usize, pitch: usize, lines: u32, count: u32): void {
  do {
    let from = source;
    let to = target;
    let a = v128.load(from);
    for (let left = count; left; left--) {
      from += L;
      const b = v128.load(from);
      v128.store(to, f32x4.add(a, b));
      to += pitch;
      a = b;
    }
    source += sourcePitch;
    target += L;
  } while (--lines);
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

function columns5(source: usize, sourcePitch: usize, target: usize, pitch: usize, lines: u32, count: u32): void {
  do {
    let from = source;
    let to = target;
    let first = v128.load(from);
    let second = v128.load(from, 2 * L);
    let pair = f32x4.add(v128.load(from, L), second);
    for (let left = count >> 1; left; left--) {
      const d = v128.load(from, 4 * L);
      const nextPair = f32x4.add(v128.load(from, 3 * L), d);
      const inner = f32x4.add(pair, nextPair);
      v128.store(to, f32x4.add(first, inner));
      to += pitch;
      v128.store(to, f32x4.add(inner, v128.load(from, 5 * L)));
      to += pitch;
      from += 2 * L;
      first = second;
      second = d;
      pair = nextPair;
    }
    if (count & 1) {
      const nextPair = f32x4.add(v128.load(from, 3 * L), v128.load(from, 4 * L));
      v128.store(to, f32x4.add(first, f32x4.add(pair, nextPair)));
    }
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
export function seven(from: usize): v128 {
  const first = f32x4.add(f32x4.add(v128.load(from), v128.load(from, L)), v128.load(from, 2 * L));
  const last = f32x4.add(f32x4.add(v128.load(from, 4 * L), v128.load(from, 5 * L)), v128.load(from, 6 * L));
  return f32x4.add(f32x4.add(first, v128.load(from, 3 * L)), last);
}
