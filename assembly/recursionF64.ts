/**
 * recursionF64: recursions (`sdk/covariance/recursion.ts`) in float64, one pair at a time, for `precision: "f64"`. Plain
 * on purpose: every gap comes from the points, angles from asin, nothing is fitted.
 */
import { buffer } from "./dispatch";
import { RECURSION_BYTES, RecursionF64Params, RecursionKind } from "./generated/kernels";
import {
  RecursionStep, ROW_BIAS, ROW_OWN, ROW_R, ROW_S, ROW_SLOT, ROW_SUM, TABLE_ROWS,
} from "./covariance/recursionStep";

/** A pair's K, d and theta in one slot. */
const SLOT_BYTES: usize = 24;

export function recursionF64(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<RecursionF64Params>(params);
  const output = buffer(buffers, 5);
  const pairs = <usize>p.rows * <usize>p.columns;
  const rowPitch = <usize>((p.rows + 3) & ~3) << 3;
  const columnPitch = <usize>((p.columns + 3) & ~3) << 3;
  for (let item = <u32>begin; item < <u32>end; item++) {
    const i = <usize>(item / p.columns);
    const j = <usize>(item % p.columns);
    const x = buffer(buffers, 1) + (i << 3);
    const y = buffer(buffers, 2) + (j << 3);
    let slot = scratch;
    for (let index: usize = 0; index < <usize>p.steps; index++) {
      const step = changetype<RecursionStep>(buffer(buffers, 0) + index * RECURSION_BYTES);
      slot = scratch + <usize>step.to * SLOT_BYTES;
      const xTable = x + index * TABLE_ROWS * rowPitch;
      const yTable = y + index * TABLE_ROWS * columnPitch;
      if (step.kind == RecursionKind.input) {
        const n = load<f64>(xTable + ROW_OWN * rowPitch) * load<f64>(yTable + ROW_OWN * columnPitch);
        const points = <usize>p.floats << 3;
        const px = buffer(buffers, 3) + i * points;
        const py = buffer(buffers, 4) + j * points;
        let half = halfSquare(px, py, 1, p.floats);
        // The gap of |K|: of directions more than a right angle apart, to the opposite point.
        const side: f64 = p.angle != 0 && half > 1 ? -1 : 1;
        if (side < 0) half = halfSquare(px, py, -1, p.floats);
        const d = n * half;
        // Of unit vectors far from each other the product is the cosine: n - d would round a small one off.
        store<f64>(slot, 2 * d < n ? side * (n - d) : n * dot(px, py, p.floats));
        store<f64>(slot, d, 8);
        store<f64>(slot, 0, 16);
      } else apply(step, xTable, rowPitch, yTable, columnPitch, scratch + <usize>step.from * SLOT_BYTES, slot);
    }
    const to = output + (<usize>item << 3);
    if (p.wanted & 1) store<f64>(to, load<f64>(slot));
    if (p.wanted & 2) store<f64>(p.wanted & 1 ? to + (pairs << 3) : to, load<f64>(slot, 16));
  }
}

/** |p - side q|^2 / 2 for a side of 1 or -1, in two running sums. */
function halfSquare(p: usize, q: usize, side: f64, floats: u32): f64 {
  const sides = f64x2.splat(side);
  let sums = f64x2.splat(0);
  const even = p + ((<usize>floats & ~1) << 3);
  for (; p < even; p += 16, q += 16) {
    const difference = f64x2.sub(v128.load(p), f64x2.mul(sides, v128.load(q)));
    sums = f64x2.add(sums, f64x2.mul(difference, difference));
  }
  let sum = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1);
  if (floats & 1) {
    const difference = load<f64>(p) - side * load<f64>(q);
    sum += difference * difference;
  }
  return 0.5 * sum;
}

function dot(p: usize, q: usize, floats: u32): f64 {
  let sums = f64x2.splat(0);
  const even = p + ((<usize>floats & ~1) << 3);
  for (; p < even; p += 16, q += 16) sums = f64x2.add(sums, f64x2.mul(v128.load(p), v128.load(q)));
  const sum = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1);
  return floats & 1 ? sum + load<f64>(p) * load<f64>(q) : sum;
}

function apply(
  step: RecursionStep, x: usize, xPitch: usize, y: usize, yPitch: usize, from: usize, to: usize,
): void {
  const k = load<f64>(from);
  const d = load<f64>(from, 8);
  const n = product(x, xPitch, y, yPitch, ROW_S);
  const own = product(x, xPitch, y, yPitch, ROW_OWN);
  const rr = product(x, xPitch, y, yPitch, ROW_R);
  const factor = step.factor64;
  // acos |c| = t, on the side of c >= 0 or on the other.
  const far = k < 0;
  const near = Math.max(0, d);
  const u = Math.min(1, near * rr);
  const sine = Math.sqrt(u * (2 - u));
  let value = k;
  let gap = d;
  let theta = load<f64>(from, 16);
  switch (step.kind) {
    case RecursionKind.affine:
      value = factor * k + step.bias64;
      gap = factor * d;
      if (step.biased) gap += own * turn(x, xPitch, y, yPitch, ROW_BIAS) + crossing(factor * k, step.bias64);
      theta = factor * theta + step.gain64 * value + step.offset64;
      break;
    case RecursionKind.rectifier: {
      const t = arc(u);
      const curve = (factor * n * (sine - t * (1 - u))) / (2 * Math.PI);
      const bend = (factor * t) / (2 * Math.PI);
      value = (far ? -step.negative64 : step.positive64) * k + curve;
      gap = (far ? step.negative64 : step.positive64) * near - curve;
      // Below 0 comes only what was there, by a negative slope that is negative.
      if (value < 0) gap = (step.positive64 + step.negative64) * n - gap;
      else if (far) gap += (step.positive64 - step.negative64) * n;
      theta *= far ? bend - step.negative64 : step.positive64 - bend;
      break;
    }
    case RecursionKind.step: {
      const part = (factor * arc(u)) / (2 * Math.PI);
      value = own > 0 ? (far ? part : 0.5 * factor - part) : 0;
      gap = own > 0 ? (far ? 0.5 * factor - part : part) : 0;
      theta = 0;
      break;
    }
    case RecursionKind.erf: {
      // 1 - |cosine|, the offset taken for one more coordinate.
      const g = (step.bias64 + near) * rr + turn(x, xPitch, y, yPitch, ROW_BIAS);
      const z = Math.abs(k) * rr;
      const size = factor * (z > 0.5 ? 0.5 * Math.PI - arc(g) : Math.asin(z));
      const square = z > 0.5 ? g * (1 + z) : (1 - z) * (1 + z);
      value = far ? -size : size;
      gap = Math.max(0, own - size);
      theta *= square > 0 ? (factor * rr) / Math.sqrt(square) : 0;
      break;
    }
    case RecursionKind.square: {
      const t = arc(u);
      const rest = (n * n * (t * (3 - 2 * sine * sine) - 3 * sine * (1 - u))) / Math.PI;
      value = far ? rest : n * n + 2 * k * k - rest;
      gap = far ? own - rest : 2 * d * (n + k) + rest;
      break;
    }
    case RecursionKind.power:
      value = power(k, step.degree);
      gap = own - Math.abs(value);
      break;
    case RecursionKind.gaussian:
      value = Math.exp(-factor * d);
      gap = 1 - value;
      break;
    case RecursionKind.laplace:
      value = Math.exp(-factor * Math.sqrt(2 * d));
      gap = 1 - value;
      break;
    default:
      unreachable();
  }
  if (step.accumulate) {
    const there = load<f64>(to);
    const bend = product(x, xPitch, y, yPitch, ROW_SLOT) * turn(x, xPitch, y, yPitch, ROW_SUM);
    gap += load<f64>(to, 8) + bend + crossing(value, there);
    value += there;
    theta += load<f64>(to, 16);
  }
  store<f64>(to, value);
  store<f64>(to, gap, 8);
  store<f64>(to, theta, 16);
}

/** What |a| + |b| has more than |a + b|: terms of different signs have a larger gap than the sum of theirs. */
// @ts-ignore: decorator
@inline
function crossing(a: f64, b: f64): f64 {
  return a < 0 != b < 0 ? 2 * Math.min(Math.abs(a), Math.abs(b)) : 0;
}

/** t of 1 - cos t = u. */
// @ts-ignore: decorator
@inline
function arc(u: f64): f64 {
  return 2 * Math.asin(Math.sqrt(0.5 * u));
}

/** The product of both images' entries in a row of the table. */
// @ts-ignore: decorator
@inline
function product(x: usize, xPitch: usize, y: usize, yPitch: usize, row: usize): f64 {
  return load<f64>(x + row * xPitch) * load<f64>(y + row * yPitch);
}

/** 1 - cos(phi - phi'). */
// @ts-ignore: decorator
@inline
function turn(x: usize, xPitch: usize, y: usize, yPitch: usize, row: usize): f64 {
  const half = Math.sin(0.5 * (load<f64>(x + row * xPitch) - load<f64>(y + row * yPitch)));
  return 2 * half * half;
}

/** By repeated squaring, the same products whatever the sign. */
export function power(base: f64, degree: u32): f64 {
  let value: f64 = 1;
  for (; degree > 0; degree >>= 1) {
    if (degree & 1) value *= base;
    base *= base;
  }
  return value;
}
