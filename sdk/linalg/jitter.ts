/**
 * How much jitter a matrix needs. Jitter is relative to the mean diagonal, so it means the same for a matrix of any
 * scale; it is tried in decades, because only its order of magnitude matters.
 */
import type { Triangle, PivotFailure } from "./triangle.ts";

const SMALLEST_EXPONENT = -10;
/** A matrix that needs as much as its own mean diagonal is not a covariance: nothing larger is tried. */
const LARGEST_EXPONENT = 0;
/** Half the distance from 1 to the next double. */
const UNIT_ROUNDOFF = 2 ** -53;

/** The decades 1e-10 ... 1 that are larger than `above` and not below `bound`. */
export function nextJitter(above: number, bound: number): number | undefined {
  for (let exponent = SMALLEST_EXPONENT; exponent <= LARGEST_EXPONENT; exponent++) {
    const jitter = Number(`1e${exponent}`);
    if (jitter > above && jitter >= bound) return jitter;
  }
  return undefined;
}

/**
 * The first pivot that is so small, relative to the diagonal entry that it is left of, that rounding alone could have
 * made it (8 sqrt(n) units of roundoff); undefined if there is none. Two equal rows give such a pivot, of either sign.
 */
export function noisePivot(pivots: Float64Array, diagonal: Float64Array): PivotFailure | undefined {
  const noise = 8 * Math.sqrt(pivots.length) * UNIT_ROUNDOFF;
  const index = pivots.findIndex((pivot, i) => pivot < noise * (diagonal[i] ?? Number.NaN));
  return index < 0 ? undefined : { index, value: pivots[index] ?? Number.NaN };
}

/**
 * A lower bound on what must be added to the diagonal of a matrix whose pivot `index` came out as `value` <= 0: with
 * L11 the factor up to there and l its next row, v = (-L11^-T l, 1) has v^T A v = value, so the smallest eigenvalue is
 * at most value / v^T v. Costs one pass over the first `index` rows of the factor, which the failure has left intact.
 */
export async function shiftLowerBound(triangle: Triangle, { index, value }: PivotFailure): Promise<number> {
  const { tile } = triangle;
  const last = Math.floor(index / tile);
  const w = new Float64Array(index);
  for (let j = 0; j <= last; j++) {
    const l = await triangle.readTile(last, j);
    const columns = triangle.extent(j);
    for (let c = 0; c < columns && j * tile + c < index; c++)
      w[j * tile + c] = entry(l, columns, index - last * tile, c);
  }
  for (let i = last; i >= 0; i--) {
    const rows = Math.min(triangle.extent(i), index - i * tile);
    const x = w.subarray(i * tile, i * tile + rows);
    solveTransposed(await triangle.readTile(i, i), triangle.extent(i), x);
    for (let j = 0; j < i; j++)
      subtractTransposed(await triangle.readTile(i, j), tile, x, w.subarray(j * tile, (j + 1) * tile));
  }
  return -value / w.reduce((sum, x) => sum + x * x, 1);
}

function entry(tile: Float64Array, columns: number, row: number, column: number): number {
  return tile[((row >> 2) * columns + column) * 4 + (row & 3)] ?? Number.NaN;
}

/** Solves L^T x = x with the leading block of a diagonal tile. */
function solveTransposed(l: Float64Array, columns: number, x: Float64Array): void {
  for (let row = x.length - 1; row >= 0; row--) {
    const solved = (x[row] ?? Number.NaN) / entry(l, columns, row, row);
    x[row] = solved;
    for (let column = 0; column < row; column++)
      x[column] = (x[column] ?? Number.NaN) - entry(l, columns, row, column) * solved;
  }
}

/** to -= L^T x */
function subtractTransposed(l: Float64Array, columns: number, x: Float64Array, to: Float64Array): void {
  x.forEach((value, row) => {
    for (let column = 0; column < columns; column++)
      to[column] = (to[column] ?? Number.NaN) - entry(l, columns, row, column) * value;
  });
}
