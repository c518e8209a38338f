/**
 * What a recursion means, in plain float64: K of both images with each other and with themselves through every step, with
 * Math.acos and Math.asin. Only the angle of the input is taken with care, from the difference and the sum of the two
 * directions, as acos of a cosine near 1 or -1 has lost half its digits.
 */
import type { Recursion, RecursionStep } from "../../covariance/recursion.ts";

/** A number with the size that its error is to be measured by. */
export interface Sized {
  readonly value: number;
  readonly size: number;
}

interface State {
  /** K(x, z), K(x, x) and K(z, z). */
  readonly k: number;
  readonly a: number;
  readonly b: number;
  /** The same of theta. */
  readonly theta: number;
  readonly thetaA: number;
  readonly thetaB: number;
  /** sqrt(a b) - k and sqrt(a b) + k, with as many digits as float64 allows. */
  readonly gap: number;
  readonly reach: number;
}

export function referencePair(
  recursion: Recursion,
  x: ArrayLike<number>,
  z: ArrayLike<number>,
): { readonly k: Sized; readonly theta: Sized } {
  const slots: State[] = [];
  let last = input(recursion, x, z);
  for (const step of recursion.steps) {
    if (step.kind !== "input") {
      const before = slots[step.from];
      if (before === undefined) throw new Error(`slot ${step.from} is read before it is written`);
      last = apply(step, before);
      const there = slots[step.to];
      if (step.accumulate && there !== undefined) last = added(there, last);
    }
    slots[step.to] = last;
  }
  const size = (p: number, q: number): number => Math.sqrt(p * q);
  return {
    k: { value: last.k, size: Math.max(Math.abs(last.k), size(last.a, last.b)) },
    theta: { value: last.theta, size: Math.max(Math.abs(last.theta), size(last.thetaA, last.thetaB)) },
  };
}

function input({ metric, scale }: Recursion, x: ArrayLike<number>, z: ArrayLike<number>): State {
  let [xx, zz, apart] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xx += (x[i] ?? NaN) ** 2;
    zz += (z[i] ?? NaN) ** 2;
    apart += ((x[i] ?? NaN) - (z[i] ?? NaN)) ** 2;
  }
  const none = { theta: 0, thetaA: 0, thetaB: 0 };
  if (metric === "distance") {
    const gap = apart / scale ** 2 / 2;
    return { k: 1 - gap, a: 1, b: 1, gap, reach: 2 - gap, ...none };
  }
  const n = Math.sqrt(xx * zz);
  let [difference, together] = [0, 0];
  for (let i = 0; n > 0 && i < x.length; i++) {
    const [left, right] = [(x[i] ?? NaN) / Math.sqrt(xx), (z[i] ?? NaN) / Math.sqrt(zz)];
    difference += (left - right) ** 2;
    together += (left + right) ** 2;
  }
  const [gap, reach] = [(scale * n * difference) / 2, (scale * n * together) / 2];
  const k = gap < reach ? scale * n - gap : reach - scale * n;
  return { k, a: scale * xx, b: scale * zz, gap, reach, ...none };
}

function added(p: State, q: State): State {
  const apart = Math.sqrt(p.a * q.b) - Math.sqrt(q.a * p.b);
  const sizes = Math.sqrt((p.a + q.a) * (p.b + q.b)) + Math.sqrt(p.a * p.b) + Math.sqrt(q.a * q.b);
  const bend = sizes > 0 ? apart ** 2 / sizes : 0;
  return {
    k: p.k + q.k,
    a: p.a + q.a,
    b: p.b + q.b,
    theta: p.theta + q.theta,
    thetaA: p.thetaA + q.thetaA,
    thetaB: p.thetaB + q.thetaB,
    gap: p.gap + q.gap + bend,
    reach: p.reach + q.reach + bend,
  };
}

function apply(step: Exclude<RecursionStep, { kind: "input" }>, from: State): State {
  const { k, a, b, theta, thetaA, thetaB, gap, reach } = from;
  switch (step.kind) {
    case "affine": {
      const { weight, bias, gain, offset } = step;
      const scaled = {
        k: weight * k,
        a: weight * a,
        b: weight * b,
        theta: weight * theta + gain * (weight * k + bias),
        thetaA: weight * thetaA + gain * (weight * a + bias),
        thetaB: weight * thetaB + gain * (weight * b + bias),
        gap: weight * gap,
        reach: weight * reach,
      };
      const one = { k: bias, a: bias, b: bias, gap: 0, reach: 2 * bias };
      return added(scaled, { ...one, theta: offset, thetaA: offset, thetaB: offset });
    }
    case "rectifier": {
      const { positive, negative, curve } = step;
      const n = Math.sqrt(a * b);
      const [t, cosine] = angle(gap, reach);
      const own = { a: positive * a, b: positive * b, thetaA: positive * thetaA, thetaB: positive * thetaB };
      // Between 0 and pi: the formula for acute angles of the pair (x, z), or of (x, -z).
      const sharp = cosine >= 0 ? t : angle(reach, gap)[0];
      const arc = (curve * n * (Math.sin(sharp) - sharp * Math.cos(sharp))) / (2 * Math.PI);
      const slope = (curve * sharp) / (2 * Math.PI);
      const value = cosine >= 0 ? positive * k + arc : arc - negative * k;
      const derivative = cosine >= 0 ? positive - slope : slope - negative;
      const left = cosine >= 0 ? positive * gap - arc : positive * n - value;
      return { k: value, theta: derivative * theta, gap: left, reach: positive * n + value, ...own };
    }
    case "step": {
      const n = Math.sqrt(a * b);
      const [t] = angle(gap, reach);
      const [half, alive] = [step.scale / 2, n > 0 ? 1 : 0];
      const part = (step.scale * t) / (2 * Math.PI);
      const own = { a: a > 0 ? half : 0, b: b > 0 ? half : 0, theta: 0, thetaA: 0, thetaB: 0 };
      const opposite = (step.scale * angle(reach, gap)[0]) / (2 * Math.PI);
      return { k: alive * opposite, gap: alive * part, reach: alive * (half + opposite), ...own };
    }
    case "erf": {
      const { scale, offset } = step;
      const of = (p: number, q: number, r: number): number =>
        scale * Math.asin(r / Math.sqrt((p + offset) * (q + offset)));
      const slope = (p: number, q: number, r: number): number => scale / Math.sqrt((p + offset) * (q + offset) - r * r);
      const [value, ownA, ownB] = [of(a, b, k), of(a, a, a), of(b, b, b)];
      return {
        k: value,
        a: ownA,
        b: ownB,
        theta: theta * slope(a, b, k),
        thetaA: thetaA * slope(a, a, a),
        thetaB: thetaB * slope(b, b, b),
        gap: gap === 0 && a === b ? 0 : Math.max(0, Math.sqrt(ownA * ownB) - value),
        reach: reach === 0 && a === b ? 0 : Math.max(0, Math.sqrt(ownA * ownB) + value),
      };
    }
    case "square": {
      const n = Math.sqrt(a * b);
      const [t, cosine] = angle(gap, reach);
      const j = 3 * Math.sin(t) * cosine + (Math.PI - t) * (1 + 2 * cosine ** 2);
      // 3 pi - J_2 for small angles: 2 pi sin^2 t, and less than t^5.
      const rest = 2 * Math.PI * Math.sin(t) ** 2 + t * (3 - 2 * Math.sin(t) ** 2) - 3 * Math.sin(t) * cosine;
      const own = { a: 3 * a * a, b: 3 * b * b, theta: 0, thetaA: 0, thetaB: 0 };
      const value = (n * n * j) / Math.PI;
      return { k: value, gap: (n * n * rest) / Math.PI, reach: 3 * n * n + value, ...own };
    }
    case "power": {
      const { degree } = step;
      const own = { a: a ** degree, b: b ** degree, theta: 0, thetaA: 0, thetaB: 0 };
      const [value, size] = [k ** degree, Math.sqrt(own.a * own.b)];
      return { k: value, gap: size - value, reach: size + value, ...own };
    }
    case "gaussian":
    case "laplace": {
      const value = Math.exp(-step.factor * (step.kind === "gaussian" ? gap : Math.sqrt(2 * gap)));
      return { k: value, a: 1, b: 1, gap: 1 - value, reach: 1 + value, theta: 0, thetaA: 0, thetaB: 0 };
    }
  }
}

/** The angle t and its cosine, of 1 - cos t and 1 + cos t, both times the same size; of size 0, no angle. */
function angle(gap: number, reach: number): readonly [number, number] {
  const [below, above] = [Math.max(0, gap), Math.max(0, reach)];
  const t = 2 * Math.atan2(Math.sqrt(below), Math.sqrt(above));
  return [t, below + above > 0 ? (above - below) / (above + below) : 1];
}
