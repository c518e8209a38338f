/**
 * Activations that have neither settings nor a kernel, a line each:
 *
 *     sigmoid     1 / (1 + e^-x)
 *     softplus    log(1 + e^x)
 *     tanh
 *     hardTanh    min(max(x, -1), 1); the gradient passes where -1 <= x <= 1
 *     cabs        min(|x|, 1); the gradient passes, with the sign of x, where |x| <= 1
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

const functions = {
  sigmoid: ops.sigmoid,
  softplus: ops.softplus,
  tanh: ops.tanh,
  hardTanh: (x: Tensor) => ops.clamp(x, -1, 1),
  cabs: (x: Tensor) => ops.clamp(ops.abs(x), 0, 1),
} as const;

export type PlainName = keyof typeof functions;

export const plainNames = Object.keys(functions) as readonly PlainName[];

export function plainSchema(name: PlainName) {
  return z.strictObject({ type: z.literal(name) });
}

export class PlainActivation implements Layer {
  readonly type: PlainName;
  readonly weighted = false;

  constructor(type: PlainName) {
    this.type = type;
  }

  get title(): string {
    return this.type;
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, functions[this.type]);
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }
}
