// log x of normal numbers and log(1 + x) for x >= 0, with an error below 3e-7 of themselves; WGSL's own log errs by 2^-21 in
// [0.5, 2] (`assembly/math/log.ts` has the same):
//
//     x = 2^n m,  sqrt(1/2) <= m < sqrt(2),  s = (m - 1) / (m + 1),  log x = n log 2 + 2 s (1 + s^2/3 + s^4/5 + ..)
//
// m - 1 is exact, so that nothing cancels near 1. In log(1 + x) what the sum u = 1 + x loses comes back as its share of the
// logarithm, divided by u. u - 1 must not be taken for x, as a compiler that reassociates would: u goes through its bits.

const SQRT_HALF_BITS = 0x3f3504f3u;

fn logOfBits(bits: u32) -> f32 {
  let above = bits - SQRT_HALF_BITS;
  let n = f32(bitcast<i32>(above) >> 23u);
  let m = bitcast<f32>((above & 0x7fffffu) + SQRT_HALF_BITS);
  let s = (m - 1.0) / (m + 1.0);
  let z = s * s;
  var series = 2.0 / 9.0;
  series = fma(series, z, 2.0 / 7.0);
  series = fma(series, z, 2.0 / 5.0);
  series = fma(series, z, 2.0 / 3.0);
  return fma(n, 0.693359375, s + s + fma(s * z, series, n * -0.000212194440));
}

/** log(1 + x) for x >= 0. */
fn logOfOnePlus(x: f32) -> f32 {
  let bits = bitcast<u32>(1.0 + x);
  let u = bitcast<f32>(bits);
  let lost = select(0.0, x - (u - 1.0), x < 16777216.0);
  return logOfBits(bits) + lost / u;
}
