/**
 * Functions of single numbers, and their derivatives times g, in float32 (schema: `sdk/engine/kernels/activate.ts`). Every
 * product and sum is rounded by itself in every build, and a tail of fewer than four elements is computed as a vector, so
 * an entry does not depend on where it stands. `out` may be the same buffer as `a` or `g`.
 *
 * Cost: the memory traffic, but for what needs e^x or a logarithm: 25 to 50 operations for four elements. The operation is
 * the same for all of a command, so its branch is predicted.
 */
import { buffer } from "./dispatch";
import { erf } from "./elementwise/erf";
import {
  exponential, exponentialLessOne, exponentialOfSum, sigmoid, sigmoidSlope, softplus, tanh, tanhSlope,
} from "./elementwise/exponential";
import { logarithm } from "./elementwise/logarithm";
import { ActivateGradientParams, ActivateParams } from "./generated/kernels";

/** `ActivateOperation` of the schema. */
const RELU: u32 = 0;
const LEAKY_RELU: u32 = 1;
const ELU: u32 = 2;
const SIGMOID: u32 = 3;
const SOFTPLUS: u32 = 4;
const TANH: u32 = 5;
const EXP: u32 = 6;
const LOG: u32 = 7;
const SQRT: u32 = 8;
const SQUARE: u32 = 9;
const ABS: u32 = 10;
const SIGN: u32 = 11;
const CLAMP: u32 = 12;
const ERF: u32 = 13;
const THRESHOLD: u32 = 14;
const STAIRCASE: u32 = 15;
const RECIPROCAL: u32 = 16;

export function activate(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<ActivateParams>(params);
  const a = buffer(buffers, 0) + (<usize>begin << 2);
  const out = buffer(buffers, 1) + (<usize>begin << 2);
  const whole = <usize>((end - begin) & ~3) << 2;
  const tail = <usize>((end - begin) & 3) << 2;
  map(p, a, out, whole);
  if (tail == 0) return;
  memory.copy(scratch, a + whole, tail);
  map(p, scratch, scratch, 16);
  memory.copy(out + whole, scratch, tail);
}

export function activateGradient(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<ActivateGradientParams>(params);
  const a = buffer(buffers, 0) + (<usize>begin << 2);
  const g = buffer(buffers, 1) + (<usize>begin << 2);
  const out = buffer(buffers, 2) + (<usize>begin << 2);
  const whole = <usize>((end - begin) & ~3) << 2;
  const tail = <usize>((end - begin) & 3) << 2;
  mapGradient(p, a, g, out, whole);
  if (tail == 0) return;
  memory.copy(scratch, a + whole, tail);
  memory.copy(scratch + 16, g + whole, tail);
  mapGradient(p, scratch, scratch + 16, scratch, 16);
  memory.copy(out + whole, scratch, tail);
}

function map(params: ActivateParams, a: usize, out: usize, bytes: usize): void {
  const operation = params.operation;
  const p = f32x4.splat(params.p);
  const q = f32x4.splat(params.q);
  for (let at: usize = 0; at < bytes; at += 16) {
    const x = v128.load(a + at);
    // No comparison holds for NaN: an overflow further up must not pass for a number.
    v128.store(out + at, v128.bitselect(x, apply(operation, p, q, x), f32x4.ne(x, x)));
  }
}

function mapGradient(params: ActivateGradientParams, a: usize, g: usize, out: usize, bytes: usize): void {
  const operation = params.operation;
  const p = f32x4.splat(params.p);
  const q = f32x4.splat(params.q);
  for (let at: usize = 0; at < bytes; at += 16) {
    const x = v128.load(a + at);
    v128.store(out + at, v128.bitselect(x, gradient(operation, p, q, x, v128.load(g + at)), f32x4.ne(x, x)));
  }
}

// @ts-ignore: decorator
@inline
function apply(operation: u32, p: v128, q: v128, x: v128): v128 {
  const zero = f32x4.splat(0);
  switch (operation) {
    case RELU: return f32x4.pmax(x, zero);
    case LEAKY_RELU: return v128.bitselect(x, f32x4.mul(p, x), f32x4.gt(x, zero));
    case ELU: {
      const below = f32x4.mul(p, exponentialLessOne(f32x4.pmin(x, zero)));
      return v128.bitselect(x, below, f32x4.gt(x, zero));
    }
    case SIGMOID: return sigmoid(x);
    case SOFTPLUS: return softplus(x);
    case TANH: return tanh(x);
    case EXP: return exponential(x);
    case LOG: return logarithm(x);
    case SQRT: return f32x4.sqrt(x);
    case SQUARE: return f32x4.mul(x, x);
    case ABS: return f32x4.abs(x);
    case SIGN: return sign(x);
    case CLAMP: return f32x4.pmin(f32x4.pmax(x, p), q);
    case ERF: return erf(x);
    case THRESHOLD: return v128.bitselect(q, p, f32x4.gt(x, zero));
    case STAIRCASE: {
      const steps = f32x4.ceil(f32x4.mul(x, f32x4.sub(p, f32x4.splat(1))));
      return f32x4.div(f32x4.pmin(f32x4.pmax(steps, zero), p), p);
    }
    default: return f32x4.div(f32x4.splat(1), x); // reciprocal
  }
}

/** Where the derivative is 0 or 1, g is masked and not multiplied: a unit that is off lets no infinity through. */
// @ts-ignore: decorator
@inline
function gradient(operation: u32, p: v128, q: v128, x: v128, g: v128): v128 {
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  switch (operation) {
    case RELU: return v128.and(g, f32x4.gt(x, zero));
    case LEAKY_RELU: return v128.bitselect(g, f32x4.mul(p, g), f32x4.gt(x, zero));
    case ELU: {
      const below = f32x4.mul(f32x4.mul(p, exponential(f32x4.pmin(x, zero))), g);
      return v128.bitselect(g, below, f32x4.gt(x, zero));
    }
    case SIGMOID: return f32x4.mul(sigmoidSlope(x), g);
    case SOFTPLUS: return f32x4.mul(sigmoid(x), g);
    case TANH: return f32x4.mul(tanhSlope(x), g);
    case EXP: return f32x4.mul(exponential(x), g);
    case LOG: return f32x4.div(g, x);
    case SQRT: return f32x4.div(f32x4.mul(f32x4.splat(0.5), g), f32x4.sqrt(x));
    case SQUARE: return f32x4.mul(f32x4.add(x, x), g);
    // The bits of x's sign turn g's; at 0 nothing is left.
    case ABS: return v128.and(v128.xor(g, v128.and(x, f32x4.splat(-0.0))), f32x4.ne(x, zero));
    case CLAMP: return v128.and(g, v128.and(f32x4.ge(x, p), f32x4.le(x, q)));
    case ERF: return f32x4.mul(gaussian(x), g);
    case RECIPROCAL: {
      const r = f32x4.div(one, x);
      return f32x4.neg(f32x4.mul(f32x4.mul(g, r), r));
    }
    default: return zero; // sign, threshold and staircase
  }
}

/** -1, 0 or 1. */
// @ts-ignore: decorator
@inline
function sign(x: v128): v128 {
  const zero = f32x4.splat(0);
  const above = v128.and(f32x4.splat(1), f32x4.gt(x, zero));
  return v128.or(above, v128.and(f32x4.splat(-1), f32x4.lt(x, zero)));
}

/**
 * 2 / sqrt(pi) e^(-x^2), the derivative of erf. The first 12 bits of x have an exact square; what x^2 has beyond it, and the
 * factor, are the rest of the exponent. It is 0 from 10.3 on.
 */
// @ts-ignore: decorator
@inline
function gaussian(x: v128): v128 {
  const size = f32x4.pmin(f32x4.abs(x), f32x4.splat(11));
  const head = v128.and(size, i32x4.splat(0xfffff000));
  const tail = f32x4.mul(f32x4.sub(size, head), f32x4.add(size, head));
  return exponentialOfSum(f32x4.neg(f32x4.mul(head, head)), f32x4.sub(f32x4.splat(0.120782238), tail));
}
