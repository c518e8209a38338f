/**
 * What all sweeps over noise levels have in common, whatever their models are: cells in the order of their levels, the
 * folder that keeps what is finished (`sweep-folder.ts`), shards, and what happens when something goes wrong. What a cell's
 * row is made of, the sweep's own module knows: `sweep-krr.ts`, `sweep-wide.ts`.
 */
import type { Shard } from "../covariance/store/grid.ts";
import { lockShard } from "../covariance/store/lock.ts";
import type { Json } from "../covariance/store/manifest.ts";
import type { Problem } from "../data/problem.ts";
import { formatRanges, overlap, parseRanges, type Ranges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import type { Files } from "../platform/files.ts";
import { requireLevels } from "./krr-lambdas.ts";
import { SweepFolder, type GridCell } from "./sweep-folder.ts";
import { requireNames } from "./sweep-kernels.ts";
import type { SweepRow } from "./sweep-row.ts";

/** What every sweep is asked for. */
export interface Sweep {
  readonly engine: Engine;
  /**
   * "fmnist-hf": names the sweep; with `settings`, what its levels are made from. A problem of `problemNames` has its own
   * levels only.
   */
  readonly problem: string;
  readonly settings?: Readonly<Record<string, Json>> | undefined;
  readonly levels: readonly number[];
  /** The problem at a level. Called once for each level in turn. */
  readonly open: (level: number) => Promise<Problem>;
  /** As on the command line: the problem's size is known when it is opened. */
  readonly train: string;
  readonly test: string;
  readonly files: Files;
  /** The folder of the sweep. */
  readonly path: string;
  /** Of every `count` cells this process computes the one with number `index`; default: all. */
  readonly shard?: Shard | undefined;
  readonly signal?: AbortSignal | undefined;
  /** After each cell, and once at the start for those that were there; `done` of `total` in this shard. */
  readonly onCells?: ((row: SweepRow | undefined, done: number, total: number) => void) | undefined;
}

export interface LevelData {
  readonly level: number;
  readonly problem: Problem;
  readonly train: Ranges;
  readonly test: Ranges;
  readonly dataset: SweepRow["dataset"];
}

/** What one kind of sweep has of its own. */
export interface SweepWork<Cell extends GridCell> {
  readonly cells: readonly Cell[];
  /** All that the rows depend on. */
  readonly grid: Json;
  /** Throws where a model does not take the first level's data: nothing is written yet. */
  readonly requireData: (data: LevelData) => void;
  /** The cell's row, or why it has none yet: it is left out, for the same command with more patience to try again. */
  readonly compute: (cell: Cell, data: LevelData) => Promise<SweepRow | string>;
}

const WHOLE: Shard = { index: 0, count: 1 };

/** The name of a cell, and of its file: "level-07.poly2-c0.125". */
export function cellName(level: number, model: string): string {
  return `level-${String(level).padStart(2, "0")}.${model}`;
}

/** Throws E_CONFIG for a sweep of nothing, levels that the problem does not have, and two cells of one name. */
export function requireCells({ problem, levels }: Pick<Sweep, "problem" | "levels">, cells: readonly GridCell[]): void {
  if (cells.length === 0) throw new WidefieldError("E_CONFIG", "a sweep needs at least one level and one model");
  requireNames(cells.map(({ name }) => name));
  requireLevels(problem, levels);
}

/**
 * Computes the cells that are not finished yet, and returns the folder with all that are.
 *
 * Cells that were left out are told of in an error, when all others are done.
 *
 * @throws WidefieldError what `requireData` throws, before anything is written; E_RANGE where test images are also training
 *   images; what `SweepFolder.open` throws, E_MISMATCH too where a level's data are not those of the folder's; E_LOCKED
 *   where another process computes this shard; E_NOT_CONVERGED; E_ABORTED
 */
export async function runSweep<Cell extends GridCell>(sweep: Sweep, work: SweepWork<Cell>): Promise<SweepFolder> {
  const { files, path, shard = WHOLE, signal } = sweep;
  const { cells } = work;
  const own = cells.filter((_, at) => at % shard.count === shard.index);
  // What is written once is the sweep's for good: a mistake has to show before.
  const begun = (await files.read(`${path}/sweep.json`)) !== undefined;
  let opened = begun || own[0] === undefined ? undefined : await openLevel(sweep, own[0].level);
  if (opened !== undefined) work.requireData(opened);
  const folder = await SweepFolder.open(files, path, work.grid, cells);
  const lock = await lockShard(files, path, shard);
  try {
    const waiting = own.filter(({ name }) => !folder.has(name));
    let done = own.length - waiting.length;
    sweep.onCells?.(undefined, done, own.length);
    const slow: string[] = [];
    for (const cell of waiting) {
      try {
        if (signal?.aborted === true) throw new WidefieldError("E_ABORTED", "stopped");
        if (opened?.level !== cell.level) opened = await openLevel(sweep, cell.level);
        requireSameData(folder, opened);
        const row = await work.compute(cell, opened);
        if (typeof row === "string") {
          slow.push(`${cell.name}: ${row}`);
          continue;
        }
        await folder.add(row);
        done++;
        sweep.onCells?.(row, done, own.length);
      } catch (error) {
        throw stopped(error, cell.name, path, done, own.length);
      }
    }
    await folder.writeTables();
    if (slow.length > 0) throw unconverged(path, slow, own.length);
  } finally {
    await lock.release();
  }
  return folder;
}

function unconverged(path: string, slow: readonly string[], total: number): WidefieldError {
  const [first = ""] = slow;
  return new WidefieldError(
    "E_NOT_CONVERGED",
    `${path}: ${slow.length} of ${total} fits did not converge and were left out (the others are recorded): ${first}; ` +
      "choose larger ridges, another method or a larger tolerance, in another folder",
    { details: { path, cells: slow } },
  );
}

async function openLevel(sweep: Sweep, level: number): Promise<LevelData> {
  const problem = await sweep.open(level);
  const { dataset } = problem;
  const train = parseRanges(sweep.train, dataset.count, "train");
  const test = parseRanges(sweep.test, dataset.count, "test");
  const common = overlap(train, test);
  if (common.length > 0)
    throw new WidefieldError(
      "E_RANGE",
      `test overlaps train in ${formatRanges(common)}: models would be compared by images that they were fitted to; ` +
        "choose other ranges",
      { details: { overlap: formatRanges(common) } },
    );
  return { level, problem, train, test, dataset: { name: dataset.name, sha256: await dataset.sha256() } };
}

function requireSameData(folder: SweepFolder, { level, dataset: { sha256 } }: LevelData): void {
  const before = folder.rows.find((row) => row.level === level && row.dataset.sha256 !== sha256);
  if (before !== undefined)
    throw new WidefieldError(
      "E_MISMATCH",
      `${folder.path}: level ${level} was computed with other data (${before.cell}: dataset.sha256: ` +
        `${before.dataset.sha256} -> ${sha256}); choose another folder`,
      { details: { path: folder.path, level } },
    );
}

function stopped(error: unknown, cell: string, path: string, done: number, total: number): unknown {
  if (!(error instanceof WidefieldError)) return error;
  if (error.code !== "E_ABORTED") return named(error, cell);
  const message = `${path}: stopped with ${done} of ${total} fits finished; the same command goes on`;
  return new WidefieldError("E_ABORTED", message, { cause: error });
}

/** The error with what it is about in front of its message. */
export function named(error: unknown, what: string): unknown {
  if (!(error instanceof WidefieldError)) return error;
  return new WidefieldError(error.code, `${what}: ${error.message}`, { cause: error, details: error.details });
}
