/** `widefield converge`: how near finite networks of growing width come to the Gaussian process. */
import { basename } from "node:path";
import { Command } from "commander";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { replaceFile } from "../sdk/platform/files.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { convergeCsv, convergeJson, outputsCsv } from "../sdk/experiments/converge-files.ts";
import { runConverge, type ConvergeResult } from "../sdk/experiments/converge.ts";
import { priorSampler } from "../sdk/experiments/prior-sampler.ts";
import { platform } from "../sdk/platform/platform.ts";
import { commandLine } from "./command-line.ts";
import { formatRate, table } from "./format.ts";
import { addDataOptions, openArch, openDataset, type DataOptions } from "./inputs.ts";
import { addEngineOptions, wholeNumber, withEngine, type CommonOptions } from "./session.ts";

interface ConvergeOptions extends CommonOptions, DataOptions {
  readonly arch: string;
  readonly channels: string;
  readonly samples: string;
  readonly inputs: string;
  readonly show: string;
  readonly out: string;
}

/** Below the figure's title: the published network is known not to converge. */
const NO_LIMIT =
  "It does not converge: its sums follow the relus, whose mean is not 0, and the kernel leaves out how branches correlate";

export function convergeCommand(): Command {
  const command = new Command("converge").description(
    "draw finite networks of several widths, and compare their outputs with the Gaussian process",
  );
  return addEngineOptions(addDataOptions(command))
    .requiredOption("--out <folder>", "tables and figure go here, and the draws, so that the same command goes on")
    .option("--channels <list>", "widths of the networks", "3,10,30,100")
    .option("--samples <n>", "networks of each width", "10000")
    .option("--inputs <n>", "the first so many training images", "100")
    .option("--show <index>", "the input whose output's distribution is tested and drawn", "0")
    .action(run);
}

async function run(options: ConvergeOptions): Promise<void> {
  await withEngine(options, async (engine, session) => {
    const { signal, progress, json } = session;
    const channels = channelList(options.channels);
    const arch = await openArch(options.arch);
    const dataset = await openDataset(options, engine, session, { inputs: `0:${options.inputs}` });
    const files = await nodeFiles();
    const result = await runConverge({
      engine,
      arch,
      dataset,
      inputs: wholeNumber("--inputs", options.inputs),
      channels,
      samples: wholeNumber("--samples", options.samples),
      show: wholeNumber("--show", options.show),
      folder: { files, path: options.out },
      sampler: async (width, inputs, memoryBytes) => priorSampler(engine, arch, width, inputs, memoryBytes),
      signal,
      onProgress: ({ channels: width, draws, samples, rate }) =>
        progress.update(`width ${width}`, draws, samples, formatRate(rate, "networks/s")),
    });
    const { backend, adapter, threads } = engine.info;
    const host = platform();
    const facts = convergeJson(result, {
      command: commandLine(),
      dataset: dataset.name,
      adapter,
      threads,
      runtime: `${host.name} ${host.version}`,
    });
    session.print(json ? JSON.stringify(facts) : `${summary(result)}\non ${backend} (${adapter}), seed ${engine.seed}`);
    const write = (name: string, text: string) =>
      replaceFile(files, `${options.out}/${name}`, new TextEncoder().encode(text));
    await write("converge.json", `${JSON.stringify(facts, null, 2)}\n`);
    await write("converge.csv", convergeCsv(result));
    await write("outputs.csv", outputsCsv(result));
    // Vega and resvg are large: they are loaded when there is something to draw.
    const [{ convergeSpec }, { saveFigure }] = await Promise.all([
      import("../sdk/report/converge-figure.ts"),
      import("../sdk/report/figure.node.ts"),
    ]);
    const inputs = result.inputs === 1 ? "the first training image" : `the first ${result.inputs} training images`;
    const spec = convergeSpec(result, `${basename(options.arch)}: finite networks against their Gaussian process`, [
      `${result.samples} networks of each width, drawn from the prior; ${inputs} of ${dataset.name}`,
      ...(options.arch === "residual-cnn-gp" ? [NO_LIMIT] : []),
    ]);
    await saveFigure(files, `${options.out}/converge`, spec);
    session.note(`tables and figure are in ${options.out}: converge.csv, converge.json, outputs.csv, converge.png`);
  });
}

function channelList(text: string): number[] {
  return text.split(",").map((part) => {
    if (/^\s*\d+\s*$/.test(part)) return Number(part);
    throw new WidefieldError("E_CONFIG", `--channels is a list of whole numbers such as 3,10,30, not "${text}"`);
  });
}

function summary({ widths, gaussianSampling, samples }: ConvergeResult): string {
  const percent = (value: number) => `${(100 * value).toFixed(2)} %`;
  const statistic = (value: number) => value.toPrecision(3);
  const p = (value: number) => (value < 1e-4 ? "< 0.0001" : value.toFixed(4));
  const rows = widths.map(({ channels, covariance, output }) => {
    const { kurtosis, kolmogorovSmirnov: ks, andersonDarling: ad } = output;
    return [
      ...[String(channels), percent(covariance.error), percent(covariance.sampling), percent(covariance.rest)],
      ...[statistic(kurtosis), statistic(ks.statistic), p(ks.pValue), statistic(ad.statistic), p(ad.pValue)],
    ];
  });
  const head = ["channels", "covariance error", "sampling", "rest", "excess kurtosis", "KS", "p", "AD", "p"];
  const expected = `${samples} draws from the Gaussian process itself: covariance error ${percent(gaussianSampling)}`;
  return `${table([head, ...rows])}\n${expected}`;
}
