/**
 * e^x and what networks make of it, in float32, four at a time. `shaders/exponential.wgsl` has the same.
 *
 *     e^x = 2^n e^r,  n = round(x / ln 2),  |r| <= ln 2 / 2;  e^r = 1 + (r + r^2 Q(r)), Q of degree 4, error 1.4e-8 of r
 *
 * ln 2 is taken off in two parts, of which the multiples of the first are exact. Every product and sum is rounded by itself in
 * every build, so that all builds give the same bits. With M = e^x - 1 and E = e^-|x|, none of these cancels:
 *
 *     e^x - 1        2^n (r + r^2 Q(r)) + (2^n - 1)            tanh x         -M / (M + 2) of -2|x|, with the sign of x
 *     sigmoid x      1 / (1 + E), or E / (1 + E) where x < 0   sigmoid'       E / (1 + E (2 + E))
 *     softplus x     max(x, 0) + log(1 + E)                    tanh'          4 F / (1 + F (2 + F)), F = E^2
 *     log(1 + E)     2 artanh(s) = E + s (s^2 A(s^2) - E), s = E / (2 + E), A of degree 3, error 4.6e-9
 *
 * The worst errors relative to the value, over all of float32: e^x 8.9e-8, e^x - 1 9.4e-8, tanh 1.8e-7, sigmoid 1.8e-7,
 * softplus 1.6e-7, the derivatives 2.2e-7. Overflow gives infinity, underflow subnormal numbers and then 0, and NaN stays NaN.
 */

/** log2(e), and 1.5 2^23: added to a small number, it leaves the nearest integer in the last bits. */
const LOG2_E: f32 = 1.44269504;
const ROUNDER: f32 = 12582912;
const ROUNDER_BITS: i32 = 0x4b400000;
/** ln 2 in two parts: 10 bits, and what is left. */
const LN_2: f32 = 0.693359375;
const LN_2_REST: f32 = -0.00021219444;

/** e^(x + rest) for |rest| < 1/4: the rest may be what x has lost to rounding. */
// @ts-ignore: decorator
@inline
export function exponentialOfSum(x: v128, rest: v128): v128 {
  // Infinity and 0 lie beyond these. pmin and pmax keep a NaN that comes first.
  const kept = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-104.5)), f32x4.splat(89.5));
  const rounded = octaves(f32x4.add(kept, rest));
  const r = f32x4.add(remainder(kept, rounded), rest);
  return raised(r, rounded);
}

/** e^x. */
// @ts-ignore: decorator
@inline
export function exponential(x: v128): v128 {
  const kept = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-104.5)), f32x4.splat(89.5));
  const rounded = octaves(kept);
  return raised(remainder(kept, rounded), rounded);
}

/** e^x - 1 for x <= 0. */
// @ts-ignore: decorator
@inline
export function exponentialLessOne(x: v128): v128 {
  const kept = f32x4.pmax(x, f32x4.splat(-40)); // -1 from -17 on
  const rounded = octaves(kept);
  const scale = powerOfTwo(i32x4.sub(rounded, i32x4.splat(ROUNDER_BITS)));
  return f32x4.add(f32x4.mul(scale, lessOne(remainder(kept, rounded))), f32x4.sub(scale, f32x4.splat(1)));
}

// @ts-ignore: decorator
@inline
export function tanh(x: v128): v128 {
  const m = exponentialLessOne(f32x4.mul(f32x4.abs(x), f32x4.splat(-2)));
  const size = f32x4.div(f32x4.neg(m), f32x4.add(m, f32x4.splat(2)));
  return v128.or(size, v128.and(x, f32x4.splat(-0.0)));
}

/** tanh'(x) = 1 - tanh(x)^2. */
// @ts-ignore: decorator
@inline
export function tanhSlope(x: v128): v128 {
  const f = exponential(f32x4.mul(f32x4.abs(x), f32x4.splat(-2)));
  return f32x4.mul(f32x4.splat(4), bell(f));
}

// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  const e = exponential(f32x4.neg(f32x4.abs(x)));
  const above = v128.bitselect(e, one, f32x4.lt(x, f32x4.splat(0)));
  return f32x4.div(above, f32x4.add(one, e));
}

/** sigmoid'(x) = sigmoid(x) sigmoid(-x). */
// @ts-ignore: decorator
@inline
export function sigmoidSlope(x: v128): v128 {
  return bell(exponential(f32x4.neg(f32x4.abs(x))));
}

// @ts-ignore: decorator
@inline
export function softplus(x: v128): v128 {
  const e = exponential(f32x4.neg(f32x4.abs(x)));
  const s = f32x4.div(e, f32x4.add(e, f32x4.splat(2)));
  const z = f32x4.mul(s, s);
  let a = f32x4.splat(0.280304879);
  a = step(a, z, 0.279980481);
  a = step(a, z, 0.400217563);
  a = step(a, z, 0.666664124);
  const logarithm = f32x4.add(e, f32x4.mul(s, f32x4.sub(f32x4.mul(z, a), e)));
  return f32x4.add(f32x4.pmax(x, f32x4.splat(0)), logarithm);
}

/** E / (1 + E)^2, with one rounding less. */
// @ts-ignore: decorator
@inline
function bell(e: v128): v128 {
  const more = f32x4.mul(e, f32x4.add(e, f32x4.splat(2)));
  return f32x4.div(e, f32x4.add(more, f32x4.splat(1)));
}

/** ROUNDER + round(x / ln 2). */
// @ts-ignore: decorator
@inline
function octaves(x: v128): v128 {
  return f32x4.add(f32x4.mul(x, f32x4.splat(LOG2_E)), f32x4.splat(ROUNDER));
}

/** x - n ln 2. */
// @ts-ignore: decorator
@inline
function remainder(x: v128, rounded: v128): v128 {
  const n = f32x4.sub(rounded, f32x4.splat(ROUNDER));
  return f32x4.sub(f32x4.sub(x, f32x4.mul(n, f32x4.splat(LN_2))), f32x4.mul(n, f32x4.splat(LN_2_REST)));
}

/** e^r - 1 = r + r^2 Q(r). */
// @ts-ignore: decorator
@inline
function lessOne(r: v128): v128 {
  let q = f32x4.splat(0.00139387744);
  q = step(q, r, 0.00836715195);
  q = step(q, r, 0.0416664258);
  q = step(q, r, 0.16666539);
  q = step(q, r, 0.5);
  return f32x4.add(r, f32x4.mul(f32x4.mul(r, r), q));
}

/** 2^n e^r. */
// @ts-ignore: decorator
@inline
function raised(r: v128, rounded: v128): v128 {
  const mantissa = f32x4.add(f32x4.splat(1), lessOne(r));
  // 2^n in two factors, each of them a normal number.
  const n = i32x4.sub(rounded, i32x4.splat(ROUNDER_BITS));
  const half = i32x4.shr_s(n, 1);
  return f32x4.mul(f32x4.mul(mantissa, powerOfTwo(half)), powerOfTwo(i32x4.sub(n, half)));
}

/** 2^n for -126 <= n <= 127. */
// @ts-ignore: decorator
@inline
function powerOfTwo(n: v128): v128 {
  return i32x4.shl(i32x4.add(n, i32x4.splat(127)), 23);
}

// @ts-ignore: decorator
@inline
function step(sum: v128, x: v128, coefficient: f32): v128 {
  return f32x4.add(f32x4.mul(sum, x), f32x4.splat(coefficient));
}
