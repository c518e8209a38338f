/**
 * The yardstick of the other kernels, wasm only: chains of products and sums in registers, x <- x * factor + summand,
 * `turns` times over. A build's other kernels cannot do more operations a second; `sdk/engine/peak.ts` measures how many
 * that are.
 */
import { d, defineKernel } from "../schema.ts";

/** Chains of one item. */
export const PEAK_CHAINS = 12;
const VECTOR_BYTES = 16;
/** Bytes of `start`: the chains' first vectors, then those of the factor and of the summand. */
export const PEAK_START_BYTES = (PEAK_CHAINS + 2) * VECTOR_BYTES;

/** Floating-point operations of a launch; the last sum is not counted. */
export function peakOperations({ items, turns, wide }: { items: number; turns: number; wide: number }): number {
  return items * turns * PEAK_CHAINS * 2 * (wide === 1 ? 2 : 4);
}

export const simdPeak = defineKernel({
  name: "simdPeak",
  params: {
    items: d.u32,
    turns: d.u32,
    /** 1: two float64 lanes, 0: four float32 lanes. */
    wide: d.u32,
  },
  buffers: [
    { name: "start", access: "read", element: "f32" },
    /** For each item a vector: the sum of its chains, in their order. */
    { name: "out", access: "write", element: "f32" },
  ],
  split: ({ items }) => ({ items, grain: 1 }),
});
