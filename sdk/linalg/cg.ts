/**
 * Conjugate gradients with a preconditioner, for one right-hand side (Hestenes and Stiefel 1952; Golub and Van Loan,
 * Matrix Computations, 11.5), with the residual replaced by the true one wherever the method believes it has arrived.
 */
import { WidefieldError } from "../errors.ts";
import { requireNumber, System, type KrylovOptions, type KrylovStop } from "./krylov.ts";
import type { LinearOperator } from "./operator.ts";
import type { Preconditioner } from "./preconditioner.ts";
import type { Values } from "./source.ts";
import { axpy, dot, scaleByPower } from "./vectors.ts";

export interface CgOptions extends KrylovOptions {
  /** Added to the diagonal; default 0. */
  readonly lambda?: number | undefined;
  readonly preconditioner?: Preconditioner | undefined;
  /** Where to begin: n numbers; default 0. */
  readonly start?: Values | undefined;
}

export interface CgResult {
  readonly x: Float64Array;
  /** False only where `stop` is "iterations": then x is the iterate at the cap, and its residual is above the tolerance. */
  readonly converged: boolean;
  readonly stop: KrylovStop;
  readonly iterations: number;
  /** ||b - (A + lambda I) x||, computed from x. */
  readonly residualNorm: number;
  /** The same over ||b||; 0 for b = 0. */
  readonly relativeResidual: number;
  /** Relative residuals: at the start, and as the recurrence has them after each iteration. */
  readonly history: readonly number[];
}

/**
 * x with (A + lambda I) x = b, for a symmetric positive definite A + lambda I. Work: one product with A an iteration;
 * memory: a few vectors.
 *
 * Throws E_SHAPE, E_CONFIG, E_DATA (entries of b, or of a product, that are not finite), E_ABORTED,
 * E_NOT_POSITIVE_DEFINITE (details: `iteration`, `curvature`: p'Ap / p'p of the direction found, `singular`), and
 * E_NOT_CONVERGED (details: `iteration`, `residual`: the relative one of the last answer that was looked at, `history`) where rounding or
 * conditioning keep the residual above the tolerance. The cap on iterations is no failure: see `converged`.
 */
export async function cg(operator: LinearOperator, b: Values, options: CgOptions = {}): Promise<CgResult> {
  const { lambda = 0, preconditioner, start } = options;
  requireNumber("lambda", lambda);
  const system = new System(operator, b, options);
  requireOne(system);
  requirePreconditioner(preconditioner, system.n);
  const given = start === undefined ? undefined : startOf(system, start);
  // Of b = 0 nothing is small enough but x = 0.
  const x = system.rhs.every((value) => value === 0) ? undefined : given;
  const solved = await solveOne(system, x, system.scaleLambda(lambda), preconditioner);
  const norms = Float64Array.of(solved.residualNorm);
  const stop = system.stopOf(norms);
  return {
    x: system.answer(solved.x),
    converged: stop !== "iterations",
    stop,
    iterations: system.iteration,
    residualNorm: system.unscaled(norms)[0] as number,
    relativeResidual: system.relative(norms),
    history: system.history,
  };
}

function requireOne(system: System): void {
  if (system.vectors === 1) return;
  throw new WidefieldError(
    "E_SHAPE",
    `cg solves for one right-hand side of ${system.n} numbers, and ${system.n * system.vectors} were given: use blockCg`,
  );
}

export function requirePreconditioner(preconditioner: Preconditioner | undefined, n: number): void {
  if (preconditioner === undefined || preconditioner.n === n) return;
  throw new WidefieldError("E_SHAPE", `the preconditioner has ${preconditioner.n} rows, and the matrix ${n}`);
}

function startOf(system: System, start: Values): Float64Array {
  if (start.length !== system.n)
    throw new WidefieldError("E_SHAPE", `start must hold ${system.n} numbers, not ${start.length}`);
  const bad = start.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new WidefieldError("E_DATA", `entry ${bad} of start is ${start[bad] as number}`, { details: { index: bad } });
  return scaleByPower(Float64Array.from(start), (system.operator.exponent ?? 0) - system.rhsExponent);
}

/** A new start from the true residual that leaves more than this of it gains nothing: what is left is rounding error. */
export const KEPT = 0.9;

/** The iteration itself, in the system's units. The residual's norm is the true one. */
export async function solveOne(
  system: System,
  start: Float64Array | undefined,
  lambda: number,
  preconditioner: Preconditioner | undefined,
): Promise<{ readonly x: Float64Array; readonly residualNorm: number }> {
  const { maxIterations } = system.settings;
  const target = system.targets()[0] as number;
  const x = start ?? new Float64Array(system.n);
  let r = start === undefined ? system.rhs.slice() : await system.residual(x, lambda);
  let trueNorm = Math.sqrt(dot(r, r));
  let before = Infinity;
  let aim = target;
  system.note(system.relative(Float64Array.of(trueNorm)));
  while (trueNorm > target && system.iteration < maxIterations) {
    if (trueNorm > KEPT * before) {
      const reached = system.relative(Float64Array.of(Math.min(before, trueNorm)));
      throw system.stagnation("starting again from the true residual gained nothing: it is rounding error", reached);
    }
    before = trueNorm;
    await cycle(system, x, r, lambda, preconditioner, aim);
    r = await system.residual(x, lambda);
    trueNorm = Math.sqrt(dot(r, r));
    aim = target / 2; // the next arrival shall not miss by a rounding error
    system.forgetBest();
  }
  return { x, residualNorm: trueNorm };
}

/** Conjugate gradients from x with its residual r, both updated, until the residual's norm is at most `aim`. */
async function cycle(
  system: System,
  x: Float64Array,
  r: Float64Array,
  lambda: number,
  preconditioner: Preconditioner | undefined,
  aim: number,
): Promise<void> {
  let z = await system.precondition(preconditioner, r);
  let rz = dot(r, z);
  const p = z.slice();
  for (let norm = Infinity; norm > aim && system.iteration < system.settings.maxIterations;) {
    if (!(rz > 0 && rz < Infinity)) throw system.badPreconditioner(rz);
    const q = await system.multiply(p, lambda);
    system.iteration++;
    const curvature = dot(p, q);
    system.requirePositive(curvature, p, q);
    const alpha = rz / curvature;
    axpy(alpha, p, x);
    axpy(-alpha, q, r);
    norm = Math.sqrt(dot(r, r));
    if (system.note(system.relative(Float64Array.of(norm)))) await system.examine(x, lambda, r);
    if (norm === 0) return;
    z = await system.precondition(preconditioner, r);
    const next = dot(r, z);
    const beta = next / rz;
    rz = next;
    for (let i = 0; i < p.length; i++) p[i] = (z[i] as number) + beta * (p[i] as number);
  }
}
