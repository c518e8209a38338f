/**
 * The arc-cosine step of order 1 (rectifiers) on four pairs at once, in float32, without acos and without a division.
 *
 * With n = s s' (standard deviations of the two images at this pixel), covariance k, d = |n - |k||, u = d/n = 1 - |c|:
 *
 *     n kappa_1(c) = max(k, 0)/2 + d sqrt(u) P(u),      P smooth on [0, 1]
 *
 * There is one square root, and nothing cancels near c = 1 or c = -1. P is a minimax polynomial of degree 5, error
 * 1.5e-8 of n, by Horner's scheme. Relus of the plain build, on which most programs spend their time and which have no
 * fused multiply-add, take one of degree 4. Its error, 1.3e-7 of n, is the same at every pixel of one angle: it does
 * not average out, and rectifiers with a slope on both sides would have up to twice as much of it.
 *
 * A relu gives 2 positive n kappa_1. The kernel is homogeneous, so the factor goes into what it is taken of: with
 * s -> s sqrt(positive) in the tables and k -> k positive, what remains is 2 n kappa_1, whatever the factor (the
 * program's builder makes it 1 nearly everywhere, and then k needs no product). Other rectifiers weigh the two sides and
 * the arc each with a factor of its own.
 *
 * Degree 4: the 2 and P's leading coefficient are folded into the variable. With v = lambda u, lambda^4.5 = 2 p4,
 *
 *     2 sqrt(u) P(u) = sqrt(v) Q(v),   Q monic of degree 4,
 *
 * and Q is the product of two real quadratics, ((v + a) v + b) ((v + c) v + e): three products and four sums on the
 * shortest chain of dependent operations, which is what limits this step (Horner's chain is twice as long). P's roots
 * lie outside of [0, 1], so neither factor comes near zero. The tables hold r = sqrt(lambda)/s, so that v = d r r'
 * comes for nothing.
 */

import { Step } from "./step";
import { LANE_BYTES } from "./table";

/** P = 0.150058971 + 0.00744111604 u + .. + p4 u^4 = p4 (u^2 + A1 u + B1) (u^2 + A2 u + B2), p4 = 0.000276225965. */
export const A1: f64 = 6.3910291571868288;
export const B1: f64 = 21.090679500335589;
export const A2: f64 = -6.5279845516588872;
export const B2: f64 = 25.757688839519417;
/** sqrt(lambda) = (2 p4)^(1/9). */
export const ROOT_LAMBDA: f64 = 0.4345429633408121;

const P0_5: f64 = 0.150051598;
const P1_5: f64 = 0.00751774787;
const P2_5: f64 = 0.00113256993;
const P3_5: f64 = 0.000446664963;
const P4_5: f64 = -0.00011258328;
const P5_5: f64 = 0.000118943471;

/** What a rectifier's arithmetic can leave out. */
export namespace Form {
  /** Nothing: any slopes. */
  export const GENERAL: u32 = 0;
  /** A relu: no slope on the negative side, and an arc of twice the positive slope. */
  export const RELU: u32 = 1;
  /** A relu with factor 1 of covariances that are nowhere negative. */
  export const PLAIN: u32 = 2;
}

/** The form of a rectifier; `positive`: its input is nowhere negative. */
export function rectifierForm(step: Step, positive: bool): u32 {
  if (!isRelu(step)) return Form.GENERAL;
  return positive && step.positive64 == 1 ? Form.PLAIN : Form.RELU;
}

function isRelu(step: Step): bool {
  return step.negative64 == 0 && step.factor64 == 2 * step.positive64;
}

/** What `variance` multiplies a standard deviation with. */
export function rectifierGain(step: Step): f64 {
  return isRelu(step) ? Math.sqrt(step.positive64) : 1;
}

/** Whether a rectifier's P is the one of degree 4, in v = lambda u. */
function isQuartic(step: Step): bool {
  return !ASC_FEATURE_RELAXED_SIMD && isRelu(step);
}

/** sqrt(lambda), which `variance` folds into a rectifier's 1/s. */
export function rectifierRootLambda(step: Step): f64 {
  return isQuartic(step) ? ROOT_LAMBDA : 1;
}

/**
 * Writes the constants of a rectifier, splat vectors (read from memory because V8 rebuilds literals in every turn):
 * magnitude's mask, positive, P's six, and for other rectifiers than relus the factors of the negative side and of the arc.
 */
export function prepareRectifier(at: usize, step: Step): void {
  v128.store(at, i32x4.splat(0x7fffffff));
  splat(at + 16, step.positive64);
  splat(at + 128, step.negative64);
  splat(at + 144, 0.5 * step.factor64);
  if (!isQuartic(step)) {
    splat(at + 32, 2 * P0_5);
    splat(at + 48, 2 * P1_5);
    splat(at + 64, 2 * P2_5);
    splat(at + 80, 2 * P3_5);
    splat(at + 96, 2 * P4_5);
    splat(at + 112, 2 * P5_5);
    return;
  }
  const lambda = ROOT_LAMBDA * ROOT_LAMBDA;
  splat(at + 32, A1 * lambda);
  splat(at + 48, B1 * lambda * lambda);
  splat(at + 64, A2 * lambda);
  splat(at + 80, B2 * lambda * lambda);
}

export function splat(at: usize, value: f64): void {
  v128.store(at, f32x4.splat(<f32>value));
}

/**
 * A rectifier of four covariances `k`. `x` points at the one image's (s, r) of this pixel, `y` at the four others'. The
 * constants are those of `prepareRectifier`, in its order; callers hold them in locals, because V8 would load them anew
 * for every pixel. `form` and `negative` and `curve` of forms that have no use for them are constants at compile time.
 */
// @ts-ignore: decorator
@inline
export function rectify(
  form: u32, k: v128, x: usize, y: usize, magnitude: v128, positive: v128,
  a: v128, b: v128, c: v128, e: v128, f: v128, g: v128, negative: v128, curve: v128,
): v128 {
  const n = f32x4.mul(v128.load32_splat(x), v128.load(y));
  if (form == Form.GENERAL) {
    const zero = f32x4.splat(0);
    const d = v128.and(f32x4.sub(n, v128.and(k, magnitude)), magnitude);
    const sides = f32x4.add(
      f32x4.mul(positive, f32x4.pmax(zero, k)), f32x4.mul(negative, f32x4.pmax(zero, f32x4.neg(k))),
    );
    return f32x4.add(sides, f32x4.mul(curve, quinticArc(zero, d, x, y, a, b, c, e, f, g)));
  }
  if (form == Form.RELU) {
    const scaled = f32x4.mul(k, positive);
    const d = v128.and(f32x4.sub(n, v128.and(scaled, magnitude)), magnitude);
    return reluArc(f32x4.pmax(f32x4.splat(0), scaled), d, x, y, a, b, c, e, f, g);
  }
  const d = v128.and(f32x4.sub(n, k), magnitude);
  return reluArc(k, d, x, y, a, b, c, e, f, g);
}

/** base + 2 d sqrt(u) P(u): in the plain build P of degree 4, as base + d sqrt(v) Q(v). */
// @ts-ignore: decorator
@inline
function reluArc(
  base: v128, d: v128, x: usize, y: usize, a: v128, b: v128, c: v128, e: v128, f: v128, g: v128,
): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return quinticArc(base, d, x, y, a, b, c, e, f, g);
  const v = f32x4.mul(d, f32x4.mul(v128.load32_splat(x, 4), v128.load(y, LANE_BYTES)));
  const root = f32x4.mul(d, f32x4.sqrt(v));
  const first = f32x4.add(f32x4.mul(f32x4.add(v, a), v), b);
  const second = f32x4.add(f32x4.mul(f32x4.add(v, c), v), e);
  return f32x4.add(base, f32x4.mul(root, f32x4.mul(first, second)));
}

/** base + 2 d sqrt(u) P(u), P of degree 5. */
// @ts-ignore: decorator
@inline
function quinticArc(
  base: v128, d: v128, x: usize, y: usize, a: v128, b: v128, c: v128, e: v128, f: v128, g: v128,
): v128 {
  const u = f32x4.mul(d, f32x4.mul(v128.load32_splat(x, 4), v128.load(y, LANE_BYTES)));
  const root = f32x4.mul(d, f32x4.sqrt(u));
  let p = multiplyAdd(g, u, f);
  p = multiplyAdd(p, u, e);
  p = multiplyAdd(p, u, c);
  p = multiplyAdd(p, u, b);
  p = multiplyAdd(p, u, a);
  return multiplyAdd(root, p, base);
}

/** a b + c, fused where the build can. */
// @ts-ignore: decorator
@inline
function multiplyAdd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}
