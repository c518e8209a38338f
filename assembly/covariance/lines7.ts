/**
 * The passes of `lines.ts` for windows of seven, with a block's suffix sums in registers: the paper's 7 x 7 filters.
 * Per pixel and pass 1.9 loads, 2.4 additions and one store; the second pass hands its sums to the relu in a register.
 */
import { kappa1Positive } from "./kappa";
import { LANE_BYTES, LANES_RELU_BYTES as Y, SPLAT_RELU_BYTES as X } from "./table";

/**
 * Pass 1 over `lines` lines, `sourcePitch` bytes apart: `blocks` times seven outputs each, written `pitch` bytes apart,
 * the lines' first outputs `targetPitch` apart.
 */
export function boxLines7(
  source: usize, sourcePitch: usize, target: usize, targetPitch: usize, pitch: usize, lines: u32, blocks: u32,
): void {
  do {
    boxLine7(source, target, pitch, blocks);
    source += sourcePitch;
    target += targetPitch;
  } while (--lines);
}

// @ts-ignore: decorator
@inline
function boxLine7(from: usize, to: usize, pitch: usize, count: u32): void {
  let source = from;
  let target = to;
  let blocks = count;
  do {
    const s6 = v128.load(source, 96);
    const s5 = f32x4.add(s6, v128.load(source, 80));
    const s4 = f32x4.add(s5, v128.load(source, 64));
    const s3 = f32x4.add(s4, v128.load(source, 48));
    const s2 = f32x4.add(s3, v128.load(source, 32));
    const s1 = f32x4.add(s2, v128.load(source, 16));
    v128.store(target, f32x4.add(s1, v128.load(source)));
    target += pitch;
    let prefix = v128.load(source, 112);
    v128.store(target, f32x4.add(s1, prefix));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 128));
    v128.store(target, f32x4.add(s2, prefix));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 144));
    v128.store(target, f32x4.add(s3, prefix));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 160));
    v128.store(target, f32x4.add(s4, prefix));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 176));
    v128.store(target, f32x4.add(s5, prefix));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 192));
    v128.store(target, f32x4.add(s6, prefix));
    target += pitch;
    source += 7 * LANE_BYTES;
  } while (--blocks);
}

/**
 * Pass 2 with the relu behind it, where no covariance is negative and the relu's scale is 2 (`kappa1Positive`): every
 * layer of a deep network but the first.
 */
export function kappaLines7(
  source: usize, sourcePitch: usize, target: usize, pitch: usize, lines: u32, blocks: u32, bias: usize,
  x: usize, y: usize, constants: usize,
): void {
  const shift = v128.load(bias);
  const m = v128.load(constants);
  const a = v128.load(constants, 32);
  const b = v128.load(constants, 48);
  const c = v128.load(constants, 64);
  const e = v128.load(constants, 80);
  const f = v128.load(constants, 96);
  const g = v128.load(constants, 112);
  do {
    let from = source;
    let to = target;
    let left = blocks;
    do {
      const s6 = f32x4.add(shift, v128.load(from, 96));
      const s5 = f32x4.add(s6, v128.load(from, 80));
      const s4 = f32x4.add(s5, v128.load(from, 64));
      const s3 = f32x4.add(s4, v128.load(from, 48));
      const s2 = f32x4.add(s3, v128.load(from, 32));
      const s1 = f32x4.add(s2, v128.load(from, 16));
      v128.store(to, kappa1Positive(f32x4.add(s1, v128.load(from)), x, y, m, a, b, c, e, f, g));
      to += pitch;
      let prefix = v128.load(from, 112);
      v128.store(to, kappa1Positive(f32x4.add(s1, prefix), x + X, y + Y, m, a, b, c, e, f, g));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 128));
      v128.store(to, kappa1Positive(f32x4.add(s2, prefix), x + 2 * X, y + 2 * Y, m, a, b, c, e, f, g));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 144));
      v128.store(to, kappa1Positive(f32x4.add(s3, prefix), x + 3 * X, y + 3 * Y, m, a, b, c, e, f, g));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 160));
      v128.store(to, kappa1Positive(f32x4.add(s4, prefix), x + 4 * X, y + 4 * Y, m, a, b, c, e, f, g));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 176));
      v128.store(to, kappa1Positive(f32x4.add(s5, prefix), x + 5 * X, y + 5 * Y, m, a, b, c, e, f, g));
      to += pitch;
      prefix = f32x4.add(prefix, v128.load(from, 192));
      v128.store(to, kappa1Positive(f32x4.add(s6, prefix), x + 6 * X, y + 6 * Y, m, a, b, c, e, f, g));
      to += pitch;
      from += 7 * LANE_BYTES;
      x += 7 * X;
      y += 7 * Y;
    } while (--left);
    source += sourcePitch;
    target += LANE_BYTES;
  } while (--lines);
}
