/**
 * Where the maps of one group of four pairs stand in memory, for each step of a program, and which steps are done
 * together. Made once per command.
 *
 *     slot 0 | slot 1 | .. | V, the sums between a convolution's two passes | one line
 *
 * Maps are column-major, and padded for the convolutions that read them: a value (what stands in a slot from the step
 * that writes it afresh to the last that reads it, sums included) has zeros in front of each column for the reader with
 * the largest padding, and behind it for the one that reaches farthest; a reader with less padding starts further in.
 * The zeros are written when a value begins, unless the slot's last one had them in the same places.
 *
 * A convolution and the nonlinearity behind it are one: the sums go through it before they are stored, and are stored
 * themselves only if another step reads them.
 */
import { StepKind, STEP_BYTES } from "../generated/kernels";
import { ANGLE_BYTES, prepareErf, prepareStep } from "./angles";
import { prepareRectifier, rectifierForm } from "./kappa";
import { Step } from "./step";
import { LANE_BYTES } from "./table";

/** What a step needs to know. Places are bytes from the maps' start, pitches bytes from line to line. */
@unmanaged export class Plan {
  /** The first pixel that is read: of a convolution, the first that its window sees, in the padding. */
  from: u32;
  fromPitch: u32;
  /** The result's first pixel. */
  to: u32;
  toPitch: u32;
  /** V's lines (rows), and from the start of one to its first pixel. */
  rowPitch: u32;
  rowFront: u32;
  /** 1: zeros are to be written around the result, around V. */
  clearMap: u32;
  clearRows: u32;
  /** Zeros in front of the result's lines and behind them. */
  front: u32;
  behind: u32;
  /** 1: a convolution done together with the nonlinearity behind it. */
  fused: u32;
  /** 1: a convolution's sums themselves are stored. */
  keep: u32;
  /** Of a rectifier: see `Form`. */
  form: u32;
}

const WEIGHT: usize = 64;
const BIAS: usize = 80;
const CONSTANTS: usize = 96;
export const PLAN_BYTES: usize = CONSTANTS + ANGLE_BYTES;

/** Where V and the line stand, at the head of the plans. */
@unmanaged export class Layout {
  rows: u32;
  line: u32;
}

const HEAD_BYTES: usize = 16;

/** A slot, while the plans are made. */
@unmanaged class Slot {
  place: u32;
  bytes: u32;
  /** Zeros, in pixels, that the readers of its present value need (backwards), or the value has (forwards). */
  front: u32;
  behind: u32;
  pitch: u32;
  /** 1: its value is nowhere negative. */
  positive: u32;
  /** The value whose surroundings were cleared last. */
  clearFront: u32;
  clearPitch: u32;
  clearHeight: u32;
  clearWidth: u32;
}

// @ts-ignore: decorator
@inline
export function stepOf(program: usize, index: u32): Step {
  return changetype<Step>(program + <usize>index * STEP_BYTES);
}

// @ts-ignore: decorator
@inline
export function planOf(plans: usize, index: u32): Plan {
  return changetype<Plan>(plans + HEAD_BYTES + <usize>index * PLAN_BYTES);
}

/** The weight of a linear step, its bias, the constants of a nonlinearity: splat vectors. */
// @ts-ignore: decorator
@inline
export function weightOf(plan: Plan): usize {
  return changetype<usize>(plan) + WEIGHT;
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

export function isNonlinearity(step: Step): bool {
  return step.kind == StepKind.rectifier || step.kind == StepKind.step || step.kind == StepKind.erf;
}

/** A step begins a value unless it adds to one, or works pixel by pixel where it stands. */
function begins(step: Step): bool {
  if (step.accumulate) return false;
  return step.from != step.to || step.kind == StepKind.input || step.kind == StepKind.conv || step.kind == StepKind.mean;
}

/** Pixels from the first that the first window sees to the last that the last one sees, both included. */
function reach(outputs: u32, window: u32, stride: u32, dilation: u32): u32 {
  return (outputs - 1) * stride + (window - 1) * dilation + 1;
}

function over(a: u32, b: u32): u32 {
  return a > b ? a - b : 0;
}

/** Writes the plans of all steps to `plans`; returns the first byte behind them. */
export function planMaps(program: usize, steps: u32, slots: u32, plans: usize): usize {
  const states = plans + HEAD_BYTES + <usize>steps * PLAN_BYTES;
  const end = states + <usize>slots * offsetof<Slot>();
  memory.fill(plans, 0, end - plans);
  planPadding(program, steps, plans, states);
  planPlaces(program, steps, slots, plans, states);
  let previous: Step | null = null; // convolution
  for (let index: u32 = 0; index < steps; index++) {
    const step = stepOf(program, index);
    const plan = planOf(plans, index);
    planConstants(step, plan, states);
    if (step.kind == StepKind.conv) {
      planFusion(program, steps, index, plan);
      plan.clearRows = previous === null || !sameRows(previous, step) ? 1 : 0;
      previous = step;
    }
    planRoute(program, index, plans, states);
  }
  return end;
}

function slotAt(states: usize, index: u32): Slot {
  return changetype<Slot>(states + <usize>index * offsetof<Slot>());
}

/** Backwards, because a value is laid out for the steps that read it: the zeros around it, and the slots' sizes. */
function planPadding(program: usize, steps: u32, plans: usize, states: usize): void {
  for (let index = <i32>steps - 1; index >= 0; index--) {
    const step = stepOf(program, index);
    if (begins(step)) {
      const slot = slotAt(states, step.to);
      const plan = planOf(plans, index);
      plan.front = slot.front;
      plan.behind = slot.behind;
      slot.bytes = max(slot.bytes, (slot.front + step.outHeight + slot.behind) * step.outWidth * <u32>LANE_BYTES);
      slot.front = 0;
      slot.behind = 0;
    }
    if (step.kind == StepKind.conv) {
      const slot = slotAt(states, step.from);
      const span = reach(step.outHeight, step.filterHeight, step.strideHeight, step.dilationHeight);
      slot.front = max(slot.front, step.padTop);
      slot.behind = max(slot.behind, over(span, step.padTop + step.inHeight));
    }
  }
}

function rowPitchOf(step: Step): u32 {
  const span = reach(step.outWidth, step.filterWidth, step.strideWidth, step.dilationWidth);
  return max(step.padLeft + step.inWidth, span) * <u32>LANE_BYTES;
}

function planPlaces(program: usize, steps: u32, slots: u32, plans: usize, states: usize): void {
  let place: u32 = 0;
  for (let index: u32 = 0; index < slots; index++) {
    const slot = slotAt(states, index);
    slot.place = place;
    place += (slot.bytes + 63) & ~63;
  }
  const layout = changetype<Layout>(plans);
  layout.rows = place;
  let bytes: u32 = 0;
  for (let index: u32 = 0; index < steps; index++) {
    const step = stepOf(program, index);
    if (step.kind != StepKind.conv) continue;
    const plan = planOf(plans, index);
    plan.rowPitch = rowPitchOf(step);
    plan.rowFront = step.padLeft * <u32>LANE_BYTES;
    bytes = max(bytes, plan.rowPitch * step.outHeight);
  }
  layout.line = place + ((bytes + 63) & ~63);
}

function planConstants(step: Step, plan: Plan, states: usize): void {
  v128.store(weightOf(plan), f32x4.splat(step.factor));
  v128.store(biasOf(plan), f32x4.splat(step.bias));
  const constants = constantsOf(plan);
  if (step.kind == StepKind.step) prepareStep(constants, step);
  if (step.kind == StepKind.erf) prepareErf(constants, step);
  if (step.kind != StepKind.rectifier) return;
  prepareRectifier(constants, step);
  plan.form = rectifierForm(step, slotAt(states, step.from).positive != 0);
}

/** Whether the next step is done along with a convolution, and whether the sums are read by others, too. */
function planFusion(program: usize, steps: u32, index: u32, plan: Plan): void {
  const step = stepOf(program, index);
  plan.keep = 1;
  if (index + 1 == steps) return;
  const next = stepOf(program, index + 1);
  const onTop = next.accumulate && next.to == step.to;
  if (!isNonlinearity(next) || next.from != step.to || onTop) return;
  plan.fused = 1;
  plan.keep = next.to != step.to && isRead(program, steps, index + 2, step.to) ? 1 : 0;
}

/** Whether the value in a slot is read at or behind a step. */
function isRead(program: usize, steps: u32, index: u32, slot: u32): bool {
  for (; index < steps; index++) {
    const step = stepOf(program, index);
    if (step.kind != StepKind.input && step.from == slot) return true;
    if (step.to == slot) return step.accumulate != 0;
  }
  return false;
}

function sameRows(a: Step, b: Step): bool {
  return (
    rowPitchOf(a) == rowPitchOf(b) && a.padLeft == b.padLeft && a.inWidth == b.inWidth && a.outHeight == b.outHeight
  );
}

/** Places of what a step reads and writes, and what is known of its result. */
function planRoute(program: usize, index: u32, plans: usize, states: usize): void {
  const step = stepOf(program, index);
  const plan = planOf(plans, index);
  const source = slotAt(states, step.from);
  const target = slotAt(states, step.to);
  const padding = step.kind == StepKind.conv ? step.padTop : 0;
  plan.from = source.place + (source.front - padding) * <u32>LANE_BYTES;
  plan.fromPitch = source.pitch;
  let positive = isPositive(step, source.positive != 0);
  if (step.accumulate) positive = positive && target.positive != 0;
  if (begins(step)) {
    target.front = plan.front;
    target.behind = plan.behind;
    target.pitch = (plan.front + step.outHeight + plan.behind) * <u32>LANE_BYTES;
    // Sums that go through a nonlinearity into another slot are not stored here.
    const through = plan.fused && !plan.keep && stepOf(program, index + 1).to != step.to;
    plan.clearMap = through ? 0 : claimZeros(step, target);
  }
  target.positive = positive ? 1 : 0;
  plan.to = target.place + target.front * <u32>LANE_BYTES;
  plan.toPitch = target.pitch;
}

/** 1 if the zeros around a step's result are not there from the slot's value before; they will be. */
function claimZeros(step: Step, slot: Slot): u32 {
  const there =
    slot.clearFront == slot.front && slot.clearPitch == slot.pitch && slot.clearHeight == step.outHeight &&
    slot.clearWidth == step.outWidth;
  slot.clearFront = slot.front;
  slot.clearPitch = slot.pitch;
  slot.clearHeight = step.outHeight;
  slot.clearWidth = step.outWidth;
  return there ? 0 : 1;
}

/** Whether a step's result is nowhere negative, given whether its input is. */
function isPositive(step: Step, input: bool): bool {
  switch (step.kind) {
    case StepKind.input:
      return false;
    case StepKind.step:
      return step.factor64 >= 0;
    case StepKind.erf:
      return input && step.factor64 >= 0;
    case StepKind.rectifier:
      return (input || step.negative64 >= 0) && step.positive64 >= 0 && step.factor64 >= 0;
    default:
      return input && step.factor64 >= 0 && step.bias64 >= 0;
  }
}
