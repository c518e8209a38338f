/**
 * staircase: n = `steps` steps of one height from `low` to `high`. On [0, 1] they stand at x = 0, 1/(n-1), .., 1, the one at 0
 * counted as soon as x > 0; on another range what goes in is moved and stretched as what comes out is:
 *
 *     y = low + (high - low) clamp(ceil(u (n-1)), 0, n) / n,  u = (x - low) / (high - low).
 *
 * What goes back is feasible target propagation, as of `threshold`, by one of two readings of the same function:
 *
 * - as one unit (default): `backward` is a rule of staircases (SSTE, SoftHinge, TruncWtHinge) at u. Moving and stretching
 *   have derivatives as usual, so that a rule weighted by |g| (`gradScale`) gets high - low on the way in and loses it on the
 *   way out, and one that is divided by the batch size is divided by high - low as well.
 * - `summed`, as the mean of n units 1[x - low > i (high - low) / (n-1)] (`oldstaircase`): each gets the gradient
 *   (high - low) g / n, has a target of its own, and goes back by a rule of single 0/1 steps at x - low - i (high - low) /
 *   (n-1); what they give is added. So with `gradScale` the n parts are weighted by |g| (high - low) / n, and without it each
 *   by 1 / batch.
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import { targetRule } from "../tensor/target-rules.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";
import { refuse, targetGradientOf, withTargets } from "./targets.ts";

/** More steps than this are a straight line in float32's eyes. */
const MOST_STEPS = 1000;

export const staircaseSchema = z
  .strictObject({
    type: z.literal("staircase"),
    steps: z
      .int("steps is a whole number")
      .min(2, "steps must be at least 2")
      .max(MOST_STEPS, `steps must be at most ${MOST_STEPS}`)
      .default(5),
    low: z.number("low is a number").default(0),
    high: z.number("high is a number").default(1),
    backward: z.string("backward is the name of a rule").default("SSTE"),
    gradScale: z.boolean("gradScale is true or false").default(true),
    summed: z.boolean("summed is true or false").default(false),
  })
  .refine(({ low, high }) => low < high, { message: "low must be below high", path: ["low"] })
  .superRefine((settings, context) => refuse(context, "backward", () => ruleOf(settings)));

export type StaircaseOptions = Omit<z.input<typeof staircaseSchema>, "type">;
type Settings = z.output<typeof staircaseSchema>;

export class Staircase implements Layer {
  readonly type = "staircase";
  readonly weighted = false;
  private readonly settings: Settings;

  constructor(settings: Settings) {
    this.settings = settings;
  }

  get title(): string {
    const { steps, low, high, backward, gradScale, summed } = this.settings;
    const range = low === 0 && high === 1 ? "" : ` on [${low}, ${high}]`;
    return `staircase of ${steps}${range}${summed ? " single steps" : ""}, ${backward}${gradScale ? "" : " without |g|"}`;
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const { steps, low, high, gradScale, summed } = this.settings;
    const height = high - low;
    const unit = low === 0 && high === 1;
    const inward = (z: Tensor): Tensor => (unit ? z : ops.affine(z, 1 / height, -low / height));
    const forward = (z: Tensor): Tensor => {
      const climbed = ops.apply(inward(z), "staircase", steps);
      return unit ? climbed : ops.affine(climbed, height, low);
    };
    const targets = { rule: ruleOf(this.settings), gradScale };
    if (!summed) {
      const back = (z: Tensor, g: Tensor): Tensor => {
        const out = targetGradientOf(inward(z), g, targets);
        return gradScale || unit ? out : ops.affine(out, 1 / height);
      };
      return builder.map(this, place, x, (z) => withTargets(z, forward, targets, back));
    }
    const backward = (z: Tensor, g: Tensor): Tensor => {
      const each = ops.affine(g, height / steps);
      const parts = Array.from({ length: steps }, (_, i) =>
        targetGradientOf(ops.affine(z, 1, -low - (i * height) / (steps - 1)), each, targets),
      );
      return parts.reduce((sum, part) => ops.add(sum, part));
    };
    return builder.map(this, place, x, (z) => withTargets(z, forward, targets, backward));
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}

function ruleOf({ steps, backward, gradScale, summed }: Pick<Settings, "steps" | "backward" | "gradScale" | "summed">) {
  return targetRule(backward, summed ? "step01" : "staircase", { steps, gradScale });
}
