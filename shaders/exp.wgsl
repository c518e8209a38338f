// e^x with an error below 2e-7 of itself, where it is a normal number: WGSL's own exp may err by 3 + 2 |x| units in the
// last place (`assembly/math/exp.ts` has the same):
//
//     x = n log 2 + r,  |r| <= log(2) / 2,  e^x = 2^n (1 + r + r^2 P(r))
//
// log 2 is taken in two parts, of which the first has nine bits, so that n times it is exact. P is a minimax polynomial of
// degree 4 with an error of 3.1e-9 in e^r. 2^n is multiplied in two halves. Results below the normal numbers may be 0; of a
// NaN the result is open, so that callers look for NaNs themselves.

fn exponential(x: f32) -> f32 {
  let bounded = clamp(x, -104.0, 89.0);
  let n = round(bounded * 1.44269504);
  let near = fma(n, -0.693359375, bounded);
  let r = fma(n, 0.000212194440, near);
  var p = 0.00138145964;
  p = fma(p, r, 0.00836871709);
  p = fma(p, r, 0.0416683881);
  p = fma(p, r, 0.166665206);
  p = fma(p, r, 0.499999934);
  let power = 1.0 + fma(r * r, p, r);
  let whole = i32(n);
  let half = whole >> 1u;
  return power * powerOfTwo(half) * powerOfTwo(whole - half);
}

/** 2^n for -126 <= n <= 127. */
fn powerOfTwo(n: i32) -> f32 {
  return bitcast<f32>(u32(n + 127) << 23u);
}
