/**
 * The gradient of conv2d with respect to its input (schema and formula: `sdk/engine/kernels/conv2d-input.ts`).
 *
 * The pixels of the input fall into strideHeight x strideWidth *phases*, by which taps of the filter can reach them: output
 * row v reaches row y by tap i where y + padTop = v strideHeight + i dilationHeight. The rows of a phase are strideHeight
 * apart, y = first + strideHeight r, and its taps are those with i dilationHeight = first + padTop modulo strideHeight: an
 * arithmetic progression i = i0 + t strideHeight / g, with g the greatest common divisor of stride and dilation. So
 *
 *     v = (first + padTop - i0 dilationHeight) / strideHeight + r - t dilationHeight / g,
 *
 * and within a phase the gradient is a plain convolution of stride 1 with a (negative) dilation: no zero is ever
 * multiplied, and its patches are packed as conv2d's are (`conv2d/patches.ts`). Taps that fall beside the gradient for all
 * of a phase's pixels are left out. Where the output is much smaller than the input (a filter as large as the image has
 * but one pixel), most taps are beside it for most pixels, and every row, or column, is a phase of its own.
 *
 * As an implicit matrix product:
 *
 *     work item    a block of a phase, at most BLOCK_CHANNELS input channels x BLOCK_PIXELS pixels, over the whole depth
 *       depth      DEPTH steps (output channel, tap of the phase) at a time: pack weights and patches into scratch
 *         pixels   panels of 8 pixels: 8 x DEPTH floats stay in L1
 *           rows   panels of 4 channels stream from L2: one micro-kernel call each
 *
 * Scratch: (BLOCK_CHANNELS + BLOCK_PIXELS) x DEPTH floats = 768 KiB, a micro-tile, and what packing needs.
 * An entry is the sum, in order, of its sums over DEPTH terms: the same bits for any block, batch or thread count.
 */
import { PatchPacker } from "./conv2d/patches";
import { buffer } from "./dispatch";
import { Conv2dInputParams } from "./generated/kernels";
import { MICRO_COLUMNS, MICRO_ROWS, micro32 } from "./gemm/micro32";
import { packPiece } from "./gemm/pack32";

/** The same as in the schema, and so is the rule by which blocks shrink. */
const BLOCK_CHANNELS: i32 = 128;
const BLOCK_PIXELS: i32 = 256;
const LEAST_PIXELS: i32 = 32;
const WANTED_ITEMS: i32 = 16;
/** 8 x 512 floats of patches are 16 KiB, a third of the L1 of current machines; 128 x 512 of weights are 256 KiB of L2. */
const DEPTH: i32 = 512;

const PACKED_WEIGHTS: usize = <usize>(BLOCK_CHANNELS * DEPTH) << 2;
const PACKED_PATCHES: usize = <usize>(BLOCK_PIXELS * DEPTH) << 2;
const TILE: usize = <usize>(MICRO_ROWS * MICRO_COLUMNS) << 2;

/** One axis of a phase: its pixels, and the taps that reach them. */
@unmanaged
class Axis {
  /** Pixels first, first + apart, ..., `count` of them. */
  first: i32;
  apart: i32;
  count: i32;
  /** Taps tap, tap + tapStep, ..., `taps` of them. */
  tap: i32;
  tapStep: i32;
  taps: i32;
  /** The first tap takes pixel r from r + origin of the gradient, and each further tap from `dilation` less. */
  origin: i32;
  dilation: i32;

  set(first: i32, size: i32, outSize: i32, kernel: i32, stride: i32, dilation: i32, pad: i32): void {
    const apart = pixelsApart(size, outSize, stride);
    const count = ceilDiv(size - first, apart);
    this.first = first;
    this.apart = apart;
    this.count = count;
    const common = greatestCommonDivisor(stride, dilation);
    const period = stride / common;
    const remainder = modulo(first + pad, stride);
    let tap = 0;
    while (tap < min(kernel, period) && (tap * dilation) % stride != remainder) tap++;
    const taps = tap < min(kernel, period) ? ceilDiv(kernel - tap, period) : 0;
    const origin = (first + pad - tap * dilation) / stride; // exact where there is a tap
    const back = dilation / common;
    // Tap t takes [origin, origin + count) - t back: it is of use where that meets [0, outSize).
    const low = origin < outSize ? 0 : (origin - outSize) / back + 1;
    const high = origin + count <= 0 ? 0 : min(taps, (origin + count - 1) / back + 1);
    this.tap = tap + low * period;
    this.tapStep = period;
    this.taps = max(0, high - low);
    this.origin = origin - low * back;
    this.dilation = back;
  }
}

@unmanaged
class Phase {
  /** Of the axes down and across. */
  down: Axis;
  across: Axis;
  /** Depth steps: output channels times taps. */
  depth: i32;
  pixels: i32;
}

const AXIS_BYTES: usize = offsetof<Axis>();
const PHASE_BYTES: usize = offsetof<Phase>();

export function conv2dInput(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<Conv2dInputParams>(params);
  const channels = <i32>p.inChannels;
  const height = <i32>p.inHeight;
  const width = <i32>p.inWidth;
  const strideHeight = <i32>p.strideHeight;
  const strideWidth = <i32>p.strideWidth;
  const down = ceilDiv(channels, BLOCK_CHANNELS);
  const apartDown = pixelsApart(height, p.outHeight, strideHeight);
  const apartAcross = pixelsApart(width, p.outWidth, strideWidth);
  const phasesAcross = min(apartAcross, width);
  const phases = min(apartDown, height) * phasesAcross;
  const most = <i32>p.batch * ceilDiv(height, apartDown) * ceilDiv(width, apartAcross);
  let blockPixels = BLOCK_PIXELS;
  while (blockPixels > LEAST_PIXELS && phases * down * ceilDiv(most, blockPixels) < WANTED_ITEMS) blockPixels >>= 1;
  const blocks = ceilDiv(most, blockPixels);
  // Blocks of equal height, in whole panels: 130 channels are 68 and 62, not 128 and 2.
  const blockChannels = ceilDiv(ceilDiv(channels, down), MICRO_ROWS) * MICRO_ROWS;

  const phase = changetype<Phase>(scratch);
  phase.down = changetype<Axis>(scratch + PHASE_BYTES);
  phase.across = changetype<Axis>(scratch + PHASE_BYTES + AXIS_BYTES);
  const room = scratch + ((PHASE_BYTES + 2 * AXIS_BYTES + 63) & ~63);
  let current = -1;
  for (let item = begin; item < end; item++) {
    const number = item / (down * blocks);
    if (number != current) {
      current = number;
      const row = number / phasesAcross;
      const column = number - row * phasesAcross;
      phase.down.set(row, height, p.outHeight, p.kernelHeight, strideHeight, p.dilationHeight, p.padTop);
      phase.across.set(column, width, p.outWidth, p.kernelWidth, strideWidth, p.dilationWidth, p.padLeft);
      phase.depth = <i32>p.outChannels * phase.down.taps * phase.across.taps;
      phase.pixels = <i32>p.batch * phase.down.count * phase.across.count;
    }
    const within = item - number * down * blocks;
    const channel = (within % down) * blockChannels;
    const pixel = (within / down) * blockPixels;
    if (channel >= channels || pixel >= phase.pixels) continue;
    const blockHeight = min(blockChannels, channels - channel);
    block(p, phase, buffers, channel, blockHeight, pixel, min(blockPixels, phase.pixels - pixel), room);
  }
}

/** The gradients of `channels` channels from `channel` on, of `pixels` of the phase's pixels from `pixel` on. */
function block(
  p: Conv2dInputParams,
  phase: Phase,
  buffers: usize,
  channel: i32,
  channels: i32,
  pixel: i32,
  pixels: i32,
  scratch: usize,
): void {
  const packedPatches = scratch + PACKED_WEIGHTS;
  const tile = packedPatches + PACKED_PATCHES;
  const places = tile + TILE;
  const packer = changetype<PatchPacker>(places + (<usize>BLOCK_PIXELS << 2));
  const plane = <usize>(p.inHeight * p.inWidth) << 2;
  findPlaces(p, phase, buffer(buffers, 2) + <usize>channel * plane, pixel, pixels, places);
  if (phase.depth == 0) {
    for (let i = 0; i < channels; i++) {
      for (let j = 0; j < pixels; j++) store<f32>(place(places, j) + <usize>i * plane, 0);
    }
    return;
  }
  const down = phase.down;
  const across = phase.across;
  packer.setImages(p.outChannels, p.outHeight, p.outWidth);
  packer.setPixels(down.count, across.count, 1, 1);
  packer.setTaps(down.taps, across.taps, -down.dilation, -across.dilation, -down.origin, -across.origin);
  packer.start(buffer(buffers, 0), pixel, pixels);
  for (let q = 0; q < phase.depth; q += DEPTH) {
    const steps = min(DEPTH, phase.depth - q);
    packWeights(p, phase, buffer(buffers, 1), channel, channels, q, steps, scratch);
    packer.pack(steps, packedPatches);
    multiply(channels, pixels, steps, scratch, packedPatches, places, plane, q == 0, tile);
  }
}

/** The addresses, in the block's first channel, of its pixels. */
function findPlaces(p: Conv2dInputParams, phase: Phase, out: usize, pixel: i32, pixels: i32, places: usize): void {
  const down = phase.down;
  const across = phase.across;
  const width = <i32>p.inWidth;
  const image = <usize>(p.inChannels * p.inHeight * p.inWidth) << 2;
  let line = pixel / across.count;
  let column = pixel - line * across.count;
  let number = line / down.count;
  let row = line - number * down.count;
  for (let t = 0; t < pixels; t++) {
    const at = (down.first + row * down.apart) * width + across.first + column * across.apart;
    store<u32>(places + (<usize>t << 2), <u32>(out + <usize>number * image + (<usize>at << 2)));
    if (++column < across.count) continue;
    column = 0;
    if (++row < down.count) continue;
    row = 0;
    number++;
  }
}

// @ts-ignore: decorator
@inline
function place(places: usize, index: i32): usize {
  return load<u32>(places + (<usize>index << 2));
}

/** Packs depth steps [q, q + steps): a line for each input channel. */
function packWeights(
  p: Conv2dInputParams,
  phase: Phase,
  weights: usize,
  channel: i32,
  channels: i32,
  q: i32,
  steps: i32,
  into: usize,
): void {
  const kernel = <i32>(p.kernelHeight * p.kernelWidth);
  const taps = phase.down.taps * phase.across.taps;
  const stride = <usize>kernel << 2;
  if (taps < kernel || kernel < 4) {
    for (let i = 0; i < channels; i += MICRO_ROWS) {
      const from = weights + <usize>(channel + i) * stride;
      gatherWeights(p, phase, from, stride, min(MICRO_ROWS, channels - i), q, steps, into);
      into += <usize>(steps * MICRO_ROWS) << 2;
    }
    return;
  }
  // All taps of a filter, which lie side by side: 4 x 4 transposes in registers.
  let o = q / taps;
  let tap = q - o * taps;
  for (let at = 0; at < steps; o++) {
    const run = min(taps - tap, steps - at);
    const from = weights + (<usize>o * p.inChannels + channel) * stride + (<usize>tap << 2);
    packPiece(from, stride, channels, run, MICRO_ROWS, into + (<usize>(at * MICRO_ROWS) << 2), steps);
    at += run;
    tap = 0;
  }
}

/** Packs one panel, of `lines` <= 4 channels, tap by tap. */
function gatherWeights(
  p: Conv2dInputParams,
  phase: Phase,
  weights: usize,
  stride: usize,
  lines: i32,
  q: i32,
  steps: i32,
  into: usize,
): void {
  const down = phase.down;
  const across = phase.across;
  const taps = down.taps * across.taps;
  let o = q / taps;
  let row = (q - o * taps) / across.taps;
  let column = q - o * taps - row * across.taps;
  for (let step = 0; step < steps; step++) {
    const i = down.tap + row * down.tapStep;
    const j = across.tap + column * across.tapStep;
    const from = weights + <usize>(o * <i32>p.inChannels) * stride + (<usize>(i * <i32>p.kernelWidth + j) << 2);
    for (let line = 0; line < MICRO_ROWS; line++) {
      store<f32>(into + (<usize>line << 2), line < lines ? load<f32>(from + <usize>line * stride) : 0);
    }
    into += MICRO_ROWS << 2;
    if (++column < across.taps) continue;
    column = 0;
    if (++row < down.taps) continue;
    row = 0;
    o++;
  }
}

/** Adds the packed product to the block (`overwrite`: puts it there). */
function multiply(
  channels: i32,
  pixels: i32,
  depth: i32,
  weights: usize,
  patches: usize,
  places: usize,
  plane: usize,
  overwrite: bool,
  tile: usize,
): void {
  for (let j = 0; j < pixels; j += MICRO_COLUMNS) {
    const b = patches + (<usize>j * depth << 2);
    const width = min(MICRO_COLUMNS, pixels - j);
    const first = place(places, j);
    const adjacent = width == MICRO_COLUMNS && place(places, j + MICRO_COLUMNS - 1) - first == (MICRO_COLUMNS - 1) << 2;
    for (let i = 0; i < channels; i += MICRO_ROWS) {
      const a = weights + (<usize>i * depth << 2);
      const height = min(MICRO_ROWS, channels - i);
      const row = <usize>i * plane;
      if (adjacent && height == MICRO_ROWS) micro32(depth, a, b, 1, first + row, plane, overwrite);
      else {
        micro32(depth, a, b, 1, tile, MICRO_COLUMNS << 2, true);
        for (let t = 0; t < width; t++) {
          scatter(tile + (<usize>t << 2), place(places, j + t) + row, plane, height, overwrite);
        }
      }
    }
  }
}

/** One pixel of a micro-tile. */
// @ts-ignore: decorator
@inline
function scatter(from: usize, to: usize, plane: usize, height: i32, overwrite: bool): void {
  for (let i = 0; i < height; i++) {
    const value = load<f32>(from);
    store<f32>(to, overwrite ? value : load<f32>(to) + value);
    from += MICRO_COLUMNS << 2;
    to += plane;
  }
}

/** How far apart the pixels of a phase lie: the same rule as in the schema and the shader. */
// @ts-ignore: decorator
@inline
function pixelsApart(size: i32, outSize: i32, stride: i32): i32 {
  return 2 * outSize * stride <= size ? size : stride;
}

function greatestCommonDivisor(a: i32, b: i32): i32 {
  while (b != 0) {
    const rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/** a mod b, in [0, b). */
function modulo(a: i32, b: i32): i32 {
  const rest = a % b;
  return rest < 0 ? rest + b : rest;
}

// @ts-ignore: decorator
@inline
function ceilDiv(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}
