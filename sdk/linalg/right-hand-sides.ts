/**
 * Right-hand sides on their way to the engine and back: row-major n x m outside, strips of four columns inside
 * (`assembly/linalg/tiles.ts`).
 */
import { WidefieldError } from "../errors.ts";
import type { Values } from "./source.ts";
import { STRIP } from "./tiling.ts";

export interface RightHandSides {
  readonly n: number;
  /** How many. */
  readonly m: number;
  /** n, padded to a multiple of 4. */
  readonly padded: number;
}

/** Doubles of so many columns in strips. */
export function packedLength(columns: number, padded: number): number {
  return Math.ceil(columns / STRIP) * STRIP * padded;
}

/** Columns [first, last), as strips filled up with zeros. Throws E_DATA for an entry that is not finite (named). */
export function pack(
  packed: Float64Array,
  rhs: Values,
  { n, m, padded }: RightHandSides,
  first: number,
  last: number,
): void {
  packed.fill(0);
  for (let row = 0; row < n; row++) {
    for (let column = first; column < last; column++) {
      const value = rhs[row * m + column] ?? Number.NaN;
      if (!Number.isFinite(value)) {
        throw new WidefieldError("E_DATA", `entry (${row}, ${column}) of the right-hand sides is ${value}`, {
          details: { row, column, value },
        });
      }
      packed[stripIndex(row, column - first, padded)] = value;
    }
  }
}

/** Puts the columns [first, last) back. */
export function unpack(
  packed: Float64Array,
  into: Float64Array,
  { n, m, padded }: RightHandSides,
  first: number,
  last: number,
): void {
  for (let row = 0; row < n; row++) {
    for (let column = first; column < last; column++)
      into[row * m + column] = packed[stripIndex(row, column - first, padded)] ?? Number.NaN;
  }
}

/** Index of an entry in packed right-hand sides. */
export function stripIndex(row: number, column: number, padded: number): number {
  const lane = column % STRIP;
  return (column - lane) * padded + row * STRIP + lane;
}
