/**
 * The gradient of `conv2d` with respect to its input:
 *
 *     out[n, c, y, x] = sum over o and all (i, j, v, u) with v strideHeight - padTop + i dilationHeight = y and
 *                       u strideWidth - padLeft + j dilationWidth = x of weights[o, c, i, j] gradient[n, o, v, u]
 *
 * in float32; geometry as in `conv2d.ts`, whose output has the shape of `gradient`.
 */
import { d, defineKernel } from "../schema.ts";

const PER_WORKGROUP = 64;

export const conv2dInput = defineKernel({
  name: "conv2dInput",
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
  },
  buffers: [
    /** [batch, outChannels, outHeight, outWidth] */
    { name: "gradient", access: "read", element: "f32" },
    /** [outChannels, inChannels, kernelHeight, kernelWidth] */
    { name: "weights", access: "read", element: "f32" },
    /** [batch, inChannels, inHeight, inWidth] */
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: ({ batch, inChannels, inHeight, inWidth }) => ({
    workgroups: [Math.min(Math.ceil((batch * inChannels * inHeight * inWidth) / PER_WORKGROUP), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  split: ({ batch }) => ({ items: batch, grain: 1 }),
});
