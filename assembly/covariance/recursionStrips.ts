/**
 * The steps of recursions on strips of pairs, four at a time (`sdk/covariance/recursion.ts` has the formulas). A strip of
 * a slot is K, the gap d = n - |K|, and theta, STRIP_BYTES apart. Of the row's image a step gets numbers, of the columns' images the
 * addresses of the table's rows.
 *
 *     P, degree 5, error 1.5e-8      w(c) = u sqrt(u) P(u), the arc of order 1
 *     A, degree 5, error 3.1e-7      acos|c| / 2 pi = sqrt(u) A(u), from which the derivative's covariance
 *     B, degree 5, error 1.5e-8      the arc of order 2 is u^(5/2) B(u)
 *     T, degree 3, error 7.6e-8      1 - cos x = x^2 T(x^2), |x| <= pi / 2
 *     E, degree 6, error 1.9e-9      exp on [-ln 2 / 2, ln 2 / 2]
 *     Q, S                           acos and asin for erf: see `angles.ts`
 *
 * Minimax fits, evaluated by Horner's scheme. Constants are read from memory because V8 rebuilds literals in every turn.
 */
import { RecursionKind } from "../generated/kernels";
import { RecursionStep } from "./recursionStep";

export const STRIP_BYTES: usize = 1024;

const P: usize = 0;
const A: usize = 96;
const B: usize = 192;
const T: usize = 288;
const E: usize = 352;
const Q: usize = 464;
const S: usize = 592;
const HALF_PI: usize = 688;
const HALF_PI_REST: usize = 704;
const LOG2_E: usize = 720;
const LN_2: usize = 736;
const LN_2_REST: usize = 752;
export const CONSTANT_BYTES: usize = 1024;

// @ts-ignore: decorator
@inline
function put(at: usize, index: usize, value: f32): void {
  v128.store(at + (index << 4), f32x4.splat(value));
}

export function prepareConstants(at: usize): void {
  put(at + P, 0, 0.150051598);
  put(at + P, 1, 0.00751774787);
  put(at + P, 2, 0.00113256993);
  put(at + P, 3, 0.000446664963);
  put(at + P, 4, -0.00011258328);
  put(at + P, 5, 0.000118943471);
  put(at + A, 0, 0.225077324);
  put(at + A, 1, 0.0187980901);
  put(at + A, 2, 0.00393409767);
  put(at + A, 3, 0.0020950863);
  put(at + A, 4, -0.000718920738);
  put(at + A, 5, 0.000814244464);
  put(at + B, 0, 0.480168687);
  put(at + B, 1, 0.0171498734);
  put(at + B, 2, 0.00213281458);
  put(at + B, 3, 0.000448287213);
  put(at + B, 4, 0.0000235766245);
  put(at + B, 5, 0.0000767461838);
  put(at + T, 0, 0.499999924);
  put(at + T, 1, -0.0416656743);
  put(at + T, 2, 0.00138686656);
  put(at + T, 3, -0.0000234775598);
  put(at + E, 0, 1);
  put(at + E, 1, 1.00000004);
  put(at + E, 2, 0.499999921);
  put(at + E, 3, 0.166664201);
  put(at + E, 4, 0.0416682261);
  put(at + E, 5, 0.00837482209);
  put(at + E, 6, 0.00138368375);
  put(at + Q, 0, 1.41421354178);
  put(at + Q, 1, 0.117853631145);
  put(at + Q, 2, 0.0264669124419);
  put(at + Q, 3, 0.00826283309883);
  put(at + Q, 4, 0.0013455184483);
  put(at + Q, 5, 0.00353599198739);
  put(at + Q, 6, -0.00213558243403);
  put(at + Q, 7, 0.00125345745425);
  put(at + S, 0, 0.999999995584);
  put(at + S, 1, 0.166667901096);
  put(at + S, 2, 0.0749443476011);
  put(at + S, 3, 0.0455501853214);
  put(at + S, 4, 0.0238581693462);
  put(at + S, 5, 0.0426356423422);
  put(at + HALF_PI, 0, 1.57079637050628662109375);
  put(at + HALF_PI_REST, 0, -4.37113900018624283e-8);
  put(at + LOG2_E, 0, 1.44269504);
  put(at + LN_2, 0, 0.693359375); // 10 bits: its multiples are exact
  put(at + LN_2_REST, 0, -0.000212194440);
}

/** a b + c, fused where the build can. */
// @ts-ignore: decorator
@inline
function multiplyAdd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** A polynomial of degree 5 whose coefficients stand at `at`. */
// @ts-ignore: decorator
@inline
function quintic(u: v128, at: usize): v128 {
  let p = multiplyAdd(v128.load(at, 80), u, v128.load(at, 64));
  p = multiplyAdd(p, u, v128.load(at, 48));
  p = multiplyAdd(p, u, v128.load(at, 32));
  p = multiplyAdd(p, u, v128.load(at, 16));
  return multiplyAdd(p, u, v128.load(at));
}

/** 1 - cos(phi - phi'). */
// @ts-ignore: decorator
@inline
function turn(phi: v128, others: usize, constants: usize): v128 {
  const difference = f32x4.sub(phi, v128.load(others));
  const square = f32x4.mul(difference, difference);
  let t = multiplyAdd(v128.load(constants + T, 48), square, v128.load(constants + T, 32));
  t = multiplyAdd(t, square, v128.load(constants + T, 16));
  t = multiplyAdd(t, square, v128.load(constants + T));
  return f32x4.mul(square, t);
}

/** What |a| + |b| has more than |a + b|: terms of different signs have a larger gap than the sum of theirs. */
// @ts-ignore: decorator
@inline
function crossing(a: v128, b: v128): v128 {
  const lesser = f32x4.pmin(f32x4.abs(a), f32x4.abs(b));
  const differ = i32x4.shr_s(v128.xor(a, b), 31);
  return v128.and(differ, f32x4.add(lesser, lesser));
}

export function affineStrip(
  step: RecursionStep, from: usize, to: usize, bytes: usize, ntk: bool,
  own: f32, owns: usize, phi: f32, phis: usize, constants: usize,
): void {
  const weight = f32x4.splat(step.factor);
  const bias = f32x4.splat(step.bias);
  const gain = f32x4.splat(step.gain);
  const offset = f32x4.splat(step.offset);
  const owned = f32x4.splat(own);
  const angle = f32x4.splat(phi);
  const biased = step.biased != 0;
  for (let at: usize = 0; at < bytes; at += 16) {
    const k = v128.load(from + at);
    let d = f32x4.mul(weight, v128.load(from + at, STRIP_BYTES));
    if (biased) {
      const n = f32x4.mul(owned, v128.load(owns + at));
      d = f32x4.add(d, f32x4.mul(n, turn(angle, phis + at, constants)));
      d = f32x4.add(d, crossing(f32x4.mul(weight, k), bias));
    }
    const value = f32x4.add(f32x4.mul(weight, k), bias);
    v128.store(to + at, value);
    v128.store(to + at, d, STRIP_BYTES);
    if (!ntk) continue;
    const theta = f32x4.mul(weight, v128.load(from + at, 2 * STRIP_BYTES));
    v128.store(to + at, f32x4.add(f32x4.add(theta, f32x4.mul(gain, value)), offset), 2 * STRIP_BYTES);
  }
}

/** Rectifiers, steps and squares: what takes the angle between two images. */
export function arcStrip(
  step: RecursionStep, from: usize, to: usize, bytes: usize, ntk: bool,
  s: f32, ss: usize, r: f32, rs: usize, constants: usize,
): void {
  if (step.kind == RecursionKind.rectifier) {
    if (ntk) rectifierStrip(true, step, from, to, bytes, s, ss, r, rs, constants);
    else rectifierStrip(false, step, from, to, bytes, s, ss, r, rs, constants);
    return;
  }
  const zero = f32x4.splat(0);
  const two = f32x4.splat(2);
  const half = f32x4.splat(0.5 * step.factor);
  const scale = f32x4.splat(step.factor);
  const sx = f32x4.splat(s);
  const rx = f32x4.splat(r);
  for (let at: usize = 0; at < bytes; at += 16) {
    const k = v128.load(from + at);
    const d = v128.load(from + at, STRIP_BYTES);
    const n = f32x4.mul(sx, v128.load(ss + at));
    const near = f32x4.pmax(zero, d);
    const u = f32x4.mul(near, f32x4.mul(rx, v128.load(rs + at)));
    const root = f32x4.sqrt(u);
    const far = f32x4.lt(k, zero);
    let value: v128, gap: v128;
    if (step.kind == RecursionKind.step) {
      const part = f32x4.mul(f32x4.mul(scale, root), quintic(u, constants + A));
      const rest = f32x4.sub(half, part);
      const alive = f32x4.gt(n, zero);
      value = v128.and(alive, v128.bitselect(part, rest, far));
      gap = v128.and(alive, v128.bitselect(rest, part, far));
    } else {
      const nn = f32x4.mul(n, n);
      const arc = f32x4.mul(f32x4.mul(nn, f32x4.mul(f32x4.mul(u, u), root)), quintic(u, constants + B));
      const smooth = f32x4.add(nn, f32x4.mul(two, f32x4.mul(k, k)));
      value = v128.bitselect(arc, f32x4.sub(smooth, arc), far);
      const gapNear = f32x4.add(f32x4.mul(f32x4.mul(two, d), f32x4.add(n, k)), arc);
      gap = v128.bitselect(f32x4.sub(f32x4.mul(f32x4.splat(3), nn), arc), gapNear, far);
    }
    v128.store(to + at, value);
    v128.store(to + at, gap, STRIP_BYTES);
    if (ntk) v128.store(to + at, zero, 2 * STRIP_BYTES);
  }
}

// @ts-ignore: decorator
@inline
function rectifierStrip(
  ntk: bool, step: RecursionStep, from: usize, to: usize, bytes: usize,
  s: f32, ss: usize, r: f32, rs: usize, constants: usize,
): void {
  const zero = f32x4.splat(0);
  const positive = f32x4.splat(step.positive);
  const negative = f32x4.splat(step.negative);
  const curve = f32x4.splat(step.factor);
  const flat = f32x4.splat(step.positive - step.negative);
  const steep = f32x4.splat(step.positive + step.negative);
  const sx = f32x4.splat(s);
  const rx = f32x4.splat(r);
  for (let at: usize = 0; at < bytes; at += 16) {
    const k = v128.load(from + at);
    const d = v128.load(from + at, STRIP_BYTES);
    const n = f32x4.mul(sx, v128.load(ss + at));
    const near = f32x4.pmax(zero, d);
    const u = f32x4.mul(near, f32x4.mul(rx, v128.load(rs + at)));
    const root = f32x4.mul(curve, f32x4.sqrt(u));
    const far = f32x4.lt(k, zero);
    const slope = v128.bitselect(negative, positive, far);
    const arc = f32x4.mul(root, quintic(u, constants + P));
    const straight = v128.bitselect(f32x4.neg(slope), slope, far);
    const value = f32x4.add(f32x4.mul(straight, k), f32x4.mul(near, arc));
    v128.store(to + at, value);
    // Below 0 comes only what was there, by a negative slope that is negative.
    const below = f32x4.lt(value, zero);
    const bow = f32x4.mul(near, f32x4.sub(slope, arc));
    const gap = v128.bitselect(f32x4.neg(bow), bow, below);
    const rest = f32x4.mul(v128.bitselect(steep, flat, below), n);
    v128.store(to + at, f32x4.add(gap, v128.and(far, rest)), STRIP_BYTES);
    if (!ntk) continue;
    // positive - curve sqrt(u) A(u), or curve sqrt(u) A(u) - negative.
    const bend = f32x4.mul(root, quintic(u, constants + A));
    const turned = f32x4.sub(slope, bend);
    const derivative = v128.bitselect(f32x4.neg(turned), turned, far);
    v128.store(to + at, f32x4.mul(derivative, v128.load(from + at, 2 * STRIP_BYTES)), 2 * STRIP_BYTES);
  }
}

export function erfStrip(
  step: RecursionStep, from: usize, to: usize, bytes: usize, ntk: bool,
  r: f32, rs: usize, own: f32, owns: usize, phi: f32, phis: usize, constants: usize,
): void {
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  const scale = f32x4.splat(step.factor);
  const offset = f32x4.splat(step.bias);
  const rx = f32x4.splat(r);
  const owned = f32x4.splat(own);
  const angle = f32x4.splat(phi);
  for (let at: usize = 0; at < bytes; at += 16) {
    const d = v128.load(from + at, STRIP_BYTES);
    const rr = f32x4.mul(rx, v128.load(rs + at));
    const z = f32x4.mul(v128.load(from + at), rr);
    // 1 - |z|, the offset taken for one more coordinate.
    const turned = turn(angle, phis + at, constants);
    const g = f32x4.add(f32x4.mul(f32x4.add(offset, f32x4.pmax(zero, d)), rr), turned);
    const isNegative = f32x4.lt(z, zero);
    const c = f32x4.abs(z);
    const square = f32x4.mul(z, z);
    const small = f32x4.mul(c, quintic(square, constants + S));
    let q = multiplyAdd(v128.load(constants + Q, 112), g, v128.load(constants + Q, 96));
    q = multiplyAdd(q, g, v128.load(constants + Q, 80));
    q = multiplyAdd(q, g, v128.load(constants + Q, 64));
    q = multiplyAdd(q, g, v128.load(constants + Q, 48));
    q = multiplyAdd(q, g, v128.load(constants + Q, 32));
    q = multiplyAdd(q, g, v128.load(constants + Q, 16));
    q = f32x4.mul(f32x4.sqrt(g), multiplyAdd(q, g, v128.load(constants + Q)));
    const large = f32x4.add(f32x4.sub(v128.load(constants + HALF_PI), q), v128.load(constants + HALF_PI_REST));
    const isLarge = f32x4.gt(c, f32x4.splat(0.5));
    const size = f32x4.mul(scale, v128.bitselect(large, small, isLarge));
    const value = v128.bitselect(f32x4.neg(size), size, isNegative);
    const n = f32x4.mul(owned, v128.load(owns + at));
    // Equal and opposite images have no gap, whatever their rounding.
    const same = v128.and(f32x4.eq(d, zero), f32x4.eq(turned, zero));
    v128.store(to + at, value);
    v128.store(to + at, v128.andnot(f32x4.pmax(zero, f32x4.sub(n, size)), same), STRIP_BYTES);
    if (!ntk) continue;
    // sqrt(1 - z^2), never 0: there is an offset.
    const sine = f32x4.sqrt(v128.bitselect(f32x4.mul(g, f32x4.add(one, c)), f32x4.sub(one, square), isLarge));
    const derivative = f32x4.div(f32x4.mul(scale, rr), sine);
    v128.store(to + at, f32x4.mul(derivative, v128.load(from + at, 2 * STRIP_BYTES)), 2 * STRIP_BYTES);
  }
}

export function powerStrip(
  step: RecursionStep, from: usize, to: usize, bytes: usize, own: f32, owns: usize,
): void {
  const owned = f32x4.splat(own);
  for (let at: usize = 0; at < bytes; at += 16) {
    let base = v128.load(from + at);
    let value = f32x4.splat(1);
    for (let degree = step.degree; degree > 0; degree >>= 1) {
      if (degree & 1) value = f32x4.mul(value, base);
      base = f32x4.mul(base, base);
    }
    v128.store(to + at, value);
    v128.store(to + at, f32x4.sub(f32x4.mul(owned, v128.load(owns + at)), f32x4.abs(value)), STRIP_BYTES);
  }
}

/** exp(-factor d) and exp(-factor sqrt(2 d)). */
export function radialStrip(step: RecursionStep, from: usize, to: usize, bytes: usize, constants: usize): void {
  const factor = f32x4.splat(-step.factor);
  const laplace = step.kind == RecursionKind.laplace;
  const zero = f32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) {
    let d = f32x4.pmax(zero, v128.load(from + at, STRIP_BYTES));
    if (laplace) d = f32x4.sqrt(f32x4.add(d, d));
    const value = exponential(f32x4.mul(factor, d), constants);
    v128.store(to + at, value);
    v128.store(to + at, f32x4.sub(f32x4.splat(1), value), STRIP_BYTES);
  }
}

/** exp(x) for x <= 0, to 2e-7 of itself; 0 below exp(-87), where float32 has no more normal numbers. */
// @ts-ignore: decorator
@inline
function exponential(x: v128, constants: usize): v128 {
  const least = f32x4.splat(-87);
  const inside = f32x4.ge(x, least);
  const kept = f32x4.pmax(least, x);
  const n = f32x4.nearest(f32x4.mul(kept, v128.load(constants + LOG2_E)));
  let r = f32x4.sub(kept, f32x4.mul(n, v128.load(constants + LN_2)));
  r = f32x4.sub(r, f32x4.mul(n, v128.load(constants + LN_2_REST)));
  let e = multiplyAdd(v128.load(constants + E, 96), r, v128.load(constants + E, 80));
  e = multiplyAdd(e, r, v128.load(constants + E, 64));
  e = multiplyAdd(e, r, v128.load(constants + E, 48));
  e = multiplyAdd(e, r, v128.load(constants + E, 32));
  e = multiplyAdd(e, r, v128.load(constants + E, 16));
  e = multiplyAdd(e, r, v128.load(constants + E));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return v128.and(inside, f32x4.mul(e, power));
}

/** slot += addend, of maps at the angles phi to each other. */
export function sumStrip(
  addend: usize, slot: usize, bytes: usize, ntk: bool,
  s: f32, ss: usize, phi: f32, phis: usize, constants: usize,
): void {
  const sx = f32x4.splat(s);
  const angle = f32x4.splat(phi);
  for (let at: usize = 0; at < bytes; at += 16) {
    const n = f32x4.mul(sx, v128.load(ss + at));
    const bend = f32x4.mul(n, turn(angle, phis + at, constants));
    const there = v128.load(slot + at);
    const added = v128.load(addend + at);
    const gaps = f32x4.add(v128.load(slot + at, STRIP_BYTES), v128.load(addend + at, STRIP_BYTES));
    v128.store(slot + at, f32x4.add(there, added));
    v128.store(slot + at, f32x4.add(f32x4.add(gaps, bend), crossing(there, added)), STRIP_BYTES);
    if (!ntk) continue;
    const theta = f32x4.add(v128.load(slot + at, 2 * STRIP_BYTES), v128.load(addend + at, 2 * STRIP_BYTES));
    v128.store(slot + at, theta, 2 * STRIP_BYTES);
  }
}
