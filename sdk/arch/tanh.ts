/**
 * tanh: the hyperbolic tangent.
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const tanhSchema = z.strictObject({ type: z.literal("tanh") });

export class Tanh implements Layer {
  readonly type = "tanh";
  readonly title = "tanh";
  readonly weighted = false;

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, ops.tanh);
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }
}
