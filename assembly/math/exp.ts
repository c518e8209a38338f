/**
 * e^x in float32, four at a time, with an error below 1.2e-7 of itself; subnormal results are rounded once more, below
 * them it is 0, above the largest float infinity, and NaN stays NaN. `shaders/exp.wgsl` has the same.
 *
 *     x = n log 2 + r,  |r| <= log(2) / 2,  e^x = 2^n (1 + r + r^2 P(r))
 *
 * log 2 is taken in two parts, of which the first has nine bits, so that n times it is exact. P is a minimax polynomial of
 * degree 4 with an error of 3.1e-9 in e^r. 2^n is multiplied in two halves: n goes from -150 to 128.
 */
const LOG2_E: f32 = 1.44269504;
const LN2_HIGH: f32 = 0.693359375;
const LN2_LOW: f32 = -0.000212194440;

// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  // pmin and pmax give their first operand where the other is NaN: the NaN comes back at the end.
  const bounded = f32x4.pmin(f32x4.splat(89), f32x4.pmax(f32x4.splat(-104), x));
  const n = f32x4.nearest(f32x4.mul(bounded, f32x4.splat(LOG2_E)));
  const near = f32x4.sub(bounded, f32x4.mul(n, f32x4.splat(LN2_HIGH)));
  const r = f32x4.sub(near, f32x4.mul(n, f32x4.splat(LN2_LOW)));
  let p = f32x4.splat(0.00138145964);
  p = step(p, r, 0.00836871709);
  p = step(p, r, 0.0416683881);
  p = step(p, r, 0.166665206);
  p = step(p, r, 0.499999934);
  const power = f32x4.add(f32x4.splat(1), f32x4.add(r, f32x4.mul(f32x4.mul(r, r), p)));
  const whole = i32x4.trunc_sat_f32x4_s(n);
  const half = i32x4.shr_s(whole, 1);
  const scaled = f32x4.mul(f32x4.mul(power, powerOfTwo(half)), powerOfTwo(i32x4.sub(whole, half)));
  return v128.bitselect(x, scaled, f32x4.ne(x, x));
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
