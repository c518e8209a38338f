/**
 * Where the entries of a symmetric matrix come from: a function that hands out rectangular blocks, so that a matrix in
 * memory, a kernel store on disk and a formula look the same to a factorisation. Blocks are checked here, once.
 */
import { WidefieldError } from "../errors.ts";
import type { Range } from "./range.ts";

export type Values = Float32Array | Float64Array;

export interface SymmetricSource {
  /** Rows, and columns. */
  readonly n: number;
  /** Side of the square blocks in which it is best read (a store: its chunk); default 512. */
  readonly blockSize?: number | undefined;
  /**
   * What tells this matrix from any other (a digest): a factorisation that was killed goes on only with the same one, and
   * a factor is taken from a folder only for the same one.
   */
  readonly identity?: string | undefined;
  /** The matrix is 2^exponent times what `block` gives; a factorisation is of what `block` gives, but tells its failures in the matrix's own units. Default 0. */
  readonly exponent?: number | undefined;
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

/** Side of the blocks, checked. Throws E_CONFIG. */
function blockSide(source: SymmetricSource): number {
  const size = source.blockSize ?? DEFAULT_BLOCK;
  if (Number.isSafeInteger(size) && size > 0) return size;
  throw new WidefieldError("E_CONFIG", `blockSize must be a positive whole number, not ${size}`);
}

type BlockPlace = Omit<Block, "values">;

/** The source's blocks, cut where they leave the given rows and columns, as far as they touch the lower triangle. */
function* places(source: SymmetricSource, rows: Range, columns: Range): Generator<BlockPlace> {
  const size = blockSide(source);
  for (const { begin: row, end: rowEnd } of aligned(rows, size))
    for (const { begin: column, end: columnEnd } of aligned({ ...columns, end: Math.min(columns.end, rowEnd) }, size))
      yield { row, column, rows: rowEnd - row, columns: columnEnd - column };
}

/** A range, cut at the multiples of `size`. */
function* aligned({ begin, end }: Range, size: number): Generator<Range> {
  for (let at = begin; at < end; at = Math.min(end, (Math.floor(at / size) + 1) * size))
    yield { begin: at, end: Math.min(end, (Math.floor(at / size) + 1) * size) };
}

/** How many entries `lowerBlocks` gives. */
export function lowerEntries(source: SymmetricSource, rows: Range, columns: Range): number {
  let entries = 0;
  for (const place of places(source, rows, columns)) entries += place.rows * place.columns;
  return entries;
}

/**
 * All blocks that touch the lower triangle in some rows and columns (default: all), row by row. Throws E_SHAPE and E_DATA for blocks that
 * cannot be used.
 */
export async function* lowerBlocks(
  source: SymmetricSource,
  rows: Range = { begin: 0, end: source.n },
  columns: Range = rows,
): AsyncGenerator<Block> {
  for (const place of places(source, rows, columns)) {
    const { row, column } = place;
    const values = await source.block(row, row + place.rows, column, column + place.columns);
    const block = { ...place, values };
    checkBlock(block);
    yield block;
  }
}

/** The diagonal, read by itself. Errors as in `lowerBlocks`. */
export async function readDiagonal(source: SymmetricSource): Promise<Float64Array> {
  const diagonal = new Float64Array(source.n);
  for (const rows of aligned({ begin: 0, end: source.n }, blockSide(source))) {
    for await (const { row, column, columns, values } of lowerBlocks(source, rows))
      for (let i = 0; i < columns; i++) diagonal[column + i] = values[(column + i - row) * columns + i] ?? Number.NaN;
  }
  return diagonal;
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
