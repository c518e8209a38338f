/**
 * Kernel ridge regression over a whole grid of ridges at once: a = (K + lambda I)^-1 Y, predictions k(x, X) a. Lambda is
 * added as it is, not multiplied by the number of samples; solves are in float64.
 *
 *     const model = await krr.fit(engine, Kxx, targets, { lambdas: [0.1, 1, 10], decision: "argmax" });
 *     const [first] = await model.predict(Ktx, testTargets);
 */
import { kernelSource } from "../covariance/kernel-source.ts";
import { MemoryMatrix, type KernelMatrix } from "../covariance/matrix.ts";
import { type Engine, parseBytes } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { requireScratchPlace, scratchRoom, type PrepareOptions } from "../linalg/prepare.ts";
import { columnsOf } from "../linalg/solver.ts";
import { readDiagonal } from "../linalg/source.ts";
import { scaleByPower } from "../linalg/vectors.ts";
import { kernelTimes } from "./kernel-products.ts";
import { chooseKrrMethod, KRR_METHODS, krrMethodPlan, type KrrMethod } from "./krr-plan.ts";
import { type Decision, type RegressionScores, regressionScores } from "./regression-scores.ts";
import { Indefinite, type RidgeRefusal, type RidgeSolution, solveRidges } from "./ridge-solvers.ts";

export interface KrrProgress {
  /** "Cholesky", "eigenvectors", "cg". */
  readonly label: string;
  /** Of all lambdas together. */
  readonly done: number;
  readonly total: number;
  /** "31.2 GFLOP/s", "output 3 of 10, residual 1.2e-5". */
  readonly detail?: string | undefined;
}

export interface KrrOptions extends Pick<PrepareOptions, "memory" | "scratch" | "signal"> {
  /**
   * Finite numbers in the kernel's units, in any order. 0, and negative ones, where K + lambda I is positive definite
   * nevertheless.
   */
  readonly lambdas: readonly number[];
  /** How targets and predictions stand for classes; default: not at all, and there is no accuracy. */
  readonly decision?: Decision;
  /** Default "auto": the quickest by its expected time, with the reason in the engine's log. */
  readonly method?: "auto" | KrrMethod | undefined;
  /** Of conjugate gradients: relative residual, default 1e-8. */
  readonly tolerance?: number | undefined;
  /**
   * What becomes of lambdas for which K + lambda I is singular or indefinite, or with which conjugate gradients do not
   * arrive. "refuse" (default): E_NOT_POSITIVE_DEFINITE, E_NOT_CONVERGED; "skip": the model does without them, and names
   * them in `refused`.
   */
  readonly indefinite?: "refuse" | "skip" | undefined;
  readonly onProgress?: ((progress: KrrProgress) => void) | undefined;
  /** Hears why a method was chosen; default: the engine's log. */
  readonly log?: ((line: string) => void) | undefined;
}

export interface RidgeFit {
  readonly lambda: number;
  /** At the training inputs: K a = Y - lambda a, without another product; as exact as the solve. */
  readonly train: RegressionScores;
  /** Of conjugate gradients: products with the matrix, and the largest residual of an output. */
  readonly iterations?: number;
  readonly relativeResidual?: number;
}

export interface RefusedRidge {
  readonly lambda: number;
  readonly kind: RidgeRefusal;
  readonly reason: string;
}

export interface RidgePrediction {
  readonly lambda: number;
  /** Row-major, [inputs, outputs]. */
  readonly predictions: Float64Array;
  /** Where targets were given. */
  readonly scores: RegressionScores | undefined;
}

interface Solved {
  readonly fit: RidgeFit;
  /** (K + lambda I)^-1 Y at the stored scale of K. */
  readonly weights: Float64Array;
  readonly trainPredictions: Float64Array;
}

/** Of conjugate gradients, unless another is asked for. */
export const KRR_TOLERANCE = 1e-8;

/** Regressions that share a kernel, one for each lambda. Holds no engine memory. */
export class RidgeRegression {
  readonly n: number;
  readonly outputs: number;
  readonly decision: Decision;
  readonly method: KrrMethod;
  /** Why that one. */
  readonly reason: string;
  /** Of all solves. */
  readonly seconds: number;
  /** In the order of the lambdas given; without those in `refused`. */
  readonly fits: readonly RidgeFit[];
  readonly refused: readonly RefusedRidge[];
  private readonly engine: Engine;
  private readonly exponent: number;
  private readonly solved: readonly Solved[];

  constructor(
    engine: Engine,
    solved: readonly Solved[],
    facts: Pick<RidgeRegression, "n" | "outputs" | "decision" | "method" | "reason" | "seconds" | "refused"> & {
      readonly exponent: number;
    },
  ) {
    this.engine = engine;
    this.solved = solved;
    this.exponent = facts.exponent;
    this.n = facts.n;
    this.outputs = facts.outputs;
    this.decision = facts.decision;
    this.method = facts.method;
    this.reason = facts.reason;
    this.seconds = facts.seconds;
    this.refused = facts.refused;
    this.fits = solved.map(({ fit }) => fit);
  }

  /** a of `fits[index]`, [n, outputs]. Throws E_OVERFLOW where it leaves float64's range (kernels of deep networks). */
  coefficients(index: number): Float64Array {
    const { weights } = this.at(index);
    const scaled = scaleByPower(weights, -this.exponent);
    const bad = scaled.findIndex((value) => !Number.isFinite(value));
    if (bad < 0) return scaled;
    const [row, column] = [Math.floor(bad / this.outputs), bad % this.outputs];
    throw new WidefieldError("E_OVERFLOW", `coefficient (${row}, ${column}) leaves float64's range`, {
      details: { row, column },
    });
  }

  /** Of `fits[index]`, [n, outputs]. */
  trainPredictions(index: number): Float64Array {
    return this.at(index).trainPredictions.slice();
  }

  /**
   * Predictions of every fit at new inputs from their kernel with the training inputs, [inputs, n]: one pass over it for
   * all. Throws E_SHAPE for a kernel or targets of another size, E_DATA for an entry that is not finite (named),
   * E_ABORTED, and what reading the kernel throws.
   */
  async predict(
    kernelRows: KernelMatrix,
    targets?: Float64Array,
    { signal, onProgress }: Pick<KrrOptions, "signal" | "onProgress"> = {},
  ): Promise<RidgePrediction[]> {
    const { n, outputs, decision } = this;
    const { rows } = kernelRows;
    if (kernelRows.columns !== n)
      throw new WidefieldError(
        "E_SHAPE",
        `the kernel has ${kernelRows.columns} columns; it needs one for each of the ${n} training inputs`,
      );
    if (targets !== undefined && targets.length !== rows * outputs)
      throw new WidefieldError(
        "E_SHAPE",
        `${rows} inputs of ${outputs} outputs have ${rows * outputs} targets, and ${targets.length} were given`,
      );
    const vectors = new Float64Array(this.solved.length * outputs * n);
    this.solved.forEach(({ weights }, index) => {
      for (let at = 0; at < weights.length; at++)
        vectors[(index * outputs + (at % outputs)) * n + Math.floor(at / outputs)] = weights[at] as number;
    });
    const product = await kernelTimes(this.engine, kernelRows, vectors, {
      signal,
      onProgress: onProgress && ((done, total) => onProgress({ label: "predictions", done, total })),
    });
    // Both kernels may have had powers of two taken out: predictions need their ratio.
    const scaled = scaleByPower(product, kernelRows.exponent - this.exponent);
    return this.fits.map(({ lambda }, index) => {
      const predictions = new Float64Array(rows * outputs);
      for (let output = 0; output < outputs; output++) {
        const from = (index * outputs + output) * rows;
        for (let row = 0; row < rows; row++) predictions[row * outputs + output] = scaled[from + row] as number;
      }
      const scores = targets && regressionScores(predictions, targets, outputs, decision);
      return { lambda, predictions, scores };
    });
  }

  private at(index: number): Solved {
    const solved = this.solved[index];
    if (solved !== undefined) return solved;
    throw new WidefieldError("E_RANGE", `there is no fit ${index}; this model has ${this.solved.length}`);
  }
}

/**
 * Fits targets, [n, outputs] row-major, for all lambdas. The kernel has to be symmetric, and marked so: Cholesky and
 * conjugate gradients read its lower triangle only, and would not notice another upper one; eigh refuses it.
 *
 * Throws E_SHAPE for a kernel that is not square or targets of another count, E_DATA for entries that are not finite,
 * E_CONFIG for a grid that is empty, NaN or infinite, for a method that there is not, a tolerance that is none and a
 * kernel that is not marked symmetric; E_NOT_POSITIVE_DEFINITE where a
 * lambda leaves K + lambda I singular or indefinite (details: `lambda`, `lambdaNeeded`: one that passes, where known, and
 * the evidence: `pivot` or `value`), E_NOT_CONVERGED (conjugate gradients), E_MEMORY, E_ABORTED, and what reading throws.
 */
async function fit(
  engine: Engine,
  kxx: KernelMatrix,
  targets: Float64Array,
  options: KrrOptions,
): Promise<RidgeRegression> {
  engine.assertOpen();
  const { lambdas, decision, method = "auto", tolerance = KRR_TOLERANCE, scratch, signal, onProgress } = options;
  requireLambdas(lambdas);
  requireMethod(method, tolerance);
  if (kxx.rows !== kxx.columns)
    throw new WidefieldError("E_SHAPE", `the training kernel is ${kxx.rows} x ${kxx.columns}; it must be square`);
  const { rows: n, exponent } = kxx;
  const outputs = columnsOf(targets, n);
  await requireScratchPlace(scratch);
  const begun = performance.now();
  const source = await kernelSource(kxx);
  const shifts = lambdas.map((lambda) => shiftOf(lambda, exponent));
  const memoryBytes = options.memory === undefined ? engine.memoryBytes : parseBytes(options.memory);
  const dense = kxx instanceof MemoryMatrix ? kxx.values : undefined;
  const facts = {
    ...{ n, rhs: outputs, lambdas: shifts, tolerance, memoryBytes, threads: engine.threads },
    trace: (await readDiagonal(source)).reduce((sum, value) => sum + value, 0),
    scratchBytes: await scratchRoom(scratch),
    float64: dense instanceof Float64Array,
  };
  const choice = method === "auto" ? chooseKrrMethod(facts) : { method, reason: `${method}, as asked for` };
  if (method === "auto") (options.log ?? engine.log)(`krr: ${choice.reason}`);
  else requireRoom(method, facts);
  const outcomes = await solveRidges(choice.method, {
    ...{ engine, source, dense, targets, shifts, tolerance, memoryBytes, scratch, signal },
    skip: options.indefinite === "skip",
    onProgress: onProgress && ((label, done, detail) => onProgress({ label, done, total: shifts.length, detail })),
  });
  const solved: Solved[] = [];
  const refused: RefusedRidge[] = [];
  outcomes.forEach((outcome, index) => {
    const lambda = lambdas[index] as number;
    if (outcome instanceof Indefinite) {
      const error =
        outcome.kind === "not converged"
          ? notConverged(lambda, outcome)
          : notPositiveDefinite(n, lambda, outcome, exponent);
      if (options.indefinite !== "skip") throw error;
      refused.push({ lambda, kind: outcome.kind, reason: error.message });
    } else if (outcome !== undefined)
      solved.push(solvedOf(outcome, { lambda, shift: shifts[index] as number, targets, outputs, decision }));
  });
  const seconds = (performance.now() - begun) / 1000;
  return new RidgeRegression(engine, solved, { n, outputs, decision, ...choice, seconds, refused, exponent });
}

export const krr = { fit };

function solvedOf(
  { x: weights, iterations, relativeResidual }: RidgeSolution,
  facts: {
    readonly lambda: number;
    readonly shift: number;
    readonly targets: Float64Array;
    readonly outputs: number;
    readonly decision: Decision;
  },
): Solved {
  const { lambda, shift, targets, outputs, decision } = facts;
  const trainPredictions = targets.map((target, at) => target - shift * (weights[at] as number));
  const train = regressionScores(trainPredictions, targets, outputs, decision);
  const work = iterations === undefined ? {} : { iterations, relativeResidual: relativeResidual ?? 0 };
  return { fit: { lambda, train, ...work }, weights, trainPredictions };
}

/** Throws E_CONFIG. */
export function requireLambdas(lambdas: readonly number[]): void {
  if (lambdas.length === 0) throw new WidefieldError("E_CONFIG", "there is no lambda to fit with: give at least one");
  for (const lambda of lambdas)
    if (!Number.isFinite(lambda)) throw new WidefieldError("E_CONFIG", `lambda must be a finite number, not ${lambda}`);
}

/** Throws E_CONFIG. */
export function requireMethod(method: KrrOptions["method"] = "auto", tolerance: number = KRR_TOLERANCE): void {
  if (method !== "auto" && !KRR_METHODS.includes(method))
    throw new WidefieldError("E_CONFIG", `method is one of auto, ${KRR_METHODS.join(", ")}, not ${method}`);
  if (!(tolerance > 0 && tolerance < 1))
    throw new WidefieldError("E_CONFIG", `tolerance must be a number above 0 and below 1, not ${tolerance}`);
}

/** A lambda in units of the stored entries. Throws E_CONFIG where that leaves float64. */
function shiftOf(lambda: number, exponent: number): number {
  const shift = scaleByPower(Float64Array.of(lambda), -exponent)[0] as number;
  if (Number.isFinite(shift) && (shift !== 0 || lambda === 0)) return shift;
  throw new WidefieldError(
    "E_CONFIG",
    `a lambda of ${lambda} cannot be added to a kernel that is 2^${exponent} times its entries: it leaves float64's range`,
    { details: { lambda, exponent } },
  );
}

/** A method that was asked for may be slow, but it has to fit. Throws E_MEMORY. */
function requireRoom(method: KrrMethod, facts: Parameters<typeof krrMethodPlan>[1]): void {
  // Whether conjugate gradients arrive is theirs to find out: the bound holds for the worst spectrum.
  const lambdas = method === "multi-shift-cg" ? facts.lambdas.map(() => 1) : facts.lambdas;
  const { obstacle } = krrMethodPlan(method, { ...facts, lambdas, trace: 1 });
  if (obstacle !== undefined)
    throw new WidefieldError("E_MEMORY", `${method} ${obstacle}`, { details: { memoryBytes: facts.memoryBytes } });
}

/** In the kernel's own units. */
function notPositiveDefinite(
  n: number,
  lambda: number,
  { reason, passes, bound, cause, details }: Indefinite,
  exponent: number,
): WidefieldError {
  // Advice has to be a number that is not the one refused.
  const own = (shift: number | undefined) => {
    if (shift === undefined) return undefined;
    const value = roundedUp(scaleByPower(Float64Array.of(shift), exponent)[0] as number);
    return Number.isFinite(value) && value > lambda ? value : undefined;
  };
  const [needed, least] = [own(passes), own(bound)];
  const advice =
    needed !== undefined
      ? `lambda ${needed} would have passed`
      : least !== undefined
        ? `it takes a lambda of more than ${least}`
        : "give a larger lambda";
  return new WidefieldError(
    "E_NOT_POSITIVE_DEFINITE",
    `with lambda ${lambda} the ${n} x ${n} matrix K + lambda I is not positive definite to working precision: ` +
      `${reason}; ${advice}`,
    { cause, details: { ...details, lambda, lambdaNeeded: needed } },
  );
}

function notConverged(lambda: number, { reason, cause, details }: Indefinite): WidefieldError {
  return new WidefieldError(
    "E_NOT_CONVERGED",
    `with lambda ${lambda}, ${reason}; leave such lambdas out (indefinite: "skip"), or choose another method (cholesky, eigh)`,
    { cause, details: { ...details, lambda } },
  );
}

/** The next number of three digits above. */
function roundedUp(value: number): number {
  if (value === 0) return 0;
  const step = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 2);
  return Number(((Math.floor(value / step) + 1) * step).toPrecision(3));
}
