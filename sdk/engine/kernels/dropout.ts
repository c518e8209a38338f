/**
 * out = a / keep where the stream's uniform32 (`sdk/engine/rng.ts`) is below `keep`, else 0: element i of a, or with
 * `perGroup` > 1 every run of so many elements (the pixels of one channel), has the stream's number i, or i / perGroup. The
 * same address gives the same mask, so the gradient is this kernel applied to g. float32, the same mask on every backend.
 */
import { d, defineKernel } from "../schema.ts";

const PER_WORKGROUP = 256;
/** Numbers of one Philox block. */
const BLOCK = 4;

export const dropout = defineKernel({
  name: "dropout",
  params: {
    count: d.u32,
    perGroup: d.u32,
    keep: d.f32,
    seedLow: d.u32,
    seedHigh: d.u32,
    indexLow: d.u32,
    indexHigh: d.u32,
    stream: d.u32,
  },
  buffers: [
    { name: "a", access: "read", element: "f32" },
    { name: "out", access: "write", element: "f32" },
  ],
  // One dimension holds at most 65,535 workgroups; the shader strides over what is left.
  geometry: ({ count }) => ({
    workgroups: [Math.min(Math.ceil(count / (BLOCK * PER_WORKGROUP)), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  // A multiple of the numbers that `assembly/dropout.ts` makes at a time.
  split: ({ count }) => ({ items: count, grain: 4096 }),
});
