/**
 * out[n, o, y, x] = bias[o] + sum over c, i, j of
 *     weights[o, c, i, j] input[n, c, y strideHeight - padTop + i dilationHeight, x strideWidth - padLeft + j dilationWidth]
 *
 * in float32, all arrays contiguous: images [batch, channels, height, width], weights [outChannels, inChannels,
 * kernelHeight, kernelWidth]. What lies outside an input counts zero. The output's size is given, not derived, so any
 * padding rule can be said, uneven ones too; a negative padding crops the input.
 */
import { d, defineKernel } from "../schema.ts";

/** Output pixels, counted over the whole batch, of one workgroup. */
const TILE_PIXELS = 64;
/** Output channels of one workgroup, at most. */
const TILE_CHANNELS = 64;

/** The wasm kernel's blocks: output channels and, counted over the whole batch, output pixels. */
const BLOCK_CHANNELS = 128;
const BLOCK_PIXELS = 256;
const LEAST_PIXELS = 32;
/** Blocks shrink until there is one for each of that many threads. */
const WANTED_ITEMS = 16;

interface Size {
  readonly batch: number;
  readonly outChannels: number;
  readonly outHeight: number;
  readonly outWidth: number;
}

function pixelsOf({ batch, outHeight, outWidth }: Size): number {
  return batch * outHeight * outWidth;
}

/** Work items of the wasm kernel. The same rule stands in `assembly/conv2d.ts`; the output does not depend on it. */
function wasmBlocks(size: Size): number {
  const rows = Math.ceil(size.outChannels / BLOCK_CHANNELS);
  const blocks = (pixels: number): number => rows * Math.ceil(pixelsOf(size) / pixels);
  let pixels = BLOCK_PIXELS;
  while (pixels > LEAST_PIXELS && blocks(pixels) < WANTED_ITEMS) pixels /= 2;
  return blocks(pixels);
}

/** Params that a convolution and its gradients share. */
export const convolutionSizes = {
  batch: d.u32,
  inChannels: d.u32,
  inHeight: d.u32,
  inWidth: d.u32,
  outChannels: d.u32,
  outHeight: d.u32,
  outWidth: d.u32,
  kernelHeight: d.u32,
  kernelWidth: d.u32,
  strideHeight: d.u32,
  strideWidth: d.u32,
  dilationHeight: d.u32,
  dilationWidth: d.u32,
  /** Zeros in front of the first row, and of the first column. */
  padTop: d.i32,
  padLeft: d.i32,
};

export const conv2d = defineKernel({
  name: "conv2d",
  params: {
    ...convolutionSizes,
    /** 0: there is no bias, and its buffer (which may be any) is never read. */
    useBias: d.u32,
  },
  buffers: [
    { name: "input", access: "read", element: "f32" },
    { name: "weights", access: "read", element: "f32" },
    /** [outChannels] */
    { name: "bias", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: (size) => {
    const tiles = Math.ceil(pixelsOf(size) / TILE_PIXELS);
    // A tile has 16, 32 or 64 channels, so that narrow networks do not compute channels that are not there.
    const channels = size.outChannels > 32 ? TILE_CHANNELS : size.outChannels > 16 ? 32 : 16;
    return {
      // One dimension holds at most 65,535 workgroups: the shader reads (x, z) as z * 65535 + x.
      workgroups: [Math.min(tiles, 65535), Math.ceil(size.outChannels / channels), Math.ceil(tiles / 65535)],
      constants: { TILE_CHANNELS: channels, TILE_PIXELS },
    };
  },
  split: (size) => ({ items: wasmBlocks(size), grain: 1 }),
});
