/**
 * recursion: from products of points to kernel values, where they stand (`sdk/covariance/recursion.ts` has the steps,
 * `sdk/engine/kernels/recursion.ts` the schema).
 *
 * A work item is ITEM_ROWS rows of STRIP columns. A row's strip goes through all steps while its numbers are in L1, four
 * pairs at a time: the steps are the outer loop, the pairs the inner one. A slot holds a strip's K, d and theta:
 *
 *     scratch:  constants, splat | slot 0: K d theta | slot 1: .. | what a sum adds | (STRIP floats, 1 KiB, each)
 *
 * A relu costs 33 operations for four pairs and 12 more with a theta, of which the chain through the root and P, about 60
 * cycles, overlaps with the next four pairs'. Pairs that are close (see `near`) go back to their points, one at a time:
 * 3 operations a coordinate where the matmul had 2, and nothing is shared between pairs; they are few.
 */
import { buffer } from "./dispatch";
import { RECURSION_BYTES, RecursionKind, RecursionParams } from "./generated/kernels";
import {
  RecursionStep, ROW_BIAS, ROW_H, ROW_OWN, ROW_R, ROW_S, ROW_SLOT, ROW_SUM, TABLE_ROWS,
} from "./covariance/recursionStep";
import {
  affineStrip, arcStrip, erfStrip, powerStrip, prepareConstants, radialStrip, sumStrip, CONSTANT_BYTES, STRIP_BYTES,
} from "./covariance/recursionStrips";

/** The same numbers as in the schema. */
const STRIP: u32 = 256;
const ITEM_ROWS: u32 = 8;

const SLOT_BYTES: usize = 3 * STRIP_BYTES;

export function recursion(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<RecursionParams>(params);
  const strips = (p.columns + STRIP - 1) / STRIP;
  prepareConstants(scratch);
  for (let item = <u32>begin; item < <u32>end; item++) {
    const column = (item % strips) * STRIP;
    const count = min(STRIP, p.columns - column);
    const row = (item / strips) * ITEM_ROWS;
    const last = min(row + ITEM_ROWS, p.rows);
    for (let i = row; i < last; i++) strip(p, buffers, i, column, count, scratch);
  }
}

/** Row `i`, columns [column, column + count). */
function strip(p: RecursionParams, buffers: usize, i: u32, column: u32, count: u32, scratch: usize): void {
  const rowPitch = <usize>((p.rows + 3) & ~3) << 2;
  const columnPitch = <usize>((p.columns + 3) & ~3) << 2;
  const x = buffer(buffers, 1) + (<usize>i << 2);
  const y = buffer(buffers, 2) + (<usize>column << 2);
  const entry = buffer(buffers, 5) + ((<usize>i * <usize>p.columns + <usize>column) << 2);
  const slots = scratch + CONSTANT_BYTES;
  const addend = slots + <usize>p.slots * SLOT_BYTES;
  const ntk = (p.wanted & 2) != 0;
  // Whole vectors: what stands behind the strip's end is computed along, and nobody reads it.
  const bytes = (<usize>count << 2) + 15 & ~15;
  let slot = slots;
  for (let index: usize = 0; index < <usize>p.steps; index++) {
    const step = changetype<RecursionStep>(buffer(buffers, 0) + index * RECURSION_BYTES);
    const xs = x + index * TABLE_ROWS * rowPitch;
    const ys = y + index * TABLE_ROWS * columnPitch;
    slot = slots + <usize>step.to * SLOT_BYTES;
    if (step.kind == RecursionKind.input) {
      memory.fill(slot + bytes - 16, 0, 16);
      memory.copy(slot, entry, <usize>count << 2);
      input(p, buffers, i, column, count, xs, rowPitch, ys, columnPitch, slot, bytes);
      if (ntk) memory.fill(slot + 2 * STRIP_BYTES, 0, bytes);
      continue;
    }
    const from = slots + <usize>step.from * SLOT_BYTES;
    const to = step.accumulate ? addend : slot;
    const sx = load<f32>(xs + ROW_S * rowPitch);
    const rx = load<f32>(xs + ROW_R * rowPitch);
    const ownX = load<f32>(xs + ROW_OWN * rowPitch);
    const biasX = load<f32>(xs + ROW_BIAS * rowPitch);
    const ownY = ys + ROW_OWN * columnPitch;
    const biasY = ys + ROW_BIAS * columnPitch;
    const rY = ys + ROW_R * columnPitch;
    switch (step.kind) {
      case RecursionKind.affine:
        affineStrip(step, from, to, bytes, ntk, ownX, ownY, biasX, biasY, scratch);
        break;
      case RecursionKind.erf:
        erfStrip(step, from, to, bytes, ntk, rx, rY, ownX, ownY, biasX, biasY, scratch);
        break;
      case RecursionKind.power:
        powerStrip(step, from, to, bytes, ownX, ownY);
        break;
      case RecursionKind.gaussian:
      case RecursionKind.laplace:
        radialStrip(step, from, to, bytes, scratch);
        break;
      default:
        arcStrip(step, from, to, bytes, ntk, sx, ys + ROW_S * columnPitch, rx, rY, scratch);
    }
    if (step.accumulate) {
      const sumY = ys + ROW_SUM * columnPitch;
      const slotX = load<f32>(xs + ROW_SLOT * rowPitch);
      const slotY = ys + ROW_SLOT * columnPitch;
      sumStrip(addend, slot, bytes, ntk, slotX, slotY, load<f32>(xs + ROW_SUM * rowPitch), sumY, scratch);
    }
  }
  const size = <usize>count << 2;
  if (p.wanted & 1) memory.copy(entry, slot, size);
  if (!ntk) return;
  const tile = <usize>p.rows * <usize>p.columns << 2;
  memory.copy(p.wanted & 1 ? entry + tile : entry, slot + 2 * STRIP_BYTES, size);
}

/** Gaps from the products in `slot`, and from the points where the products say that those are close. */
function input(
  p: RecursionParams, buffers: usize, i: u32, column: u32, count: u32,
  xs: usize, rowPitch: usize, ys: usize, columnPitch: usize, slot: usize, bytes: usize,
): void {
  const h = f32x4.splat(load<f32>(xs + ROW_H * rowPitch));
  const s = f32x4.splat(load<f32>(xs + ROW_OWN * rowPitch));
  const near = f32x4.splat(p.near);
  // The sign of a product is that of K, and the gap that of |K|; distances have no sign.
  const signs = p.angle ? f32x4.splat(-0.0) : f32x4.splat(0);
  const hs = ys + ROW_H * columnPitch;
  const ss = ys + ROW_OWN * columnPitch;
  const point = buffer(buffers, 3) + (<usize>i * <usize>p.floats << 2);
  const points = buffer(buffers, 4) + (<usize>column * <usize>p.floats << 2);
  for (let at: usize = 0; at < bytes; at += 16) {
    const sum = f32x4.add(h, v128.load(hs + at));
    const products = v128.load(slot + at);
    const sign = v128.and(products, signs);
    let delta = f32x4.sub(sum, v128.xor(products, sign));
    const close = f32x4.lt(delta, f32x4.mul(near, sum));
    if (v128.any_true(close)) {
      const mask = i32x4.bitmask(close);
      const corrected = slot + STRIP_BYTES + at;
      v128.store(corrected, delta);
      for (let lane: usize = 0; lane < 4; lane++) {
        const j = (at >> 2) + lane;
        if ((mask >> <i32>lane & 1) == 0 || j >= <usize>count) continue;
        const opposite = p.angle != 0 && load<f32>(slot + at + (lane << 2)) < 0;
        const other = points + j * (<usize>p.floats << 2);
        store<f32>(corrected + (lane << 2), halfSquare(point, other, opposite ? -1 : 1, p.floats));
      }
      delta = v128.load(corrected);
    }
    const n = f32x4.mul(s, v128.load(ss + at));
    const d = f32x4.mul(n, delta);
    // Of unit vectors far from each other the product is the cosine: n - d would round a small one off.
    v128.store(slot + at, v128.bitselect(v128.xor(f32x4.sub(n, d), sign), f32x4.mul(n, products), close));
    v128.store(slot + STRIP_BYTES + at, d);
  }
}

/** |p - side q|^2 / 2 for a side of 1 or -1: the same bits for (p, q) and (q, p). */
function halfSquare(p: usize, q: usize, side: f32, floats: u32): f32 {
  const sides = f32x4.splat(side);
  let first = f32x4.splat(0);
  let second = f32x4.splat(0);
  const end = p + (<usize>floats << 2);
  for (; p + 32 <= end; p += 32, q += 32) {
    const a = f32x4.sub(v128.load(p), f32x4.mul(sides, v128.load(q)));
    const b = f32x4.sub(v128.load(p, 16), f32x4.mul(sides, v128.load(q, 16)));
    first = f32x4.add(first, f32x4.mul(a, a));
    second = f32x4.add(second, f32x4.mul(b, b));
  }
  const sums = f32x4.add(first, second);
  let sum =
    f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1) +
    (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3));
  for (; p < end; p += 4, q += 4) {
    const difference = load<f32>(p) - side * load<f32>(q);
    sum += difference * difference;
  }
  return 0.5 * sum;
}
