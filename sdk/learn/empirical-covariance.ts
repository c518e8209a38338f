/**
 * The uncentred covariance of a network's outputs over draws from its prior, S = (1/n) sum of f f', in float64 and draw
 * by draw: memory is one triangle, whatever the number of draws. Beside it the sum of |f|^4, from which the sampling
 * error of S follows without an assumption on the outputs' distribution.
 */
import { WidefieldError } from "../errors.ts";

/** What has been added up so far; it can be written down and continued. */
export interface CovarianceSums {
  readonly draws: number;
  /** Sum of f_i f_j for j <= i, row by row: [size (size + 1) / 2]. */
  readonly products: Float64Array;
  /** Sum of |f|^4. */
  readonly fourth: number;
}

/** Distances in the Frobenius norm, in units of the kernel's. */
export interface CovarianceError {
  /** |S - K| / |K|. */
  readonly error: number;
  /** Standard error of S: the root mean square of |S - E S| / |K|, estimated from the draws. NaN for a single draw. */
  readonly sampling: number;
  /**
   * What the sampling error does not account for: |E S - K| / |K|, its square estimated without bias by error^2 -
   * sampling^2, or 0 where that is negative. Below about twice `sampling` it is not distinguishable from 0. Where a
   * few rare draws carry most of the covariance (narrow and deep networks), it also holds those that did not occur.
   */
  readonly rest: number;
}

export class EmpiricalCovariance {
  readonly size: number;
  readonly #products: Float64Array;
  #draws: number;
  #fourth: number;

  /** Continues from `sums`, whose triangle it takes over. Throws E_SHAPE where that has another size. */
  constructor(size: number, sums?: CovarianceSums) {
    const triangle = (size * (size + 1)) / 2;
    if (sums !== undefined && sums.products.length !== triangle)
      throw new WidefieldError("E_SHAPE", `${sums.products.length} sums are no triangle of ${size} x ${size}`);
    this.size = size;
    this.#products = sums?.products ?? new Float64Array(triangle);
    this.#draws = sums?.draws ?? 0;
    this.#fourth = sums?.fourth ?? 0;
  }

  get draws(): number {
    return this.#draws;
  }

  /** A view: it changes with the next draw. */
  get sums(): CovarianceSums {
    return { draws: this.#draws, products: this.#products, fourth: this.#fourth };
  }

  /**
   * Adds one draw's outputs, one for every input.
   *
   * @throws WidefieldError E_SHAPE for another number of outputs, E_OVERFLOW for one that is not finite; nothing of the
   *   draw is added then
   */
  add(outputs: ArrayLike<number>): void {
    if (outputs.length !== this.size)
      throw new WidefieldError("E_SHAPE", `a draw has ${outputs.length} outputs, and there are ${this.size} inputs`);
    let square = 0;
    for (let i = 0; i < this.size; i++) {
      const value = outputs[i] ?? NaN;
      if (!Number.isFinite(value))
        throw new WidefieldError("E_OVERFLOW", `the output for input ${i} is ${value}`, { details: { input: i } });
      square += value * value;
    }
    const products = this.#products;
    for (let i = 0, at = 0; i < this.size; i++) {
      const row = outputs[i] ?? NaN;
      for (let j = 0; j <= i; j++, at++) products[at] = (products[at] ?? NaN) + row * (outputs[j] ?? NaN);
    }
    this.#fourth += square * square;
    this.#draws++;
  }

  /** S_ij. */
  at(i: number, j: number): number {
    const [row, column] = i < j ? [j, i] : [i, j];
    return (this.#products[(row * (row + 1)) / 2 + column] ?? NaN) / this.#draws;
  }

  /** How far S is from a kernel, [size, size]. Throws E_SHAPE for another size, E_DATA before the first draw. */
  compare(kernel: Float64Array): CovarianceError {
    const { size, draws } = this;
    if (kernel.length !== size * size)
      throw new WidefieldError("E_SHAPE", `a kernel of ${kernel.length} values is not ${size} x ${size}`);
    if (draws === 0) throw new WidefieldError("E_DATA", "there are no draws to compare with the kernel");
    let [distance, estimate, norm] = [0, 0, 0];
    for (let i = 0; i < size; i++) {
      for (let j = 0; j <= i; j++) {
        const [s, k] = [this.at(i, j), kernel[i * size + j] ?? NaN];
        const times = i === j ? 1 : 2;
        distance += times * (s - k) ** 2;
        estimate += times * s * s;
        norm += times * k * k;
      }
    }
    // Each draw is a matrix f f' of norm |f|^2: the variance of their mean, from their spread around it.
    const sampling = (this.#fourth / draws - estimate) / (draws - 1);
    return {
      error: Math.sqrt(distance / norm),
      sampling: Math.sqrt(Math.max(0, sampling) / norm),
      rest: Math.sqrt(Math.max(0, distance - sampling) / norm),
    };
  }
}

/**
 * The root mean square of |S - K| / |K| after so many draws of N(0, K) itself: E |S - K|^2 = (|K|^2 + (tr K)^2) / draws,
 * by Isserlis' theorem. It is what an infinitely wide network would show.
 */
export function gaussianSamplingError(kernel: Float64Array, size: number, draws: number): number {
  let [norm, trace] = [0, 0];
  for (const value of kernel) norm += value * value;
  for (let i = 0; i < size; i++) trace += kernel[i * size + i] ?? NaN;
  return Math.sqrt((1 + (trace * trace) / norm) / draws);
}
