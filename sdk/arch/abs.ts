/**
 * abs: |x|, whose covariance is that of four relus,
 *
 *     K' = 2 s s' (kappa_1(c) + kappa_1(-c)),   c = K / s s',
 *
 * from |x| = relu(x) + relu(-x) and Cho and Saul 2009, eq. 6; K(x, x) stays as it is.
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import * as ops from "../tensor/ops.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const absSchema = z.strictObject({ type: z.literal("abs") });

export class Abs implements Layer {
  readonly type = "abs";
  readonly title = "abs";
  readonly weighted = false;

  shape(input: Shape): Shape {
    return input;
  }

  covariance(program: ProgramBuilder, map: CovarianceMap): CovarianceMap {
    return program.rectifier(map, 1, -1);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, ops.abs);
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }
}
