/**
 * Preconditioners of A + lambda I that are cheap to make and to apply: its diagonal, and its diagonal blocks. The one
 * for kernel matrices is in `pivoted-cholesky.ts`. Methods do not see a preconditioner's scale, so an operator's exponent
 * is left out of it.
 */
import { WidefieldError } from "../errors.ts";
import { Breath } from "./breath.ts";
import { requireNumber } from "./krylov.ts";
import { operatorRows, type LinearOperator } from "./operator.ts";
import type { Range } from "./range.ts";
import { scaleByPower, smallCholesky, smallSolve } from "./vectors.ts";

export interface Preconditioner {
  readonly n: number;
  /** M^-1 R for a block of so many vectors, a new array; M symmetric and positive definite. `r` is not changed. */
  apply(r: Float64Array, vectors: number): Float64Array | Promise<Float64Array>;
}

export interface PreconditionerOptions {
  /** The same as in the system; default 0. */
  readonly lambda?: number | undefined;
  /** Stops the reading of the matrix: E_ABORTED. */
  readonly signal?: AbortSignal | undefined;
}

/** Rows of the diagonal blocks that are read at a time. */
const DIAGONAL_BLOCK = 256;

/** M = diag(A) + lambda I. Throws E_CONFIG for an operator without entries, E_NOT_POSITIVE_DEFINITE, E_DATA. */
export async function jacobi(operator: LinearOperator, options: PreconditionerOptions = {}): Promise<Preconditioner> {
  const n = operatorRows(operator);
  const lambda = lambdaOf(operator, options);
  const inverse = (await diagonalOf(operator, options.signal)).map((entry, i) => {
    if (!(entry + lambda > 0)) throw notPositive(i, entry + lambda);
    return 1 / (entry + lambda);
  });
  return { n, apply: (r) => r.map((value, at) => value * (inverse[at % n] as number)) };
}

/**
 * M = the diagonal blocks of A + lambda I of `block` rows (default 128), factorised: n x block doubles. Throws as
 * `jacobi`.
 */
export async function blockJacobi(
  operator: LinearOperator,
  options: PreconditionerOptions & { readonly block?: number | undefined } = {},
): Promise<Preconditioner> {
  const n = operatorRows(operator);
  const { block = 128 } = options;
  if (!Number.isSafeInteger(block) || block < 1)
    throw new WidefieldError("E_CONFIG", `block must be a whole number of at least 1, not ${block}`);
  const lambda = lambdaOf(operator, options);
  const breath = new Breath();
  const factors: { readonly begin: number; readonly rows: number; readonly factor: Float64Array }[] = [];
  for (let begin = 0; begin < n; begin += block) {
    const rows = Math.min(block, n - begin);
    const square = { begin, end: begin + rows };
    const values = (await entriesOf(operator, square, square, options.signal)).slice();
    if (await breath.take()) throwIfStopped(options.signal);
    for (let i = 0; i < rows; i++) values[i * rows + i] = (values[i * rows + i] as number) + lambda;
    const factor = smallCholesky(values, rows, 0);
    if (!(factor instanceof Float64Array)) throw notPositive(begin + factor.index, factor.value);
    factors.push({ begin, rows, factor });
  }
  return {
    n,
    apply(r, vectors) {
      const z = r.slice();
      for (let v = 0; v < vectors; v++)
        for (const { begin, rows, factor } of factors)
          smallSolve(factor, rows, z.subarray(v * n + begin, v * n + begin + rows));
      return z;
    },
  };
}

/** Lambda in the operator's units. */
export function lambdaOf(operator: LinearOperator, { lambda = 0 }: PreconditionerOptions): number {
  requireNumber("lambda", lambda);
  return scaleByPower(Float64Array.of(lambda), -(operator.exponent ?? 0))[0] as number;
}

/** The diagonal, checked. */
export async function diagonalOf(operator: LinearOperator, signal?: AbortSignal): Promise<Float64Array> {
  const n = operatorRows(operator);
  if (operator.diagonal !== undefined) return requireDiagonal(n, (await operator.diagonal()).slice());
  const diagonal = new Float64Array(n);
  for (let begin = 0; begin < n; begin += DIAGONAL_BLOCK) {
    const rows = Math.min(DIAGONAL_BLOCK, n - begin);
    const values = await entriesOf(operator, { begin, end: begin + rows }, { begin, end: begin + rows }, signal);
    for (let i = 0; i < rows; i++) diagonal[begin + i] = values[i * rows + i] as number;
  }
  return diagonal;
}

function requireDiagonal(n: number, diagonal: Float64Array): Float64Array {
  if (diagonal.length !== n)
    throw new WidefieldError("E_SHAPE", `diagonal returned ${diagonal.length} numbers, and the matrix has ${n} rows`);
  const bad = diagonal.findIndex((value) => value - value !== 0);
  if (bad < 0) return diagonal;
  throw new WidefieldError("E_DATA", `entry (${bad}, ${bad}) of the matrix is ${diagonal[bad] as number}`, {
    details: { row: bad, column: bad },
  });
}

/** A block of an operator's entries, checked. */
export async function entriesOf(
  operator: LinearOperator,
  rows: Range,
  columns: Range,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  throwIfStopped(signal);
  if (operator.entries === undefined) {
    throw new WidefieldError(
      "E_CONFIG",
      "this preconditioner looks at the matrix's entries, and this matrix only has products: give it `entries`",
    );
  }
  const values = await operator.entries(rows, columns);
  const width = columns.end - columns.begin;
  const expected = (rows.end - rows.begin) * width;
  if (values.length !== expected)
    throw new WidefieldError("E_SHAPE", `entries returned ${values.length} numbers, and ${expected} were asked for`);
  const bad = values.findIndex((value) => value - value !== 0);
  if (bad < 0) return values;
  const [row, column] = [rows.begin + Math.floor(bad / width), columns.begin + (bad % width)];
  throw new WidefieldError("E_DATA", `entry (${row}, ${column}) of the matrix is ${values[bad] as number}`, {
    details: { row, column },
  });
}

export function throwIfStopped(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new WidefieldError("E_ABORTED", "the preconditioner was stopped while it was made", { cause: signal.reason });
}

function notPositive(index: number, value: number): WidefieldError {
  return new WidefieldError(
    "E_NOT_POSITIVE_DEFINITE",
    `the matrix is not positive definite: pivot ${index} of its diagonal blocks is ${value.toExponential(3)}; raise lambda`,
    { details: { pivot: index, value } },
  );
}
