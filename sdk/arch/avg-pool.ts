/**
 * avgPool: the mean over windows, which lie inside the image; what does not fill a window is left out. The covariance of
 * two means is the mean over all pairs of their pixels,
 *
 *     K'[p, q] = mean over a, b in the window of K[stride p + a, stride q + b]
 *
 * (Arora et al. 2019, section 4.4), so that layers before it carry covariances between pixels.
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import type { PoolGeometry } from "../covariance/program.ts";
import { WidefieldError } from "../errors.ts";
import * as ops from "../tensor/ops.ts";
import { formatShape, imageInput, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";
import { pairSchema } from "./schema.ts";

export const avgPoolSchema = z
  .strictObject({
    type: z.literal("avgPool"),
    /** Height and width of the windows, or one number for both. */
    window: pairSchema("window"),
    /** Default: the window, so that windows lie side by side. */
    stride: pairSchema("stride").optional(),
  })
  .transform(({ type, window, stride }) => ({ type, window, stride: stride ?? window }));

export type AvgPoolOptions = Omit<z.input<typeof avgPoolSchema>, "type">;

export class AvgPool implements Layer {
  readonly type = "avgPool";
  readonly weighted = false;
  private readonly settings: z.output<typeof avgPoolSchema>;

  constructor(settings: z.output<typeof avgPoolSchema>) {
    this.settings = settings;
  }

  get title(): string {
    const { window, stride } = this.settings;
    const overlapping = window[0] !== stride[0] || window[1] !== stride[1];
    return `avgPool ${window.join("x")}${overlapping ? ` stride ${stride.join("x")}` : ""}`;
  }

  shape(input: Shape, path = "architecture"): Shape {
    const [channels] = imageInput(this, input, path);
    const { outHeight, outWidth } = this.geometry(input, path);
    return [channels, outHeight, outWidth];
  }

  covariance(program: ProgramBuilder, map: CovarianceMap, input: Shape): CovarianceMap {
    return program.pool(map, this.geometry(input, this.type));
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.layer(this, place, x, this.shape(x.shape, place.path), (z) => ops.avgPool(z, this.settings));
  }

  toJSON(): LayerJson {
    return this.settings;
  }

  private geometry(input: Shape, path: string): PoolGeometry {
    const [, inHeight, inWidth] = imageInput(this, input, path);
    const { window, stride } = this.settings;
    if (window[0] > inHeight || window[1] > inWidth) {
      throw new WidefieldError(
        "E_SHAPE",
        `${path} (${this.title}): a window of ${window.join(" x ")} pixels does not fit into ${formatShape(input)}`,
        { details: { path, layer: this.toJSON(), input } },
      );
    }
    return {
      inHeight,
      inWidth,
      outHeight: Math.floor((inHeight - window[0]) / stride[0]) + 1,
      outWidth: Math.floor((inWidth - window[1]) / stride[1]) + 1,
      windowHeight: window[0],
      windowWidth: window[1],
      strideHeight: stride[0],
      strideWidth: stride[1],
    };
  }
}
