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

export interface Conv2dWeightsSize {
  readonly batch: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
}

/** How many parts a gradient is made of, by its sizes alone, so that results are the same bits on any machine. */
export function weightParts({ batch }: Conv2dWeightsSize): number {
  return Math.max(1, Math.min(batch, 8));
}

const PER_WORKGROUP = 64;

export const conv2dWeights = defineKernel({
  name: "conv2dWeights",
  params: {
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
    padTop: d.i32,
    padLeft: d.i32,
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
  geometry: ({ parts, outChannels, inChannels, kernelHeight, kernelWidth }) => ({
    workgroups: [
      Math.min(Math.ceil((parts * outChannels * inChannels * kernelHeight * kernelWidth) / PER_WORKGROUP), 65535),
      1,
      1,
    ],
    constants: { PER_WORKGROUP },
  }),
  split: ({ parts }) => ({ items: parts, grain: 1 }),
});
