/**
 * A convolution's box filter on maps of four pairs, in two passes over lines.
 *
 *     M: the map, column-major (a line runs down a column)      V: row-major
 *
 *         pass 1: window sums along the lines of M, written across the lines of V
 *         pass 2: window sums along the lines of V, times weight, plus bias, across the lines of M; through the
 *                 nonlinearity if one follows
 *
 * so both passes read contiguously and write with one constant pitch, and the map comes back in the layout it had.
 * Lines carry zeros in front and behind for the padding: the filter never asks where the border is.
 *
 * Window sums never subtract (van Herk 1992): outputs come in blocks as long as the window; the block's suffix sums and
 * the running prefix of the next block give every window by one addition. A sum whose terms are all zero is zero, and
 * nothing drifts. About 2.5 additions a pixel and pass for any window.
 */
import { StepKind } from "../generated/kernels";
import { erfFour, stepFour } from "./angles";
import { Form, rectify } from "./kappa";
import { constantsOf, Plan } from "./plan";
import { Step } from "./step";
import { LANE_BYTES, LANES_PIXEL_BYTES, SPLAT_PIXEL_BYTES } from "./table";

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

/** Writes a contiguous line across the lines of a map. */
export function scatterLine(source: usize, target: usize, pitch: usize, count: u32): void {
  for (let j: u32 = 0; j < count; j++) {
    v128.store(target, v128.load(source));
    source += LANE_BYTES;
    target += pitch;
  }
}

/** weight * sum + bias, added to `target` with `accumulate`; back into the line, and into `target` if `keep` says so. */
export function linearLine(
  line: usize, target: usize, pitch: usize, count: u32, weight: usize, bias: usize, accumulate: u32, keep: u32,
): void {
  for (let j: u32 = 0; j < count; j++) {
    let value = f32x4.add(f32x4.mul(v128.load(weight), v128.load(line)), v128.load(bias));
    if (accumulate) value = f32x4.add(v128.load(target), value);
    v128.store(line, value);
    if (keep) v128.store(target, value);
    line += LANE_BYTES;
    target += pitch;
  }
}

/** weight * K + bias of a contiguous line, added to `target` with `accumulate`. */
export function affineLine(
  source: usize, target: usize, count: u32, weight: usize, bias: usize, accumulate: u32,
): void {
  for (let j: u32 = 0; j < count; j++) {
    let value = f32x4.add(f32x4.mul(v128.load(weight), v128.load(source)), v128.load(bias));
    if (accumulate) value = f32x4.add(v128.load(target), value);
    v128.store(target, value);
    source += LANE_BYTES;
    target += LANE_BYTES;
  }
}

/** A nonlinearity of `count` pixels along a row, `pitch` apart in the source and `targetPitch` in the target. */
export function nonlinearLine(
  step: Step, plan: Plan, source: usize, pitch: usize, target: usize, targetPitch: usize, count: u32, x: usize, y: usize,
): void {
  const constants = constantsOf(plan);
  if (step.kind == StepKind.rectifier) {
    if (plan.form == Form.GENERAL)
      rectifierLine(Form.GENERAL, source, pitch, target, targetPitch, count, x, y, constants, step.accumulate);
    else rectifierLine(Form.RELU, source, pitch, target, targetPitch, count, x, y, constants, step.accumulate);
    return;
  }
  for (let j: u32 = 0; j < count; j++) {
    const k = v128.load(source);
    let value = step.kind == StepKind.step ? stepFour(k, x, y, constants) : erfFour(k, x, y, constants);
    if (step.accumulate) value = f32x4.add(v128.load(target), value);
    v128.store(target, value);
    source += pitch;
    target += targetPitch;
    x += SPLAT_PIXEL_BYTES;
    y += LANES_PIXEL_BYTES;
  }
}

// @ts-ignore: decorator
@inline
function rectifierLine(
  form: u32, from: usize, pitch: usize, to: usize, targetPitch: usize, count: u32, xs: usize, ys: usize,
  constants: usize, accumulate: u32,
): void {
  const m = v128.load(constants);
  const positive = v128.load(constants, 16);
  const a = v128.load(constants, 32);
  const b = v128.load(constants, 48);
  const c = v128.load(constants, 64);
  const e = v128.load(constants, 80);
  const f = v128.load(constants, 96);
  const g = v128.load(constants, 112);
  const negative = v128.load(constants, 128);
  const curve = v128.load(constants, 144);
  let source = from;
  let target = to;
  let x = xs;
  let y = ys;
  for (let j: u32 = 0; j < count; j++) {
    let value = rectify(form, v128.load(source), x, y, m, positive, a, b, c, e, f, g, negative, curve);
    if (accumulate) value = f32x4.add(v128.load(target), value);
    v128.store(target, value);
    source += pitch;
    target += targetPitch;
    x += SPLAT_PIXEL_BYTES;
    y += LANES_PIXEL_BYTES;
  }
}

/** Writes the zeros in front of and behind the pixels of each line. */
export function clearBorders(map: usize, lines: u32, pitch: u32, front: u32, pixels: u32): void {
  const behind = front + pixels * <u32>LANE_BYTES;
  const zero = f32x4.splat(0);
  for (let line: u32 = 0; line < lines; line++) {
    for (let at: usize = 0; at < <usize>front; at += LANE_BYTES) v128.store(map + at, zero);
    for (let at: usize = behind; at < <usize>pitch; at += LANE_BYTES) v128.store(map + at, zero);
    map += pitch;
  }
}
