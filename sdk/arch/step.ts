/**
 * step: Heaviside's function, 1 for x > 0, else 0; with `sqrt2` times sqrt(2).
 *
 *     K' = gain kappa_0(K / s s'),   kappa_0(c) = (pi - acos c) / 2 pi,   gain 1 or 2
 *
 * (the arc-cosine kernel of order 0: Cho and Saul 2009, eq. 3). Where an input has no variance it is 0, and so is its
 * step. kappa_0 has a vertical tangent at c = 1: float32 kernels of images that are nearly, but not quite, the same lose
 * digits there (an error e of c is one of e / sin t).
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import * as ops from "../tensor/ops.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const stepSchema = z.strictObject({
  type: z.literal("step"),
  /** True: multiplied by sqrt(2). */
  sqrt2: z.boolean("sqrt2 is true or false").default(false),
});

export type StepOptions = Omit<z.input<typeof stepSchema>, "type">;

export class Step implements Layer {
  readonly type = "step";
  readonly weighted = false;
  private readonly settings: z.output<typeof stepSchema>;

  constructor(settings: z.output<typeof stepSchema>) {
    this.settings = settings;
  }

  get title(): string {
    return this.settings.sqrt2 ? "step times sqrt 2" : "step";
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(program: ProgramBuilder, map: CovarianceMap): CovarianceMap {
    return program.step(map, this.settings.sqrt2 ? 2 : 1);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const height = this.settings.sqrt2 ? Math.SQRT2 : 1;
    return builder.map(this, place, x, (z) => ops.apply(z, "threshold", 0, height));
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}
