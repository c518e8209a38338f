/**
 * One right-hand side, a whole grid of ridges: (A + lambda_i I) x_i = b. The Krylov space of A and b does not depend on
 * lambda, so the products made for the smallest lambda serve all (Jegerlehner, hep-lat/9612014). With sigma_i = lambda_i
 * - lambda_min, and alpha, beta of the smallest, the residuals of the others stay parallel to its own, r_i = zeta_i r:
 *
 *     rho_i = 1 / (1 + sigma_i alpha + (alpha beta_before / alpha_before) (1 - rho_i,before)),    zeta_i *= rho_i
 *     x_i += rho_i alpha p_i,    p_i = zeta_i r + rho_i^2 beta p_i
 *
 * rho is in (0, 1]: a larger lambda never converges later. A preconditioner would change the space; there is none.
 */
import { WidefieldError } from "../errors.ts";
import { solveOne } from "./cg.ts";
import { requireNumber, System, type KrylovOptions, type KrylovStop } from "./krylov.ts";
import type { LinearOperator } from "./operator.ts";
import type { Values } from "./source.ts";
import { axpy, dot, euclidean } from "./vectors.ts";

export interface MultiShiftSolution {
  readonly lambda: number;
  readonly x: Float64Array;
  readonly converged: boolean;
  /** Iterations after which this one had arrived by its recurrence. */
  readonly iterations: number;
  /** ||b - (A + lambda I) x||, computed from x; and over ||b||. */
  readonly residualNorm: number;
  readonly relativeResidual: number;
}

export interface MultiShiftResult {
  /** In the order of the lambdas given. */
  readonly solutions: readonly MultiShiftSolution[];
  readonly converged: boolean;
  readonly stop: KrylovStop;
  /** Products with A in all, but for those that check the answers. */
  readonly iterations: number;
  /** Relative residuals of the smallest lambda, and then of solutions that had to be continued by themselves. */
  readonly history: readonly number[];
}

export interface MultiShiftOptions extends KrylovOptions {
  /**
   * Returns what rounding keeps from the tolerance as it is, not converged, instead of failing with E_NOT_CONVERGED: for
   * products in float32. Default false.
   */
  readonly keepStagnated?: boolean | undefined;
}

interface Shift {
  readonly index: number;
  readonly lambda: number;
  readonly sigma: number;
  readonly x: Float64Array;
  readonly p: Float64Array;
  zeta: number;
  rho: number;
  iterations: number | undefined;
}

/**
 * Solves for every lambda (each at least 0; any order, repeats allowed). Memory: five vectors for each lambda. Errors as
 * in `cg`, and E_CONFIG for a grid without any. The smallest lambda decides the number of iterations: where it stagnates,
 * or leaves the matrix singular, the grid fails; the error's details then say which `lambda` it was, and which had
 * arrived (`arrived`), so that the rest can be asked for again. A solution whose residual turns out too large is
 * continued by itself.
 */
export async function multiShiftCg(
  operator: LinearOperator,
  b: Values,
  lambdas: readonly number[],
  options: MultiShiftOptions = {},
): Promise<MultiShiftResult> {
  if (lambdas.length === 0) throw new WidefieldError("E_CONFIG", "there is no lambda to solve for: give at least one");
  lambdas.forEach((lambda, index) => {
    requireNumber(`lambdas[${index}]`, lambda);
  });
  const system = new System(operator, b, options);
  const { n } = system;
  if (system.vectors !== 1) {
    throw new WidefieldError(
      "E_SHAPE",
      `multiShiftCg solves for one right-hand side of ${n} numbers, and ${b.length} were given`,
    );
  }
  const scaled = lambdas.map((lambda) => system.scaleLambda(lambda));
  const base = Math.min(...scaled);
  const shifts = scaled.map((lambda, index): Shift => ({
    index,
    lambda,
    sigma: lambda - base,
    x: new Float64Array(n),
    p: system.rhs.slice(),
    zeta: 1,
    rho: 1,
    iterations: undefined,
  }));
  const arrived = () => shifts.flatMap((one) => (one.iterations === undefined ? [] : [lambdas[one.index] as number]));
  const smallest = lambdas[scaled.indexOf(base)] as number;
  const keep = options.keepStagnated === true;
  await kept(keep, () => telling(smallest, arrived, () => iterate(system, shifts, base)));
  const norms = await check(system, shifts, keep, (index, work) => telling(lambdas[index] as number, arrived, work));
  const stop = system.stopOf(norms);
  const unscaled = system.unscaled(norms);
  const target = system.targets()[0] as number;
  return {
    solutions: shifts.map(({ x, iterations }, index) => ({
      lambda: lambdas[index] as number,
      x: system.answer(x),
      converged: (norms[index] as number) <= target,
      iterations: iterations ?? system.iteration,
      residualNorm: unscaled[index] as number,
      relativeResidual: system.relative(norms.subarray(index, index + 1)),
    })),
    converged: stop !== "iterations",
    stop,
    iterations: system.iteration,
    history: system.history,
  };
}

/** Does work for one lambda of the grid; a failure that lies in the matrix says which it was. */
async function telling<T>(lambda: number, arrived: () => number[], work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    const matrix = ["E_NOT_CONVERGED", "E_NOT_POSITIVE_DEFINITE"];
    if (!(thrown instanceof WidefieldError && matrix.includes(thrown.code))) throw thrown;
    const solved = arrived();
    throw new WidefieldError(
      thrown.code,
      `lambda = ${lambda}, of a grid of which ${solved.length} had been solved for: ${thrown.message}`,
      { cause: thrown, details: { ...thrown.details, lambda, arrived: solved } },
    );
  }
}

/** Does work; undefined where it stagnates and that is to be put up with. */
async function kept<T>(keep: boolean, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (thrown) {
    if (keep && thrown instanceof WidefieldError && thrown.code === "E_NOT_CONVERGED") return undefined;
    throw thrown;
  }
}

/** The common iteration, with the smallest lambda's residual and directions as its own. */
async function iterate(system: System, shifts: readonly Shift[], base: number): Promise<void> {
  const target = system.targets()[0] as number;
  const r = system.rhs.slice();
  const p = r.slice();
  const smallest = shifts.find(({ sigma }) => sigma === 0);
  let rr = dot(r, r);
  let [alphaBefore, betaBefore] = [1, 0];
  system.note(system.relative(Float64Array.of(Math.sqrt(rr))));
  while (Math.sqrt(rr) > target && system.iteration < system.settings.maxIterations) {
    const q = await system.multiply(p, base);
    system.iteration++;
    const curvature = dot(p, q);
    system.requirePositive(curvature, p, q);
    const alpha = rr / curvature;
    axpy(-alpha, q, r);
    const next = dot(r, r);
    const beta = next / rr;
    for (const shift of shifts) {
      if (shift.iterations !== undefined) continue;
      const { sigma, x, p: own } = shift;
      const rho = 1 / (1 + sigma * alpha + ((alpha * betaBefore) / alphaBefore) * (1 - shift.rho));
      axpy(rho * alpha, own, x);
      shift.zeta *= rho;
      shift.rho = rho;
      const turn = rho * rho * beta;
      for (let i = 0; i < own.length; i++) own[i] = shift.zeta * (r[i] as number) + turn * (own[i] as number);
      if (shift.zeta * Math.sqrt(next) <= target) shift.iterations = system.iteration;
    }
    for (let i = 0; i < p.length; i++) p[i] = (r[i] as number) + beta * (p[i] as number);
    [rr, alphaBefore, betaBefore] = [next, alpha, beta];
    const late = system.note(system.relative(Float64Array.of(Math.sqrt(rr))));
    if (late && smallest !== undefined) await system.examine(smallest.x, base, r);
  }
}

/** True residuals of all solutions, from one pass over the matrix; those that are too large are continued first. */
async function check(
  system: System,
  shifts: readonly Shift[],
  keep: boolean,
  alone: <T>(index: number, work: () => Promise<T>) => Promise<T>,
): Promise<Float64Array> {
  const { n, rhs } = system;
  const target = system.targets()[0] as number;
  const all = new Float64Array(shifts.length * n);
  shifts.forEach(({ x }, index) => {
    all.set(x, index * n);
  });
  const product = await system.multiply(all, 0);
  const norms = new Float64Array(shifts.length);
  for (const { index, lambda, x } of shifts) {
    const r = rhs.map((value, i) => value - (product[index * n + i] as number) - lambda * (x[i] as number));
    norms[index] = Math.sqrt(dot(r, r));
    if (!(norms[index] > target) || system.iteration >= system.settings.maxIterations) continue;
    system.forgetBest();
    const solved = await kept(keep, () => alone(index, () => solveOne(system, x, lambda, undefined)));
    norms[index] = solved?.residualNorm ?? euclidean(await system.residual(x, lambda));
  }
  return norms;
}
