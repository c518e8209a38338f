/**
 * elu: x where x > 0, else alpha (e^x - 1) (Clevert, Unterthiner and Hochreiter 2016).
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const eluSchema = z.strictObject({
  type: z.literal("elu"),
  /** The limit at -infinity, negated: 0 to 1000. */
  alpha: z
    .number("alpha is a number")
    .min(0, "alpha must not be negative")
    .max(1000, "alpha must be at most 1000")
    .default(1),
});

export type EluOptions = Omit<z.input<typeof eluSchema>, "type">;

export class Elu implements Layer {
  readonly type = "elu";
  readonly weighted = false;
  private readonly settings: z.output<typeof eluSchema>;

  constructor(settings: z.output<typeof eluSchema>) {
    this.settings = settings;
  }

  get title(): string {
    return `elu, alpha ${this.settings.alpha}`;
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, (z) => ops.elu(z, this.settings.alpha));
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}
