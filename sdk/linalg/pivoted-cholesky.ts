/**
 * The preconditioner for kernel matrices: a pivoted Cholesky factorisation, stopped at rank k (Harbrecht, Peters,
 * Schneider: On the low-rank approximation by the pivoted Cholesky decomposition, Appl. Numer. Math. 62, 2012), plus the
 * ridge (Gardner et al., GPyTorch, arXiv 1809.11165, section 4.1):
 *
 *     A ~ L L',   M = L L' + sigma I,   L = U S W'   (U: n x k, orthonormal)
 *     M^-1 = U (S^2 + sigma I)^-1 U' + (I - U U') / sigma
 *
 * This is Woodbury's formula without the cancellation that it has where sigma is small, and that is where a
 * preconditioner is wanted: M^-1 stays positive definite in floating point, down to sigma = 0 at full rank.
 */
import { WidefieldError } from "../errors.ts";
import { Breath } from "./breath.ts";
import { operatorRows, type LinearOperator } from "./operator.ts";
import { diagonalOf, entriesOf, lambdaOf, throwIfStopped } from "./preconditioner.ts";
import type { Preconditioner, PreconditionerOptions } from "./preconditioner.ts";
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
 * Reads the diagonal and `rank` columns of A (of a store, the tiles that those cross); work 2 n rank^2 for the factor, 6 n
 * rank^2 for U, 8 n rank for a product; memory 2 n rank doubles. sigma is lambda, or, where lambda is 0, the mean of what
 * is left of the diagonal.
 *
 * A matrix in float32 may be indefinite by its rounding errors. With a lambda that is no failure: the factorisation ends
 * where what is left is as small as the negative entries that have come up.
 *
 * Throws E_CONFIG, E_DATA, E_ABORTED, and E_NOT_POSITIVE_DEFINITE where the diagonal shows that A + lambda I is not
 * positive definite (details: `pivot`, `value`), or where lambda is 0 and A is singular (details: `rank`).
 */
export async function pivotedCholesky(
  operator: LinearOperator,
  options: PivotedCholeskyOptions = {},
): Promise<PivotedCholesky> {
  const n = operatorRows(operator);
  const { rank: wanted = 100, traceTolerance = 1e-14, signal } = options;
  if (!Number.isSafeInteger(wanted) || wanted < 1)
    throw new WidefieldError("E_CONFIG", `rank must be a whole number of at least 1, not ${wanted}`);
  if (!(traceTolerance >= 0 && traceTolerance < 1))
    throw new WidefieldError("E_CONFIG", `traceTolerance must be in [0, 1), not ${traceTolerance}`);
  const lambda = lambdaOf(operator, options);
  const left = await diagonalOf(operator, signal);
  const largest = left.reduce((most, value) => Math.max(most, value), 0);
  requireNotNegative(left, lambda, 0);
  const trace = sum(left);
  const columns: Float64Array[] = [];
  const pivots: number[] = [];
  const breath = new Breath();
  while (pivots.length < Math.min(wanted, n) && sum(left) > traceTolerance * trace) {
    const pivot = left.reduce((best, value, i) => (value > (left[best] as number) ? i : best), 0);
    const value = left[pivot] as number;
    const noise = left.reduce((most, entry) => Math.max(most, -entry), ROUNDING * largest);
    if (!(value > noise)) break;
    const whole = { begin: 0, end: n };
    const column = (await entriesOf(operator, whole, { begin: pivot, end: pivot + 1 }, signal)).slice();
    if (await breath.take()) throwIfStopped(signal);
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
    if (lambda === 0) requireNotNegative(left, 0, largest * Math.max(1, pivots.length / 64));
  }
  const rank = pivots.length;
  const rest = Math.max(0, sum(left));
  const sigma = lambda > 0 ? lambda : rest / n;
  if (rank < n && !(sigma > 0)) {
    throw new WidefieldError(
      "E_NOT_POSITIVE_DEFINITE",
      `the ${n} x ${n} matrix has rank ${rank} to working precision and lambda is 0: raise lambda`,
      { details: { rank } },
    );
  }
  const factor = new Float64Array(n * rank);
  columns.forEach((column, k) => {
    factor.set(column, k * n);
  });
  const { u, squares } = await leftSingular(columns, n, breath, signal);
  return {
    n,
    rank,
    pivots,
    relativeTrace: trace > 0 ? rest / trace : 0,
    factor,
    apply(r, vectors) {
      const z = new Float64Array(r.length);
      for (let v = 0; v < vectors; v++) {
        const across = r.slice(v * n, (v + 1) * n);
        const along = split(u, across);
        const to = z.subarray(v * n, (v + 1) * n);
        if (rank < n) for (let i = 0; i < n; i++) to[i] = (across[i] as number) / sigma;
        for (let k = 0; k < rank; k++)
          axpy((along[k] as number) / ((squares[k] as number) + sigma), u[k] as Float64Array, to);
      }
      return z;
    },
  };
}

function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0);
}

function requireNotNegative(left: Float64Array, lambda: number, scale: number): void {
  const bad = left.findIndex((value) => value + lambda < -ROUNDING * scale);
  if (bad < 0) return;
  const value = (left[bad] as number) + lambda;
  throw new WidefieldError(
    "E_NOT_POSITIVE_DEFINITE",
    `the matrix is not positive semidefinite: its pivot ${bad} is ${value.toExponential(3)}; raise lambda`,
    { details: { pivot: bad, value } },
  );
}

/** U' x for orthonormal columns, and x loses its part along them: twice, since one pass leaves rounding errors of it. */
function split(u: readonly Float64Array[], x: Float64Array): Float64Array {
  const along = new Float64Array(u.length);
  for (let pass = 0; pass < 2; pass++) {
    u.forEach((column, k) => {
      const part = dot(column, x);
      along[k] = (along[k] as number) + part;
      axpy(-part, column, x);
    });
  }
  return along;
}

/** U and the squares of S of L = U S W', by Q R = L and the singular vectors of the small R. */
async function leftSingular(
  columns: readonly Float64Array[],
  n: number,
  breath: Breath,
  signal: AbortSignal | undefined,
): Promise<{ readonly u: readonly Float64Array[]; readonly squares: Float64Array }> {
  const q: Float64Array[] = [];
  const r: Float64Array[] = []; // columns of R
  for (const column of columns) {
    if (await breath.take()) throwIfStopped(signal);
    const left = column.slice();
    const along = split(q, left);
    const length = Math.sqrt(dot(left, left));
    const entries = new Float64Array(columns.length);
    entries.set(along);
    entries[q.length] = length;
    q.push(left.map((value) => value / length));
    r.push(entries);
  }
  await orthogonalise(r, breath, signal);
  const squares = Float64Array.from(r, (column) => dot(column, column));
  const u: Float64Array[] = [];
  for (const [k, column] of r.entries()) {
    if (await breath.take()) throwIfStopped(signal);
    const combined = new Float64Array(n);
    const scale = 1 / Math.sqrt(squares[k] as number);
    q.forEach((from, i) => {
      axpy((column[i] as number) * scale, from, combined);
    });
    u.push(combined);
  }
  return { u, squares };
}

/** Rotates columns until they are orthogonal: R W for the right singular vectors W (Hestenes 1958; one-sided Jacobi). */
async function orthogonalise(
  columns: readonly Float64Array[],
  breath: Breath,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let turned = true, sweep = 0; turned && sweep < 60; sweep++) {
    turned = false;
    for (const [j, b] of columns.entries()) {
      if (await breath.take()) throwIfStopped(signal);
      for (const a of columns.slice(0, j)) {
        const [aa, bb, ab] = [dot(a, a), dot(b, b), dot(a, b)];
        if (Math.abs(ab) <= 2 ** -50 * Math.sqrt(aa) * Math.sqrt(bb)) continue;
        turned = true;
        const half = (bb - aa) / (2 * ab);
        const t = (half < 0 ? -1 : 1) / (Math.abs(half) + Math.hypot(1, half));
        const c = 1 / Math.hypot(1, t);
        const s = c * t;
        for (let i = 0; i < a.length; i++) {
          const [x, y] = [a[i] as number, b[i] as number];
          a[i] = c * x - s * y;
          b[i] = s * x + c * y;
        }
      }
    }
  }
}
