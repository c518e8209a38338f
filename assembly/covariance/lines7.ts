/**
 * The passes of `lines.ts` for windows of seven, with a block's suffix sums in registers: the paper's 7 x 7 filters.
 * Per pixel and pass 1.9 loads, 2.4 additions and one store; the second pass hands its sums to the relu in a register.
 */
import { kappa1Positive } from "./kappa";
import { LANE_BYTES, LANES_RELU_BYTES, SPLAT_RELU_BYTES } from "./table";

/** Pass 1: `blocks` times seven outputs, written `pitch` bytes apart. */
export function boxLine7(source: usize, target: usize, pitch: usize, blocks: u32): void {
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
export function kappaLine7(
  source: usize, target: usize, pitch: usize, blocks: u32, bias: usize, x: usize, y: usize, constants: usize,
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
    const s6 = f32x4.add(shift, v128.load(source, 96));
    const s5 = f32x4.add(s6, v128.load(source, 80));
    const s4 = f32x4.add(s5, v128.load(source, 64));
    const s3 = f32x4.add(s4, v128.load(source, 48));
    const s2 = f32x4.add(s3, v128.load(source, 32));
    const s1 = f32x4.add(s2, v128.load(source, 16));
    v128.store(target, kappa1Positive(f32x4.add(s1, v128.load(source)), x, y, m, a, b, c, e, f, g));
    target += pitch;
    let prefix = v128.load(source, 112);
    v128.store(target, kappa1Positive(f32x4.add(s1, prefix), x + 1 * SPLAT_RELU_BYTES, y + 1 * LANES_RELU_BYTES, m, a, b, c, e, f, g));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 128));
    v128.store(target, kappa1Positive(f32x4.add(s2, prefix), x + 2 * SPLAT_RELU_BYTES, y + 2 * LANES_RELU_BYTES, m, a, b, c, e, f, g));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 144));
    v128.store(target, kappa1Positive(f32x4.add(s3, prefix), x + 3 * SPLAT_RELU_BYTES, y + 3 * LANES_RELU_BYTES, m, a, b, c, e, f, g));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 160));
    v128.store(target, kappa1Positive(f32x4.add(s4, prefix), x + 4 * SPLAT_RELU_BYTES, y + 4 * LANES_RELU_BYTES, m, a, b, c, e, f, g));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 176));
    v128.store(target, kappa1Positive(f32x4.add(s5, prefix), x + 5 * SPLAT_RELU_BYTES, y + 5 * LANES_RELU_BYTES, m, a, b, c, e, f, g));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 192));
    v128.store(target, kappa1Positive(f32x4.add(s6, prefix), x + 6 * SPLAT_RELU_BYTES, y + 6 * LANES_RELU_BYTES, m, a, b, c, e, f, g));
    target += pitch;
    source += 7 * LANE_BYTES;
    x += 7 * SPLAT_RELU_BYTES;
    y += 7 * LANES_RELU_BYTES;
  } while (--blocks);
}
