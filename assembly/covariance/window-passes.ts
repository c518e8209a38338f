/**
 * Both passes of `lines.ts` by the loops of `window.ts`, the second one through what stands behind the convolution.
 */
import { StepKind } from "../generated/kernels";
import { Form } from "./kappa";
import { Plan } from "./plan";
import { Step } from "./step";
import { Mode, slide } from "./window";

/** Down the columns of M, into the rows of V. False: not one of these windows. */
export function slideColumns(step: Step, plan: Plan, maps: usize, rows: usize): bool {
  if (step.strideHeight != 1 || step.dilationHeight != 1) return false;
  return slide(
    Mode.SUM, step.filterHeight, step.inWidth, step.outHeight, maps + plan.from, plan.fromPitch,
    rows + plan.rowFront, plan.rowPitch, 0, 0, plan, plan, 0, 0,
  );
}

/** Along the rows of V and through what follows, into the columns of M. False: not one of these windows and modes. */
export function slideRows(
  step: Step, plan: Plan, next: Step, after: Plan, rows: usize, x: usize, y: usize, maps: usize,
): bool {
  if (step.strideWidth != 1 || step.dilationWidth != 1) return false;
  switch (modeOf(step, plan, next, after)) {
    case Mode.RELU:
      return relu(step, plan, after, rows, x, y, maps);
    case Mode.RELU | Mode.PLAIN:
      return plainRelu(step, plan, after, rows, x, y, maps);
    case Mode.RELU | Mode.ADD_RELU:
      return reluAdded(step, plan, after, rows, x, y, maps);
    case Mode.KEEP:
      return plain(step, plan, after, rows, x, y, maps);
    case Mode.ADD | Mode.KEEP:
      return added(step, plan, after, rows, x, y, maps);
    case Mode.ADD | Mode.KEEP | Mode.RELU:
      return addedThenRelu(step, plan, after, rows, x, y, maps);
    case Mode.ADD | Mode.KEEP | Mode.RELU | Mode.PLAIN:
      return addedThenPlainRelu(step, plan, after, rows, x, y, maps);
    default:
      return false;
  }
}

function modeOf(step: Step, plan: Plan, next: Step, after: Plan): u32 {
  let mode: u32 = 0;
  if (step.accumulate) mode |= Mode.ADD;
  else if (step.factor != 1) return 0;
  if (plan.keep) mode |= Mode.KEEP;
  if (!plan.fused) return mode;
  if (next.kind != StepKind.rectifier || after.form == Form.GENERAL) return 0;
  mode |= Mode.RELU;
  if (after.form == Form.PLAIN && !next.accumulate) mode |= Mode.PLAIN;
  if (next.accumulate) mode |= Mode.ADD_RELU;
  return mode;
}

function relu(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return rowsOf(Mode.RELU, step, plan, after, rows, x, y, maps);
}

function plainRelu(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return rowsOf(Mode.RELU | Mode.PLAIN, step, plan, after, rows, x, y, maps);
}

function reluAdded(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return rowsOf(Mode.RELU | Mode.ADD_RELU, step, plan, after, rows, x, y, maps);
}

function plain(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return rowsOf(Mode.KEEP, step, plan, after, rows, x, y, maps);
}

function added(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return rowsOf(Mode.ADD | Mode.KEEP, step, plan, after, rows, x, y, maps);
}

function addedThenRelu(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return rowsOf(Mode.ADD | Mode.KEEP | Mode.RELU, step, plan, after, rows, x, y, maps);
}

function addedThenPlainRelu(step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return rowsOf(Mode.ADD | Mode.KEEP | Mode.RELU | Mode.PLAIN, step, plan, after, rows, x, y, maps);
}

// @ts-ignore: decorator
@inline
function rowsOf(mode: u32, step: Step, plan: Plan, after: Plan, rows: usize, x: usize, y: usize, maps: usize): bool {
  return slide(
    mode, step.filterWidth, step.outHeight, step.outWidth, rows, plan.rowPitch,
    maps + plan.to, plan.toPitch, maps + after.to, after.toPitch, plan, after, x, y,
  );
}
