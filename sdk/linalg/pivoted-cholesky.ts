/**
 * The preconditioner for kernel matrices: a pivoted Cholesky factorisation, stopped at rank k (Harbrecht, Peters,
 * Schneider: On the low-rank approximation by the pivoted Cholesky decomposition, Appl. Numer. Math. 62, 2012), plus the
 * ridge (Gardner et al., GPyTorch, arXiv 1809.11165, section 4.1):
 *
 *     A ~ L L',   M = L L' + sigma I,   M^-1 = (I - Q Q') / sigma    with    [L; sqrt(sigma) I] = [Q; .] R
 *
 * M^-1 is Woodbury's formula. Written with the orthonormal Q it does not form L' L, whose condition is the square of L's:
 * what that loses is worst where lambda is small, and that is where a preconditioner is wanted.
 */
import { WidefieldError } from "../errors.ts";
import { operatorRows, type LinearOperator } from "./operator.ts";
import { diagonalOf, entriesOf, lambdaOf, type Preconditioner, type PreconditionerOptions } from "./preconditioner.ts";
import { axpy, dot } from "./vectors.ts";

export interface PivotedCholeskyOptions extends PreconditionerOptions {
  /** Largest rank; default 100, at most n. */
  readonly rank?: number | undefined;
  /** Stop where the trace of A - L L' is at most this part of A's; default 1e-14. */
  readonly traceTolerance?: number | undefined;
}

export interface PivotedCholesky extends Preconditioner {
  readonly rank: number;
  /** Rows in the order in which they were chosen. */
  readonly pivots: readonly number[];
  /** Trace of A - L L' over that of A: what the factor leaves out. */
  readonly relativeTrace: number;
  /** `rank` vectors of length n, in units of 2^(exponent / 2). */
  readonly factor: Float64Array;
}

/** A residual diagonal entry below this part of the largest is rounding: 64 units in the last place. */
const ROUNDING = 2 ** -46;

/**
 * Reads the diagonal and `rank` columns of A; work 2 n rank^2 for the factor, 4 n rank^2 for Q; memory 2 n rank doubles.
 * sigma is lambda, or, where lambda is 0, the mean of what is left of the diagonal.
 *
 * Throws E_CONFIG, E_DATA, and E_NOT_POSITIVE_DEFINITE for a diagonal entry that is negative (details: `pivot`,
 * `value`), or where nothing is left and lambda is 0, so that A itself is singular.
 */
export async function pivotedCholesky(
  operator: LinearOperator,
  options: PivotedCholeskyOptions = {},
): Promise<PivotedCholesky> {
  const n = operatorRows(operator);
  const { rank: wanted = 100, traceTolerance = 1e-14 } = options;
  if (!Number.isSafeInteger(wanted) || wanted < 1)
    throw new WidefieldError("E_CONFIG", `rank must be a whole number of at least 1, not ${wanted}`);
  const lambda = lambdaOf(operator, options);
  const left = await diagonalOf(operator);
  const [trace, largest] = [sum(left), left.reduce((most, value) => Math.max(most, value), 0)];
  requireNotNegative(left, 0);
  const columns: Float64Array[] = [];
  const pivots: number[] = [];
  while (pivots.length < Math.min(wanted, n) && sum(left) > traceTolerance * trace) {
    const pivot = left.reduce((best, value, i) => (value > (left[best] as number) ? i : best), 0);
    const value = left[pivot] as number;
    if (!(value > ROUNDING * largest)) break;
    const column = await entriesOf(operator, { begin: 0, end: n }, { begin: pivot, end: pivot + 1 });
    for (const before of columns) axpy(-(before[pivot] as number), before, column);
    const root = Math.sqrt(value);
    for (let i = 0; i < n; i++) {
      column[i] = (column[i] as number) / root;
      left[i] = (left[i] as number) - (column[i] as number) ** 2;
    }
    // What is known exactly is set exactly: rows that were chosen have nothing left.
    for (const chosen of pivots) column[chosen] = 0;
    column[pivot] = root;
    pivots.push(pivot);
    columns.push(column);
    for (const chosen of pivots) left[chosen] = 0;
    requireNotNegative(left, largest);
  }
  const rest = Math.max(0, sum(left));
  const sigma = lambda > 0 ? lambda : rest / n;
  if (!(sigma > 0)) {
    throw new WidefieldError(
      "E_NOT_POSITIVE_DEFINITE",
      `the ${n} x ${n} matrix has rank ${pivots.length} to working precision and lambda is 0: raise lambda`,
      { details: { rank: pivots.length } },
    );
  }
  const factor = new Float64Array(n * columns.length);
  columns.forEach((column, k) => {
    factor.set(column, k * n);
  });
  const q = orthonormal(columns, n, sigma);
  return {
    n,
    rank: pivots.length,
    pivots,
    relativeTrace: trace > 0 ? rest / trace : 0,
    factor,
    apply(r, vectors) {
      const z = r.slice();
      for (let v = 0; v < vectors; v++) {
        const [from, to] = [r.subarray(v * n, (v + 1) * n), z.subarray(v * n, (v + 1) * n)];
        for (const column of q) axpy(-dot(column, from), column, to);
        for (let i = 0; i < n; i++) to[i] = (to[i] as number) / sigma;
      }
      return z;
    },
  };
}

function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0);
}

function requireNotNegative(left: Float64Array, largest: number): void {
  const bad = left.findIndex((value) => value < -ROUNDING * largest);
  if (bad < 0) return;
  const value = left[bad] as number;
  throw new WidefieldError(
    "E_NOT_POSITIVE_DEFINITE",
    `the matrix is not positive semidefinite: its pivot ${bad} is ${value.toExponential(3)}`,
    { details: { pivot: bad, value } },
  );
}

/** The upper n rows of Q, column by column, by modified Gram-Schmidt done twice on [L; sqrt(sigma) I]. */
function orthonormal(columns: readonly Float64Array[], n: number, sigma: number): Float64Array[] {
  const k = columns.length;
  const q: Float64Array[] = [];
  columns.forEach((column, index) => {
    const stacked = new Float64Array(n + k);
    stacked.set(column);
    stacked[n + index] = Math.sqrt(sigma);
    for (let pass = 0; pass < 2; pass++) for (const before of q) axpy(-dot(before, stacked), before, stacked);
    const norm = Math.sqrt(dot(stacked, stacked));
    q.push(stacked.map((value) => value / norm));
  });
  return q.map((stacked) => stacked.subarray(0, n));
}
