/**
 * clippedRelu: min(max(x, 0), max): a relu that saturates, as a staircase of many steps does (`threshrelu` of Friesen and
 * Domingos 2018 with max = 1). The gradient passes where 0 <= x <= max.
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const clippedReluSchema = z.strictObject({
  type: z.literal("clippedRelu"),
  max: z.number("max is a number").positive("max must be positive").max(1e6, "max must be at most 1e6").default(1),
});

export type ClippedReluOptions = Omit<z.input<typeof clippedReluSchema>, "type">;

export class ClippedRelu implements Layer {
  readonly type = "clippedRelu";
  readonly weighted = false;
  private readonly settings: z.output<typeof clippedReluSchema>;

  constructor(settings: z.output<typeof clippedReluSchema>) {
    this.settings = settings;
  }

  get title(): string {
    return `relu clipped at ${this.settings.max}`;
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, (z) => ops.clamp(z, 0, this.settings.max));
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}
