/**
 * The convolution of NCHW images in float32 (schema and formula: `sdk/engine/kernels/conv2d.ts`), as an implicit matrix
 * product: the weights are a matrix of outChannels x depth, depth = inChannels * kernelHeight * kernelWidth, and the
 * patches one of depth x pixels, with a column for every output pixel of the batch. That matrix never exists:
 *
 *     work item    a block of the output, at most BLOCK_CHANNELS x BLOCK_PIXELS, over the whole depth
 *       depth      DEPTH steps of it at a time: pack the weights' rows and the block's patches into scratch
 *         pixels   panels of 8 pixels: 8 x DEPTH floats stay in L1
 *           rows   panels of 4 output channels stream from L2: one micro-kernel call each
 *
 * Patches are packed a depth step at a time (`conv2d/patches.ts`). A panel of pixels inside one image is written in place,
 * 8 neighbours of a channel's plane; one that spans two images goes through a micro-tile of its own.
 *
 * Scratch: (BLOCK_CHANNELS + BLOCK_PIXELS) x DEPTH floats = 768 KiB, a micro-tile, and what packing needs.
 * An output is its bias plus, in order, its sums over DEPTH terms: the same bits for any block, batch or thread count.
 * Packing costs an item (channels + 2 pixels) x depth moves against channels x pixels x depth products.
 */
import { PatchPacker } from "./conv2d/patches";
import { buffer } from "./dispatch";
import { MICRO_COLUMNS, MICRO_ROWS, micro32 } from "./gemm/micro32";
import { packAlong } from "./gemm/pack32";
import { Conv2dParams } from "./generated/kernels";

const BLOCK_CHANNELS: i32 = 128;
const BLOCK_PIXELS: i32 = 256;
/** 8 x 512 floats of patches are 16 KiB, a third of the L1 of current machines; 128 x 512 of weights are 256 KiB of L2. */
const DEPTH: i32 = 512;
/** The rule by which blocks shrink: the same as `wasmBlocks` of the schema. */
const LEAST_PIXELS: i32 = 32;
const WANTED_ITEMS: i32 = 16;

const PACKED_WEIGHTS: usize = <usize>(BLOCK_CHANNELS * DEPTH) << 2;
const PACKED_PATCHES: usize = <usize>(BLOCK_PIXELS * DEPTH) << 2;
const TILE: usize = <usize>(MICRO_ROWS * MICRO_COLUMNS) << 2;

export function conv2d(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<Conv2dParams>(params);
  const pixels = <i32>(p.batch * p.outHeight * p.outWidth);
  const channels = <i32>p.outChannels;
  const down = ceilDiv(channels, BLOCK_CHANNELS);
  let width = BLOCK_PIXELS;
  while (width > LEAST_PIXELS && down * ceilDiv(pixels, width) < WANTED_ITEMS) width >>= 1;
  // Blocks of equal height, in whole panels: 130 channels are 68 and 62, not 128 and 2.
  const height = ceilDiv(ceilDiv(channels, down), MICRO_ROWS) * MICRO_ROWS;
  for (let item = begin; item < end; item++) {
    const channel = (item % down) * height;
    const pixel = (item / down) * width;
    if (channel < channels) {
      block(p, buffers, channel, min(height, channels - channel), pixel, min(width, pixels - pixel), scratch);
    }
  }
}

/** The outputs of `channels` channels from `channel` on, of `pixels` pixels from `pixel` on. */
function block(
  p: Conv2dParams,
  buffers: usize,
  channel: i32,
  channels: i32,
  pixel: i32,
  pixels: i32,
  scratch: usize,
): void {
  const depth = <i32>(p.inChannels * p.kernelHeight * p.kernelWidth);
  const plane = <i32>(p.outHeight * p.outWidth);
  const stride = <usize>plane << 2;
  const out = buffer(buffers, 3) + <usize>channel * stride;
  const weights = buffer(buffers, 1) + (<usize>channel * <usize>depth << 2);
  const bias = buffer(buffers, 2) + (<usize>channel << 2);
  const packedPatches = scratch + PACKED_WEIGHTS;
  const tile = packedPatches + PACKED_PATCHES;
  const fresh = p.useBias == 0 && depth > 0;
  if (!fresh) fillBias(p, bias, out, channels, pixel, pixels, plane);
  const packer = changetype<PatchPacker>(tile + TILE);
  packer.setImages(p.inChannels, p.inHeight, p.inWidth);
  packer.setPixels(p.outHeight, p.outWidth, p.strideHeight, p.strideWidth);
  packer.setTaps(p.kernelHeight, p.kernelWidth, p.dilationHeight, p.dilationWidth, p.padTop, p.padLeft);
  packer.start(buffer(buffers, 0), pixel, pixels);
  for (let q = 0; q < depth; q += DEPTH) {
    const steps = min(DEPTH, depth - q);
    packAlong(weights + (<usize>q << 2), <usize>depth << 2, channels, steps, MICRO_ROWS, scratch);
    packer.pack(steps, packedPatches);
    multiply(p, channels, pixel, pixels, plane, steps, scratch, packedPatches, out, fresh && q == 0, tile);
  }
}

/** Adds the packed product to the block (`overwrite`: puts it there). */
function multiply(
  p: Conv2dParams,
  channels: i32,
  pixel: i32,
  pixels: i32,
  plane: i32,
  depth: i32,
  weights: usize,
  patches: usize,
  out: usize,
  overwrite: bool,
  tile: usize,
): void {
  const stride = <usize>plane << 2;
  const image = <usize>p.outChannels * stride;
  for (let j = 0; j < pixels; j += MICRO_COLUMNS) {
    const b = patches + (<usize>j * depth << 2);
    const number = (pixel + j) / plane;
    const within = pixel + j - number * plane;
    const width = min(MICRO_COLUMNS, pixels - j);
    const inside = width == MICRO_COLUMNS && within + MICRO_COLUMNS <= plane;
    const column = out + <usize>number * image + (<usize>within << 2);
    for (let i = 0; i < channels; i += MICRO_ROWS) {
      const a = weights + (<usize>i * depth << 2);
      const height = min(MICRO_ROWS, channels - i);
      const to = column + <usize>i * stride;
      if (inside && height == MICRO_ROWS) micro32(depth, a, b, 1, to, stride, overwrite);
      else {
        micro32(depth, a, b, 1, tile, MICRO_COLUMNS << 2, true);
        scatter(tile, to, within, plane, image, height, width, overwrite);
      }
    }
  }
}

/** The part of a micro-tile that lies in the block, its pixels perhaps in several images. */
function scatter(
  tile: usize,
  to: usize,
  within: i32,
  plane: i32,
  image: usize,
  height: i32,
  width: i32,
  overwrite: bool,
): void {
  const stride = <usize>plane << 2;
  for (let j = 0; j < width; j++) {
    for (let i = 0; i < height; i++) {
      const at = to + <usize>i * stride;
      const value = load<f32>(tile + (<usize>(i * MICRO_COLUMNS + j) << 2));
      store<f32>(at, overwrite ? value : load<f32>(at) + value);
    }
    to += 4;
    if (++within == plane) {
      within = 0;
      to += image - stride;
    }
  }
}

/** Puts the bias, or zero, wherever the block's sums are to be added. */
function fillBias(
  p: Conv2dParams,
  bias: usize,
  out: usize,
  channels: i32,
  pixel: i32,
  pixels: i32,
  plane: i32,
): void {
  const stride = <usize>plane << 2;
  const image = <usize>p.outChannels * stride;
  let number = pixel / plane;
  let within = pixel - number * plane;
  for (let left = pixels; left > 0; ) {
    const run = min(left, plane - within);
    let to = out + <usize>number * image + (<usize>within << 2);
    for (let i = 0; i < channels; i++) {
      const value = p.useBias ? load<f32>(bias + (<usize>i << 2)) : 0;
      for (let t: usize = 0; t < <usize>run << 2; t += 4) store<f32>(to + t, value);
      to += stride;
    }
    left -= run;
    within = 0;
    number++;
  }
}

// @ts-ignore: decorator
@inline
function ceilDiv(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}
