/**
 * log x and log(1 + x) in float32, with an error below 2e-7 of themselves (`shaders/log.wgsl` has the same):
 *
 *     x = 2^n m,  sqrt(1/2) <= m < sqrt(2),  s = (m - 1) / (m + 1),  log x = n log 2 + 2 s (1 + s^2/3 + s^4/5 + ..)
 *
 * m - 1 is exact, so that nothing cancels near 1. log 2 is taken in two parts as in `exp.ts`. In log(1 + x) what the sum
 * u = 1 + x loses, x - (u - 1), comes back as its share of the logarithm, divided by u: 1e-10 gives 1e-10.
 */
const LN2_HIGH: f32 = 0.693359375;
const LN2_LOW: f32 = -0.000212194440;
const SQRT_HALF_BITS: u32 = 0x3f3504f3;

/** For normal x > 0; infinity and NaN stay what they are. */
export function log(x: f32): f32 {
  if (!(x < Infinity)) return x;
  const above = reinterpret<u32>(x) - SQRT_HALF_BITS;
  const n = <f32>(<i32>above >> 23);
  const m = reinterpret<f32>((above & 0x7fffff) + SQRT_HALF_BITS);
  const s = (m - 1) / (m + 1);
  const z = s * s;
  let series: f32 = 2.0 / 9.0;
  series = series * z + <f32>(2.0 / 7.0);
  series = series * z + <f32>(2.0 / 5.0);
  series = series * z + <f32>(2.0 / 3.0);
  // 2 s is added last: it is the largest term for n = 0, and n's first part is exact.
  return n * LN2_HIGH + (s + s + (s * z * series + n * LN2_LOW));
}

/** log(1 + x) for x >= 0; infinity and NaN stay what they are. */
export function log1p(x: f32): f32 {
  if (!(x < Infinity)) return x;
  const u: f32 = 1 + x;
  // Above 2^24 the 1 is what is lost, and it does not count.
  const lost = x < 16777216 ? x - (u - 1) : 0;
  return log(u) + lost / u;
}
