/**
 * globalAvgPool: the mean over all pixels, a vector of channels. Its covariance is the mean over all pairs of pixels
 * (Arora et al. 2019, section 4.4), where that of `flatten` is the mean over pixels.
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import type { PoolGeometry } from "../covariance/program.ts";
import * as ops from "../tensor/ops.ts";
import { imageInput, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const globalAvgPoolSchema = z.strictObject({ type: z.literal("globalAvgPool") });

export class GlobalAvgPool implements Layer {
  readonly type = "globalAvgPool";
  readonly title = "globalAvgPool";
  readonly weighted = false;

  shape(input: Shape, path = "architecture"): Shape {
    const [channels] = imageInput(this, input, path);
    return [channels];
  }

  covariance(program: ProgramBuilder, map: CovarianceMap, input: Shape): CovarianceMap {
    return program.pool(map, this.window(input));
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const [channels, height, width] = imageInput(this, x.shape, place.path);
    return builder.layer(this, place, x, [channels], (z) => ops.flatten(ops.avgPool(z, { window: [height, width] })));
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }

  private window(input: Shape): PoolGeometry {
    const [, height, width] = imageInput(this, input, this.type);
    const window = { inHeight: height, inWidth: width, windowHeight: height, windowWidth: width };
    return { ...window, outHeight: 1, outWidth: 1, strideHeight: height, strideWidth: width };
  }
}
