/**
 * Rectifiers and Heaviside's step on half squared distances D (and NTKs T) of four pairs, in float32, without acos.
 *
 * With s, s' the two images' standard deviations at a pixel, which stand in the tables as sigma = s / sqrt 2 and r =
 * 1/s (times `SLANT`):
 *
 *     n = s s' = 2 sigma sigma',  d = D - (s - s')^2 / 2 = D - (sigma - sigma')^2,  k = n - d,  u = d r r',  q = sqrt u
 *
 *     k >= 0:   D' = positive D - curve d q P(u),     T' = T (positive - curve q A(u))
 *     k < 0:    the same of d' = n - |k| = 2 n - d, with D' = positive (D + k) - negative |k| - curve d' q' P(u'),
 *               T' = T (curve q' A(u') - negative)
 *
 * P and A are minimax polynomials: kappa_1 = c / 2 + u q P, kappa_0 = 1/2 - q A, errors 1.5e-8 and 3.1e-7. Equal pixels
 * have D = 0 and sigma = sigma', so d = 0 and kappa_0 = 1/2 exactly; nothing cancels near them. d is held in [0, 2 n],
 * and in [0, n] where no covariance can be negative: a pixel of no variance then has k = 0 and T' = 0 exactly.
 *
 * Whether a row of pixels is taken by the general form or by that of positive covariances has no influence on a pair's
 * bits: where k >= 0 both do the same operations, and the bound of d is chosen for each pair (`limit`).
 */
import { A1 as FIRST_A, A2 as SECOND_A, B1 as FIRST_B, B2 as SECOND_B, ROOT_LAMBDA, splat } from "../covariance/kappa";
import { StepKind } from "../generated/kernels";
import { Step } from "../covariance/step";
import { LANE_BYTES, LANES_PIXEL_BYTES } from "../covariance/table";
import { ROW_PIXEL_BYTES } from "./run";

const P0: f64 = 0.150051598;
const P1: f64 = 0.00751774787;
const P2: f64 = 0.00113256993;
const P3: f64 = 0.000446664963;
const P4: f64 = -0.00011258328;
const P5: f64 = 0.000118943471;

/** P of degree 4, error 1.3e-7: what relus in `block.ts` take. */
const Q0: f64 = 0.150058971;
const Q1: f64 = 0.00744111604;
const Q2: f64 = 0.00141643944;
const Q3: f64 = -3.7830636e-5;
const Q4: f64 = 0.000276225965;

const A0: f64 = 0.225077324;
const A1: f64 = 0.0187980901;
const A2: f64 = 0.00393409767;
const A3: f64 = 0.0020950863;
const A4: f64 = -0.000718920738;
const A5: f64 = 0.000814244464;

/** Places of the constants: P and A with the curve (or a step's scale) multiplied in. */
const POSITIVE: usize = 0;
const BOTH: usize = 16;
const NEGATIVE: usize = 32;
const P: usize = 48;
const A: usize = 144;
/** Those of `block.ts`, which takes relus only: curve P, and curve A, of the variable that `slantOf` gives. */
export const BLOCK_P: usize = 240;
export const BLOCK_A: usize = 336;

/**
 * What 1/s is multiplied with in the tables. The relus of `block.ts` have P of degree 4. In the plain build, which has
 * no fused multiply-add, they have it as in `kappa.ts`: with v = lambda u and lambda^4.5 = 2 p4, 2 sqrt(u) P(u) =
 * sqrt(v) Q(v), Q monic and the product of two quadratics.
 */
export const SLANT: f64 = ASC_FEATURE_RELAXED_SIMD ? 1 : ROOT_LAMBDA;
const LAMBDA: f64 = SLANT * SLANT;

/** Constants of a relu's loop, curve = 2. */
function prepareBlock(at: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    splat(at + BLOCK_P, 2 * Q0);
    splat(at + BLOCK_P + 16, 2 * Q1);
    splat(at + BLOCK_P + 32, 2 * Q2);
    splat(at + BLOCK_P + 48, 2 * Q3);
    splat(at + BLOCK_P + 64, 2 * Q4);
  } else {
    splat(at + BLOCK_P, FIRST_A * LAMBDA);
    splat(at + BLOCK_P + 16, FIRST_B * LAMBDA * LAMBDA);
    splat(at + BLOCK_P + 32, SECOND_A * LAMBDA);
    splat(at + BLOCK_P + 48, SECOND_B * LAMBDA * LAMBDA);
  }
  // 2 sqrt(u) A(u) = sqrt(v) (sum of 2 A_i lambda^-(i + 1/2) v^i).
  splat(at + BLOCK_A, (2 * A0) / SLANT);
  splat(at + BLOCK_A + 16, (2 * A1) / (SLANT * LAMBDA));
  splat(at + BLOCK_A + 32, (2 * A2) / (SLANT * LAMBDA ** 2));
  splat(at + BLOCK_A + 48, (2 * A3) / (SLANT * LAMBDA ** 3));
  splat(at + BLOCK_A + 64, (2 * A4) / (SLANT * LAMBDA ** 4));
  splat(at + BLOCK_A + 80, (2 * A5) / (SLANT * LAMBDA ** 5));
}

export function prepareBend(at: usize, step: Step): void {
  const scale = step.factor64;
  const heaviside = step.kind == StepKind.step;
  // Of a step: scale / 2, and scale / 4.
  splat(at + POSITIVE, heaviside ? 0.5 * scale : step.positive64);
  splat(at + BOTH, heaviside ? 0.25 * scale : step.positive64 + step.negative64);
  splat(at + NEGATIVE, step.negative64);
  splat(at + P, scale * P0);
  splat(at + P + 16, scale * P1);
  splat(at + P + 32, scale * P2);
  splat(at + P + 48, scale * P3);
  splat(at + P + 64, scale * P4);
  splat(at + P + 80, scale * P5);
  splat(at + A, scale * A0);
  splat(at + A + 16, scale * A1);
  splat(at + A + 32, scale * A2);
  splat(at + A + 48, scale * A3);
  splat(at + A + 64, scale * A4);
  splat(at + A + 80, scale * A5);
  if (!heaviside) prepareBlock(at);
}

/** a b + c and c - a b, fused where the build can. */
// @ts-ignore: decorator
@inline
export function multiplyAdd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

// @ts-ignore: decorator
@inline
export function multiplySubtract(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_nmadd(a, b, c);
  return f32x4.sub(c, f32x4.mul(a, b));
}

/** n of a pixel pair. */
// @ts-ignore: decorator
@inline
export function normOf(x: usize, y: usize): v128 {
  return f32x4.mul(v128.load32_splat(x, 4), v128.load(y));
}

/** d in [0, limit]. */
// @ts-ignore: decorator
@inline
export function gapOf(distance: v128, x: usize, y: usize, limit: v128): v128 {
  const h = f32x4.sub(v128.load32_splat(x), v128.load(y));
  return f32x4.pmin(limit, f32x4.pmax(f32x4.splat(0), multiplySubtract(h, h, distance)));
}

/** u of a d, times lambda (1 where there are fused multiply-adds). */
// @ts-ignore: decorator
@inline
export function slantOf(d: v128, x: usize, y: usize): v128 {
  return f32x4.mul(d, f32x4.mul(v128.load32_splat(x, 8), v128.load(y, LANE_BYTES)));
}

/** u of a d. */
// @ts-ignore: decorator
@inline
function cosineGap(d: v128, x: usize, y: usize): v128 {
  const u = slantOf(d, x, y);
  return ASC_FEATURE_RELAXED_SIMD ? u : f32x4.mul(u, f32x4.splat(<f32>(1 / LAMBDA)));
}

/** A polynomial of degree 5, by its constants at `at`. */
// @ts-ignore: decorator
@inline
function horner(u: v128, at: usize): v128 {
  let p = multiplyAdd(v128.load(at, 80), u, v128.load(at, 64));
  p = multiplyAdd(p, u, v128.load(at, 48));
  p = multiplyAdd(p, u, v128.load(at, 32));
  p = multiplyAdd(p, u, v128.load(at, 16));
  return multiplyAdd(p, u, v128.load(at));
}

/** A rectifier of `count` pixels: any slopes, any signs. `limits`: see `limitOf`. */
export function rectifierRow(
  constants: usize, from: usize, to: usize, count: u32, x: usize, y: usize, unit: usize, ntk: u32, accumulate: u32,
  limits: usize,
): void {
  const zero = f32x4.splat(0);
  const limit = v128.load(limits);
  for (; count; count--) {
    const distance = v128.load(from);
    const n = normOf(x, y);
    const all = gapOf(distance, x, y, f32x4.mul(limit, n));
    const k = f32x4.sub(n, all);
    const below = f32x4.pmin(zero, k);
    const d = f32x4.pmin(f32x4.sub(f32x4.add(n, n), all), all);
    const u = cosineGap(d, x, y);
    const q = f32x4.sqrt(u);
    const straight = multiplyAdd(
      v128.load(constants, BOTH), below, f32x4.mul(v128.load(constants, POSITIVE), distance),
    );
    let value = multiplySubtract(f32x4.mul(d, q), horner(u, constants + P), straight);
    if (accumulate) value = f32x4.add(v128.load(to), value);
    v128.store(to, value);
    if (ntk) {
      const turn = horner(u, constants + A);
      const ahead = multiplySubtract(q, turn, v128.load(constants, POSITIVE));
      const behind = f32x4.sub(f32x4.mul(q, turn), v128.load(constants, NEGATIVE));
      let slope = f32x4.mul(v128.load(from, 16), v128.bitselect(ahead, behind, f32x4.ge(k, zero)));
      if (accumulate) slope = f32x4.add(v128.load(to, 16), slope);
      v128.store(to, slope, 16);
    }
    from += unit;
    to += unit;
    x += ROW_PIXEL_BYTES;
    y += LANES_PIXEL_BYTES;
  }
}

/** Heaviside's step of `count` pixels: D' = scale q A(u), or scale (1/2 - q' A(u')) where k < 0. */
export function stepRow(
  constants: usize, from: usize, to: usize, count: u32, x: usize, y: usize, unit: usize, accumulate: u32, limits: usize,
): void {
  const zero = f32x4.splat(0);
  const limit = v128.load(limits);
  for (; count; count--) {
    const n = normOf(x, y);
    const all = gapOf(v128.load(from), x, y, f32x4.mul(limit, n));
    const d = f32x4.pmin(f32x4.sub(f32x4.add(n, n), all), all);
    const u = cosineGap(d, x, y);
    const turn = f32x4.mul(f32x4.sqrt(u), horner(u, constants + A));
    const half = v128.load(constants, POSITIVE);
    let value = v128.bitselect(turn, f32x4.sub(half, turn), f32x4.ge(f32x4.sub(n, all), zero));
    // Where one of the two has no variance it is a quarter, and nothing where neither has.
    const mine = f32x4.gt(v128.load32_splat(x), zero);
    const other = f32x4.gt(v128.load(y), zero);
    const single = v128.and(v128.load(constants, BOTH), v128.xor(mine, other));
    value = v128.bitselect(value, single, v128.and(mine, other));
    if (accumulate) value = f32x4.add(v128.load(to), value);
    v128.store(to, value);
    from += unit;
    to += unit;
    x += ROW_PIXEL_BYTES;
    y += LANES_PIXEL_BYTES;
  }
}
