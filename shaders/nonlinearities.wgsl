// The covariance steps of nonlinearities: from a covariance k of two images, and what the images' tables hold, to the
// covariance after it. Which of them a program has, HAS_RECTIFIER, HAS_STEP and HAS_ERF say: no other code is compiled.
//
// WGSL permits acos and asin an error of 6e-5 and more, so there are none here. The tables hold
//
//     rectifier     s = sqrt(K(x, x)),  as only s s' is wanted
//     step, erf     K(x, x) itself:  these steps have an infinite slope at cosine 1, where 1 - c has to be exact

const SMALLEST = 1e-37; // keeps 0 / 0 away; below it float32 loses bits

/** What a nonlinearity's table holds of the variance of a pixel. */
fn tableEntry(kind: u32, variance: f32) -> f32 {
  return select(max(variance, 0.0), sqrt(max(variance, 0.0)), kind == RECTIFIER);
}
//# if HAS_RECTIFIER

// Cho & Saul 2009, n = 1, for n = s s':  positive max(k, 0) + negative max(-k, 0) + curve n w(k / n).
//
// With u = 1 - |k| / n:  w = u sqrt(u) P(u),  P smooth on [0, 1], a minimax polynomial of degree 5 (error 1.5e-8). One
// division and one square root, and no cancellation at either end. Without variance, n = 0 and k = 0 give exactly 0.
// The linear part takes k as it is: equal images keep k = K(x, x) to the last bit.
fn rectify(step: u32, k: f32, n: f32) -> f32 {
  let d = max(n - abs(k), 0.0);
  let u = d / max(n, SMALLEST);
  var p = 0.000118943471;
  p = fma(p, u, -0.00011258328);
  p = fma(p, u, 0.000446664963);
  p = fma(p, u, 0.00113256993);
  p = fma(p, u, 0.00751774787);
  p = fma(p, u, 0.150051598);
  let slope = select(-real(step, NEGATIVE), real(step, POSITIVE), k >= 0.0);
  return fma(d * sqrt(u), p * real(step, FACTOR), slope * k);
}
//# end
//# if HAS_STEP || HAS_ERF

//# include arcs

/**
 * asin and acos of c = |k| / sqrt(V V') for variances V = variance + offset, V' alike. With V >= V',
 *
 *     V V' - k^2 = (V - |k|) V' + |k| (V' - |k|),
 *
 * where nothing is lost near c = 1: the differences of like numbers are exact, and equal images (k = variance) give
 * 1 - c = 0 to the last bit. Pixels scale out before they meet, lest V V' overflows.
 */
fn arcsOf(k: f32, variance: f32, variance2: f32, offset: f32) -> vec2f {
  let large = max(variance, variance2);
  let small = min(variance, variance2);
  let r = 1.0 / max(sqrt(large + offset) * sqrt(small + offset), SMALLEST);
  let c = min(abs(k) * r, 1.0);
  let first = ((large - abs(k)) + offset) * r * ((small + offset) * r);
  let second = c * (((small - abs(k)) + offset) * r);
  return arcs(c, clamp((first + second) / (1.0 + c), 0.0, 1.0));
}
//# end
//# if HAS_STEP

/** kappa_0 = (pi - acos(c)) / 2 pi: half the angle's part of the circle, 0 where a pixel has no variance. */
fn threshold(step: u32, k: f32, variance: f32, variance2: f32) -> f32 {
  let part = arcsOf(k, variance, variance2, 0.0).y * (0.25 / HALF_PI);
  let kappa0 = select(part, 0.5 - part, k >= 0.0);
  return select(0.0, real(step, FACTOR) * kappa0, min(variance, variance2) > 0.0);
}
//# end
//# if HAS_ERF

/** Williams 1997, eq. 11: scale asin(c), for variances that the step's offset has been added to. */
fn sigmoid(step: u32, k: f32, variance: f32, variance2: f32) -> f32 {
  let angle = real(step, FACTOR) * arcsOf(k, variance, variance2, real(step, BIAS)).x;
  return select(-angle, angle, k >= 0.0);
}
//# end

/** The nonlinearity `step` of a covariance, with both images' table entries. */
fn bend(step: u32, kind: u32, k: f32, entry: f32, entry2: f32) -> f32 {
  //# if HAS_STEP
  if (kind == STEP) { return threshold(step, k, entry, entry2); }
  //# end
  //# if HAS_ERF
  if (kind == ERF) { return sigmoid(step, k, entry, entry2); }
  //# end
  //# if HAS_RECTIFIER
  return rectify(step, k, entry * entry2);
  //# else
  return k;
  //# end
}

/** The nonlinearity `step` of a variance: what `bend` gives for an image with itself. */
fn bendVariance(step: u32, kind: u32, variance: f32) -> f32 {
  let v = max(variance, 0.0);
  //# if HAS_STEP
  if (kind == STEP) { return select(0.0, 0.5 * real(step, FACTOR), v > 0.0); }
  //# end
  //# if HAS_ERF
  if (kind == ERF) { return sigmoid(step, v, v, v); }
  //# end
  return real(step, POSITIVE) * v;
}
