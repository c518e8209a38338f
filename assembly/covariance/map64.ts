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
  for (let y: u32 = 0; y < step.outHeight; y++) {
    for (let x: u32 = 0; x < inWidth; x++) {
      let sum: f64 = 0;
      for (let t: u32 = 0; t < step.filterHeight; t++) {
        const from = <i32>(y * step.strideHeight + t * step.dilationHeight) - <i32>step.padTop;
        if (from >= 0 && from < <i32>step.inHeight) sum += load<f64>(map + (<usize>(<u32>from * inWidth + x) << 3));
      }
      store<f64>(rows + (<usize>(y * inWidth + x) << 3), sum);
    }
  }
  for (let y: u32 = 0; y < step.outHeight; y++) {
    for (let x: u32 = 0; x < step.outWidth; x++) {
      let sum: f64 = 0;
      for (let t: u32 = 0; t < step.filterWidth; t++) {
        const from = <i32>(x * step.strideWidth + t * step.dilationWidth) - <i32>step.padLeft;
        if (from >= 0 && from < <i32>inWidth) sum += load<f64>(rows + (<usize>(y * inWidth + <u32>from) << 3));
      }
      store<f64>(map + (<usize>(y * step.outWidth + x) << 3), step.factor64 * sum + step.bias64);
    }
  }
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
