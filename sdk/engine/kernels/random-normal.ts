/**
 * out[i] = scale times the i-th standard normal of a random stream (`sdk/engine/rng.ts`), in float32: what
 * `RandomStream(seed, stream, index).fillNormal` gives, times scale. On wasm bit for bit; on a GPU the same words, and
 * normals to within 1e-6 of themselves, because WGSL has no float64.
 */
import { d, defineKernel } from "../schema.ts";

const PER_WORKGROUP = 256;
/** Numbers of one Philox block. */
const BLOCK = 4;

export const randomNormal = defineKernel({
  name: "randomNormal",
  params: {
    count: d.u32,
    /** Key and counter of the stream: see `streamAddress`. */
    seedLow: d.u32,
    seedHigh: d.u32,
    indexLow: d.u32,
    indexHigh: d.u32,
    stream: d.u32,
    scale: d.f32,
  },
  buffers: [{ name: "out", access: "write", element: "f32" }],
  // One dimension holds at most 65,535 workgroups; the shader strides over what is left.
  geometry: ({ count }) => ({
    workgroups: [Math.min(Math.ceil(count / (BLOCK * PER_WORKGROUP)), 65535), 1, 1],
    constants: { PER_WORKGROUP },
  }),
  split: ({ count }) => ({ items: Math.ceil(count / BLOCK), grain: 256 }),
});
