/**
 * How much jitter a matrix needs. Jitter is relative to the mean diagonal, so it means the same for a matrix of any
 * scale; it is tried in decades, because only its order of magnitude matters.
 */
import { WidefieldError } from "../errors.ts";
import { Breath } from "./breath.ts";
import type { PivotFailure } from "./factorisation.ts";
import type { FactorTiles } from "./factor-tiles.ts";

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

/** The decade whose shift of the diagonal this is; 0 if it is none's. */
export function jitterOf(shift: number, meanDiagonal: number): number {
  for (let jitter = nextJitter(0, 0); jitter !== undefined; jitter = nextJitter(jitter, 0))
    if (jitter * meanDiagonal === shift) return jitter;
  return 0;
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
export async function shiftLowerBound(
  tiles: FactorTiles,
  { index, value }: PivotFailure,
  check: () => void = () => undefined,
): Promise<number> {
  const { tiling } = tiles;
  const breath = new Breath();
  const read = async (i: number, j: number): Promise<Float64Array> => {
    await breath.take();
    check();
    return tiles.readTile(i, j);
  };
  const { tile } = tiling;
  const last = Math.floor(index / tile);
  const w = new Float64Array(index);
  for (let j = 0; j <= last; j++) {
    const l = await read(last, j);
    const columns = tiling.extent(j);
    for (let c = 0; c < columns && j * tile + c < index; c++)
      w[j * tile + c] = entry(l, columns, index - last * tile, c);
  }
  for (let i = last; i >= 0; i--) {
    const rows = Math.min(tiling.extent(i), index - i * tile);
    const x = w.subarray(i * tile, i * tile + rows);
    solveTransposed(await read(i, i), tiling.extent(i), x);
    for (let j = 0; j < i; j++) subtractTransposed(await read(i, j), tile, x, w.subarray(j * tile, (j + 1) * tile));
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

/** A failed factorisation, with what is known about the jitter it would have taken. */
export interface Failure extends PivotFailure {
  readonly n: number;
  /** What was added to the diagonal, relative to its mean, which is `meanDiagonal`. */
  readonly jitter: number;
  readonly meanDiagonal: number;
  readonly smallestBefore: PivotFailure | undefined;
  /** No smaller jitter can pass: relative to the mean diagonal. */
  readonly bound: number;
  /** The matrix is 2^exponent times the one that was factorised: what is told is told of the matrix. */
  readonly exponent: number;
  /** Given in place of a jitter, in units of the factorised matrix. */
  readonly lambda: number | undefined;
}

/** What a failed factorisation tells: `tiles` holds the rows before its pivot's. */
export async function failureOf(
  tiles: FactorTiles,
  pivot: PivotFailure,
  facts: {
    readonly jitter: number;
    readonly meanDiagonal: number;
    readonly pivots: Float64Array;
    readonly exponent: number;
    readonly lambda: number | undefined;
    /** Throws to stop: out of core this reads the factor once more. */
    readonly check: () => void;
  },
): Promise<Failure> {
  const { jitter, meanDiagonal, pivots, exponent, lambda, check } = facts;
  const bound = meanDiagonal > 0 ? jitter + (await shiftLowerBound(tiles, pivot, check)) / meanDiagonal : Infinity;
  const smallestBefore = smallest(pivots.subarray(0, pivot.index));
  return { n: tiles.tiling.n, ...pivot, jitter, meanDiagonal, smallestBefore, bound, exponent, lambda };
}

function smallest(pivots: Float64Array): PivotFailure | undefined {
  let index = 0;
  pivots.forEach((pivot, i) => {
    if (pivot < (pivots[index] ?? Number.NaN)) index = i;
  });
  const value = pivots[index];
  return value === undefined ? undefined : { index, value };
}

/** `needed`: the first decade of jitter that passed; undefined where none did, "unknown" where none was tried. */
export function notPositiveDefinite(
  { n, index, value, jitter, meanDiagonal, smallestBefore, exponent, lambda }: Failure,
  bound: number,
  needed: number | undefined | "unknown",
): WidefieldError {
  const scale = 2 ** exponent;
  const before =
    smallestBefore === undefined
      ? ""
      : ` (the smallest before it was ${(smallestBefore.value * scale).toExponential(3)}, at ${smallestBefore.index})`;
  const added = lambda === undefined ? `jitter ${jitter}` : `lambda ${lambda * scale}`;
  const advice =
    needed === "unknown"
      ? Number.isFinite(bound)
        ? `it needs a jitter of at least ${bound.toExponential(1)} times the mean diagonal, or a lambda of ` +
          (bound * meanDiagonal * scale).toExponential(1)
        : "its mean diagonal is not positive"
      : needed === undefined
        ? "no jitter up to the mean diagonal itself makes it so: this is not the covariance of anything"
        : `a jitter of ${needed.toExponential(0)} times the mean diagonal would have passed`;
  return new WidefieldError(
    "E_NOT_POSITIVE_DEFINITE",
    `the ${n} x ${n} matrix with ${added} is not positive definite: pivot ${index} came out as ` +
      `${(value * scale).toExponential(3)}${before}; ${advice}`,
    {
      details: {
        pivot: index,
        value: value * scale,
        smallestBefore: smallestBefore && smallestBefore.value * scale,
        smallestBeforeIndex: smallestBefore?.index,
        jitter,
        jitterBound: bound,
        shiftBound: bound * meanDiagonal * scale,
        jitterNeeded: needed === "unknown" ? undefined : needed,
      },
    },
  );
}
