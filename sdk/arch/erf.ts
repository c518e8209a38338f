/**
 * erf: the error function, a sigmoid from -1 to 1.
 *
 *     K' = 2/pi asin(2 K / sqrt((1 + 2 K(x, x)) (1 + 2 K(y, y))))
 *
 * (Williams 1997, "Computing with infinite networks", eq. 11). Where it saturates, with variances far above 1, asin is
 * read near 1, where it is steep: an error e of its argument c is one of e c / (sqrt(1 - c^2) asin c), so that float32
 * kernels of such networks lose digits.
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import * as ops from "../tensor/ops.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const erfSchema = z.strictObject({ type: z.literal("erf") });

export class Erf implements Layer {
  readonly type = "erf";
  readonly title = "erf";
  readonly weighted = false;

  shape(input: Shape): Shape {
    return input;
  }

  covariance(program: ProgramBuilder, map: CovarianceMap): CovarianceMap {
    return program.erf(map);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.map(this, place, x, (z) => ops.apply(z, "erf"));
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }
}
