/**
 * How far a sample is from a normal distribution whose mean (0) and variance are given, not fitted: the statistics of
 * Kolmogorov and Smirnov and of Anderson and Darling, each with the probability of one at least as large.
 */
import { WidefieldError } from "../errors.ts";
import { normalCdf, normalLogCdf } from "./normal.ts";

export interface GoodnessOfFit {
  /** D, or A^2. */
  readonly statistic: number;
  /** Probability of a statistic at least as large when the sample does follow the distribution. */
  readonly pValue: number;
}

/**
 * D = sup |F_n(x) - F(x)| against N(0, variance): sees the bulk.
 *
 * @throws WidefieldError E_DATA for an empty sample, a value that is not finite, or a variance that is not positive
 */
export function kolmogorovSmirnov(sample: ArrayLike<number>, variance: number): GoodnessOfFit {
  const z = sortedScores(sample, variance);
  const n = z.length;
  let statistic = 0;
  z.forEach((value, i) => {
    const p = normalCdf(value);
    statistic = Math.max(statistic, (i + 1) / n - p, p - i / n);
  });
  return { statistic, pValue: kolmogorovTail(statistic, n) };
}

/**
 * A^2 = n * integral of (F_n - F)^2 / (F (1 - F)) dF against N(0, variance): weighs the tails, where a finite network
 * differs most. A^2 = -n - (1/n) sum over i = 1..n of (2 i - 1) (log F(x_i) + log(1 - F(x_(n+1-i)))), with x sorted.
 *
 * @throws WidefieldError as kolmogorovSmirnov
 */
export function andersonDarling(sample: ArrayLike<number>, variance: number): GoodnessOfFit {
  const z = sortedScores(sample, variance);
  const n = z.length;
  let sum = 0;
  // The i-th smallest and the i-th largest carry the same weight.
  z.forEach((value, i) => (sum += (2 * i + 1) * (normalLogCdf(value) + normalLogCdf(-(z[n - 1 - i] ?? NaN)))));
  const statistic = -n - sum / n;
  return { statistic, pValue: andersonDarlingTail(statistic) };
}

/** The sample in standard deviations, ascending. */
function sortedScores(sample: ArrayLike<number>, variance: number): Float64Array {
  if (!(variance > 0 && variance < Infinity))
    throw new WidefieldError("E_DATA", `a sample is compared with a normal distribution of variance ${variance}`);
  if (sample.length === 0) throw new WidefieldError("E_DATA", "a sample of no values has no distribution");
  const scale = Math.sqrt(variance);
  const z = Float64Array.from(sample, (value) => value / scale);
  const wrong = z.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw new WidefieldError("E_DATA", `value ${wrong} of the sample is ${sample[wrong] ?? NaN}`);
  return z.sort();
}

/**
 * P(D >= d) for a sample of n: Kolmogorov's limit 2 sum over k of (-1)^(k-1) exp(-2 k^2 x^2), at an x that is corrected
 * to order 1/n (Vrbik 2018, "Small-sample corrections to Kolmogorov-Smirnov test statistic"). Against the exact
 * distribution it errs by less than 0.0003 at n = 100, and by less than 0.00003 at n = 1000.
 */
export function kolmogorovTail(d: number, n: number): number {
  const z = d * Math.sqrt(n);
  const x = z + 1 / (6 * Math.sqrt(n)) + (z - 1) / (4 * n);
  // P(x < 0.2) is 1e-12; the series needs ever more terms there.
  if (x < 0.2) return 1;
  let tail = 0;
  for (let k = 1; k <= 25; k++) tail += (k % 2 === 1 ? 2 : -2) * Math.exp(-2 * k * k * x * x);
  return Math.min(1, tail);
}

const NODES = 64;

/**
 * P(A^2 >= x) of the limit of large samples. A sample of n differs from it by less than 0.04 / n (Marsaglia and Marsaglia
 * 2004, "Evaluating the Anderson-Darling Distribution", the correction they call errfix).
 *
 * The limit is the sum of chi_k^2 / (k (k + 1)) over k = 1, 2, ... (Anderson and Darling 1952), whose Fredholm determinant
 * at u = v (v + 1) is sin(pi v) / (pi v (v + 1)). Smirnov's inversion formula for such sums integrates over the intervals
 * where the determinant is negative, between an odd zero k and the next:
 *
 *     P = (1/pi) sum over k = 1, 3, 5, ... of (-1)^((k-1)/2) integral from k to k + 1 of
 *         exp(-x v (v + 1) / 2) (2 v + 1) / sqrt(v (v + 1) |sin(pi v)| / pi) dv
 *
 * Both ends are square-root singularities, which is what Chebyshev's nodes and equal weights integrate: 64 nodes leave
 * nothing but rounding. Far in the tail P keeps its digits.
 */
export function andersonDarlingTail(x: number): number {
  // P(A^2 < 0.02) is 1e-26; the series needs ever more intervals there.
  if (x < 0.02) return 1;
  let tail = 0;
  for (let k = 1, sign = 1; k === 1 || x * k * (k + 1) < 80; k += 2, sign = -sign) {
    let sum = 0;
    for (let node = 0; node < NODES; node++) {
      const offset = Math.sin(((node + 0.5) / NODES) * (Math.PI / 2)) ** 2;
      const v = k + offset;
      const u = v * (v + 1);
      const regular = (Math.PI * offset * (1 - offset)) / (u * Math.sin(Math.PI * offset));
      sum += Math.exp(-0.5 * x * u) * (2 * v + 1) * Math.sqrt(regular);
    }
    tail += (sign * sum) / NODES;
  }
  return Math.min(1, tail);
}
