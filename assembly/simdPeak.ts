/**
 * What the instruction set's multiply-add can do at most (schema: `sdk/engine/kernels/simd-peak.ts`): twelve chains
 *
 *     x <- x * factor + summand        turns times, in the lanes of a vector
 *
 * that do not wait for each other and never leave the registers. A chain waits for its own last product and sum, six to
 * eight cycles, in which two units start twelve to sixteen operations: twelve chains keep them busy, and with the two
 * constants fit sixteen registers. In the relaxed build a turn is one fused operation.
 */
import { buffer } from "./dispatch";
import { SimdPeakParams } from "./generated/kernels";

/** Items: runs of the twelve chains, each of which leaves the sum of its chains. */
export function simdPeak(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<SimdPeakParams>(params);
  const start = buffer(buffers, 0);
  const out = buffer(buffers, 1);
  for (let item = begin; item < end; item++) {
    const to = out + (<usize>item << 4);
    if (p.wide) chains<f64>(p.turns, start, to);
    else chains<f32>(p.turns, start, to);
  }
}

// @ts-ignore: decorator
@inline
function turn<T>(x: v128, factor: v128, summand: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return v128.relaxed_madd<T>(x, factor, summand);
  return v128.add<T>(v128.mul<T>(x, factor), summand);
}

function chains<T>(turns: u32, start: usize, out: usize): void {
  let x0 = v128.load(start);
  let x1 = v128.load(start, 16);
  let x2 = v128.load(start, 32);
  let x3 = v128.load(start, 48);
  let x4 = v128.load(start, 64);
  let x5 = v128.load(start, 80);
  let x6 = v128.load(start, 96);
  let x7 = v128.load(start, 112);
  let x8 = v128.load(start, 128);
  let x9 = v128.load(start, 144);
  let x10 = v128.load(start, 160);
  let x11 = v128.load(start, 176);
  const factor = v128.load(start, 192);
  const summand = v128.load(start, 208);
  while (turns > 0) {
    x0 = turn<T>(x0, factor, summand);
    x1 = turn<T>(x1, factor, summand);
    x2 = turn<T>(x2, factor, summand);
    x3 = turn<T>(x3, factor, summand);
    x4 = turn<T>(x4, factor, summand);
    x5 = turn<T>(x5, factor, summand);
    x6 = turn<T>(x6, factor, summand);
    x7 = turn<T>(x7, factor, summand);
    x8 = turn<T>(x8, factor, summand);
    x9 = turn<T>(x9, factor, summand);
    x10 = turn<T>(x10, factor, summand);
    x11 = turn<T>(x11, factor, summand);
    turns--;
  }
  let sum = v128.add<T>(x0, x1);
  sum = v128.add<T>(sum, x2);
  sum = v128.add<T>(sum, x3);
  sum = v128.add<T>(sum, x4);
  sum = v128.add<T>(sum, x5);
  sum = v128.add<T>(sum, x6);
  sum = v128.add<T>(sum, x7);
  sum = v128.add<T>(sum, x8);
  sum = v128.add<T>(sum, x9);
  sum = v128.add<T>(sum, x10);
  v128.store(out, v128.add<T>(sum, x11));
}
