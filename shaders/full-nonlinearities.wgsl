// Nonlinearities of full programs: from a cell (D, half the squared distance of two pixels' activations, and the NTK T)
// to the cell behind them. With s and s' the pixels' standard deviations,
//
//     n = s s',   d = n - K = D - (s - s')^2 / 2,   c = K / n = 1 - d / n
//
// Everything is said in e = n - |K| (d, or 2 n - d where K is negative) and u = e / n in [0, 1], which are small and exact
// near cosine 1 and -1. Symmetric in s and s' to the bit, products contracted to fma or not: they only meet in s s' and in
// (s - s')^2. Which nonlinearities a program has, HAS_RECTIFIER, HAS_STEP and HAS_ERF say: no other code is compiled.

const SMALLEST = 1e-37; // keeps 0 / 0 away; below it float32 loses bits

/** n - K of two pixels, in [0, 2 n]. */
fn gapOf(distance: f32, s: f32, s2: f32) -> f32 {
  let h = s - s2;
  return clamp(fma(-0.5 * h, h, distance), 0.0, 2.0 * (s * s2));
}
//# if HAS_RECTIFIER || HAS_STEP

/** acos(1 - u) / (2 pi sqrt(u)), minimax of degree 6: error 2.5e-8. */
fn arcPart(u: f32) -> f32 {
  var p = 0.000365421885;
  p = fma(p, u, -0.000418533443);
  p = fma(p, u, 0.000892622676);
  p = fma(p, u, 0.00107358290);
  p = fma(p, u, 0.00425342494);
  p = fma(p, u, 0.0187543530);
  p = fma(p, u, 0.225079104);
  return p;
}
//# end
//# if HAS_RECTIFIER

/**
 * Cho & Saul 2009, n = 1. K' = positive K + curve e sqrt(u) P(u) for K >= 0, and D' has positive (V + V') / 2 for it; for
 * K < 0 negative |K| stands in the place of positive K. P: minimax of degree 5, error 1.5e-8.
 */
fn rectify(step: u32, cell: Cell, s: f32, s2: f32) -> Cell {
  let n = s * s2;
  let d = gapOf(distanceOf(cell), s, s2);
  let far = d > n;
  let e = select(d, 2.0 * n - d, far);
  let u = min(e / max(n, SMALLEST), 1.0);
  let root = sqrt(u);
  var p = 0.000118943471;
  p = fma(p, u, -0.00011258328);
  p = fma(p, u, 0.000446664963);
  p = fma(p, u, 0.00113256993);
  p = fma(p, u, 0.00751774787);
  p = fma(p, u, 0.150051598);
  let bend = e * root * p * real(step, FACTOR);
  let h = s - s2;
  let away = fma(real(step, POSITIVE), fma(0.5 * h, h, n), -real(step, NEGATIVE) * (d - n));
  let distance = select(real(step, POSITIVE) * distanceOf(cell), away, far) - bend;
  //# if NTK
  let arc = root * arcPart(u) * real(step, FACTOR);
  let slope = select(real(step, POSITIVE) - arc, arc - real(step, NEGATIVE), far);
  return vec2f(distance, select(0.0, cell.y * slope, n > 0.0));
  //# else
  return distance;
  //# end
}
//# end
//# if HAS_STEP

/** K' = scale kappa_0, K'(x, x) = scale / 2 where there is any variance. There is no NTK behind steps. */
fn threshold(step: u32, distance: f32, s: f32, s2: f32) -> f32 {
  let n = s * s2;
  let d = gapOf(distance, s, s2);
  let far = d > n;
  let u = min(select(d, 2.0 * n - d, far) / max(n, SMALLEST), 1.0);
  let arc = sqrt(u) * arcPart(u);
  let either = select(0.0, 0.25, max(s, s2) > 0.0);
  return real(step, FACTOR) * select(either, select(arc, 0.5 - arc, far), min(s, s2) > 0.0);
}
//# end
//# if HAS_ERF

//# include arcs

/** asin of [-1, 1]. */
fn asinOf(w: f32) -> f32 {
  let size = min(abs(w), 1.0);
  let t = arcs(size, 1.0 - size).x;
  return select(t, -t, w < 0.0);
}

/**
 * Williams 1997, eq. 11: K' = scale asin(c), c = K / (S S'), S^2 = V + offset; so D' = scale ((A + B) / 2 - C) with
 * A = asin(a), a = V / S^2, B alike for the other pixel, C = asin(c). With M = asin(m), m = s s' / (S S'), m^2 = a b,
 *
 *     (A + B) / 2 - C = ((A - M) - (M - B)) / 2 + (M - C)
 *     sin(A - M) = a (a - b) / (a cos M + m cos A),   sin(M - B) = b (a - b) / (m cos B + b cos M),
 *     sin(M - C) = (m - c) (m + c) / (m cos C + c cos M),   m - c = d / (S S')
 *
 * loses nothing where the pixels are close, which is where the next nonlinearity would suffer from it. Where they are
 * not (there these angles exceed 60 degrees), the first formula is as good.
 */
fn sigmoid(step: u32, cell: Cell, s: f32, s2: f32) -> Cell {
  let offset = real(step, BIAS);
  let scale = real(step, FACTOR);
  let n = s * s2;
  let d = gapOf(distanceOf(cell), s, s2);
  let large = max(fma(s, s, offset), SMALLEST); // S^2
  let large2 = max(fma(s2, s2, offset), SMALLEST);
  let r = 1.0 / max(sqrt(large) * sqrt(large2), SMALLEST); // 1 / (S S')
  // 1 - m = (S S' - n) / (S S') = offset (V + V' + offset) / (S S' (S S' + n))
  let m = min(n * r, 1.0);
  let ur = offset * r;
  let um = ur * fma(fma(s - s2, s - s2, 2.0 * n), r, ur) / (1.0 + m);
  let uc = um + d * r;
  let c = (n - d) * r;
  let a = s * s / large;
  let b = s2 * s2 / large2;
  let ua = offset / large;
  let ub = offset / large2;
  let cosM = sqrt(um * (1.0 + m));
  let cosC = sqrt(max(uc * (1.0 + c), 0.0));
  var angle: f32;
  if (d <= 0.5 * n && 4.0 * min(a, b) >= max(a, b)) {
    let apart = (s - s2) * (s + s2) * r * ur; // a - b
    let first = asinOf(a * apart / max(fma(a, cosM, m * sqrt(ua * (1.0 + a))), SMALLEST));
    let second = asinOf(b * apart / max(fma(b, cosM, m * sqrt(ub * (1.0 + b))), SMALLEST));
    angle = 0.5 * (first - second) + asinOf(d * r * (m + c) / max(m * cosC + c * cosM, SMALLEST));
  } else {
    let size = min(abs(c), 1.0);
    let own = arcs(size, clamp(select(uc, 1.0 + c, c < 0.0), 0.0, 1.0)).x;
    angle = 0.5 * (arcs(a, ua).x + arcs(b, ub).x) - select(own, -own, c < 0.0);
  }
  //# if NTK
  return vec2f(scale * angle, cell.y * scale * r / max(cosC, SMALLEST));
  //# else
  return scale * angle;
  //# end
}
//# end

/** The nonlinearity `step` of a cell, with both pixels' standard deviations. */
fn bend(step: u32, kind: u32, cell: Cell, s: f32, s2: f32) -> Cell {
  //# if HAS_STEP
  if (kind == STEP) { return cellOf(threshold(step, distanceOf(cell), s, s2), 0.0); }
  //# end
  //# if HAS_ERF
  if (kind == ERF) { return sigmoid(step, cell, s, s2); }
  //# end
  //# if HAS_RECTIFIER
  return rectify(step, cell, s, s2);
  //# else
  return cell;
  //# end
}

/** The nonlinearity `step` of a variance. */
fn bendVariance(step: u32, kind: u32, v: f32) -> f32 {
  //# if HAS_STEP
  if (kind == STEP) { return select(0.0, 0.5 * real(step, FACTOR), v > 0.0); }
  //# end
  //# if HAS_ERF
  if (kind == ERF) {
    let whole = max(v + real(step, BIAS), SMALLEST);
    return real(step, FACTOR) * arcs(v / whole, real(step, BIAS) / whole).x;
  }
  //# end
  return real(step, POSITIVE) * v;
}
