/**
 * Moments of channels, with a batch normalisation's scale and shift, as coefficients of one affine map, and running
 * statistics (schema: `sdk/engine/kernels/batch-norm.ts`). A few numbers a channel: float64 in between, each result rounded
 * once. The shift is that of the rounded scale, so that mean times scale cancels where the map is applied.
 */
import { buffer } from "./dispatch";
import { BatchNormFoldParams } from "./generated/kernels";

export function batchNormFold(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<BatchNormFoldParams>(params);
  const row = <usize>p.channels << 2;
  const moments = buffer(buffers, 0);
  const running = buffer(buffers, 3);
  const coefficients = buffer(buffers, 4);
  const momentum = <f64>p.momentum;
  // Of a single number, the variance of the population is all there is.
  const unbiased = <f64>p.count / <f64>max<u32>(p.count - 1, 1);
  for (let c = <usize>begin << 2; c < <usize>end << 2; c += 4) {
    const mean = <f64>load<f32>(moments + c);
    const variance = <f64>load<f32>(moments + row + c);
    const s = <f32>(<f64>load<f32>(buffer(buffers, 1) + c) / sqrt<f64>(variance + <f64>p.epsilon));
    store<f32>(coefficients + c, s);
    store<f32>(coefficients + row + c, <f32>(<f64>load<f32>(buffer(buffers, 2) + c) - mean * <f64>s));
    if (!(p.momentum > 0)) continue;
    blend(running + c, momentum, mean);
    blend(running + row + c, momentum, variance * unbiased);
  }
}

// @ts-ignore: decorator
@inline
function blend(at: usize, momentum: f64, value: f64): void {
  store<f32>(at, <f32>((1 - momentum) * <f64>load<f32>(at) + momentum * value));
}
