/** flatten: an image becomes the vector of its channels and pixels; covariances become their mean over pixels. */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import * as ops from "../tensor/ops.ts";
import { imageInput, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const flattenSchema = z.strictObject({ type: z.literal("flatten") });

export class Flatten implements Layer {
  readonly type = "flatten";
  readonly title = "flatten";
  readonly weighted = false;

  shape(input: Shape, path = "architecture"): Shape {
    const [channels, height, width] = imageInput(this, input, path);
    return [channels * height * width];
  }

  covariance(program: ProgramBuilder, map: CovarianceMap): CovarianceMap {
    return program.mean(map);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.layer(this, place, x, this.shape(x.shape, place.path), ops.flatten);
  }

  toJSON(): LayerJson {
    return { type: this.type };
  }
}
