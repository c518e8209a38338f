/**
 * out = f(a, b), element by element, in float32 (schema: `sdk/engine/kernels/elementwise.ts`). Products and sums are
 * rounded one by one in every build, vectors and tail alike, so an entry does not depend on where it stands. NaN and
 * infinities follow IEEE 754. `out` may be the same buffer as `a` or `b`. Cost: the memory traffic.
 */
import { buffer } from "./dispatch";
import { ElementwiseParams } from "./generated/kernels";

/** `ElementwiseOperation` of the schema. */
const FILL: u32 = 0;
const AFFINE: u32 = 1;
const ADD: u32 = 2;

export function elementwise(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<ElementwiseParams>(params);
  const operation = p.operation;
  const alpha = p.alpha;
  const beta = p.beta;
  let a = buffer(buffers, 0) + (<usize>begin << 2);
  let b = buffer(buffers, 1) + (<usize>begin << 2);
  let out = buffer(buffers, 2) + (<usize>begin << 2);
  const vectors = (end - begin) >> 2;
  const tail = (end - begin) & 3;
  for (let i = 0; i < vectors; i++) {
    v128.store(out, apply(operation, f32x4.splat(alpha), f32x4.splat(beta), a, b));
    a += 16;
    b += 16;
    out += 16;
  }
  for (let i = 0; i < tail; i++) {
    store<f32>(out, applyScalar(operation, alpha, beta, a, b));
    a += 4;
    b += 4;
    out += 4;
  }
}

/** The operation is the same for all of a command, so its branches are predicted; a fill never reads a or b. */
// @ts-ignore: decorator
@inline
function apply(operation: u32, alpha: v128, beta: v128, a: usize, b: usize): v128 {
  if (operation == FILL) return alpha;
  if (operation == AFFINE) return f32x4.add(f32x4.mul(alpha, v128.load(a)), beta);
  if (operation == ADD) return f32x4.add(f32x4.mul(alpha, v128.load(a)), f32x4.mul(beta, v128.load(b)));
  return f32x4.add(f32x4.mul(f32x4.mul(alpha, v128.load(a)), v128.load(b)), beta);
}

// @ts-ignore: decorator
@inline
function applyScalar(operation: u32, alpha: f32, beta: f32, a: usize, b: usize): f32 {
  if (operation == FILL) return alpha;
  if (operation == AFFINE) return alpha * load<f32>(a) + beta;
  if (operation == ADD) return alpha * load<f32>(a) + beta * load<f32>(b);
  return alpha * load<f32>(a) * load<f32>(b) + beta;
}
