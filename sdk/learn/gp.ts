/**
 * Gaussian process classification as regression (Garriga-Alonso et al. 2019, section 4): labels become +1 / -1 one-hot
 * rows Y, the posterior mean of class c at x is k(x, X) (K + lambda I)^-1 Y_c, and the largest mean wins. Solves are
 * in float64: exact, or by conjugate gradients to a tolerance (`sdk/linalg/solve.ts` has the methods).
 *
 *     const model = await gp.fit(engine, arch, X, labels);
 *     const { mean, labels } = await model.predict(Xtest);
 */
import { specTiles } from "../arch/spec-tiles.ts";
import { nngp } from "../arch/kernel-spec.ts";
import { kernelDiagonal, type KernelOptions } from "../arch/kernel.ts";
import type { ImageSet } from "../arch/image-set.ts";
import type { Arch } from "../arch/arch.ts";
import { computeMatrix, type KernelMatrix } from "../covariance/matrix.ts";
import type { Engine } from "../engine/engine.ts";
import { Posterior, type PosteriorOptions, type Prediction } from "./posterior.ts";

export type FitOptions = PosteriorOptions & KernelOptions;

/** A Gaussian process with the kernel of an architecture, fitted to inputs in memory. */
export class GaussianProcess {
  readonly posterior: Posterior;
  private readonly engine: Engine;
  private readonly arch: Arch;
  private readonly inputs: ImageSet;
  private readonly options: KernelOptions;

  constructor(engine: Engine, arch: Arch, inputs: ImageSet, posterior: Posterior, options: KernelOptions) {
    this.engine = engine;
    this.arch = arch;
    this.inputs = inputs;
    this.posterior = posterior;
    this.options = options;
  }

  /**
   * Posterior means, and variances of the latent function on request, at new inputs.
   *
   * Throws what `kernel` throws, and E_CLOSED after `dispose()`.
   */
  async predict(X: ImageSet, options: { readonly variance?: boolean } = {}): Promise<Prediction> {
    const matrix = await matrixOf(this.engine, this.arch, X, this.inputs, this.options);
    const diagonal =
      options.variance === true ? await kernelDiagonal(this.engine, this.arch, X, this.options) : undefined;
    return this.posterior.predict(matrix, diagonal);
  }

  /** As the posterior's. */
  dispose(): void {
    this.posterior.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.posterior[Symbol.asyncDispose]();
  }
}

/**
 * Fits a Gaussian process to `X` with `labels` (0 .. classes - 1), its kernel in memory.
 *
 * Throws what `kernel` and `Posterior.fit` throw.
 */
async function fit(
  engine: Engine,
  arch: Arch,
  X: ImageSet,
  labels: ArrayLike<number>,
  options: FitOptions = {},
): Promise<GaussianProcess> {
  const kxx = await matrixOf(engine, arch, X, X, options);
  const posterior = await Posterior.fit(engine, kxx, labels, options);
  return new GaussianProcess(engine, arch, X, posterior, options);
}

export const gp = { fit };

/** Percentage of predictions that differ from the labels. */
export function errorPercent(predicted: ArrayLike<number>, labels: ArrayLike<number>): number {
  let wrong = 0;
  for (let i = 0; i < labels.length; i++) wrong += Number(predicted[i] !== labels[i]);
  return (100 * wrong) / labels.length;
}

async function matrixOf(
  engine: Engine,
  arch: Arch,
  rows: ImageSet,
  columns: ImageSet,
  options: KernelOptions,
): Promise<KernelMatrix> {
  const precision = options.precision ?? "f32";
  const { tiles, ...facts } = await specTiles(engine, nngp(arch), rows, columns, precision, { whole: true });
  try {
    return await computeMatrix({
      ...facts,
      tiles,
      precision,
      symmetric: rows === columns,
      tile: options.tile ?? facts.tile,
      memoryBytes: engine.memoryBytes,
      signal: options.signal,
      onProgress: options.onProgress,
    });
  } finally {
    tiles.dispose();
  }
}
