/**
 * hardTanh: min(max(x, -1), 1). The gradient passes where -1 <= x <= 1.
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const hardTanhSchema = z.strictObject({ type: z.literal("hardTanh") });

export class HardTanh implements Layer {
  readonly type = "hardTanh";
  readonly title = "hardTanh";
  readonly weighted = false;

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, (z) => ops.clamp(z, -1, 1));
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }
}
