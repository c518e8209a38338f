// NaN and infinities by their bits. WGSL's max(), its comparisons and sign() promise nothing of them, and a compiler may
// assume that neither occurs. Without its sign, a NaN's bits are above infinity's.

const SIGN = 0x80000000u;
const INFINITY = 0x7f800000u;

fn isNan(x: f32) -> bool {
  return (bitcast<u32>(x) & ~SIGN) > INFINITY;
}

fn isFinite(x: f32) -> bool {
  return (bitcast<u32>(x) & ~SIGN) < INFINITY;
}

// -0 to -infinity, whose bits are SIGN to SIGN + INFINITY.
fn isNegative(x: f32) -> bool {
  return bitcast<u32>(x) - SIGN <= INFINITY;
}

// A constant expression must be finite: a variable makes these run-time values.
fn infinity() -> f32 {
  var bits = INFINITY;
  return bitcast<f32>(bits);
}

fn notANumber() -> f32 {
  var bits = INFINITY | 0x00400000u;
  return bitcast<f32>(bits);
}

/** |x| with the sign of another number. */
fn withSign(x: f32, sign: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(x) & ~SIGN) | (bitcast<u32>(sign) & SIGN));
}

/** 1 / x: infinite at 0. */
fn reciprocal(x: f32) -> f32 {
  return select(1.0 / x, withSign(infinity(), x), x == 0.0);
}

/** sqrt(x): NaN below 0; 0, infinity and NaN stay as they are. */
fn root(x: f32) -> f32 {
  if (x == 0.0 || !isFinite(x)) { return select(x, notANumber(), x < 0.0); }
  return select(sqrt(x), notANumber(), x < 0.0);
}
