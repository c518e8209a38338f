/**
 * The backward pass of softmax, y (g - sum of g y), and of its logarithm, g - e^y sum of g, row by row in float32 (schema:
 * `sdk/engine/kernels/softmax.ts`). A row is a work item; sums are pairwise. `out` may be the same buffer as `y` or `g`.
 */
import { buffer } from "./dispatch";
import { exponential } from "./elementwise/exponential";
import { SoftmaxGradientParams } from "./generated/kernels";
import { loadPart, push, storePart, sumLanes, total } from "./pairwise";
import { LEAF } from "./rows/exps";

export function softmaxGradient(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<SoftmaxGradientParams>(params);
  const columns = <i32>p.columns;
  for (let row = begin; row < end; row++) {
    const skipped = <usize>row * <usize>columns << 2;
    const y = buffer(buffers, 0) + skipped;
    const g = buffer(buffers, 1) + skipped;
    const out = buffer(buffers, 2) + skipped;
    if (p.log) gradientRow(true, y, g, columns, out, scratch);
    else gradientRow(false, y, g, columns, out, scratch);
  }
}

// @ts-ignore: decorator
@inline
function gradientRow(log: bool, y: usize, g: usize, columns: i32, out: usize, stack: usize): void {
  let leaves = 0;
  for (let k = 0; k < columns; k += LEAF) {
    const end = min(k + LEAF, columns);
    let sum = f32x4.splat(0);
    let j = k;
    for (; j + 4 <= end; j += 4) {
      const offset = <usize>j << 2;
      const term = v128.load(g + offset);
      sum = f32x4.add(sum, log ? term : f32x4.mul(term, v128.load(y + offset)));
    }
    if (j < end) {
      const offset = <usize>j << 2;
      const term = loadPart(g + offset, end - j);
      sum = f32x4.add(sum, log ? term : f32x4.mul(term, loadPart(y + offset, end - j)));
    }
    push(stack, leaves, sum);
    leaves++;
  }
  const sum = f32x4.splat(sumLanes(total(stack, leaves)));
  let j = 0;
  for (; j + 4 <= columns; j += 4) {
    const offset = <usize>j << 2;
    v128.store(out + offset, gradient(log, v128.load(y + offset), v128.load(g + offset), sum));
  }
  if (j == columns) return;
  const offset = <usize>j << 2;
  const last = gradient(log, loadPart(y + offset, columns - j), loadPart(g + offset, columns - j), sum);
  storePart(out + offset, columns - j, last);
}

// @ts-ignore: decorator
@inline
function gradient(log: bool, y: v128, g: v128, sum: v128): v128 {
  return log ? f32x4.sub(g, f32x4.mul(exponential(y), sum)) : f32x4.mul(y, f32x4.sub(g, sum));
}
