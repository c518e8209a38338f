/**
 * erf(x) in float32, four at a time, with an error below 1.5e-7 of 1 and 2e-7 of itself; erf(-x) = -erf(x) exactly. Two
 * minimax polynomials meet at |x| = 1, and neither needs exp (`shaders/erf.wgsl` has the same):
 *
 *     |x| <= 1    x + x S(x^2)            S of degree 6, error 1.2e-9: the sum leaves one rounding of erf itself
 *     |x| >= 1    1 - R(min(|x|, 4))^8    R of degree 6 is erfc^(1/8), error 1.6e-8 in erf; at 4 the result is 1
 */

// @ts-ignore: decorator
@inline
export function erf(x: v128): v128 {
  const one = f32x4.splat(1);
  const size = f32x4.abs(x);
  const z = f32x4.mul(x, x);
  let s = f32x4.splat(0.0000785386146);
  s = step(s, z, -0.000801019371);
  s = step(s, z, 0.00518832775);
  s = step(s, z, -0.0268538129);
  s = step(s, z, 0.112835854);
  s = step(s, z, -0.37612626);
  s = step(s, z, 0.128379166);
  const small = f32x4.add(x, f32x4.mul(x, s));
  // pmin(4, size) is size where it is NaN.
  const far = f32x4.pmin(size, f32x4.splat(4));
  let r = f32x4.splat(0.000149848202);
  r = step(r, far, -0.00246972055);
  r = step(r, far, 0.0129258214);
  r = step(r, far, -0.0113734752);
  r = step(r, far, -0.0614264384);
  r = step(r, far, -0.145060539);
  r = step(r, far, 1.0008347);
  r = f32x4.mul(r, r);
  r = f32x4.mul(r, r);
  r = f32x4.mul(r, r);
  const sign = v128.and(x, f32x4.splat(-0.0));
  const large = v128.or(f32x4.sub(one, r), sign);
  return v128.bitselect(small, large, f32x4.lt(size, one));
}

// @ts-ignore: decorator
@inline
function step(sum: v128, x: v128, coefficient: f32): v128 {
  return f32x4.add(f32x4.mul(sum, x), f32x4.splat(coefficient));
}
