/**
 * Where a GP experiment's kernels come from: computed into memory, kept in a folder of stores, or taken from stores
 * that are already there. Cross kernels that nobody keeps are computed a few rows at a time, when they are read.
 */
import { specTiles } from "../arch/spec-tiles.ts";
import { nngp } from "../arch/kernel-spec.ts";
import { archToJson } from "../arch/arch.ts";
import { computeMatrix, storedMatrix, transposed, type KernelMatrix } from "../covariance/matrix.ts";
import type { Json } from "../covariance/store/manifest.ts";
import type { KernelStore } from "../covariance/store/store.ts";
import { countOf, type Ranges } from "../data/ranges.ts";
import { WidefieldError } from "../errors.ts";
import { PREDICT_ROWS } from "../learn/posterior.ts";
import type { GpExperiment } from "./gp.ts";
import { indexRanges, selectImages, storeKernel } from "./stored-kernel.ts";
import { type HeldKernel, streamedKernel } from "./streamed-kernel.ts";

export type { HeldKernel };

/** Kernels with the training images, of which sets. */
export const CROSS = { validation: "Kxv", test: "Kxt" } as const;
export type CrossSet = keyof typeof CROSS;

/** Time and pairs of all kernels that were computed. */
export class KernelClock {
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

/** The kernel of the training images: a store's leading part, a store in the experiment's folder, or in memory. */
export async function trainingKernel(experiment: GpExperiment, clock: KernelClock): Promise<KernelMatrix> {
  const { train, stores, folder } = experiment;
  if (stores?.kxx !== undefined) {
    const n = await leading(experiment, stores.kxx, train, train);
    if (stores.kxx.manifest.kind === "imported" && !stores.kxx.manifest.symmetric)
      throw new WidefieldError("E_DATA", `${stores.kxx.path} is not symmetric: it is no training kernel`);
    return storedMatrix(stores.kxx, n.rows, n.columns);
  }
  if (folder !== undefined) return folderKernel(experiment, "Kxx", undefined, clock);
  return computedKernel(experiment, clock);
}

/** The kernel with rows of a set and columns of the training set. `memoryBytes` may be held while it is read. */
export async function crossKernel(
  experiment: GpExperiment,
  name: CrossSet,
  ranges: Ranges,
  memoryBytes: number,
  clock: KernelClock,
): Promise<HeldKernel> {
  const { train, stores, folder } = experiment;
  const store = name === "test" ? stores?.kxt : stores?.kxv;
  const held = (matrix: KernelMatrix): HeldKernel => ({ matrix, release: () => undefined });
  if (store === undefined && folder !== undefined)
    return held(transposed(await folderKernel(experiment, CROSS[name], ranges, clock)));
  if (store === undefined) {
    const { engine, dataset, arch, tile, signal, precision = "f32" } = experiment;
    const report = reporter(experiment, CROSS[name]);
    return streamedKernel({
      ...{ engine, dataset, kernel: nngp(arch), rows: ranges, columns: train, precision, tile, signal, memoryBytes },
      ...{ label: CROSS[name], readRows: PREDICT_ROWS },
      onBlock: ({ pairs, seconds }, all) => {
        clock.seconds += seconds;
        clock.pairs += pairs;
        report(all);
      },
    });
  }
  const size = await leading(experiment, store, train, ranges).catch((error: unknown) => error);
  if (!(size instanceof Error)) {
    const { rows, columns } = size as { rows: number; columns: number };
    if (store.manifest.kind === "imported" && columns <= store.grid.rows && rows <= store.grid.columns)
      experiment.engine.log(`${store.path}: read with the training images in its rows; its size does not tell`);
    return held(transposed(storedMatrix(store, rows, columns)));
  }
  // Perhaps it stands the other way round; if not, the first complaint is the one that helps.
  const turned = await leading(experiment, store, ranges, train).catch(() => undefined);
  if (turned === undefined) throw size;
  return held(storedMatrix(store, turned.rows, turned.columns));
}

/** How much of a store is asked for; an imported matrix knows only its size: its first rows are taken. */
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

async function folderKernel(
  experiment: GpExperiment,
  label: string,
  columns: Ranges | undefined,
  clock: KernelClock,
): Promise<KernelMatrix> {
  const { folder, train: rows, signal } = experiment;
  if (folder === undefined) throw new Error("an experiment without a folder keeps no kernels");
  const { files } = folder;
  const path = `${folder.path}/${label.toLowerCase()}.zarr`;
  const onProgress = reporter(experiment, label);
  const run = () =>
    storeKernel({ ...experiment, kernel: nngp(experiment.arch), rows, columns, files, path, signal, onProgress });
  const { store } = await clock.time(run, ({ result }) => result.pairsDone);
  return storedMatrix(store, store.grid.rows, store.grid.columns);
}

async function computedKernel(experiment: GpExperiment, clock: KernelClock): Promise<KernelMatrix> {
  const { engine, dataset, arch, train, tile, signal } = experiment;
  const precision = experiment.precision ?? "f32";
  const images = selectImages(dataset, train, precision);
  const { tiles, ...facts } = await specTiles(engine, nngp(arch), images, images, precision, { whole: true });
  try {
    const run = () =>
      computeMatrix({
        ...facts,
        tiles,
        precision,
        symmetric: true,
        tile: tile ?? facts.tile,
        memoryBytes: engine.memoryBytes,
        signal,
        onProgress: reporter(experiment, "Kxx"),
      });
    return await clock.time(run, () => (facts.rows * (facts.rows + 1)) / 2);
  } finally {
    tiles.dispose();
  }
}

function reporter({ onProgress }: GpExperiment, label: string) {
  return (progress: { pairsDone: number; pairsTotal: number; seconds: number }) => {
    const { pairsDone, pairsTotal, seconds } = progress;
    const rate = seconds > 0 ? pairsDone / seconds : 0;
    onProgress?.({ phase: "kernel", label, done: pairsDone, total: pairsTotal, rate });
  };
}
