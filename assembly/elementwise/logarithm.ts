/**
 * The natural logarithm in float32, four at a time, to 8e-8 of itself (`shaders/logarithm.wgsl` has the same).
 *
 *     log x = n ln 2 + log(1 + f),  x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2))
 *     log(1 + f) = f - f^2 / 2 + f^3 P(f), P of degree 7, error 5.9e-9
 *
 * ln 2 is added in two parts, of which the multiples of the first are exact. -infinity at 0, NaN below, infinity and NaN
 * stay as they are; subnormal numbers have their logarithms. No build fuses products and sums.
 */

/** The bits of 1 and of sqrt(1/2). */
const ONE: i32 = 0x3f800000;
const ROOT_HALF: i32 = 0x3f3504f3;

// @ts-ignore: decorator
@inline
export function logarithm(x: v128): v128 {
  const subnormal = f32x4.lt(x, f32x4.splat(1.17549435e-38));
  const scaled = v128.bitselect(f32x4.mul(x, f32x4.splat(8388608)), x, subnormal);
  const raised = i32x4.add(scaled, i32x4.splat(ONE - ROOT_HALF));
  const mantissa = i32x4.add(v128.and(raised, i32x4.splat(0x007fffff)), i32x4.splat(ROOT_HALF));
  // Subnormal numbers were multiplied by 2^23.
  const bias = i32x4.add(i32x4.splat(127), v128.and(subnormal, i32x4.splat(23)));
  const n = f32x4.convert_i32x4_s(i32x4.sub(i32x4.shr_u(raised, 23), bias));
  const f = f32x4.sub(mantissa, f32x4.splat(1));
  const square = f32x4.mul(f, f);
  let p = f32x4.splat(-0.0764050558);
  p = step(p, f, 0.12770161);
  p = step(p, f, -0.131619632);
  p = step(p, f, 0.142007262);
  p = step(p, f, -0.166230902);
  p = step(p, f, 0.200012624);
  p = step(p, f, -0.250008285);
  p = step(p, f, 0.333333313);
  let small = f32x4.mul(f32x4.mul(f, square), p);
  small = f32x4.sub(small, f32x4.mul(n, f32x4.splat(0.00021219444)));
  small = f32x4.sub(small, f32x4.mul(square, f32x4.splat(0.5)));
  const value = f32x4.add(f32x4.add(f, small), f32x4.mul(n, f32x4.splat(0.693359375)));
  const zero = f32x4.splat(0);
  const finite = v128.and(f32x4.gt(x, zero), f32x4.lt(x, f32x4.splat(Infinity)));
  let special = v128.bitselect(f32x4.splat(NaN), x, f32x4.lt(x, zero));
  special = v128.bitselect(f32x4.splat(-Infinity), special, f32x4.eq(x, zero));
  return v128.bitselect(value, special, finite);
}

/** log(1 + x) of one number, x >= 0, to 2e-7 of itself. What the sum 1 + x loses comes back as its share: 1e-10 gives 1e-10. */
export function log1p(x: f32): f32 {
  if (!(x < Infinity)) return x;
  const u: f32 = 1 + x;
  // Above 2^24 the 1 is what is lost, and it does not count.
  const lost = x < 16777216 ? x - (u - 1) : 0;
  return f32x4.extract_lane(logarithm(f32x4.splat(u)), 0) + lost / u;
}

// @ts-ignore: decorator
@inline
function step(sum: v128, x: v128, coefficient: f32): v128 {
  return f32x4.add(f32x4.mul(sum, x), f32x4.splat(coefficient));
}
