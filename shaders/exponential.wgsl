// e^x and what networks make of it. WGSL's exp may be off by 3 + 2 |x| units in the last place, and its tanh by anything
// near 0, so neither is used (`assembly/elementwise/exponential.ts` has the same):
//
//     e^x = 2^n e^r,  n = round(x / ln 2),  |r| <= ln 2 / 2;  e^r = 1 + (r + r^2 Q(r)), Q of degree 4, error 1.4e-8 of r
//
// With M = e^x - 1 and E = e^-|x|, none of these cancels:
//
//     e^x - 1        2^n (r + r^2 Q(r)) + (2^n - 1)            tanh x         -M / (M + 2) of -2|x|, with the sign of x
//     sigmoid x      1 / (1 + E), or E / (1 + E) where x < 0   sigmoid'       E / (1 + E (2 + E))
//     softplus x     max(x, 0) + log(1 + E)                    tanh'          4 F / (1 + F (2 + F)), F = E^2
//     log(1 + E)     2 artanh(s) = E + s (s^2 A(s^2) - E), s = E / (2 + E), A of degree 3, error 4.6e-9
//
// Errors are those of the roundings (bounds: sdk/engine/conformance/activate.ts). Beyond the largest number e^x is
// infinite; what is below the smallest normal number may be 0. Of NaN they may be anything: ask `isNan`.

/** x = n ln 2 + r. */
struct Octaves {
  n: f32,
  r: f32,
}

// ln 2 in two parts; multiples of the first are exact.
fn octaves(x: f32) -> Octaves {
  let n = floor(fma(x, 1.44269504, 0.5));
  return Octaves(n, fma(n, 0.00021219444, fma(n, -0.693359375, x)));
}

/** e^r - 1. */
fn lessOne(r: f32) -> f32 {
  var q = fma(0.00139387744, r, 0.00836715195);
  q = fma(q, r, 0.0416664258);
  q = fma(q, r, 0.16666539);
  q = fma(q, r, 0.5);
  return fma(r * r, q, r);
}

/** 2^n for -126 <= n <= 127. */
fn powerOfTwo(n: i32) -> f32 {
  return bitcast<f32>(u32(n + 127) << 23u);
}

/** e^(x + rest) for |rest| < 1/4: the rest may be what x has lost to rounding. */
fn exponentialOfSum(x: f32, rest: f32) -> f32 {
  let kept = clamp(x, -104.5, 89.0);
  let n = octaves(kept + rest).n;
  let r = fma(n, 0.00021219444, fma(n, -0.693359375, kept)) + rest;
  let power = i32(n);
  // In two factors, each of them a normal number.
  let half = power >> 1u;
  let value = (1.0 + lessOne(r)) * powerOfTwo(half) * powerOfTwo(power - half);
  // The first float beyond the logarithm of the largest.
  return select(value, infinity(), x >= 88.7228394);
}

fn exponential(x: f32) -> f32 {
  return exponentialOfSum(x, 0.0);
}

/** e^x - 1 for x <= 0. */
fn exponentialLessOne(x: f32) -> f32 {
  let reduced = octaves(max(x, -40.0)); // -1 from -17 on
  let scale = powerOfTwo(i32(reduced.n));
  return fma(scale, lessOne(reduced.r), scale - 1.0);
}

fn hyperbolicTangent(x: f32) -> f32 {
  let m = exponentialLessOne(-2.0 * abs(x));
  return withSign(m / (m + 2.0), x);
}

/** E / (1 + E)^2, with one rounding less. */
fn bell(e: f32) -> f32 {
  return e / fma(e, e + 2.0, 1.0);
}

/** tanh'(x) = 1 - tanh(x)^2. */
fn tanhSlope(x: f32) -> f32 {
  return 4.0 * bell(exponential(-2.0 * abs(x)));
}

fn sigmoid(x: f32) -> f32 {
  let e = exponential(-abs(x));
  return select(1.0, e, x < 0.0) / (1.0 + e);
}

/** sigmoid'(x) = sigmoid(x) sigmoid(-x). */
fn sigmoidSlope(x: f32) -> f32 {
  return bell(exponential(-abs(x)));
}

fn softplus(x: f32) -> f32 {
  let e = exponential(-abs(x));
  let s = e / (e + 2.0);
  let z = s * s;
  var a = fma(0.280304879, z, 0.279980481);
  a = fma(a, z, 0.400217563);
  a = fma(a, z, 0.666664124);
  return max(x, 0.0) + fma(s, fma(z, a, -e), e);
}
