/**
 * A histogram of a stream of numbers in constant memory: TensorFlow's default buckets, whose limits grow by a tenth from
 * 1e-12 to 1e20, mirrored for negative numbers. Streams may be merged; the order of the numbers changes nothing but the
 * last bits of the sums.
 */

const LEAST = 1e-12;
const MOST = 1e20;
const GROWTH = 1.1;

/** Bucket k holds limits[k - 1] <= x < limits[k]; the first has no lower end, the last reaches to the largest number. */
const limits = buildLimits();

function buildLimits(): Float64Array {
  const positive: number[] = [];
  for (let limit = LEAST; limit < MOST; limit *= GROWTH) positive.push(limit);
  return Float64Array.of(
    -Number.MAX_VALUE,
    ...positive.map((limit) => -limit).reverse(),
    0,
    ...positive,
    Number.MAX_VALUE,
  );
}

/** A run of buckets without counts is one bucket. */
export interface Buckets {
  /** Upper ends, ascending. */
  readonly limits: readonly number[];
  readonly counts: readonly number[];
}

export class Histogram {
  private readonly counts = new Float64Array(limits.length);
  private smallest = Infinity;
  private largest = -Infinity;
  private total = 0;
  private squares = 0;
  private finite = 0;
  private others = 0;

  /** Counts numbers in. */
  add(values: ArrayLike<number>): this {
    for (let at = 0; at < values.length; at++) {
      const value = values[at] as number;
      if (value - value !== 0) {
        this.others++;
        continue;
      }
      const bucket = bucketOf(value);
      this.counts[bucket] = (this.counts[bucket] as number) + 1;
      if (value < this.smallest) this.smallest = value;
      if (value > this.largest) this.largest = value;
      this.total += value;
      this.squares += value * value;
      this.finite++;
    }
    return this;
  }

  /** Counts in what another one has counted. */
  merge(other: Histogram): this {
    for (let at = 0; at < limits.length; at++)
      this.counts[at] = (this.counts[at] as number) + (other.counts[at] as number);
    this.smallest = Math.min(this.smallest, other.smallest);
    this.largest = Math.max(this.largest, other.largest);
    this.total += other.total;
    this.squares += other.squares;
    this.finite += other.finite;
    this.others += other.others;
    return this;
  }

  /** Finite numbers so far. */
  get count(): number {
    return this.finite;
  }

  /** NaN and infinities, which are in no bucket and no sum. */
  get nonFinite(): number {
    return this.others;
  }

  /** Of nothing: 0, as the largest. */
  get min(): number {
    return this.finite === 0 ? 0 : this.smallest;
  }

  get max(): number {
    return this.finite === 0 ? 0 : this.largest;
  }

  get sum(): number {
    return this.total;
  }

  get sumOfSquares(): number {
    return this.squares;
  }

  buckets(): Buckets {
    const found = { limits: [] as number[], counts: [] as number[] };
    for (let at = 0; at < limits.length; at++) {
      const count = this.counts[at] as number;
      const next = this.counts[at + 1];
      if (count === 0 && next === 0) continue;
      found.limits.push(limits[at] as number);
      found.counts.push(count);
    }
    return found;
  }
}

/** The first bucket whose upper end is above the value; the last one for the largest number. */
function bucketOf(value: number): number {
  let [low, high] = [0, limits.length - 1];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (value < (limits[middle] as number)) high = middle;
    else low = middle + 1;
  }
  return low;
}
