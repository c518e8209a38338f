/**
 * conv: weights are i.i.d. N(0, weightVariance / (channels in * taps)), biases N(0, biasVariance), so that
 *
 *     K'[p] = weightVariance * mean over the filter's taps of K[p + tap] + biasVariance
 *
 * (Garriga-Alonso et al. 2019, eq. 7), taps outside the image counting zero. With `bias` a finite layer has biases though
 * their variance is 0: they are 0 in the prior, and learnt.
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import type { BoxGeometry } from "../covariance/program.ts";
import { WidefieldError } from "../errors.ts";
import { formatShape, imageInput, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";
import { biasSchema, hasBias, LONGEST, pairSchema, plainBias, varianceSchema, widthSchema } from "./schema.ts";

/**
 * "same": zeros as for stride 1, k_eff - 1 in all, floor((k_eff - 1) / 2) of them in front, whatever the stride.
 * "same-tf": TensorFlow's and XLA's rule: output ceil(n / stride), floor of half the zeros needed in front.
 * "valid": none. A number: that many on every side.
 */
export type Padding = "same" | "same-tf" | "valid" | number;

export const convSchema = z
  .strictObject({
    type: z.literal("conv"),
    /** Height and width of the filter, or one number for both; so are stride and dilation. */
    filter: pairSchema("filter"),
    stride: pairSchema("stride").default([1, 1]),
    dilation: pairSchema("dilation").default([1, 1]),
    padding: z
      .union(
        [
          z.enum(["same", "same-tf", "valid"]),
          z.int().min(0, "padding must not be negative").max(LONGEST, `padding must be at most ${LONGEST}`),
        ],
        'padding is "same", "same-tf", "valid" or a number of pixels',
      )
      .default("same"),
    weightVariance: varianceSchema("weightVariance").default(1),
    biasVariance: varianceSchema("biasVariance").default(0),
    channels: widthSchema("channels").optional(),
    /** Without `channels`: how many times as wide as the network's other layers, in a finite network. Default 1. */
    widthFactor: widthSchema("widthFactor").optional(),
    bias: biasSchema,
  })
  .transform(plainBias);

export type ConvOptions = Omit<z.input<typeof convSchema>, "type">;
type Settings = z.output<typeof convSchema>;

interface Axis {
  readonly out: number;
  readonly front: number;
}

/** Places along an axis, padding included, are counted in signed words of 32 bits. */
const LONGEST_REACH = 2 ** 31;

export class Conv implements Layer {
  readonly type = "conv";
  readonly weighted = true;
  private readonly settings: Settings;

  constructor(settings: Settings) {
    this.settings = settings;
  }

  get title(): string {
    const { filter, stride, dilation, padding } = this.settings;
    const strided = stride[0] * stride[1] === 1 ? "" : ` stride ${stride.join("x")}`;
    const dilated = dilation[0] * dilation[1] === 1 ? "" : ` dilation ${dilation.join("x")}`;
    return `conv ${filter.join("x")}${strided}${dilated} ${padding}`;
  }

  shape(input: Shape, path = "architecture"): Shape {
    const { outHeight, outWidth } = this.geometry(imageInput(this, input, path), path);
    return [this.settings.channels ?? Number.POSITIVE_INFINITY, outHeight, outWidth];
  }

  covariance(program: ProgramBuilder, map: CovarianceMap, shape: Shape): CovarianceMap {
    const { filter, weightVariance, biasVariance } = this.settings;
    const input = imageInput(this, shape, this.type);
    const geometry = this.geometry(input, this.type);
    const fanIn = input[0] * filter[0] * filter[1];
    return program.conv(map, geometry, { fanIn, weightVariance, biasVariance });
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const { filter, weightVariance, biasVariance, channels, widthFactor } = this.settings;
    const input = imageInput(this, x.shape, place.path);
    const width = builder.width(place, { own: channels, factor: widthFactor });
    const fanIn = input[0] * filter[0] * filter[1];
    const prior = { weightVariance: weightVariance / fanIn, biasVariance, bias: hasBias(this.settings) };
    return builder.conv(this, place, x, this.geometry(input, place.path), width, prior);
  }

  toJSON(): LayerJson {
    return this.settings;
  }

  private geometry(input: readonly [number, number, number], path: string): BoxGeometry {
    const { filter, stride, dilation } = this.settings;
    const [, inHeight, inWidth] = input;
    const vertical = this.axis(inHeight, 0, input, path);
    const horizontal = this.axis(inWidth, 1, input, path);
    return {
      inHeight,
      inWidth,
      outHeight: vertical.out,
      outWidth: horizontal.out,
      filterHeight: filter[0],
      filterWidth: filter[1],
      strideHeight: stride[0],
      strideWidth: stride[1],
      dilationHeight: dilation[0],
      dilationWidth: dilation[1],
      padTop: vertical.front,
      padLeft: horizontal.front,
    };
  }

  private axis(n: number, which: 0 | 1, input: Shape, path: string): Axis {
    const { filter, stride, dilation, padding } = this.settings;
    const reach = (filter[which] - 1) * dilation[which] + 1;
    const step = stride[which];
    let front = 0;
    let total = 0;
    if (padding === "same") {
      total = reach - 1;
      front = Math.floor(total / 2);
    } else if (padding === "same-tf") {
      total = Math.max(0, (Math.ceil(n / step) - 1) * step + reach - n);
      front = Math.floor(total / 2);
    } else if (padding !== "valid") {
      total = 2 * padding;
      front = padding;
    }
    const side = which === 0 ? "high" : "wide";
    if (Math.max(reach, n + total) >= LONGEST_REACH) {
      throw new WidefieldError(
        "E_CONFIG",
        `${path} (${this.title}): a filter that is ${reach} pixels ${side} on ${n + total} pixels reaches too far: ` +
          `at most ${LONGEST_REACH - 1} pixels can be counted`,
        { details: { path, layer: this.toJSON(), input } },
      );
    }
    if (n + total < reach) {
      throw new WidefieldError(
        "E_SHAPE",
        `${path} (${this.title}): a filter that is ${reach} pixels ${side} does not fit into its padded input, ` +
          `${n + total} pixels ${side} (input ${formatShape(input)})`,
        { details: { path, layer: this.toJSON(), input } },
      );
    }
    return { out: Math.floor((n + total - reach) / step) + 1, front };
  }
}
