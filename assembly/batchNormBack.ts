/**
 * The backward pass of batch normalisation, a few numbers a channel (schema: `sdk/engine/kernels/batch-norm.ts`): float64 in
 * between, each result rounded once; the last coefficient belongs to the rounded ones before it.
 */
import { buffer } from "./dispatch";
import { BatchNormBackParams } from "./generated/kernels";

export function batchNormBack(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<BatchNormBackParams>(params);
  const row = <usize>p.channels << 2;
  const sums = buffer(buffers, 0);
  const moments = buffer(buffers, 1);
  const coefficients = buffer(buffers, 3);
  const gradients = buffer(buffers, 4);
  // Moments that are constants carry no gradient.
  const share: f64 = p.count == 0 ? 0 : 1 / <f64>p.count;
  for (let c = <usize>begin << 2; c < <usize>end << 2; c += 4) {
    const sum = <f64>load<f32>(sums + c);
    const product = <f64>load<f32>(sums + row + c);
    const r = 1 / sqrt<f64>(<f64>load<f32>(moments + row + c) + <f64>p.epsilon);
    const scale = <f64>load<f32>(buffer(buffers, 2) + c);
    const s = <f32>(scale * r);
    const t = <f32>(-scale * r * r * r * product * share);
    const u = -<f64>s * sum * share - <f64>t * <f64>load<f32>(moments + c);
    store<f32>(coefficients + c, s);
    store<f32>(coefficients + row + c, t);
    store<f32>(coefficients + 2 * row + c, <f32>u);
    store<f32>(gradients + c, <f32>(r * product));
    store<f32>(gradients + row + c, <f32>sum);
  }
}
