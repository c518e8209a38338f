/** `widefield data fetch NAME`: downloads a published dataset, or what is missing of it, and verifies what arrives. */
import { Command } from "commander";
import { fetchDataset, type FetchOptions, type FetchReport } from "../sdk/data/fetch.ts";
import { SOURCES } from "../sdk/data/fetch-sources.ts";
import { nodeFiles } from "../sdk/index.node.ts";
import { commandLine } from "./command-line.ts";
import { formatBytes, formatRate, table } from "./format.ts";
import { addOutputOptions, withSession, type CommonOptions } from "./session.ts";

interface DataFetchOptions extends Pick<CommonOptions, "json" | "quiet"> {
  readonly dataDir?: string;
  readonly url?: string;
}

/** `context` is for tests: other sources, and less patience. */
export function dataFetchCommand(context: Pick<FetchOptions, "sources" | "retry"> = {}): Command {
  const names = (context.sources ?? SOURCES).map(({ name }) => name);
  const command = new Command("fetch")
    .description("download a dataset, resuming what was cut short, and verify its SHA-256")
    .argument("<name>", names.join(", "))
    .option("--data-dir <folder>", "where the files go (default: data/NAME)")
    .option("--url <base>", "an address below which the files are, in place of the official one and its mirrors");
  return addOutputOptions(command).action(async (name: string, options: DataFetchOptions) => {
    const { dataDir, url } = options;
    await withSession(options, async (session) => {
      const report = await fetchDataset(name, {
        ...context,
        files: await nodeFiles(),
        signal: session.signal,
        log: (line) => session.note(line),
        onProgress: ({ file, done, total, rate }) =>
          session.progress.update(file, done, total, formatRate(rate, "B/s")),
        ...(dataDir !== undefined && { dataDir }),
        ...(url !== undefined && { url }),
      });
      session.print(session.json ? JSON.stringify(report) : reportText(report));
    });
  });
}

function reportText({ dataset, folder, files, downloadedBytes }: FetchReport): string {
  const use = commandLine(["--data", dataset, "--data-dir", folder]).replace(/^widefield /, "");
  return [
    table(files.map(({ status, name, bytes, sha256 }) => [status, name, formatBytes(bytes), `sha256 ${sha256}`])),
    `${formatBytes(downloadedBytes)} downloaded; use it with ${use}`,
  ].join("\n");
}
