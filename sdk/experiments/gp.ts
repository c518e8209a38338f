/**
 * The experiment of Garriga-Alonso et al. 2019: GP classification of a dataset's index ranges with an architecture's
 * kernel. Kernels are computed in memory, or kept in a folder where the next run finds them, or taken from stores.
 */
import { archToJson, type Arch } from "../arch/arch.ts";
import { DEFAULT_TILE, kernelDiagonal, kernelTiles } from "../arch/kernel.ts";
import { computeMatrix, storedMatrix, transposed, type KernelMatrix } from "../covariance/matrix.ts";
import type { Files } from "../covariance/store/files.ts";
import type { Json } from "../covariance/store/manifest.ts";
import type { KernelStore } from "../covariance/store/store.ts";
import type { Precision } from "../covariance/tiles.ts";
import type { Dataset } from "../data/dataset.ts";
import { countOf, formatRanges, overlap, type Ranges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { fitTemperature, scores } from "../learn/calibration.ts";
import { errorPercent, Posterior, type Prediction, type SolveOptions } from "../learn/gp.ts";
import { indexRanges, selectImages, storeKernel } from "./stored-kernel.ts";

export type SetName = "train" | "validation" | "test";

/** One line for a progress bar. `rate` is in pairs (kernel) or GFLOP (solve) per second. */
export interface GpProgress {
  readonly phase: "kernel" | "solve";
  /** "Kxx", "Kxv", "Kxt". */
  readonly label: string;
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
  readonly jitter?: SolveOptions["jitter"];
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
  readonly solve: { readonly seconds: number; readonly gflops: number; readonly jitter: number };
  readonly predictions: Readonly<Partial<Record<SetName, Prediction>>>;
  readonly labels: Readonly<Partial<Record<SetName, Int32Array>>>;
  /** Fitted on the validation set; undefined without one. */
  readonly temperature: number | undefined;
  /** Calibrated class scores, [n, classes], where there is a temperature. */
  readonly scores: Readonly<Partial<Record<SetName, Float64Array>>>;
}

/** Runs the experiment. Throws what kernels, stores and solves throw; warnings go to the engine's log. */
export async function runGp(experiment: GpExperiment): Promise<GpResult> {
  const { engine, dataset, train, onProgress } = experiment;
  warnOfOverlap(experiment);
  const clock = new KernelClock();
  const kxx = await trainingKernel(experiment, clock);
  using posterior = await Posterior.fit(engine, kxx, labelsOf(dataset, train), {
    jitter: experiment.jitter,
    classes: dataset.classes,
    signal: experiment.signal,
    onSolve: ({ phase, fraction, gflops }) => {
      const rate = phase === "factor" ? gflops : 0;
      onProgress?.({
        phase: "solve",
        label: phase === "factor" ? "Cholesky" : "reading Kxx",
        done: fraction,
        total: 1,
        rate,
      });
    },
  });
  const predictions: Partial<Record<SetName, Prediction>> = { train: posterior.trainingPrediction() };
  for (const name of ["validation", "test"] as const) {
    const ranges = experiment[name];
    if (ranges === undefined) continue;
    const matrix = await crossKernel(experiment, name, ranges, clock);
    const diagonal = experiment.variance === true ? await diagonalOf(experiment, ranges) : undefined;
    predictions[name] = await posterior.predict(matrix, diagonal);
  }
  return summary(experiment, posterior, predictions, clock);
}

/** Time and pairs of all kernels that were computed. */
class KernelClock {
  seconds = 0;
  pairs = 0;

  async time<T>(work: () => Promise<T>, pairsOf: (result: T) => number): Promise<T> {
    const begun = performance.now();
    const result = await work();
    this.seconds += (performance.now() - begun) / 1000;
    this.pairs += pairsOf(result);
    return result;
  }
}

function warnOfOverlap({ engine, train, validation, test }: GpExperiment): void {
  for (const [name, ranges] of Object.entries({ validation, test })) {
    if (ranges === undefined) continue;
    const common = overlap(train, ranges);
    if (common.length > 0)
      engine.log(`warning: ${name} overlaps train in ${formatRanges(common)}: its error rate is too good`);
  }
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

async function trainingKernel(experiment: GpExperiment, clock: KernelClock): Promise<KernelMatrix> {
  const { train, stores } = experiment;
  if (stores?.kxx !== undefined) {
    const n = await leading(experiment, stores.kxx, train, train);
    if (stores.kxx.manifest.kind === "imported" && !stores.kxx.manifest.symmetric)
      throw new WidefieldError("E_DATA", `${stores.kxx.path} is not symmetric: it is no training kernel`);
    return storedMatrix(stores.kxx, n.rows, n.columns);
  }
  return computeKernel(experiment, "Kxx", train, undefined, clock);
}

/** The kernel with rows of a set and columns of the training set. */
async function crossKernel(
  experiment: GpExperiment,
  name: "validation" | "test",
  ranges: Ranges,
  clock: KernelClock,
): Promise<KernelMatrix> {
  const { train, stores } = experiment;
  const store = name === "test" ? stores?.kxt : stores?.kxv;
  const label = name === "test" ? "Kxt" : "Kxv";
  if (store === undefined) return transposed(await computeKernel(experiment, label, train, ranges, clock));
  const size = await leading(experiment, store, train, ranges).catch((error: unknown) => error);
  if (!(size instanceof Error)) {
    const { rows, columns } = size as { rows: number; columns: number };
    return transposed(storedMatrix(store, rows, columns));
  }
  // Perhaps it stands the other way round; if not, the first complaint is the one that helps.
  const turned = await leading(experiment, store, ranges, train).catch(() => undefined);
  if (turned === undefined) throw size;
  return storedMatrix(store, turned.rows, turned.columns);
}

/** How much of a store is asked for; an imported matrix knows only its size. */
async function leading(
  { dataset, arch }: GpExperiment,
  store: KernelStore,
  rows: Ranges,
  columns: Ranges,
): Promise<{ readonly rows: number; readonly columns: number }> {
  if (store.manifest.kind !== "imported") {
    return store.leadingPart({
      rows: indexRanges(rows),
      columns: indexRanges(columns),
      kind: "nngp",
      arch: archToJson(arch) as Json,
      dataset: { name: dataset.name, sha256: await dataset.sha256() },
    });
  }
  const size = { rows: countOf(rows), columns: countOf(columns) };
  if (size.rows <= store.grid.rows && size.columns <= store.grid.columns) return size;
  throw new WidefieldError(
    "E_MISMATCH",
    `${store.path} is ${store.grid.rows} x ${store.grid.columns}; ${size.rows} x ${size.columns} are needed`,
  );
}

async function computeKernel(
  experiment: GpExperiment,
  label: string,
  rows: Ranges,
  columns: Ranges | undefined,
  clock: KernelClock,
): Promise<KernelMatrix> {
  const { engine, dataset, arch, folder, tile, signal, onProgress } = experiment;
  const precision = experiment.precision ?? "f32";
  const report = (progress: { pairsDone: number; pairsTotal: number; seconds: number }) => {
    const { pairsDone, pairsTotal, seconds } = progress;
    const rate = seconds > 0 ? pairsDone / seconds : 0;
    onProgress?.({ phase: "kernel", label, done: pairsDone, total: pairsTotal, rate });
  };
  if (folder !== undefined) {
    const { files } = folder;
    const path = `${folder.path}/${label.toLowerCase()}.zarr`;
    const run = () =>
      storeKernel({ engine, dataset, arch, rows, columns, files, path, precision, tile, signal, onProgress: report });
    const { store } = await clock.time(run, ({ result }) => result.pairsDone);
    return storedMatrix(store, store.grid.rows, store.grid.columns);
  }
  const rowImages = selectImages(dataset, rows, precision);
  const columnImages = columns === undefined ? rowImages : selectImages(dataset, columns, precision);
  const { tiles, ...facts } = await kernelTiles(engine, arch, rowImages, columnImages, precision);
  const symmetric = columns === undefined;
  try {
    const run = () =>
      computeMatrix({
        ...facts,
        tiles,
        precision,
        symmetric,
        tile: tile ?? DEFAULT_TILE,
        memoryBytes: engine.memoryBytes,
        signal,
        onProgress: report,
      });
    const pairs = symmetric ? (facts.rows * (facts.rows + 1)) / 2 : facts.rows * facts.columns;
    return await clock.time(run, () => pairs);
  } finally {
    tiles.dispose();
  }
}

async function diagonalOf({ engine, arch, dataset, ...options }: GpExperiment, ranges: Ranges): Promise<Float64Array> {
  const precision = options.precision ?? "f32";
  return kernelDiagonal(engine, arch, selectImages(dataset, ranges, precision), { precision });
}

function summary(
  { dataset, ...sets }: GpExperiment,
  posterior: Posterior,
  predictions: Partial<Record<SetName, Prediction>>,
  clock: KernelClock,
): GpResult {
  const { classes } = dataset;
  const error: Partial<Record<SetName, number>> = {};
  const labels: Partial<Record<SetName, Int32Array>> = {};
  const calibrated: Partial<Record<SetName, Float64Array>> = {};
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
  if (temperature !== undefined) {
    for (const name of ["validation", "test"] as const) {
      const prediction = predictions[name];
      if (prediction !== undefined) calibrated[name] = scores(prediction.mean, classes, temperature);
    }
  }
  const { factor } = posterior;
  return {
    error,
    kernel: {
      seconds: clock.seconds,
      pairs: clock.pairs,
      pairsPerSecond: clock.seconds > 0 ? clock.pairs / clock.seconds : 0,
    },
    solve: { seconds: factor.seconds, gflops: factor.gflops, jitter: factor.jitterUsed },
    predictions,
    labels,
    temperature,
    scores: calibrated,
  };
}
