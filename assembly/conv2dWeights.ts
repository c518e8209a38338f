/**
 * The gradient of conv2d with respect to its weights, in parts (schema and formula: `sdk/engine/kernels/conv2d-weights.ts`):
 * for each part an implicit matrix product along its pixels,
 *
 *     out (outChannels x taps) = gradient (outChannels x pixels) times patches (taps x pixels)',
 *
 * where taps counts the entries (c, i, j) of a filter. The patches never exist:
 *
 *     work item    a block of one part's output, at most BLOCK_CHANNELS x BLOCK_TAPS, over all of the part's pixels
 *       depth      DEPTH pixels at a time: pack the gradient's channels and the block's patches into scratch
 *         taps     panels of 8 taps: 8 x DEPTH floats stay in L1
 *           rows   panels of 4 channels stream from L2: one micro-kernel call each
 *
 * Both operands are packed along the pixels, which lie side by side in memory: 4 x 4 transposes in registers.
 * Scratch: (BLOCK_CHANNELS + BLOCK_TAPS) x DEPTH floats = 768 KiB, a micro-tile, and what packing needs.
 * An output is, in order, the sum of its sums over DEPTH pixels of the part: the same bits for any block or thread count.
 */
import { MOST_PIXELS, PatchPacker } from "./conv2d/patches";
import { buffer } from "./dispatch";
import { Conv2dWeightsParams } from "./generated/kernels";
import { multiplyPacked } from "./gemm/macro32";
import { MICRO_COLUMNS, MICRO_ROWS } from "./gemm/micro32";
import { packPiece } from "./gemm/pack32";

/** The same as in the schema. */
const BLOCK_CHANNELS: i32 = 128;
const BLOCK_TAPS: i32 = 256;
/** 8 x 512 floats of patches are 16 KiB, a third of the L1 of current machines; 128 x 512 of gradient 256 KiB of L2. */
const DEPTH: i32 = MOST_PIXELS;

const PACKED_GRADIENT: usize = <usize>(BLOCK_CHANNELS * DEPTH) << 2;
const PACKED_PATCHES: usize = <usize>(BLOCK_TAPS * DEPTH) << 2;
const TILE: usize = <usize>(MICRO_ROWS * MICRO_COLUMNS) << 2;

export function conv2dWeights(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<Conv2dWeightsParams>(params);
  const channels = <i32>p.outChannels;
  const taps = <i32>(p.inChannels * p.kernelHeight * p.kernelWidth);
  const down = ceilDiv(channels, BLOCK_CHANNELS);
  const across = ceilDiv(taps, BLOCK_TAPS);
  // Blocks of equal size, in whole panels: 260 taps are 136 and 124, not 256 and 4.
  const height = ceilDiv(ceilDiv(channels, down), MICRO_ROWS) * MICRO_ROWS;
  const width = ceilDiv(ceilDiv(taps, across), MICRO_COLUMNS) * MICRO_COLUMNS;
  for (let item = begin; item < end; item++) {
    const channel = (item % down) * height;
    const tap = ((item / down) % across) * width;
    if (channel >= channels || tap >= taps) continue;
    block(p, buffers, item / (down * across), channel, min(height, channels - channel), tap, min(width, taps - tap), scratch);
  }
}

/** One part's sums for `channels` channels from `channel` on and `taps` taps from `tap` on. */
function block(
  p: Conv2dWeightsParams,
  buffers: usize,
  part: i32,
  channel: i32,
  channels: i32,
  tap: i32,
  taps: i32,
  scratch: usize,
): void {
  const allTaps = <i32>(p.inChannels * p.kernelHeight * p.kernelWidth);
  const plane = <i32>(p.outHeight * p.outWidth);
  const firstPixel = <i32>((<u64>part * p.batch) / p.parts) * plane;
  const endPixel = <i32>(((<u64>part + 1) * p.batch) / p.parts) * plane;
  const row = <usize>part * p.outChannels + channel;
  const out = buffer(buffers, 2) + ((row * allTaps + tap) << 2);
  const stride = <usize>allTaps << 2;
  if (firstPixel == endPixel) {
    for (let o = 0; o < channels; o++) memory.fill(out + <usize>o * stride, 0, <usize>taps << 2);
    return;
  }
  const packedPatches = scratch + PACKED_GRADIENT;
  const tile = packedPatches + PACKED_PATCHES;
  const packer = changetype<PatchPacker>(tile + TILE);
  packer.setImages(p.inChannels, p.inHeight, p.inWidth);
  packer.setPixels(p.outHeight, p.outWidth, p.strideHeight, p.strideWidth);
  packer.setTaps(p.kernelHeight, p.kernelWidth, p.dilationHeight, p.dilationWidth, p.padTop, p.padLeft);
  for (let pixel = firstPixel; pixel < endPixel; pixel += DEPTH) {
    const pixels = min(DEPTH, endPixel - pixel);
    packGradient(p, buffer(buffers, 1), channel, channels, pixel, pixels, plane, scratch);
    packer.start(buffer(buffers, 0), pixel, pixels);
    packer.seek(tap);
    packer.packTransposed(taps, packedPatches);
    multiplyPacked(channels, taps, pixels, scratch, packedPatches, 1, out, stride, pixel == firstPixel, tile);
  }
}

/** The gradient's channels along the pixels: a stretch in each image that they touch. */
function packGradient(
  p: Conv2dWeightsParams,
  gradient: usize,
  channel: i32,
  channels: i32,
  pixel: i32,
  pixels: i32,
  plane: i32,
  into: usize,
): void {
  let image = pixel / plane;
  let within = pixel - image * plane;
  for (let at = 0; at < pixels; ) {
    const run = min(plane - within, pixels - at);
    const from = gradient + (((<usize>image * p.outChannels + channel) * plane + within) << 2);
    packPiece(from, <usize>plane << 2, channels, run, MICRO_ROWS, into + (<usize>(at * MICRO_ROWS) << 2), pixels);
    at += run;
    within = 0;
    image++;
  }
}

// @ts-ignore: decorator
@inline
function ceilDiv(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}
