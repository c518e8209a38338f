/**
 * NumPy's legacy generator, `numpy.random.RandomState` (and `numpy.random.seed` with the functions beside it): the
 * same seed gives the same numbers. It is here because published experiments drew their hyperparameters and their
 * data with it; everything else uses the counter-based generator of the engine. NumPy has frozen these streams.
 *
 *     rand          two words a, b        ((a >>> 5) 2^26 + (b >>> 6)) 2^-53, in [0, 1)
 *     normal        Marsaglia's polar method: (x1, x2) uniform in the unit disc, r2 = x1^2 + x2^2,
 *                   f = sqrt(-2 log(r2) / r2); gives f x2 now and keeps f x1 for the next call
 *     exponential   -scale log(1 - u)
 *     randint       words under the smallest mask 2^b - 1 that covers high - 1 - low, until one is in range; one
 *                   word a try for spans up to 2^32, else two (the high word first); none where one value is left
 *     permutation   Fisher and Yates from the top, the partner of i drawn from 0..i as by randint
 *
 * Words, uniform numbers, integers and permutations are NumPy's bit for bit on every machine. Normal and exponential
 * numbers hold a logarithm, whose last bit NumPy leaves to the C library: see `log.ts`. Against NumPy 2.4 with glibc
 * on x86-64, 372 of a million normal and 740 of a million exponential numbers differ, by a unit or two in the last place.
 */
import { WidefieldError } from "../errors.ts";
import { roundedLog } from "./log.ts";
import { Mt19937 } from "./mt19937.ts";

const TWO_32 = 2 ** 32;

/** The smallest 2^b - 1 that is at least `value`, for values below 2^53. */
function maskOver(value: number): number {
  let mask = 0;
  while (mask < value) mask = 2 * mask + 1;
  return mask;
}

export class RandomState {
  private readonly generator = new Mt19937();
  /** The second number of the last pair of normal numbers. */
  private cachedNormal: number | undefined;

  /** Throws E_CONFIG as `seed` does. */
  constructor(seed: number | ArrayLike<number>) {
    this.seed(seed);
  }

  /**
   * Starts again, as `RandomState(seed)` does; a normal number that was kept is forgotten.
   *
   * @param seed a whole number in 0..2^32-1, or one or more of them: [5] is another seed than 5
   * @throws WidefieldError E_CONFIG
   */
  seed(seed: number | ArrayLike<number>): void {
    const words = typeof seed === "number" ? [seed] : Array.from(seed);
    if (words.length === 0) throw new WidefieldError("E_CONFIG", "a seed for NumPy's generator has at least one word");
    for (const word of words) {
      if (Number.isInteger(word) && word >= 0 && word < TWO_32) continue;
      throw new WidefieldError(
        "E_CONFIG",
        `a seed for NumPy's generator is made of whole numbers in 0..4294967295, not ${word}`,
      );
    }
    if (typeof seed === "number") this.generator.seedByWord(seed);
    else this.generator.seedByArray(Uint32Array.from(words));
    this.cachedNormal = undefined;
  }

  /** Uniform in [0, 1): one number, or an array of `count`. */
  rand(): number;
  rand(count: number): Float64Array<ArrayBuffer>;
  rand(count?: number): number | Float64Array<ArrayBuffer> {
    return drawn(count, () => this.uniform());
  }

  /**
   * Normal with a mean and a standard deviation.
   *
   * @throws WidefieldError E_CONFIG for a deviation that is negative or NaN
   */
  normal(mean?: number, deviation?: number): number;
  normal(mean: number, deviation: number, count: number): Float64Array<ArrayBuffer>;
  normal(mean = 0, deviation = 1, count?: number): number | Float64Array<ArrayBuffer> {
    requireNotNegative("the standard deviation of a normal distribution", deviation);
    return drawn(count, () => mean + deviation * this.standardNormal());
  }

  /**
   * Leaves the stream as `count` normal numbers would, several times faster than they are drawn: which pairs fall into the
   * disc decides, and no logarithm is taken.
   *
   * @throws WidefieldError E_CONFIG for a count that is not a whole number in 0..2^53-1
   */
  skipNormals(count: number): void {
    if (!Number.isSafeInteger(count) || count < 0)
      throw new WidefieldError("E_CONFIG", `a count of random numbers to skip is a whole number, not ${count}`);
    let left = count;
    if (left > 0 && this.cachedNormal !== undefined) {
      this.cachedNormal = undefined;
      left--;
    }
    for (; left >= 2; left -= 2) {
      let r2: number;
      do {
        const x1 = 2 * this.uniform() - 1;
        const x2 = 2 * this.uniform() - 1;
        r2 = x1 * x1 + x2 * x2;
      } while (r2 >= 1 || r2 === 0);
    }
    if (left === 1) this.standardNormal();
  }

  /**
   * Exponential with a mean (NumPy's `scale`).
   *
   * @throws WidefieldError E_CONFIG for a mean that is negative or NaN
   */
  exponential(mean?: number): number;
  exponential(mean: number, count: number): Float64Array<ArrayBuffer>;
  exponential(mean = 1, count?: number): number | Float64Array<ArrayBuffer> {
    requireNotNegative("the mean of an exponential distribution", mean);
    return drawn(count, () => mean * -roundedLog(1 - this.uniform()));
  }

  /**
   * Whole numbers in low..high-1, all equally likely, as NumPy draws them for int64, its default type (and for int32:
   * the words used are the same). An array holds them as float64, which is exact.
   *
   * @throws WidefieldError E_CONFIG for bounds that are not whole numbers within 2^53 of 0 and of each other, or no
   *   number between them
   */
  randint(low: number, high: number): number;
  randint(low: number, high: number, count: number): Float64Array<ArrayBuffer>;
  randint(low: number, high: number, count?: number): number | Float64Array<ArrayBuffer> {
    const last = high - 1 - low;
    if (![low, high, high - low].every(Number.isSafeInteger) || last < 0)
      throw new WidefieldError(
        "E_CONFIG",
        `randint needs whole numbers low < high, less than 2^53 apart, not ${low} and ${high}`,
      );
    const mask = maskOver(last);
    return drawn(count, () => low + this.upTo(last, mask));
  }

  /**
   * 0..count-1 in random order.
   *
   * @throws WidefieldError E_CONFIG for a count that is not in 0..2^32-1
   */
  permutation(count: number): Uint32Array<ArrayBuffer> {
    requireCount(count);
    const order = Uint32Array.from({ length: count }, (_, index) => index);
    for (let i = count - 1; i > 0; i--) {
      const j = this.upTo(i, maskOver(i));
      const moved = order[i] ?? 0;
      order[i] = order[j] ?? 0;
      order[j] = moved;
    }
    return order;
  }

  private uniform(): number {
    const high = this.generator.uint32() >>> 5;
    const low = this.generator.uint32() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  private standardNormal(): number {
    const kept = this.cachedNormal;
    if (kept !== undefined) {
      this.cachedNormal = undefined;
      return kept;
    }
    for (;;) {
      const x1 = 2 * this.uniform() - 1;
      const x2 = 2 * this.uniform() - 1;
      const r2 = x1 * x1 + x2 * x2;
      if (r2 >= 1 || r2 === 0) continue;
      const factor = Math.sqrt((-2 * roundedLog(r2)) / r2);
      this.cachedNormal = factor * x1;
      return factor * x2;
    }
  }

  /** A whole number in 0..last, with last < 2^53 and `mask` its mask. */
  private upTo(last: number, mask: number): number {
    if (last === 0) return 0;
    const low = mask >>> 0; // modulo 2^32
    const high = Math.floor(mask / TWO_32);
    for (;;) {
      const above = high === 0 ? 0 : (this.generator.uint32() & high) >>> 0;
      const value = above * TWO_32 + ((this.generator.uint32() & low) >>> 0);
      if (value <= last) return value;
    }
  }
}

function drawn(count: number | undefined, draw: () => number): number | Float64Array<ArrayBuffer> {
  if (count === undefined) return draw();
  requireCount(count);
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = draw();
  return values;
}

function requireCount(count: number): void {
  if (Number.isInteger(count) && count >= 0 && count < TWO_32) return;
  throw new WidefieldError("E_CONFIG", `a count of random numbers is a whole number in 0..4294967295, not ${count}`);
}

function requireNotNegative(name: string, value: number): void {
  if (value >= 0) return;
  throw new WidefieldError("E_CONFIG", `${name} must not be negative, but is ${value}`);
}
