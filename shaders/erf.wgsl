// erf(x) with an error below 1.5e-7 of 1 and 2e-7 of itself. Two minimax polynomials meet at |x| = 1, and neither needs
// exp, whose error WGSL lets grow with |x| (`assembly/elementwise/erf.ts` has the same):
//
//     |x| <= 1    x + x S(x^2)            S of degree 6, error 1.2e-9: the sum leaves one rounding of erf itself
//     |x| >= 1    1 - R(min(|x|, 4))^8    R of degree 6 is erfc^(1/8), error 1.6e-8 in erf; at 4 the result is 1

fn erf(x: f32) -> f32 {
  let size = abs(x);
  if (size < 1.0) {
    let z = x * x;
    var s = 0.0000785386146;
    s = fma(s, z, -0.000801019371);
    s = fma(s, z, 0.00518832775);
    s = fma(s, z, -0.0268538129);
    s = fma(s, z, 0.112835854);
    s = fma(s, z, -0.37612626);
    s = fma(s, z, 0.128379166);
    return fma(x, s, x);
  }
  let far = min(size, 4.0);
  var r = 0.000149848202;
  r = fma(r, far, -0.00246972055);
  r = fma(r, far, 0.0129258214);
  r = fma(r, far, -0.0113734752);
  r = fma(r, far, -0.0614264384);
  r = fma(r, far, -0.145060539);
  r = fma(r, far, 1.0008347);
  r *= r;
  r *= r;
  r *= r;
  return sign(x) * (1.0 - r);
}
