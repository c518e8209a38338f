/**
 * The nonlinearities that give angles, on four pairs at once, in float32: Heaviside's step (arc-cosine of order 0) and
 * erf (arc-sine). With n = s s', covariance k, d = |n - |k|| and u = d / n = 1 - |c|, nothing cancels near |c| = 1:
 *
 *     acos |c| = sqrt(u) Q(u),    Q a minimax polynomial of degree 7 on [0, 1], relative error 1.5e-8
 *
 *     step    kappa_0 = 1/2 - acos|c| / 2 pi  for c >= 0,  acos|c| / 2 pi  for c < 0
 *     erf     asin c = z S(z^2) for |z| <= 1/2, S of degree 5 on [0, 1/4], relative error 4.4e-9;
 *             beyond, sign(c) (pi/2 - acos|c|)
 *
 * Error in float32 arithmetic, of c as it comes: asin 2.7e-7 relative (at |z| just above 1/2), kappa_0 4.2e-8 absolute.
 *
 * kappa_0 has an infinite slope at c = 1: an error of e in k / n makes one of e / (2 pi sqrt(2 u)), and sqrt(2 e) / 2 pi
 * where u = 0. Patches that agree in both images (all of a blank background) are common, and there u is a few roundings
 * of k and n: it counts as zero up to U_EQUAL, and kappa_0 is exactly 1/2. Patches so close but different are off by
 * sqrt(2 U_EQUAL) / 2 pi = 1.6e-4 at most; they differ by less than a thousandth of their norm.
 */
import { splat } from "./kappa";
import { Step } from "./step";
import { LANE_BYTES } from "./table";

const Q0: f64 = 1.41421354178;
const Q1: f64 = 0.117853631145;
const Q2: f64 = 0.0264669124419;
const Q3: f64 = 0.00826283309883;
const Q4: f64 = 0.0013455184483;
const Q5: f64 = 0.00353599198739;
const Q6: f64 = -0.00213558243403;
const Q7: f64 = 0.00125345745425;

const S0: f64 = 0.999999995584;
const S1: f64 = 0.166667901096;
const S2: f64 = 0.0749443476011;
const S3: f64 = 0.0455501853214;
const S4: f64 = 0.0238581693462;
const S5: f64 = 0.0426356423422;

/** 8 roundings of float32. */
const U_EQUAL: f64 = 4.76837158203125e-7;

/** pi/2 as the sum of two float32. */
const RIGHT_ANGLE: f64 = 1.57079637050628662109375;
const RIGHT_ANGLE_REST: f64 = -4.37113900018624283e-8;

/** Constants of both, as splat vectors: magnitude's mask, the step's scale, Q's eight; then what each has of its own. */
const Q: usize = 32;
const OWN: usize = Q + 8 * 16;

/** acos|c| / unit, by its constants at `at`. */
function prepareAngle(at: usize, step: Step, unit: f64): void {
  v128.store(at, i32x4.splat(0x7fffffff));
  splat(at + 16, step.factor64);
  splat(at + Q, Q0 / unit);
  splat(at + Q + 16, Q1 / unit);
  splat(at + Q + 32, Q2 / unit);
  splat(at + Q + 48, Q3 / unit);
  splat(at + Q + 64, Q4 / unit);
  splat(at + Q + 80, Q5 / unit);
  splat(at + Q + 96, Q6 / unit);
  splat(at + Q + 112, Q7 / unit);
}

export function prepareStep(at: usize, step: Step): void {
  prepareAngle(at, step, 2 * Math.PI);
  splat(at + OWN, U_EQUAL);
  splat(at + OWN + 16, 0.5);
}

export function prepareErf(at: usize, step: Step): void {
  prepareAngle(at, step, 1);
  splat(at + OWN, RIGHT_ANGLE);
  splat(at + OWN + 16, RIGHT_ANGLE_REST);
  splat(at + OWN + 32, S0);
  splat(at + OWN + 48, S1);
  splat(at + OWN + 64, S2);
  splat(at + OWN + 80, S3);
  splat(at + OWN + 96, S4);
  splat(at + OWN + 112, S5);
  splat(at + OWN + 128, 0.5);
}

/** Bytes that the constants of any of these take. */
export const ANGLE_BYTES: usize = OWN + 9 * 16;

/** scale kappa_0; 0 where an image has no variance. */
// @ts-ignore: decorator
@inline
export function stepFour(k: v128, x: usize, y: usize, constants: usize): v128 {
  const magnitude = v128.load(constants);
  const n = f32x4.mul(v128.load32_splat(x), v128.load(y));
  const rr = f32x4.mul(v128.load32_splat(x, 4), v128.load(y, LANE_BYTES));
  const d = v128.and(f32x4.sub(n, v128.and(k, magnitude)), magnitude);
  const near = f32x4.mul(d, rr);
  const u = v128.and(near, f32x4.gt(near, v128.load(constants, OWN)));
  const turn = angle(u, constants);
  const ahead = f32x4.ge(k, f32x4.splat(0));
  const half = v128.load(constants, OWN + 16);
  const value = f32x4.mul(v128.load(constants, 16), v128.bitselect(f32x4.sub(half, turn), turn, ahead));
  return v128.and(value, f32x4.gt(n, f32x4.splat(0)));
}

/** scale asin(k / n). */
// @ts-ignore: decorator
@inline
export function erfFour(k: v128, x: usize, y: usize, constants: usize): v128 {
  const n = f32x4.mul(v128.load32_splat(x), v128.load(y));
  const rr = f32x4.mul(v128.load32_splat(x, 4), v128.load(y, LANE_BYTES));
  const magnitude = v128.load(constants);
  const d = v128.and(f32x4.sub(n, v128.and(k, magnitude)), magnitude);
  return f32x4.mul(v128.load(constants, 16), arcsine(f32x4.mul(k, rr), f32x4.mul(d, rr), constants));
}

/** asin z, by the constants of erf; `rest` is 1 - |z|. */
// @ts-ignore: decorator
@inline
export function arcsine(z: v128, rest: v128, constants: usize): v128 {
  const magnitude = v128.load(constants);
  const square = f32x4.mul(z, z);
  let s = v128.load(constants, OWN + 112);
  s = f32x4.add(f32x4.mul(s, square), v128.load(constants, OWN + 96));
  s = f32x4.add(f32x4.mul(s, square), v128.load(constants, OWN + 80));
  s = f32x4.add(f32x4.mul(s, square), v128.load(constants, OWN + 64));
  s = f32x4.add(f32x4.mul(s, square), v128.load(constants, OWN + 48));
  s = f32x4.add(f32x4.mul(s, square), v128.load(constants, OWN + 32));
  const small = f32x4.mul(z, s);
  const large = f32x4.add(
    f32x4.sub(v128.load(constants, OWN), angle(rest, constants)), v128.load(constants, OWN + 16),
  );
  const isSmall = f32x4.le(v128.and(z, magnitude), v128.load(constants, OWN + 128));
  return v128.bitselect(small, v128.bitselect(large, z, magnitude), isSmall);
}

/** sqrt(u) Q(u). */
// @ts-ignore: decorator
@inline
function angle(u: v128, constants: usize): v128 {
  let q = v128.load(constants, Q + 112);
  q = f32x4.add(f32x4.mul(q, u), v128.load(constants, Q + 96));
  q = f32x4.add(f32x4.mul(q, u), v128.load(constants, Q + 80));
  q = f32x4.add(f32x4.mul(q, u), v128.load(constants, Q + 64));
  q = f32x4.add(f32x4.mul(q, u), v128.load(constants, Q + 48));
  q = f32x4.add(f32x4.mul(q, u), v128.load(constants, Q + 32));
  q = f32x4.add(f32x4.mul(q, u), v128.load(constants, Q + 16));
  q = f32x4.add(f32x4.mul(q, u), v128.load(constants, Q));
  return f32x4.mul(f32x4.sqrt(u), q);
}
