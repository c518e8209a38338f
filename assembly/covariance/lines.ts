/**
 * A convolution's box filter on maps of four pairs, in two passes over lines.
 *
 *     M: the map, column-major (a line runs down a column)      V: row-major
 *
 *         pass 1: window sums along the lines of M, written across the lines of V
 *         pass 2: window sums along the lines of V, plus bias, through the relu if one follows, across the lines of M
 *
 * so both passes read contiguously and write with one constant pitch, and the map comes back in the layout it had.
 * Lines carry zeros in front and behind for the padding: the filter never asks where the border is.
 *
 * Window sums never subtract (van Herk 1992): outputs come in blocks as long as the window; the block's suffix sums and
 * the running prefix of the next block give every window by one addition. A sum whose terms are all zero is zero, and
 * nothing drifts. About 2.5 additions a pixel and pass for any window.
 */
import { kappa1 } from "./kappa";
import { LANE_BYTES, LANES_RELU_BYTES, SPLAT_RELU_BYTES } from "./table";

/** Window sums of one line: `count` outputs, from contiguous to contiguous; `suffix` has room for a window. */
export function boxLine(
  source: usize, target: usize, count: u32, window: u32, stride: u32, dilation: u32, suffix: usize,
): void {
  if (stride != 1 || dilation != 1 || window < 4) {
    directLine(source, target, count, window, stride, dilation);
    return;
  }
  const last = suffix + <usize>(window - 1) * LANE_BYTES;
  while (count > 0) {
    let run = v128.load(source + <usize>(window - 1) * LANE_BYTES);
    v128.store(last, run);
    let from = source + <usize>(window - 1) * LANE_BYTES;
    for (let at = last; at > suffix; ) {
      at -= LANE_BYTES;
      from -= LANE_BYTES;
      run = f32x4.add(run, v128.load(from));
      v128.store(at, run);
    }
    source += <usize>window * LANE_BYTES;
    const outputs = min(count, window);
    v128.store(target, run);
    target += LANE_BYTES;
    let prefix = f32x4.splat(0);
    for (let j: u32 = 1; j < outputs; j++) {
      prefix = f32x4.add(prefix, v128.load(source + <usize>(j - 1) * LANE_BYTES));
      v128.store(target, f32x4.add(v128.load(suffix + <usize>j * LANE_BYTES), prefix));
      target += LANE_BYTES;
    }
    count -= outputs;
  }
}

/** Sums tap by tap: short windows, strides (few outputs share a tap) and dilations. */
function directLine(source: usize, target: usize, count: u32, window: u32, stride: u32, dilation: u32): void {
  for (let j: u32 = 0; j < count; j++) {
    let from = source + <usize>(j * stride) * LANE_BYTES;
    let sum = v128.load(from);
    for (let t: u32 = 1; t < window; t++) {
      from += <usize>dilation * LANE_BYTES;
      sum = f32x4.add(sum, v128.load(from));
    }
    v128.store(target, sum);
    target += LANE_BYTES;
  }
}

/** Writes a contiguous line across the lines of the other map. */
export function scatterLine(source: usize, target: usize, pitch: usize, count: u32): void {
  for (let j: u32 = 0; j < count; j++) {
    v128.store(target, v128.load(source));
    source += LANE_BYTES;
    target += pitch;
  }
}

/** The same with a bias, a splat vector in memory. */
export function biasLine(source: usize, target: usize, pitch: usize, count: u32, bias: usize): void {
  for (let j: u32 = 0; j < count; j++) {
    v128.store(target, f32x4.add(v128.load(source), v128.load(bias)));
    source += LANE_BYTES;
    target += pitch;
  }
}

/** The same through the relu; `constants` points at what `prepareKappa` wrote. */
export function kappaLine(
  source: usize, target: usize, pitch: usize, count: u32, bias: usize, x: usize, y: usize, constants: usize,
): void {
  const shift = v128.load(bias);
  const magnitude = v128.load(constants);
  const half = v128.load(constants, 16);
  const a = v128.load(constants, 32);
  const b = v128.load(constants, 48);
  const c = v128.load(constants, 64);
  const e = v128.load(constants, 80);
  const f = v128.load(constants, 96);
  const g = v128.load(constants, 112);
  for (; count >= 2; count -= 2) {
    const k0 = f32x4.add(v128.load(source), shift);
    v128.store(target, kappa1(k0, x, y, magnitude, half, a, b, c, e, f, g));
    target += pitch;
    const k1 = f32x4.add(v128.load(source, LANE_BYTES), shift);
    v128.store(target, kappa1(k1, x + SPLAT_RELU_BYTES, y + LANES_RELU_BYTES, magnitude, half, a, b, c, e, f, g));
    target += pitch;
    source += 2 * LANE_BYTES;
    x += 2 * SPLAT_RELU_BYTES;
    y += 2 * LANES_RELU_BYTES;
  }
  if (count) v128.store(target, kappa1(f32x4.add(v128.load(source), shift), x, y, magnitude, half, a, b, c, e, f, g));
}
