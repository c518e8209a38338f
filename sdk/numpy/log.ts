/**
 * The natural logarithm, rounded correctly: only a logarithm within about 2^-40 units of a tie could go wrong.
 *
 * NumPy's normal and exponential numbers go through the C library's log. Those of the usual libraries are off by at
 * most 0.52 units in the last place, so they nearly always give the double that is nearest to the true logarithm; a
 * Math.log (V8's differs from that in one case of fourteen) would not give NumPy's bits. All arithmetic here is +, -,
 * *, / on float64, which every JavaScript engine rounds alike.
 *
 * Numbers are pairs hi + lo with |lo| <= ulp(hi) / 2 ("double-double", about 104 bits), by the error-free
 * transformations of Dekker 1971 and Knuth.
 */

import { mantissaOf, type Octave } from "../engine/portable.ts";

interface Pair {
  readonly hi: number;
  readonly lo: number;
}

/** a + b where |a| >= |b| or a = 0. */
function sumOrdered(a: number, b: number): Pair {
  const hi = a + b;
  return { hi, lo: b - (hi - a) };
}

/** a + b exactly. */
function sum(a: number, b: number): Pair {
  const hi = a + b;
  const part = hi - a;
  return { hi, lo: a - (hi - part) + (b - part) };
}

/** 2^27 + 1: cuts a 53-bit significand into two of 26. */
const SPLITTER = 134217729;

/** a b exactly, for |a|, |b| far below 2^996. */
function product(a: number, b: number): Pair {
  const hi = a * b;
  const bigA = SPLITTER * a;
  const a1 = bigA - (bigA - a);
  const a2 = a - a1;
  const bigB = SPLITTER * b;
  const b1 = bigB - (bigB - b);
  const b2 = b - b1;
  return { hi, lo: a1 * b1 - hi + a1 * b2 + a2 * b1 + a2 * b2 };
}

function add(a: Pair, b: Pair): Pair {
  const high = sum(a.hi, b.hi);
  return sumOrdered(high.hi, high.lo + (a.lo + b.lo));
}

function multiply(a: Pair, b: Pair): Pair {
  const { hi, lo } = product(a.hi, b.hi);
  return sumOrdered(hi, lo + (a.hi * b.lo + a.lo * b.hi));
}

function divide(a: Pair, b: Pair): Pair {
  const quotient = a.hi / b.hi;
  const { hi, lo } = product(quotient, b.hi);
  return sumOrdered(quotient, (a.hi - hi - lo + a.lo - quotient * b.lo) / b.hi);
}

const LN_2: Pair = { hi: Math.LN2, lo: 2.3190468138462996e-17 };

/** 1, 1/3, 1/5, ...: the series of artanh(s) / s in s^2 <= 0.0295, whose next term is below 2^-86. */
const ARTANH: readonly Pair[] = Array.from({ length: 16 }, (_, k) =>
  divide({ hi: 1, lo: 0 }, { hi: 2 * k + 1, lo: 0 }),
);

const octave: Octave = { exponent: 0 };

/** 1/3, 1/5, ..: the series of artanh(s) / s - 1 over s^2, the highest first, in float64. */
const TAIL: readonly number[] = Array.from({ length: 12 }, (_, k) => 1 / (25 - 2 * k));

/**
 * log x of a positive, normal, finite x (not checked).
 *
 * With x = m 2^e, log x = e log 2 + 2 artanh s with s = (m - 1) / (m + 1). First with the series' tail in float64, which is
 * at most a hundredth of the whole: where an error of the largest possible size could not change the rounding, that is the
 * answer (Ziv's test; four numbers of five), else in pairs throughout.
 */
export function roundedLog(x: number): number {
  const mantissa = mantissaOf(x, octave);
  const { exponent } = octave;
  const above = mantissa - 1; // exact
  const below = mantissa + 1;
  const belowLow = above - (below - 2); // what the sum lost: below - 2 is exact
  // s = q + correction / below: the remainder of the division, exactly.
  const q = above / below;
  const bigQ = SPLITTER * q;
  const q1 = bigQ - (bigQ - q);
  const q2 = q - q1;
  const bigB = SPLITTER * below;
  const b1 = bigB - (bigB - below);
  const b2 = below - b1;
  const product = q * below;
  const productLow = q1 * b1 - product + q1 * b2 + q2 * b1 + q2 * b2;
  const correction = (above - product - productLow - q * belowLow) / below;
  const z = q * q;
  let tail = TAIL[0] as number;
  for (let k = 1; k < TAIL.length; k++) tail = tail * z + (TAIL[k] as number);
  // e log 2 in two parts, of which the first, with 42 bits, is exact for any exponent.
  const powers = exponent * LN_2_HIGH;
  const high = powers + 2 * q;
  const low = powers - high + 2 * q + (exponent * LN_2_LOW + 2 * (correction + q * z * tail));
  // The tail is good to 6 units of 2^-53, and a hundredth of 2 q; sums of low parts lose less than that.
  const bound = Math.abs(q) * 2 ** -55 + Math.abs(high) * 2 ** -90;
  const rounded = high + (low - bound);
  return rounded === high + (low + bound) ? rounded : pairedLog(mantissa, exponent);
}

/** log 2, its first 42 bits and the rest. */
const LN_2_HIGH = 0.6931471805598903;
const LN_2_LOW = 5.497923018708371e-14;

/** log of m 2^e, rounded correctly. */
export function pairedLog(mantissa: number, exponent: number): number {
  const s = divide({ hi: mantissa - 1, lo: 0 }, sum(mantissa, 1)); // m - 1 is exact
  const z = multiply(s, s);
  const series = ARTANH.reduceRight((tail, coefficient) => add(coefficient, multiply(z, tail)), { hi: 0, lo: 0 });
  const { hi, lo } = multiply(s, series);
  const powers = multiply({ hi: exponent, lo: 0 }, LN_2);
  return add(powers, { hi: 2 * hi, lo: 2 * lo }).hi;
}
