/**
 * The standard normal distribution in float64: density, distribution function, its logarithm far into the tails, and
 * quantiles. Relative errors are below 1e-14, in the tails too; that of a quantile near 0 is below 1e-15 absolute.
 *
 * Two expansions meet at |z| = 2. Inside, Phi(z) = 1/2 + phi(z) (z + z^3/3 + z^5/(3 5) + z^7/(3 5 7) + ...)
 * (Marsaglia 2004, "Evaluating the Normal Distribution"), whose terms all have one sign. Outside, the tail is phi(z)
 * times Mills' ratio, and that is Laplace's continued fraction 1/(z + 1/(z + 2/(z + 3/(z + ...)))).
 */
import { WidefieldError } from "../errors.ts";

const CENTRE = 2;
const LOG_SQRT_2PI = 0.5 * Math.log(2 * Math.PI);
const SQRT_2PI = Math.sqrt(2 * Math.PI);

/** exp(-z^2/2) / sqrt(2 pi). */
export function normalPdf(z: number): number {
  // z^2/2 would lose z^2 ulp: the square of z rounded to 1/16 is exact, and what is left over is small.
  const near = Math.round(z * 16) / 16;
  if (!Number.isFinite(near) || Math.abs(near) > 40) return Number.isNaN(z) ? z : 0;
  return (Math.exp(-0.5 * near * near) * Math.exp(-0.5 * (z - near) * (z + near))) / SQRT_2PI;
}

/** P(Z <= z). */
export function normalCdf(z: number): number {
  if (z < -CENTRE) return normalPdf(z) * millsRatio(-z);
  if (z > CENTRE) return 1 - normalPdf(z) * millsRatio(z);
  return 0.5 + normalPdf(z) * centralSeries(z);
}

/** log P(Z <= z), finite for every finite z: at z = -1e4 it is -5e7, where the probability itself is 0. */
export function normalLogCdf(z: number): number {
  if (z < -CENTRE) return -0.5 * z * z - LOG_SQRT_2PI + Math.log(millsRatio(-z));
  // Near 1 the logarithm magnifies a rounding of the probability, but not one of what is missing from it.
  if (z > 1) return Math.log1p(-normalPdf(z) * millsRatio(z));
  return Math.log(normalCdf(z));
}

/**
 * The z with P(Z <= z) = p, for 0 < p < 1. From Hastings' approximation (Abramowitz and Stegun 26.2.23, error 4.5e-4)
 * three steps of Halley's method, each of which triples the digits.
 *
 * @throws WidefieldError E_RANGE
 */
export function normalQuantile(p: number): number {
  if (!(p > 0 && p < 1))
    throw new WidefieldError("E_RANGE", `a normal quantile belongs to a probability between 0 and 1, not to ${p}`);
  // In the lower tail, where probabilities have all their digits.
  const lower = Math.min(p, 1 - p);
  const t = Math.sqrt(-2 * Math.log(lower));
  const hastings = (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
  let z = hastings - t;
  for (let step = 0; step < 3; step++) {
    const u = (normalCdf(z) - lower) / normalPdf(z);
    z -= u / (1 + 0.5 * z * u);
  }
  return p < 0.5 ? z : -z;
}

/** (Phi(z) - 1/2) / phi(z) for |z| <= 2. */
function centralSeries(z: number): number {
  let term = z;
  let sum = z;
  for (let odd = 3; Math.abs(term) > 1e-17 * Math.abs(sum); odd += 2) {
    term *= (z * z) / odd;
    sum += term;
  }
  return sum;
}

/** P(Z > z) / phi(z) for z >= 1, by the continued fraction from its end: it needs more terms near 0. */
function millsRatio(z: number): number {
  let tail = z;
  for (let n = Math.ceil(480 / (z * z)) + 10; n >= 1; n--) tail = z + n / tail;
  return 1 / tail;
}
