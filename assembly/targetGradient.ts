/**
 * The backward pass of hard thresholds by target propagation, in float32 (rules and schema:
 * `sdk/engine/kernels/target-gradient.ts`). With t = -sign(g) and m = z t,
 *
 *     out = t loss'(m) |g| = -g loss'(m), or t loss'(m) scale;  0 where g is 0, NaN where g or z is
 *
 * Every product and sum is rounded by itself in every build, and a tail of fewer than four elements is computed as a vector.
 * `out` may be the same buffer as `z` or `g`. Cost: the memory traffic, but for rules with a tanh or a logistic function: 40
 * operations for four elements.
 */
import { buffer } from "./dispatch";
import { sigmoid, sigmoidSlope, tanhSlope } from "./elementwise/exponential";
import { TargetGradientParams } from "./generated/kernels";

/** `TargetRule` of the schema. */
const STE: u32 = 0;
const SSTE: u32 = 1;
const RAMP: u32 = 2;
const HINGE: u32 = 3;
const PERCEPTRON: u32 = 4;
const ADALINE: u32 = 5;
const TRUNCATED_HINGE: u32 = 6;
const TRUNCATED_PERCEPTRON: u32 = 7;
const TRUNCATED_L2_HINGE: u32 = 8;
const SIGMOID: u32 = 9;
const LOG_SIGMOID: u32 = 10;
const LOG_LOSS: u32 = 11;
const TRUNCATED_LOG_LOSS: u32 = 12;
const SQUARE: u32 = 13;
const TRUNCATED_SQUARE: u32 = 14;
const SOFT_HINGE: u32 = 15;
const LECUN_TANH: u32 = 16;
const LOG_HINGE: u32 = 17;

/** The largest float32 below -log(e^2 - 1), where log(1 + e^-m) is 2. */
const LOG_LOSS_BOUND: f32 = -1.85458660;

export function targetGradient(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TargetGradientParams>(params);
  const z = buffer(buffers, 0) + (<usize>begin << 2);
  const g = buffer(buffers, 1) + (<usize>begin << 2);
  const out = buffer(buffers, 2) + (<usize>begin << 2);
  const whole = <usize>((end - begin) & ~3) << 2;
  const tail = <usize>((end - begin) & 3) << 2;
  map(p, z, g, out, whole);
  if (tail == 0) return;
  memory.copy(scratch, z + whole, tail);
  memory.copy(scratch + 16, g + whole, tail);
  map(p, scratch, scratch + 16, scratch, 16);
  memory.copy(out + whole, scratch, tail);
}

function map(p: TargetGradientParams, zs: usize, gs: usize, out: usize, bytes: usize): void {
  const rule = p.rule;
  const zero = f32x4.splat(0);
  const sign = f32x4.splat(-0.0);
  const scale = f32x4.splat(p.scale);
  const slope = f32x4.splat(p.slope);
  const low = f32x4.splat(p.low);
  const high = f32x4.splat(p.high);
  const scaled = p.scale != 0;
  for (let at: usize = 0; at < bytes; at += 16) {
    const z = v128.load(zs + at);
    const g = v128.load(gs + at);
    let value: v128;
    if (rule <= RAMP) value = carried(rule, low, high, z, g);
    else {
      // The sign of t: where g is negative, t is 1.
      const signs = v128.andnot(sign, g);
      const size = scaled ? scale : f32x4.abs(g);
      const weighted = f32x4.mul(size, slopeOf(rule, slope, low, high, z, v128.xor(z, signs)));
      value = v128.and(v128.xor(weighted, signs), f32x4.ne(g, zero));
    }
    // No comparison holds for NaN: an overflow further up must not pass for a number.
    const sum = f32x4.add(z, g);
    const wrong = v128.or(f32x4.ne(z, z), f32x4.ne(g, g));
    v128.store(out + at, v128.bitselect(sum, value, wrong));
  }
}

/** What the rules that carry g let through. */
// @ts-ignore: decorator
@inline
function carried(rule: u32, low: v128, high: v128, z: v128, g: v128): v128 {
  if (rule == STE) return g;
  if (rule == SSTE) return v128.and(g, v128.and(f32x4.ge(z, low), f32x4.le(z, high)));
  const one = f32x4.splat(1);
  const left = f32x4.sub(z, f32x4.sub(low, one));
  const right = f32x4.sub(f32x4.add(high, one), z);
  const weight = f32x4.pmin(f32x4.pmax(f32x4.pmin(left, right), f32x4.splat(0)), one);
  return v128.bitselect(f32x4.mul(g, weight), f32x4.splat(0), f32x4.gt(weight, f32x4.splat(0)));
}

/** The derivative of a rule's loss with respect to m. At a kink it is that of the flat side. */
// @ts-ignore: decorator
@inline
function slopeOf(rule: u32, slope: v128, low: v128, high: v128, z: v128, m: v128): v128 {
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  const less = f32x4.sub(m, one);
  const short = f32x4.lt(m, one);
  const between = v128.and(short, f32x4.gt(m, f32x4.splat(-1)));
  switch (rule) {
    case HINGE: return v128.and(f32x4.splat(-1), short);
    case PERCEPTRON: return v128.and(f32x4.splat(-1), f32x4.lt(m, zero));
    case ADALINE: return less;
    case TRUNCATED_HINGE: {
      // slope (1 - m) < 2, without the rounding of 1 - m.
      const inside = f32x4.gt(f32x4.mul(slope, m), f32x4.sub(slope, f32x4.splat(2)));
      return v128.and(f32x4.neg(slope), v128.and(short, inside));
    }
    case TRUNCATED_PERCEPTRON: return v128.and(f32x4.splat(-1), v128.and(between, f32x4.lt(m, zero)));
    case TRUNCATED_L2_HINGE: return v128.and(less, between);
    case SIGMOID: return f32x4.mul(f32x4.neg(f32x4.mul(low, slope)), sigmoidSlope(f32x4.mul(slope, m)));
    case LOG_SIGMOID: return f32x4.mul(f32x4.neg(slope), sigmoid(f32x4.mul(slope, m)));
    case LOG_LOSS: return f32x4.neg(sigmoid(f32x4.neg(m)));
    case TRUNCATED_LOG_LOSS:
      return v128.and(f32x4.neg(sigmoid(f32x4.neg(m))), f32x4.gt(m, f32x4.splat(LOG_LOSS_BOUND)));
    case SQUARE: return v128.and(f32x4.add(less, less), short);
    case TRUNCATED_SQUARE: return v128.and(f32x4.add(less, less), between);
    case SOFT_HINGE: {
      // An even function of m: what z is made of need not know t.
      const inner = f32x4.add(f32x4.mul(low, z), high);
      return f32x4.mul(f32x4.neg(slope), tanhSlope(f32x4.mul(slope, inner)));
    }
    case LECUN_TANH: return f32x4.mul(f32x4.splat(-1.16793333), tanhSlope(f32x4.mul(m, f32x4.splat(0.666666667))));
    case LOG_HINGE: return v128.and(f32x4.div(low, f32x4.sub(m, f32x4.splat(2))), between);
    default: return f32x4.neg(f32x4.div(stepsAround(slope, z), slope)); // staircaseHinge
  }
}

/** The number of i in 0 .. n - 1 with |x - i / (n - 1)| <= 1. */
// @ts-ignore: decorator
@inline
function stepsAround(n: v128, x: v128): v128 {
  const one = f32x4.splat(1);
  const last = f32x4.sub(n, one);
  const top = f32x4.pmin(f32x4.floor(f32x4.mul(last, f32x4.add(x, one))), last);
  const bottom = f32x4.pmax(f32x4.ceil(f32x4.mul(last, f32x4.sub(x, one))), f32x4.splat(0));
  return f32x4.pmax(f32x4.add(f32x4.sub(top, bottom), one), f32x4.splat(0));
}
