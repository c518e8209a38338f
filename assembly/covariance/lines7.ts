/**
 * The passes of `lines.ts` for windows of seven, with a block's suffix sums in registers: the paper's 7 x 7 filters.
 * Per pixel and pass 1.9 loads, 2.4 additions and one store; the second pass hands its sums to the relu in a register.
 */
import { kappa1 } from "./kappa";
import { LANE_BYTES, RELU_BYTES } from "./table";

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

/** Pass 2 with the relu behind it. */
export function kappaLine7(
  source: usize, target: usize, pitch: usize, blocks: u32, bias: usize, x: usize, y: usize, constants: usize,
): void {
  do {
    const s6 = f32x4.add(v128.load(bias), v128.load(source, 96));
    const s5 = f32x4.add(s6, v128.load(source, 80));
    const s4 = f32x4.add(s5, v128.load(source, 64));
    const s3 = f32x4.add(s4, v128.load(source, 48));
    const s2 = f32x4.add(s3, v128.load(source, 32));
    const s1 = f32x4.add(s2, v128.load(source, 16));
    v128.store(target, kappa1(f32x4.add(s1, v128.load(source)), x, y, constants));
    target += pitch;
    let prefix = v128.load(source, 112);
    v128.store(target, kappa1(f32x4.add(s1, prefix), x + 1 * RELU_BYTES, y + 1 * RELU_BYTES, constants));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 128));
    v128.store(target, kappa1(f32x4.add(s2, prefix), x + 2 * RELU_BYTES, y + 2 * RELU_BYTES, constants));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 144));
    v128.store(target, kappa1(f32x4.add(s3, prefix), x + 3 * RELU_BYTES, y + 3 * RELU_BYTES, constants));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 160));
    v128.store(target, kappa1(f32x4.add(s4, prefix), x + 4 * RELU_BYTES, y + 4 * RELU_BYTES, constants));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 176));
    v128.store(target, kappa1(f32x4.add(s5, prefix), x + 5 * RELU_BYTES, y + 5 * RELU_BYTES, constants));
    target += pitch;
    prefix = f32x4.add(prefix, v128.load(source, 192));
    v128.store(target, kappa1(f32x4.add(s6, prefix), x + 6 * RELU_BYTES, y + 6 * RELU_BYTES, constants));
    target += pitch;
    source += 7 * LANE_BYTES;
    x += 7 * RELU_BYTES;
    y += 7 * RELU_BYTES;
  } while (--blocks);
}
