/**
 * What infinitely wide networks predict after training by gradient descent for a time t, without training any (Jacot et
 * al. 2018; Lee et al. 2019, eqs. 14-16). The loss is that of neural-tangents' `predict`: with n samples and m outputs,
 *
 *     L = 1 / (2 n m) sum (f(x) - y)^2,    df(x)/dt = -eta / (n m) Theta(x, X) (f(X) - y),    tau = eta t / (n m)
 *
 *     mean      f_t(x) = f_0(x) + Theta(x, X) Theta^-1 (I - exp(-tau Theta)) (y - f_0(X))
 *     Q                = Theta(x, X) Theta^-1 (I - exp(-tau Theta))
 *     cov, NTK         = K(x, x') - Q K(X, x') - K(x, X) Q' + Q K(X, X) Q'
 *     cov, NNGP        = K(x, x') - K(x, X) K^-1 (I - exp(-2 tau K)) K(X, x')
 *
 * Time is in steps of gradient descent with learning rate eta. Theta is the NTK, or, where only the last layer learns, the
 * NNGP kernel K; that ensemble ends in the posterior of the Gaussian process. In the eigenvectors of Theta all of it is a
 * function of eigenvalues, which is computed without cancellation (expm1).
 */
import type { KernelMatrix } from "../covariance/matrix.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { eigh } from "../linalg/eigh.ts";
import { columnsOf, eigenvalueNoise } from "../linalg/solver.ts";
import { scaleByPower } from "../linalg/vectors.ts";
import { mirrorMean, product, productTransposed, transpose } from "./dense-products.ts";
import { noiseJitter } from "./posterior.ts";

/** Kernels between two sets of inputs: K, Theta, or both. */
export interface FlowKernels {
  readonly nngp?: KernelMatrix | undefined;
  /** Default: only the last layer learns, and Theta is `nngp`. */
  readonly ntk?: KernelMatrix | undefined;
}

export interface GradientFlowOptions {
  /** eta; default 1. */
  readonly learningRate?: number | undefined;
  /** Outputs of the networks at the training inputs before training, [n, outputs]; default 0, the ensemble's mean. */
  readonly initial?: Float64Array | undefined;
  /** Added to Theta's diagonal in the dynamics, relative to its mean; default 0. */
  readonly diagReg?: number | undefined;
  /** `diagReg` is in units of Theta. */
  readonly absolute?: boolean | undefined;
  /**
   * Directions whose eigenvalue is not above this part of the largest are singular: networks do not move along them,
   * however long they train. Default: what rounding and the kernel's own errors amount to (`noiseJitter`).
   */
  readonly floor?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Of the eigendecomposition, 0 to 1. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

export interface FlowPrediction {
  readonly t: number;
  /** [inputs, outputs] row-major. */
  readonly mean: Float64Array;
  /** Of the ensemble, the same for every output, [inputs, inputs]; where it was asked for. */
  readonly covariance?: Float64Array;
}

export interface FlowInputs extends FlowKernels {
  /** K(x, x') of the inputs themselves: gives covariances. */
  readonly prior?: KernelMatrix | undefined;
  /** Outputs there before training, [inputs, outputs]; default 0, where the training inputs' are 0. */
  readonly initial?: Float64Array | undefined;
}

interface Spectrum {
  /** Ascending, and the vectors as columns of a row-major n x n matrix. */
  readonly values: Float64Array;
  readonly vectors: Float64Array;
  /** What the regularisation adds. */
  readonly added: number;
  /** Eigenvalues up to here are those of directions that do not move. */
  readonly floor: number;
}

/** The decomposition of a training kernel, for predictions at any time and inputs. */
export class GradientFlow {
  readonly n: number;
  readonly outputs: number;
  readonly learningRate: number;
  private readonly spectrum: Spectrum;
  private readonly kernels: FlowKernels;
  /** V' (y - f_0), [n, outputs], and f_0. */
  private readonly coordinates: Float64Array;
  private readonly initial: Float64Array;
  /** V' K V, made when an NTK ensemble's covariance is first asked for. */
  private rotated: Promise<Float64Array> | undefined;

  constructor(
    kernels: FlowKernels,
    spectrum: Spectrum,
    facts: { outputs: number; learningRate: number; coordinates: Float64Array; initial: Float64Array },
  ) {
    this.kernels = kernels;
    this.spectrum = spectrum;
    this.n = spectrum.values.length;
    this.outputs = facts.outputs;
    this.learningRate = facts.learningRate;
    this.coordinates = facts.coordinates;
    this.initial = facts.initial;
  }

  /**
   * At the training inputs, for one time or several (Infinity too), in their order. As neural-tangents has it (its
   * `predict_fn` without test inputs), a regularisation is part of the kernel here, which makes training faster but still
   * ends at the targets; regularised predictions, which do not, are those of `predict` with the training kernel for that
   * of new and training inputs. Covariances need the NNGP kernel. Throws E_CONFIG.
   */
  async train(
    t: number | readonly number[],
    options: { readonly covariance?: boolean } = {},
  ): Promise<FlowPrediction[]> {
    const { n, outputs, initial, spectrum } = this;
    const { vectors } = spectrum;
    const found: FlowPrediction[] = [];
    for (const time of timesOf(t)) {
      const moved = this.weights(time, 1).map(
        (weight, j) => weight * ((spectrum.values[j] as number) + spectrum.added),
      );
      const mean = await product(vectors, scaledRows(this.coordinates, moved, outputs), n);
      initial.forEach((value, at) => (mean[at] = (mean[at] as number) + value));
      if (options.covariance !== true) found.push({ t: time, mean });
      else found.push({ t: time, mean, covariance: await this.trainCovariance(time) });
    }
    return found;
  }

  /**
   * At new inputs, from their kernels with the training inputs, [inputs, n]: of the same kinds as those of training.
   * Covariances where `prior` is given: n^3 operations once and inputs x n^2 for each time, on the calling thread.
   *
   * Throws E_SHAPE for kernels of another size, E_CONFIG for a kind that is missing, a time that is none, and outputs
   * before training that were given for the training inputs only, E_DATA for entries that are not finite.
   */
  async predict(t: number | readonly number[], inputs: FlowInputs): Promise<FlowPrediction[]> {
    const { n, outputs, spectrum } = this;
    const times = timesOf(t);
    const cross = inputs[this.kind];
    if (cross === undefined)
      throw new WidefieldError(
        "E_CONFIG",
        `these networks were trained with the ${this.kind}; give it for the new inputs`,
      );
    const { rows } = cross;
    if (rows === 0) throw new WidefieldError("E_SHAPE", "there are no new inputs: their kernel has no rows");
    requireShape("the kernel of new and training inputs", cross, rows, n);
    const { initial, prior } = inputs;
    if (initial === undefined && this.initial.some((value) => value !== 0))
      throw new WidefieldError(
        "E_CONFIG",
        "these networks had outputs before training at the training inputs: give theirs at the new inputs (initial), too",
      );
    if (initial !== undefined && initial.length !== rows * outputs)
      throw new WidefieldError(
        "E_SHAPE",
        `the outputs before training are ${initial.length} numbers; ${rows} inputs have ${rows * outputs}`,
      );
    const projected = await product(await wholeOf(cross), spectrum.vectors, n);
    const covariance = prior && (await this.covarianceOf(inputs, prior, projected, rows));
    const found: FlowPrediction[] = [];
    for (const time of times) {
      const mean = await product(projected, scaledRows(this.coordinates, this.weights(time, 1), outputs), n);
      initial?.forEach((value, at) => (mean[at] = (mean[at] as number) + value));
      found.push({ t: time, mean, ...(covariance && { covariance: await covariance(time) }) });
    }
    return found;
  }

  /** The kernel of the dynamics. */
  private get kind(): "ntk" | "nngp" {
    return this.kernels.ntk === undefined ? "nngp" : "ntk";
  }

  /** (1 - exp(-factor tau s)) / s of every eigenvalue, regularisation included; 0 where nothing moves. */
  private weights(time: number, factor: 1 | 2): Float64Array {
    const { values, added, floor } = this.spectrum;
    const tau = (factor * this.learningRate * time) / (this.n * this.outputs);
    return values.map((value) => {
      const s = value + added;
      return s <= floor ? 0 : -Math.expm1(-s * tau) / s;
    });
  }

  private async trainCovariance(time: number): Promise<Float64Array> {
    const { n, spectrum } = this;
    const { vectors, values, added } = spectrum;
    if (this.kind === "nngp") {
      const left = this.left(time, 2);
      const parts = values.map((s, j) => Math.max(0, s + added) * (left[j] as number));
      return mirrorMean(await productTransposed(scaledColumns(vectors, parts, n), vectors, n), n);
    }
    const e = scaledColumns(vectors, this.left(time, 1), n);
    const middle = await product(e, await this.rotatedPrior(), n);
    return mirrorMean(await productTransposed(middle, e, n), n);
  }

  /** exp(-factor tau s): what is left of every direction, regularisation included. */
  private left(time: number, factor: 1 | 2): Float64Array {
    const { values, added, floor } = this.spectrum;
    const tau = (factor * this.learningRate * time) / (this.n * this.outputs);
    return values.map((value) => (value + added <= floor ? 1 : Math.exp(-(value + added) * tau)));
  }

  private async covarianceOf(
    inputs: FlowInputs,
    prior: KernelMatrix,
    projected: Float64Array,
    rows: number,
  ): Promise<(time: number) => Promise<Float64Array>> {
    const { n } = this;
    requireShape("the kernel among the new inputs", prior, rows, rows);
    const before = await wholeOf(prior);
    const minus = (values: Float64Array) =>
      mirrorMean(
        before.map((value, at) => value - (values[at] as number)),
        rows,
      );
    if (this.kind === "nngp")
      return async (time) =>
        minus(await productTransposed(scaledColumns(projected, this.weights(time, 2), n), projected, n));
    const { nngp } = inputs;
    if (nngp === undefined)
      throw new WidefieldError(
        "E_CONFIG",
        "covariances need the nngp kernel of new and training inputs beside the ntk",
      );
    requireShape("the nngp kernel of new and training inputs", nngp, rows, n);
    const crossed = await product(await wholeOf(nngp), this.spectrum.vectors, n);
    const rotated = await this.rotatedPrior();
    return async (time) => {
      const q = scaledColumns(projected, this.weights(time, 1), n);
      // K Q' + Q K' - Q K Q' = (K - Q K) Q' + Q K': two products instead of three.
      const middle = await product(q, rotated, n);
      crossed.forEach((value, at) => (middle[at] = value - (middle[at] as number)));
      const [first, second] = [await productTransposed(middle, q, n), await productTransposed(q, crossed, n)];
      return minus(first.map((value, at) => value + (second[at] as number)));
    };
  }

  /** V' K V. Throws E_CONFIG without the NNGP kernel of the training inputs. */
  private rotatedPrior(): Promise<Float64Array> {
    const { nngp } = this.kernels;
    if (nngp === undefined)
      throw new WidefieldError("E_CONFIG", "covariances need the nngp kernel of the training inputs beside the ntk");
    this.rotated ??= (async () => {
      const { n } = this;
      const { vectors } = this.spectrum;
      const right = await product(await wholeOf(nngp), vectors, n);
      return product(transpose(vectors, n), right, n);
    })();
    return this.rotated;
  }
}

/**
 * Decomposes the training kernel: about 9 n^3 operations, memory of four n x n matrices in float64. Targets are
 * [n, outputs] row-major; kernels those among the training inputs.
 *
 * Throws E_SHAPE, E_CONFIG for options that cannot be meant, E_DATA for entries that are not finite,
 * E_NOT_POSITIVE_DEFINITE for a Theta with an eigenvalue far below what its errors explain, E_OVERFLOW for one outside
 * float64's range, E_MEMORY, E_ABORTED.
 */
export async function gradientFlow(
  engine: Engine,
  kernels: FlowKernels,
  targets: Float64Array,
  options: GradientFlowOptions = {},
): Promise<GradientFlow> {
  engine.assertOpen();
  const theta = kernels.ntk ?? kernels.nngp;
  if (theta === undefined) throw new WidefieldError("E_CONFIG", "gradient flow needs a kernel: ntk, nngp, or both");
  const { rows: n } = theta;
  for (const [name, matrix] of Object.entries({ ntk: kernels.ntk, nngp: kernels.nngp }))
    if (matrix !== undefined) requireShape(`the ${name} kernel of the training inputs`, matrix, n, n);
  const { learningRate = 1, diagReg = 0, absolute = false, signal, onProgress } = options;
  for (const [name, value] of Object.entries({ learningRate, diagReg, floor: options.floor ?? 0 }))
    if (!(value >= 0 && Number.isFinite(value)))
      throw new WidefieldError("E_CONFIG", `${name} must be a finite number that is not negative, not ${value}`);
  if (learningRate === 0) throw new WidefieldError("E_CONFIG", "with a learningRate of 0 nothing is learned, ever");
  const outputs = columnsOf(targets, n);
  const initial = options.initial ?? new Float64Array(targets.length);
  if (initial.length !== targets.length)
    throw new WidefieldError(
      "E_SHAPE",
      `the outputs before training are ${initial.length} numbers, and there are ${targets.length} targets`,
    );
  columnsOf(initial, n);
  requireRoom(engine, theta, targets.length);
  const whole = await wholeOf(theta);
  let meanDiagonal = 0;
  for (let i = 0; i < n; i++) meanDiagonal += (whole[i * n + i] as number) / n;
  const { values, vectors } = await eigh(engine, whole, {
    signal,
    onProgress: onProgress && (({ fraction }) => onProgress(fraction)),
  });
  if (vectors === undefined) throw new Error("eigh gave no vectors");
  const added = absolute ? diagReg : diagReg * meanDiagonal;
  const noise = Math.max(2 * eigenvalueNoise(values), noiseJitter(theta) * meanDiagonal);
  const floor = options.floor === undefined ? noise : options.floor * (values[n - 1] as number);
  const smallest = (values[0] as number) + added;
  // Errors that are not independent may add up to several times their estimate.
  if (smallest < -10 * Math.max(noise, floor)) {
    throw new WidefieldError(
      "E_NOT_POSITIVE_DEFINITE",
      `the kernel of the dynamics has the eigenvalue ${smallest.toExponential(3)}, far below its errors ` +
        `(${noise.toExponential(1)}): along it training would diverge; give a diagReg of ` +
        `${(-smallest / meanDiagonal).toExponential(1)} at least`,
      { details: { value: smallest, noise } },
    );
  }
  const residual = targets.map((target, at) => target - (initial[at] as number));
  const coordinates = await product(transpose(vectors, n), residual, n);
  return new GradientFlow(kernels, { values, vectors, added, floor }, { outputs, learningRate, coordinates, initial });
}

/**
 * The largest learning rate with which full-batch gradient descent on L does not diverge: 2 (1 + momentum) n m / s, with
 * s the largest eigenvalue of the NTK (with heavy-ball momentum: Goh 2017, "Why momentum really works").
 *
 * Throws E_SHAPE, E_CONFIG for a momentum outside [0, 1), E_NOT_POSITIVE_DEFINITE for a kernel without a positive
 * eigenvalue, and what `eigh` throws.
 */
export async function maxLearningRate(
  engine: Engine,
  ntk: KernelMatrix,
  options: { readonly outputs?: number; readonly momentum?: number; readonly signal?: AbortSignal } = {},
): Promise<number> {
  const { outputs = 1, momentum = 0, signal } = options;
  if (!(momentum >= 0 && momentum < 1))
    throw new WidefieldError("E_CONFIG", `momentum must be at least 0 and below 1, not ${momentum}`);
  if (!(Number.isSafeInteger(outputs) && outputs >= 1))
    throw new WidefieldError("E_CONFIG", `outputs must be a whole number of at least 1, not ${outputs}`);
  const { rows: n } = ntk;
  requireShape("the NTK", ntk, n, n);
  const { values } = await eigh(engine, await wholeOf(ntk), { vectors: false, largest: 1, signal });
  const largest = values[0] as number;
  if (!(largest > 0))
    throw new WidefieldError("E_NOT_POSITIVE_DEFINITE", `the largest eigenvalue of the NTK is ${largest}`);
  return (2 * (1 + momentum) * n * outputs) / largest;
}

/** By the name that neural-tangents' users look for. */
export const predict = { gradientFlow, maxLearningRate };

/** Throws E_CONFIG. */
function timesOf(t: number | readonly number[]): readonly number[] {
  const times = typeof t === "number" ? [t] : t;
  for (const time of times)
    if (!(time >= 0)) throw new WidefieldError("E_CONFIG", `a time is a number from 0 to Infinity, not ${time}`);
  return times;
}

function requireShape(what: string, matrix: KernelMatrix, rows: number, columns: number): void {
  if (matrix.rows === rows && matrix.columns === columns && rows > 0) return;
  throw new WidefieldError("E_SHAPE", `${what} is ${matrix.rows} x ${matrix.columns}; it must be ${rows} x ${columns}`);
}

/** Matrices of n x n doubles at the peak: the kernel, two of `eigh`'s, the vectors. */
const MATRICES = 4;

/** Throws E_MEMORY. */
function requireRoom(engine: Engine, { rows: n }: KernelMatrix, targets: number): void {
  const bytes = 8 * (MATRICES * n * n + 3 * targets);
  if (bytes <= engine.memoryBytes) return;
  throw new WidefieldError(
    "E_MEMORY",
    `gradient flow on ${n} inputs holds ${MATRICES} matrices of ${n} x ${n} doubles, ${Math.ceil(bytes / 2 ** 20)} MiB, ` +
      `and the budget is ${Math.floor(engine.memoryBytes / 2 ** 20)} MiB: raise it, or take fewer inputs`,
    { details: { neededBytes: bytes, memoryBytes: engine.memoryBytes } },
  );
}

/** In the kernel's own units. Throws E_DATA for entries that are not finite (named), E_OVERFLOW. */
async function wholeOf(matrix: KernelMatrix): Promise<Float64Array> {
  const { rows, columns, exponent } = matrix;
  const stored = await matrix.read({ begin: 0, end: rows }, { begin: 0, end: columns });
  const bad = stored.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    const [row, column] = [Math.floor(bad / columns), bad % columns];
    throw new WidefieldError("E_DATA", `entry (${row}, ${column}) of the kernel is ${stored[bad] ?? NaN}`, {
      details: { row, column },
    });
  }
  const values =
    stored instanceof Float64Array && exponent === 0 ? stored : scaleByPower(Float64Array.from(stored), exponent);
  const lost = values.findIndex((value, at) => !Number.isFinite(value) || (value === 0 && stored[at] !== 0));
  if (lost < 0) return values;
  throw new WidefieldError(
    "E_OVERFLOW",
    `entry (${Math.floor(lost / columns)}, ${lost % columns}) of the kernel leaves float64's range`,
  );
}

/** diag(weights) X for a row-major matrix of so many columns. */
function scaledRows(x: Float64Array, weights: Float64Array, columns: number): Float64Array {
  return x.map((value, at) => value * (weights[Math.floor(at / columns)] as number));
}

/** X diag(weights). */
function scaledColumns(x: Float64Array, weights: Float64Array, columns: number): Float64Array {
  return x.map((value, at) => value * (weights[at % columns] as number));
}
