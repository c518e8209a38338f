/**
 * Symmetric matrices with known spectra, and the plain float64 algorithms that the engine's are compared with. What is
 * drawn by fast-check has a seed, so that a counterexample is a small object that can be looked at again.
 */
import fc from "fast-check";
import { RandomStream } from "../sdk/engine/rng.ts";

/** Row-major n x n. */
export type Matrix = Float64Array;
/** Uniform in [0, 1). */
export type Uniform = () => number;

/** Q diag(eigenvalues) Q^T with Q a product of eight random reflections; exactly symmetric. */
export function withSpectrum(eigenvalues: ArrayLike<number>, uniform: Uniform = Math.random): Matrix {
  const n = eigenvalues.length;
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) a[i * n + i] = eigenvalues[i] ?? Number.NaN;
  for (let reflection = 0; reflection < Math.min(n, 8); reflection++) reflect(a, n, uniform);
  mirror(a, n);
  return a;
}

/** A = H A H with H = I - 2 v v^T for a random unit v. */
function reflect(a: Matrix, n: number, uniform: Uniform): void {
  const u = unit(n, uniform);
  const w = times(a, n, u);
  const uw = u.reduce((sum, x, i) => sum + x * (w[i] ?? 0), 0);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const [ui = 0, uj = 0, wi = 0, wj = 0] = [u[i], u[j], w[i], w[j]];
      a[i * n + j] = entry(a, n, i, j) - 2 * ui * wj - 2 * wi * uj + 4 * uw * ui * uj;
    }
  }
}

function unit(n: number, uniform: Uniform): Float64Array {
  const v = new Float64Array(n).map(() => uniform() - 0.5);
  const length = norm(v);
  return v.map((x) => x / length);
}

function mirror(a: Matrix, n: number): void {
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) a[j * n + i] = entry(a, n, i, j);
}

/** An orthogonal n x n matrix, dense in every direction: a product of n random reflections, and random signs. */
export function randomOrthogonal(n: number, uniform: Uniform = Math.random): Matrix {
  const q = new Float64Array(n * n);
  for (let i = 0; i < n; i++) q[i * n + i] = uniform() < 0.5 ? -1 : 1;
  for (let reflection = 0; reflection < n; reflection++) {
    const u = unit(n, uniform);
    const along = new Float64Array(n); // u' Q
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) along[j] = (along[j] ?? 0) + (u[i] ?? 0) * entry(q, n, i, j);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) q[i * n + j] = entry(q, n, i, j) - 2 * (u[i] ?? 0) * (along[j] ?? 0);
  }
  return q;
}

/** Q diag(eigenvalues) Q^T; exactly symmetric. */
export function conjugated(q: Matrix, eigenvalues: ArrayLike<number>): Matrix {
  const n = eigenvalues.length;
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += entry(q, n, i, k) * (eigenvalues[k] ?? Number.NaN) * entry(q, n, j, k);
      a[i * n + j] = sum;
    }
  }
  mirror(a, n);
  return a;
}

/**
 * random: evenly in [0.1, 1.1); graded: from 1 down by 2 to 10 decades; clustered: up to four values between 0.5 and 4,
 * each repeated within 1e-16 to 1e-3 of itself; nearlySingular: random, but for up to a third, which are about 1e-11.
 */
export const SPECTRA = ["random", "graded", "clustered", "nearlySingular"] as const;
export type SpectrumKind = (typeof SPECTRA)[number];

/** n positive eigenvalues, in no order; their condition is at most 1e12. */
export function spectrumOf(kind: SpectrumKind, n: number, uniform: Uniform = Math.random): Float64Array {
  const values = new Float64Array(n);
  switch (kind) {
    case "random":
      return values.map(() => 0.1 + uniform());
    case "graded": {
      const decades = 2 + 8 * uniform();
      return values.map((_, i) => 10 ** ((-decades * i) / Math.max(1, n - 1)));
    }
    case "clustered": {
      const centres = Array.from({ length: 1 + Math.floor(4 * uniform()) }, () => 0.5 + 3.5 * uniform());
      const width = 10 ** (-16 + 13 * uniform());
      return values.map((_, i) => (centres[i % centres.length] ?? Number.NaN) * (1 + width * uniform()));
    }
    case "nearlySingular": {
      const small = n === 1 ? 0 : 1 + Math.floor((n / 3) * uniform());
      return values.map((_, i) => (i < small ? 1e-11 : 1) * (0.5 + uniform()));
    }
  }
}

/** A symmetric positive definite matrix, and what it was made of. */
export interface SpectralMatrix {
  readonly kind: SpectrumKind;
  readonly n: number;
  readonly seed: number;
  /** Those of `a` up to rounding, 2^-53 n of the largest. */
  readonly eigenvalues: Float64Array;
  /** The largest eigenvalue over the smallest. */
  readonly condition: number;
  readonly a: Matrix;
  /** For whatever else a test draws: continues the matrix's own stream. */
  readonly uniform: Uniform;
}

/** The matrix of a seed. */
export function spectralMatrix(kind: SpectrumKind, n: number, seed: number): SpectralMatrix {
  const stream = new RandomStream(seed, `matrix of a ${kind} spectrum`);
  const uniform = () => stream.uniform();
  const eigenvalues = spectrumOf(kind, n, uniform);
  const condition = Math.max(...eigenvalues) / Math.min(...eigenvalues);
  return { kind, n, seed, eigenvalues, condition, a: conjugated(randomOrthogonal(n, uniform), eigenvalues), uniform };
}

export interface MatrixChoice {
  readonly kind: SpectrumKind;
  readonly n: number;
  readonly seed: number;
}

/**
 * Kind, size and seed of a matrix (for `spectralMatrix`): what fast-check shrinks and prints. Sizes are small ones and
 * large ones alike, rather than nearly all of them large.
 */
export function matrixChoices(
  options: { readonly min?: number; readonly max?: number; readonly kinds?: readonly SpectrumKind[] } = {},
): fc.Arbitrary<MatrixChoice> {
  const { min = 1, max = 300, kinds = SPECTRA } = options;
  return fc.record({
    kind: fc.constantFrom(...kinds),
    n: fc.oneof(fc.integer({ min, max: Math.min(max, 20) }), fc.integer({ min, max })),
    seed: fc.nat(),
  });
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
