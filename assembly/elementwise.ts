/**
 * out = f(a, b), element by element, in float32 (schema: `sdk/engine/kernels/elementwise.ts`). Products and sums are
 * rounded one by one in every build, and a tail of fewer than four elements is computed as a vector, so an entry does
 * not depend on where it stands. NaN and infinities follow IEEE 754, and every function of NaN is NaN. `out` may be the
 * same buffer as `a` or `b`. Cost: the memory traffic.
 */
import { buffer } from "./dispatch";
import { ElementwiseParams } from "./generated/kernels";

/** `ElementwiseOperation` of the schema. */
const FILL: u32 = 0;
const AFFINE: u32 = 1;
const ADD: u32 = 2;
const MULTIPLY: u32 = 3;
const RELU: u32 = 4;

export function elementwise(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<ElementwiseParams>(params);
  const operation = p.operation;
  const alpha = f32x4.splat(p.alpha);
  const beta = f32x4.splat(p.beta);
  let a = buffer(buffers, 0) + (<usize>begin << 2);
  let b = buffer(buffers, 1) + (<usize>begin << 2);
  let out = buffer(buffers, 2) + (<usize>begin << 2);
  const vectors = (end - begin) >> 2;
  const tail = <usize>((end - begin) & 3) << 2;
  for (let i = 0; i < vectors; i++) {
    v128.store(out, apply(operation, alpha, beta, a, b));
    a += 16;
    b += 16;
    out += 16;
  }
  if (tail == 0) return;
  // Buffers that the operation does not use may be shorter.
  if (operation != FILL) memory.copy(scratch, a, tail);
  if (operation == ADD || operation == MULTIPLY) memory.copy(scratch + 16, b, tail);
  v128.store(scratch, apply(operation, alpha, beta, scratch, scratch + 16), 32);
  memory.copy(out, scratch + 32, tail);
}

/** The operation is the same for all of a command, so its branches are predicted; a fill never reads a or b. */
// @ts-ignore: decorator
@inline
function apply(operation: u32, alpha: v128, beta: v128, a: usize, b: usize): v128 {
  if (operation == FILL) return alpha;
  const x = v128.load(a);
  if (operation == AFFINE) return f32x4.add(f32x4.mul(alpha, x), beta);
  if (operation == ADD) return f32x4.add(f32x4.mul(alpha, x), f32x4.mul(beta, v128.load(b)));
  if (operation == MULTIPLY) return f32x4.add(f32x4.mul(f32x4.mul(alpha, x), v128.load(b)), beta);
  const zero = f32x4.splat(0);
  // pmax(x, 0) is x where it is NaN.
  if (operation == RELU) return f32x4.mul(alpha, f32x4.pmax(x, zero));
  // step: no comparison holds for NaN, and an overflow further up must not pass for a 0.
  return v128.bitselect(x, v128.and(alpha, f32x4.gt(x, zero)), f32x4.ne(x, x));
}
