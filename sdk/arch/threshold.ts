/**
 * threshold: `high` for x > 0, else `low`: 0 and 1 (`step01`), or -1 and 1 (`step11`: the sign, with sign(0) = -1).
 *
 * Its derivative is 0, so that gradients end here. What goes back instead is feasible target propagation (Friesen and
 * Domingos 2018): `backward` names a rule of `sdk/tensor/target-rules.ts`. A unit's target is t = -sign(g), g being the
 * gradient that arrives, and what goes on is the derivative of the rule's loss at x, times |g| with `gradScale`, else
 * divided by the batch size.
 *
 * (`step` is the same function without such a way back, and with a kernel.)
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import { targetRule } from "../tensor/target-rules.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";
import { refuse, withTargets } from "./targets.ts";

export const thresholdSchema = z
  .strictObject({
    type: z.literal("threshold"),
    low: z.union([z.literal(0), z.literal(-1)], "low is 0 or -1").default(0),
    high: z.literal(1, "high is 1").default(1),
    backward: z.string("backward is the name of a rule").default("SSTE"),
    gradScale: z.boolean("gradScale is true or false").default(true),
  })
  .superRefine(({ low, backward, gradScale }, context) =>
    refuse(context, "backward", () => targetRule(backward, activationOf(low), { gradScale })),
  );

export type ThresholdOptions = Omit<z.input<typeof thresholdSchema>, "type">;

export class Threshold implements Layer {
  readonly type = "threshold";
  readonly weighted = false;
  private readonly settings: z.output<typeof thresholdSchema>;

  constructor(settings: z.output<typeof thresholdSchema>) {
    this.settings = settings;
  }

  get title(): string {
    const { low, backward, gradScale } = this.settings;
    return `${activationOf(low)}, ${backward}${gradScale ? "" : " without |g|"}`;
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const { low, high, backward, gradScale } = this.settings;
    const rule = targetRule(backward, activationOf(low), { gradScale });
    return builder.map(this, place, x, (z) =>
      withTargets(z, (input) => ops.apply(input, "threshold", low, high), { rule, gradScale }),
    );
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}

function activationOf(low: 0 | -1): "step01" | "step11" {
  return low === 0 ? "step01" : "step11";
}
