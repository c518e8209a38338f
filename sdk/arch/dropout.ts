/**
 * dropout (Srivastava et al. 2014): in training each number, or with `perChannel` each channel of an image (Tompson et al.
 * 2015), is 0 with probability `rate`, and else divided by 1 - rate. Inference changes nothing.
 *
 * Which ones are dropped in step s of a run is the random stream (seed, "dropout NAME", s), NAME being the layer's place.
 */
import * as z from "zod";
import { streamAddress } from "../engine/rng.ts";
import * as ops from "../tensor/ops.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const dropoutSchema = z.strictObject({
  type: z.literal("dropout"),
  /** Probability to be dropped. */
  rate: z.number("rate is a number").min(0, "rate must not be negative").lt(1, "rate must be below 1").default(0.5),
  perChannel: z.boolean("perChannel is true or false").default(false),
});

export type DropoutOptions = Omit<z.input<typeof dropoutSchema>, "type">;

export class Dropout implements Layer {
  readonly type = "dropout";
  readonly weighted = false;
  private readonly settings: z.output<typeof dropoutSchema>;

  constructor(settings: z.output<typeof dropoutSchema>) {
    this.settings = settings;
  }

  get title(): string {
    const { rate, perChannel } = this.settings;
    return `dropout ${rate}${perChannel ? " per channel" : ""}`;
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const { rate, perChannel } = this.settings;
    return builder.layer(this, place, x, x.shape, (z, { training, seed, step }) =>
      training ? ops.dropout(z, rate, streamAddress(seed, `dropout ${place.name}`, step), perChannel) : z,
    );
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}
