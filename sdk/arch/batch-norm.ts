/**
 * batchNorm (Ioffe and Szegedy 2015): each channel of a batch with its mean taken off and divided by its standard
 * deviation, times a learnt scale plus a learnt shift,
 *
 *     y = scale (x - mean) / sqrt(variance + epsilon) + shift.
 *
 * In training the moments are those of the batch and its pixels, and running ones are kept: (1 - momentum) old + momentum
 * new, of variances the unbiased ones, as in PyTorch. Inference uses the running ones.
 */
import * as z from "zod";
import * as ops from "../tensor/ops.ts";
import { noKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export const batchNormSchema = z.strictObject({
  type: z.literal("batchNorm"),
  /** Added to variances. */
  epsilon: z
    .number("epsilon is a number")
    .min(1e-12, "epsilon must be at least 1e-12")
    .max(1, "epsilon must be at most 1")
    .default(1e-5),
  /** Part of the running moments that each training pass replaces. */
  momentum: z
    .number("momentum is a number")
    .positive("momentum must be positive")
    .max(1, "momentum must be at most 1")
    .default(0.1),
});

export type BatchNormLayerOptions = Omit<z.input<typeof batchNormSchema>, "type">;

export class BatchNorm implements Layer {
  readonly type = "batchNorm";
  readonly title = "batchNorm";
  /** It has a scale and a shift, but no width of its own: it is no read-out. */
  readonly weighted = false;
  private readonly settings: z.output<typeof batchNormSchema>;

  constructor(settings: z.output<typeof batchNormSchema>) {
    this.settings = settings;
  }

  shape(input: Shape): Shape {
    return input;
  }

  covariance(): never {
    return noKernel(this);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const [channels] = x.shape;
    const zeros = new Float32Array(channels);
    const ones = zeros.map(() => 1);
    const scale = builder.array(place, "scale", [channels], ones);
    const shift = builder.array(place, "shift", [channels], zeros);
    const moments = Float32Array.from([...zeros, ...ones]);
    const running = builder.array(place, "running", [2, channels], moments, false);
    return builder.layer(this, place, x, x.shape, (z, { training }, read) =>
      ops.batchNorm(z, read(scale), read(shift), read(running), { ...this.settings, training }),
    );
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}
