/**
 * relu: max(x, 0), with `sqrt2` sqrt(2) max(x, 0), which keeps variances.
 *
 *     K' = gain * s s' kappa_1(K / s s'),   kappa_1(c) = (sqrt(1 - c^2) + (pi - acos c) c) / 2 pi,   gain 1 or 2
 *
 * (the arc-cosine kernel of order 1: Cho and Saul 2009, eq. 6).
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import * as ops from "../tensor/ops.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const reluSchema = z.strictObject({
  type: z.literal("relu"),
  /** True: multiplied by sqrt(2). */
  sqrt2: z.boolean("sqrt2 is true or false").default(false),
});

export type ReluOptions = Omit<z.input<typeof reluSchema>, "type">;

export class Relu implements Layer {
  readonly type = "relu";
  readonly weighted = false;
  private readonly settings: z.output<typeof reluSchema>;

  constructor(settings: z.output<typeof reluSchema>) {
    this.settings = settings;
  }

  get title(): string {
    return this.settings.sqrt2 ? "relu times sqrt 2" : "relu";
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(program: ProgramBuilder, map: CovarianceMap): CovarianceMap {
    return program.rectifier(map, this.settings.sqrt2 ? Math.SQRT2 : 1, 0);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const { sqrt2 } = this.settings;
    return builder.map(this, place, x, (z) => (sqrt2 ? ops.affine(ops.relu(z), Math.SQRT2) : ops.relu(z)));
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}
