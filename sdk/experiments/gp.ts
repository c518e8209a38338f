/**
 * The experiment of Garriga-Alonso et al. 2019: GP classification of a dataset's index ranges with an architecture's
 * kernel. Kernels are computed in memory, or kept in a folder where the next run finds them, or taken from stores.
 */
import type { Arch } from "../arch/arch.ts";
import { kernelDiagonal } from "../arch/kernel.ts";
import type { Files } from "../platform/files.ts";
import type { KernelStore } from "../covariance/store/store.ts";
import type { KernelMatrix } from "../covariance/matrix.ts";
import type { Precision } from "../covariance/tiles.ts";
import type { Dataset } from "../data/dataset.ts";
import { countOf, formatRanges, overlap, type Ranges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { fitTemperature, isAtBound, logLoss, scores } from "../learn/calibration.ts";
import { errorPercent } from "../learn/gp.ts";
import { Posterior, type PosteriorOptions, type Prediction } from "../learn/posterior.ts";
import { requireScratchPlace, type SolveProgress } from "../linalg/prepare.ts";
import type { SolveMethod } from "../linalg/solve-plan.ts";
import { calibrationBins, calibrationError } from "../report/calibration.ts";
import { type CrossSet, crossKernel, type HeldKernel, trainingKernel } from "./gp-kernels.ts";
import { KernelClock } from "./kernel-clock.ts";
import { requireGpMemory, scratchOf, type GpBudget } from "./gp-memory.ts";
import { selectImages } from "./stored-kernel.ts";

export type SetName = "train" | "validation" | "test";

/**
 * One line for a progress bar. `rate` is in pairs (kernel) or GFLOP (solve) per second. Conjugate gradients have no known
 * end: their `done` is the share of the way, in decades of the residual, to the tolerance.
 */
export interface GpProgress {
  readonly phase: "kernel" | "solve";
  /** "Kxx", "Kxv", "Kxt", "reading Kxx", "Cholesky", "eigenvectors", "cg". */
  readonly label: string;
  /** "iteration 12, residual 3.1e-4". */
  readonly detail?: string;
  readonly done: number;
  readonly total: number;
  readonly rate: number;
}

export interface GpExperiment {
  readonly engine: Engine;
  readonly dataset: Dataset;
  readonly arch: Arch;
  readonly train: Ranges;
  readonly validation?: Ranges | undefined;
  readonly test?: Ranges | undefined;
  readonly precision?: Precision | undefined;
  readonly jitter?: PosteriorOptions["jitter"];
  /** Added to the diagonal in the kernel's units, instead of jitter. */
  readonly lambda?: number | undefined;
  /** How the system is solved; default "auto". */
  readonly solver?: PosteriorOptions["solver"];
  /** Of conjugate gradients: relative residual, default 1e-8. */
  readonly tolerance?: number | undefined;
  /** Where a factor goes that memory does not hold; default: a folder in `folder`, if there is one. */
  readonly scratch?: PosteriorOptions["scratch"];
  readonly tile?: number | undefined;
  /** Keeps kxx.zarr, kxv.zarr and kxt.zarr in this folder, and resumes from there. */
  readonly folder?: { readonly files: Files; readonly path: string } | undefined;
  /** Kernels that are already on disk: train x train, train x validation, train x test (or their transposes). */
  readonly stores?: { readonly kxx?: KernelStore; readonly kxv?: KernelStore; readonly kxt?: KernelStore } | undefined;
  /** Predictive variances of validation and test inputs. */
  readonly variance?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: GpProgress) => void) | undefined;
}

export interface GpResult {
  /** Percent of wrong labels. */
  readonly error: Readonly<Partial<Record<SetName, number>>>;
  readonly kernel: { readonly seconds: number; readonly pairs: number; readonly pairsPerSecond: number };
  readonly solve: GpSolve;
  readonly predictions: Readonly<Partial<Record<SetName, Prediction>>>;
  readonly labels: Readonly<Partial<Record<SetName, Int32Array>>>;
  /**
   * log p(Y | X) of the training targets (+1 for the class, -1 for the others) in nats, summed over the classes, with
   * what was added to the diagonal as the noise's variance. Undefined where the solver does not know the determinant.
   */
  readonly logMarginalLikelihood: number | undefined;
  /** Fitted on the validation set; undefined without one. */
  readonly temperature: number | undefined;
  /** Calibrated class probabilities, softmax(mean / temperature), [n, classes], where there is a temperature. */
  readonly scores: Readonly<Partial<Record<SetName, Float64Array>>>;
  /** How good those are. On the validation set, whose likelihood chose the temperature, a little better than true. */
  readonly calibration: Readonly<Partial<Record<SetName, CalibrationSummary>>>;
  /** Of the predictive variances, where they were asked for. */
  readonly variance: Readonly<Partial<Record<SetName, VarianceSummary>>>;
}

/** The solve for the weights. */
export interface GpSolve {
  readonly solver: SolveMethod;
  /** Why that one. */
  readonly reason: string;
  readonly seconds: number;
  /** 0 where no factorisation was made. */
  readonly gflops: number;
  /** What was added to the diagonal, relative to its mean, and in the kernel's units. */
  readonly jitter: number;
  readonly lambda: number;
  /** Of conjugate gradients. */
  readonly iterations?: number;
  readonly relativeResidual?: number;
}

export interface CalibrationSummary {
  /** Mean over the images, in nats. */
  readonly negativeLogLikelihood: number;
  /** Mean distance of accuracy from confidence, ten bins of equal width (Guo et al. 2017, eq. 3): 0 to 1. */
  readonly expectedCalibrationError: number;
}

/** Of the latent function at the inputs of a set. */
export interface VarianceSummary {
  readonly mean: number;
  readonly smallest: number;
  readonly largest: number;
  /** Mean of K(x, x), the variance before any training image was seen. */
  readonly prior: number;
}

/**
 * Runs the experiment. Throws E_MEMORY before it starts where the experiment as a whole does not fit the engine's budget
 * (`gpMemory`), and what kernels, stores and solves throw; warnings go to the engine's log.
 */
export async function runGp(experiment: GpExperiment): Promise<GpResult> {
  const { engine, folder } = experiment;
  warnOfOverlap(experiment);
  refuseMixture(experiment);
  await requireScratchPlace(scratchOf(experiment));
  const budget = await requireGpMemory(experiment);
  const clock = new KernelClock();
  const kept = new Map<CrossSet, HeldKernel>();
  // Kernels on disk are all made before the factor takes its memory; Kxx first, so that a folder of another experiment
  // is refused before anything is computed into it.
  const stored = folder === undefined ? undefined : await trainingKernel(experiment, clock);
  if (folder !== undefined)
    for (const [name, ranges] of crossSets(experiment)) kept.set(name, await cross(name, ranges));
  // So are the variances of new images: their tables and the factor need not be there at once.
  const diagonals = new Map<CrossSet, Float64Array>();
  if (experiment.variance === true)
    for (const [name, ranges] of crossSets(experiment)) diagonals.set(name, await diagonalOf(experiment, ranges));
  await using posterior = await fitted(experiment, budget, clock, stored);
  const predictions: Partial<Record<SetName, Prediction>> = { train: posterior.trainingPrediction() };
  const variance: Partial<Record<SetName, VarianceSummary>> = {};
  for (const [name, ranges] of crossSets(experiment)) {
    const diagonal = diagonals.get(name);
    const kernel = kept.get(name) ?? (await cross(name, ranges));
    try {
      const prediction = await posterior.predict(kernel.matrix, diagonal, experiment.signal);
      predictions[name] = prediction;
      if (diagonal !== undefined && prediction.variance !== undefined)
        variance[name] = varianceSummary(prediction.variance, diagonal);
    } finally {
      kernel.release();
    }
  }
  return summary(experiment, posterior, predictions, variance, clock);

  function cross(name: CrossSet, ranges: Ranges): Promise<HeldKernel> {
    return crossKernel(experiment, name, ranges, engine.memoryBytes - budget.heldBytes, clock);
  }
}

/** The posterior; the training kernel is let go when this returns, unless conjugate gradients go on to use it. */
async function fitted(
  experiment: GpExperiment,
  { solverBytes }: GpBudget,
  clock: KernelClock,
  stored: KernelMatrix | undefined,
): Promise<Posterior> {
  const { engine, dataset, train, jitter, lambda, solver, tolerance, signal, onProgress } = experiment;
  const kxx = stored ?? (await trainingKernel(experiment, clock));
  return Posterior.fit(engine, kxx, labelsOf(dataset, train), {
    ...{ jitter, lambda, solver, tolerance, signal },
    scratch: scratchOf(experiment),
    memory: solverBytes,
    classes: dataset.classes,
    onSolve: onProgress && ((progress) => onProgress(solveProgress(progress, tolerance))),
  });
}

function solveProgress(progress: SolveProgress, tolerance = 1e-8): GpProgress {
  const common = { phase: "solve", total: 1 } as const;
  if (progress.method === "cg") {
    const { iteration, residual } = progress;
    const done = Math.min(1, Math.max(0, Math.log(residual) / Math.log(tolerance)));
    const detail = `iteration ${iteration}, residual ${residual.toExponential(1)}`;
    return { ...common, label: "cg", detail, done, rate: 0 };
  }
  if (progress.method === "eigh") return { ...common, label: "eigenvectors", done: progress.fraction, rate: 0 };
  const { phase, fraction, gflops } = progress;
  const label = phase === "factor" ? "Cholesky" : "reading Kxx";
  return { ...common, label, done: fraction, rate: phase === "factor" ? gflops : 0 };
}

/**
 * An imported kernel says nothing of its architecture: one that is computed here would silently be another's. Throws
 * E_CONFIG.
 */
export function refuseMixture(experiment: GpExperiment): void {
  const { stores, variance } = experiment;
  const all = [stores?.kxx, ...crossSets(experiment).map(([name]) => (name === "test" ? stores?.kxt : stores?.kxv))];
  const imported = all.find((store) => store?.manifest.kind === "imported");
  if (imported === undefined) return;
  if (all.some((store) => store?.manifest.kind !== "imported")) {
    throw new WidefieldError(
      "E_CONFIG",
      `${imported.path} was imported and is of an unknown architecture: kernels computed here would not belong to it; ` +
        `give all of --kxx, --kxv and --kxt that the sets need as imported ones`,
    );
  }
  if (variance === true) {
    throw new WidefieldError(
      "E_CONFIG",
      `${imported.path} was imported: predictive variances need K(x, x) of its architecture, which is not known`,
    );
  }
}

function crossSets(experiment: GpExperiment): [CrossSet, Ranges][] {
  return (["validation", "test"] as const).flatMap((name) => {
    const ranges = experiment[name];
    return ranges === undefined ? [] : [[name, ranges] as [CrossSet, Ranges]];
  });
}

function warnOfOverlap({ engine, train, validation, test }: GpExperiment): void {
  for (const [name, ranges] of Object.entries({ validation, test })) {
    if (ranges === undefined) continue;
    const common = overlap(train, ranges);
    if (common.length > 0)
      engine.log(`warning: ${name} overlaps train in ${formatRanges(common)}: its error rate is too good`);
  }
  const shared = validation === undefined || test === undefined ? [] : overlap(validation, test);
  if (shared.length > 0)
    engine.log(`warning: test overlaps validation in ${formatRanges(shared)}: its scores are fitted to it`);
}

function labelsOf(dataset: Dataset, ranges: Ranges): Int32Array {
  const labels = ranges.map(({ start, end }) => dataset.labels.subarray(start, end));
  const all = new Int32Array(countOf(ranges));
  let at = 0;
  for (const part of labels) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

async function diagonalOf({ engine, arch, dataset, ...options }: GpExperiment, ranges: Ranges): Promise<Float64Array> {
  const precision = options.precision ?? "f32";
  const { tile, signal } = options;
  return kernelDiagonal(engine, arch, selectImages(dataset, ranges, precision), { precision, tile, signal });
}

function varianceSummary(variance: Float64Array, diagonal: Float64Array): VarianceSummary {
  const mean = (values: Float64Array) => values.reduce((sum, value) => sum + value / values.length, 0);
  const [smallest, largest] = variance.reduce(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, 0],
  );
  return { mean: mean(variance), smallest, largest, prior: mean(diagonal) };
}

function summary(
  { engine, dataset, ...sets }: GpExperiment,
  posterior: Posterior,
  predictions: Partial<Record<SetName, Prediction>>,
  variance: Partial<Record<SetName, VarianceSummary>>,
  clock: KernelClock,
): GpResult {
  const { classes } = dataset;
  const error: Partial<Record<SetName, number>> = {};
  const labels: Partial<Record<SetName, Int32Array>> = {};
  const calibrated: Partial<Record<SetName, Float64Array>> = {};
  const calibration: Partial<Record<SetName, CalibrationSummary>> = {};
  for (const name of ["train", "validation", "test"] as const) {
    const [ranges, prediction] = [sets[name], predictions[name]];
    if (ranges === undefined || prediction === undefined) continue;
    const truth = labelsOf(dataset, ranges);
    labels[name] = truth;
    error[name] = errorPercent(prediction.labels, truth);
  }
  const temperature =
    predictions.validation === undefined || labels.validation === undefined
      ? undefined
      : fitTemperature(predictions.validation.mean, classes, labels.validation);
  if (temperature !== undefined && isAtBound(temperature))
    engine.log(
      `no finite temperature fits the ${labels.validation?.length ?? 0} validation images best: scores are not calibrated`,
    );
  if (temperature !== undefined) {
    for (const name of ["validation", "test"] as const) {
      const prediction = predictions[name];
      const truth = labels[name];
      if (prediction === undefined || truth === undefined) continue;
      const probabilities = scores(prediction.mean, classes, temperature);
      calibrated[name] = probabilities;
      calibration[name] = {
        negativeLogLikelihood: logLoss(probabilities, classes, truth),
        expectedCalibrationError: calibrationError(calibrationBins(probabilities, truth)),
      };
    }
  }
  const { solver, reason, iterations, relativeResidual } = posterior;
  return {
    error,
    kernel: {
      seconds: clock.seconds,
      pairs: clock.pairs,
      pairsPerSecond: clock.seconds > 0 ? clock.pairs / clock.seconds : 0,
    },
    solve: {
      solver: solver.method,
      reason,
      seconds: posterior.solveSeconds,
      gflops: solver.gflops,
      jitter: solver.relativeShift ?? 0,
      lambda: posterior.lambda,
      ...(iterations === undefined ? {} : { iterations }),
      ...(relativeResidual === undefined ? {} : { relativeResidual }),
    },
    predictions,
    labels,
    logMarginalLikelihood: posterior.logMarginalLikelihood,
    temperature,
    scores: calibrated,
    calibration,
    variance,
  };
}
