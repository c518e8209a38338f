/**
 * Kernel ridge regression over noise levels and kernels, each with a grid of ridges: one row a level and kernel. How a
 * sweep stops and goes on stands in `sweep-cells.ts`.
 */
import { compile } from "../arch/arch.ts";
import { shapeOf } from "../arch/image-set.ts";
import { kernelToJson, type KernelSpec } from "../arch/kernel-spec.ts";
import { closedKernel } from "../covariance/closed-kernel.ts";
import type { Json } from "../covariance/store/manifest.ts";
import { WidefieldError } from "../errors.ts";
import type { Files } from "../platform/files.ts";
import { runKrr, type KrrExperiment, type KrrResult, type RegressionProgress } from "./krr.ts";
import { KRR_TOLERANCE, requireLambdas, requireMethod } from "../learn/krr.ts";
import { rowJson } from "./krr-files.ts";
import { cellName, named, requireCells, runSweep, type LevelData, type Sweep } from "./sweep-cells.ts";
import type { GridCell, SweepFolder } from "./sweep-folder.ts";
import { requireNames, type SweepKernel } from "./sweep-kernels.ts";
import type { SweepRow } from "./sweep-row.ts";

export interface SweepProgress extends RegressionProgress {
  readonly cell: string;
}

export interface KrrSweep extends Sweep, Pick<KrrExperiment, "method" | "tolerance" | "precision" | "tile"> {
  readonly kernels: readonly SweepKernel[];
  /** Keeps every cell's kernels in the folder, from which an interrupted cell goes on. */
  readonly keepKernels?: boolean | undefined;
  readonly onProgress?: ((progress: SweepProgress) => void) | undefined;
}

/** Errors that computing a cell again would only repeat: they are recorded, and the sweep goes on. */
const HOPELESS = new Set(["E_NOT_POSITIVE_DEFINITE", "E_OVERFLOW"]);

interface Cell extends GridCell {
  readonly kernel: SweepKernel;
}

/** Level by level: a level's data are made once. */
export function cellsOf({ levels, kernels }: Pick<KrrSweep, "levels" | "kernels">): readonly Cell[] {
  return levels.flatMap((level) =>
    kernels.map((kernel) => ({
      ...{ name: cellName(level, kernel.name), level, kernel, lambdas: kernel.lambdas },
      model: kernelToJson(kernel.kernel) as Json,
    })),
  );
}

/**
 * Computes the cells that are not finished yet, and returns the folder with all that are.
 *
 * Cells of which no ridge converged are left out, for another method or tolerance to be tried with: the error comes when
 * all others are done.
 *
 * @throws WidefieldError E_CONFIG for a sweep of nothing, for levels that the problem does not have and for two cells of
 *   one name; E_SHAPE for a kernel of other images: all before anything is written; and what `runSweep` throws
 */
export async function runKrrSweep(sweep: KrrSweep): Promise<SweepFolder> {
  const cells = cellsOf(sweep);
  requireSweep(sweep, cells);
  const log = once(sweep.engine.log);
  return runSweep(sweep, {
    cells,
    grid: gridOf(sweep),
    requireData: (data) => requireShapes(sweep, data),
    compute: (cell, data) => computeCell({ ...sweep, log }, cell, data),
  });
}

/** What can be known without data. */
function requireSweep(sweep: KrrSweep, cells: readonly Cell[]): void {
  const { kernels, method, tolerance } = sweep;
  requireNames(kernels.map(({ name }) => name));
  requireCells(sweep, cells);
  requireMethod(method, tolerance);
  for (const { kernel, lambdas } of kernels) {
    requireLambdas(lambdas);
    if (kernel.name === "arch") continue;
    const { name, ...parameters } = kernel;
    closedKernel(name, parameters);
  }
}

/** Every kernel has to take the images. */
function requireShapes({ kernels }: KrrSweep, { problem }: LevelData): void {
  const shape = shapeOf(problem.dataset.shape);
  const requireShape = (kernel: KernelSpec) => {
    if (kernel.name !== "arch") return;
    const { arch, kind, parametrisation = "ntk" } = kernel;
    compile(arch, shape, kind === "ntk" ? { ntk: true, parametrisation } : undefined);
  };
  for (const { name, kernel } of kernels) {
    try {
      requireShape(kernel);
    } catch (error) {
      throw named(error, name);
    }
  }
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

/** Its row, or why no ridge converged. */
async function computeCell(
  sweep: KrrSweep & { readonly log: (line: string) => void },
  { name, level, kernel, model }: Cell,
  data: LevelData,
): Promise<SweepRow | string> {
  const { engine, method, tolerance, precision, tile, signal, files, path, onProgress } = sweep;
  const { problem, train, test, dataset } = data;
  const { backend, adapter, threads } = engine.info;
  const common = {
    ...{ cell: name, level, line: kernel.line, model, dataset },
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
