/**
 * A symmetric system A + shift I that has been made ready to be solved with, whatever the method: a factor, a
 * decomposition, or an operator and its preconditioner. Everything here is in units of A's entries; a matrix's power of
 * two is the business of `solve.ts` and of a Gaussian process.
 */
import { WidefieldError } from "../errors.ts";
import { blockCg } from "./block-cg.ts";
import type { CholeskyFactor } from "./factor.ts";
import type { Eigen } from "./eigh.ts";
import type { KrylovOptions } from "./krylov.ts";
import type { LinearOperator } from "./operator.ts";
import type { Preconditioner } from "./preconditioner.ts";
import { CG_COLUMNS, type SolveMethod } from "./solve-plan.ts";
import type { Values } from "./source.ts";

export interface Solved {
  /** Row-major n x m. */
  readonly x: Float64Array;
  /** The largest of a right-hand side, computed from x; undefined where the method does not know it. */
  readonly relativeResidual?: number | undefined;
  readonly iterations?: number | undefined;
}

export interface Solver {
  readonly method: SolveMethod;
  readonly n: number;
  /** What was added to the diagonal; and the same over the mean diagonal, where the matrix shows that. */
  readonly shift: number;
  readonly relativeShift: number | undefined;
  /** Natural logarithm of the determinant of A + shift I; conjugate gradients do not know it. */
  readonly logDeterminant: number | undefined;
  /** Time of the factorisation or decomposition; of conjugate gradients, of their solves so far. */
  readonly seconds: number;
  /** 10^9 operations a second of a factorisation; 0 where that means nothing. */
  readonly gflops: number;
  /** (A + shift I)^-1 B for row-major n x m right-hand sides. Throws what the method throws. */
  solve(rhs: Values): Promise<Solved>;
  /** b' (A + shift I)^-1 b for each of the m columns of a row-major n x m matrix. */
  quadratic(rhs: Values): Promise<Float64Array>;
  /** Releases what it holds; a factor's memory at once. Idempotent. */
  dispose(): Promise<void>;
}

export function choleskySolver(factor: CholeskyFactor): Solver {
  const { n, shift, jitterUsed, meanDiagonal, logDeterminant, seconds, gflops } = factor;
  return {
    method: "cholesky",
    n,
    shift,
    relativeShift: jitterUsed === 0 && shift > 0 ? shift / meanDiagonal : jitterUsed,
    logDeterminant,
    seconds,
    gflops,
    solve: async (rhs) => ({ x: await factor.solve(rhs) }),
    async quadratic(rhs) {
      const half = await factor.forward(rhs);
      const m = rhs.length / n;
      const squares = new Float64Array(m);
      for (let i = 0; i < n; i++)
        for (let c = 0; c < m; c++) squares[c] = (squares[c] as number) + (half[i * m + c] as number) ** 2;
      return squares;
    },
    async dispose() {
      factor.dispose();
    },
  };
}

/** A decomposition, and what is known of the matrix beside it. */
export interface Decomposition {
  readonly eigen: Eigen & { readonly vectors: Float64Array };
  readonly meanDiagonal: number;
  readonly seconds: number;
  /** Of the matrix: failures are told in its own units. */
  readonly exponent: number;
}

/** Throws E_NOT_POSITIVE_DEFINITE (details: `eigenvalue`, `lambdaNeeded`, `singular`) unless A + shift I is so. */
export function eighSolver({ eigen, meanDiagonal, seconds, exponent }: Decomposition, shift: number): Solver {
  const { n, values, vectors } = eigen;
  requirePositive(values, shift, 2 ** exponent);
  let disposed = false;
  const project = (rhs: Values) => {
    if (disposed) throw new WidefieldError("E_CLOSED", "this solver has been disposed");
    return transposedTimes(vectors, n, rhs);
  };
  return {
    method: "eigh",
    n,
    shift,
    relativeShift: meanDiagonal > 0 ? shift / meanDiagonal : undefined,
    logDeterminant: values.reduce((sum, value) => sum + Math.log(value + shift), 0),
    seconds,
    gflops: 0,
    async solve(rhs) {
      const m = columnsOf(rhs, n);
      const scaled = project(rhs).map((value, at) => value / ((values[Math.floor(at / m)] as number) + shift));
      return { x: times(vectors, n, scaled) };
    },
    async quadratic(rhs) {
      const m = columnsOf(rhs, n);
      const sums = new Float64Array(m);
      project(rhs).forEach((value, at) => {
        sums[at % m] = (sums[at % m] as number) + value ** 2 / ((values[Math.floor(at / m)] as number) + shift);
      });
      return sums;
    },
    async dispose() {
      disposed = true;
    },
  };
}

/** The smallest eigenvalue that is not rounding of the largest: n units of roundoff. */
export function eigenvalueNoise(values: Float64Array): number {
  return values.length * 2 ** -53 * Math.max(Math.abs(values[0] ?? 0), Math.abs(values.at(-1) ?? 0));
}

function requirePositive(values: Float64Array, shift: number, scale: number): void {
  const [smallest, noise] = [values[0] ?? NaN, eigenvalueNoise(values)];
  if (smallest + shift > noise) return;
  const singular = smallest + shift >= -noise;
  const needed = Math.max(noise, noise - smallest);
  throw new WidefieldError(
    "E_NOT_POSITIVE_DEFINITE",
    // In the matrix's own units.
    `the ${values.length} x ${values.length} matrix is ${singular ? "singular to working precision" : "not positive definite"}: ` +
      `its smallest eigenvalue is ${(smallest * scale).toExponential(3)}, and ${(shift * scale).toExponential(3)} was added; it takes more than ` +
      (needed * scale).toExponential(1),
    { details: { eigenvalue: smallest * scale, lambdaNeeded: needed * scale, singular } },
  );
}

/** What conjugate gradients need to know beside the operator. */
export interface CgSystem {
  readonly operator: LinearOperator;
  readonly shift: number;
  readonly relativeShift: number | undefined;
  readonly preconditioner: Preconditioner | undefined;
  readonly options: KrylovOptions;
  readonly dispose: () => Promise<void>;
}

/** Solves throw what `blockCg` throws, and E_NOT_CONVERGED, with the history, at the cap on iterations. */
export function cgSolver({ operator, shift, relativeShift, preconditioner, options, dispose }: CgSystem): Solver {
  const { n } = operator;
  let seconds = 0;
  let disposed = false;
  const solve = async (rhs: Values): Promise<Solved> => {
    if (disposed) throw new WidefieldError("E_CLOSED", "this solver has been disposed");
    const m = columnsOf(rhs, n);
    const begun = performance.now();
    const x = new Float64Array(n * m);
    let [relativeResidual, iterations] = [0, 0];
    for (let first = 0; first < m; first += CG_COLUMNS) {
      const count = Math.min(CG_COLUMNS, m - first);
      const part = await blockCg(operator, columnsAt(rhs, n, first, count), {
        ...options,
        lambda: shift,
        preconditioner,
      });
      const residual = part.relativeResiduals.reduce((most, value) => Math.max(most, value), 0);
      requireConverged(part, residual, options.tolerance);
      for (let i = 0; i < n; i++) x.set(part.x.subarray(i * count, (i + 1) * count), i * m + first);
      relativeResidual = Math.max(relativeResidual, residual);
      iterations += part.iterations;
    }
    seconds += (performance.now() - begun) / 1000;
    return { x, relativeResidual, iterations };
  };
  return {
    method: "cg",
    n,
    shift,
    relativeShift,
    logDeterminant: undefined,
    get seconds() {
      return seconds;
    },
    gflops: 0,
    solve,
    async quadratic(rhs) {
      const m = columnsOf(rhs, n);
      const { x } = await solve(rhs);
      const sums = new Float64Array(m);
      x.forEach((value, at) => (sums[at % m] = (sums[at % m] as number) + value * (rhs[at] as number)));
      return sums;
    },
    async dispose() {
      disposed = true;
      await dispose();
    },
  };
}

/** An answer at the cap is none: throws E_NOT_CONVERGED with the history. */
export function requireConverged(
  { converged, iterations, history }: { converged: boolean; iterations: number; history: readonly number[] },
  residual: number,
  tolerance = 1e-8,
): void {
  if (converged) return;
  throw new WidefieldError(
    "E_NOT_CONVERGED",
    `conjugate gradients stopped at their cap of ${iterations} iterations: the relative residual is ` +
      `${residual.toExponential(2)}, asked for was ${tolerance.toExponential(2)}. Raise lambda, the tolerance or the cap, ` +
      "give a better preconditioner, or factorise the matrix (cholesky)",
    { details: { iteration: iterations, residual, history } },
  );
}

/** m of row-major n x m right-hand sides. Throws E_SHAPE, and E_DATA for an entry that is not finite (named). */
export function columnsOf(rhs: Values, n: number): number {
  const m = rhs.length / n;
  if (!Number.isInteger(m) || m === 0) {
    throw new WidefieldError(
      "E_SHAPE",
      `right-hand sides of a ${n} x ${n} matrix must be ${n} x m numbers, row by row, m >= 1; ${rhs.length} were given`,
      { details: { n, length: rhs.length } },
    );
  }
  const bad = rhs.findIndex((value) => value - value !== 0);
  if (bad < 0) return m;
  const [row, column, value] = [Math.floor(bad / m), bad % m, rhs[bad] as number];
  throw new WidefieldError("E_DATA", `entry (${row}, ${column}) of the right-hand sides is ${value}`, {
    details: { row, column, value },
  });
}

/** Columns [first, first + count) of a row-major matrix of n rows. */
export function columnsAt(rhs: Values, n: number, first: number, count: number): Float64Array {
  const m = rhs.length / n;
  const part = new Float64Array(n * count);
  for (let i = 0; i < n; i++) part.set(rhs.subarray(i * m + first, i * m + first + count), i * count);
  return part;
}

/** V B for a row-major n x n and n x m matrix. */
function times(v: Float64Array, n: number, b: Float64Array): Float64Array {
  const m = b.length / n;
  const product = new Float64Array(n * m);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      const factor = v[i * n + k] as number;
      for (let c = 0; c < m; c++)
        product[i * m + c] = (product[i * m + c] as number) + factor * (b[k * m + c] as number);
    }
  }
  return product;
}

/** V' B. */
function transposedTimes(v: Float64Array, n: number, b: Values): Float64Array {
  const m = b.length / n;
  const product = new Float64Array(n * m);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      const factor = v[i * n + k] as number;
      for (let c = 0; c < m; c++)
        product[k * m + c] = (product[k * m + c] as number) + factor * (b[i * m + c] as number);
    }
  }
  return product;
}
