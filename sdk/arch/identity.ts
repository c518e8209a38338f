/** identity: what comes in goes out. The skip connection of a residual sum. */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import type { Activation, NetworkBuilder } from "./network-builder.ts";

export const identitySchema = z.strictObject({ type: z.literal("identity") });

export class Identity implements Layer {
  readonly type = "identity";
  readonly title = "identity";
  readonly weighted = false;

  shape(input: Shape): Shape {
    return input;
  }

  covariance(_program: ProgramBuilder, map: CovarianceMap): CovarianceMap {
    return map;
  }

  network(_builder: NetworkBuilder, x: Activation): Activation {
    return x;
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }
}
