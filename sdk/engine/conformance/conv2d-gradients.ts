/** The two gradients of a convolution against nested loops in float64. */
import { conv2dInput } from "../kernels/conv2d-input.ts";
import { conv2dWeights, weightParts } from "../kernels/conv2d-weights.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import type { Convolution } from "./conv2d.ts";
import { errorOf, launch, normals, sample, worst, type Case, type Row } from "./row.ts";

/** Entries that are checked of a gradient too large to be checked whole. */
const CHECKED = 4096;

type Gradient = Omit<Convolution, "bias"> & {
  /** Of the weights' gradient; as many as `weightParts` says where it is not given. */
  readonly parts?: number;
};

const CASES: readonly Gradient[] = [
  { batch: 1, input: [1, 1, 1], output: [1, 1, 1], filter: [1, 1] },
  { batch: 0, input: [3, 5, 5], output: [4, 5, 5], filter: [3, 3], pad: [1, 1] },
  { batch: 2, input: [0, 4, 4], output: [3, 4, 4], filter: [3, 3], pad: [1, 1] },
  { batch: 2, input: [3, 4, 4], output: [0, 4, 4], filter: [3, 3], pad: [1, 1] },
  { batch: 2, input: [3, 4, 4], output: [4, 0, 4], filter: [3, 3], pad: [1, 1] },
  { batch: 3, input: [2, 7, 5], output: [5, 7, 5], filter: [3, 3], pad: [1, 1], parts: 2 },
  // A filter of even sides pads unevenly; here with one zero in front and two behind.
  { batch: 5, input: [3, 9, 11], output: [7, 9, 11], filter: [4, 4], pad: [1, 1], parts: 3 },
  // Padding beyond the image: whole taps lie outside. More parts than images: some are empty.
  { batch: 3, input: [2, 3, 2], output: [4, 3, 2], filter: [7, 9], pad: [3, 4], parts: 5 },
  // Windows that cover the input: one pixel an image, so every panel spans several images.
  { batch: 37, input: [5, 6, 3], output: [9, 1, 1], filter: [6, 3], parts: 4 },
  { batch: 5, input: [4, 17, 13], output: [6, 9, 5], filter: [3, 4], stride: [2, 3], pad: [1, 1] },
  // Three of four pixels reach no output.
  { batch: 4, input: [3, 20, 23], output: [3, 10, 12], filter: [1, 1], stride: [2, 2] },
  // Strides and dilations with and without a common divisor.
  { batch: 2, input: [3, 19, 29], output: [5, 7, 13], filter: [3, 5], dilation: [4, 3], stride: [2, 2], pad: [2, 5] },
  { batch: 2, input: [2, 15, 16], output: [3, 4, 3], filter: [2, 3], dilation: [3, 2], stride: [4, 5] },
  { batch: 3, input: [2, 21, 25], output: [3, 5, 4], filter: [4, 4], dilation: [6, 4], stride: [4, 6], pad: [7, 3] },
  // Outputs so small that every pixel is a phase of its own, along one axis or both.
  { batch: 9, input: [5, 9, 8], output: [7, 2, 2], filter: [8, 7], pad: [0, 0] },
  { batch: 9, input: [5, 13, 8], output: [7, 3, 7], filter: [5, 2], stride: [2, 1], dilation: [2, 1], pad: [1, 0] },
  // A negative padding crops: the border's gradient is zero.
  { batch: 2, input: [3, 12, 14], output: [4, 5, 6], filter: [3, 3], pad: [-2, -3] },
  { batch: 2, input: [3, 13, 14], output: [4, 3, 3], filter: [3, 3], stride: [2, 3], pad: [-3, -2] },
  // More output than input reaches, and a stride beyond the image.
  { batch: 2, input: [2, 4, 5], output: [3, 9, 40], filter: [2, 2], pad: [2, 11] },
  { batch: 2, input: [2, 4, 5], output: [3, 2, 2], filter: [3, 2], stride: [7, 6], pad: [2, 1] },
  { batch: 1, input: [3, 37, 41], output: [17, 37, 41], filter: [5, 5], pad: [2, 2] },
  { batch: 2, input: [67, 8, 9], output: [131, 8, 9], filter: [3, 3], pad: [1, 1] },
  { batch: 1, input: [131, 7, 7], output: [59, 7, 7], filter: [5, 5], pad: [2, 2] },
  { batch: 3, input: [1, 1, 301], output: [33, 1, 299], filter: [1, 3] },
];

function paramsOf({ batch, input, output, filter, stride = [1, 1], dilation = [1, 1], pad = [0, 0] }: Gradient) {
  return {
    batch,
    inChannels: input[0],
    inHeight: input[1],
    inWidth: input[2],
    outChannels: output[0],
    outHeight: output[1],
    outWidth: output[2],
    kernelHeight: filter[0],
    kernelWidth: filter[1],
    strideHeight: stride[0],
    strideWidth: stride[1],
    dilationHeight: dilation[0],
    dilationWidth: dilation[1],
    padTop: pad[0],
    padLeft: pad[1],
  };
}

function nameOf({ batch, input, output, filter, stride = [1, 1], dilation = [1, 1], pad = [0, 0] }: Gradient): string {
  return (
    `${batch} x ${input.join("x")} -> ${output.join("x")}, ${filter.join("x")} stride ${stride.join("x")} ` +
    `dilation ${dilation.join("x")} pad ${pad.join(" ")}`
  );
}

function work({ batch, input, output, filter }: Gradient): number {
  return (2 * batch * output[0] * output[1] * output[2] * input[0] * filter[0] * filter[1]) / 1e9;
}

/** A running sum, and the sum of its terms' magnitudes. */
class Sum {
  value = 0;
  magnitude = 0;

  add(term: number): void {
    this.value += term;
    this.magnitude += Math.abs(term);
  }
}

/** Where along one axis the outputs lie whose window's tap `tap` falls on `pixel`: one at most. */
function reaching(pixel: number, tap: number, stride: number, dilation: number, pad: number, size: number): number {
  const place = (pixel + pad - tap * dilation) / stride;
  return Number.isInteger(place) && place >= 0 && place < size ? place : -1;
}

export function inputGradientCase(random: RandomStream, shape: Gradient): Case & { readonly work: number } {
  const { batch, input, output, filter } = shape;
  const [inChannels, inHeight, inWidth] = input;
  const [outChannels, outHeight, outWidth] = output;
  const params = paramsOf(shape);
  const gradient = normals(random, batch * outChannels * outHeight * outWidth);
  const weights = normals(random, outChannels * inChannels * filter[0] * filter[1]);
  const count = batch * inChannels * inHeight * inWidth;
  const places = sample(random, count, CHECKED);

  const entryError = (entry: number, actual: number | undefined): number => {
    const x = entry % inWidth;
    const y = Math.floor(entry / inWidth) % inHeight;
    const c = Math.floor(entry / (inWidth * inHeight)) % inChannels;
    const n = Math.floor(entry / (inWidth * inHeight * inChannels));
    const sum = new Sum();
    for (let i = 0; i < filter[0]; i++) {
      const v = reaching(y, i, params.strideHeight, params.dilationHeight, params.padTop, outHeight);
      if (v < 0) continue;
      for (let j = 0; j < filter[1]; j++) {
        const u = reaching(x, j, params.strideWidth, params.dilationWidth, params.padLeft, outWidth);
        if (u < 0) continue;
        for (let o = 0; o < outChannels; o++) {
          const weight = weights[((o * inChannels + c) * filter[0] + i) * filter[1] + j] ?? NaN;
          sum.add(weight * (gradient[((n * outChannels + o) * outHeight + v) * outWidth + u] ?? NaN));
        }
      }
    }
    return errorOf(actual, sum.value, sum.magnitude);
  };

  return {
    name: nameOf(shape),
    buffers: { gradient, weights, out: 4 * count },
    launches: [launch(conv2dInput, params, ["gradient", "weights", "out"])],
    outputs: ["out"],
    check: (read) => {
      const actual = new Float32Array(read("out"));
      return worst(places.length, (index) => entryError(places[index] ?? 0, actual[places[index] ?? 0]));
    },
    work: work(shape),
  };
}

export function weightGradientCase(random: RandomStream, shape: Gradient): Case & { readonly work: number } {
  const { batch, input, output, filter } = shape;
  const [inChannels, inHeight, inWidth] = input;
  const [outChannels, outHeight, outWidth] = output;
  const size = paramsOf(shape);
  const parts = shape.parts ?? weightParts(size);
  const images = normals(random, batch * inChannels * inHeight * inWidth);
  const gradient = normals(random, batch * outChannels * outHeight * outWidth);
  const filterFloats = outChannels * inChannels * filter[0] * filter[1];
  const pixels = batch * outHeight * outWidth;
  // An entry of the gradient is a sum over all pixels: fewer of them where there are many.
  const places = sample(random, parts * filterFloats, Math.min(CHECKED, Math.ceil(4e6 / Math.max(1, pixels))));

  const entryError = (entry: number, actual: number | undefined): number => {
    const j = entry % filter[1];
    const i = Math.floor(entry / filter[1]) % filter[0];
    const c = Math.floor(entry / (filter[0] * filter[1])) % inChannels;
    const o = Math.floor(entry / (filter[0] * filter[1] * inChannels)) % outChannels;
    const part = Math.floor(entry / filterFloats);
    const sum = new Sum();
    for (let n = Math.floor((part * batch) / parts); n < Math.floor(((part + 1) * batch) / parts); n++) {
      for (let v = 0; v < outHeight; v++) {
        const y = v * size.strideHeight - size.padTop + i * size.dilationHeight;
        if (y < 0 || y >= inHeight) continue;
        for (let u = 0; u < outWidth; u++) {
          const x = u * size.strideWidth - size.padLeft + j * size.dilationWidth;
          if (x < 0 || x >= inWidth) continue;
          const pixel = images[((n * inChannels + c) * inHeight + y) * inWidth + x] ?? NaN;
          sum.add(pixel * (gradient[((n * outChannels + o) * outHeight + v) * outWidth + u] ?? NaN));
        }
      }
    }
    return errorOf(actual, sum.value, sum.magnitude);
  };

  return {
    name: `${nameOf(shape)}, ${parts} parts`,
    buffers: { images, gradient, out: 4 * parts * filterFloats },
    launches: [launch(conv2dWeights, { ...size, parts }, ["images", "gradient", "out"])],
    outputs: ["out"],
    check: (read) => {
      const actual = new Float32Array(read("out"));
      return worst(places.length, (index) => entryError(places[index] ?? 0, actual[places[index] ?? 0]));
    },
    work: work(shape),
  };
}

type GradientCase = typeof inputGradientCase;

function rowOf(kernel: KernelSchema, caseOf: GradientCase): Row {
  return {
    kernel,
    measure: "the sum of the gradient's terms' magnitudes",
    tolerance: 1e-6,
    reason:
      "16 u, u = 2^-24. As for matmul: k terms guarantee (k + 2) u, and roundings of either sign leave about u for any k.",
    unit: "GFLOP/s",
    *cases(random) {
      for (const shape of CASES) yield caseOf(random, shape);
    },
    large(level, random) {
      const batch = 2 ** (2 * level);
      if (batch > 64) return undefined;
      return caseOf(random, { batch, input: [32, 16, 16], output: [64, 16, 16], filter: [5, 5], pad: [2, 2] });
    },
  };
}

export const conv2dGradientRows: readonly Row[] = [
  rowOf(conv2dInput as unknown as KernelSchema, inputGradientCase),
  rowOf(conv2dWeights as unknown as KernelSchema, weightGradientCase),
];
