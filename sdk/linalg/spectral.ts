/**
 * What one symmetric eigendecomposition A = V diag(s) V' (`eigh.ts`) answers at the price of a product: square roots of a
 * covariance, and kernel ridge regression over a whole grid of lambda, with the effective dimension and the
 * log-determinant that choose among them.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { eigenSizes, paddedRows, PANEL, tridiagonalUpdate } from "../engine/kernels/eigen.ts";
import { WidefieldError } from "../errors.ts";
import { Breath } from "./breath.ts";
import type { Eigen } from "./eigh.ts";
import { wasmOf, type LinalgTarget } from "./target.ts";
import { requireNumber } from "./krylov.ts";
import type { Values } from "./source.ts";
import { axpy, dot } from "./vectors.ts";

export interface SquareRootOptions {
  /**
   * How far below zero an eigenvalue may be, relative to the largest, to pass as the rounding error of a zero: default
   * 1e-6, that of covariances in float32.
   */
  readonly negative?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface InverseSquareRootOptions extends SquareRootOptions {
  /** Eigenvalues below this part of the largest count as this part of it; default 1e-10. */
  readonly floor?: number | undefined;
}

/**
 * The symmetric square root V diag(sqrt(s)) V' of a covariance, row-major, n x n: times white noise, it has that
 * covariance. n^3 operations; memory: that of the matrix and of the result.
 *
 * Throws E_CONFIG for a decomposition without its vectors, or not of all eigenvalues, E_NOT_POSITIVE_DEFINITE for an
 * eigenvalue that is negative beyond `negative` (details: `index`, `value`), E_MEMORY, E_ABORTED.
 */
export async function squareRoot(
  target: LinalgTarget,
  eigen: Eigen,
  options: SquareRootOptions = {},
): Promise<Float64Array> {
  const s = requireSemidefinite(eigen.values, options);
  return spectralProduct(target, eigen, s.map(Math.sqrt), options.signal);
}

/**
 * The symmetric inverse square root V diag(max(s, floor x largest)^(-1/2)) V' of a covariance: it whitens. The floor
 * bounds what noise along directions of no variance is multiplied by. Errors as in `squareRoot`, and
 * E_NOT_POSITIVE_DEFINITE for a zero matrix, or a singular one with a floor of 0.
 */
export async function inverseSquareRoot(
  target: LinalgTarget,
  eigen: Eigen,
  options: InverseSquareRootOptions = {},
): Promise<Float64Array> {
  const { floor = 1e-10 } = options;
  requireNumber("floor", floor);
  const s = requireSemidefinite(eigen.values, options);
  const least = floor * (s.at(-1) ?? 0);
  const roots = s.map((value) => 1 / Math.sqrt(Math.max(value, least)));
  const bad = roots.findIndex((root) => !Number.isFinite(root));
  if (bad >= 0) {
    throw new WidefieldError(
      "E_NOT_POSITIVE_DEFINITE",
      `eigenvalue ${bad} of the covariance is ${s[bad] as number}, which has no inverse root: give a floor above 0`,
      { details: { index: bad, value: s[bad] } },
    );
  }
  return spectralProduct(target, eigen, roots, options.signal);
}

/** Eigenvalues with rounding errors of zeros set to zero. */
function requireSemidefinite(values: Float64Array, { negative = 1e-6 }: SquareRootOptions): Float64Array {
  requireNumber("negative", negative);
  const least = -negative * Math.max(0, values.at(-1) ?? 0);
  const bad = values.findIndex((value) => !(value >= least));
  if (bad < 0) return values.map((value) => Math.max(value, 0));
  const value = values[bad] as number;
  throw new WidefieldError(
    "E_NOT_POSITIVE_DEFINITE",
    `the matrix is no covariance: its eigenvalue ${bad} is ${value.toExponential(3)}, and the largest is ` +
      `${(values.at(-1) ?? 0).toExponential(3)}; what passes as rounding is set by \`negative\``,
    { details: { index: bad, value } },
  );
}

/** The vectors of a whole decomposition. Throws E_CONFIG. */
function vectorsOf({ n, values, vectors }: Eigen): Float64Array {
  requireAll(n, values);
  if (vectors !== undefined) return vectors;
  throw new WidefieldError(
    "E_CONFIG",
    "this needs the eigenvectors, and the decomposition was made without: `vectors`",
  );
}

function requireAll(n: number, values: Float64Array): void {
  if (values.length === n) return;
  throw new WidefieldError(
    "E_CONFIG",
    `this needs all ${n} eigenvalues, and the decomposition holds the ${values.length} largest: leave \`largest\` out`,
  );
}

/** Columns of a block of the product: the depth of the kernel that updates a matrix behind a panel. */
const DEPTH = 2 * PANEL;

/**
 * V diag(weights) V', row-major and exactly symmetric: blocks of columns, left = -V diag(weights) and right = V, through
 * the update A -= left right' of the tridiagonalisation, which works on the lower triangle.
 */
async function spectralProduct(
  target: LinalgTarget,
  eigen: Eigen,
  weights: Float64Array,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const vectors = vectorsOf(eigen);
  const backend = await wasmOf(target);
  const { n } = eigen;
  const padded = paddedRows(n);
  const slots: Slot[] = [];
  const allocate = (doubles: number, label: string): Slot => {
    const slot = backend.allocate(doubles * 8, label);
    slots.push(slot);
    return slot;
  };
  try {
    const matrix = allocate(padded * padded, `a function of a ${n} x ${n} matrix`);
    const [left, right] = [allocate(eigenSizes.panel(n), "weighted vectors"), allocate(eigenSizes.panel(n), "vectors")];
    const zeros = new Float64Array(4 * padded);
    for (let row = 0; row < padded; row += 4) backend.write(matrix, row * padded * 8, zeros);
    for (let begin = 0; begin < n; begin += DEPTH) {
      throwIfAborted(signal);
      const [weighted, plain] = packed(vectors, n, begin, weights);
      backend.write(left, 0, weighted);
      backend.write(right, 0, plain);
      backend.dispatch(tridiagonalUpdate, { n, first: 0 }, [matrix, left, right]);
      await backend.finish();
    }
    return await lowerMirrored(backend, matrix, n);
  } finally {
    for (const slot of slots) backend.free(slot);
  }
}

/** Columns [begin, begin + DEPTH) of -V diag(weights) and of V in strips of four rows, zeros behind the last. */
function packed(
  vectors: Float64Array,
  n: number,
  begin: number,
  weights: Float64Array,
): readonly [Float64Array, Float64Array] {
  const [weighted, plain] = [new Float64Array(eigenSizes.panel(n)), new Float64Array(eigenSizes.panel(n))];
  const end = Math.min(n, begin + DEPTH);
  for (let i = 0; i < n; i++) {
    for (let j = begin; j < end; j++) {
      const at = ((i >> 2) * DEPTH + j - begin) * 4 + (i & 3);
      const value = vectors[i * n + j] as number;
      weighted[at] = -(weights[j] as number) * value;
      plain[at] = value;
    }
  }
  return [weighted, plain];
}

/** A matrix in strips of four rows, of which the lower triangle counts, row-major. */
async function lowerMirrored(backend: Backend, matrix: Slot, n: number): Promise<Float64Array> {
  const padded = paddedRows(n);
  const out = new Float64Array(n * n);
  for (let top = 0; top < n; top += 4) {
    const strip = new Float64Array(await backend.read(matrix, top * padded * 8, (top + 4) * 32));
    for (let i = top; i < Math.min(top + 4, n); i++)
      for (let j = 0; j <= i; j++) out[i * n + j] = out[j * n + i] = strip[j * 4 + (i & 3)] as number;
  }
  return out;
}

export interface RidgeSolution {
  readonly lambda: number;
  /** Row-major n x m: (A + lambda I) x = b. */
  readonly x: Float64Array;
  readonly effectiveDimension: number;
  readonly logDeterminant: number;
  /** (largest + lambda) / (smallest + lambda): x is off by about this times n 2^-53, relative. */
  readonly condition: number;
}

/**
 * Kernel ridge regression over a regularisation grid: the solutions of (A + lambda I) X = B for every lambda, in the
 * order given. `rhs` is row-major n x m. Work: 2 n^2 m for B's coordinates, and again for each lambda, on the calling
 * thread; memory: the solutions.
 *
 * Throws E_CONFIG (no lambda, one that is negative or not finite, a partial decomposition, or one without vectors),
 * E_SHAPE, E_DATA (an entry of B that is not finite, named), E_NOT_POSITIVE_DEFINITE where a lambda leaves the matrix
 * indefinite or singular to working precision, before anything is solved (details: `lambda`, `value`: the smallest
 * eigenvalue with it, `needed`: what every lambda must exceed), E_OVERFLOW, E_ABORTED.
 */
export async function ridgePath(
  eigen: Eigen,
  rhs: Values,
  lambdas: readonly number[],
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<RidgeSolution[]> {
  const { n, values } = eigen;
  const vectors = vectorsOf(eigen);
  const m = rhs.length / n;
  if (!Number.isInteger(m) || m === 0) {
    throw new WidefieldError(
      "E_SHAPE",
      `right-hand sides of a ${n} x ${n} matrix must be ${n} x m numbers, row by row, m >= 1; ${rhs.length} were given`,
      { details: { n, length: rhs.length } },
    );
  }
  if (lambdas.length === 0) throw new WidefieldError("E_CONFIG", "there is no lambda to solve for: give at least one");
  const bad = rhs.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    const [row, column, value] = [Math.floor(bad / m), bad % m, rhs[bad] as number];
    throw new WidefieldError("E_DATA", `entry (${row}, ${column}) of the right-hand sides is ${value}`, {
      details: { row, column, value },
    });
  }
  for (const lambda of lambdas) requireRegular(values, lambda);
  const breath = new Breath();
  const pause = async () => {
    throwIfAborted(options.signal);
    if (await breath.take()) throwIfAborted(options.signal);
  };
  const coordinates = new Float64Array(n * m); // V' B, one right-hand side after the other
  for (let i = 0; i < n; i++) {
    await pause();
    const row = vectors.subarray(i * n, (i + 1) * n);
    for (let v = 0; v < m; v++) axpy(rhs[i * m + v] as number, row, coordinates.subarray(v * n, (v + 1) * n));
  }
  const solutions: RidgeSolution[] = [];
  for (const lambda of lambdas) {
    const weighted = coordinates.map((value, at) => value / ((values[at % n] as number) + lambda));
    const columns = Array.from({ length: m }, (_, v) => weighted.subarray(v * n, (v + 1) * n));
    const x = new Float64Array(n * m);
    for (let i = 0; i < n; i++) {
      await pause();
      const row = vectors.subarray(i * n, (i + 1) * n);
      columns.forEach((column, v) => (x[i * m + v] = dot(row, column)));
    }
    const lost = x.findIndex((value) => !Number.isFinite(value));
    if (lost >= 0) {
      throw new WidefieldError(
        "E_OVERFLOW",
        `entry ${lost} of the solution for lambda ${lambda} leaves float64's range`,
        {
          details: { index: lost, lambda },
        },
      );
    }
    const condition = ((values[n - 1] as number) + lambda) / ((values[0] as number) + lambda);
    solutions.push({
      lambda,
      x,
      effectiveDimension: effectiveDimension(eigen, lambda),
      logDeterminant: logDeterminant(eigen, lambda),
      condition,
    });
  }
  return solutions;
}

/**
 * Degrees of freedom that ridge regression with this lambda leaves: trace of A (A + lambda I)^-1, from n at lambda = 0
 * to 0. Needs all eigenvalues, and no vectors. Throws E_CONFIG, E_NOT_POSITIVE_DEFINITE as `ridgePath`.
 */
export function effectiveDimension(eigen: Eigen, lambda: number): number {
  requireAll(eigen.n, eigen.values);
  requireRegular(eigen.values, lambda);
  return eigen.values.reduce((sum, value) => sum + Math.max(0, value) / (Math.max(0, value) + lambda), 0);
}

/** log det(A + lambda I). Needs all eigenvalues, and no vectors. Throws E_CONFIG, E_NOT_POSITIVE_DEFINITE. */
export function logDeterminant(eigen: Eigen, lambda: number): number {
  requireAll(eigen.n, eigen.values);
  requireRegular(eigen.values, lambda);
  return eigen.values.reduce((sum, value) => sum + Math.log(value + lambda), 0);
}

/**
 * Throws E_NOT_POSITIVE_DEFINITE unless the smallest eigenvalue with lambda is larger than what eigenvalues are off by, n
 * units in the last place of the largest: a smaller one could as well be 0 or negative.
 */
function requireRegular(values: Float64Array, lambda: number): void {
  requireNumber("lambda", lambda);
  const [smallest, largest] = [values[0] as number, values.at(-1) as number];
  const noise = values.length * 2 ** -52 * Math.max(Math.abs(smallest), Math.abs(largest));
  if (smallest + lambda > noise) return;
  const needed = noise - smallest;
  throw new WidefieldError(
    "E_NOT_POSITIVE_DEFINITE",
    `with lambda ${lambda}, the ${values.length} x ${values.length} matrix is ` +
      `${smallest + lambda < -noise ? "not positive definite" : "singular to working precision"}: its smallest ` +
      `eigenvalue is ${(smallest + lambda).toExponential(3)}; a lambda of more than ${needed.toExponential(2)} is needed`,
    { details: { lambda, value: smallest + lambda, needed } },
  );
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WidefieldError("E_ABORTED", "the work on an eigendecomposition was stopped", { cause: signal.reason });
}
