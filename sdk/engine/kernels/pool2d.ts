/**
 * Pooling of image planes in float32, and its gradient. Window (v, u) covers rows v strideHeight - padTop + [0,
 * windowHeight) and columns alike; what lies outside the plane takes no part in a maximum and counts as 0 in a mean, which
 * is always over windowHeight windowWidth pixels. `places` holds, for a maximum, the position row * inWidth + column of
 * the first largest pixel of each window (a NaN is larger than anything); a mean leaves it alone. The maximum of a window
 * that lies outside altogether is -infinity, its place 0xffffffff, and its gradient goes nowhere.
 *
 *     pool2d        out[p, v, u] = max or mean over the window of a[p, ., .]
 *     pool2dInput   out[p, y, x] = sum over windows (v, u) that picked (y, x) of gradient[p, v, u], or, for a mean, over all
 *                   that cover it of gradient[p, v, u] / (windowHeight windowWidth)
 */
import { d, defineKernel } from "../schema.ts";

export const PoolOperation = { max: 0, mean: 1 } as const;

const PER_WORKGROUP = 256;

const params = {
  /** Images times channels. */
  planes: d.u32,
  inHeight: d.u32,
  inWidth: d.u32,
  outHeight: d.u32,
  outWidth: d.u32,
  windowHeight: d.u32,
  windowWidth: d.u32,
  strideHeight: d.u32,
  strideWidth: d.u32,
  /** Below the window's size. */
  padTop: d.u32,
  padLeft: d.u32,
  operation: d.u32,
};

export const pool2d = defineKernel({
  name: "pool2d",
  params,
  buffers: [
    /** [planes, inHeight, inWidth] */
    { name: "a", access: "read", element: "f32" },
    /** [planes, outHeight, outWidth] */
    { name: "out", access: "write", element: "f32" },
    /** [planes, outHeight, outWidth] for a maximum; any buffer for a mean. */
    { name: "places", access: "write", element: "u32" },
  ],
  geometry: ({ planes, outHeight, outWidth }) => ({
    workgroups: [Math.min(Math.ceil((planes * outHeight * outWidth) / PER_WORKGROUP), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  split: ({ planes, outHeight, outWidth }) => ({
    items: outHeight * outWidth === 0 ? 0 : planes,
    grain: Math.max(1, Math.floor(4096 / Math.max(1, outHeight * outWidth))),
  }),
});

export const pool2dInput = defineKernel({
  name: "pool2dInput",
  params,
  buffers: [
    /** [planes, outHeight, outWidth] */
    { name: "gradient", access: "read", element: "f32" },
    /** As pool2d left it; any buffer for a mean. */
    { name: "places", access: "read", element: "u32" },
    /** [planes, inHeight, inWidth] */
    { name: "out", access: "write", element: "f32" },
  ],
  geometry: ({ planes, inHeight, inWidth }) => ({
    workgroups: [Math.min(Math.ceil((planes * inHeight * inWidth) / PER_WORKGROUP), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  split: ({ planes, inHeight, inWidth }) => ({
    items: inHeight * inWidth === 0 ? 0 : planes,
    grain: Math.max(1, Math.floor(4096 / Math.max(1, inHeight * inWidth))),
  }),
});
