/** Symmetric matrices with known spectra, and the plain float64 algorithms that the engine's are compared with. */

/** Row-major n x n. */
export type Matrix = Float64Array;

/** Q diag(eigenvalues) Q^T with Q a product of random reflections; exactly symmetric. */
export function withSpectrum(eigenvalues: readonly number[]): Matrix {
  const n = eigenvalues.length;
  const a = new Float64Array(n * n);
  eigenvalues.forEach((value, i) => (a[i * n + i] = value));
  for (let reflection = 0; reflection < Math.min(n, 8); reflection++) reflect(a, n);
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) a[j * n + i] = entry(a, n, i, j);
  return a;
}

/** A = H A H with H = I - 2 v v^T for a random unit v. */
function reflect(a: Matrix, n: number): void {
  const v = new Float64Array(n).map(() => Math.random() - 0.5);
  const norm = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
  const u = v.map((x) => x / norm);
  const w = times(a, n, u);
  const uw = u.reduce((sum, x, i) => sum + x * (w[i] ?? 0), 0);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const [ui = 0, uj = 0, wi = 0, wj = 0] = [u[i], u[j], w[i], w[j]];
      a[i * n + j] = entry(a, n, i, j) - 2 * ui * wj - 2 * wi * uj + 4 * uw * ui * uj;
    }
  }
}

export function entry(a: ArrayLike<number>, n: number, i: number, j: number): number {
  return a[i * n + j] ?? Number.NaN;
}

/** A x for an n x n matrix and n x m right-hand sides, row-major. */
export function times(a: ArrayLike<number>, n: number, x: ArrayLike<number>, m = 1): Float64Array {
  const product = new Float64Array(n * m);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      const factor = entry(a, n, i, k);
      for (let c = 0; c < m; c++) product[i * m + c] = (product[i * m + c] ?? 0) + factor * entry(x, m, k, c);
    }
  }
  return product;
}

export interface NaiveFactor {
  readonly l: Matrix;
  readonly pivots: Float64Array;
  /** Index of the first pivot that is not positive; n if all are. */
  readonly passed: number;
}

export function naiveCholesky(a: ArrayLike<number>, n: number, shift = 0): NaiveFactor {
  const l = new Float64Array(n * n);
  const pivots = new Float64Array(n);
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = entry(a, n, i, j) + (i === j ? shift : 0);
      for (let k = 0; k < j; k++) sum -= entry(l, n, i, k) * entry(l, n, j, k);
      if (i === j) {
        pivots[j] = sum;
        if (!(sum > 0)) return { l, pivots, passed: j };
        l[j * n + j] = Math.sqrt(sum);
      } else l[i * n + j] = sum / entry(l, n, j, j);
    }
  }
  return { l, pivots, passed: n };
}

/** L Y = B. */
export function naiveForward(l: Matrix, n: number, b: ArrayLike<number>, m: number): Float64Array {
  const y = Float64Array.from(b);
  for (let c = 0; c < m; c++) {
    for (let i = 0; i < n; i++) {
      let sum = entry(y, m, i, c);
      for (let k = 0; k < i; k++) sum -= entry(l, n, i, k) * entry(y, m, k, c);
      y[i * m + c] = sum / entry(l, n, i, i);
    }
  }
  return y;
}

export function norm(values: ArrayLike<number>): number {
  return Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));
}

export function difference(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  return Float64Array.from(a, (x, i) => x - (b[i] ?? Number.NaN));
}

export function randoms(length: number): Float64Array {
  return new Float64Array(length).map(() => Math.random() * 2 - 1);
}
