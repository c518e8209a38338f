// The natural logarithm: WGSL's may be off by 2^-21 near 1 (`assembly/elementwise/logarithm.ts` has the same).
//
//     log x = n ln 2 + log(1 + f),  x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2))
//     log(1 + f) = f - f^2 / 2 + f^3 P(f), P of degree 7, error 5.9e-9
//
// x is taken apart in integers, so that subnormal numbers have their logarithms where floats lose them. -infinity at 0,
// NaN below; infinity and NaN stay as they are.

const ROOT_HALF = 0x3f3504f3u;

fn logarithm(x: f32) -> f32 {
  var bits = bitcast<u32>(x);
  if ((bits & ~SIGN) == 0u) { return -infinity(); }
  if (isNan(x) || isNegative(x)) { return notANumber(); }
  if (bits == INFINITY) { return x; }
  var exponent = -127;
  if (bits < 0x00800000u) {
    // Multiplied by 2^shift, its leading bit is that of the smallest exponent.
    let shift = countLeadingZeros(bits) - 8u;
    bits <<= shift;
    exponent -= i32(shift);
  }
  let raised = bits + (0x3f800000u - ROOT_HALF);
  let n = f32(i32(raised >> 23u) + exponent);
  let f = bitcast<f32>((raised & 0x007fffffu) + ROOT_HALF) - 1.0;
  let square = f * f;
  var p = fma(-0.0764050558, f, 0.12770161);
  p = fma(p, f, -0.131619632);
  p = fma(p, f, 0.142007262);
  p = fma(p, f, -0.166230902);
  p = fma(p, f, 0.200012624);
  p = fma(p, f, -0.250008285);
  p = fma(p, f, 0.333333313);
  let small = fma(square, -0.5, fma(n, -0.00021219444, f * square * p));
  return fma(n, 0.693359375, f + small);
}

/**
 * log(1 + x) for x >= 0. What the sum u = 1 + x loses comes back as its share of the logarithm. u - 1 must not be taken for
 * x, as a compiler that reassociates would: u goes through its bits.
 */
fn logarithmOfOnePlus(x: f32) -> f32 {
  let bits = bitcast<u32>(1.0 + x);
  let u = bitcast<f32>(bits);
  let lost = select(0.0, x - (u - 1.0), x < 16777216.0);
  return logarithm(u) + lost / u;
}
