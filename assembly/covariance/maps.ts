/**
 * Where the maps of one group of four pairs stand in a thread's scratch, for each step of a program.
 *
 * M, a step's result, is column-major and padded for the convolution that reads it next; V lies between the two passes
 * of a convolution. The plan is made once per command. The zeros around a map are written whenever the map is, which
 * costs about one per cent and leaves no state behind.
 */
import { StepKind, STEP_BYTES } from "../generated/kernels";
import { KAPPA_BYTES, prepareKappa } from "./kappa";
import { Step } from "./step";
import { LANE_BYTES } from "./table";

/** What a step needs to know: the layouts of its result and of V, in bytes, and its splat constants. */
@unmanaged export class Plan {
  /** Distance between the lines (columns) of the result, and from a line's start to its first pixel. */
  pitch: u32;
  front: u32;
  /** The same of V's lines (rows), for a convolution. */
  rowPitch: u32;
  rowFront: u32;
  /** 1: a convolution with a relu behind it, done together. */
  fused: u32;
  /** 1: a relu whose input is nowhere negative and whose scale is 2. */
  positive: u32;
  /** 1: the zeros around the result, or around V, are not there from the step before. */
  clearMap: u32;
  clearRows: u32;
}

export const PLAN_BYTES: usize = 32 + 16 + KAPPA_BYTES;
const BIAS: usize = 32;
const CONSTANTS: usize = 48;

/** Lengths of a padded line: whatever the last window reaches, or the pixels themselves. */
function lineLength(front: u32, pixels: u32, outputs: u32, window: u32, stride: u32, dilation: u32): u32 {
  return max(front + pixels, (outputs - 1) * stride + (window - 1) * dilation + 1);
}

// @ts-ignore: decorator
@inline
export function planOf(plans: usize, index: u32): Plan {
  return changetype<Plan>(plans + <usize>index * PLAN_BYTES);
}

// @ts-ignore: decorator
@inline
export function biasOf(plan: Plan): usize {
  return changetype<usize>(plan) + BIAS;
}

// @ts-ignore: decorator
@inline
export function constantsOf(plan: Plan): usize {
  return changetype<usize>(plan) + CONSTANTS;
}

/** Writes the plans of all steps. */
export function planMaps(program: usize, steps: u32, plans: usize): void {
  // Backwards, because a result is laid out for the convolution that reads it.
  let pitch: u32 = 0;
  let front: u32 = 0;
  let padded = false;
  for (let index = <i32>steps - 1; index >= 0; index--) {
    const step = changetype<Step>(program + <usize>index * STEP_BYTES);
    const plan = planOf(plans, <u32>index);
    plan.pitch = padded ? pitch : step.outHeight * <u32>LANE_BYTES;
    plan.front = padded ? front : 0;
    plan.fused = 0;
    v128.store(changetype<usize>(plan) + BIAS, f32x4.splat(step.bias));
    if (step.kind == StepKind.relu) {
      prepareKappa(constantsOf(plan), step.factor64);
      continue; // in place: the layout stays
    }
    padded = step.kind == StepKind.conv;
    if (!padded) continue;
    const next = changetype<Step>(program + <usize>(index + 1) * STEP_BYTES);
    if (<u32>index + 1 < steps && next.kind == StepKind.relu) plan.fused = 1;
    const rowLength = lineLength(
      step.padLeft, step.inWidth, step.outWidth, step.filterWidth, step.strideWidth, step.dilationWidth,
    );
    plan.rowPitch = rowLength * <u32>LANE_BYTES;
    plan.rowFront = step.padLeft * <u32>LANE_BYTES;
    pitch = <u32>LANE_BYTES * lineLength(
      step.padTop, step.inHeight, step.outHeight, step.filterHeight, step.strideHeight, step.dilationHeight,
    );
    front = step.padTop * <u32>LANE_BYTES;
  }
  planBorders(program, steps, plans);
  // Weights and biases are variances: behind the first relu nothing can become negative.
  let behindRelu = false;
  for (let index: u32 = 0; index < steps; index++) {
    const step = changetype<Step>(program + <usize>index * STEP_BYTES);
    if (step.kind != StepKind.relu) continue;
    planOf(plans, index).positive = behindRelu && step.factor64 == 2 ? 1 : 0;
    behindRelu = true;
  }
}

/** Bytes of M before or after a convolution, whichever is larger: V begins behind them. */
export function mapBytes(step: Step, source: Plan, target: Plan): u32 {
  return (max(source.pitch * step.inWidth, target.pitch * step.outWidth) + 63) & ~63;
}

/** Finds the steps at which the layout of M or of V changes; between those, the zeros around them stay. */
function planBorders(program: usize, steps: u32, plans: usize): void {
  let previous: Step | null = null;
  let before: Plan | null = null; // of the convolution before
  let source = planOf(plans, 0);
  for (let index: u32 = 0; index < steps; index++) {
    const step = changetype<Step>(program + <usize>index * STEP_BYTES);
    const plan = planOf(plans, index);
    plan.clearMap = 1;
    plan.clearRows = 1;
    if (step.kind == StepKind.relu) continue;
    if (step.kind == StepKind.conv) {
      const sameMap = plan.pitch == source.pitch && plan.front == source.front && step.outHeight == step.inHeight;
      if (sameMap && step.outWidth == step.inWidth) plan.clearMap = 0;
      if (before !== null && previous !== null && sameRows(previous, before, step, plan) && !plan.clearMap)
        plan.clearRows = before.clearMap; // V's place depends on M's size
      previous = step;
      before = plan;
    }
    source = plan;
  }
}

function sameRows(a: Step, planA: Plan, b: Step, planB: Plan): bool {
  return (
    planA.rowPitch == planB.rowPitch && planA.rowFront == planB.rowFront && a.inWidth == b.inWidth &&
    a.outHeight == b.outHeight && a.outWidth == b.outWidth
  );
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
