/** `widefield kernel`: computes a kernel matrix into a store; its subcommands are in `kernel-store.ts`. */
import { Command, Option } from "commander";
import { DEFAULT_TILE, specTiles } from "../sdk/arch/spec-tiles.ts";
import { diagonalOf } from "../sdk/arch/kernel.ts";
import { LARGEST_GRAM_TILE } from "../sdk/covariance/gram-tiles.ts";
import { exportDiagonal } from "../sdk/covariance/export.ts";
import type { MatrixProgress } from "../sdk/covariance/matrix.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { parseBytes } from "../sdk/engine/engine.ts";
import { selectImages, storeKernel } from "../sdk/experiments/stored-kernel.ts";
import { platform } from "../sdk/platform/platform.ts";
import { formatRate } from "./format.ts";
import { addDatasetOptions, openDataset, openRanges, parseShard, type DataOptions } from "./inputs.ts";
import { addKernelOptions, kernelFromOptions, type KernelOptions } from "./kernel-options.ts";
import { addKernelStoreCommands } from "./kernel-store.ts";
import { addEngineOptions, wholeNumber, withEngine, withSession, type CommonOptions } from "./session.ts";

interface KernelCommandOptions extends CommonOptions, DataOptions, KernelOptions {
  readonly rows?: string;
  readonly cols?: string;
  readonly out?: string;
  readonly diag?: true;
  readonly tile?: string;
  readonly precision: "f32" | "f64";
  readonly shard?: string;
}

export function kernelCommand(): Command {
  const command = new Command("kernel").description(
    "compute a kernel matrix into a store (Zarr), and look after stores",
  );
  addEngineOptions(addKernelOptions(addDatasetOptions(command)))
    .option("--rows <ranges>", "images of the rows, such as 0:5000 or 55000:60000,0:5000")
    .option("--cols <ranges>", "images of the columns; without it the matrix is symmetric")
    .option("--diag", "only K(x, x) of the rows' images, as a NumPy vector: --out is then a file, d.npy")
    .option("--out <folder>", "the store to make, or to go on with, K.zarr")
    .option(
      "--tile <n>",
      `rows and columns of a tile (default: ${DEFAULT_TILE}, fewer where pairs are expensive, up to ${LARGEST_GRAM_TILE} for closed forms and dense networks)`,
    )
    .addOption(new Option("--precision <name>", "f64: in float64 on wasm").choices(["f32", "f64"]).default("f32"))
    .option("--shard <i/n>", "compute the i-th of n parts (counted from 0) of the store")
    .action(compute);
  addKernelStoreCommands(command, (sub, run) => {
    const options = sub.optsWithGlobals<CommonOptions>();
    return withSession(options, async (session) =>
      run({
        files: await nodeFiles(),
        memoryBytes:
          options.memory === undefined
            ? Math.floor((platform().memoryBytes ?? 2 ** 32) / 2)
            : parseBytes(options.memory),
        signal: session.signal,
        json: session.json,
        print: (line) => session.print(line),
        progress: (label, done, total) => session.progress.update(label, done, total),
        setExitCode: (code) => {
          process.exitCode = code;
        },
      }),
    );
  });
  return command;
}

async function compute(options: KernelCommandOptions, command: Command): Promise<void> {
  const { rows, out } = options;
  // Not commander's required options: the subcommands do without them.
  if (rows === undefined || out === undefined)
    command.error("error: widefield kernel needs --rows and --out (see widefield kernel --help)");
  if (options.diag === true) {
    if (options.cols !== undefined || options.shard !== undefined)
      command.error("error: --diag has neither --cols nor --shard");
    await computeDiagonal(options, rows, out);
    return;
  }
  await withEngine(options, async (engine, session) => {
    const { signal, progress, json } = session;
    const dataset = await openDataset(options, engine, session, { rows, cols: options.cols });
    const { store, result } = await storeKernel({
      engine,
      dataset,
      kernel: await kernelFromOptions(options),
      rows: openRanges("--rows", rows, dataset),
      columns: options.cols === undefined ? undefined : openRanges("--cols", options.cols, dataset),
      files: await nodeFiles(),
      path: out,
      precision: options.precision,
      tile: options.tile === undefined ? undefined : wholeNumber("--tile", options.tile),
      shard: options.shard === undefined ? undefined : parseShard(options.shard),
      signal,
      onProgress: ({ pairsDone, pairsTotal, pairsPerSecond }) =>
        progress.update("kernel", pairsDone, pairsTotal, formatRate(pairsPerSecond, "pairs/s")),
      onCheck: (done, total) => progress.update("checking", done, total),
      onFeatures: ({ blocksDone, blocksTotal }) => progress.update("features", blocksDone, blocksTotal),
    });
    if (result.tilesReused > 0) session.note(`${result.tilesReused} of ${result.tilesTotal} tiles were there already`);
    if (result.tilesRepaired > 0) session.note(`${result.tilesRepaired} damaged tiles were computed again`);
    const { backend, adapter, threads } = engine.info;
    const { pairsDone: pairs, seconds, pairsPerSecond, tilesTotal: tiles, tilesReused, tilesRepaired } = result;
    const { rows: height, columns: width } = store.grid;
    const facts = {
      store: out,
      rows: height,
      columns: width,
      tiles,
      tilesReused,
      tilesRepaired,
      pairs,
      seconds,
      pairsPerSecond,
    };
    if (json) session.print(JSON.stringify({ ...facts, exponent: store.manifest.exponent, backend, adapter, threads }));
    else
      session.print(
        `${out}: ${height} x ${width}, ${pairs} pairs in ${seconds.toFixed(1)} s (${formatRate(pairsPerSecond, "pairs/s")})`,
      );
  });
}

async function computeDiagonal(options: KernelCommandOptions, rows: string, out: string): Promise<void> {
  await withEngine(options, async (engine, session) => {
    const dataset = await openDataset(options, engine, session, { rows });
    const ranges = openRanges("--rows", rows, dataset);
    const images = selectImages(dataset, ranges, options.precision);
    const settings = {
      tile: options.tile === undefined ? undefined : wholeNumber("--tile", options.tile),
      signal: session.signal,
      onProgress: ({ pairsDone, pairsTotal }: MatrixProgress) =>
        session.progress.update("diagonal", pairsDone, pairsTotal),
    };
    const begun = performance.now();
    const spec = await kernelFromOptions(options);
    const { tiles, ...size } = await specTiles(engine, spec, images, images, options.precision, {
      signal: session.signal,
      onFeatures: ({ blocksDone, blocksTotal }) => session.progress.update("features", blocksDone, blocksTotal),
    });
    const diagonal = await diagonalOf({ tiles, ...size }, settings);
    const seconds = (performance.now() - begun) / 1000;
    await exportDiagonal(await nodeFiles(), out, diagonal);
    const facts = { diagonal: out, images: diagonal.length, seconds, backend: engine.info.backend };
    session.print(
      session.json ? JSON.stringify(facts) : `${out}: K(x, x) of ${diagonal.length} images in ${seconds.toFixed(1)} s`,
    );
  });
}
