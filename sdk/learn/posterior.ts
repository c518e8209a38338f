/**
 * The posterior of Gaussian process classification as regression, apart from where its kernels come from: means,
 * variances and the marginal likelihood from a solver of (K + lambda I) X = B.
 */
import type { LinearOperator } from "../linalg/operator.ts";
import { kernelSource } from "../covariance/kernel-source.ts";
import { MemoryMatrix, type KernelMatrix } from "../covariance/matrix.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import {
  formOf,
  prepare,
  type Prepared,
  type PrepareOptions,
  type Shift,
  type SolveProgress,
} from "../linalg/prepare.ts";
import { shiftOf } from "../linalg/solve.ts";
import type { Solved, Solver } from "../linalg/solver.ts";

export interface PosteriorOptions extends Pick<PrepareOptions, "tolerance" | "memory" | "scratch" | "signal"> {
  /**
   * Added to the kernel's diagonal, relative to its mean. A number; "auto": the first of 0, 1e-10, 1e-9, ... with which
   * the matrix is safely positive definite (not for conjugate gradients); "noise" (default): what the kernel's own errors
   * call for (`noiseJitter`).
   */
  readonly jitter?: number | "auto" | "noise" | undefined;
  /** Added to the kernel's diagonal as it is, in the kernel's units, instead of jitter. */
  readonly lambda?: number | undefined;
  /** How systems are solved; default "auto". Conjugate gradients know no marginal likelihood. */
  readonly solver?: PrepareOptions["method"];
  /** Default: the largest label + 1. */
  readonly classes?: number | undefined;
  readonly onSolve?: ((progress: SolveProgress) => void) | undefined;
}

export interface Prediction {
  /** Posterior means, [n, classes] row-major. */
  readonly mean: Float64Array;
  /** Index of the largest mean (the first, if tied). */
  readonly labels: Int32Array;
  /** Posterior variance of the latent function at each input, on request. */
  readonly variance?: Float64Array;
}

/** Rows of a kernel block that are in memory while predicting. */
export const PREDICT_ROWS = 256;

/** What a solver of the posterior's system is asked for at the start, beside the solver itself. */
interface Fitted extends Solved {
  readonly solver: Solver;
}

/** A posterior, apart from where its kernels come from. Holds its solver until `dispose()` or the engine's `close()`. */
export class Posterior {
  /** (K + lambda I)^-1 Y at the stored scale of K, [n, classes]. */
  readonly weights: Float64Array;
  readonly classes: number;
  /** Of K + lambda I at its stored scale. */
  readonly solver: Solver;
  /** Why systems are solved as they are. */
  readonly reason: string;
  /** What was added to the diagonal, in the kernel's units. */
  readonly lambda: number;
  /** Of the factorisation or decomposition; of conjugate gradients, of the solve for the weights. */
  readonly solveSeconds: number;
  /** Of the weights, by conjugate gradients. */
  readonly iterations: number | undefined;
  readonly relativeResidual: number | undefined;
  /**
   * log p(Y | X) in nats, summed over the classes, which are regressions of their own with one kernel: the sum over c of
   * -y_c^T A^-1 y_c / 2 - log det A / 2 - n log(2 pi) / 2, A = K + lambda I (Rasmussen & Williams 2006, eq. 2.30).
   * Undefined with conjugate gradients, which do not know the determinant.
   */
  readonly logMarginalLikelihood: number | undefined;
  private readonly exponent: number;
  private readonly targets: Float64Array;
  /** K times the weights, where those are only as exact as a tolerance. */
  private readonly products: Float64Array | undefined;
  /** What conjugate gradients multiply by; the other methods are done with the kernel. */
  private readonly prepared: Prepared | undefined;

  private constructor(
    prepared: Prepared,
    { solver, x: weights, iterations, relativeResidual }: Fitted,
    facts: { targets: Float64Array; classes: number; exponent: number; products: Float64Array | undefined },
  ) {
    this.prepared = solver.method === "cg" ? prepared : undefined;
    this.solver = solver;
    this.reason = prepared.choice.reason;
    this.weights = weights;
    this.iterations = iterations;
    this.relativeResidual = relativeResidual;
    this.solveSeconds = solver.seconds;
    this.targets = facts.targets;
    this.products = facts.products;
    this.classes = facts.classes;
    this.exponent = facts.exponent;
    this.lambda = solver.shift * 2 ** facts.exponent;
    this.logMarginalLikelihood = logEvidence(solver, { ...facts, weights });
  }

  /** Number of training inputs. */
  get n(): number {
    return this.solver.n;
  }

  /**
   * Throws E_SHAPE for a matrix that is not square or labels of another count, E_DATA for labels that are no classes or
   * a matrix with entries that are not finite, E_CONFIG for jitter and lambda at once, E_NOT_POSITIVE_DEFINITE with the
   * jitter that would have passed, and what `prepare` and the method throw.
   */
  static async fit(
    engine: Engine,
    kxx: KernelMatrix,
    labels: ArrayLike<number>,
    options: PosteriorOptions = {},
  ): Promise<Posterior> {
    const { jitter, lambda, solver: method, onSolve: onProgress, tolerance, memory, scratch, signal } = options;
    if (kxx.rows !== kxx.columns)
      throw new WidefieldError("E_SHAPE", `the training kernel is ${kxx.rows} x ${kxx.columns}; it must be square`);
    if (labels.length !== kxx.rows)
      throw new WidefieldError("E_SHAPE", `${labels.length} labels for ${kxx.rows} training inputs`);
    requireRidge(jitter, lambda);
    const classes = options.classes ?? Math.max(0, ...uniqueLabels(labels)) + 1;
    const targets = oneHot(labels, classes);
    const { exponent } = kxx;
    const workload = { rhs: classes, lambdas: 1 };
    const common = { method, tolerance, memory, scratch, signal, onProgress };
    // An array that is there anyway need not be put together from its blocks.
    const dense = kxx instanceof MemoryMatrix ? kxx.values : undefined;
    const prepared = await prepare(engine, { ...formOf(await kernelSource(kxx)), dense }, workload, common);
    try {
      const attempt = async (shift: Shift): Promise<Fitted> => {
        const solver = await prepared.shifted(shift);
        try {
          return { solver, ...(await solver.solve(targets)) };
        } catch (thrown) {
          await solver.dispose();
          throw thrown;
        }
      };
      const fitted =
        lambda !== undefined
          ? await attempt({ lambda: shiftOf(lambda, exponent) })
          : jitter === undefined || jitter === "noise"
            ? await fitAboveNoise(engine, noiseJitter(kxx), prepared.choice.method === "cg" ? 0 : "auto", attempt)
            : await attempt({ jitter });
      const products = prepared.operator && (await productsOf(prepared.operator, fitted.x, classes, signal));
      const posterior = new Posterior(prepared, fitted, { targets, classes, exponent, products });
      if (posterior.prepared === undefined) await prepared.dispose();
      return posterior;
    } catch (thrown) {
      await prepared.dispose();
      throw thrown;
    }
  }

  /**
   * Means at the training inputs: K (K + lambda I)^-1 Y = Y - lambda (K + lambda I)^-1 Y, without another product; that
   * holds to the accuracy of the solve, so with conjugate gradients it is the product itself.
   */
  trainingPrediction(): Prediction {
    const { shift } = this.solver;
    const mean =
      this.products?.slice() ??
      this.targets.map((target, index) => target - shift * (this.weights[index] ?? Number.NaN));
    return { mean, labels: argmaxRows(mean, this.classes) };
  }

  /**
   * Means at new inputs from their kernel with the training inputs, [new, n]; variances too where `diagonal`, K(x, x)
   * in full (not divided by the power of two), is given.
   */
  async predict(kernelRows: KernelMatrix, diagonal?: Float64Array, signal?: AbortSignal): Promise<Prediction> {
    const { classes, n } = this;
    if (kernelRows.columns !== n) {
      throw new WidefieldError(
        "E_SHAPE",
        `the kernel has ${kernelRows.columns} columns; it needs one for each of the ${n} training inputs`,
      );
    }
    const mean = new Float64Array(kernelRows.rows * classes);
    const explained = diagonal === undefined ? undefined : new Float64Array(kernelRows.rows);
    // Both kernels may have had powers of two taken out: the means need their ratio.
    const scale = 2 ** (kernelRows.exponent - this.exponent);
    for (let begin = 0; begin < kernelRows.rows; begin += PREDICT_ROWS) {
      if (signal?.aborted === true)
        throw new WidefieldError("E_ABORTED", `stopped after ${begin} of ${kernelRows.rows} predictions`);
      const end = Math.min(begin + PREDICT_ROWS, kernelRows.rows);
      const block = await kernelRows.read({ begin, end }, { begin: 0, end: n });
      for (let row = begin; row < end; row++) {
        const line = block.subarray((row - begin) * n, (row - begin + 1) * n);
        this.accumulate(line, scale, mean.subarray(row * classes, (row + 1) * classes));
      }
      if (explained !== undefined) await this.explain(block, begin, end, scale, explained);
    }
    const labels = argmaxRows(mean, classes);
    if (diagonal === undefined || explained === undefined) return { mean, labels };
    const variance = diagonal.map((k, row) => Math.max(0, k - (explained[row] ?? 0) * 2 ** this.exponent));
    return { mean, labels, variance };
  }

  /** Adds scale * k(x, X) times the weights to the means at x. The loop of all predictions: no checks in it. */
  private accumulate(line: Float32Array | Float64Array, scale: number, means: Float64Array): void {
    const { weights, classes } = this;
    for (let i = 0; i < line.length; i++) {
      const k = (line[i] as number) * scale;
      const at = i * classes;
      for (let c = 0; c < classes; c++) means[c] = (means[c] as number) + k * (weights[at + c] as number);
    }
  }

  /** k(x, X) (K + lambda I)^-1 k(X, x) of the rows of a block, at the stored scale. */
  private async explain(
    block: Float32Array | Float64Array,
    begin: number,
    end: number,
    scale: number,
    into: Float64Array,
  ): Promise<void> {
    const { n } = this;
    const count = end - begin;
    const columns = new Float64Array(n * count);
    for (let row = 0; row < count; row++)
      for (let i = 0; i < n; i++) columns[i * count + row] = (block[row * n + i] ?? Number.NaN) * scale;
    into.set(await this.solver.quadratic(columns), begin);
  }

  /** Releases what the solver holds: a factor's memory at once, an operator's when its last product has ended. */
  dispose(): void {
    void this[Symbol.asyncDispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.solver.dispose();
    await this.prepared?.dispose();
  }
}

/** Throws E_CONFIG for a ridge that is given twice, or cannot be meant. */
function requireRidge(jitter: PosteriorOptions["jitter"], lambda: number | undefined): void {
  if (jitter !== undefined && lambda !== undefined)
    throw new WidefieldError("E_CONFIG", "jitter and lambda are both added to the diagonal: give one of them");
  for (const [name, value] of Object.entries({ jitter, lambda })) {
    if (typeof value !== "number" || (value >= 0 && Number.isFinite(value))) continue;
    throw new WidefieldError("E_CONFIG", `${name} must be a finite number that is not negative, not ${value}`);
  }
}

/** With A = 2^exponent A', of which the factor and the weights A'^-1 Y are known. */
function logEvidence(
  { n, logDeterminant }: Solver,
  facts: { weights: Float64Array; targets: Float64Array; classes: number; exponent: number },
): number | undefined {
  if (logDeterminant === undefined) return undefined;
  const { weights, targets, classes, exponent } = facts;
  const misfit = targets.reduce((sum, target, at) => sum + target * (weights[at] ?? Number.NaN), 0) * 2 ** -exponent;
  const logDet = logDeterminant + n * exponent * Math.LN2;
  return -misfit / 2 - (classes * (logDet + n * Math.log(2 * Math.PI))) / 2;
}

/**
 * The jitter that covers a kernel's own errors. Independent errors of standard deviation e |K| in every entry of a
 * symmetric n x n matrix move its eigenvalues by up to 2 e |K| sqrt(n) (Wigner's semicircle), |K| being at most the mean
 * diagonal: below that, eigenvalues are noise, and may be negative. Relative to the mean diagonal, n = 1000 in float32:
 * 1.3e-5, n = 50,000: 9e-5. A float64 kernel in memory needs none.
 */
export function noiseJitter(matrix: KernelMatrix): number {
  return 2 * matrix.relativeError * Math.sqrt(matrix.rows);
}

/**
 * With the noise's jitter; should even that not do (duplicated images, say), with ten, a hundred, ... times as much. A
 * kernel without noise gets the jitter `noiseless`.
 */
async function fitAboveNoise(
  engine: Engine,
  jitter: number,
  noiseless: "auto" | 0,
  attempt: (shift: Shift) => Promise<Fitted>,
): Promise<Fitted> {
  if (jitter === 0) return attempt({ jitter: noiseless });
  for (let relative = jitter; ; relative *= 10) {
    try {
      return await attempt({ jitter: relative, explain: relative * 10 > 1 });
    } catch (thrown) {
      const indefinite = thrown instanceof WidefieldError && thrown.code === "E_NOT_POSITIVE_DEFINITE";
      if (!indefinite || relative * 10 > 1) throw thrown;
      engine.log(`the kernel is not positive definite with jitter ${relative.toPrecision(2)}; trying ten times that`);
    }
  }
}

function uniqueLabels(labels: ArrayLike<number>): Set<number> {
  const found = new Set<number>();
  for (let i = 0; i < labels.length; i++) found.add(labels[i] ?? Number.NaN);
  return found;
}

/** +1 for the class, -1 for the others. Throws E_DATA for a label that is no class. */
function oneHot(labels: ArrayLike<number>, classes: number): Float64Array {
  const targets = new Float64Array(labels.length * classes).fill(-1);
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i] ?? Number.NaN;
    if (!Number.isInteger(label) || label < 0 || label >= classes)
      throw new WidefieldError("E_DATA", `label ${i} is ${label}; labels are whole numbers from 0 to ${classes - 1}`);
    targets[i * classes + label] = 1;
  }
  return targets;
}

function argmaxRows(values: Float64Array, columns: number): Int32Array {
  const best = new Int32Array(values.length / columns);
  for (let row = 0; row < best.length; row++) {
    for (let c = 1; c < columns; c++) {
      const leader = values[row * columns + (best[row] ?? 0)] ?? Number.NaN;
      if ((values[row * columns + c] ?? Number.NaN) > leader) best[row] = c;
    }
  }
  return best;
}

/** K W for row-major weights, [n, classes]. */
async function productsOf(
  operator: LinearOperator,
  weights: Float64Array,
  classes: number,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const { n } = operator;
  const columns = weights.map((_, at) => weights[(at % n) * classes + Math.floor(at / n)] ?? Number.NaN);
  const products = await operator.apply(columns, classes, signal);
  return products.map((_, at) => products[(at % classes) * n + Math.floor(at / classes)] ?? Number.NaN);
}
