/**
 * Rows of a matrix to e^(a - max) / sum, or to a - max - log sum, in float32 (schema: `sdk/engine/kernels/softmax.ts`). A row
 * is a work item. The logarithm is log(1 + the sum without the largest term), so that an entry near 0 keeps its relative
 * accuracy. `out` may be the same buffer as `a`; a NaN, an infinity or nothing but -infinity makes its row NaN.
 */
import { buffer } from "./dispatch";
import { log1p } from "./elementwise/logarithm";
import { SoftmaxParams } from "./generated/kernels";
import { largest } from "./reduce";
import { placeOf, sumOfExps } from "./rows/exps";

export function softmax(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<SoftmaxParams>(params);
  const columns = <i32>p.columns;
  for (let row = begin; row < end; row++) {
    const skipped = <usize>row * <usize>columns << 2;
    const a = buffer(buffers, 0) + skipped;
    const out = buffer(buffers, 1) + skipped;
    const most = largest(a, columns);
    if (p.log) {
      const others = sumOfExps(a, columns, most, placeOf(a, columns, most), 0, scratch);
      subtractBoth(a, columns, most, log1p(others), out);
    } else {
      const sum = sumOfExps(a, columns, most, -1, out, scratch);
      scaleRow(out, columns, 1 / sum);
    }
  }
}

function subtractBoth(a: usize, columns: i32, first: f32, second: f32, out: usize): void {
  const end = out + (<usize>columns << 2);
  for (; out + 16 <= end; out += 16) {
    v128.store(out, f32x4.sub(f32x4.sub(v128.load(a), f32x4.splat(first)), f32x4.splat(second)));
    a += 16;
  }
  for (; out < end; out += 4) {
    store<f32>(out, load<f32>(a) - first - second);
    a += 4;
  }
}

function scaleRow(row: usize, columns: i32, factor: f32): void {
  const end = row + (<usize>columns << 2);
  for (; row + 16 <= end; row += 16) v128.store(row, f32x4.mul(v128.load(row), f32x4.splat(factor)));
  for (; row < end; row += 4) store<f32>(row, load<f32>(row) * factor);
}
