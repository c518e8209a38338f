/** Functions of single numbers and their derivatives, against those of JavaScript in float64. */
import { activate, activateGradient, ActivateOperation, type ActivateName } from "../kernels/activate.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, sample, worst, type Case, type Row } from "./row.ts";

/** erf(x) by a series of positive terms: 2 / sqrt(pi) e^(-x^2) sum over n of x (2 x^2)^n / (1 3 5 .. (2n + 1)). */
export function erf(x: number): number {
  if (!(Math.abs(x) <= 6)) return Math.sign(x);
  let [sum, term] = [0, x];
  for (let odd = 1; sum + term !== sum; odd += 2) {
    sum += term;
    term *= (2 * x * x) / (odd + 2);
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

interface Reference {
  readonly f: (x: number, p: number, q: number) => number;
  /** f'(x) g; products with a derivative of 0 are 0. */
  readonly gradient: (x: number, g: number, p: number, q: number) => number;
  /** Where the function is defined for positive numbers only. */
  readonly positive?: boolean;
  /** The function's own numbers. */
  readonly numbers?: (random: RandomStream) => readonly [p: number, q: number];
}

const sigmoid = (x: number): number => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
/** Infinite where float32 is. */
const single = (x: number): number => (Number.isFinite(Math.fround(x)) ? x : Infinity);
const one = (random: RandomStream): readonly [number, number] => [Math.fround(0.01 + random.uniform()), 0];
const pair = (random: RandomStream): readonly [number, number] => {
  const p = Math.fround(random.normal());
  return [p, Math.fround(p + random.uniform())];
};

/** NaN is dealt with outside. */
const REFERENCES: Readonly<Record<ActivateName, Reference>> = {
  relu: { f: (x) => Math.max(x, 0), gradient: (x, g) => (x > 0 ? g : 0) },
  leakyRelu: { f: (x, p) => (x > 0 ? x : p * x), gradient: (x, g, p) => (x > 0 ? g : p * g), numbers: one },
  elu: {
    f: (x, p) => (x > 0 ? x : p * Math.expm1(x)),
    gradient: (x, g, p) => (x > 0 ? g : p * Math.exp(x) * g),
    numbers: one,
  },
  sigmoid: { f: sigmoid, gradient: (x, g) => sigmoid(x) * sigmoid(-x) * g },
  softplus: {
    f: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
    gradient: (x, g) => sigmoid(x) * g,
  },
  tanh: { f: Math.tanh, gradient: (x, g) => 4 * sigmoid(2 * x) * sigmoid(-2 * x) * g },
  exp: { f: Math.exp, gradient: (x, g) => single(Math.exp(x)) * g },
  log: { f: Math.log, gradient: (x, g) => g / x, positive: true },
  sqrt: { f: Math.sqrt, gradient: (x, g) => (0.5 * g) / Math.sqrt(x), positive: true },
  square: { f: (x) => x * x, gradient: (x, g) => 2 * x * g },
  abs: { f: Math.abs, gradient: (x, g) => (x === 0 ? 0 : Math.sign(x) * g) },
  sign: { f: Math.sign, gradient: () => 0 },
  clamp: {
    f: (x, p, q) => Math.min(Math.max(x, p), q),
    gradient: (x, g, p, q) => (p <= x && x <= q ? g : 0),
    numbers: pair,
  },
  erf: { f: erf, gradient: (x, g) => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * g },
  threshold: { f: (x, p, q) => (x > 0 ? q : p), gradient: () => 0, numbers: pair },
  staircase: {
    // The product is rounded to float32: on the edge of a step it decides.
    f: (x, n) => Math.min(Math.max(Math.ceil(Math.fround(x * (n - 1))), 0), n) / n,
    gradient: () => 0,
    numbers: (random) => [2 + random.below(6), 0],
  },
  reciprocal: { f: (x) => 1 / x, gradient: (x, g) => -g / (x * x) },
};
const NAMES = Object.keys(REFERENCES) as ActivateName[];

/** Elements that are checked of arrays that are only timed. */
const CHECKED = 20_011;
/** Below this WGSL may flush what comes in, what goes out, or what stands between to 0. */
const TINY = 2 ** -100;

/** |actual - expected| in units of |expected|; an infinity or NaN must be the one expected. */
export function relativeError(actual: number | undefined, expected: number): number {
  const rounded = Math.fround(expected);
  if (!Number.isFinite(rounded)) return Object.is(actual, rounded) ? 0 : Infinity;
  if (Math.abs(expected) < TINY) return Math.abs((actual ?? NaN) - expected) <= TINY ? 0 : Infinity;
  return errorOf(actual, expected, Math.abs(expected));
}

/** Normal numbers of sizes from 1e-4 to 100, and about 1 where a logarithm is small. */
function inputs(random: RandomStream, count: number, positive: boolean): Float32Array<ArrayBuffer> {
  const a = normals(random, count).map((x, i) => x * 10 ** ((i % 7) - 4));
  return positive ? a.map((x, i) => (i % 7 < 2 ? 1 + x : Math.abs(x))) : a;
}

function valueCase(random: RandomStream, name: ActivateName, count: number): Case {
  const { f, positive = false, numbers = () => [0, 0] as const } = REFERENCES[name];
  const [p, q] = numbers(random);
  const a = inputs(random, count, positive);
  const places = sample(random, count, CHECKED);
  return {
    name: `${name}, ${count} elements`,
    buffers: { a, out: 4 * count },
    launches: [launch(activate, { count, operation: ActivateOperation[name], p, q }, ["a", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(places.length, (index) => {
        const at = places[index] ?? 0;
        const x = a[at] ?? NaN;
        return relativeError(actual[at], Number.isNaN(x) ? NaN : f(x, p, q));
      });
    },
  };
}

function gradientCase(random: RandomStream, name: ActivateName, count: number): Case {
  const { gradient, positive = false, numbers = () => [0, 0] as const } = REFERENCES[name];
  const [p, q] = numbers(random);
  const a = inputs(random, count, positive);
  const g = normals(random, count);
  const places = sample(random, count, CHECKED);
  return {
    name: `${name}, ${count} elements`,
    buffers: { a, g, out: 4 * count },
    launches: [launch(activateGradient, { count, operation: ActivateOperation[name], p, q }, ["a", "g", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(places.length, (index) => {
        const at = places[index] ?? 0;
        const x = a[at] ?? NaN;
        return relativeError(actual[at], Number.isNaN(x) ? NaN : gradient(x, g[at] ?? NaN, p, q));
      });
    },
  };
}

/** NaNs of both signs, infinities, zeros, numbers whose exponentials overflow or vanish, and some about the kinks. */
const SPECIAL = new Float32Array([NaN, NaN, Infinity, -Infinity, 0, -0, 100, -100, 88.73, 1e30, -1e30, 1, -1]);
new Uint32Array(SPECIAL.buffer)[1] = 0xffc00001;

const LARGE = new Float32Array([NaN, 100, -100, 80, -80, 1]);

/** The bits of a NaN are no promise. */
function special(test: Case, values = SPECIAL): Case {
  const a = test.buffers["a"] as Float32Array<ArrayBuffer>;
  const bits = new Uint32Array(a.buffer, a.byteOffset, a.length);
  new Uint32Array(values.buffer).forEach((value, i) => (bits[5 * i] = value));
  return { ...test, name: `${test.name}, NaN and infinities among them`, loose: true };
}

/** Where an element stands does not depend on the function: one goes through all lengths. */
const COUNTS = [0, 1, 2, 3, 4, 5, 255, 257, 20_011];
const EACH = 2003;
const unit = "GB/s";

export const activateRows: readonly Row[] = [
  {
    kernel: activate as unknown as KernelSchema,
    measure: "the value",
    tolerance: 8e-7,
    reason:
      "wasm stays below 2e-7. WGSL may round products and sums either way and be off by 2.5 of the last place (2^-23) in a " +
      "quotient: e^x takes two such roundings that count, 1 + e^x one, the quotient 2.5, and the last product one.",
    unit,
    *cases(random) {
      for (const count of COUNTS) yield valueCase(random, "tanh", count);
      for (const name of NAMES) yield valueCase(random, name, EACH);
      for (const name of NAMES) yield special(valueCase(random, name, 5 * SPECIAL.length));
    },
    large(level, random) {
      const count = 2 ** (16 + 2 * level) + 3;
      return level > 2 ? undefined : { ...valueCase(random, "tanh", count), work: (8 * count) / 1e9 };
    },
  },
  {
    kernel: activateGradient as unknown as KernelSchema,
    measure: "the value",
    tolerance: 1.2e-6,
    reason:
      "wasm stays below 3.5e-7. In units of WGSL's last place (2^-23): a quotient 2.5, a square root 3, a second quotient " +
      "2.5 or an e^x of 2.5, and two products.",
    unit,
    *cases(random) {
      for (const count of COUNTS) yield gradientCase(random, "elu", count);
      for (const name of NAMES) yield gradientCase(random, name, EACH);
      // No infinities: with a zero they would be what the order of the products makes of them.
      for (const name of NAMES) yield special(gradientCase(random, name, 5 * LARGE.length), LARGE);
    },
    large(level, random) {
      const count = 2 ** (16 + 2 * level) + 3;
      return level > 2 ? undefined : { ...gradientCase(random, "tanh", count), work: (12 * count) / 1e9 };
    },
  },
];
