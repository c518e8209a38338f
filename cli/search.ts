/** `widefield search`: the random search over architectures, one row a seed. */
import { Command, Option } from "commander";
import { archToJson } from "../sdk/arch/arch.ts";
import { DEFAULT_TILE } from "../sdk/arch/spec-tiles.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { misfitOf, runSearch, seedsOfShard } from "../sdk/experiments/search.ts";
import {
  drawnArch,
  drawArchitecture,
  parseSeeds,
  perLayer,
  SKIP_RULES,
  type Drawn,
  type SkipRule,
} from "../sdk/experiments/search-draw.ts";
import type { SearchFolder } from "../sdk/experiments/search-folder.ts";
import { sortedRows, type SearchRow } from "../sdk/experiments/search-row.ts";
import { formatRate, table } from "./format.ts";
import { jitterOf } from "./gp.ts";
import { addDatasetOptions, openDataset, openRanges, parseShard, shapeOfImages, type DataOptions } from "./inputs.ts";
import { addEngineOptions, wholeNumber, withEngine, withSession, type CommonOptions, type Session } from "./session.ts";

interface SearchOptions extends CommonOptions, DataOptions {
  readonly seeds: string;
  readonly train: string;
  readonly validation?: string;
  readonly test?: string;
  readonly out?: string;
  readonly jitter: string;
  readonly precision: "f32" | "f64";
  readonly tile: string;
  readonly skips: SkipRule;
  readonly shard?: string;
  readonly keepKernels?: true;
  readonly dryRun?: true;
}

const PAPER_SEEDS = "1:61,1234";

export function searchCommand(): Command {
  const command = new Command("search").description(
    "draw architectures from seeds, as Garriga-Alonso et al. 2019 did, and compare their Gaussian processes",
  );
  return addEngineOptions(addDatasetOptions(command))
    .option("--seeds <list>", "seeds and half-open ranges of them; 1234 is the preset lenet-like", PAPER_SEEDS)
    .option("--train <ranges>", "training images", "0:1000")
    .option("--validation <ranges>", "validation images, by which networks are compared")
    .option("--test <ranges>", "test images")
    .option("--out <folder>", "results, one row a seed; the same folder again goes on where it stopped")
    .option("--jitter <x|auto|noise>", "as of widefield gp", "noise")
    .addOption(
      new Option("--precision <name>", "f64: kernels in float64 on wasm").choices(["f32", "f64"]).default("f32"),
    )
    .option("--tile <n>", "rows and columns of a kernel tile", String(DEFAULT_TILE))
    .addOption(
      new Option(
        "--skips <rule>",
        "paper: no skip connections below seed 36; script: as the published script draws them",
      )
        .choices(SKIP_RULES)
        .default("script"),
    )
    .option("--shard <i/n>", "run the i-th of n parts (counted from 0) of the seeds; parts may share a folder")
    .option("--keep-kernels", "keep every seed's kernels in the folder, from which an interrupted seed goes on")
    .option("--dry-run", "print the drawn architectures and stop")
    .action(run);
}

async function run(options: SearchOptions, command: Command): Promise<void> {
  const seeds = openSeeds(options.seeds);
  const shard = options.shard === undefined ? undefined : parseShard(options.shard);
  if (options.dryRun === true) {
    await withSession(options, async (session) => dryRun(options, seedsOfShard(seeds, shard), session));
    return;
  }
  const { validation, test, out } = options;
  if (validation === undefined || test === undefined || out === undefined)
    command.error("error: widefield search needs --validation, --test and --out, or --dry-run (see --help)");
  await withEngine(options, async (engine, session) => {
    const dataset = await openDataset(options, engine, session, { train: options.train, validation, test });
    const folder = await runSearch({
      engine,
      dataset,
      train: openRanges("--train", options.train, dataset),
      validation: openRanges("--validation", validation, dataset),
      test: openRanges("--test", test, dataset),
      jitter: jitterOf(options.jitter),
      precision: options.precision,
      tile: wholeNumber("--tile", options.tile),
      skips: options.skips,
      files: await nodeFiles(),
      path: out,
      seeds,
      shard,
      keepKernels: options.keepKernels,
      signal: session.signal,
      onProgress: ({ seed, phase, label, done, total, rate }) => {
        const rateText = formatRate(rate, phase === "kernel" ? "pairs/s" : "GFLOP/s");
        session.progress.update(`seed ${seed} ${label}`, done, total, rateText);
      },
      onSeeds: (row, done, total) => {
        if (row !== undefined) session.note(`${done} of ${total}: ${rowText(row)}`);
        else if (done > 0) session.note(`${done} of ${total} seeds were finished already`);
      },
    });
    await printResults(folder, dataset.name, session);
  });
}

function openSeeds(text: string): readonly number[] {
  try {
    return parseSeeds(text);
  } catch (thrown) {
    if (thrown instanceof WidefieldError)
      throw new WidefieldError(thrown.code, `--seeds: ${thrown.message}`, { cause: thrown });
    throw thrown;
  }
}

async function dryRun(options: SearchOptions, seeds: readonly number[], session: Session): Promise<void> {
  const shape = await shapeOfImages(options);
  const architectures = seeds.map((seed) => {
    const drawn = drawArchitecture(seed, options.skips);
    const misfit = misfitOf(drawn, shape) ?? null;
    return {
      ...drawn,
      status: misfit === null ? "valid" : "invalid",
      reason: misfit,
      arch: archToJson(drawnArch(drawn)),
    };
  });
  if (session.json) {
    session.print(JSON.stringify({ architectures }));
    return;
  }
  const rows = architectures.map((drawn) => [...drawnCells(drawn), drawn.reason ?? ""]);
  session.print(table([[...DRAWN_COLUMNS, ""], ...rows]));
}

/** In the order in which they are drawn, but for the variances: those have many digits. */
const DRAWN_COLUMNS = ["seed", "layers", "filter", "stride", "padding", "nonlinearity", "skips", "weights", "biases"];

function drawnCells({
  seed,
  convs,
  nonlinearity,
  skipEvery,
  weightVariance,
  biasVariance,
}: Drawn): (string | number)[] {
  return [
    seed,
    convs.length,
    perLayer(convs.map(({ filter }) => filter)),
    perLayer(convs.map(({ stride }) => stride)),
    perLayer(convs.map(({ padding }) => padding)),
    nonlinearity,
    skipEvery === null ? "none" : `every ${skipEvery}`,
    weightVariance.toFixed(4),
    biasVariance.toFixed(4),
  ];
}

function percent(value: number): string {
  return `${value.toFixed(2)} %`;
}

function rowText({ seed, status, reason, error, kernel, solve }: SearchRow): string {
  if (error === null) return `seed ${seed}: ${status}: ${reason ?? ""}`;
  const seconds = (kernel?.seconds ?? 0) + (solve?.seconds ?? 0);
  const { validation, test } = error;
  return `seed ${seed}: validation ${percent(validation)}, test ${percent(test)} (${seconds.toFixed(1)} s)`;
}

/** All rows of the folder, of other shards too. */
async function printResults(folder: SearchFolder, data: string, session: Session): Promise<void> {
  const rows = sortedRows(folder.rows);
  const done = rows.filter(({ error }) => error !== null);
  // With no network to show there is nothing to draw.
  const chart = done.length === 0 ? undefined : await writeChart(folder, done, data);
  const names = { csv: `${folder.path}/results.csv`, jsonl: `${folder.path}/results.jsonl`, ...chart };
  if (session.json) {
    session.print(JSON.stringify({ rows, files: names }));
    return;
  }
  const cells = rows.map(({ drawn, error, status }) => {
    const errors = error === null ? [status, "", ""] : [error.validation, error.test, error.train].map(percent);
    return [...errors, ...drawnCells(drawn)];
  });
  session.print(table([["validation", "test", "train", ...DRAWN_COLUMNS], ...cells]));
  for (const { seed, status, reason } of rows)
    if (reason !== null) session.print(`seed ${seed} is ${status}: ${reason}`);
  session.print(Object.values(names).join("  "));
}

async function writeChart(folder: SearchFolder, rows: readonly SearchRow[], data: string) {
  // Charts are large: they are loaded when there is something to draw.
  const [{ searchSpec }, { renderFigure }] = await Promise.all([
    import("../sdk/report/search-chart.ts"),
    import("../sdk/report/figure.node.ts"),
  ]);
  const points = rows.flatMap(({ seed, error, drawn: { nonlinearity, skipEvery } }) =>
    error === null ? [] : [{ seed, ...error, nonlinearity, residual: skipEvery !== null }],
  );
  const spec = searchSpec(points, `Random architectures on ${data}: ${points.length} Gaussian processes`);
  const { svg, png } = await renderFigure(spec);
  return {
    spec: await folder.write("errors.vl.json", `${JSON.stringify(spec, null, 2)}\n`),
    svg: await folder.write("errors.svg", svg),
    png: await folder.write("errors.png", png),
  };
}
