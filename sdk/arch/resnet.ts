/**
 * Residual networks in the pre-activation form of He et al. 2016, "Identity mappings in deep residual networks", fig. 4e,
 * without batch normalisation: compositions of other layers, which their JSON form spells out. Filters are 3 x 3,
 * convolutions have no biases.
 *
 *     block                sum[identity, serial(relu, conv, relu, conv)]
 *     with a projection    relu, then sum[1 x 1 conv, serial(conv, relu, conv)], the 1 x 1 and the first with the stride
 */
import * as z from "zod";
import { Conv, convSchema } from "./conv.ts";
import { Identity } from "./identity.ts";
import type { Layer } from "./layer.ts";
import { Relu, reluSchema } from "./relu.ts";
import { parse, varianceSchema, widthSchema } from "./schema.ts";
import { Serial } from "./serial.ts";
import { Sum } from "./sum.ts";

const common = {
  weightVariance: varianceSchema("weightVariance").default(1),
  /** True: every relu times sqrt(2). */
  sqrt2: z.boolean("sqrt2 is true or false").default(false),
  channels: widthSchema("channels").optional(),
};

export const resnetBlockSchema = z
  .strictObject({
    type: z.literal("resnetBlock"),
    stride: z.int("stride is a whole number").min(1, "stride must be at least 1").default(1),
    projection: z.boolean("projection is true or false").default(false),
    widthFactor: widthSchema("widthFactor").optional(),
    ...common,
  })
  .refine(({ stride, projection }) => projection || stride === 1, {
    message: "a block with a stride needs projection: true, or its branches differ in size",
    path: ["stride"],
  });

export const resnetSchema = z.strictObject({
  type: z.literal("resnet"),
  /** Layers with weights: (depth - 2) / 6 blocks a stage, of two convolutions each, the first convolution, a read-out. */
  depth: z
    .int("depth is a whole number")
    .refine((depth) => depth >= 8 && depth % 6 === 2, "depth must be 6 n + 2, n at least 1: 8, 14, 20, 26, 32, .."),
  /** Stages; all but the first begin with stride 2 and have twice the channels of the one before. */
  stages: z
    .int("stages is a whole number")
    .min(1, "stages must be at least 1")
    .max(8, "stages must be at most 8")
    .default(3),
  ...common,
});

export type ResnetBlockOptions = Omit<z.input<typeof resnetBlockSchema>, "type">;
export type ResnetOptions = Omit<z.input<typeof resnetSchema>, "type">;

export function makeResnetBlock(json: unknown, path: string): Layer {
  const { stride, projection, weightVariance, sqrt2, channels, widthFactor } = parse(resnetBlockSchema, json, path);
  const width = {
    ...(channels === undefined ? {} : { channels }),
    ...(widthFactor === undefined ? {} : { widthFactor }),
  };
  const conv = (filter: number, step: number): Layer =>
    new Conv(parse(convSchema, { type: "conv", filter, stride: step, weightVariance, ...width }, path));
  const relu = new Relu(parse(reluSchema, { type: "relu", sqrt2 }, path));
  if (!projection) return new Sum([new Identity(), new Serial([relu, conv(3, 1), relu, conv(3, 1)])]);
  return new Serial([relu, new Sum([conv(1, stride), new Serial([conv(3, stride), relu, conv(3, 1)])])]);
}

/** The first convolution and all blocks; what reads their output is the caller's. */
export function makeResnet(json: unknown, path: string): Layer {
  const { depth, stages, channels, weightVariance, sqrt2 } = parse(resnetSchema, json, path);
  const blocks = (depth - 2) / 6;
  const first = { type: "conv", filter: 3, weightVariance, ...(channels === undefined ? {} : { channels }) };
  const layers: Layer[] = [new Conv(parse(convSchema, first, path))];
  for (let stage = 0; stage < stages; stage++) {
    const factor = 2 ** stage;
    const width = channels === undefined ? { widthFactor: factor } : { channels: channels * factor };
    for (let block = 0; block < blocks; block++) {
      const projection = block === 0;
      const stride = stage > 0 && projection ? 2 : 1;
      layers.push(makeResnetBlock({ type: "resnetBlock", stride, projection, weightVariance, sqrt2, ...width }, path));
    }
  }
  return new Serial(layers);
}
