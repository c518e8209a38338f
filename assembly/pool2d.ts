/**
 * Pooling of image planes in float32, and its gradient (schema and formulas: `sdk/engine/kernels/pool2d.ts`). A work item
 * is a plane, so results do not depend on threads.
 *
 * Forwards, four windows of a row at a time in the lanes: where all four lie inside the row, every tap is one (strided)
 * vector, and a maximum is a comparison and two selections. Windows at the sides go one by one. Backwards, a maximum's
 * gradient is scattered to the places it came from, and a mean's to its whole window, window after window.
 */
import { buffer } from "./dispatch";
import { Pool2dInputParams, Pool2dParams } from "./generated/kernels";

/** `PoolOperation` of the schema. */
const MAX: u32 = 0;
/** The place of a window without pixels. */
const NOWHERE: u32 = 0xffffffff;

/** Of a window's rows or columns, the first that lies inside. */
// @ts-ignore: decorator
@inline
function firstInside(index: i32, stride: i32, pad: i32): i32 {
  return max(0, index * stride - pad);
}

/** The end of those that lie inside; not above the first where there are none. */
// @ts-ignore: decorator
@inline
function endInside(index: i32, stride: i32, pad: i32, window: i32, size: i32): i32 {
  return min(size, index * stride - pad + window);
}

export function pool2d(params: usize, buffers: usize, firstPlane: i32, endPlane: i32, scratch: usize): void {
  const p = changetype<Pool2dParams>(params);
  const height = <i32>p.inHeight;
  const width = <i32>p.inWidth;
  const outHeight = <i32>p.outHeight;
  const outWidth = <i32>p.outWidth;
  const stride = <i32>p.strideWidth;
  const pad = <i32>p.padLeft;
  const maximum = p.operation == MAX;
  // Columns of the output whose windows lie inside the rows.
  const low = min(outWidth, ceilDiv(pad, stride));
  const room = width - <i32>p.windowWidth + pad;
  const high = room < 0 ? low : max(low, min(outWidth, room / stride + 1));
  for (let plane = firstPlane; plane < endPlane; plane++) {
    const a = buffer(buffers, 0) + (<usize>plane * height * width << 2);
    let at = <usize>plane * outHeight * outWidth << 2;
    for (let v = 0; v < outHeight; v++) {
      const rowBegin = firstInside(v, p.strideHeight, p.padTop);
      const rowEnd = endInside(v, p.strideHeight, p.padTop, p.windowHeight, height);
      const out = buffer(buffers, 1) + at;
      const places = maximum ? buffer(buffers, 2) + at : 0;
      at += <usize>outWidth << 2;
      let u = 0;
      while (u < outWidth) {
        if (u >= low && u + 4 <= high && rowBegin < rowEnd) {
          const column = u * stride - pad;
          if (maximum) fourMaxima(p, a, rowBegin, rowEnd, column, out, places, u);
          else fourMeans(p, a, rowBegin, rowEnd, column, out, u);
          u += 4;
        } else {
          const begin = firstInside(u, stride, pad);
          const end = endInside(u, stride, pad, p.windowWidth, width);
          if (maximum) oneMaximum(a, width, rowBegin, rowEnd, begin, end, out, places, u);
          else oneMean(p, a, width, rowBegin, rowEnd, begin, end, out, u);
          u++;
        }
      }
    }
  }
}

/** from[0], from[stride], from[2 stride], from[3 stride]; reads nothing else of a plane's last row. */
// @ts-ignore: decorator
@inline
function loadStrided(from: usize, stride: i32): v128 {
  if (stride == 1) return v128.load(from);
  // Seven floats: two vectors, the second beginning at the fourth.
  if (stride == 2) return v128.shuffle<f32>(v128.load(from), v128.load(from, 12), 0, 2, 5, 7);
  const step = <usize>stride << 2;
  let four = v128.load32_zero(from);
  four = v128.load32_lane(from + step, four, 1);
  four = v128.load32_lane(from + 2 * step, four, 2);
  return v128.load32_lane(from + 3 * step, four, 3);
}

function fourMaxima(
  p: Pool2dParams,
  a: usize,
  rowBegin: i32,
  rowEnd: i32,
  column: i32,
  out: usize,
  places: usize,
  u: i32,
): void {
  const width = <i32>p.inWidth;
  const stride = <i32>p.strideWidth;
  const window = <i32>p.windowWidth;
  let place = i32x4.splat(rowBegin * width + column);
  place = i32x4.add(place, i32x4.mul(i32x4(0, 1, 2, 3), i32x4.splat(stride)));
  const one = i32x4.splat(1);
  const nextRow = i32x4.splat(width - window);
  let best = loadStrided(a + (<usize>(rowBegin * width + column) << 2), stride);
  let bestPlace = place;
  for (let y = rowBegin; y < rowEnd; y++) {
    let from = a + (<usize>(y * width + column) << 2);
    for (let j = 0; j < window; j++) {
      const value = loadStrided(from, stride);
      // Larger, or a NaN; and nothing takes the place of a NaN.
      const more = v128.andnot(v128.not(f32x4.le(value, best)), f32x4.ne(best, best));
      best = v128.bitselect(value, best, more);
      bestPlace = v128.bitselect(place, bestPlace, more);
      place = i32x4.add(place, one);
      from += 4;
    }
    place = i32x4.add(place, nextRow);
  }
  v128.store(out + (<usize>u << 2), best);
  v128.store(places + (<usize>u << 2), bestPlace);
}

function oneMaximum(
  a: usize,
  width: i32,
  rowBegin: i32,
  rowEnd: i32,
  columnBegin: i32,
  columnEnd: i32,
  out: usize,
  places: usize,
  u: i32,
): void {
  let best: f32 = -Infinity;
  let place = NOWHERE;
  for (let y = rowBegin; y < rowEnd; y++) {
    for (let x = columnBegin; x < columnEnd; x++) {
      const value = load<f32>(a + (<usize>(y * width + x) << 2));
      if (place != NOWHERE && (value <= best || best != best)) continue;
      best = value;
      place = y * width + x;
    }
  }
  store<f32>(out + (<usize>u << 2), best);
  store<u32>(places + (<usize>u << 2), place);
}

function fourMeans(p: Pool2dParams, a: usize, rowBegin: i32, rowEnd: i32, column: i32, out: usize, u: i32): void {
  const window = <i32>p.windowWidth;
  let sum = f32x4.splat(0);
  for (let y = rowBegin; y < rowEnd; y++) {
    let from = a + (<usize>(y * <i32>p.inWidth + column) << 2);
    for (let j = 0; j < window; j++) {
      sum = f32x4.add(sum, loadStrided(from, p.strideWidth));
      from += 4;
    }
  }
  v128.store(out + (<usize>u << 2), f32x4.div(sum, f32x4.splat(<f32>(p.windowHeight * p.windowWidth))));
}

function oneMean(
  p: Pool2dParams,
  a: usize,
  width: i32,
  rowBegin: i32,
  rowEnd: i32,
  columnBegin: i32,
  columnEnd: i32,
  out: usize,
  u: i32,
): void {
  let sum: f32 = 0;
  for (let y = rowBegin; y < rowEnd; y++) {
    for (let x = columnBegin; x < columnEnd; x++) sum += load<f32>(a + (<usize>(y * width + x) << 2));
  }
  store<f32>(out + (<usize>u << 2), sum / <f32>(p.windowHeight * p.windowWidth));
}

export function pool2dInput(params: usize, buffers: usize, firstPlane: i32, endPlane: i32, scratch: usize): void {
  const p = changetype<Pool2dInputParams>(params);
  const pixels = <usize>(p.inHeight * p.inWidth);
  const windows = <usize>(p.outHeight * p.outWidth);
  for (let plane = firstPlane; plane < endPlane; plane++) {
    const gradient = buffer(buffers, 0) + (<usize>plane * windows << 2);
    const out = buffer(buffers, 2) + (<usize>plane * pixels << 2);
    memory.fill(out, 0, pixels << 2);
    if (p.operation == MAX) {
      scatterMaxima(gradient, buffer(buffers, 1) + (<usize>plane * windows << 2), windows, pixels, out);
    } else spreadMeans(p, gradient, out);
  }
}

function scatterMaxima(gradient: usize, places: usize, windows: usize, pixels: usize, out: usize): void {
  for (let t: usize = 0; t < windows << 2; t += 4) {
    const place = <usize>load<u32>(places + t);
    if (place >= pixels) continue;
    const to = out + (place << 2);
    store<f32>(to, load<f32>(to) + load<f32>(gradient + t));
  }
}

function spreadMeans(p: Pool2dInputParams, gradient: usize, out: usize): void {
  const width = <i32>p.inWidth;
  const area = <f32>(p.windowHeight * p.windowWidth);
  for (let v = 0; v < <i32>p.outHeight; v++) {
    const rowBegin = firstInside(v, p.strideHeight, p.padTop);
    const rowEnd = endInside(v, p.strideHeight, p.padTop, p.windowHeight, p.inHeight);
    for (let u = 0; u < <i32>p.outWidth; u++) {
      const begin = firstInside(u, p.strideWidth, p.padLeft);
      const end = endInside(u, p.strideWidth, p.padLeft, p.windowWidth, width);
      const share = load<f32>(gradient) / area;
      gradient += 4;
      for (let y = rowBegin; y < rowEnd; y++) {
        for (let x = begin; x < end; x++) {
          const to = out + (<usize>(y * width + x) << 2);
          store<f32>(to, load<f32>(to) + share);
        }
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function ceilDiv(a: i32, b: i32): i32 {
  return (a + b - 1) / b;
}
