/**
 * Kernel ridge regression over noise levels and kernels, each with a grid of ridges. Finished cells are kept in a folder
 * (`sweep-folder.ts`), from which a sweep that was stopped at any moment goes on; it loses at most the cell that ran.
 */
import { compile } from "../arch/arch.ts";
import { shapeOf } from "../arch/image-set.ts";
import { kernelToJson, type KernelSpec } from "../arch/kernel-spec.ts";
import { closedKernel } from "../covariance/closed-kernel.ts";
import type { Shard } from "../covariance/store/grid.ts";
import { lockShard } from "../covariance/store/lock.ts";
import type { Json } from "../covariance/store/manifest.ts";
import type { Problem } from "../data/problem.ts";
import { formatRanges, overlap, parseRanges, type Ranges } from "../data/ranges.ts";
import { WidefieldError } from "../errors.ts";
import type { Files } from "../platform/files.ts";
import { runKrr, type KrrExperiment, type KrrResult, type RegressionProgress } from "./krr.ts";
import { KRR_TOLERANCE, requireLambdas, requireMethod } from "../learn/krr.ts";
import { rowJson } from "./krr-files.ts";
import { requireLevels } from "./krr-lambdas.ts";
import { SweepFolder } from "./sweep-folder.ts";
import { requireNames, type SweepKernel } from "./sweep-kernels.ts";
import type { SweepRow } from "./sweep-row.ts";

export interface SweepProgress extends RegressionProgress {
  readonly cell: string;
}

export interface KrrSweep extends Pick<
  KrrExperiment,
  "engine" | "method" | "tolerance" | "precision" | "tile" | "signal"
> {
  /**
   * "fmnist-hf": names the sweep; with `settings`, what its levels are made from. A problem of `problemNames` has its own
   * levels only.
   */
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
const HOPELESS = new Set(["E_NOT_POSITIVE_DEFINITE", "E_OVERFLOW"]);

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
 * Cells of which no ridge converged are left out, for another method or tolerance to be tried with: the error comes when
 * all others are done.
 *
 * @throws WidefieldError E_CONFIG for a sweep of nothing, for levels that the problem does not have and for two cells of
 *   one name; E_RANGE where test images are also training images; E_SHAPE for a kernel of other images: all before anything
 *   is written; what `SweepFolder.open` throws, E_MISMATCH too where a level's data are not those of the folder's;
 *   E_LOCKED where another process computes this shard; E_NOT_CONVERGED; E_ABORTED
 */
export async function runKrrSweep(sweep: KrrSweep): Promise<SweepFolder> {
  const { files, path, shard = WHOLE, signal } = sweep;
  const cells = cellsOf(sweep);
  requireSweep(sweep, cells);
  const own = cells.filter((_, at) => at % shard.count === shard.index);
  // What is written once is the sweep's for good: a mistake has to show before.
  const begun = (await files.read(`${path}/sweep.json`)) !== undefined;
  let opened = begun ? undefined : await firstLevel(sweep, own);
  const folder = await SweepFolder.open(
    files,
    path,
    gridOf(sweep),
    cells.map(({ name, level, kernel }) => ({
      ...{ name, level, lambdas: kernel.lambdas },
      model: kernelToJson(kernel.kernel) as Json,
    })),
  );
  const lock = await lockShard(files, path, shard);
  try {
    const waiting = own.filter(({ name }) => !folder.has(name));
    let done = own.length - waiting.length;
    sweep.onCells?.(undefined, done, own.length);
    const log = once(sweep.engine.log);
    const slow: string[] = [];
    for (const cell of waiting) {
      try {
        if (signal?.aborted === true) throw new WidefieldError("E_ABORTED", "stopped");
        if (opened?.level !== cell.level) opened = await openLevel(sweep, cell.level);
        requireSameData(folder, opened);
        const row = await computeCell({ ...sweep, log }, cell, opened);
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

/** What can be known without data. */
function requireSweep({ problem, levels, kernels, method, tolerance }: KrrSweep, cells: readonly Cell[]): void {
  if (cells.length === 0) throw new WidefieldError("E_CONFIG", "a sweep needs at least one level and one kernel");
  requireNames(kernels.map(({ name }) => name));
  requireNames(cells.map(({ name }) => name));
  requireLevels(problem, levels);
  requireMethod(method, tolerance);
  for (const { kernel, lambdas } of kernels) {
    requireLambdas(lambdas);
    if (kernel.name === "arch") continue;
    const { name, ...parameters } = kernel;
    closedKernel(name, parameters);
  }
}

/** The data of the first cell's level, if there is a cell, which every kernel has to take. */
async function firstLevel(sweep: KrrSweep, [first]: readonly Cell[]): Promise<LevelData | undefined> {
  if (first === undefined) return undefined;
  const data = await openLevel(sweep, first.level);
  const shape = shapeOf(data.problem.dataset.shape);
  const requireShape = (kernel: KernelSpec) => {
    if (kernel.name !== "arch") return;
    const { arch, kind, parametrisation = "ntk" } = kernel;
    compile(arch, shape, kind === "ntk" ? { ntk: true, parametrisation } : undefined);
  };
  for (const { name, kernel } of sweep.kernels) {
    try {
      requireShape(kernel);
    } catch (error) {
      throw named(error, name);
    }
  }
  return data;
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

/** All that the rows depend on; how ridges are solved for where that was chosen. */
function gridOf(sweep: KrrSweep): Json {
  const { problem, settings = {}, levels, kernels, train, test, precision = "f32" } = sweep;
  const { method = "auto", tolerance = KRR_TOLERANCE } = sweep;
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
    ...(method === "auto" ? {} : { method }),
    ...(tolerance === KRR_TOLERANCE ? {} : { tolerance }),
  };
}

interface LevelData {
  readonly level: number;
  readonly problem: Problem;
  readonly train: Ranges;
  readonly test: Ranges;
  readonly dataset: SweepRow["dataset"];
}

async function openLevel(sweep: KrrSweep, level: number): Promise<LevelData> {
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

/** Its row, or why no ridge converged. */
async function computeCell(
  sweep: KrrSweep & { readonly log: (line: string) => void },
  { name, level, kernel }: Cell,
  data: LevelData,
): Promise<SweepRow | string> {
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
  const slow = rows.find(({ refusal }) => refusal === "not converged");
  if (best === undefined && slow !== undefined) return slow.reason ?? "it did not converge";
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
  if (error.code !== "E_ABORTED") return named(error, cell);
  const message = `${path}: stopped with ${done} of ${total} fits finished; the same command goes on`;
  return new WidefieldError("E_ABORTED", message, { cause: error });
}

function named(error: unknown, what: string): unknown {
  if (!(error instanceof WidefieldError)) return error;
  return new WidefieldError(error.code, `${what}: ${error.message}`, { cause: error, details: error.details });
}
