/**
 * The random architecture search: for every seed an architecture is drawn, its kernels are computed, and the GP's
 * error rates recorded. Finished seeds are kept in a folder (`search-folder.ts`), from which a search that was stopped
 * at any moment goes on; it loses at most the seed that was running.
 */
import { compile } from "../arch/arch.ts";
import type { Files } from "../platform/files.ts";
import type { Shard } from "../covariance/store/grid.ts";
import { lockShard } from "../covariance/store/lock.ts";
import type { ImageShape } from "../data/dataset.ts";
import { formatRanges, overlap, type Ranges } from "../data/ranges.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import { runGp, type GpExperiment, type GpProgress, type GpResult } from "./gp.ts";
import { drawnArch, drawArchitecture, type Drawn, type SkipRule } from "./search-draw.ts";
import { SearchFolder } from "./search-folder.ts";
import type { SearchRow } from "./search-row.ts";

export interface SearchProgress extends GpProgress {
  readonly seed: number;
}

export interface SearchExperiment extends Pick<
  GpExperiment,
  "engine" | "dataset" | "train" | "precision" | "jitter" | "tile" | "signal"
> {
  readonly validation: Ranges;
  readonly test: Ranges;
  readonly seeds: readonly number[];
  /** Which rule decides about skip connections; default "script". */
  readonly skips?: SkipRule | undefined;
  readonly files: Files;
  /** The folder of the search. */
  readonly path: string;
  /** Of every `count` seeds this process runs the one with number `index`; default: all. */
  readonly shard?: Shard | undefined;
  /** Keeps every seed's kernels in the folder, from which an interrupted seed goes on. */
  readonly keepKernels?: boolean | undefined;
  readonly onProgress?: ((progress: SearchProgress) => void) | undefined;
  /** After each seed, and once at the start for those that were there; `done` of `total` in this shard. */
  readonly onSeeds?: ((row: SearchRow | undefined, done: number, total: number) => void) | undefined;
}

/** Errors that running a seed again would only repeat: they are recorded, and the search goes on. */
const HOPELESS = new Set(["E_NOT_POSITIVE_DEFINITE", "E_OVERFLOW"]);

const WHOLE: Shard = { index: 0, count: 1 };

/** Every `count`-th seed: deep and shallow networks, which stand in runs, are spread over all shards. */
export function seedsOfShard(seeds: readonly number[], { index, count }: Shard = WHOLE): readonly number[] {
  return seeds.filter((_, at) => at % count === index);
}

/**
 * Runs the seeds that are not finished yet, and returns the folder with all that are.
 *
 * @throws WidefieldError E_RANGE where validation or test images are also training images; what `SearchFolder.open`
 *   throws; E_LOCKED where another process runs this shard; E_ABORTED
 */
export async function runSearch(experiment: SearchExperiment): Promise<SearchFolder> {
  const { dataset, train, validation, test, files, path, shard = WHOLE } = experiment;
  refuseOverlap(train, { validation, test });
  const folder = await SearchFolder.open(files, path, {
    dataset: { name: dataset.name, sha256: await dataset.sha256() },
    train: formatRanges(train),
    validation: formatRanges(validation),
    test: formatRanges(test),
    precision: experiment.precision ?? "f32",
    jitter: experiment.jitter ?? "noise",
    skips: experiment.skips ?? "script",
  });
  const lock = await lockShard(files, path, shard);
  try {
    const seeds = seedsOfShard(experiment.seeds, shard);
    const waiting = seeds.filter((seed) => !folder.has(seed));
    let done = seeds.length - waiting.length;
    experiment.onSeeds?.(undefined, done, seeds.length);
    for (const seed of waiting) {
      const row = await runSeed(experiment, seed).catch((error: unknown) => {
        throw stopped(error, seed, path, done, seeds.length);
      });
      await folder.add(row);
      done++;
      experiment.onSeeds?.(row, done, seeds.length);
    }
    await folder.writeTables();
  } finally {
    await lock.release();
  }
  return folder;
}

/** A search chooses by validation error: with training images among those it would choose what remembers best. */
function refuseOverlap(train: Ranges, sets: Readonly<Record<string, Ranges>>): void {
  for (const [name, ranges] of Object.entries(sets)) {
    const common = overlap(train, ranges);
    if (common.length === 0) continue;
    throw new WidefieldError(
      "E_RANGE",
      `${name} overlaps train in ${formatRanges(common)}: the search would compare networks by images that they were ` +
        `fitted to; choose other ranges`,
      { details: { set: name, overlap: formatRanges(common) } },
    );
  }
  const { validation = [], test = [] } = sets;
  const shared = overlap(validation, test);
  if (shared.length === 0) return;
  throw new WidefieldError(
    "E_RANGE",
    `test overlaps validation in ${formatRanges(shared)}: the network that is best on one would be no news on the other; ` +
      `choose other ranges`,
    { details: { set: "test", overlap: formatRanges(shared) } },
  );
}

function stopped(error: unknown, seed: number, path: string, done: number, total: number): unknown {
  if (!(error instanceof WidefieldError)) return error;
  if (error.code !== "E_ABORTED")
    return new WidefieldError(error.code, `seed ${seed}: ${error.message}`, { cause: error, details: error.details });
  const message = `${path}: stopped with ${done} of ${total} seeds finished; the same command goes on`;
  return new WidefieldError("E_ABORTED", message, { cause: error });
}

async function runSeed(experiment: SearchExperiment, seed: number): Promise<SearchRow> {
  const { engine, dataset, files, path, onProgress, signal } = experiment;
  if (signal?.aborted === true) throw new WidefieldError("E_ABORTED", "stopped");
  const drawn = drawArchitecture(seed, experiment.skips);
  const { backend, adapter, threads } = engine.info;
  const row = {
    seed,
    drawn: { ...drawn, convs: [...drawn.convs] },
    error: null,
    kernel: null,
    solve: null,
    ...{ backend, adapter, threads },
  };
  const misfit = misfitOf(drawn, dataset.shape);
  if (misfit !== undefined) return { ...row, status: "invalid", reason: misfit };
  const kernels = experiment.keepKernels === true ? await kernelFolder(files, path, seed) : undefined;
  let result: GpResult;
  try {
    result = await runGp({
      ...{ engine, dataset, signal },
      ...{ train: experiment.train, validation: experiment.validation, test: experiment.test },
      ...{ precision: experiment.precision, jitter: experiment.jitter, tile: experiment.tile },
      // Seeds are compared with each other: all are solved the same way, and exactly.
      solver: "cholesky",
      arch: drawnArch(drawn),
      folder: kernels === undefined ? undefined : { files, path: kernels },
      onProgress: (progress) => onProgress?.({ ...progress, seed }),
    });
  } catch (error) {
    if (!(error instanceof WidefieldError) || !HOPELESS.has(error.code)) throw error;
    return { ...row, status: "failed", reason: `${error.message} [${error.code}]` };
  }
  const { error, kernel } = result;
  const { seconds, gflops, jitter } = result.solve;
  const { train = Number.NaN, validation = Number.NaN, test = Number.NaN } = error;
  return {
    ...row,
    status: "done",
    reason: null,
    error: { train, validation, test },
    kernel,
    solve: { seconds, gflops, jitter },
  };
}

/** Why a network cannot take images of a shape, with the layer's name, or undefined where it can. */
export function misfitOf(drawn: Drawn, { channels, height, width }: ImageShape): string | undefined {
  try {
    compile(drawnArch(drawn), [channels, height, width]);
    return undefined;
  } catch (error) {
    if (error instanceof WidefieldError && error.code === "E_SHAPE") return messageOf(error);
    throw error;
  }
}

async function kernelFolder(files: Files, path: string, seed: number): Promise<string> {
  const folder = `${path}/kernels/${String(seed).padStart(4, "0")}`;
  await files.makeFolder(`${path}/kernels`);
  await files.makeFolder(folder);
  return folder;
}
