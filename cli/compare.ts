/** `widefield compare`: several training runs in one chart. */
import { Command } from "commander";
import { basename } from "node:path";
import { WidefieldError } from "../sdk/errors.ts";
import { readMetrics } from "../sdk/learn/metrics-log.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import type { ComparedRun } from "../sdk/report/training-chart.ts";
import { table } from "./format.ts";
import { addOutputOptions, withSession, type CommonOptions } from "./session.ts";

interface CompareOptions extends Pick<CommonOptions, "json" | "quiet"> {
  readonly out: string;
  readonly names?: string[];
  readonly title: string;
}

export function compareCommand(): Command {
  const command = new Command("compare")
    .description("draw the losses and accuracies of several training runs in one chart")
    .argument("<folders...>", "folders of runs (widefield train --save)")
    .option(
      "--out <path>",
      "of the chart, without an ending: PATH.svg, PATH.png and PATH.vl.json are written",
      "compared",
    )
    .option("--names <text...>", "names of the runs' lines (default: their folders')")
    .option("--title <text>", "of the chart", "Training runs");
  return addOutputOptions(command).action(run);
}

async function run(folders: readonly string[], options: CompareOptions): Promise<void> {
  const { names = folders.map((folder) => basename(folder)), out, title } = options;
  if (names.length !== folders.length)
    throw new WidefieldError("E_CONFIG", `--names: ${names.length} names for ${folders.length} runs`);
  if (new Set(names).size !== names.length)
    throw new WidefieldError("E_CONFIG", `lines need names of their own, not ${names.join(", ")}: give --names`);
  await withSession(options, async (session) => {
    const files = await nodeFiles();
    const runs: ComparedRun[] = [];
    for (const [index, folder] of folders.entries())
      runs.push({ name: names[index] ?? folder, ...(await readMetrics(files, `${folder}/metrics.jsonl`)) });
    // Charts are large: they are loaded when there is something to draw.
    const [{ compareSpec }, { saveFigure }] = await Promise.all([
      import("../sdk/report/training-chart.ts"),
      import("../sdk/report/figure.node.ts"),
    ]);
    await saveFigure(files, out, compareSpec(runs, { title }));
    const rows = runs.map(({ name, epochs }) => ({ name, epochs: epochs.length, last: epochs.at(-1) }));
    if (session.json) session.print(JSON.stringify({ runs: rows, chart: `${out}.svg` }));
    else session.print(`${table(rows.map(textOf))}\n${out}.svg`);
  });
}

function textOf({
  name,
  epochs,
  last,
}: {
  name: string;
  epochs: number;
  last: ComparedRun["epochs"][number] | undefined;
}) {
  const percent = (part: number | undefined): string => (part === undefined ? "" : `${(100 * part).toFixed(2)} %`);
  const tested = last?.test ?? last?.validation;
  const kind = last?.test === undefined ? "validation" : "test";
  return [
    name,
    `${epochs} epochs`,
    `training loss ${last?.training.loss.toFixed(4) ?? "-"}`,
    tested === undefined ? "" : `${kind} ${percent(tested.accuracy)}`,
  ];
}
