/**
 * cabs: min(|x|, 1), the absolute value clipped at 1. The gradient passes, with the sign of x, where |x| <= 1.
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const cabsSchema = z.strictObject({ type: z.literal("cabs") });

export class Cabs implements Layer {
  readonly type = "cabs";
  readonly title = "cabs";
  readonly weighted = false;

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, (z) => ops.clamp(ops.abs(z), 0, 1));
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }
}
