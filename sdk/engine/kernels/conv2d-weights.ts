/**
 * The gradient of `conv2d` with respect to its weights, in `parts` sums over stretches of the batch's images:
 *
 *     out[part, o, c, i, j] = sum over the part's images n, and pixels (v, u), of gradient[n, o, v, u]
 *         input[n, c, v strideHeight - padTop + i dilationHeight, u strideWidth - padLeft + j dilationWidth]
 *
 * in float32; geometry as in `conv2d.ts`. Part t holds images [t batch / parts, (t + 1) batch / parts), rounded down. The
 * gradient is the sum of the parts (`channelSums`), and depends on their number alone: not on the threads.
 */
import { d, defineKernel } from "../schema.ts";
import { convolutionSizes } from "./conv2d.ts";

export interface Conv2dWeightsSize {
  readonly batch: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
}

/** Output channels, and entries (c, i, j) of a filter, of one workgroup. */
const TILE_CHANNELS = 64;
const TILE_TAPS = 64;

/** The wasm kernel's blocks, at most; the same numbers stand in `assembly/conv2dWeights.ts`. */
const BLOCK_CHANNELS = 128;
const BLOCK_TAPS = 256;
/** Blocks of all parts together: two for each of 16 threads, so that they end at about the same time. */
const WANTED_ITEMS = 32;
/** A part of fewer pixels would cost more to write and to add up than to compute. */
const LEAST_PIXELS = 256;

function blocksOf(size: Omit<Conv2dWeightsSize, "batch" | "outHeight" | "outWidth">): number {
  const taps = size.inChannels * size.kernelHeight * size.kernelWidth;
  return Math.ceil(size.outChannels / BLOCK_CHANNELS) * Math.ceil(taps / BLOCK_TAPS);
}

/** How many parts a gradient is made of, by its sizes alone, so that results are the same bits on any machine. */
export function weightParts(size: Conv2dWeightsSize): number {
  const wanted = Math.ceil(WANTED_ITEMS / Math.max(1, blocksOf(size)));
  const worthwhile = Math.floor((size.batch * size.outHeight * size.outWidth) / LEAST_PIXELS);
  return Math.max(1, Math.min(wanted, worthwhile, size.batch));
}

export const conv2dWeights = defineKernel({
  name: "conv2dWeights",
  params: {
    ...convolutionSizes,
    parts: d.u32,
  },
  buffers: [
    /** [batch, inChannels, inHeight, inWidth] */
    { name: "input", access: "read", element: "f32" },
    /** [batch, outChannels, outHeight, outWidth] */
    { name: "gradient", access: "read", element: "f32" },
    /** [parts, outChannels, inChannels, kernelHeight, kernelWidth] */
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: ({ parts, outChannels, inChannels, kernelHeight, kernelWidth }) => {
    const channels = outChannels > 32 ? TILE_CHANNELS : outChannels > 16 ? 32 : 16;
    const taps = inChannels * kernelHeight * kernelWidth;
    return {
      workgroups: [Math.ceil(taps / TILE_TAPS), Math.ceil(outChannels / channels), parts],
      constants: { TILE_CHANNELS: channels, TILE_TAPS },
    };
  },
  split: (size) => ({ items: size.parts * blocksOf(size), grain: 1 }),
});
