/**
 * A Cholesky factor A + jitter x mean diagonal x I = L L^T and what can be done with it: solves with many right-hand
 * sides, half solves, the log-determinant. It owns memory of the engine until it is disposed.
 */
import { WidefieldError } from "../errors.ts";
import type { Values } from "./source.ts";
import { STRIP, type Triangle } from "./triangle.ts";

/** Memory for right-hand sides that are under way at once. */
const RHS_BYTES = 64 * 2 ** 20;

export interface FactorFacts {
  /** Relative to the mean diagonal. */
  readonly jitterUsed: number;
  readonly meanDiagonal: number;
  readonly shift: number;
  readonly pivots: Float64Array;
  readonly seconds: number;
}

export class CholeskyFactor {
  readonly n: number;
  /** What was added to the diagonal, relative to the mean diagonal of A. */
  readonly jitterUsed: number;
  /** Mean of A's diagonal, before the jitter. */
  readonly meanDiagonal: number;
  /** What was added to the diagonal, in units of A. */
  readonly shift: number;
  /** Natural logarithm of the determinant of the factorised matrix (jitter included). */
  readonly logDeterminant: number;
  /** The smallest square of L's diagonal, in units of A, and its row. */
  readonly smallestPivot: number;
  readonly smallestPivotIndex: number;
  /** Time of the factorisation that succeeded, without reading the source. */
  readonly seconds: number;
  /** n^3 / 3 operations over `seconds`, in 10^9 a second. */
  readonly gflops: number;
  private readonly triangle: Triangle;
  private disposed = false;

  constructor(triangle: Triangle, facts: FactorFacts) {
    this.triangle = triangle;
    this.n = triangle.n;
    this.jitterUsed = facts.jitterUsed;
    this.meanDiagonal = facts.meanDiagonal;
    this.shift = facts.shift;
    this.seconds = facts.seconds;
    this.gflops = this.n ** 3 / 3 / facts.seconds / 1e9;
    this.logDeterminant = sumOfLogarithms(facts.pivots);
    this.smallestPivotIndex = facts.pivots.reduce(
      (best, pivot, index) => (pivot < (facts.pivots[best] ?? Number.NaN) ? index : best),
      0,
    );
    this.smallestPivot = facts.pivots[this.smallestPivotIndex] ?? Number.NaN;
  }

  /**
   * X with A X = B. `rhs`: row-major n x m, any m >= 1; the result has the same shape. Throws E_SHAPE for a length that is
   * not a multiple of n, E_DATA for entries that are not finite (named), E_CLOSED after `dispose`.
   */
  solve(rhs: Values): Promise<Float64Array> {
    return this.substitute(rhs, true);
  }

  /**
   * Y with L Y = B, shapes and errors as in `solve`. The squared norm of a column of Y is b^T A^-1 b: the variance that a
   * Gaussian process takes off its prior.
   */
  forward(rhs: Values): Promise<Float64Array> {
    return this.substitute(rhs, false);
  }

  /** Releases the factor's memory. Idempotent. */
  dispose(): void {
    this.disposed = true;
    this.triangle.free();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private async substitute(rhs: Values, both: boolean): Promise<Float64Array> {
    if (this.disposed) throw new WidefieldError("E_CLOSED", "this Cholesky factor has been disposed");
    const { n, triangle } = this;
    const m = rhs.length / n;
    if (!Number.isInteger(m) || m === 0) {
      throw new WidefieldError(
        "E_SHAPE",
        `right-hand sides of a ${n} x ${n} matrix must be ${n} x m numbers, row by row, m >= 1; ${rhs.length} were given`,
        { details: { n, length: rhs.length } },
      );
    }
    const result = new Float64Array(rhs.length);
    const stripBytes = triangle.padded * STRIP * 8;
    const chunk = STRIP * Math.max(1, Math.floor(RHS_BYTES / stripBytes));
    for (let first = 0; first < m; first += chunk) {
      const last = Math.min(first + chunk, m);
      const strips = Math.ceil((last - first) / STRIP);
      const packed = pack(rhs, n, m, first, last, triangle.padded);
      const slot = triangle.backend.allocate(strips * stripBytes, "right-hand sides");
      try {
        triangle.backend.write(slot, 0, packed);
        triangle.appendSolve(slot, strips, false);
        if (both) triangle.appendSolve(slot, strips, true);
        const solved = new Float64Array(await triangle.backend.read(slot, 0, packed.byteLength));
        unpack(solved, result, n, m, first, last, triangle.padded);
      } finally {
        triangle.backend.free(slot);
      }
    }
    return result;
  }
}

/** Columns [first, last) of a row-major n x m matrix, as strips of four columns, filled up with zeros. */
function pack(rhs: Values, n: number, m: number, first: number, last: number, padded: number): Float64Array {
  const packed = new Float64Array(Math.ceil((last - first) / STRIP) * STRIP * padded);
  for (let row = 0; row < n; row++) {
    for (let column = first; column < last; column++) {
      const value = rhs[row * m + column] ?? Number.NaN;
      if (!Number.isFinite(value)) {
        throw new WidefieldError("E_DATA", `entry (${row}, ${column}) of the right-hand sides is ${value}`, {
          details: { row, column, value },
        });
      }
      packed[stripIndex(row, column - first, padded)] = value;
    }
  }
  return packed;
}

function unpack(
  packed: Float64Array,
  into: Float64Array,
  n: number,
  m: number,
  first: number,
  last: number,
  padded: number,
): void {
  for (let row = 0; row < n; row++) {
    for (let column = first; column < last; column++)
      into[row * m + column] = packed[stripIndex(row, column - first, padded)] ?? Number.NaN;
  }
}

function stripIndex(row: number, column: number, padded: number): number {
  const lane = column % STRIP;
  return (column - lane) * padded + row * STRIP + lane;
}

/** Pairwise, so that 50,000 terms of either sign lose nothing. */
function sumOfLogarithms(values: Float64Array): number {
  if (values.length <= 8) return values.reduce((sum, value) => sum + Math.log(value), 0);
  const half = values.length >> 1;
  return sumOfLogarithms(values.subarray(0, half)) + sumOfLogarithms(values.subarray(half));
}
