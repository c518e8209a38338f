// asin and acos of [0, 1], each to 1e-7 of its value: WGSL permits its own an error of 6e-5 and more.

const HALF_PI = 1.57079632679;

/**
 * asin(c) and acos(c) for c in [0, 1], given u = 1 - c too, each to 1e-7 of its value. With w = sin(t),
 * t = w + w q Q(q) for q = w^2 <= 1/4 (Q: minimax, degree 4, error 5e-9): t = asin(c) for c <= 1/2, and beyond
 * t = acos(c) / 2, whose sine is sqrt(u / 2).
 */
fn arcs(c: f32, u: f32) -> vec2f {
  let beyond = c > 0.5;
  let q = select(c * c, 0.5 * u, beyond);
  let w = select(c, sqrt(q), beyond);
  var p = 0.0421663269;
  p = fma(p, q, 0.0241795045);
  p = fma(p, q, 0.0454703779);
  p = fma(p, q, 0.0749529763);
  p = fma(p, q, 0.166667525);
  let t = fma(w * q, p, w);
  return select(vec2f(t, HALF_PI - t), vec2f(HALF_PI - 2.0 * t, 2.0 * t), beyond);
}
