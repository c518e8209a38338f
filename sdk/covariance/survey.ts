/**
 * The look at a whole matrix in a file before it is imported: are its values finite, of what size are they, is it
 * symmetric, and what does it lack? One pass; a square matrix is read a block and its mirror image at a time.
 */
import { WidefieldError } from "../errors.ts";
import type { MatrixFile } from "./matrix-file.ts";

export interface Survey {
  /** Of the absolute values; `smallest` of those that are not zero (Infinity if there are none). */
  readonly largest: number;
  readonly smallest: number;
  readonly symmetric: boolean;
  /** Entries that are there on one side of the diagonal only. */
  readonly mirrored: number;
}

/**
 * Two float32 computations of one entry, row against column and column against row, agree to about 1e-6; entries of
 * matrices that are not symmetric do not.
 */
const SAME = 1e-4;

/**
 * Throws E_DATA, with row and column, for a value that is not finite; in a matrix with gaps only for infinite ones and
 * for entries that are on neither side of the diagonal, which it counts. Throws E_ABORTED.
 */
export async function survey(matrix: MatrixFile, signal: AbortSignal | undefined): Promise<Survey> {
  const { rows, columns, blockSize, gaps } = matrix;
  const look = new Look(matrix);
  const square = isSquare(matrix);
  for (let i = 0; i < rows; i += blockSize) {
    for (let j = 0; j < (square ? i + 1 : columns); j += blockSize) {
      requireGoing(matrix.path, signal);
      const [rowEnd, columnEnd] = [Math.min(rows, i + blockSize), Math.min(columns, j + blockSize)];
      const block = await matrix.block(i, rowEnd, j, columnEnd);
      look.values(block, i, j, columnEnd - j);
      if (!square) {
        if (gaps) look.missing(block, i, j, columnEnd - j);
        continue;
      }
      const mirror = i === j ? block : await matrix.block(j, columnEnd, i, rowEnd);
      if (i !== j) look.values(mirror, j, i, rowEnd - i);
      look.pair(block, mirror, i, j, rowEnd - i, columnEnd - j);
    }
  }
  return look.result();
}

/** Whether entries have mirror images. */
function isSquare({ rows, columns, cross }: MatrixFile): boolean {
  return rows === columns && cross !== true;
}

/** What has been seen so far. */
class Look {
  private readonly matrix: MatrixFile;
  private largest = 0;
  private smallest = Infinity;
  private asymmetric: { readonly row: number; readonly column: number } | undefined;
  private mirrored = 0;
  private lacking = 0;
  private firstLacking: { readonly row: number; readonly column: number } | undefined;

  constructor(matrix: MatrixFile) {
    this.matrix = matrix;
  }

  /** Sizes, and values that no kernel has. */
  values(block: Float64Array, rowBegin: number, columnBegin: number, width: number): void {
    const { gaps, path } = this.matrix;
    for (let at = 0; at < block.length; at++) {
      const value = block[at] as number;
      const size = Math.abs(value);
      if (!(size < Infinity)) {
        if (gaps && Number.isNaN(value)) continue;
        const [row, column] = [rowBegin + Math.floor(at / width), columnBegin + (at % width)];
        throw new WidefieldError("E_DATA", `${path} cannot be imported: row ${row}, column ${column} is ${value}`, {
          details: { path, row, column },
        });
      }
      if (size > this.largest) this.largest = size;
      if (size < this.smallest && size > 0) this.smallest = size;
    }
  }

  /** Entries of a matrix that is not square have no mirror image. */
  missing(block: Float64Array, rowBegin: number, columnBegin: number, width: number): void {
    for (let at = 0; at < block.length; at++)
      if (Number.isNaN(block[at])) this.lacks(rowBegin + Math.floor(at / width), columnBegin + (at % width));
  }

  /** A block at or below the diagonal and its mirror image. */
  pair(
    block: Float64Array,
    mirror: Float64Array,
    rowBegin: number,
    columnBegin: number,
    height: number,
    width: number,
  ): void {
    for (let row = 0; row < height; row++) {
      const end = Math.min(width, rowBegin + row - columnBegin + 1);
      for (let column = 0; column < end; column++) {
        const [a, b] = [block[row * width + column] as number, mirror[column * height + row] as number];
        if (a === b) continue;
        const [i, j] = [rowBegin + row, columnBegin + column];
        if (Number.isNaN(a) && Number.isNaN(b)) this.lacks(i, j);
        else if (Number.isNaN(a) || Number.isNaN(b)) this.mirrored++;
        else if (!this.matrix.gaps || Math.abs(a - b) > SAME * Math.max(Math.abs(a), Math.abs(b)))
          this.asymmetric ??= { row: i, column: j };
      }
    }
  }

  result(): Survey {
    const { path } = this.matrix;
    const square = isSquare(this.matrix);
    if (this.firstLacking !== undefined) {
      const { row, column } = this.firstLacking;
      const of = square ? "entries are NaN on both sides of the diagonal" : "entries are NaN";
      throw new WidefieldError(
        "E_DATA",
        `${path} cannot be imported: ${this.lacking} ${of}, the first at row ${row}, column ${column}. Nobody has ` +
          `computed them: run the worker that was to write them, or name its file too (--merge)`,
        { details: { path, row, column, missing: this.lacking } },
      );
    }
    if (this.asymmetric !== undefined && this.mirrored > 0) {
      const { row, column } = this.asymmetric;
      throw new WidefieldError(
        "E_DATA",
        `${path} cannot be imported: ${this.mirrored} entries are NaN on one side of the diagonal, but the matrix is ` +
          `not symmetric (rows and columns differ at ${row}, ${column}), so its mirror image does not give them`,
        { details: { path, row, column, missing: this.mirrored } },
      );
    }
    return {
      largest: this.largest,
      smallest: this.smallest,
      symmetric: square && this.asymmetric === undefined,
      mirrored: this.mirrored,
    };
  }

  private lacks(row: number, column: number): void {
    this.lacking++;
    const first = this.firstLacking;
    if (first === undefined || row < first.row || (row === first.row && column < first.column))
      this.firstLacking = { row, column };
  }
}

function requireGoing(path: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WidefieldError("E_ABORTED", `${path}: import stopped; the same command goes on`);
}
