/** Matrix products, convolutions and biases. */
import { WidefieldError } from "../../errors.ts";
import { broadcastAdd } from "../../engine/kernels/broadcast-add.ts";
import { conv2d as conv2dKernel } from "../../engine/kernels/conv2d.ts";
import { conv2dInput } from "../../engine/kernels/conv2d-input.ts";
import { conv2dWeights, weightParts } from "../../engine/kernels/conv2d-weights.ts";
import { matmul as matmulKernel } from "../../engine/kernels/matmul.ts";
import { record } from "../tape.ts";
import { Tensor } from "../tensor.ts";
import { sumChannels } from "./channel-sums.ts";
import { channelShape, imageShape, matrixShape, requireFloats, requireVector, shapeText } from "./shapes.ts";

export interface MatmulOptions {
  readonly transposeA?: boolean | undefined;
  readonly transposeB?: boolean | undefined;
}

/** op(a) op(b), of matrices; op is the identity or the transpose. Throws E_SHAPE. */
export function matmul(a: Tensor, b: Tensor, { transposeA = false, transposeB = false }: MatmulOptions = {}): Tensor {
  requireFloats("matmul", a, b);
  const out = product(a, b, transposeA, transposeB);
  return record(out, [a, b], [a, b], (g, [savedA = a, savedB = b], needs) => [
    needs[0] !== true
      ? undefined
      : transposeA
        ? product(savedB, g, transposeB, true)
        : product(g, savedB, false, !transposeB),
    needs[1] !== true
      ? undefined
      : transposeB
        ? product(g, savedA, true, transposeA)
        : product(savedA, g, !transposeA, false),
  ]);
}

function product(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor {
  const [rowsA, columnsA] = matrixShape("matmul", a);
  const [rowsB, columnsB] = matrixShape("matmul", b);
  const [m, k] = transposeA ? [columnsA, rowsA] : [rowsA, columnsA];
  const [inner, n] = transposeB ? [columnsB, rowsB] : [rowsB, columnsB];
  if (k !== inner) {
    const text = (tensor: Tensor, transposed: boolean): string => shapeText(tensor.shape) + (transposed ? "'" : "");
    throw new WidefieldError(
      "E_SHAPE",
      `matmul: ${text(a, transposeA)} times ${text(b, transposeB)}: ${k} columns do not meet ${inner} rows`,
    );
  }
  const out = Tensor.empty(a.device, [m, n]);
  const params = { m, n, k, transposeA: Number(transposeA), transposeB: Number(transposeB), alpha: 1, beta: 0 };
  a.device.dispatch(matmulKernel, params, [a.slot, b.slot, out.slot]);
  return out;
}

/** x plus b[c] in every channel c: of images, or of a matrix whose columns are channels. Throws E_SHAPE. */
export function bias(x: Tensor, b: Tensor): Tensor {
  requireFloats("bias", x, b);
  const { batch, channels, pixels } = channelShape("bias", x);
  requireVector("bias", "the bias", b, channels);
  const out = Tensor.empty(x.device, x.shape);
  // A matrix is one plane of columns to the kernel, which is quicker than planes of one pixel.
  const params =
    pixels === 1
      ? { batch, channels: 1, pixels: channels, strideBatch: 0, strideChannel: 0, stridePixel: 1, alpha: 1, beta: 1 }
      : { batch, channels, pixels, strideBatch: 0, strideChannel: 1, stridePixel: 0, alpha: 1, beta: 1 };
  x.device.dispatch(broadcastAdd, params, [x.slot, b.slot, out.slot]);
  return record(out, [x, b], [], (g, _, needs) => [
    needs[0] === true ? g : undefined,
    needs[1] === true ? sumChannels(g, channelShape("bias", g)) : undefined,
  ]);
}

/** One whole number for both axes, or [vertical, horizontal]. */
export type Pair = number | readonly [number, number];

export interface ConvolutionOptions {
  readonly stride?: Pair | undefined;
  readonly dilation?: Pair | undefined;
  /** Zeros on every side, or [vertical, horizontal], or [top, left, bottom, right]; negative ones crop. Default 0. */
  readonly padding?: Pair | readonly [top: number, left: number, bottom: number, right: number] | undefined;
}

/**
 * The convolution (correlation, as in PyTorch) of images x [batch, channels, height, width] with weights [out channels,
 * channels, height, width], plus a bias [out channels] where one is given. Throws E_SHAPE, and E_CONFIG for strides and
 * dilations that are not positive whole numbers, and for padding that is not whole.
 */
export function conv2d(x: Tensor, weights: Tensor, options: ConvolutionOptions = {}, biasOf?: Tensor): Tensor {
  const geometry = convolutionGeometry(x, weights, options);
  return convolve(x, weights, biasOf, geometry);
}

/** Sizes of a convolution, as the kernels take them. */
export interface ConvolutionGeometry {
  readonly outHeight: number;
  readonly outWidth: number;
  readonly strideHeight: number;
  readonly strideWidth: number;
  readonly dilationHeight: number;
  readonly dilationWidth: number;
  readonly padTop: number;
  readonly padLeft: number;
}

/** `conv2d` with its geometry worked out. */
export function convolve(
  x: Tensor,
  weights: Tensor,
  biasOf: Tensor | undefined,
  geometry: ConvolutionGeometry,
): Tensor {
  requireFloats("conv2d", x, weights, ...(biasOf === undefined ? [] : [biasOf]));
  const [batch, inChannels, inHeight, inWidth] = imageShape("conv2d", x);
  const [outChannels, channels, kernelHeight, kernelWidth] = imageShape("conv2d (weights)", weights);
  if (channels !== inChannels)
    throw new WidefieldError(
      "E_SHAPE",
      `conv2d: weights of ${shapeText(weights.shape)} are for ${channels} channels, and the images have ${inChannels}`,
    );
  if (biasOf !== undefined) requireVector("conv2d", "the bias", biasOf, outChannels);
  const { outHeight, outWidth, ...steps } = geometry;
  const sizes = { batch, inChannels, inHeight, inWidth, outChannels, outHeight, outWidth, kernelHeight, kernelWidth };
  const params = { ...sizes, ...steps };
  const { device } = x;
  const out = Tensor.empty(device, [batch, outChannels, outHeight, outWidth]);
  device.dispatch(conv2dKernel, { ...params, useBias: biasOf === undefined ? 0 : 1 }, [
    x.slot,
    weights.slot,
    (biasOf ?? weights).slot,
    out.slot,
  ]);
  const inputs = biasOf === undefined ? [x, weights] : [x, weights, biasOf];
  return record(out, inputs, [x, weights], (g, [savedX = x, savedWeights = weights], needs) => [
    needs[0] === true ? inputGradient(g, savedWeights, params) : undefined,
    needs[1] === true ? weightGradient(g, savedX, savedWeights.shape, params) : undefined,
    needs[2] === true ? sumChannels(g, channelShape("conv2d", g)) : undefined,
  ]);
}

type ConvolutionParams = ConvolutionGeometry &
  Parameters<typeof weightParts>[0] & {
    readonly inHeight: number;
    readonly inWidth: number;
  };

function inputGradient(g: Tensor, weights: Tensor, params: ConvolutionParams): Tensor {
  const out = Tensor.empty(g.device, [params.batch, params.inChannels, params.inHeight, params.inWidth]);
  g.device.dispatch(conv2dInput, params, [g.slot, weights.slot, out.slot]);
  return out;
}

function weightGradient(g: Tensor, x: Tensor, shape: readonly number[], params: ConvolutionParams): Tensor {
  const parts = weightParts(params);
  const sums = Tensor.empty(g.device, [parts, ...shape]);
  g.device.dispatch(conv2dWeights, { ...params, parts }, [x.slot, g.slot, sums.slot]);
  if (parts === 1) return sums.share(shape);
  const channels = sums.size / parts;
  return sumChannels(sums, { batch: parts, channels, pixels: 1 }).share(shape);
}

function convolutionGeometry(x: Tensor, weights: Tensor, options: ConvolutionOptions): ConvolutionGeometry {
  const [, , height, width] = imageShape("conv2d", x);
  const [, , kernelHeight, kernelWidth] = imageShape("conv2d (weights)", weights);
  const [strideHeight, strideWidth] = pairOf("stride", options.stride ?? 1);
  const [dilationHeight, dilationWidth] = pairOf("dilation", options.dilation ?? 1);
  const { padding = 0 } = options;
  const [padTop, padLeft, bottom, right] =
    typeof padding === "number"
      ? [padding, padding, padding, padding]
      : padding.length === 2
        ? [padding[0], padding[1], padding[0], padding[1]]
        : padding;
  if (![padTop, padLeft, bottom, right].every(Number.isSafeInteger))
    throw new WidefieldError(
      "E_CONFIG",
      `conv2d: padding is in whole pixels, not ${[padTop, padLeft, bottom, right].join(", ")}`,
    );
  const outHeight = Math.floor((height + padTop + bottom - (kernelHeight - 1) * dilationHeight - 1) / strideHeight) + 1;
  const outWidth = Math.floor((width + padLeft + right - (kernelWidth - 1) * dilationWidth - 1) / strideWidth) + 1;
  if (!(outHeight > 0 && outWidth > 0))
    throw new WidefieldError(
      "E_SHAPE",
      `conv2d: weights of ${shapeText(weights.shape)} do not fit into padded images of ${shapeText(x.shape)}`,
    );
  return { outHeight, outWidth, strideHeight, strideWidth, dilationHeight, dilationWidth, padTop, padLeft };
}

/** Both numbers of a pair. Throws E_CONFIG where one is no positive whole number. */
export function pairOf(name: string, pair: Pair): readonly [number, number] {
  const both = typeof pair === "number" ? ([pair, pair] as const) : pair;
  if (both.every((value) => Number.isSafeInteger(value) && value > 0)) return both;
  throw new WidefieldError("E_CONFIG", `${name} is a positive whole number or two, not ${both.join(", ")}`);
}
