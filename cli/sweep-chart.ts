/** `widefield sweep chart`: the lines of several finished sweeps in one figure, kernels beside networks. */
import { Command } from "commander";
import { joinSweeps, readSweep } from "../sdk/experiments/sweep-join.ts";
import { bestOfSweep } from "../sdk/experiments/sweep-row.ts";
import { replaceFile } from "../sdk/platform/files.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { addOutputOptions, withSession, type CommonOptions } from "./session.ts";
import { bestTable, writeChart } from "./sweep-results.ts";

interface ChartOptions extends Pick<CommonOptions, "json" | "quiet"> {
  readonly out: string;
  readonly title?: string;
}

export function sweepChartCommand(): Command {
  const command = new Command("chart")
    .description("one figure of several sweeps over the same images: test error and accuracy against noise level")
    .argument("<folders...>", "of finished sweeps; their lines have this order");
  return addOutputOptions(command)
    .requiredOption("--out <folder>", "where the figure goes")
    .option("--title <text>", "of the figure (default: the problem)")
    .action(run);
}

async function run(folders: readonly string[], options: ChartOptions): Promise<void> {
  await withSession(options, async (session) => {
    const files = await nodeFiles();
    const sweeps = [];
    for (const folder of folders) sweeps.push(await readSweep(files, folder));
    const { problem, train, test, rows } = joinSweeps(sweeps);
    const best = bestOfSweep(rows);
    if (best.length === 0) {
      session.print(`there is no finished fit in ${folders.join(", ")}`);
      process.exitCode = 1;
      return;
    }
    const { out, title = problem } = options;
    await files.makeFolder(out);
    const place = {
      write: async (name: string, content: string | Uint8Array) => {
        const path = `${out}/${name}`;
        await replaceFile(files, path, typeof content === "string" ? new TextEncoder().encode(content) : content);
        return path;
      },
    };
    const subtitle = [`train ${train}, test ${test}; each point at the lambda of least test error`];
    const names = await writeChart(place, best, { title, subtitle, problem, train, test });
    if (session.json) {
      session.print(JSON.stringify({ best, files: names }));
      return;
    }
    session.print(bestTable(best));
    session.print(Object.values(names).join("  "));
  });
}
