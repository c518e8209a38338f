/**
 * The front door of linear algebra: (K + lambda I) X = B for a symmetric positive definite K + lambda I, one lambda or a
 * grid of them, by a factorisation, by conjugate gradients or through the eigenvectors, whichever suits.
 *
 *     const { solutions, reason } = await solve(engine, K, y, { lambda: [1e-3, 1e-2, 1e-1] });
 */
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { multiShiftCg } from "./multi-shift-cg.ts";
import type { LinearOperator } from "./operator.ts";
import { formOf, operatorOf, prepare, type MatrixForm, type PrepareOptions, type SolveMatrix } from "./prepare.ts";
import { productSeconds, type SolveMethod } from "./solve-plan.ts";
import { columnsAt, columnsOf, requireConverged, type Solved } from "./solver.ts";
import type { Values } from "./source.ts";
import { scaleByPower } from "./vectors.ts";

export interface SolveOptions extends PrepareOptions {
  /** Added to K's diagonal, in K's own units (its power of two counts): one number, or a grid; default 0. */
  readonly lambda?: number | readonly number[] | undefined;
}

export interface Solution {
  readonly lambda: number;
  /** Row-major n x m. */
  readonly x: Float64Array;
  /**
   * The largest ||b - (K + lambda I) x|| / ||b|| of a right-hand side, computed from x. Direct methods compute it for
   * arrays, where that adds little to their time.
   */
  readonly relativeResidual: number | undefined;
  /** Of conjugate gradients: products with the matrix. */
  readonly iterations: number | undefined;
  /** Natural logarithm of det(K + lambda I), in K's own units; conjugate gradients do not know it. */
  readonly logDeterminant: number | undefined;
}

export interface SolveResult {
  readonly method: SolveMethod;
  /** Why this method. */
  readonly reason: string;
  /** In the order of the lambdas given. */
  readonly solutions: readonly Solution[];
  readonly seconds: number;
}

/**
 * Solves for row-major n x m right-hand sides. K: an array as `kernel` returns it, a symmetric source (`kernelSource` makes
 * one of a kernel matrix or store), or a linear operator, with which only conjugate gradients work.
 *
 * A grid of lambdas costs Cholesky a factorisation each, `eigh` a product each, and conjugate gradients without a
 * preconditioner of the caller's nothing (`multiShiftCg`, one right-hand side after the other).
 *
 * Throws E_SHAPE (K empty or not square, B of a wrong length), E_DATA (an entry that is not finite, or the worst pair of an
 * array that is not symmetric, named), E_CONFIG, E_MEMORY (nothing fits; says what each method would take),
 * E_NOT_POSITIVE_DEFINITE, E_NOT_CONVERGED with the history (conjugate gradients), E_OVERFLOW for a solution outside
 * float64's range, E_ABORTED, and what reading K throws.
 */
export async function solve(
  engine: Engine,
  K: SolveMatrix,
  B: Values,
  options: SolveOptions = {},
): Promise<SolveResult> {
  engine.assertOpen();
  const begun = performance.now();
  const form = formOf(K, options.symmetryTolerance);
  const m = columnsOf(B, form.n);
  const lambdas = lambdasOf(options.lambda);
  const shifts = lambdas.map((lambda) => shiftOf(lambda, form.exponent));
  if (options.scratch?.keep === true && lambdas.length > 1)
    throw new WidefieldError("E_CONFIG", "one factor can be kept in a scratch folder: give one lambda");
  const prepared = await prepare(engine, form, { rhs: m, lambdas: lambdas.length }, options);
  const { method, reason, seconds: expected } = prepared.choice;
  let found: Found[];
  try {
    const { operator } = prepared;
    const together =
      operator !== undefined &&
      shifts.length > 1 &&
      (options.preconditioner === undefined || options.preconditioner === "none");
    if (together) found = await gridByCg(operator, B, shifts, options);
    else {
      found = [];
      for (const lambda of shifts) {
        const solver = await prepared.shifted({ lambda });
        try {
          found.push({ ...(await solver.solve(B)), logDeterminant: solver.logDeterminant });
        } finally {
          await solver.dispose();
        }
      }
    }
  } finally {
    await prepared.dispose();
  }
  const cheap =
    form.dense !== undefined && productSeconds(form.n, m) <= Math.max(0.05, (expected ?? 0) / lambdas.length / 10);
  const residuals = method !== "cg" && cheap ? await residualsOf(engine, form, B, found, shifts) : [];
  return {
    method,
    reason,
    solutions: found.map(({ x, relativeResidual, iterations, logDeterminant }, index) => ({
      lambda: lambdas[index] as number,
      x: unscaled(x, form.exponent, m),
      relativeResidual: residuals[index] ?? relativeResidual,
      iterations,
      logDeterminant: logDeterminant === undefined ? undefined : logDeterminant + form.n * form.exponent * Math.LN2,
    })),
    seconds: (performance.now() - begun) / 1000,
  };
}

interface Found extends Solved {
  readonly logDeterminant: number | undefined;
}

/** Throws E_CONFIG for a lambda that is negative or not finite, and for an empty grid. */
function lambdasOf(lambda: SolveOptions["lambda"] = 0): readonly number[] {
  const lambdas = typeof lambda === "number" ? [lambda] : lambda;
  if (lambdas.length === 0) throw new WidefieldError("E_CONFIG", "a grid of lambdas needs at least one");
  for (const each of lambdas)
    if (!(each >= 0 && Number.isFinite(each)))
      throw new WidefieldError("E_CONFIG", `lambda must be a finite number that is not negative, not ${each}`);
  return lambdas;
}

/** A lambda in units of the stored entries. Throws E_CONFIG where that leaves float64. */
export function shiftOf(lambda: number, exponent: number): number {
  const shift = scaleByPower(Float64Array.of(lambda), -exponent)[0] as number;
  if (Number.isFinite(shift) && (shift > 0 || lambda === 0)) return shift;
  throw new WidefieldError(
    "E_CONFIG",
    `a lambda of ${lambda} cannot be added to a matrix that is 2^${exponent} times its entries: it leaves float64's range`,
    { details: { lambda, exponent } },
  );
}

/** All lambdas in one Krylov space for each right-hand side. */
async function gridByCg(
  operator: LinearOperator,
  rhs: Values,
  shifts: readonly number[],
  { onProgress, tolerance, absoluteTolerance, maxIterations, stagnationWindow, signal }: SolveOptions,
): Promise<Found[]> {
  const { n } = operator;
  const m = rhs.length / n;
  const found = shifts.map(() => ({ x: new Float64Array(n * m), relativeResidual: 0, iterations: 0 }));
  for (let column = 0; column < m; column++) {
    const result = await multiShiftCg(operator, columnsAt(rhs, n, column, 1), shifts, {
      ...{ tolerance, absoluteTolerance, maxIterations, stagnationWindow, signal },
      onProgress: onProgress && ((progress) => onProgress({ method: "cg", phase: "iterate", ...progress })),
    });
    const worst = result.solutions.reduce((most, { relativeResidual }) => Math.max(most, relativeResidual), 0);
    requireConverged(result, worst, tolerance);
    result.solutions.forEach(({ x, relativeResidual, iterations }, index) => {
      const into = found[index];
      if (into === undefined) return;
      x.forEach((value, i) => (into.x[i * m + column] = value));
      into.relativeResidual = Math.max(into.relativeResidual, relativeResidual);
      into.iterations += iterations;
    });
  }
  return found.map((each) => ({ ...each, logDeterminant: undefined }));
}

/** The largest relative residual for each shift, from one product with the matrix each. */
async function residualsOf(
  engine: Engine,
  form: MatrixForm,
  rhs: Values,
  found: readonly Found[],
  shifts: readonly number[],
): Promise<number[]> {
  const { n } = form;
  const m = rhs.length / n;
  const { operator, dispose } = await operatorOf(engine, form, engine.memoryBytes / 4);
  try {
    const residuals: number[] = [];
    for (const [index, { x }] of found.entries()) {
      const block = new Float64Array(n * m);
      for (let i = 0; i < n; i++) for (let c = 0; c < m; c++) block[c * n + i] = x[i * m + c] as number;
      const product = await operator.apply(block, m);
      let worst = 0;
      for (let c = 0; c < m; c++) {
        let [error, norm] = [0, 0];
        for (let i = 0; i < n; i++) {
          const b = rhs[i * m + c] as number;
          const at = c * n + i;
          error = Math.hypot(error, b - (product[at] as number) - (shifts[index] as number) * (block[at] as number));
          norm = Math.hypot(norm, b);
        }
        if (error > 0) worst = Math.max(worst, error / norm);
      }
      residuals.push(worst);
    }
    return residuals;
  } finally {
    await dispose();
  }
}

/** A solution in the caller's units. Throws E_OVERFLOW where it leaves float64's range. */
function unscaled(x: Float64Array, exponent: number, m: number): Float64Array {
  const scaled = exponent === 0 ? x : scaleByPower(x, -exponent);
  const bad = scaled.findIndex((value) => value - value !== 0);
  if (bad < 0) return scaled;
  const [row, column] = [Math.floor(bad / m), bad % m];
  throw new WidefieldError("E_OVERFLOW", `entry (${row}, ${column}) of the solution leaves float64's range`, {
    details: { row, column },
  });
}
