/**
 * Two sums for each channel of a[batch, channels, pixels], which `channelSums` and `channelMoments` are made of:
 *
 *     PLAIN        sum of a
 *     PRODUCTS     sum of a, and sum of a (b - centre[c])
 *     DEVIATIONS   sum of d, and sum of d^2, with d = a - centre[c]
 *
 * Their order depends on the sizes alone. Where planes are long, a channel is summed plane by plane: leaves of LEAF
 * floats in 16 running sums of at most 8 terms, which are joined pairwise (`pairwise.ts`) over all planes. Where they are
 * shorter than PLANE_FLOATS, the vectors run along channels instead: [channels, pixels] is taken as one row of columns,
 * and columns are summed over the batch, in leaves of LEAF_ROWS rows joined pairwise, before a channel's are added up.
 *
 *     long planes:  channel c | plane of image 0 -> | plane of image 1 -> | ...      short ones:  image 0 | | | | | | |
 *                                                                                                 image 1 v v v v v v v
 */
import { firstLanes, loadPart, push, STACK_BYTES, sumLanes, total } from "../pairwise";

export const PLAIN: i32 = 0;
export const PRODUCTS: i32 = 1;
export const DEVIATIONS: i32 = 2;

/** The same number stands in `sdk/engine/kernels/channels.ts`, which counts the work items. */
const PLANE_FLOATS: i32 = 64;
const LEAF: i32 = 128;
const LEAF_ROWS: i32 = 8;
/** Columns that are summed side by side. */
const COLUMNS: i32 = 256;
const ROW_BYTES: usize = 1024;
/** Both sums of a subtree's columns; the first level is also where the sums end up. */
const LEVEL_BYTES: usize = 2048;
/** What `sumChannels` uses of its scratch: a row of centres, and as many levels as there are bits in a number of leaves. */
export const SUMS_SCRATCH_BYTES: usize = 33 * 2048;

/** Channels of one work item: short planes are taken 64 columns at a time. */
export function channelsAnItem(pixels: i32): i32 {
  return pixels == 0 || pixels >= PLANE_FLOATS ? 1 : PLANE_FLOATS / pixels;
}

/** Channels that `sumChannels` takes at a time: one with long planes, else what stands side by side. */
export function channelsAtOnce(pixels: i32): i32 {
  return pixels == 0 || pixels >= PLANE_FLOATS ? 1 : COLUMNS / pixels;
}

/**
 * The sums of `count` <= channelsAtOnce(pixels) channels, to `first` and `second`. Addresses are those of the first
 * channel: in image 0 for a and b, among all channels for centre. What the mode does not name is not touched.
 */
// @ts-ignore: decorator
@inline
export function sumChannels(
  mode: i32,
  a: usize,
  b: usize,
  centre: usize,
  count: i32,
  batch: i32,
  channels: i32,
  pixels: i32,
  first: usize,
  second: usize,
  scratch: usize,
): void {
  const imageBytes = <usize>channels * <usize>pixels << 2;
  if (pixels >= PLANE_FLOATS) {
    const at = mode == PLAIN ? <f32>0 : load<f32>(centre);
    const leaves = planes(mode, a, b, at, batch, pixels, imageBytes, scratch);
    store<f32>(first, sumLanes(total(scratch, leaves)));
    if (mode != PLAIN) store<f32>(second, sumLanes(total(scratch + STACK_BYTES, leaves)));
    return;
  }
  const levels = scratch + LEVEL_BYTES;
  const width = count * pixels;
  if (mode != PLAIN) repeat(centre, count, pixels, scratch);
  if (batch == 0) memory.fill(levels, 0, LEVEL_BYTES);
  columns(mode, a, b, scratch, width, batch, imageBytes, levels);
  for (let c = 0; c < count; c++) {
    const at = levels + (<usize>(c * pixels) << 2);
    store<f32>(first + (<usize>c << 2), sumRun(at, pixels));
    if (mode != PLAIN) store<f32>(second + (<usize>c << 2), sumRun(at + ROW_BYTES, pixels));
  }
}

/** Both sums of one channel as stacks of `pairwise.ts`; returns the number of leaves. */
// @ts-ignore: decorator
@inline
function planes(
  mode: i32,
  a: usize,
  b: usize,
  centre: f32,
  batch: i32,
  pixels: i32,
  imageBytes: usize,
  stack: usize,
): i32 {
  const c = f32x4.splat(centre);
  let leaves = 0;
  for (let n = 0; n < batch; n++) {
    let from = a + <usize>n * imageBytes;
    let other = b + <usize>n * imageBytes;
    for (let p = 0; p < pixels; p += LEAF) {
      const zero = f32x4.splat(0);
      let s0 = zero;
      let s1 = zero;
      let s2 = zero;
      let s3 = zero;
      let q0 = zero;
      let q1 = zero;
      let q2 = zero;
      let q3 = zero;
      let rest = min(LEAF, pixels - p);
      for (; rest >= 16; rest -= 16) {
        const x0 = v128.load(from);
        const x1 = v128.load(from, 16);
        const x2 = v128.load(from, 32);
        const x3 = v128.load(from, 48);
        if (mode == PLAIN) {
          s0 = f32x4.add(s0, x0);
          s1 = f32x4.add(s1, x1);
          s2 = f32x4.add(s2, x2);
          s3 = f32x4.add(s3, x3);
        } else {
          const d0 = f32x4.sub(mode == PRODUCTS ? v128.load(other) : x0, c);
          const d1 = f32x4.sub(mode == PRODUCTS ? v128.load(other, 16) : x1, c);
          const d2 = f32x4.sub(mode == PRODUCTS ? v128.load(other, 32) : x2, c);
          const d3 = f32x4.sub(mode == PRODUCTS ? v128.load(other, 48) : x3, c);
          s0 = f32x4.add(s0, mode == PRODUCTS ? x0 : d0);
          s1 = f32x4.add(s1, mode == PRODUCTS ? x1 : d1);
          s2 = f32x4.add(s2, mode == PRODUCTS ? x2 : d2);
          s3 = f32x4.add(s3, mode == PRODUCTS ? x3 : d3);
          q0 = f32x4.add(q0, f32x4.mul(mode == PRODUCTS ? x0 : d0, d0));
          q1 = f32x4.add(q1, f32x4.mul(mode == PRODUCTS ? x1 : d1, d1));
          q2 = f32x4.add(q2, f32x4.mul(mode == PRODUCTS ? x2 : d2, d2));
          q3 = f32x4.add(q3, f32x4.mul(mode == PRODUCTS ? x3 : d3, d3));
        }
        from += 64;
        other += 64;
      }
      for (; rest > 0; rest -= 4) {
        const part = min(rest, 4);
        const x = part == 4 ? v128.load(from) : loadPart(from, part);
        if (mode == PLAIN) s0 = f32x4.add(s0, x);
        else {
          let y = x;
          if (mode == PRODUCTS) y = part == 4 ? v128.load(other) : loadPart(other, part);
          const d = v128.and(f32x4.sub(y, c), firstLanes(part));
          s0 = f32x4.add(s0, mode == PRODUCTS ? x : d);
          q0 = f32x4.add(q0, f32x4.mul(mode == PRODUCTS ? x : d, d));
        }
        from += <usize>part << 2;
        other += <usize>part << 2;
      }
      push(stack, leaves, f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
      if (mode != PLAIN) push(stack + STACK_BYTES, leaves, f32x4.add(f32x4.add(q0, q1), f32x4.add(q2, q3)));
      leaves++;
    }
  }
  return leaves;
}

/** Sums over the batch of `width` adjacent columns, to the first of the levels. */
// @ts-ignore: decorator
@inline
function columns(
  mode: i32,
  a: usize,
  b: usize,
  centres: usize,
  width: i32,
  batch: i32,
  imageBytes: usize,
  levels: usize,
): void {
  let leaves = 0;
  for (let n = 0; n < batch; n += LEAF_ROWS) {
    let level = levels + <usize>popcnt<i32>(leaves) * LEVEL_BYTES;
    const skipped = <usize>n * imageBytes;
    leafRows(mode, a + skipped, b + skipped, centres, width, min(LEAF_ROWS, batch - n), imageBytes, level);
    for (let carry = leaves; carry & 1; carry >>= 1) {
      joinLevels(mode, level - LEVEL_BYTES, level, width);
      level -= LEVEL_BYTES;
    }
    leaves++;
  }
  for (let depth = <usize>popcnt<i32>(leaves); depth > 1; depth--) {
    const level = levels + (depth - 1) * LEVEL_BYTES;
    joinLevels(mode, level - LEVEL_BYTES, level, width);
  }
}

// @ts-ignore: decorator
@inline
function leafRows(
  mode: i32,
  a: usize,
  b: usize,
  centres: usize,
  width: i32,
  rows: i32,
  imageBytes: usize,
  level: usize,
): void {
  let column = 0;
  for (; column + 8 <= width; column += 8) {
    const offset = <usize>column << 2;
    const zero = f32x4.splat(0);
    let s0 = zero;
    let s1 = zero;
    let q0 = zero;
    let q1 = zero;
    let c0 = zero;
    let c1 = zero;
    if (mode != PLAIN) {
      c0 = v128.load(centres + offset);
      c1 = v128.load(centres + offset, 16);
    }
    let from = a + offset;
    let other = b + offset;
    for (let row = 0; row < rows; row++) {
      const x0 = v128.load(from);
      const x1 = v128.load(from, 16);
      if (mode == PLAIN) {
        s0 = f32x4.add(s0, x0);
        s1 = f32x4.add(s1, x1);
      } else {
        const d0 = f32x4.sub(mode == PRODUCTS ? v128.load(other) : x0, c0);
        const d1 = f32x4.sub(mode == PRODUCTS ? v128.load(other, 16) : x1, c1);
        s0 = f32x4.add(s0, mode == PRODUCTS ? x0 : d0);
        s1 = f32x4.add(s1, mode == PRODUCTS ? x1 : d1);
        q0 = f32x4.add(q0, f32x4.mul(mode == PRODUCTS ? x0 : d0, d0));
        q1 = f32x4.add(q1, f32x4.mul(mode == PRODUCTS ? x1 : d1, d1));
      }
      from += imageBytes;
      other += imageBytes;
    }
    v128.store(level + offset, s0);
    v128.store(level + offset, s1, 16);
    if (mode != PLAIN) {
      v128.store(level + offset, q0, ROW_BYTES);
      v128.store(level + offset, q1, ROW_BYTES + 16);
    }
  }
  for (; column < width; column++) {
    const offset = <usize>column << 2;
    const c = mode == PLAIN ? <f32>0 : load<f32>(centres + offset);
    let s: f32 = 0;
    let q: f32 = 0;
    let from = a + offset;
    let other = b + offset;
    for (let row = 0; row < rows; row++) {
      const x = load<f32>(from);
      if (mode == PLAIN) s += x;
      else {
        const d = (mode == PRODUCTS ? load<f32>(other) : x) - c;
        const y = mode == PRODUCTS ? x : d;
        s += y;
        q += y * d;
      }
      from += imageBytes;
      other += imageBytes;
    }
    store<f32>(level + offset, s);
    if (mode != PLAIN) store<f32>(level + offset, q, ROW_BYTES);
  }
}

/** Whole vectors: what stands behind the last column is scratch, and means nothing. */
// @ts-ignore: decorator
@inline
function joinLevels(mode: i32, into: usize, from: usize, width: i32): void {
  for (let column = 0; column < width; column += 4) {
    const offset = <usize>column << 2;
    v128.store(into + offset, f32x4.add(v128.load(into + offset), v128.load(from + offset)));
    if (mode == PLAIN) continue;
    const sum = f32x4.add(v128.load(into + offset, ROW_BYTES), v128.load(from + offset, ROW_BYTES));
    v128.store(into + offset, sum, ROW_BYTES);
  }
}

/** A row with each of `count` numbers `pixels` times. */
function repeat(numbers: usize, count: i32, pixels: i32, row: usize): void {
  if (pixels == 1) {
    memory.copy(row, numbers, <usize>count << 2);
    return;
  }
  for (let c = 0; c < count; c++) {
    const number = load<f32>(numbers + (<usize>c << 2));
    for (let p = 0; p < pixels; p++) {
      store<f32>(row, number);
      row += 4;
    }
  }
}

/** The sum of fewer than PLANE_FLOATS adjacent floats. */
// @ts-ignore: decorator
@inline
function sumRun(at: usize, count: i32): f32 {
  if (count == 1) return load<f32>(at);
  let even = f32x4.splat(0);
  let odd = even;
  for (; count >= 8; count -= 8) {
    even = f32x4.add(even, v128.load(at));
    odd = f32x4.add(odd, v128.load(at, 16));
    at += 32;
  }
  if (count >= 4) {
    even = f32x4.add(even, v128.load(at));
    at += 16;
  }
  if (count & 3) odd = f32x4.add(odd, loadPart(at, count & 3));
  return sumLanes(f32x4.add(even, odd));
}
