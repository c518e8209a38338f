/** `widefield sweep`: models over noise levels, each with a grid of ridges; one row a cell, and a chart. */
import { Command } from "commander";
import { preset, presetNames } from "../sdk/arch/presets.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { paperLevels, requireLevels } from "../sdk/experiments/krr-lambdas.ts";
import type { SweepFolder } from "../sdk/experiments/sweep-folder.ts";
import { PAPER_KERNELS, sweepKernels } from "../sdk/experiments/sweep-kernels.ts";
import { cellsOf, runKrrSweep, type KrrSweep } from "../sdk/experiments/sweep-krr.ts";
import { bestOfSweep, type SweepBest, type SweepRow } from "../sdk/experiments/sweep-row.ts";
import { version } from "../sdk/index.node.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { commandLine } from "./command-line.ts";
import { formatRate, table } from "./format.ts";
import { openArch, parseShard } from "./inputs.ts";
import { addRegression, lambdasOf, regressionOf, type RegressionOptions } from "./krr.ts";
import { addProblem, openProblemOf, problemName, problemSettings, unionOf, type ProblemOptions } from "./krr-inputs.ts";
import { addEngineOptions, withEngine, withSession, type CommonOptions, type Session } from "./session.ts";

interface SweepOptions extends CommonOptions, ProblemOptions, RegressionOptions {
  readonly grid?: "paper";
  readonly levels?: string;
  readonly kernels?: string;
  readonly constants?: string;
  readonly lambda?: string;
  readonly train: string;
  readonly test?: string;
  readonly out?: string;
  readonly shard?: string;
  readonly keepKernels?: true;
  readonly dryRun?: true;
}

export function sweepCommand(): Command {
  return new Command("sweep")
    .description("compare models over noise levels, resumable and in shards")
    .addCommand(sweepKrrCommand());
}

function sweepKrrCommand(): Command {
  const command = new Command("krr").description(
    "kernel ridge regression over noise levels, kernels, and constants of polynomial kernels",
  );
  return addRegression(addEngineOptions(addProblem(command, { levels: true })))
    .option("--grid <name>", "paper: levels, kernels, constants and ridges of Ghorbani et al. 2020, where not given")
    .option("--levels <list>", "noise levels and half-open ranges of them: 0:15, or 0,7,14 (of synth: 10 x kappa)")
    .option(
      "--kernels <list>",
      `ntk2, rf2, ntk3 (three layers), poly2, poly3, ..., rbf:BANDWIDTH, laplace:BANDWIDTH, arccosORDER:DEPTH, ` +
        `ARCHITECTURE:ntk or :nngp (paper: ${PAPER_KERNELS})`,
    )
    .option("--constants <list>", "of polynomial kernels (paper: ten, 2^linspace(-3, 3, 10)); their best counts")
    .option("--lambda <grid>", "ridges: low:high:count (geometric) or a list (paper: by problem and kernel)")
    .option("--train <ranges>", "training images", "0:1000")
    .option("--test <ranges>", "test images")
    .option("--out <folder>", "results, one row a cell; the same folder again goes on where it stopped")
    .option("--shard <i/n>", "compute the i-th of n parts (counted from 0) of the cells; parts may share a folder")
    .option("--keep-kernels", "keep every cell's kernels in the folder, from which an interrupted cell goes on")
    .option("--dry-run", "print the cells and stop")
    .action(run);
}

async function run(options: SweepOptions, command: Command): Promise<void> {
  const { test, out } = options;
  if (options.dryRun !== true && (test === undefined || out === undefined))
    command.error("error: widefield sweep krr needs --test and --out, or --dry-run (see --help)");
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
    await printResults(folder, grid.problem, options, session);
    if (folder.rows.every(({ status }) => status === "failed")) process.exitCode = 1;
  });
}

/** Levels, kernels and ridges. Throws E_CONFIG for what cannot be meant, or is not given and has no default. */
async function gridOf(options: SweepOptions): Promise<Pick<KrrSweep, "problem" | "levels" | "kernels">> {
  const problem = problemName(options);
  if (options.grid !== undefined && (options.grid as string) !== "paper")
    throw new WidefieldError("E_CONFIG", `--grid ${options.grid as string}: there is one grid with a name, paper`);
  const paper = options.grid === "paper";
  for (const name of ["levels", "kernels", "lambda"] as const) {
    if (options[name] === undefined && !paper)
      throw new WidefieldError("E_CONFIG", `a sweep needs --${name}, or --grid paper with the paper's`);
  }
  const kernels = await sweepKernels(options.kernels ?? PAPER_KERNELS, {
    problem,
    lambdas: options.lambda === undefined ? undefined : lambdasOf(options.lambda),
    constants: options.constants === undefined ? undefined : constantsOf(options.constants),
    openArch: (name) => (presetNames.includes(name) ? Promise.resolve(preset(name)) : openArch(name)),
  });
  const levels = options.levels === undefined ? paperLevels(problem) : levelsOf(options.levels);
  requireLevels(problem, levels);
  return { problem, levels, kernels };
}

function constantsOf(text: string): readonly number[] {
  return text.split(",").map((part) => {
    const value = part.trim() === "" ? Number.NaN : Number(part);
    if (Number.isFinite(value)) return value;
    throw new WidefieldError("E_CONFIG", `--constants ${text}: "${part.trim()}" is not a number`);
  });
}

/** "0:15" and "0,7,14". */
function levelsOf(text: string): readonly number[] {
  const refuse = (problem: string) =>
    new WidefieldError(
      "E_CONFIG",
      `--levels ${text}: ${problem}; write levels and ranges of them, such as 0:15 or 0,7,14`,
    );
  const levels = text.split(",").flatMap((part) => {
    const match = /^\s*(\d+)\s*(?::\s*(\d+)\s*)?$/.exec(part);
    if (match === null) throw refuse(`"${part.trim()}" is neither a level nor a range start:end`);
    const start = Number(match[1]);
    const end = match[2] === undefined ? start + 1 : Number(match[2]);
    if (start >= end || end > 1000) throw refuse(`${part.trim()} is empty, or too long`);
    return Array.from({ length: end - start }, (_, i) => start + i);
  });
  if (new Set(levels).size !== levels.length) throw refuse("a level is there twice");
  return levels;
}

function dryRun(grid: Pick<KrrSweep, "problem" | "levels" | "kernels">, session: Session): void {
  const cells = cellsOf(grid);
  if (session.json) {
    session.print(JSON.stringify({ ...grid, cells: cells.map(({ name }) => name) }));
    return;
  }
  const rows = grid.kernels.map(({ name, lambdas }) => [name, lambdas.length, range(lambdas)]);
  session.print(`${grid.problem}: ${cells.length} fits, levels ${grid.levels.join(" ")}`);
  session.print(table([["kernel", "lambdas", ""], ...rows]));
}

function range(values: readonly number[]): string {
  const [least, most] = [Math.min(...values), Math.max(...values)].map((value) => String(Number(value.toPrecision(4))));
  return `${least ?? ""} to ${most ?? ""}`;
}

function rowText(row: SweepRow): string {
  const { cell, status, reason, seconds } = row;
  const [best] = bestOfSweep([row]);
  if (status === "failed" || best === undefined) return `${cell}: ${status}: ${reason ?? ""}`;
  const { lambda, squaredError, accuracy } = best;
  const right = accuracy === null ? "" : `, accuracy ${(100 * accuracy).toFixed(2)} %`;
  const time = (seconds.kernel + seconds.solve).toFixed(1);
  return `${cell}: test error ${squaredError.toPrecision(4)}${right} at lambda ${Number(lambda.toPrecision(4))} (${time} s)`;
}

/** All rows of the folder, of other shards too. */
async function printResults(
  folder: SweepFolder,
  problem: string,
  options: SweepOptions,
  session: Session,
): Promise<void> {
  const best = bestOfSweep(folder.rows);
  const chart = best.length === 0 ? undefined : await writeChart(folder, best, problem, options);
  const names = { csv: `${folder.path}/results.csv`, jsonl: `${folder.path}/results.jsonl`, ...chart };
  if (session.json) {
    session.print(JSON.stringify({ best, rows: folder.rows, files: names }));
    return;
  }
  const rows = best.map(({ line, level, lambda, squaredError, r2, accuracy }) => [
    line,
    level,
    String(Number(lambda.toPrecision(4))),
    squaredError.toPrecision(5),
    r2?.toFixed(5) ?? "",
    accuracy === null ? "" : `${(100 * accuracy).toFixed(2)} %`,
  ]);
  session.print(table([["model", "level", "lambda", "test squared error", "test R^2", "test accuracy"], ...rows]));
  for (const { cell, status, reason } of folder.rows)
    if (status === "failed") session.print(`${cell} failed: ${reason ?? ""}`);
  session.print(Object.values(names).join("  "));
}

async function writeChart(
  folder: SweepFolder,
  best: readonly SweepBest[],
  problem: string,
  { train, test }: SweepOptions,
) {
  // Charts are large: they are loaded when there is something to draw.
  const [{ sweepPage, sweepSpec }, { renderFigure }] = await Promise.all([
    import("../sdk/report/sweep-chart.ts"),
    import("../sdk/report/figure.node.ts"),
  ]);
  const titles = {
    title: `Kernel ridge regression on ${problem}`,
    subtitle: [`train ${train}, test ${test ?? ""}; each point at the lambda (and constant) of least test error`],
    level: problem.startsWith("synth") ? "10 x kappa" : "noise level",
  };
  const spec = sweepSpec(best, titles);
  const { svg, png } = await renderFigure(spec);
  return {
    spec: await folder.write("errors.vl.json", `${JSON.stringify(spec, null, 2)}\n`),
    svg: await folder.write("errors.svg", svg),
    png: await folder.write("errors.png", png),
    html: await folder.write(
      "report.html",
      await sweepPage(best, titles, { command: commandLine(), widefield: version, problem, train, test }),
    ),
  };
}
