/**
 * out = a / keep where the stream's number of the element, or of its group, is below `keep`, else 0 (schema:
 * `sdk/engine/kernels/dropout.ts`). Number i of the stream is (word i >>> 8) 2^-24, exact in float32, so that the mask is the
 * same on every backend. `out` may be the same buffer as `a`.
 *
 * Work items are elements. Sixteen words cost about as much as their elements' division; groups of pixels share a word, and
 * cost the memory traffic.
 */
import { buffer } from "./dispatch";
import { DropoutParams } from "./generated/kernels";
import { philox, BLOCKS, WORDS } from "./philox";

/** Numbers that are made at a time. */
const DRAWN: u32 = BLOCKS * WORDS;

export function dropout(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<DropoutParams>(params);
  const a = buffer(buffers, 0);
  const out = buffer(buffers, 1);
  if (p.perGroup > 1) groups(p, a, out, begin, end, scratch);
  else elements(p, a, out, begin, end, scratch);
}

/** A number for each element: the grain is a multiple of DRAWN, so `begin` is too. */
function elements(p: DropoutParams, a: usize, out: usize, begin: u32, end: u32, scratch: usize): void {
  const keep = f32x4.splat(p.keep);
  for (let i = begin; i < end; i += DRAWN) {
    uniforms(p, i / DRAWN, scratch);
    const from = a + (<usize>i << 2);
    const to = out + (<usize>i << 2);
    const bytes = <usize>min(end - i, DRAWN) << 2;
    const whole = bytes & ~15;
    for (let at: usize = 0; at < whole; at += 16) {
      const mask = f32x4.lt(v128.load(scratch + at), keep);
      v128.store(to + at, v128.and(f32x4.div(v128.load(from + at), keep), mask));
    }
    for (let at = whole; at < bytes; at += 4)
      store<f32>(to + at, load<f32>(scratch + at) < p.keep ? load<f32>(from + at) / p.keep : 0);
  }
}

/** A number for each run of `perGroup` elements, of which the first and the last may belong to other pieces too. */
function groups(p: DropoutParams, a: usize, out: usize, begin: u32, end: u32, scratch: usize): void {
  const size = p.perGroup;
  let drawn: u32 = -1;
  for (let i = begin; i < end; ) {
    const group = i / size;
    const last = min(end, i + (size - i % size));
    if (group / DRAWN != drawn) {
      drawn = group / DRAWN;
      uniforms(p, drawn, scratch);
    }
    const from = a + (<usize>i << 2);
    const to = out + (<usize>i << 2);
    const count = last - i;
    if (load<f32>(scratch + (<usize>(group % DRAWN) << 2)) < p.keep) divide(from, to, count, p.keep);
    else memory.fill(to, 0, <usize>count << 2);
    i = last;
  }
}

function divide(from: usize, to: usize, count: u32, keep: f32): void {
  const divisor = f32x4.splat(keep);
  const whole = <usize>(count & ~3) << 2;
  const bytes = <usize>count << 2;
  for (let at: usize = 0; at < whole; at += 16) v128.store(to + at, f32x4.div(v128.load(from + at), divisor));
  for (let at = whole; at < bytes; at += 4) store<f32>(to + at, load<f32>(from + at) / keep);
}

/** The numbers DRAWN part to DRAWN (part + 1) - 1 of the stream, to `to`. */
function uniforms(p: DropoutParams, part: u32, to: usize): void {
  philox(part * BLOCKS, p.indexLow, p.indexHigh, p.stream, p.seedLow, p.seedHigh, to);
  for (let at: usize = 0; at < <usize>DRAWN << 2; at += 16) {
    const numbers = f32x4.convert_i32x4_s(i32x4.shr_u(v128.load(to + at), 8));
    v128.store(to + at, f32x4.mul(numbers, f32x4.splat(1.0 / 16777216)));
  }
}
