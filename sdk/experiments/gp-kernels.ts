/**
 * Where a GP experiment's kernels come from: computed into memory, kept in a folder of stores, or taken from stores
 * that are already there. Cross kernels that nobody keeps are computed a few rows at a time, when they are read.
 */
import { specTiles } from "../arch/spec-tiles.ts";
import { nngp } from "../arch/kernel-spec.ts";
import { computeMatrix, storedMatrix, transposed, type KernelMatrix } from "../covariance/matrix.ts";
import type { Ranges } from "../data/ranges.ts";
import { PREDICT_ROWS } from "../learn/posterior.ts";
import { type AskedKernel, givenCrossKernel, givenTrainingKernel } from "./given-kernel.ts";
import type { GpExperiment } from "./gp.ts";
import type { KernelClock } from "./kernel-clock.ts";
import { selectImages, storeKernel } from "./stored-kernel.ts";
import { type HeldKernel, streamedKernel } from "./streamed-kernel.ts";

export type { HeldKernel };

/** Kernels with the training images, of which sets. */
export const CROSS = { validation: "Kxv", test: "Kxt" } as const;
export type CrossSet = keyof typeof CROSS;

/** The kernel of the training images: a store's leading part, a store in the experiment's folder, or in memory. */
export async function trainingKernel(experiment: GpExperiment, clock: KernelClock): Promise<KernelMatrix> {
  const { stores, folder } = experiment;
  if (stores?.kxx !== undefined) return givenTrainingKernel(askedOf(experiment), stores.kxx);
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
  return held(await givenCrossKernel(askedOf(experiment), store, ranges));
}

function askedOf({ engine, dataset, arch, train }: GpExperiment): AskedKernel {
  return { engine, dataset, kernel: nngp(arch), train };
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
