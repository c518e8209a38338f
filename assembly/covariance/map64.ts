/**
 * Covariance maps of one pair in float64: the reference precision. Also used for every image's variances, which are
 * computed once per image and decide the accuracy of all its pairs, so they are worth the double width.
 *
 * A map is row-major here. Convolutions are separable direct sums (k_h + k_w additions a pixel): plain, and exact
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

/** The box filter of a convolution, in place; `rows` holds outHeight * inWidth values between its two passes. */
export function conv64(step: Step, map: usize, rows: usize): void {
  const inWidth = step.inWidth;
  const rowBytes = <usize>inWidth << 3;
  memory.fill(rows, 0, <usize>step.outHeight * rowBytes);
  for (let y: u32 = 0; y < step.outHeight; y++) {
    for (let t: u32 = 0; t < step.filterHeight; t++) {
      const from = <i32>(y * step.strideHeight + t * step.dilationHeight) - <i32>step.padTop;
      if (from < 0 || from >= <i32>step.inHeight) continue;
      addLine(rows + <usize>y * rowBytes, map + <usize>from * rowBytes, inWidth);
    }
  }
  memory.fill(map, 0, <usize>(step.outHeight * step.outWidth) << 3);
  for (let t: u32 = 0; t < step.filterWidth; t++) addTap(step, t, map, rows);
  const pixels = step.outHeight * step.outWidth;
  for (let p: u32 = 0; p < pixels; p++) {
    const at = map + (<usize>p << 3);
    store<f64>(at, step.factor64 * load<f64>(at) + step.bias64);
  }
}

/** Adds one tap of the horizontal pass to every row, for the outputs whose tap lies inside. */
function addTap(step: Step, t: u32, map: usize, rows: usize): void {
  const stride = <i32>step.strideWidth;
  const shift = <i32>(t * step.dilationWidth) - <i32>step.padLeft; // the tap of output x is x stride + shift
  const first = shift >= 0 ? 0 : (stride - 1 - shift) / stride;
  const last = <i32>step.inWidth - 1 - shift;
  const end = last < 0 ? 0 : min(<i32>step.outWidth, last / stride + 1);
  for (let y: u32 = 0; y < step.outHeight; y++) {
    const from = rows + (<usize>(y * step.inWidth) << 3);
    const to = map + (<usize>(y * step.outWidth) << 3);
    if (stride == 1) {
      if (end > first) addLine(to + (<usize>first << 3), from + (<usize>(first + shift) << 3), end - first);
      continue;
    }
    for (let x = first; x < end; x++) {
      const at = to + (<usize>x << 3);
      store<f64>(at, load<f64>(at) + load<f64>(from + (<usize>(x * stride + shift) << 3)));
    }
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

/** The read-out, in place. */
export function mean64(step: Step, map: usize): void {
  const pixels = step.inHeight * step.inWidth;
  let sum: f64 = 0;
  for (let p: u32 = 0; p < pixels; p++) sum += load<f64>(map + (<usize>p << 3));
  store<f64>(map, (step.factor64 * sum) / <f64>pixels + step.bias64);
}

/** n kappa_1(k / n) = (sqrt(1 - c^2) + (pi - acos c) c) n / 2 pi; zero where either image has no variance. */
export function kappa64(k: f64, n: f64): f64 {
  if (n <= 0) return 0;
  const c = Math.max(-1, Math.min(1, k / n));
  return (n * (Math.sqrt((1 - c) * (1 + c)) + (Math.PI - Math.acos(c)) * c)) / (2 * Math.PI);
}
