/**
 * A symmetric matrix as Krylov methods see it: something that multiplies blocks of vectors. A formula, an array, a kernel
 * store and features all become one of these. Preconditioners look at entries, too, where a matrix can show them.
 *
 * A block of m vectors of length n is one array that holds them one after the other: entry i of vector v at v * n + i.
 */
import { WidefieldError } from "../errors.ts";
import type { Range } from "./range.ts";
import type { Values } from "./source.ts";

export interface LinearOperator {
  /** Rows, and columns. */
  readonly n: number;
  /**
   * The matrix is 2^exponent times what `apply` and `entries` give: kernels of deep networks leave float32's range, and
   * even float64's. Default 0.
   */
  readonly exponent?: number | undefined;
  /** A X for a block of so many vectors; `x` is not changed, and the result may be kept by the caller. */
  apply(x: Float64Array, vectors: number, signal?: AbortSignal): Float64Array | Promise<Float64Array>;
  /** A block of entries, row-major. Preconditioners need it; the methods themselves do not. */
  readonly entries?: ((rows: Range, columns: Range) => Float64Array | Promise<Float64Array>) | undefined;
  /** The diagonal, where it comes cheaper than as `entries`. */
  readonly diagonal?: (() => Float64Array | Promise<Float64Array>) | undefined;
}

/** Rows of an operator, checked. Throws E_SHAPE. */
export function operatorRows(operator: LinearOperator): number {
  if (Number.isSafeInteger(operator.n) && operator.n > 0) return operator.n;
  throw new WidefieldError("E_SHAPE", `a matrix of ${operator.n} rows has no equations: it needs at least one row`, {
    details: { n: operator.n },
  });
}

/**
 * A row-major symmetric n x n matrix in memory, of which the lower triangle is read; products are plain float64 loops on
 * the calling thread. For anything large, `tileOperator` works on all threads.
 *
 * Throws E_SHAPE if it is not square, E_DATA for an entry of the lower triangle that is not finite (named).
 */
export function denseOperator(values: Values, n: number): LinearOperator {
  if (values.length !== n * n) {
    throw new WidefieldError(
      "E_SHAPE",
      `a symmetric ${n} x ${n} matrix has ${n * n} entries, and ${values.length} were given: it must be square`,
      { details: { n, length: values.length } },
    );
  }
  for (let i = 0; i < n; i++) requireFiniteRow(values.subarray(i * n, i * n + i + 1), i, 0);
  return {
    n,
    apply(x, vectors) {
      const y = new Float64Array(n * vectors);
      for (let v = 0; v < vectors; v++) multiplyLower(values, n, x, y, v * n);
      return y;
    },
    entries(rows, columns) {
      const width = columns.end - columns.begin;
      return new Float64Array((rows.end - rows.begin) * width).map((_, at) => {
        const i = rows.begin + Math.floor(at / width);
        const j = columns.begin + (at % width);
        return values[Math.max(i, j) * n + Math.min(i, j)] as number;
      });
    },
  };
}

/** One vector's product: each entry of the lower triangle is used for its row and for its column. */
function multiplyLower(values: Values, n: number, x: Float64Array, y: Float64Array, at: number): void {
  for (let i = 0; i < n; i++) {
    const row = i * n;
    const xi = x[at + i] as number;
    let sum = (values[row + i] as number) * xi;
    for (let j = 0; j < i; j++) {
      const entry = values[row + j] as number;
      sum += entry * (x[at + j] as number);
      y[at + j] = (y[at + j] as number) + entry * xi;
    }
    y[at + i] = (y[at + i] as number) + sum;
  }
}

/** Throws E_DATA for an entry that is not finite of (part of) row `row`, which begins at `column`. */
export function requireFiniteRow(values: Values, row: number, column: number): void {
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as number;
    if (value - value === 0) continue;
    throw new WidefieldError("E_DATA", `entry (${row}, ${column + at}) of the matrix is ${value}`, {
      details: { row, column: column + at, value },
    });
  }
}
