/**
 * Constants of each step of a full program, as splat vectors: V8 rebuilds literals in every turn of a loop, and loads
 * what stands in memory. And which covariances can be negative, as nonlinearities of others are shorter.
 */
import { StepKind } from "../generated/kernels";
import { prepareErf } from "../covariance/angles";
import { splat } from "../covariance/kappa";
import { Step } from "../covariance/step";
import { prepareBend } from "./bend";
import { Run } from "./run";
import { stepAt } from "./words";

/** What is known of the covariances that a nonlinearity or a gradient takes. */
export namespace Sign {
  /** Nowhere negative. */
  export const POSITIVE: u32 = 0;
  /** Nowhere negative where no pixel of the images is. */
  export const AS_IMAGES: u32 = 1;
  export const ANY: u32 = 2;
}

@unmanaged export class Plan {
  /** A `Sign`, of a nonlinearity's input or of a linear step's result. */
  sign: u32;
  /** 1: T is zero in the map that the step reads. */
  idle: u32;
  /** Of a convolution that begins a chain (`chain.ts`): its blocks; else 0. */
  blocks: u32;
  /** 1: an input that only such a chain reads; or a pool behind one, of a map that others read, too. */
  feeds: u32;
}

/** Places in a plan: a linear step's weight, gain and offset; a nonlinearity's constants. */
const WEIGHT: usize = 16;
const GAIN: usize = 32;
const OFFSET: usize = 48;
const BEND: usize = 64;
export const PLAN_BYTES: usize = 512;

// @ts-ignore: decorator
@inline
export function planAt(run: Run, index: u32): Plan {
  return changetype<Plan>(run.plans + <usize>index * PLAN_BYTES);
}

// @ts-ignore: decorator
@inline
export function weightOf(plan: Plan): usize {
  return changetype<usize>(plan) + WEIGHT;
}

// @ts-ignore: decorator
@inline
export function gainOf(plan: Plan): usize {
  return changetype<usize>(plan) + GAIN;
}

// @ts-ignore: decorator
@inline
export function offsetOf(plan: Plan): usize {
  return changetype<usize>(plan) + OFFSET;
}

// @ts-ignore: decorator
@inline
export function bendOf(plan: Plan): usize {
  return changetype<usize>(plan) + BEND;
}

/** Writes the plans of all steps. `flags` has room for two words a slot. */
export function makePlans(run: Run, flags: usize): void {
  for (let index: u32 = 0; index < run.steps; index++) {
    const step = stepAt(run.program, index);
    const plan = planAt(run, index);
    const summed = step.kind == StepKind.mean ? step.inHeight * step.inWidth : 1;
    splat(weightOf(plan), step.factor64 / <f64>summed);
    splat(gainOf(plan), step.gain64);
    splat(offsetOf(plan), step.offset64);
    if (step.kind == StepKind.rectifier || step.kind == StepKind.step) prepareBend(bendOf(plan), step);
    if (step.kind == StepKind.erf) prepareErf(bendOf(plan), step);
    const from = flags + (<usize>step.from << 3);
    const to = flags + (<usize>step.to << 3);
    const input = step.kind != StepKind.input;
    let sign = input ? load<u32>(from) : Sign.AS_IMAGES;
    let idle: u32 = input ? load<u32>(from, 4) : 1;
    plan.idle = idle;
    const result = signBehind(step, sign);
    plan.sign = step.learns ? result : sign;
    if (step.learns) idle = 0;
    store<u32>(to, step.accumulate ? max(result, load<u32>(to)) : result);
    store<u32>(to, step.accumulate ? idle & load<u32>(to, 4) : idle, 4);
  }
}

function signBehind(step: Step, sign: u32): u32 {
  switch (step.kind) {
    case StepKind.input:
    case StepKind.pool:
      return sign;
    case StepKind.step:
      return step.factor64 >= 0 ? Sign.POSITIVE : Sign.ANY;
    case StepKind.erf:
      return step.factor64 >= 0 ? sign : Sign.ANY;
    case StepKind.rectifier:
      if (step.positive64 < 0 || step.factor64 < 0) return Sign.ANY;
      return step.negative64 >= 0 ? Sign.POSITIVE : sign;
    default:
      return step.factor64 >= 0 && step.bias64 >= 0 ? sign : Sign.ANY;
  }
}

/** Whether covariances can be negative in a run. */
// @ts-ignore: decorator
@inline
export function mayBeNegative(run: Run, plan: Plan): bool {
  return plan.sign == Sign.ANY || (plan.sign == Sign.AS_IMAGES && run.signed != 0);
}
