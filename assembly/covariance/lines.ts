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
import { LANE_BYTES, RELU_BYTES } from "./table";

/** Window sums of one line: `count` outputs, from contiguous `source` to contiguous `target`. `suffix`: window vectors. */
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

/** The same through the relu. */
export function kappaLine(
  source: usize, target: usize, pitch: usize, count: u32, bias: usize, x: usize, y: usize, constants: usize,
): void {
  for (let j: u32 = 0; j < count; j++) {
    v128.store(target, kappa1(f32x4.add(v128.load(source), v128.load(bias)), x, y, constants));
    source += LANE_BYTES;
    target += pitch;
    x += RELU_BYTES;
    y += RELU_BYTES;
  }
}
