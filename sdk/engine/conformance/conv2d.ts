/** A convolution of NCHW images against seven nested loops in float64. */
import { conv2d } from "../kernels/conv2d.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, sample, worst, type Case, type Row } from "./row.ts";

type Pair = readonly [vertical: number, horizontal: number];

export interface Convolution {
  readonly batch: number;
  /** [channels, height, width] */
  readonly input: readonly [number, number, number];
  readonly output: readonly [number, number, number];
  readonly filter: Pair;
  readonly stride?: Pair;
  readonly dilation?: Pair;
  /** Zeros in front. */
  readonly pad?: Pair;
  readonly bias?: boolean;
}

/** Outputs that are checked of a convolution too large to be checked whole. */
const CHECKED = 4096;

const CASES: readonly Convolution[] = [
  { batch: 1, input: [1, 1, 1], output: [1, 1, 1], filter: [1, 1] },
  { batch: 0, input: [3, 5, 5], output: [4, 5, 5], filter: [3, 3], pad: [1, 1] },
  { batch: 2, input: [0, 4, 4], output: [3, 4, 4], filter: [3, 3], pad: [1, 1], bias: true },
  { batch: 2, input: [0, 4, 4], output: [3, 4, 4], filter: [3, 3], pad: [1, 1] },
  { batch: 2, input: [3, 4, 4], output: [0, 4, 4], filter: [3, 3], pad: [1, 1] },
  { batch: 3, input: [2, 7, 5], output: [5, 7, 5], filter: [3, 3], pad: [1, 1], bias: true },
  // A filter of even sides pads unevenly; here with one zero in front and two behind.
  { batch: 2, input: [3, 9, 11], output: [7, 9, 11], filter: [4, 4], pad: [1, 1] },
  // Padding beyond the image: whole taps lie outside.
  { batch: 3, input: [2, 3, 2], output: [4, 3, 2], filter: [7, 9], pad: [3, 4], bias: true },
  // Windows that cover the input: one pixel an image, so every panel spans several images.
  { batch: 37, input: [5, 6, 3], output: [9, 1, 1], filter: [6, 3], bias: true },
  { batch: 5, input: [4, 17, 13], output: [6, 9, 5], filter: [3, 4], stride: [2, 3], pad: [1, 1] },
  { batch: 4, input: [3, 20, 23], output: [3, 10, 12], filter: [1, 1], stride: [2, 2] },
  { batch: 2, input: [3, 19, 29], output: [5, 7, 13], filter: [3, 5], dilation: [4, 3], stride: [2, 2], pad: [2, 5] },
  { batch: 2, input: [2, 15, 16], output: [3, 4, 3], filter: [2, 3], dilation: [3, 2], stride: [4, 5] },
  // A negative padding crops.
  { batch: 2, input: [3, 12, 14], output: [4, 5, 6], filter: [3, 3], pad: [-2, -3], bias: true },
  // More output than input reaches: the rest is bias.
  { batch: 2, input: [2, 4, 5], output: [3, 9, 40], filter: [2, 2], pad: [2, 11], bias: true },
  { batch: 1, input: [3, 37, 41], output: [17, 37, 41], filter: [5, 5], pad: [2, 2] },
  { batch: 2, input: [67, 8, 9], output: [131, 8, 9], filter: [3, 3], pad: [1, 1], bias: true },
  { batch: 1, input: [31, 7, 7], output: [259, 7, 7], filter: [7, 7], pad: [3, 3] },
  { batch: 3, input: [1, 1, 301], output: [33, 1, 299], filter: [1, 3] },
];

export function convolutionCase(random: RandomStream, shape: Convolution): Case & { readonly work: number } {
  const { batch, input, output, filter, stride = [1, 1], dilation = [1, 1], pad = [0, 0], bias = false } = shape;
  const [inChannels, inHeight, inWidth] = input;
  const [outChannels, outHeight, outWidth] = output;
  const images = normals(random, batch * inChannels * inHeight * inWidth);
  const weights = normals(random, outChannels * inChannels * filter[0] * filter[1]);
  const biases = normals(random, outChannels);
  const count = batch * outChannels * outHeight * outWidth;
  const places = sample(random, count, CHECKED);

  const outputError = (place: number, actual: number | undefined): number => {
    const x = place % outWidth;
    const y = Math.floor(place / outWidth) % outHeight;
    const o = Math.floor(place / (outWidth * outHeight)) % outChannels;
    const n = Math.floor(place / (outWidth * outHeight * outChannels));
    let sum = bias ? (biases[o] ?? NaN) : 0;
    let magnitude = Math.abs(sum);
    for (let c = 0; c < inChannels; c++) {
      for (let i = 0; i < filter[0]; i++) {
        const row = y * stride[0] - pad[0] + i * dilation[0];
        for (let j = 0; j < filter[1]; j++) {
          const column = x * stride[1] - pad[1] + j * dilation[1];
          if (row < 0 || row >= inHeight || column < 0 || column >= inWidth) continue;
          const pixel = images[((n * inChannels + c) * inHeight + row) * inWidth + column] ?? NaN;
          const term = pixel * (weights[((o * inChannels + c) * filter[0] + i) * filter[1] + j] ?? NaN);
          sum += term;
          magnitude += Math.abs(term);
        }
      }
    }
    return errorOf(actual, sum, magnitude);
  };

  const params = {
    batch,
    inChannels,
    inHeight,
    inWidth,
    outChannels,
    outHeight,
    outWidth,
    kernelHeight: filter[0],
    kernelWidth: filter[1],
    strideHeight: stride[0],
    strideWidth: stride[1],
    dilationHeight: dilation[0],
    dilationWidth: dilation[1],
    padTop: pad[0],
    padLeft: pad[1],
    useBias: bias ? 1 : 0,
  };
  return {
    name:
      `${batch} x ${input.join("x")} -> ${output.join("x")}, ${filter.join("x")} stride ${stride.join("x")} ` +
      `dilation ${dilation.join("x")} pad ${pad.join(" ")}${bias ? " with bias" : ""}`,
    buffers: { images, weights, biases: bias ? biases : biases.fill(NaN), out: 4 * count },
    launches: [launch(conv2d, params, ["images", "weights", "biases", "out"])],
    outputs: ["out"],
    check: (read) => {
      const actual = new Float32Array(read("out"));
      return worst(places.length, (index) => outputError(places[index] ?? 0, actual[places[index] ?? 0]));
    },
    work: (2 * count * inChannels * filter[0] * filter[1]) / 1e9,
  };
}

export const conv2dRow: Row = {
  kernel: conv2d as unknown as KernelSchema,
  measure: "the sum of the output's terms' magnitudes",
  tolerance: 1e-6,
  reason:
    "16 u, u = 2^-24. As for matmul: k terms guarantee (k + 2) u, and roundings of either sign leave about u for any k.",
  unit: "GFLOP/s",
  *cases(random) {
    for (const shape of CASES) yield convolutionCase(random, shape);
  },
  large(level, random) {
    const batch = 2 ** (2 * level);
    if (batch > 64) return undefined;
    return convolutionCase(random, { batch, input: [32, 16, 16], output: [64, 16, 16], filter: [5, 5], pad: [2, 2] });
  },
};
