/**
 * Nonlinearities of full programs in float64: from D, half the squared distance of two pixels' activations, and the NTK
 * T, to both behind the nonlinearity, and the variances of one image. With s and s' the pixels' standard deviations,
 *
 *     n = s s',  d = n - K = D - (s - s')^2 / 2,  u = d / n = 1 - cos t,  t = 2 asin sqrt(u / 2)
 *
 * Near t = 0 nothing cancels: t comes from u, sin t - t cos t from its series, and erf takes differences of angles.
 * Equal pixels have D = 0, d = 0 and t = 0, exactly. Everything is symmetric in s and s', to the bit.
 */
import { StepKind } from "../generated/kernels";
import { Step } from "../covariance/step";
import { put64 } from "../covariance/map64";

const TWO_PI: f64 = 2 * Math.PI;

/** n - K of a pair. */
// @ts-ignore: decorator
@inline
export function gap64(distance: f64, s: f64, s2: f64): f64 {
  const h = s - s2;
  return Math.max(0, Math.min(2 * (s * s2), distance - 0.5 * (h * h)));
}

/** D and T of one pixel pair, from one place to another or the same. `t` and `toT` are 0 in programs without NTK. */
export function bend64(step: Step, from: usize, to: usize, fromT: usize, toT: usize, s: f64, s2: f64): void {
  const distance = load<f64>(from);
  const tangent = fromT ? load<f64>(fromT) : 0;
  const gap = gap64(distance, s, s2);
  if (step.kind == StepKind.rectifier) rectify(step, distance, tangent, gap, s, s2, to, toT);
  else if (step.kind == StepKind.step) put64(step, to, threshold(step, gap, s, s2));
  else sigmoid(step, tangent, gap, s, s2, to, toT);
}

/** The angle whose cosine is 1 - u, 0 <= u <= 1. */
// @ts-ignore: decorator
@inline
function angle(u: f64): f64 {
  return 2 * Math.asin(Math.sqrt(0.5 * Math.min(1, u)));
}

/** (sin t - t cos t) / 2 pi. */
function curveOf(t: f64): f64 {
  if (t > 1) return (Math.sin(t) - t * Math.cos(t)) / TWO_PI;
  // Sum over k >= 1 of (-1)^(k+1) 2k / (2k + 1)! t^(2k+1), from the smallest term on.
  const square = t * t;
  let sum: f64 = 0;
  for (let k: f64 = 10; k >= 2; k--) sum = (square * (k / (k - 1)) / (2 * k * (2 * k + 1))) * (1 - sum);
  return ((t * square) / 3) * (1 - sum) / TWO_PI;
}

function rectify(step: Step, distance: f64, tangent: f64, gap: f64, s: f64, s2: f64, to: usize, toT: usize): void {
  const n = s * s2;
  let value = step.positive64 * distance;
  let slope: f64 = 0;
  if (n > 0) {
    if (gap <= n) {
      const t = angle(gap / n);
      value -= step.factor64 * n * curveOf(t);
      slope = step.positive64 - step.factor64 * (t / TWO_PI);
    } else {
      const opposite = 2 * n - gap; // n - |K|
      const t = angle(opposite / n);
      value = 0.5 * step.positive64 * (s * s + s2 * s2);
      value -= step.negative64 * (gap - n) + step.factor64 * n * curveOf(t);
      slope = step.factor64 * (t / TWO_PI) - step.negative64;
    }
  }
  put64(step, to, value);
  if (toT) put64(step, toT, tangent * slope);
}

/** K' = scale (pi - t) / 2 pi, and K'(x, x) = scale / 2 where there is any variance. */
function threshold(step: Step, gap: f64, s: f64, s2: f64): f64 {
  const n = s * s2;
  if (!(n > 0)) return s > 0 || s2 > 0 ? 0.25 * step.factor64 : 0;
  if (gap <= n) return step.factor64 * (angle(gap / n) / TWO_PI);
  return step.factor64 * (0.5 - angle((2 * n - gap) / n) / TWO_PI);
}

/** The formula of `full/arcsine.ts`, which says why. */
function sigmoid(step: Step, tangent: f64, gap: f64, s: f64, s2: f64, to: usize, toT: usize): void {
  const offset = step.bias64;
  const v = s * s;
  const v2 = s2 * s2;
  const n = s * s2;
  const size = Math.sqrt((v + offset) * (v2 + offset)); // S S'
  if (!(size > 0)) {
    put64(step, to, 0);
    if (toT) put64(step, toT, 0);
    return;
  }
  const a = v / (v + offset);
  const b = v2 / (v2 + offset);
  const m = Math.min(1, n / size);
  const c = Math.max(-1, Math.min(1, (n - gap) / size));
  // 1 - m = (S S' - n) / S S', and S S' - n = offset (V + V' + offset) / (S S' + n).
  const um = (offset * (v + v2 + offset)) / (size * (size + n));
  const cosM = Math.sqrt(um * (1 + m));
  const cosC = Math.sqrt((um + gap / size) * (um + (2 * n - gap) / size)); // 1 - c, 1 + c
  let value: f64;
  if (gap <= 0.5 * n && 4 * Math.min(a, b) >= Math.max(a, b)) {
    const apart = ((s - s2) * (s + s2) * offset) / (size * size); // a - b
    const first = quotient(a * apart, a * cosM + m * Math.sqrt((offset / (v + offset)) * (1 + a)));
    const second = quotient(b * apart, b * cosM + m * Math.sqrt((offset / (v2 + offset)) * (1 + b)));
    const bent = quotient((gap / size) * (m + c), m * cosC + c * cosM);
    value = 0.5 * (Math.asin(first) - Math.asin(second)) + Math.asin(bent);
  } else value = 0.5 * (Math.asin(a) + Math.asin(b)) - Math.asin(c);
  put64(step, to, step.factor64 * value);
  if (toT) put64(step, toT, (tangent * step.factor64) / (size * cosC));
}

/** A sine; 0 of pixels without variance. */
// @ts-ignore: decorator
@inline
function quotient(above: f64, below: f64): f64 {
  return below > 0 ? above / below : 0;
}

/** The variance behind a nonlinearity; no image has a negative one. */
export function bendVariance64(step: Step, variance: f64): f64 {
  if (step.kind == StepKind.rectifier) return step.positive64 * variance;
  if (step.kind == StepKind.step) return variance > 0 ? 0.5 * step.factor64 : 0;
  return variance > 0 ? step.factor64 * Math.asin(variance / (variance + step.bias64)) : 0;
}
