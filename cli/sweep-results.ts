/** What every `widefield sweep` has: its options, its lines and tables, and the chart of what is finished. */
import type { Command } from "commander";
import { WidefieldError } from "../sdk/errors.ts";
import { paperLevels, requireLevels } from "../sdk/experiments/krr-lambdas.ts";
import type { SweepFolder } from "../sdk/experiments/sweep-folder.ts";
import { bestOfSweep, type SweepBest, type SweepRow } from "../sdk/experiments/sweep-row.ts";
import { version } from "../sdk/index.node.ts";
import { commandLine } from "./command-line.ts";
import { table } from "./format.ts";
import { parseLevels } from "./problem-inputs.ts";
import type { Session } from "./session.ts";

/** Options of every sweep but those of its models. */
export interface SweepOptions {
  readonly grid?: "paper";
  readonly levels?: string;
  readonly lambda?: string;
  readonly train: string;
  readonly test?: string;
  readonly out?: string;
  readonly shard?: string;
  readonly dryRun?: true;
}

/** Those that stand behind the options of a sweep's models. */
export function addSweepOptions(command: Command): Command {
  return command
    .option("--train <ranges>", "training images", "0:1000")
    .option("--test <ranges>", "test images")
    .option("--out <folder>", "results, one row a cell; the same folder again goes on where it stopped")
    .option("--shard <i/n>", "compute the i-th of n parts (counted from 0) of the cells; parts may share a folder")
    .option("--dry-run", "print the cells and stop");
}

/** Ends the process with status 2 where a sweep that is to run lacks its images or its folder. */
export function requirePlace({ test, out, dryRun }: SweepOptions, command: Command): void {
  if (dryRun !== true && (test === undefined || out === undefined))
    command.error(`error: widefield sweep ${command.name()} needs --test and --out, or --dry-run (see --help)`);
}

/** Throws E_CONFIG for a grid of another name, and without a grid for options that have no value. */
export function requireGrid<Options extends SweepOptions>(
  options: Options,
  needed: readonly (keyof Options & string)[],
): void {
  if (options.grid !== undefined && (options.grid as string) !== "paper")
    throw new WidefieldError("E_CONFIG", `--grid ${options.grid as string}: there is one grid with a name, paper`);
  for (const name of needed) {
    if (options[name] === undefined && options.grid === undefined)
      throw new WidefieldError("E_CONFIG", `a sweep needs --${name}, or --grid paper with the paper's`);
  }
}

/** The levels asked for, or the paper's. Throws E_CONFIG. */
export function levelsOf(text: string | undefined, problem: string): readonly number[] {
  const levels = text === undefined ? paperLevels(problem) : parseLevels(text);
  if (new Set(levels).size !== levels.length)
    throw new WidefieldError("E_CONFIG", `--levels ${text ?? ""}: a level is there twice`);
  requireLevels(problem, levels);
  return levels;
}

/** "1e-5 to 1000" */
export function rangeText(values: readonly number[]): string {
  const [least, most] = [Math.min(...values), Math.max(...values)].map((value) => String(Number(value.toPrecision(4))));
  return `${least ?? ""} to ${most ?? ""}`;
}

/** One line on a cell that is finished. */
export function rowText(row: SweepRow): string {
  const { cell, status, reason, seconds } = row;
  const [best] = bestOfSweep([row]);
  if (status === "failed" || best === undefined) return `${cell}: ${status}: ${reason ?? ""}`;
  const { lambda, squaredError, accuracy } = best;
  const right = accuracy === null ? "" : `, accuracy ${(100 * accuracy).toFixed(2)} %`;
  const time = (seconds.kernel + seconds.solve).toFixed(1);
  return `${cell}: test error ${squaredError.toPrecision(4)}${right} at lambda ${Number(lambda.toPrecision(4))} (${time} s)`;
}

/** How a figure is called, and what it is of. */
export interface SweepTitle {
  readonly title: string;
  readonly subtitle: readonly string[];
  readonly problem: string;
  readonly train: string;
  readonly test: string;
}

/** The best of each line as a table, and a chart of them in the folder. All rows of the folder, of other shards too. */
export async function printResults(
  folder: Pick<SweepFolder, "path" | "rows" | "write">,
  title: SweepTitle,
  session: Session,
): Promise<void> {
  const best = bestOfSweep(folder.rows);
  const chart = best.length === 0 ? undefined : await writeChart(folder, best, title);
  const tables = { csv: `${folder.path}/results.csv`, jsonl: `${folder.path}/results.jsonl` };
  const names = { ...tables, ...chart };
  if (session.json) {
    session.print(JSON.stringify({ best, rows: folder.rows, files: names }));
    return;
  }
  session.print(bestTable(best));
  for (const { cell, status, reason } of folder.rows)
    if (status === "failed") session.print(`${cell} failed: ${reason ?? ""}`);
  session.print(Object.values(names).join("  "));
}

export function bestTable(best: readonly SweepBest[]): string {
  const rows = best.map(({ line, level, lambda, squaredError, r2, accuracy }) => [
    line,
    level,
    String(Number(lambda.toPrecision(4))),
    squaredError.toPrecision(5),
    r2?.toFixed(5) ?? "",
    accuracy === null ? "" : `${(100 * accuracy).toFixed(2)} %`,
  ]);
  return table([["model", "level", "lambda", "test squared error", "test R^2", "test accuracy"], ...rows]);
}

/** Writes the figure as a specification, SVG, PNG and a page; their paths. */
export async function writeChart(
  folder: Pick<SweepFolder, "write">,
  best: readonly SweepBest[],
  { title, subtitle, problem, train, test }: SweepTitle,
) {
  // Charts are large: they are loaded when there is something to draw.
  const [{ sweepPage, sweepSpec }, { renderFigure }] = await Promise.all([
    import("../sdk/report/sweep-chart.ts"),
    import("../sdk/report/figure.node.ts"),
  ]);
  const titles = { title, subtitle, level: problem.startsWith("synth") ? "10 x kappa" : "noise level" };
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
