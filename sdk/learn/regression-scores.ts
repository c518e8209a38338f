/** How good predictions of real numbers are: squared error, R^2, and accuracy where the numbers stand for classes. */
import type { Problem } from "../data/problem.ts";

/** How predictions become classes; undefined where they stand for none. */
export type Decision = Problem["decision"];

export interface RegressionScores {
  /** Summed over the outputs, averaged over the samples. */
  readonly squaredError: number;
  /**
   * 1 - SS_res / SS_tot: squared errors, and squares about each output's own mean over these samples, both summed over
   * the outputs. Undefined where the targets do not vary.
   */
  readonly r2: number | undefined;
  /** Share of the samples whose class is predicted, 0 to 1. Undefined where there are no classes. */
  readonly accuracy: number | undefined;
}

/** Of predictions for targets, both [samples, outputs] row-major. */
export function regressionScores(
  predictions: Float64Array,
  targets: Float64Array,
  outputs: number,
  decision: Decision,
): RegressionScores {
  const samples = targets.length / outputs;
  const means = new Float64Array(outputs);
  targets.forEach((target, at) => (means[at % outputs] = (means[at % outputs] as number) + target / samples));
  let [residual, total] = [0, 0];
  for (let at = 0; at < targets.length; at++) {
    const target = targets[at] as number;
    residual += ((predictions[at] as number) - target) ** 2;
    total += (target - (means[at % outputs] as number)) ** 2;
  }
  return {
    squaredError: residual / samples,
    r2: total > 0 ? 1 - residual / total : undefined,
    accuracy: decision === undefined ? undefined : agreement(predictions, targets, outputs, decision),
  };
}

function agreement(
  predictions: Float64Array,
  targets: Float64Array,
  outputs: number,
  decision: NonNullable<Decision>,
): number {
  const samples = targets.length / outputs;
  let right = 0;
  for (let row = 0; row < samples; row++)
    right += Number(classOf(predictions, row, outputs, decision) === classOf(targets, row, outputs, decision));
  return right / samples;
}

/** The class that a row of outputs stands for: the largest output's (the first, if tied), or 0 for a negative one. */
function classOf(values: Float64Array, row: number, outputs: number, decision: NonNullable<Decision>): number {
  if (decision === "sign") return (values[row * outputs] as number) < 0 ? 0 : 1;
  let best = 0;
  for (let output = 1; output < outputs; output++)
    if ((values[row * outputs + output] as number) > (values[row * outputs + best] as number)) best = output;
  return best;
}
