/**
 * Eigenvalues and solutions by plain float64 loops that have nothing in common with the engine's algorithms: Householder
 * tridiagonalisation one column at a time and bisection by Sturm counts, cyclic Jacobi rotations, Gaussian elimination.
 */
import { entry, times, type Matrix } from "./spectra.ts";

export interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** offDiagonal[i] joins rows i - 1 and i; the first is 0. */
  readonly offDiagonal: Float64Array;
}

/** Reflections of the trailing columns, each applied to the whole matrix at once (Golub and Van Loan 8.3.1). */
export function naiveTridiagonal(matrix: ArrayLike<number>, n: number): Tridiagonal {
  const a = Float64Array.from(matrix);
  for (let k = 0; k + 2 < n; k++) {
    const v = new Float64Array(n);
    let largest = 0;
    for (let i = k + 1; i < n; i++) largest = Math.max(largest, Math.abs(entry(a, n, i, k)));
    if (largest === 0) continue;
    for (let i = k + 1; i < n; i++) v[i] = entry(a, n, i, k) / largest;
    const length = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
    v[k + 1] = (v[k + 1] ?? 0) + ((v[k + 1] ?? 0) < 0 ? -length : length);
    const square = v.reduce((sum, x) => sum + x * x, 0);
    const w = times(a, n, v).map((x) => (2 * x) / square);
    const half = v.reduce((sum, x, i) => sum + x * (w[i] ?? 0), 0) / square;
    for (let i = 0; i < n; i++) w[i] = (w[i] ?? 0) - half * (v[i] ?? 0);
    for (let i = k; i < n; i++)
      for (let j = k; j < n; j++)
        a[i * n + j] = entry(a, n, i, j) - (v[i] ?? 0) * (w[j] ?? 0) - (w[i] ?? 0) * (v[j] ?? 0);
  }
  return {
    diagonal: Float64Array.from({ length: n }, (_, i) => entry(a, n, i, i)),
    offDiagonal: Float64Array.from({ length: n }, (_, i) => (i === 0 ? 0 : entry(a, n, i, i - 1))),
  };
}

/** How many eigenvalues are below x: negative pivots of T - x I (Golub and Van Loan 8.4.1). */
function countBelow({ diagonal, offDiagonal }: Tridiagonal, x: number): number {
  let [count, pivot] = [0, 1];
  diagonal.forEach((d, i) => {
    pivot = d - x - (i === 0 ? 0 : (offDiagonal[i] ?? 0) ** 2 / pivot);
    if (pivot === 0) pivot = Number.MIN_VALUE;
    if (pivot < 0) count++;
  });
  return count;
}

/** All eigenvalues, ascending; off by a small multiple of 2^-53 n of the largest. */
export function naiveEigenvalues(a: ArrayLike<number>, n: number): Float64Array {
  const t = naiveTridiagonal(a, n);
  const radius = (i: number) => Math.abs(t.offDiagonal[i] ?? 0) + Math.abs(t.offDiagonal[i + 1] ?? 0);
  const bound = t.diagonal.reduce((most, d, i) => Math.max(most, Math.abs(d) + radius(i)), 0);
  return Float64Array.from({ length: n }, (_, k) => {
    let [low, high] = [-bound, bound];
    for (;;) {
      const middle = low + (high - low) / 2;
      if (middle <= low || middle >= high || high - low <= 2 ** -54 * bound) return middle;
      if (countBelow(t, middle) > k) high = middle;
      else low = middle;
    }
  });
}

/** All eigenvalues, ascending, by cyclic Jacobi rotations (Golub and Van Loan 8.5): slow, and accurate. */
export function jacobiEigenvalues(matrix: ArrayLike<number>, n: number): Float64Array {
  const a = Float64Array.from(matrix);
  for (let sweep = 0; sweep < 60; sweep++) {
    let turned = false;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const off = entry(a, n, p, q);
        const [dp, dq] = [entry(a, n, p, p), entry(a, n, q, q)];
        if (Math.abs(off) <= 2 ** -54 * Math.sqrt(Math.abs(dp)) * Math.sqrt(Math.abs(dq))) continue;
        turned = true;
        const half = (dq - dp) / (2 * off);
        const t = (half < 0 ? -1 : 1) / (Math.abs(half) + Math.hypot(1, half));
        const c = 1 / Math.hypot(1, t);
        rotate(a, n, p, q, c, c * t);
      }
    }
    if (!turned) break;
  }
  return Float64Array.from({ length: n }, (_, i) => entry(a, n, i, i)).sort();
}

/** J' A J for the rotation of rows and columns p and q. */
function rotate(a: Matrix, n: number, p: number, q: number, c: number, s: number): void {
  for (let k = 0; k < n; k++) {
    const [x, y] = [entry(a, n, k, p), entry(a, n, k, q)];
    a[k * n + p] = c * x - s * y;
    a[k * n + q] = s * x + c * y;
  }
  for (let k = 0; k < n; k++) {
    const [x, y] = [entry(a, n, p, k), entry(a, n, q, k)];
    a[p * n + k] = c * x - s * y;
    a[q * n + k] = s * x + c * y;
  }
  a[p * n + q] = a[q * n + p] = 0;
}

/** A X = B for n x m right-hand sides, row-major, by Gaussian elimination with row pivots. */
export function gaussSolve(matrix: ArrayLike<number>, n: number, b: ArrayLike<number>, m = 1): Float64Array {
  const a = Float64Array.from(matrix);
  const x = Float64Array.from(b);
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(entry(a, n, i, k)) > Math.abs(entry(a, n, pivot, k))) pivot = i;
    swapRows(a, n, k, pivot);
    swapRows(x, m, k, pivot);
    for (let i = k + 1; i < n; i++) {
      const factor = entry(a, n, i, k) / entry(a, n, k, k);
      if (factor === 0) continue;
      for (let j = k; j < n; j++) a[i * n + j] = entry(a, n, i, j) - factor * entry(a, n, k, j);
      for (let v = 0; v < m; v++) x[i * m + v] = entry(x, m, i, v) - factor * entry(x, m, k, v);
    }
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let v = 0; v < m; v++) {
      let sum = entry(x, m, i, v);
      for (let j = i + 1; j < n; j++) sum -= entry(a, n, i, j) * entry(x, m, j, v);
      x[i * m + v] = sum / entry(a, n, i, i);
    }
  }
  return x;
}

function swapRows(a: Float64Array, width: number, i: number, j: number): void {
  const row = a.slice(i * width, (i + 1) * width);
  a.copyWithin(i * width, j * width, (j + 1) * width);
  a.set(row, j * width);
}
