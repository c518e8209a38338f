/**
 * leakyRelu: x for x > 0, slope x else, whose covariance is
 *
 *     K' = s s' ((1 + slope^2) kappa_1(c) - 2 slope kappa_1(-c)),   c = K / s s',
 *
 * from leakyRelu(x) = relu(x) - slope relu(-x) and Cho and Saul 2009, eq. 6.
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import * as ops from "../tensor/ops.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const leakyReluSchema = z.strictObject({
  type: z.literal("leakyRelu"),
  /** The slope at negative inputs, -1000 to 1000; PyTorch's default is 0.01. */
  slope: z
    .number("slope is a number")
    .min(-1000, "slope must be at least -1000")
    .max(1000, "slope must be at most 1000")
    .default(0.01),
});

export type LeakyReluOptions = Omit<z.input<typeof leakyReluSchema>, "type">;

export class LeakyRelu implements Layer {
  readonly type = "leakyRelu";
  readonly weighted = false;
  private readonly settings: z.output<typeof leakyReluSchema>;

  constructor(settings: z.output<typeof leakyReluSchema>) {
    this.settings = settings;
  }

  get title(): string {
    return `leaky relu, slope ${this.settings.slope}`;
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(program: ProgramBuilder, map: CovarianceMap): CovarianceMap {
    return program.rectifier(map, 1, this.settings.slope);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, (z) => ops.leakyRelu(z, this.settings.slope));
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}
