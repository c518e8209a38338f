/** Row-major matrices in memory: that they are square, finite and symmetric is checked here, once. */
import { WidefieldError } from "../errors.ts";
import { lowerBlocks, type SymmetricSource, type Values } from "./source.ts";

/** A matrix as `kernel` returns it: 2^exponent times its values, row-major. */
export interface DenseMatrix {
  readonly values: Values;
  readonly rows: number;
  readonly columns: number;
  /** Default 0. */
  readonly exponent?: number | undefined;
}

/** Rows of a square matrix. Throws E_SHAPE for one that is empty, not square, or of another length. */
export function squareSide({ values, rows, columns }: DenseMatrix): number {
  if (rows !== columns)
    throw new WidefieldError("E_SHAPE", `a matrix of ${rows} x ${columns} cannot be solved with: it must be square`, {
      details: { rows, columns },
    });
  if (!(Number.isSafeInteger(rows) && rows > 0))
    throw new WidefieldError("E_SHAPE", `a matrix of ${rows} rows has no equations: it needs at least one row`);
  if (values.length === rows * columns) return rows;
  throw new WidefieldError(
    "E_SHAPE",
    `a ${rows} x ${columns} matrix has ${rows * columns} entries, and ${values.length} were given`,
    { details: { rows, length: values.length } },
  );
}

export interface Symmetry {
  /** The largest magnitude of an entry. */
  readonly largest: number;
  /** The largest |a_ij - a_ji|. */
  readonly asymmetry: number;
}

/**
 * Throws E_DATA for an entry that is not finite (named), or where a pair of entries differs by more than `tolerance`
 * times the largest magnitude: the worst pair is named.
 */
export function requireSymmetric(a: Values, n: number, tolerance: number): Symmetry {
  let largest = 0;
  for (let at = 0; at < a.length; at++) {
    const value = a[at] ?? NaN;
    if (!Number.isFinite(value)) {
      const [row, column] = [Math.floor(at / n), at % n];
      throw new WidefieldError("E_DATA", `entry (${row}, ${column}) of the matrix is ${value}`, {
        details: { row, column, value },
      });
    }
    if (Math.abs(value) > largest) largest = Math.abs(value);
  }
  let [asymmetry, row, column] = [0, 0, 0];
  // In squares, so that the walk down the columns stays in the cache.
  for (let top = 0; top < n; top += 64) {
    for (let left = 0; left <= top; left += 64) {
      for (let i = top; i < Math.min(top + 64, n); i++) {
        for (let j = left; j < Math.min(left + 64, i); j++) {
          const off = Math.abs((a[i * n + j] ?? NaN) - (a[j * n + i] ?? NaN));
          if (off > asymmetry) [asymmetry, row, column] = [off, i, j];
        }
      }
    }
  }
  if (asymmetry <= tolerance * largest) return { largest, asymmetry };
  const [below, above] = [a[row * n + column] ?? NaN, a[column * n + row] ?? NaN];
  throw new WidefieldError(
    "E_DATA",
    `the matrix is not symmetric: entry (${row}, ${column}) is ${below} and entry (${column}, ${row}) is ${above}; ` +
      "(A + A^T) / 2 is its symmetric part",
    { details: { row, column, below, above } },
  );
}

/** The whole matrix of a source, exactly symmetric, in the type of its blocks. Throws as `lowerBlocks` and reading do. */
export async function gathered(source: SymmetricSource): Promise<Values> {
  const { n } = source;
  let whole: Values | undefined;
  for await (const { row, column, rows, columns, values } of lowerBlocks(source)) {
    whole ??= values instanceof Float32Array ? new Float32Array(n * n) : new Float64Array(n * n);
    for (let i = row; i < row + rows; i++) {
      for (let j = column; j < Math.min(column + columns, i + 1); j++) {
        const value = values[(i - row) * columns + j - column] as number;
        whole[i * n + j] = value;
        whole[j * n + i] = value;
      }
    }
  }
  return whole ?? new Float64Array();
}
