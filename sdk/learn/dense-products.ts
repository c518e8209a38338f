/**
 * Products of row-major float64 matrices in memory, in plain loops on the calling thread that pause now and then: for
 * matrices of a thousand rows or so, where a decomposition has taken longer.
 */
import { Breath } from "../linalg/breath.ts";
import { axpy, dot } from "../linalg/vectors.ts";

/** A B for A of so many columns. */
export async function product(a: Float64Array, b: Float64Array, inner: number): Promise<Float64Array> {
  const [rows, columns] = [a.length / inner, b.length / inner];
  const c = new Float64Array(rows * columns);
  const breath = new Breath();
  for (let i = 0; i < rows; i++) {
    const row = c.subarray(i * columns, (i + 1) * columns);
    for (let k = 0; k < inner; k++) axpy(a[i * inner + k] as number, b.subarray(k * columns, (k + 1) * columns), row);
    await breath.take();
  }
  return c;
}

/** A B' for A and B of so many columns. */
export async function productTransposed(a: Float64Array, b: Float64Array, inner: number): Promise<Float64Array> {
  const [rows, columns] = [a.length / inner, b.length / inner];
  const c = new Float64Array(rows * columns);
  const breath = new Breath();
  for (let i = 0; i < rows; i++) {
    const row = a.subarray(i * inner, (i + 1) * inner);
    for (let j = 0; j < columns; j++) c[i * columns + j] = dot(row, b.subarray(j * inner, (j + 1) * inner));
    await breath.take();
  }
  return c;
}

/** Of a matrix of so many columns. */
export function transpose(a: Float64Array, columns: number): Float64Array {
  const rows = a.length / columns;
  return a.map((_, at) => a[(at % rows) * columns + Math.floor(at / rows)] as number);
}

/** (A + A') / 2 of an n x n matrix, in place: a covariance is symmetric to the last bit. */
export function mirrorMean(a: Float64Array, n: number): Float64Array {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      const mean = ((a[i * n + j] as number) + (a[j * n + i] as number)) / 2;
      a[i * n + j] = mean;
      a[j * n + i] = mean;
    }
  }
  return a;
}
