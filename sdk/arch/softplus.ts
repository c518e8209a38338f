/**
 * softplus: log(1 + e^x).
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const softplusSchema = z.strictObject({ type: z.literal("softplus") });

export class Softplus implements Layer {
  readonly type = "softplus";
  readonly title = "softplus";
  readonly weighted = false;

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, ops.softplus);
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }
}
