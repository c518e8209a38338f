/**
 * Kernel ridge regression of a problem's targets from its images, with any kernel, over a grid of ridges: errors of
 * training and test images for every lambda.
 */
import type { KernelSpec } from "../arch/kernel-spec.ts";
import type { KernelStore } from "../covariance/store/store.ts";
import type { Precision } from "../covariance/tiles.ts";
import type { Problem } from "../data/problem.ts";
import { countOf, formatRanges, overlap, type Ranges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import {
  krr,
  requireLambdas,
  requireMethod,
  type KrrOptions,
  type KrrProgress,
  type RefusedRidge,
  type RidgePrediction,
  type RidgeRegression,
} from "../learn/krr.ts";
import type { RegressionScores } from "../learn/regression-scores.ts";
import type { Files } from "../platform/files.ts";
import { WidefieldError } from "../errors.ts";
import { MemoryMatrix, type KernelMatrix } from "../covariance/matrix.ts";
import { productBytes } from "../learn/kernel-products.ts";
import { KernelClock } from "./kernel-clock.ts";
import { storedTestKernel, streamedTestKernel, trainingKernel } from "./krr-kernels.ts";

/** One line for a progress bar. `rate` is in pairs per second, of kernels; otherwise `detail` says more. */
export interface RegressionProgress {
  readonly phase: "kernel" | "solve" | "predict";
  /** "Kxx", "Kxx features" (of a finite model), "Kxt", "Cholesky", "eigenvectors", "cg", "predictions". */
  readonly label: string;
  readonly detail?: string | undefined;
  readonly done: number;
  readonly total: number;
  readonly rate: number;
}

export interface KrrExperiment extends Pick<
  KrrOptions,
  "lambdas" | "method" | "tolerance" | "indefinite" | "scratch" | "signal" | "log"
> {
  readonly engine: Engine;
  readonly problem: Problem;
  readonly kernel: KernelSpec;
  readonly train: Ranges;
  readonly test?: Ranges | undefined;
  /** Of the kernel; stores hold float32 in any case. Solves are in float64. */
  readonly precision?: Precision | undefined;
  readonly tile?: number | undefined;
  /** Keeps kxx.zarr and kxt.zarr in this folder, and resumes from there. */
  readonly folder?: { readonly files: Files; readonly path: string } | undefined;
  /** Kernels that are already on disk, or whose leading parts are asked for: train x train, train x test (or turned). */
  readonly stores?: { readonly kxx?: KernelStore; readonly kxt?: KernelStore } | undefined;
  readonly onProgress?: ((progress: RegressionProgress) => void) | undefined;
}

/** One lambda's errors. */
export interface KrrRow {
  readonly lambda: number;
  /** Undefined where the lambda was refused, which `reason` tells. */
  readonly train: RegressionScores | undefined;
  readonly test: RegressionScores | undefined;
  readonly reason: string | undefined;
  readonly refusal?: RefusedRidge["kind"] | undefined;
}

export interface KrrResult {
  /** In the order of the lambdas. */
  readonly rows: readonly KrrRow[];
  /** The row with the least squared test error, of training error without test images; undefined if none was solved. */
  readonly best: KrrRow | undefined;
  readonly kernel: { readonly seconds: number; readonly pairs: number; readonly pairsPerSecond: number };
  readonly solve: {
    readonly method: RidgeRegression["method"];
    readonly reason: string;
    readonly seconds: number;
  };
  /** With coefficients and training predictions. */
  readonly model: RidgeRegression;
  /** Of the test images, for `model.fits`. */
  readonly predictions: readonly RidgePrediction[];
}

/** Runs it. Throws what kernels, stores and `krr.fit` throw; warnings go to the engine's log. */
export async function runKrr(experiment: KrrExperiment): Promise<KrrResult> {
  const { engine, problem, train, test, lambdas, signal, onProgress } = experiment;
  requireLambdas(lambdas);
  requireMethod(experiment.method, experiment.tolerance);
  refuseMixture(experiment);
  refuseCoarseStores(experiment);
  const targets = { train: problem.targets(train), test: test && problem.targets(test) };
  const common = test === undefined ? [] : overlap(train, test);
  if (common.length > 0) engine.log(`warning: test overlaps train in ${formatRanges(common)}: its errors are too good`);
  if (experiment.precision === "f64" && experiment.folder !== undefined)
    engine.log("note: stores hold float32: kernels are computed in float64, and rounded");
  const clock = new KernelClock();
  // Kxx first: a folder of another experiment is refused before anything is computed into it.
  const kxx = await trainingKernel(experiment, clock);
  const stored = test && (await storedTestKernel(experiment, test, clock));
  const model = await fitted(experiment, kxx, targets.train);
  const predictOptions = {
    signal,
    onProgress: onProgress && ((progress: KrrProgress) => onProgress({ phase: "predict", rate: 0, ...progress })),
  };
  let predictions: RidgePrediction[] = [];
  if (stored !== undefined) predictions = await model.predict(stored, targets.test, predictOptions);
  else if (test !== undefined) {
    const left = engine.memoryBytes - bytesOf(kxx) - predictionBytes(model, countOf(test));
    const kxt = await streamedTestKernel(experiment, test, left, clock);
    try {
      predictions = await model.predict(kxt.matrix, targets.test, predictOptions);
    } finally {
      kxt.release();
    }
  }
  const rows = rowsOf(lambdas, model, predictions);
  const { seconds, pairs } = clock;
  return {
    rows,
    best: bestRow(rows),
    kernel: { seconds, pairs, pairsPerSecond: seconds > 0 ? pairs / seconds : 0 },
    solve: { method: model.method, reason: model.reason, seconds: model.seconds },
    model,
    predictions,
  };
}

/** Fits in what the kernel and the answers leave of the budget. Throws E_MEMORY. */
function fitted(experiment: KrrExperiment, kxx: KernelMatrix, targets: Float64Array): Promise<RidgeRegression> {
  const { engine, problem, lambdas, method, tolerance, indefinite, scratch, signal, log, onProgress } = experiment;
  const held = bytesOf(kxx) + targets.byteLength + ANSWERS * lambdas.length * targets.byteLength;
  const memory = engine.memoryBytes - held;
  if (memory <= 0)
    throw new WidefieldError(
      "E_MEMORY",
      `the kernel, and the coefficients of ${lambdas.length} lambdas, take ${Math.ceil(held / 2 ** 20)} MiB, which leaves ` +
        `nothing of the budget (${Math.floor(engine.memoryBytes / 2 ** 20)} MiB) to solve with: raise it, give fewer ` +
        "lambdas, or keep the kernel on disk (a folder)",
      { details: { neededBytes: held, memoryBytes: engine.memoryBytes } },
    );
  return krr.fit(engine, kxx, targets, {
    ...{ lambdas, method, tolerance, indefinite, scratch, signal, log, memory },
    decision: problem.decision,
    onProgress: onProgress && ((progress) => onProgress({ phase: "solve", rate: 0, ...progress })),
  });
}

/** Arrays of the targets' size that a fit leaves for each lambda: coefficients and training predictions. */
const ANSWERS = 2;

/** Of a matrix in memory; stores are read tile by tile. */
function bytesOf(matrix: KernelMatrix): number {
  return matrix instanceof MemoryMatrix ? matrix.values.byteLength : 0;
}

/** Held while predictions are made, beside the kernels. */
function predictionBytes({ n, outputs, fits }: RidgeRegression, rows: number): number {
  const vectors = fits.length * outputs;
  // Coefficients once more, as columns; predictions at the kernel's scale, and in rows.
  return 8 * vectors * ((ANSWERS + 1) * n + 2 * rows) + productBytes(rows, n, vectors);
}

/** Fits and refusals, back in the order of the grid. */
function rowsOf(lambdas: readonly number[], model: RidgeRegression, predictions: readonly RidgePrediction[]): KrrRow[] {
  const refused = [...model.refused];
  let fitted = 0;
  return lambdas.map((lambda) => {
    if (refused[0]?.lambda === lambda) {
      const { reason, kind } = refused.shift() as RefusedRidge;
      return { lambda, train: undefined, test: undefined, reason, refusal: kind };
    }
    const index = fitted++;
    return { lambda, train: model.fits[index]?.train, test: predictions[index]?.scores, reason: undefined };
  });
}

export function bestRow(rows: readonly KrrRow[]): KrrRow | undefined {
  const error = ({ train, test }: KrrRow) => (test ?? train)?.squaredError ?? Infinity;
  const best = rows.reduce<KrrRow | undefined>(
    (least, row) => (least === undefined || error(row) < error(least) ? row : least),
    undefined,
  );
  return best?.train === undefined ? undefined : best;
}

/** An imported kernel says nothing of what it is: one that is computed here could be another's. Throws E_CONFIG. */
function refuseMixture({ stores, test }: KrrExperiment): void {
  const all = [stores?.kxx, ...(test === undefined ? [] : [stores?.kxt])];
  const imported = all.find((store) => store?.manifest.kind === "imported");
  if (imported === undefined || all.every((store) => store?.manifest.kind === "imported")) return;
  throw new WidefieldError(
    "E_CONFIG",
    `${imported.path} was imported, and of which kernel is not known: one computed here would not belong to it; give ` +
      "both --kxx and --kxt as imported ones",
  );
}

/** Float64 cannot be had from a kernel that was computed in float32. Throws E_CONFIG. */
function refuseCoarseStores({ precision, stores, test }: KrrExperiment): void {
  if (precision !== "f64") return;
  for (const store of [stores?.kxx, test === undefined ? undefined : stores?.kxt])
    if (store !== undefined && store.manifest.kind !== "imported" && store.manifest.precision !== "f64")
      throw new WidefieldError(
        "E_CONFIG",
        `${store.path} was computed in float32, and kernels in float64 were asked for: leave the precision out, or take ` +
          "a store that was computed in float64",
        { details: { path: store.path, precision: store.manifest.precision } },
      );
}
