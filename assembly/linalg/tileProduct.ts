/**
 * A float32 tile T times blocks of float64 vectors, and its transpose, in one pass over T (schemas:
 * `sdk/engine/kernels/krylov.ts`). Entries are widened exactly; all arithmetic is float64.
 *
 *                   columns: chunks of 512                      forward      out(row..row+3) += T x
 *               +---------+---------+-----+    four rows        transposed   part(chunk)     += T' y(row..row+3)
 *       item    | 4 x 512 |         |     |    at a time
 *      64 rows  |         |         |     |    A chunk of four rows is 8 KiB: it is read from memory for the first
 *               +---------+---------+-----+    vector, and from L1 for the others.
 *
 * The rows of `out` belong to one item each; T' y would have all items add to the same entries, so each item leaves its
 * part, and `tileFold` adds them in order: results do not depend on threads. Traffic of the parts: 4 / 64 of the tile's
 * bytes for one vector, in cache. Cost for each entry and direction: a conversion, half a multiplication and addition.
 */
import { buffer } from "../dispatch";
import { TileFoldParams, TileProductParams } from "../generated/kernels";

/** The same number as in the schema. */
const ITEM_ROWS: i32 = 64;
const CHUNK: i32 = 512;
const FORWARD: u32 = 1;
const TRANSPOSED: u32 = 2;

/** Items: 64 rows of the tile. */
export function tileProduct(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TileProductParams>(params);
  const rows = <i32>p.rows;
  const columns = <i32>p.columns;
  const vectors = <i32>p.vectors;
  const leftBytes = <usize>p.leftLength << 3;
  const rightBytes = <usize>p.rightLength << 3;
  const partBytes = <usize>columns << 3;
  const rowBytes = <usize>columns << 2;
  for (let item = begin; item < end; item++) {
    const first = item * ITEM_ROWS;
    const last = min(first + ITEM_ROWS, rows);
    const part = buffer(buffers, 4) + <usize>item * <usize>vectors * partBytes;
    if (p.directions & TRANSPOSED) memory.fill(part, 0, <usize>vectors * partBytes);
    for (let row = first; row < last; ) {
      const four = last - row >= 4;
      const side = <usize>(<i32>p.row + row) << 3;
      for (let column = 0; column < columns; column += CHUNK) {
        const count = min(CHUNK, columns - column);
        const tile = buffer(buffers, 0) + <usize>row * rowBytes + (<usize>column << 2);
        let right = buffer(buffers, 1) + (<usize>(<i32>p.column + column) << 3);
        let out = buffer(buffers, 2) + side;
        let left = buffer(buffers, 3) + side;
        let to = part + (<usize>column << 3);
        for (let v = 0; v < vectors; v++) {
          if (!four) oneRow(p.directions, tile, count, right, out, left, to);
          else if (p.directions == FORWARD) fourRows(true, false, tile, rowBytes, count, right, out, left, to);
          else if (p.directions == TRANSPOSED) fourRows(false, true, tile, rowBytes, count, right, out, left, to);
          else fourRows(true, true, tile, rowBytes, count, right, out, left, to);
          right += rightBytes;
          out += leftBytes;
          left += leftBytes;
          to += partBytes;
        }
      }
      row += four ? 4 : 1;
    }
  }
}

/** Items: entries of the block, vector by vector. */
export function tileFold(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TileFoldParams>(params);
  const columns = <i32>p.columns;
  const partBytes = <usize>columns * <usize>p.vectors << 3;
  for (let item = begin; item < end; ) {
    const v = item / columns;
    const column = item - v * columns;
    const count = min(columns - column, end - item);
    const out = buffer(buffers, 1) + (<usize>v * <usize>p.rightLength + <usize>(<i32>p.column + column) << 3);
    let part = buffer(buffers, 0) + (<usize>item << 3);
    for (let k: u32 = 0; k < p.parts; k++) {
      let c: usize = 0;
      const even = <usize>(count & ~1) << 3;
      for (; c < even; c += 16) v128.store(out + c, f64x2.add(v128.load(out + c), v128.load(part + c)));
      if (count & 1) store<f64>(out + c, load<f64>(out + c) + load<f64>(part + c));
      part += partBytes;
    }
    item += count;
  }
}

// @ts-ignore: decorator
@inline
function fma(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return v128.relaxed_madd<f64>(a, b, c);
  return f64x2.add(c, f64x2.mul(a, b));
}

/** Two float32 entries, widened. Loading eight bytes at a time spares the shuffle for the upper half. */
// @ts-ignore: decorator
@inline
function widen(at: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(at));
}

// @ts-ignore: decorator
@inline
function widenNext(at: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(at, 8));
}

// @ts-ignore: decorator
@inline
function sumOf(lanes: v128): f64 {
  return f64x2.extract_lane(lanes, 0) + f64x2.extract_lane(lanes, 1);
}

// @ts-ignore: decorator
@inline
function addTo(at: usize, value: f64): void {
  store<f64>(at, load<f64>(at) + value);
}

/** Four rows of a chunk. `forward` and `transposed` are literals where this is inlined. */
// @ts-ignore: decorator
@inline
function fourRows(
  forward: bool,
  transposed: bool,
  tile: usize,
  rowBytes: usize,
  count: i32,
  right: usize,
  out: usize,
  left: usize,
  part: usize,
): void {
  let t0 = tile;
  let t1 = t0 + rowBytes;
  let t2 = t1 + rowBytes;
  let t3 = t2 + rowBytes;
  let s0 = f64x2.splat(0);
  let s1 = f64x2.splat(0);
  let s2 = f64x2.splat(0);
  let s3 = f64x2.splat(0);
  let y0 = s0;
  let y1 = s0;
  let y2 = s0;
  let y3 = s0;
  if (transposed) {
    y0 = v128.load64_splat(left);
    y1 = v128.load64_splat(left, 8);
    y2 = v128.load64_splat(left, 16);
    y3 = v128.load64_splat(left, 24);
  }
  // Two columns a vector, twice: unrolled once more, V8 runs out of registers.
  const end = t0 + (<usize>(count & ~3) << 2);
  while (t0 < end) {
    const a0 = widen(t0);
    const a1 = widen(t1);
    const a2 = widen(t2);
    const a3 = widen(t3);
    if (forward) {
      const x = v128.load(right);
      s0 = fma(a0, x, s0);
      s1 = fma(a1, x, s1);
      s2 = fma(a2, x, s2);
      s3 = fma(a3, x, s3);
    }
    if (transposed) {
      const low = fma(a1, y1, f64x2.mul(a0, y0));
      const high = fma(a3, y3, f64x2.mul(a2, y2));
      v128.store(part, f64x2.add(v128.load(part), f64x2.add(low, high)));
    }
    const b0 = widenNext(t0);
    const b1 = widenNext(t1);
    const b2 = widenNext(t2);
    const b3 = widenNext(t3);
    if (forward) {
      const x = v128.load(right, 16);
      s0 = fma(b0, x, s0);
      s1 = fma(b1, x, s1);
      s2 = fma(b2, x, s2);
      s3 = fma(b3, x, s3);
      right += 32;
    }
    if (transposed) {
      const low = fma(b1, y1, f64x2.mul(b0, y0));
      const high = fma(b3, y3, f64x2.mul(b2, y2));
      v128.store(part, f64x2.add(v128.load(part, 16), f64x2.add(low, high)), 16);
      part += 32;
    }
    t0 += 16;
    t1 += 16;
    t2 += 16;
    t3 += 16;
  }
  let r0 = 0.0;
  let r1 = 0.0;
  let r2 = 0.0;
  let r3 = 0.0;
  for (let c: usize = 0; c < <usize>(count & 3); c++) {
    const a0 = <f64>load<f32>(t0 + (c << 2));
    const a1 = <f64>load<f32>(t1 + (c << 2));
    const a2 = <f64>load<f32>(t2 + (c << 2));
    const a3 = <f64>load<f32>(t3 + (c << 2));
    if (forward) {
      const x = load<f64>(right + (c << 3));
      r0 += a0 * x;
      r1 += a1 * x;
      r2 += a2 * x;
      r3 += a3 * x;
    }
    if (transposed) {
      const low = a0 * load<f64>(left) + a1 * load<f64>(left, 8);
      addTo(part + (c << 3), low + (a2 * load<f64>(left, 16) + a3 * load<f64>(left, 24)));
    }
  }
  if (forward) {
    addTo(out, sumOf(s0) + r0);
    addTo(out + 8, sumOf(s1) + r1);
    addTo(out + 16, sumOf(s2) + r2);
    addTo(out + 24, sumOf(s3) + r3);
  }
}

/** One of the last rows of a tile: at most three, so nothing is gained by vectors. */
function oneRow(directions: u32, tile: usize, count: i32, right: usize, out: usize, left: usize, part: usize): void {
  const y = directions & TRANSPOSED ? load<f64>(left) : 0;
  let sum = 0.0;
  for (let c = 0; c < count; c++) {
    const entry = <f64>load<f32>(tile + (<usize>c << 2));
    const at = <usize>c << 3;
    if (directions & FORWARD) sum += entry * load<f64>(right + at);
    if (directions & TRANSPOSED) addTo(part + at, entry * y);
  }
  if (directions & FORWARD) addTo(out, sum);
}
