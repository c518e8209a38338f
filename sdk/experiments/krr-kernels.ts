/**
 * Where the kernels of a regression come from: computed into memory, kept in a folder of stores where the next run
 * finds them, or taken from stores that are there already.
 */
import { specTiles } from "../arch/spec-tiles.ts";
import { computeMatrix, storedMatrix, transposed, type KernelMatrix } from "../covariance/matrix.ts";
import type { KernelStore } from "../covariance/store/store.ts";
import { countOf, type Ranges } from "../data/ranges.ts";
import { WidefieldError } from "../errors.ts";
import { KernelClock } from "./gp-kernels.ts";
import type { KrrExperiment } from "./krr.ts";
import { indexRanges, kernelIdentity, selectImages, storeKernel } from "./stored-kernel.ts";

export { KernelClock };

/** The kernel among the training images. Throws what storing, reading and computing throw. */
export async function trainingKernel(experiment: KrrExperiment, clock: KernelClock): Promise<KernelMatrix> {
  const { train, stores, folder } = experiment;
  if (stores?.kxx === undefined)
    return folder === undefined
      ? inMemory(experiment, "Kxx", train, undefined, clock)
      : inFolder(experiment, "Kxx", train, undefined, clock);
  const size = await leading(experiment, stores.kxx, train, train);
  if (!stores.kxx.manifest.symmetric)
    throw new WidefieldError("E_DATA", `${stores.kxx.path} is not symmetric: it is no training kernel`);
  return storedMatrix(stores.kxx, size.rows, size.columns);
}

/** The kernel of test images (rows) and training images. */
export async function testKernel(experiment: KrrExperiment, test: Ranges, clock: KernelClock): Promise<KernelMatrix> {
  const { train, stores, folder } = experiment;
  const store = stores?.kxt;
  if (store === undefined)
    return folder === undefined
      ? inMemory(experiment, "Kxt", test, train, clock)
      : transposed(await inFolder(experiment, "Kxt", train, test, clock));
  const size = await leading(experiment, store, train, test).catch((error: unknown) => error);
  if (!(size instanceof Error)) {
    const { rows, columns } = size as { rows: number; columns: number };
    return transposed(storedMatrix(store, rows, columns));
  }
  // Perhaps it stands the other way round; if not, the first complaint is the one that helps.
  const turned = await leading(experiment, store, test, train).catch(() => undefined);
  if (turned === undefined) throw size;
  return storedMatrix(store, turned.rows, turned.columns);
}

/** How much of a store is asked for; an imported matrix knows only its size: its first rows are taken. */
async function leading(
  { problem: { dataset }, kernel }: KrrExperiment,
  store: KernelStore,
  rows: Ranges,
  columns: Ranges,
): Promise<{ readonly rows: number; readonly columns: number }> {
  if (store.manifest.kind !== "imported") {
    return store.leadingPart({
      ...{ rows: indexRanges(rows), columns: indexRanges(columns) },
      ...kernelIdentity(kernel),
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
  const onProgress = reporter(experiment, label);
  const job = { engine, dataset: problem.dataset, kernel, rows, columns, files, path, precision, tile, signal };
  const { store } = await clock.time(
    () => storeKernel({ ...job, onProgress }),
    ({ result }) => result.pairsDone,
  );
  return storedMatrix(store, store.grid.rows, store.grid.columns);
}

/** Without columns: the symmetric matrix of the rows. */
async function inMemory(
  experiment: KrrExperiment,
  label: string,
  rows: Ranges,
  columns: Ranges | undefined,
  clock: KernelClock,
): Promise<KernelMatrix> {
  const { engine, problem, kernel, signal } = experiment;
  const precision = experiment.precision ?? "f32";
  const rowImages = selectImages(problem.dataset, rows, precision);
  const columnImages = columns === undefined ? rowImages : selectImages(problem.dataset, columns, precision);
  const { tiles, ...size } = await specTiles(engine, kernel, rowImages, columnImages, precision, { whole: true });
  try {
    const run = () =>
      computeMatrix({
        ...{ ...size, tiles, precision, signal },
        tile: experiment.tile ?? size.tile,
        symmetric: columns === undefined,
        memoryBytes: engine.memoryBytes,
        onProgress: reporter(experiment, label),
      });
    const pairs = columns === undefined ? (size.rows * (size.rows + 1)) / 2 : size.rows * size.columns;
    return await clock.time(run, () => pairs);
  } finally {
    tiles.dispose();
  }
}

function reporter({ onProgress }: KrrExperiment, label: string) {
  return (progress: { pairsDone: number; pairsTotal: number; seconds: number }) => {
    const { pairsDone, pairsTotal, seconds } = progress;
    const rate = seconds > 0 ? pairsDone / seconds : 0;
    onProgress?.({ phase: "kernel", label, done: pairsDone, total: pairsTotal, rate });
  };
}
