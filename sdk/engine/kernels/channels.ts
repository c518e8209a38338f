/**
 * What batch normalisation and biases need of arrays a[batch, channels, pixels], in float32; with pixels = 1 these are
 * matrices, with batch = 1 rows of pixels. Of nothing, sums and moments are 0.
 *
 *     channelSums      out[c] = sum over n, p of a[n, c, p]; with products = 1 also
 *                      out[channels + c] = sum over n, p of a[n, c, p] (b[n, c, p] - centre[c])
 *     channelMoments   out[c] = mean over n, p of a[n, c, p]; out[channels + c] = mean of (a - mean)^2, in two passes
 *     channelAffine    out[n, c, p] = s[c] a[n, c, p] + t[c] b[n, c, p] + u[c], where `coefficients` is [s, t, u]; with
 *                      useB = 0 it is [s, u], and b (which may be any buffer) is not read
 *
 * Sums are in an order that depends on the sizes alone, and pairwise enough for an error of a few units in the last place.
 */
import { d, defineKernel, type WorkgroupLimits } from "../schema.ts";

const PER_WORKGROUP = 256;
/**
 * Shorter planes are summed with vectors and lanes along channels, longer ones along pixels; the same number stands in
 * `assembly/channels/sums.ts`.
 */
const PLANE_FLOATS = 64;
/** Channels that lanes of one workgroup take side by side where planes are short: a cache line of each image. */
const ADJACENT_CHANNELS = 16;

const sizes = { batch: d.u32, channels: d.u32, pixels: d.u32 };

interface Sizes {
  readonly batch: number;
  readonly channels: number;
  readonly pixels: number;
}

/** A workgroup takes CHANNELS channels at a time, with LANES lanes, a power of two, for each. */
const perChannel = ({ channels, pixels }: Sizes, { preferred }: WorkgroupLimits) => {
  const CHANNELS = pixels < PLANE_FLOATS ? ADJACENT_CHANNELS : 1;
  const LANES = 2 ** Math.floor(Math.log2(Math.max(1, preferred / CHANNELS)));
  return {
    workgroups: [Math.min(Math.ceil(channels / CHANNELS), 65535), 1, 1] as const,
    constants: { CHANNELS, LANES },
  };
};
/** Short planes are taken PLANE_FLOATS columns at a time. */
const channelSplit = ({ batch, channels, pixels }: Sizes) => {
  const together = pixels === 0 || pixels >= PLANE_FLOATS ? 1 : Math.floor(PLANE_FLOATS / pixels);
  const floats = together * Math.max(1, batch * pixels);
  return { items: Math.ceil(channels / together), grain: Math.max(1, Math.floor(16384 / floats)) };
};

export const channelSums = defineKernel({
  name: "channelSums",
  params: { ...sizes, products: d.u32 },
  buffers: [
    { name: "a", access: "read", element: "f32" },
    /** Read with products = 1 only, as is centre. */
    { name: "b", access: "read", element: "f32" },
    { name: "centre", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: perChannel,
  split: channelSplit,
});

export const channelMoments = defineKernel({
  name: "channelMoments",
  params: sizes,
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: perChannel,
  split: channelSplit,
});

export const channelAffine = defineKernel({
  name: "channelAffine",
  params: { ...sizes, useB: d.u32 },
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "b", access: "read", element: "f32" },
    { name: "coefficients", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: ({ batch, channels, pixels }) => ({
    workgroups: [Math.min(Math.ceil((batch * channels * pixels) / PER_WORKGROUP), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  split: ({ batch, channels, pixels }) => ({
    items: pixels === 0 ? 0 : batch * channels,
    grain: Math.max(1, Math.floor(16384 / Math.max(1, pixels))),
  }),
});
