/**
 * Inputs of any size: float32 holds products of two norms from 1e-38 to 1e38, and a recursion's intermediates leave that
 * range long before its kernel does. Of a *homogeneous* kernel, K(a x, b z) = (a b)^degree K(x, z), inputs of unusual norms
 * are divided by powers of two, which come back behind the last step, in float64. What then still leaves the range is
 * refused, and so are inputs of other kernels that leave it on the way.
 */
import { WidefieldError } from "../errors.ts";
import type { Values } from "./matrix.ts";
import type { Recursion, RecursionStep } from "./recursion.ts";
import type { Precision } from "./tiles.ts";

/** The degree of a homogeneous kernel; undefined for others: where a bias, or erf's offset, meets the input's scale. */
export function degreeOf({ steps, metric }: Recursion): number | undefined {
  if (metric === "distance") return undefined;
  const slots: number[] = [];
  let last: number | undefined;
  for (const step of steps) {
    last = step.kind === "input" ? 1 : degreeBehind(step, slots[step.from] ?? NaN);
    if (last === undefined) return undefined;
    if (step.kind !== "input" && step.accumulate && slots[step.to] !== last) return undefined;
    slots[step.to] = last;
  }
  return last;
}

function degreeBehind(step: Exclude<RecursionStep, { kind: "input" }>, degree: number): number | undefined {
  switch (step.kind) {
    case "affine":
      return degree === 0 || (step.bias === 0 && step.offset === 0) ? degree : undefined;
    case "rectifier":
      return degree;
    case "step":
      return 0;
    case "square":
      return 2 * degree;
    case "power":
      return degree * step.degree;
    case "erf":
    case "gaussian":
    case "laplace":
      return degree === 0 ? 0 : undefined;
  }
}

/** Norms up to 2^16, to the kernel's degree, stay as they are: no usual input is touched. */
const USUAL = 16;

/** The power of two by which an input of this norm, 2^exponent, is divided. */
export function shiftOf(exponent: number, degree: number | undefined): number {
  return degree === undefined || Math.abs(exponent) * Math.max(1, degree) <= USUAL ? 0 : exponent;
}

/** value * 2^exponent, where the power alone may leave float64. */
export function timesPower(value: number, exponent: number): number {
  const half = Math.trunc(exponent / 2);
  return value === 0 ? 0 : value * 2 ** half * 2 ** (exponent - half);
}

const LARGEST = { f32: 3.4028234e38, f64: Number.MAX_VALUE } as const satisfies Record<Precision, number>;
/** The least normal number: below it digits are lost. */
const LEAST = { f32: 2 ** -126, f64: 2 ** -1022 } as const satisfies Record<Precision, number>;

/** Throws E_OVERFLOW for an image whose numbers, of which `largest` is the largest to be squared, have no room. */
export function requireRoom(largest: number, image: string, row: number, precision: Precision): void {
  if (largest <= Math.sqrt(LARGEST[precision])) return;
  const [format, most] = precision === "f64" ? ["float64", "1e154"] : ["float32", "1e19"];
  const remedy = precision === "f64" ? "" : ', or use precision "f64"';
  throw new WidefieldError(
    "E_OVERFLOW",
    `${image} has a norm of ${largest.toPrecision(2)} (in the input, in bandwidths, or in a layer) and ${format} ` +
      `squares numbers up to ${most}: scale the inputs, the bandwidth or the variances${remedy}`,
    { details: { row } },
  );
}

/** What a side of a tile knows of its images: where powers of two were taken out. */
export interface Sizes {
  /** The powers that come back with each image. */
  readonly exponents: Float64Array;
  /** sqrt(K(x, x)) without them. */
  readonly sizes: Float64Array;
}

/**
 * Multiplies the powers into a tile of [rows, columns] from (rowBegin, columnBegin) on. Throws E_OVERFLOW for the first
 * pair whose kernel falls below the normal numbers of the format; `requireFinite` finds what lies above.
 */
export function restorePowers(
  tile: Values,
  rows: Sizes,
  columns: Sizes,
  rowBegin: number,
  columnBegin: number,
  precision: Precision,
): void {
  const width = columns.sizes.length;
  for (let i = 0; i < rows.sizes.length; i++) {
    for (let j = 0; j < width; j++) {
      const exponent = (rows.exponents[i] ?? NaN) + (columns.exponents[j] ?? NaN);
      if (exponent === 0) continue;
      const n = timesPower((rows.sizes[i] ?? NaN) * (columns.sizes[j] ?? NaN), exponent);
      if (n < LEAST[precision] && rows.sizes[i] !== 0 && columns.sizes[j] !== 0)
        throw belowRange(rowBegin + i, columnBegin + j, n, precision);
      const at = i * width + j;
      tile[at] = timesPower(tile[at] ?? NaN, exponent);
    }
  }
}

/** The same of K(x, x), which is float64 in either precision. */
export function restoreVariances(variances: Float64Array, exponents: Float64Array, begin: number): Float64Array {
  return variances.map((value, i) => {
    const exponent = 2 * (exponents[i] ?? NaN);
    const restored = timesPower(value, exponent);
    if (value !== 0 && exponent !== 0 && restored < LEAST.f64) throw belowRange(begin + i, begin + i, restored, "f64");
    return restored;
  });
}

function belowRange(row: number, column: number, size: number, precision: Precision): WidefieldError {
  const [format, remedy] = precision === "f64" ? ["float64", ""] : ["float32", ', or use precision "f64"'];
  const pair = row === column ? `image ${row} with itself` : `images ${row} and ${column}`;
  return new WidefieldError(
    "E_OVERFLOW",
    `the kernel of ${pair} is of the size of ${size.toPrecision(2)}, too small for ${format}: ` +
      `scale the inputs up${remedy}`,
    { details: { row, column } },
  );
}
