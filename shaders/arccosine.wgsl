// n kappa_1(k / n), the arc-cosine covariance step of a relu (Cho & Saul 2009, n = 1), for a covariance k and
// n = s s', the product of the standard deviations; kappa_1(1) = 1/2.
//
// With c = k / n and u = 1 - |c|:  kappa_1 = max(c, 0) / 2 + u sqrt(u) P(u),  P smooth on [0, 1].
// P is a minimax polynomial of degree 5 (error 1.5e-8). No acos (WGSL permits it an error of 6e-5 and more), no
// cancellation near c = 1 or c = -1, one division and one square root; a pixel of zero variance gives exactly 0.

const SMALLEST = 1e-37; // keeps 0 / 0 away; below it float32 loses bits

fn arccosine1(covariance: f32, n: f32) -> f32 {
  let k = clamp(covariance, -n, n);
  let d = max(n - abs(k), 0.0);
  let u = d / max(n, SMALLEST);
  var p = 0.000118943471;
  p = fma(p, u, -0.00011258328);
  p = fma(p, u, 0.000446664963);
  p = fma(p, u, 0.00113256993);
  p = fma(p, u, 0.00751774787);
  p = fma(p, u, 0.150051598);
  return fma(d * sqrt(u), p, 0.5 * max(k, 0.0));
}
