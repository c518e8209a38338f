/** Activations by the names of Friesen and Domingos' published program: "step11", "staircase3", "oldstaircase11_3". */
import { cabs, clippedRelu, hardTanh, relu, staircase, threshold } from "../arch/arch.ts";
import type { Layer } from "../arch/layer.ts";
import { WidefieldError } from "../errors.ts";
import { unknownName } from "./train-settings.ts";

/** How units with hard thresholds go back. */
export interface TargetPropagation {
  /** A rule of `sdk/tensor/target-rules.ts`. */
  readonly rule: string;
  /** True: weighted by the gradient that arrives; false: divided by the batch size. */
  readonly gradScale: boolean;
}

const plain: Readonly<Record<string, () => Layer>> = {
  relu: () => relu(),
  threshrelu: () => clippedRelu({ max: 1 }),
  threshrelu2: () => clippedRelu({ max: 2 }),
  hardtanh: () => hardTanh(),
  cabs: () => cabs(),
};

const steps: Readonly<Record<string, 0 | -1>> = { step01: 0, step11: -1 };

/** The published staircase without a number has five steps. */
const USUAL_STEPS = 5;

/** What the names look like; N is any number of steps from 2 on, "11" puts a staircase on [-1, 1]. */
export const nonlinearityNames: readonly string[] = [
  ...Object.keys(steps),
  ...["staircase", "staircase3", "staircaseN", "staircase11", "staircase11_N"],
  ...["oldstaircase", "oldstaircaseN", "oldstaircase11", "oldstaircase11_N"],
  ...Object.keys(plain),
];

/** True where a rule of target propagation matters. */
export function hasTargets(name: string): boolean {
  return Object.hasOwn(steps, name) || /^(old)?staircase/.test(name);
}

/**
 * The layer of a name. `staircase11` and `staircase11_3` are rescaled to [-1, 1]; a staircase of eleven steps on [0, 1] is
 * therefore `staircase_11`. Throws E_CONFIG for other names, and for a rule that does not go with the activation.
 */
export function nonlinearity(name: string, { rule, gradScale }: TargetPropagation): Layer {
  const without = Object.hasOwn(plain, name) ? plain[name] : undefined;
  if (without !== undefined) return without();
  const low = Object.hasOwn(steps, name) ? steps[name] : undefined;
  if (low !== undefined) return threshold({ low, backward: rule, gradScale });
  const match = /^(?<old>old)?staircase(?:(?<signed>11)(?:_(?<signedSteps>\d+))?|_?(?<plainSteps>\d+))?$/.exec(name);
  if (match === null) throw new WidefieldError("E_CONFIG", unknownName("nonlinearity", name, nonlinearityNames));
  const { old, signed, signedSteps, plainSteps } = match.groups ?? {};
  return staircase({
    steps: Number(signedSteps ?? plainSteps ?? USUAL_STEPS),
    low: signed === undefined ? 0 : -1,
    summed: old !== undefined,
    backward: rule,
    gradScale,
  });
}
