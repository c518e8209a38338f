/**
 * Where the entries of a symmetric matrix come from: a function that hands out rectangular blocks, so that a matrix in
 * memory, a kernel store on disk and a formula look the same to a factorisation. Blocks are checked here, once.
 */
import { WidefieldError } from "../errors.ts";

export type Values = Float32Array | Float64Array;

export interface SymmetricSource {
  /** Rows, and columns. */
  readonly n: number;
  /** Side of the square blocks in which it is best read (a store: its chunk); default 512. */
  readonly blockSize?: number | undefined;
  /** The matrix is 2^exponent times what `block` gives; default 0. */
  readonly exponent?: number | undefined;
  /** Tells this matrix from any other, so that work on it that was killed can go on: a digest of what fixes its entries. */
  readonly identity?: string | undefined;
  /**
   * Rows [rowBegin, rowEnd) and columns [columnBegin, columnEnd), row-major. Asked for blocks that touch the lower
   * triangle only, and only their entries on and below the matrix's diagonal are read. A factorisation that has to raise
   * its jitter asks for all blocks again.
   */
  block(rowBegin: number, rowEnd: number, columnBegin: number, columnEnd: number): Values | Promise<Values>;
}

const DEFAULT_BLOCK = 512;

/** A row-major n x n matrix in memory; entries above the diagonal are ignored. Throws E_SHAPE if it is not square. */
export function denseSymmetric(values: Values, n: number): SymmetricSource {
  if (values.length !== n * n) {
    throw new WidefieldError(
      "E_SHAPE",
      `a symmetric ${n} x ${n} matrix has ${n * n} entries, and ${values.length} were given: it must be square`,
      { details: { n, length: values.length } },
    );
  }
  return {
    n,
    block(rowBegin, rowEnd, columnBegin, columnEnd) {
      const width = columnEnd - columnBegin;
      const length = (rowEnd - rowBegin) * width;
      const block = values instanceof Float32Array ? new Float32Array(length) : new Float64Array(length);
      for (let row = rowBegin; row < rowEnd; row++)
        block.set(values.subarray(row * n + columnBegin, row * n + columnEnd), (row - rowBegin) * width);
      return block;
    },
  };
}

export interface Block {
  readonly row: number;
  readonly column: number;
  readonly rows: number;
  readonly columns: number;
  readonly values: Values;
}

/** Rows of a source, checked. Throws E_SHAPE. */
export function sourceRows(source: SymmetricSource): number {
  if (Number.isSafeInteger(source.n) && source.n > 0) return source.n;
  throw new WidefieldError("E_SHAPE", `a matrix of ${source.n} rows cannot be factorised: it needs at least one row`, {
    details: { n: source.n },
  });
}

/** How many blocks `lowerBlocks` gives. */
export function lowerBlockCount(source: SymmetricSource): number {
  const across = Math.ceil(source.n / (source.blockSize ?? DEFAULT_BLOCK));
  return (across * (across + 1)) / 2;
}

/** All blocks that touch the lower triangle, row by row. Throws E_SHAPE and E_DATA for blocks that cannot be used. */
export async function* lowerBlocks(source: SymmetricSource): AsyncGenerator<Block> {
  const { n } = source;
  const size = source.blockSize ?? DEFAULT_BLOCK;
  if (!Number.isSafeInteger(size) || size <= 0)
    throw new WidefieldError("E_CONFIG", `blockSize must be a positive whole number, not ${size}`);
  for (let row = 0; row < n; row += size) {
    const rows = Math.min(size, n - row);
    for (let column = 0; column < row + rows; column += size) {
      const columns = Math.min(size, n - column);
      const values = await source.block(row, row + rows, column, column + columns);
      const block = { row, column, rows, columns, values };
      checkBlock(block);
      yield block;
    }
  }
}

function checkBlock({ row, column, rows, columns, values }: Block): void {
  if (values.length !== rows * columns) {
    throw new WidefieldError(
      "E_SHAPE",
      `the block of rows ${row}..${row + rows} and columns ${column}..${column + columns} must have ${rows * columns} ` +
        `entries, and the source gave ${values.length}`,
      { details: { row, column, rows, columns, length: values.length } },
    );
  }
  for (let i = 0; i < rows; i++) {
    const end = i * columns + Math.min(columns, row + i + 1 - column);
    for (let at = i * columns; at < end; at++) {
      const value = values[at] ?? Number.NaN;
      if (Number.isFinite(value)) continue;
      const j = column + at - i * columns;
      throw new WidefieldError("E_DATA", `entry (${row + i}, ${j}) of the matrix is ${value}`, {
        details: { row: row + i, column: j, value },
      });
    }
  }
}
