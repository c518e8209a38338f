/**
 * Trained models over noise levels and ridges: `nn`, `rf`, `nt`, `myrtle`. Where conjugate gradients solve for all ridges at
 * once, a cell is a level; else every ridge is a cell of its own, and the best of a line's cells counts.
 */
import type { Json } from "../covariance/store/manifest.ts";
import { WidefieldError } from "../errors.ts";
import { requireLambdas } from "../learn/krr.ts";
import { requireNumber } from "../linalg/krylov.ts";
import { cellName, requireCells, runSweep, type LevelData, type Sweep } from "./sweep-cells.ts";
import type { GridCell, SweepFolder } from "./sweep-folder.ts";
import type { SweepRow } from "./sweep-row.ts";
import { fitLeastSquares, fitStepByStep, type WideFitProgress, type WideFitRow } from "./wide-fits.ts";
import { requireProblem, requireWideModel, wideJson, wideLine, type WideModel } from "./wide-models.ts";

export interface WideSweepProgress extends WideFitProgress {
  readonly cell: string;
}

export interface WideSweep extends Sweep {
  readonly model: WideModel;
  readonly lambdas: readonly number[];
  readonly onProgress?: ((progress: WideSweepProgress) => void) | undefined;
}

/** Level by level: a level's data are made once. */
export function wideCells({ levels, model, lambdas }: Pick<WideSweep, "levels" | "model" | "lambdas">): GridCell[] {
  const json = wideJson(model);
  const stem = wideLine(model).replaceAll(" ", "-");
  const short = lambdas.map((lambda) => Number(lambda.toPrecision(4)));
  const text = (at: number) => (short.filter((other) => other === short[at]).length === 1 ? short[at] : lambdas[at]);
  return levels.flatMap((level): GridCell[] =>
    model.fit.solver === "cg"
      ? [{ name: cellName(level, stem), level, model: json, lambdas }]
      : lambdas.map((lambda, at) => ({
          ...{ name: cellName(level, `${stem}-l${String(text(at))}`), level, model: json },
          lambdas: [lambda],
        })),
  );
}

/**
 * Computes the cells that are not finished yet, and returns the folder with all that are. A cell whose loss diverges is
 * recorded as failed.
 *
 * @throws WidefieldError E_CONFIG for models, ridges and levels that cannot be, E_SHAPE for images that the model does not
 *   take: before anything is written; and what `runSweep` throws
 */
export async function runWideSweep(sweep: WideSweep): Promise<SweepFolder> {
  const { model, lambdas } = sweep;
  requireWideModel(model);
  requireLambdas(lambdas);
  for (const lambda of lambdas) requireNumber("lambda", lambda);
  const cells = wideCells(sweep);
  requireCells(sweep, cells);
  return runSweep(sweep, {
    cells,
    grid: gridOf(sweep),
    requireData: ({ problem }) => {
      requireProblem(model, problem);
    },
    compute: (cell, data) => computeCell(sweep, cell, data),
  });
}

/** All that the rows depend on. */
function gridOf({ problem, settings = {}, levels, model, lambdas, train, test }: WideSweep): Json {
  return {
    ...{ model: model.name, problem, settings, levels: [...levels] },
    ...{ fitted: wideJson(model), lambdas: [...lambdas], train, test },
  };
}

async function computeCell(sweep: WideSweep, cell: GridCell, data: LevelData): Promise<SweepRow> {
  const { engine, model, signal, onProgress } = sweep;
  const { problem, train, test, dataset } = data;
  const { backend, adapter, threads } = engine.info;
  const started = performance.now();
  const common = { cell: cell.name, level: cell.level, line: wideLine(model), model: cell.model, dataset };
  const fitting = {
    ...{ engine, model, problem, problemName: sweep.problem, train, test, signal },
    onProgress: onProgress && ((progress: WideFitProgress) => onProgress({ ...progress, cell: cell.name })),
  };
  const row = (fits: readonly WideFitRow[], reason: string | null): SweepRow => ({
    ...common,
    status: reason === null ? "done" : "failed",
    reason,
    fits: [...fits],
    method: methodOf(model),
    seconds: { kernel: 0, solve: (performance.now() - started) / 1000 },
    ...{ backend, adapter, threads },
  });
  const [lambda = 0] = cell.lambdas;
  try {
    if (model.fit.solver === "cg")
      return row(await fitLeastSquares({ ...fitting, fit: model.fit, lambdas: cell.lambdas }), null);
    return row([await fitStepByStep({ ...fitting, fit: model.fit, lambda })], null);
  } catch (error) {
    // Another try would only repeat it.
    if (!(error instanceof WidefieldError) || error.code !== "E_DIVERGED") throw error;
    return row([], `${error.message} [${error.code}]`);
  }
}

function methodOf({ name, fit }: WideModel): string {
  if (fit.solver === "cg") return "multi-shift-cg";
  return name === "rf" || name === "nt" ? "adam" : "sgd";
}
