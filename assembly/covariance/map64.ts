/**
 * Covariance maps of one pair in float64: the reference precision. Also used for every image's variances, which are
 * computed once per image and decide the accuracy of all its pairs, so they are worth the double width.
 *
 * A map is row-major here; slot s stands mapPixels * s numbers behind the first, and the sums between a convolution's
 * two passes behind all slots. Convolutions are separable direct sums (k_h + k_w additions a pixel): plain, and exact
 * where the true sum is zero.
 */
import { Step } from "./step";

/** K = factor * sum over channels of x y, for images of type T (f32 or f64). */
export function input64<T>(step: Step, x: usize, y: usize, map: usize): void {
  const pixels = step.inHeight * step.inWidth;
  for (let p: u32 = 0; p < pixels; p++) {
    let sum: f64 = 0;
    for (let c: u32 = 0; c < step.channels; c++) {
      const at = <usize>(c * pixels + p) << alignof<T>();
      sum += <f64>load<T>(x + at) * <f64>load<T>(y + at);
    }
    store<f64>(map + (<usize>p << 3), step.factor64 * sum);
  }
}

/** The box filter of a convolution. `rows` holds outHeight * inWidth sums of columns, and one line of the output. */
export function conv64(step: Step, from: usize, to: usize, rows: usize): void {
  const rowBytes = <usize>step.inWidth << 3;
  memory.fill(rows, 0, <usize>step.outHeight * rowBytes);
  for (let y: u32 = 0; y < step.outHeight; y++) {
    for (let t: u32 = 0; t < step.filterHeight; t++) {
      const row = <i32>(y * step.strideHeight + t * step.dilationHeight) - <i32>step.padTop;
      if (row < 0 || row >= <i32>step.inHeight) continue;
      addLine(rows + <usize>y * rowBytes, from + <usize>row * rowBytes, step.inWidth);
    }
  }
  const line = rows + <usize>step.outHeight * rowBytes;
  for (let y: u32 = 0; y < step.outHeight; y++) {
    memory.fill(line, 0, <usize>step.outWidth << 3);
    for (let t: u32 = 0; t < step.filterWidth; t++) addTap(step, t, rows + <usize>y * rowBytes, line);
    affineLine(step, line, to + (<usize>(y * step.outWidth) << 3), step.outWidth);
  }
}

/** Adds one tap of the horizontal pass to a row, for the outputs whose tap lies inside. */
function addTap(step: Step, t: u32, row: usize, line: usize): void {
  const stride = <i32>step.strideWidth;
  const shift = <i32>(t * step.dilationWidth) - <i32>step.padLeft; // the tap of output x is x stride + shift
  const first = shift >= 0 ? 0 : (stride - 1 - shift) / stride;
  const last = <i32>step.inWidth - 1 - shift;
  const end = last < 0 ? 0 : min(<i32>step.outWidth, last / stride + 1);
  if (stride == 1) {
    if (end > first) addLine(line + (<usize>first << 3), row + (<usize>(first + shift) << 3), end - first);
    return;
  }
  for (let x = first; x < end; x++) {
    const at = line + (<usize>x << 3);
    store<f64>(at, load<f64>(at) + load<f64>(row + (<usize>(x * stride + shift) << 3)));
  }
}

/** target += source. */
function addLine(target: usize, source: usize, count: u32): void {
  const end = target + (<usize>(count & ~1) << 3);
  while (target < end) {
    v128.store(target, f64x2.add(v128.load(target), v128.load(source)));
    target += 16;
    source += 16;
  }
  if (count & 1) store<f64>(target, load<f64>(target) + load<f64>(source));
}

/** weight * K + bias, of `count` pixels. */
export function affineLine(step: Step, from: usize, to: usize, count: u32): void {
  for (let p: usize = 0; p < <usize>count; p++)
    put64(step, to + (p << 3), step.factor64 * load<f64>(from + (p << 3)) + step.bias64);
}

/** Stores a step's result for one pixel, or adds it. */
// @ts-ignore: decorator
@inline
export function put64(step: Step, at: usize, value: f64): void {
  store<f64>(at, step.accumulate ? load<f64>(at) + value : value);
}

/** The read-out. */
export function mean64(step: Step, from: usize, to: usize): void {
  const pixels = step.inHeight * step.inWidth;
  let sum: f64 = 0;
  for (let p: u32 = 0; p < pixels; p++) sum += load<f64>(from + (<usize>p << 3));
  store<f64>(to, (step.factor64 * sum) / <f64>pixels + step.bias64);
}
