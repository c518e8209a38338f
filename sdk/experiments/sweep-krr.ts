/**
 * Kernel ridge regression over noise levels and kernels, each with a grid of ridges. Finished cells are kept in a folder
 * (`sweep-folder.ts`), from which a sweep that was stopped at any moment goes on; it loses at most the cell that ran.
 */
import { kernelToJson } from "../arch/kernel-spec.ts";
import type { Shard } from "../covariance/store/grid.ts";
import { lockShard } from "../covariance/store/lock.ts";
import type { Json } from "../covariance/store/manifest.ts";
import type { Problem } from "../data/problem.ts";
import { formatRanges, overlap, parseRanges, type Ranges } from "../data/ranges.ts";
import { WidefieldError } from "../errors.ts";
import type { Files } from "../platform/files.ts";
import { runKrr, type KrrExperiment, type KrrResult, type RegressionProgress } from "./krr.ts";
import { rowJson } from "./krr-files.ts";
import { SweepFolder } from "./sweep-folder.ts";
import type { SweepKernel } from "./sweep-kernels.ts";
import type { SweepRow } from "./sweep-row.ts";

export interface SweepProgress extends RegressionProgress {
  readonly cell: string;
}

export interface KrrSweep extends Pick<
  KrrExperiment,
  "engine" | "method" | "tolerance" | "precision" | "tile" | "signal"
> {
  /** "fmnist-hf": names the sweep; with `settings`, what its levels are made from. */
  readonly problem: string;
  readonly settings?: Readonly<Record<string, Json>> | undefined;
  readonly levels: readonly number[];
  /** The problem at a level. Called once for each level in turn. */
  readonly open: (level: number) => Promise<Problem>;
  readonly kernels: readonly SweepKernel[];
  /** As on the command line: the problem's size is known when it is opened. */
  readonly train: string;
  readonly test: string;
  readonly files: Files;
  /** The folder of the sweep. */
  readonly path: string;
  /** Of every `count` cells this process computes the one with number `index`; default: all. */
  readonly shard?: Shard | undefined;
  /** Keeps every cell's kernels in the folder, from which an interrupted cell goes on. */
  readonly keepKernels?: boolean | undefined;
  readonly onProgress?: ((progress: SweepProgress) => void) | undefined;
  /** After each cell, and once at the start for those that were there; `done` of `total` in this shard. */
  readonly onCells?: ((row: SweepRow | undefined, done: number, total: number) => void) | undefined;
}

/** Errors that computing a cell again would only repeat: they are recorded, and the sweep goes on. */
const HOPELESS = new Set(["E_NOT_POSITIVE_DEFINITE", "E_NOT_CONVERGED", "E_OVERFLOW"]);

const WHOLE: Shard = { index: 0, count: 1 };

interface Cell {
  readonly name: string;
  readonly level: number;
  readonly kernel: SweepKernel;
}

/** Level by level: a level's data are made once. */
export function cellsOf({ levels, kernels }: Pick<KrrSweep, "levels" | "kernels">): readonly Cell[] {
  return levels.flatMap((level) =>
    kernels.map((kernel) => ({ name: `level-${String(level).padStart(2, "0")}.${kernel.name}`, level, kernel })),
  );
}

/**
 * Computes the cells that are not finished yet, and returns the folder with all that are.
 *
 * @throws WidefieldError E_CONFIG for a sweep of nothing; E_RANGE where test images are also training images; what
 *   `SweepFolder.open` throws, E_MISMATCH too where a level's data are not those of the folder's; E_LOCKED where another
 *   process computes this shard; E_ABORTED
 */
export async function runKrrSweep(sweep: KrrSweep): Promise<SweepFolder> {
  const { files, path, shard = WHOLE, signal } = sweep;
  const cells = cellsOf(sweep);
  if (cells.length === 0) throw new WidefieldError("E_CONFIG", "a sweep needs at least one level and one kernel");
  const names = cells.map(({ name }) => name);
  const folder = await SweepFolder.open(files, path, gridOf(sweep), names);
  const lock = await lockShard(files, path, shard);
  try {
    const own = cells.filter((_, at) => at % shard.count === shard.index);
    const waiting = own.filter(({ name }) => !folder.has(name));
    let done = own.length - waiting.length;
    sweep.onCells?.(undefined, done, own.length);
    const log = once(sweep.engine.log);
    let opened: { readonly level: number; readonly data: LevelData } | undefined;
    for (const cell of waiting) {
      try {
        if (signal?.aborted === true) throw new WidefieldError("E_ABORTED", "stopped");
        if (opened?.level !== cell.level)
          opened = { level: cell.level, data: await openLevel(sweep, cell.level, folder) };
        const row = await computeCell({ ...sweep, log }, cell, opened.data);
        await folder.add(row);
        done++;
        sweep.onCells?.(row, done, own.length);
      } catch (error) {
        throw stopped(error, cell.name, path, done, own.length);
      }
    }
    await folder.writeTables();
  } finally {
    await lock.release();
  }
  return folder;
}

/** All that the rows depend on. */
function gridOf(sweep: KrrSweep): Json {
  const { problem, settings = {}, levels, kernels, train, test, precision = "f32" } = sweep;
  return {
    model: "krr",
    problem,
    settings,
    levels: [...levels],
    kernels: kernels.map(({ name, kernel, lambdas }) => ({
      name,
      kernel: kernelToJson(kernel) as Json,
      lambdas: [...lambdas],
    })),
    ...{ train, test, precision },
  };
}

interface LevelData {
  readonly problem: Problem;
  readonly train: Ranges;
  readonly test: Ranges;
  readonly dataset: SweepRow["dataset"];
}

async function openLevel(sweep: KrrSweep, level: number, folder: SweepFolder): Promise<LevelData> {
  const problem = await sweep.open(level);
  const { dataset } = problem;
  const train = parseRanges(sweep.train, dataset.count, "train");
  const test = parseRanges(sweep.test, dataset.count, "test");
  const common = overlap(train, test);
  if (common.length > 0)
    throw new WidefieldError(
      "E_RANGE",
      `test overlaps train in ${formatRanges(common)}: kernels would be compared by images that they were fitted to; ` +
        "choose other ranges",
      { details: { overlap: formatRanges(common) } },
    );
  const sha256 = await dataset.sha256();
  const before = folder.rows.find((row) => row.level === level && row.dataset.sha256 !== sha256);
  if (before !== undefined)
    throw new WidefieldError(
      "E_MISMATCH",
      `${folder.path}: level ${level} was computed with other data (${before.cell}: dataset.sha256: ` +
        `${before.dataset.sha256} -> ${sha256}); choose another folder`,
      { details: { path: folder.path, level } },
    );
  return { problem, train, test, dataset: { name: dataset.name, sha256 } };
}

async function computeCell(
  sweep: KrrSweep & { readonly log: (line: string) => void },
  { name, level, kernel }: Cell,
  data: LevelData,
): Promise<SweepRow> {
  const { engine, method, tolerance, precision, tile, signal, files, path, onProgress } = sweep;
  const { problem, train, test, dataset } = data;
  const { backend, adapter, threads } = engine.info;
  const common = {
    ...{ cell: name, level, line: kernel.line, model: kernelToJson(kernel.kernel) as Json, dataset },
    ...{ backend, adapter, threads },
  };
  let result: KrrResult;
  try {
    result = await runKrr({
      ...{ engine, problem, train, test, method, tolerance, precision, tile, signal, log: sweep.log },
      ...{ kernel: kernel.kernel, lambdas: kernel.lambdas, indefinite: "skip" },
      folder: sweep.keepKernels === true ? { files, path: await kernelFolder(files, path, name) } : undefined,
      onProgress: onProgress && ((progress) => onProgress({ ...progress, cell: name })),
    });
  } catch (error) {
    if (!(error instanceof WidefieldError) || !HOPELESS.has(error.code)) throw error;
    const nothing = { fits: [], method: null, seconds: { kernel: 0, solve: 0 } };
    return { ...common, ...nothing, status: "failed", reason: `${error.message} [${error.code}]` };
  }
  const { rows, best, solve } = result;
  const seconds = { kernel: result.kernel.seconds, solve: solve.seconds };
  return {
    ...common,
    status: best === undefined ? "failed" : "done",
    reason: best === undefined ? (rows.at(-1)?.reason ?? null) : null,
    fits: rows.map(rowJson),
    method: solve.method,
    seconds,
  };
}

/** Cells of one size have one reason for their method: it is told once. */
function once(log: (line: string) => void): (line: string) => void {
  const told = new Set<string>();
  return (line) => {
    if (told.has(line)) return;
    told.add(line);
    log(line);
  };
}

async function kernelFolder(files: Files, path: string, cell: string): Promise<string> {
  const folder = `${path}/kernels/${cell}`;
  await files.makeFolder(`${path}/kernels`);
  await files.makeFolder(folder);
  return folder;
}

function stopped(error: unknown, cell: string, path: string, done: number, total: number): unknown {
  if (!(error instanceof WidefieldError)) return error;
  if (error.code !== "E_ABORTED")
    return new WidefieldError(error.code, `${cell}: ${error.message}`, { cause: error, details: error.details });
  const message = `${path}: stopped with ${done} of ${total} fits finished; the same command goes on`;
  return new WidefieldError("E_ABORTED", message, { cause: error });
}
