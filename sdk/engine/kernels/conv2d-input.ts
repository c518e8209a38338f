/**
 * The gradient of `conv2d` with respect to its input:
 *
 *     out[n, c, y, x] = sum over o and all (i, j, v, u) with v strideHeight - padTop + i dilationHeight = y and
 *                       u strideWidth - padLeft + j dilationWidth = x of weights[o, c, i, j] gradient[n, o, v, u]
 *
 * in float32; geometry as in `conv2d.ts`, whose output has the shape of `gradient`.
 */
import { defineKernel } from "../schema.ts";
import { convolutionSizes } from "./conv2d.ts";

/** Pixels of one phase of the input, counted over the whole batch, of one workgroup. */
const TILE_PIXELS = 64;
/** Input channels of one workgroup, at most. */
const TILE_CHANNELS = 64;

/** The wasm kernel's blocks: input channels and, counted over the whole batch, pixels of one phase. */
const BLOCK_CHANNELS = 128;
const BLOCK_PIXELS = 256;
const LEAST_PIXELS = 32;
/** Blocks shrink until there is one for each of that many threads. */
const WANTED_ITEMS = 16;

interface Size {
  readonly batch: number;
  readonly inChannels: number;
  readonly inHeight: number;
  readonly inWidth: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly strideHeight: number;
  readonly strideWidth: number;
}

/**
 * How far apart along one axis the pixels of a phase lie. A phase holds the pixels that one set of taps can reach: every
 * strideHeight-th row's every strideWidth-th. But where the output is so small that most taps fall beside it, every pixel
 * is its own phase, with the taps that it needs. The same rule stands in `assembly/conv2dInput.ts` and in the shader.
 */
function pixelsApart(size: number, outSize: number, stride: number): number {
  return 2 * outSize * stride <= size ? size : stride;
}

/** How many phases there are, and how many pixels of the batch the largest holds. */
function phasesOf(size: Size): { phases: number; pixels: number } {
  const { batch, inHeight, inWidth } = size;
  if (inHeight * inWidth === 0) return { phases: 0, pixels: 0 };
  const down = pixelsApart(inHeight, size.outHeight, size.strideHeight);
  const across = pixelsApart(inWidth, size.outWidth, size.strideWidth);
  return {
    phases: Math.min(down, inHeight) * Math.min(across, inWidth),
    pixels: batch * Math.ceil(inHeight / down) * Math.ceil(inWidth / across),
  };
}

/** Work items of the wasm kernel. The same rule stands in `assembly/conv2dInput.ts`; the output does not depend on it. */
function wasmBlocks(size: Size): number {
  const { phases, pixels } = phasesOf(size);
  const rows = phases * Math.ceil(size.inChannels / BLOCK_CHANNELS);
  let width = BLOCK_PIXELS;
  while (width > LEAST_PIXELS && rows * Math.ceil(pixels / width) < WANTED_ITEMS) width /= 2;
  return rows * Math.ceil(pixels / width);
}

export const conv2dInput = defineKernel({
  name: "conv2dInput",
  params: convolutionSizes,
  buffers: [
    /** [batch, outChannels, outHeight, outWidth] */
    { name: "gradient", access: "read", element: "f32" },
    /** [outChannels, inChannels, kernelHeight, kernelWidth] */
    { name: "weights", access: "read", element: "f32" },
    /** [batch, inChannels, inHeight, inWidth] */
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: (size) => {
    const { phases, pixels } = phasesOf(size);
    const tiles = Math.ceil(pixels / TILE_PIXELS);
    const channels = size.inChannels > 32 ? TILE_CHANNELS : size.inChannels > 16 ? 32 : 16;
    const groups = phases * tiles;
    return {
      // One dimension holds at most 65,535 workgroups: the shader reads (x, z) as z * 65535 + x = phase * tiles + tile.
      workgroups: [Math.min(groups, 65535), Math.ceil(size.inChannels / channels), Math.ceil(groups / 65535)],
      constants: { TILE_CHANNELS: channels, TILE_PIXELS },
    };
  },
  split: (size) => ({ items: wasmBlocks(size), grain: 1 }),
});
