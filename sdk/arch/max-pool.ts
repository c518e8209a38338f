/**
 * maxPool: the maximum over windows, with `padding` on every side that is no maximum of anything. The first of equal ones
 * gets the gradient. What does not fill a window is left out.
 */
import * as z from "zod";
import { WidefieldError } from "../errors.ts";
import * as ops from "../tensor/ops.ts";
import { formatShape, imageInput, noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";
import { LONGEST, pairSchema } from "./schema.ts";

export const maxPoolSchema = z
  .strictObject({
    type: z.literal("maxPool"),
    /** Height and width of the windows, or one number for both. */
    window: pairSchema("window"),
    /** Default: the window, so that windows lie side by side. */
    stride: pairSchema("stride").optional(),
    /** Pixels on every side; at most half a window. */
    padding: z
      .int("padding is a number of pixels")
      .min(0, "padding must not be negative")
      .max(LONGEST, `padding must be at most ${LONGEST}`)
      .default(0),
  })
  .refine(({ window, padding }) => 2 * padding <= Math.min(...window), {
    message: "padding must be at most half the window",
    path: ["padding"],
  })
  .transform(({ type, window, stride, padding }) => ({ type, window, stride: stride ?? window, padding }));

export type MaxPoolOptions = Omit<z.input<typeof maxPoolSchema>, "type">;

export class MaxPool implements Layer {
  readonly type = "maxPool";
  readonly weighted = false;
  private readonly settings: z.output<typeof maxPoolSchema>;

  constructor(settings: z.output<typeof maxPoolSchema>) {
    this.settings = settings;
  }

  get title(): string {
    const { window, stride, padding } = this.settings;
    const overlapping = window[0] !== stride[0] || window[1] !== stride[1];
    const padded = padding === 0 ? "" : ` padding ${padding}`;
    return `maxPool ${window.join("x")}${overlapping ? ` stride ${stride.join("x")}` : ""}${padded}`;
  }

  shape(input: Shape, path = "architecture"): Shape {
    const [channels, height, width] = imageInput(this, input, path);
    const { window, stride, padding } = this.settings;
    if (window[0] > height + 2 * padding || window[1] > width + 2 * padding) {
      throw new WidefieldError(
        "E_SHAPE",
        `${path} (${this.title}): a window of ${window.join(" x ")} pixels does not fit into ${formatShape(input)}`,
        { details: { path, layer: this.toJSON(), input } },
      );
    }
    const places = (side: number, axis: 0 | 1): number =>
      Math.floor((side + 2 * padding - window[axis]) / stride[axis]) + 1;
    return [channels, places(height, 0), places(width, 1)];
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return builder.layer(this, place, x, this.shape(x.shape, place.path), (z) => ops.maxPool(z, this.settings));
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}
