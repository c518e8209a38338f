/** `widefield sweep`: models over noise levels, each with a grid of ridges; one row a cell, and a chart. */
import { Command } from "commander";
import { preset, presetNames } from "../sdk/arch/presets.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { PAPER_KERNELS, sweepKernels } from "../sdk/experiments/sweep-kernels.ts";
import { cellsOf, runKrrSweep, type KrrSweep } from "../sdk/experiments/sweep-krr.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { formatRate, table } from "./format.ts";
import { openArch, parseShard } from "./inputs.ts";
import { addRegression, lambdasOf, regressionOf, type RegressionOptions } from "./krr.ts";
import { addProblem, openProblemOf, problemName, problemSettings, unionOf, type ProblemOptions } from "./krr-inputs.ts";
import { addEngineOptions, withEngine, withSession, type CommonOptions, type Session } from "./session.ts";
import { sweepChartCommand } from "./sweep-chart.ts";
import {
  addSweepOptions,
  levelsOf,
  requireGrid,
  printResults,
  rangeText,
  requirePlace,
  rowText,
  type SweepOptions,
} from "./sweep-results.ts";
import { sweepWideCommands } from "./sweep-wide.ts";

interface SweepKrrOptions extends CommonOptions, ProblemOptions, RegressionOptions, SweepOptions {
  readonly kernels?: string;
  readonly constants?: string;
  readonly keepKernels?: true;
}

export function sweepCommand(): Command {
  const command = new Command("sweep").description("compare models over noise levels, resumable and in shards");
  command.addCommand(sweepKrrCommand());
  for (const wide of sweepWideCommands()) command.addCommand(wide);
  return command.addCommand(sweepChartCommand());
}

function sweepKrrCommand(): Command {
  const command = new Command("krr").description(
    "kernel ridge regression over noise levels, kernels, and constants of polynomial kernels",
  );
  addRegression(addEngineOptions(addProblem(command, { levels: true })))
    .option("--grid <name>", "paper: levels, kernels, constants and ridges of Ghorbani et al. 2020, where not given")
    .option("--levels <list>", "noise levels and half-open ranges of them: 0:15, or 0,7,14 (of synth: 10 x kappa)")
    .option(
      "--kernels <list>",
      `ntk2, rf2, ntk3 (three layers), poly2, poly3, ..., rbf:BANDWIDTH, laplace:BANDWIDTH, arccosORDER:DEPTH, ` +
        `ARCHITECTURE:ntk or :nngp (paper: ${PAPER_KERNELS})`,
    )
    .option("--constants <list>", "of polynomial kernels (paper: ten, 2^linspace(-3, 3, 10)); their best counts")
    .option("--lambda <grid>", "ridges: low:high:count (geometric) or a list (paper: by problem and kernel)")
    .option("--keep-kernels", "keep every cell's kernels in the folder, from which an interrupted cell goes on");
  return addSweepOptions(command).action(run);
}

async function run(options: SweepKrrOptions, command: Command): Promise<void> {
  const { test, out } = options;
  requirePlace(options, command);
  const grid = await gridOf(options);
  const shard = options.shard === undefined ? undefined : parseShard(options.shard);
  if (options.dryRun === true) {
    await withSession(options, async (session) => dryRun(grid, session));
    return;
  }
  const regression = regressionOf(options);
  await withEngine(options, async (engine, session) => {
    const folder = await runKrrSweep({
      ...{ engine, shard, signal: session.signal, keepKernels: options.keepKernels },
      ...regression,
      ...grid,
      settings: problemSettings(options, engine),
      open: (level) => openProblemOf(options, engine, session, unionOf({ train: options.train, test }), level),
      ...{ train: options.train, test: test ?? "" },
      files: await nodeFiles(),
      path: out ?? "",
      onProgress: ({ cell, phase, label, detail, done, total, rate }) =>
        session.progress.update(
          `${cell} ${label}`,
          done,
          total,
          detail ?? (phase === "kernel" ? formatRate(rate, "pairs/s") : ""),
        ),
      onCells: (row, done, total) => {
        if (row !== undefined) session.note(`${done} of ${total}: ${rowText(row)}`);
        else if (done > 0) session.note(`${done} of ${total} fits were finished already`);
      },
    });
    const { problem } = grid;
    await printResults(
      folder,
      {
        title: `Kernel ridge regression on ${problem}`,
        subtitle: [
          `train ${options.train}, test ${test ?? ""}; each point at the lambda (and constant) of least test error`,
        ],
        ...{ problem, train: options.train, test: test ?? "" },
      },
      session,
    );
    if (folder.rows.every(({ status }) => status === "failed")) process.exitCode = 1;
  });
}

/** Levels, kernels and ridges. Throws E_CONFIG for what cannot be meant, or is not given and has no default. */
async function gridOf(options: SweepKrrOptions): Promise<Pick<KrrSweep, "problem" | "levels" | "kernels">> {
  const problem = problemName(options);
  requireGrid(options, ["levels", "kernels", "lambda"]);
  const kernels = await sweepKernels(options.kernels ?? PAPER_KERNELS, {
    problem,
    lambdas: options.lambda === undefined ? undefined : lambdasOf(options.lambda),
    constants: options.constants === undefined ? undefined : constantsOf(options.constants),
    openArch: (name) => (presetNames.includes(name) ? Promise.resolve(preset(name)) : openArch(name)),
  });
  return { problem, levels: levelsOf(options.levels, problem), kernels };
}

function constantsOf(text: string): readonly number[] {
  return text.split(",").map((part) => {
    const value = part.trim() === "" ? Number.NaN : Number(part);
    if (Number.isFinite(value)) return value;
    throw new WidefieldError("E_CONFIG", `--constants ${text}: "${part.trim()}" is not a number`);
  });
}

function dryRun(grid: Pick<KrrSweep, "problem" | "levels" | "kernels">, session: Session): void {
  const cells = cellsOf(grid);
  if (session.json) {
    session.print(JSON.stringify({ ...grid, cells: cells.map(({ name }) => name) }));
    return;
  }
  const rows = grid.kernels.map(({ name, lambdas }) => [name, lambdas.length, rangeText(lambdas)]);
  session.print(`${grid.problem}: ${cells.length} fits, levels ${grid.levels.join(" ")}`);
  session.print(table([["kernel", "lambdas", ""], ...rows]));
}
