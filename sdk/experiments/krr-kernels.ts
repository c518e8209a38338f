/**
 * Where the kernels of a regression come from: computed into memory, kept in a folder of stores where the next run
 * finds them, or taken from stores that are there already. Test kernels that nobody keeps are computed a few rows at a
 * time, when they are read.
 */
import { specTiles } from "../arch/spec-tiles.ts";
import { computeMatrix, storedMatrix, transposed, type KernelMatrix } from "../covariance/matrix.ts";
import type { Ranges } from "../data/ranges.ts";
import type { FeatureProgress } from "../covariance/finite-features.ts";
import { WidefieldError } from "../errors.ts";
import { PRODUCT_ROWS } from "../learn/kernel-products.ts";
import { type AskedKernel, givenCrossKernel, givenTrainingKernel } from "./given-kernel.ts";
import type { KernelClock } from "./kernel-clock.ts";
import type { KrrExperiment } from "./krr.ts";
import { selectImages, storeKernel } from "./stored-kernel.ts";
import { type StreamedKernel, streamedKernel } from "./streamed-kernel.ts";

/** The kernel among the training images. Throws what storing, reading and computing throw. */
export async function trainingKernel(experiment: KrrExperiment, clock: KernelClock): Promise<KernelMatrix> {
  const { train, stores, folder } = experiment;
  if (stores?.kxx === undefined)
    return folder === undefined
      ? inMemory(experiment, "Kxx", train, clock)
      : inFolder(experiment, "Kxx", train, undefined, clock);
  return givenTrainingKernel(askedOf(experiment), stores.kxx);
}

/** The kernel of test images (rows) and training images on disk; undefined where it is kept nowhere. */
export async function storedTestKernel(
  experiment: KrrExperiment,
  test: Ranges,
  clock: KernelClock,
): Promise<KernelMatrix | undefined> {
  const { train, stores, folder } = experiment;
  const store = stores?.kxt;
  if (store === undefined)
    return folder === undefined ? undefined : transposed(await inFolder(experiment, "Kxt", train, test, clock));
  return givenCrossKernel(askedOf(experiment), store, test);
}

function askedOf({ engine, problem: { dataset }, kernel, train }: KrrExperiment): AskedKernel {
  return { engine, dataset, kernel, train };
}

async function inFolder(
  experiment: KrrExperiment,
  label: string,
  rows: Ranges,
  columns: Ranges | undefined,
  clock: KernelClock,
): Promise<KernelMatrix> {
  const { engine, problem, kernel, folder, precision, tile, signal } = experiment;
  if (folder === undefined) throw new Error("an experiment without a folder keeps no kernels");
  const { files } = folder;
  const path = `${folder.path}/${label.toLowerCase()}.zarr`;
  const job = { engine, dataset: problem.dataset, kernel, rows, columns, files, path, precision, tile, signal };
  const told = { onProgress: reporter(experiment, label), onFeatures: featureReporter(experiment, label) };
  const { store } = await clock.time(
    () => storeKernel({ ...job, ...told }),
    ({ result }) => result.pairsDone,
  );
  return storedMatrix(store, store.grid.rows, store.grid.columns);
}

/** The symmetric matrix of the rows. */
async function inMemory(
  experiment: KrrExperiment,
  label: string,
  rows: Ranges,
  clock: KernelClock,
): Promise<KernelMatrix> {
  const { engine, problem, kernel, signal } = experiment;
  const precision = experiment.precision ?? "f32";
  const images = selectImages(problem.dataset, rows, precision);
  const options = { whole: true, signal, onFeatures: featureReporter(experiment, label) };
  const { tiles, ...size } = await specTiles(engine, kernel, images, images, precision, options);
  try {
    const run = () =>
      computeMatrix({
        ...{ ...size, tiles, precision, signal },
        tile: experiment.tile ?? size.tile,
        symmetric: true,
        memoryBytes: engine.memoryBytes,
        onProgress: reporter(experiment, label),
      });
    return await clock.time(run, () => (size.rows * (size.rows + 1)) / 2);
  } finally {
    tiles.dispose();
  }
}

/**
 * The kernel of test images (rows) and training images, computed when it is read. `memoryBytes` may be held meanwhile.
 * Throws E_MEMORY where that is too little, and what `specTiles` throws.
 */
export async function streamedTestKernel(
  experiment: KrrExperiment,
  test: Ranges,
  memoryBytes: number,
  clock: KernelClock,
): Promise<StreamedKernel> {
  const { engine, problem, kernel, train, precision = "f32", tile, signal } = experiment;
  const label = "Kxt";
  const report = reporter(experiment, label);
  const streamed = await streamedKernel({
    ...{
      engine,
      dataset: problem.dataset,
      kernel,
      rows: test,
      columns: train,
      precision,
      tile,
      memoryBytes,
      label,
      signal,
    },
    readRows: PRODUCT_ROWS,
    onFeatures: featureReporter(experiment, label),
    onBlock: ({ pairs, seconds }, all) => {
      clock.seconds += seconds;
      clock.pairs += pairs;
      report(all);
    },
  });
  if (streamed.neededBytes <= memoryBytes) return streamed;
  streamed.release();
  throw new WidefieldError(
    "E_MEMORY",
    `predictions need ${Math.ceil(streamed.neededBytes / 2 ** 20)} MiB for the kernel of test images, and ` +
      `${Math.floor(memoryBytes / 2 ** 20)} MiB of the budget are left beside the coefficients: raise the budget, give ` +
      "fewer lambdas, or keep the kernel on disk (a folder)",
    { details: { neededBytes: streamed.neededBytes, memoryBytes } },
  );
}

/** Finite models: their features are drawn and summed before the first tile. */
function featureReporter({ onProgress }: KrrExperiment, label: string) {
  return ({ blocksDone: done, blocksTotal: total }: FeatureProgress) =>
    onProgress?.({ phase: "kernel", label: `${label} features`, detail: "", done, total, rate: 0 });
}

function reporter({ onProgress }: KrrExperiment, label: string) {
  return (progress: { pairsDone: number; pairsTotal: number; seconds: number }) => {
    const { pairsDone, pairsTotal, seconds } = progress;
    const rate = seconds > 0 ? pairsDone / seconds : 0;
    onProgress?.({ phase: "kernel", label, done: pairsDone, total: pairsTotal, rate });
  };
}
