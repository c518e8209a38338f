/**
 * out[n, c, p] = alpha a[n, c, p] + beta b[n strideBatch + c strideChannel + p stridePixel]
 *
 * in float32, with a and out contiguous. A stride of 0 repeats b along that axis: (0, 1, 0) adds a bias for each channel,
 * (pixels, 0, 1) a map of one channel to all channels of its image, (0, 0, 1) one vector to every row of a matrix.
 */
import { d, defineKernel } from "../schema.ts";

const PER_WORKGROUP = 256;

export const broadcastAdd = defineKernel({
  name: "broadcastAdd",
  params: {
    batch: d.u32,
    channels: d.u32,
    pixels: d.u32,
    strideBatch: d.u32,
    strideChannel: d.u32,
    /** 0 or 1. */
    stridePixel: d.u32,
    alpha: d.f32,
    beta: d.f32,
  },
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "b", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  // One dimension holds at most 65,535 workgroups; the shader strides over what is left.
  geometry: ({ batch, channels, pixels }) => ({
    workgroups: [Math.min(Math.ceil((batch * channels * pixels) / PER_WORKGROUP), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  split: ({ batch, channels, pixels }) => ({
    items: pixels === 0 ? 0 : batch * channels,
    grain: Math.max(1, Math.floor(16384 / Math.max(1, pixels))),
  }),
});
