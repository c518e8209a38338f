/** `widefield gp`: GP classification from data to error rates. */
import { rmSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { DEFAULT_TILE } from "../sdk/arch/spec-tiles.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { ioError } from "../sdk/platform/files.ts";
import { KernelStore } from "../sdk/covariance/store/store.ts";
import type { Dataset } from "../sdk/data/dataset.ts";
import type { Ranges } from "../sdk/data/ranges.ts";
import { indicesOf } from "../sdk/data/ranges.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { runGp, type GpExperiment, type GpResult } from "../sdk/experiments/gp.ts";
import { planGp } from "../sdk/experiments/gp-plan.ts";
import { gpReport } from "../sdk/experiments/gp-report.ts";
import { version } from "../sdk/index.node.ts";
import { platform } from "../sdk/platform/platform.ts";
import { commandLine } from "./command-line.ts";
import { formatRate, table } from "./format.ts";
import { planText } from "./gp-plan.ts";
import { addDataOptions, openArch, openDataset, openRanges, type DataOptions } from "./inputs.ts";
import { addEngineOptions, positiveNumber, wholeNumber, withEngine, type CommonOptions } from "./session.ts";

interface GpOptions extends CommonOptions, DataOptions {
  readonly arch: string;
  readonly train: string;
  readonly validation?: string;
  readonly test?: string;
  readonly jitter?: string;
  readonly lambda?: string;
  readonly solver: "auto" | "cholesky" | "cg" | "eigh";
  readonly tolerance?: string;
  readonly scratch?: string;
  readonly keepFactor?: string;
  readonly precision: "f32" | "f64";
  readonly tile: string;
  readonly store?: string;
  readonly kxx?: string;
  readonly kxv?: string;
  readonly kxt?: string;
  readonly scores?: string;
  readonly variance?: true;
  readonly report?: string;
  readonly plan?: true;
  readonly assumeRate?: string;
  readonly assumeGflops?: string;
}

const SETS = ["train", "validation", "test"] as const;

export function gpCommand(): Command {
  const command = new Command("gp").description(
    "classify images with the Gaussian process of an infinitely wide network",
  );
  return addEngineOptions(addDataOptions(command))
    .option("--train <ranges>", "training images", "0:1000")
    .option("--validation <ranges>", "validation images")
    .option("--test <ranges>", "test images")
    .option(
      "--jitter <x|auto|noise>",
      "added to the diagonal, relative to its mean; auto: the least that works; noise (default): what float32 errors " +
        "call for",
    )
    .option("--lambda <x>", "added to the diagonal as it is, instead of a jitter")
    .addOption(
      new Option(
        "--solver <name>",
        "how the system is solved; auto: by its size and the memory, with the reason on stderr",
      )
        .choices(["auto", "cholesky", "cg", "eigh"])
        .default("auto"),
    )
    .option("--tolerance <x>", "relative residual at which conjugate gradients stop (default: 1e-8)")
    .option(
      "--scratch <folder>",
      "where a factor goes that memory does not hold (default: a fresh folder for temporary files)",
    )
    .option("--keep-factor <folder>", "the same, and the factor stays there")
    .addOption(
      new Option("--precision <name>", "f64: kernels in float64 on wasm").choices(["f32", "f64"]).default("f32"),
    )
    .option("--tile <n>", "rows and columns of a kernel tile", String(DEFAULT_TILE))
    .option("--store <folder>", "keep kxx.zarr, kxv.zarr and kxt.zarr here, and go on from there")
    .option("--kxx <store>", "the training kernel, already on disk (its leading part is used)")
    .option("--kxv <store>", "the kernel of training (rows) and validation images, likewise")
    .option("--kxt <store>", "the kernel of training (rows) and test images, likewise")
    .option("--scores <file>", "write every prediction with its class probabilities as CSV, calibrated on --validation")
    .option("--report <file>", "write a page with tables, figures and misclassified images (HTML)")
    .option("--variance", "predictive variances too: a summary, and with --scores each image's")
    .option("--plan", "print what it would take (time from a quick calibration, memory, disk), and run nothing")
    .option("--assume-rate <pairs/s>", "with --plan: kernels at this rate, of a machine that is not at hand")
    .option("--assume-gflops <x>", "with --plan: the factorisation at this many GFLOP/s")
    .action(run);
}

async function run(options: GpOptions): Promise<void> {
  await withEngine(options, async (engine, session) => {
    const { signal, progress, json } = session;
    const images = { train: options.train, validation: options.validation, test: options.test };
    const dataset = await openDataset(options, engine, session, images);
    const files = await nodeFiles();
    const ranges = (name: "validation" | "test") => {
      const text = options[name];
      return text === undefined ? undefined : openRanges(`--${name}`, text, dataset);
    };
    const sets = {
      train: openRanges("--train", options.train, dataset),
      validation: ranges("validation"),
      test: ranges("test"),
    };
    if (options.scores !== undefined && sets.validation === undefined)
      throw new WidefieldError("E_CONFIG", "--scores needs --validation: the scores are calibrated on it");
    if (options.plan !== true && (options.assumeRate ?? options.assumeGflops) !== undefined)
      throw new WidefieldError("E_CONFIG", "--assume-rate and --assume-gflops are for --plan");
    for (const [kernel, set] of [
      ["kxv", "validation"],
      ["kxt", "test"],
    ] as const) {
      if (options[kernel] !== undefined && sets[set] === undefined)
        throw new WidefieldError("E_CONFIG", `--${kernel} needs --${set}: the images that it belongs to`);
    }
    const ridge = ridgeOf(options);
    const scratch = scratchOf(options);
    if (scratch?.temporary === true) removeAtExit(scratch.folder);
    const opened: { kxx?: KernelStore; kxv?: KernelStore; kxt?: KernelStore } = {};
    for (const name of ["kxx", "kxv", "kxt"] as const) {
      const path = options[name];
      if (path !== undefined) opened[name] = await KernelStore.open(files, path);
    }
    const experiment: GpExperiment = {
      engine,
      dataset,
      arch: await openArch(options.arch),
      ...sets,
      precision: options.precision,
      ...ridge,
      // Only Cholesky makes a factor that can be kept.
      solver: options.keepFactor === undefined ? options.solver : "cholesky",
      tolerance: toleranceOf(options),
      scratch: scratch && { files, folder: scratch.folder, keep: scratch.keep },
      tile: wholeNumber("--tile", options.tile),
      folder: options.store === undefined ? undefined : { files, path: await storeFolder(options.store, options.plan) },
      stores: opened,
      variance: options.variance,
      signal,
      onProgress: ({ phase, label, detail, done, total, rate }) =>
        progress.update(label, done, total, detail ?? formatRate(rate, phase === "kernel" ? "pairs/s" : "GFLOP/s")),
    };
    const { backend, adapter, threads } = engine.info;
    const { train, validation = null, test = null } = options;
    const data = { name: dataset.name, sha256: await dataset.sha256() };
    const asked = { arch: options.arch, data, train, validation, test };
    const facts = { ...asked, backend, adapter, threads, precision: options.precision, store: options.store ?? null };
    const where = `${backend} (${adapter}), ${threads} threads, ${options.precision}`;
    if (options.plan === true) {
      const plan = await planGp(experiment, {
        assumePairsPerSecond: rateOf("--assume-rate", options.assumeRate),
        assumeGflops: rateOf("--assume-gflops", options.assumeGflops),
      });
      session.print(json ? JSON.stringify({ ...plan, ...facts }) : planText(plan, where));
      return;
    }
    const result = await runGp(experiment).finally(async () => {
      if (scratch?.temporary === true) await rm(scratch.folder, { recursive: true, force: true });
    });
    const { error, kernel, solve, logMarginalLikelihood, temperature, calibration, variance } = result;
    const summary = {
      error,
      kernel,
      solve,
      logMarginalLikelihood: logMarginalLikelihood ?? null,
      temperature,
      calibration,
      variance,
    };
    session.print(json ? JSON.stringify({ ...summary, ...facts }) : summaryText(result, where));
    // Behind the result: a file that cannot be written must not take it along.
    // Nor may one file take the other along.
    const written = await Promise.allSettled([
      options.report === undefined ? undefined : writeReport(options.report, experiment, result),
      options.scores === undefined ? undefined : writeScores(options.scores, dataset, sets, result),
    ]);
    for (const outcome of written) if (outcome.status === "rejected") throw outcome.reason;
  });
}

/** A rate above 0, if there is one. */
function rateOf(name: string, text: string | undefined): number | undefined {
  const rate = text === undefined ? undefined : positiveNumber(name, text);
  if (rate === 0) throw new WidefieldError("E_CONFIG", `${name} is a rate above 0`);
  return rate;
}

export function jitterOf(text: string): number | "auto" | "noise" {
  return text === "auto" || text === "noise" ? text : positiveNumber("--jitter", text);
}

/** What is added to the diagonal. Throws E_CONFIG for a number that cannot be meant. */
function ridgeOf({ jitter, lambda }: GpOptions): Pick<GpExperiment, "jitter" | "lambda"> {
  if (lambda === undefined) return { jitter: jitterOf(jitter ?? "noise") };
  if (jitter !== undefined)
    throw new WidefieldError("E_CONFIG", "--jitter and --lambda are both added to the diagonal: give one of them");
  return { lambda: positiveNumber("--lambda", lambda) };
}

function toleranceOf({ tolerance, solver, keepFactor }: GpOptions): number | undefined {
  if (tolerance === undefined) return undefined;
  if (keepFactor !== undefined)
    throw new WidefieldError(
      "E_CONFIG",
      "--tolerance is for conjugate gradients, and --keep-factor keeps a Cholesky factor",
    );
  if (solver === "cholesky" || solver === "eigh")
    throw new WidefieldError("E_CONFIG", `--tolerance is for conjugate gradients (--solver cg); ${solver} is exact`);
  return positiveNumber("--tolerance", tolerance);
}

interface Scratch {
  readonly folder: string;
  readonly keep: boolean;
  readonly temporary: boolean;
}

/** Where a factor goes that memory does not hold; beside the kernels (undefined) where those are kept. */
function scratchOf({ scratch, keepFactor, store, kxx, solver }: GpOptions): Scratch | undefined {
  if (scratch !== undefined && keepFactor !== undefined)
    throw new WidefieldError(
      "E_CONFIG",
      "--scratch and --keep-factor both say where the factor goes: give one of them",
    );
  if (keepFactor !== undefined && (solver === "cg" || solver === "eigh"))
    throw new WidefieldError("E_CONFIG", `--keep-factor keeps a Cholesky factor, and --solver ${solver} makes none`);
  if (keepFactor !== undefined && store === undefined && kxx === undefined)
    throw new WidefieldError(
      "E_CONFIG",
      "--keep-factor needs --store or --kxx: only of a kernel on disk can a later run know that the factor is its own",
    );
  if (keepFactor !== undefined) return { folder: keepFactor, keep: true, temporary: false };
  if (scratch !== undefined) return { folder: scratch, keep: false, temporary: false };
  if (store !== undefined) return undefined;
  return {
    folder: join(tmpdir(), `widefield-${process.pid}-${Date.now().toString(36)}`),
    keep: false,
    temporary: true,
  };
}

/** However the process ends, unless it is killed: a factor may be large. */
function removeAtExit(folder: string): void {
  process.once("exit", () => {
    rmSync(folder, { recursive: true, force: true });
  });
  process.once("SIGTERM", () => process.exit(143));
}

/** Made, unless this is but a plan. */
async function storeFolder(path: string, plan: true | undefined): Promise<string> {
  const files = await nodeFiles();
  if (plan !== true) await files.makeFolder(path);
  return path;
}

function summaryText(result: GpResult, where: string): string {
  const { error, kernel, solve, logMarginalLikelihood, temperature, calibration, variance } = result;
  const rows = SETS.flatMap((name) => {
    const percent = error[name];
    return percent === undefined ? [] : [[`${name} error`, `${percent.toFixed(2)} %`]];
  });
  const believed = SETS.flatMap((name) => {
    const found = calibration[name];
    if (found === undefined) return [];
    const { negativeLogLikelihood, expectedCalibrationError } = found;
    const ece = `calibration error ${(100 * expectedCalibrationError).toFixed(2)} %`;
    return [[`${name} scores`, `negative log-likelihood ${negativeLogLikelihood.toFixed(4)}, ${ece}`]];
  });
  const variances = SETS.flatMap((name) => {
    const found = variance[name];
    if (found === undefined) return [];
    const [mean, smallest, largest, prior] = [found.mean, found.smallest, found.largest, found.prior].map((value) =>
      value.toPrecision(3),
    );
    return [[`${name} variance`, `mean ${mean}, ${smallest} to ${largest}; prior ${prior}`]];
  });
  const seconds = (value: number) => `${value.toFixed(2)} s`;
  return table([
    ...rows,
    ...(temperature === undefined ? [] : [["temperature", temperature.toPrecision(3)]]),
    ...believed,
    ...variances,
    [
      "log marginal likelihood",
      logMarginalLikelihood === undefined ? "not known to conjugate gradients" : logMarginalLikelihood.toFixed(1),
    ],
    ["kernel", `${kernel.pairs} pairs in ${seconds(kernel.seconds)}, ${formatRate(kernel.pairsPerSecond, "pairs/s")}`],
    ["solve", solveText(solve)],
    ["on", where],
  ]);
}

function solveText({ solver, seconds, gflops, jitter, iterations, relativeResidual }: GpResult["solve"]): string {
  const how = {
    cholesky: gflops > 0 ? `${gflops.toFixed(1)} GFLOP/s` : "when the kept factor was made",
    eigh: "by eigenvectors",
    cg: `${iterations ?? 0} iterations of conjugate gradients, relative residual ${(relativeResidual ?? 0).toExponential(1)}`,
  }[solver];
  return `${seconds.toFixed(2)} s, ${how}, jitter ${jitter}`;
}

/** One line a validation or test image: set, index, label, predicted, score of every class, variance on request. */
async function writeScores(
  path: string,
  dataset: Dataset,
  sets: Readonly<Partial<Record<(typeof SETS)[number], Ranges | undefined>>>,
  { predictions, labels, scores }: GpResult,
): Promise<void> {
  const classes = Array.from({ length: dataset.classes }, (_, c) => `score_${c}`);
  const withVariance = Object.values(predictions).some(({ variance }) => variance !== undefined);
  const lines = [["set", "index", "label", "predicted", ...classes, ...(withVariance ? ["variance"] : [])].join(",")];
  for (const name of SETS) {
    const [ranges, prediction, truth, table] = [sets[name], predictions[name], labels[name], scores[name]];
    if (ranges === undefined || prediction === undefined || truth === undefined || table === undefined) continue;
    indicesOf(ranges).forEach((index, row) => {
      const own = table.subarray(row * dataset.classes, (row + 1) * dataset.classes);
      const variance = prediction.variance === undefined ? [] : [prediction.variance[row]];
      lines.push([name, index, truth[row], prediction.labels[row], ...own, ...variance].join(","));
    });
  }
  await writeText(path, `${lines.join("\n")}\n`);
}

async function writeReport(path: string, experiment: GpExperiment, result: GpResult): Promise<void> {
  // Charts are large: they are loaded when somebody wants them.
  const { renderGpReport } = await import("../sdk/report/gp-report.ts");
  const host = platform();
  const command = commandLine();
  const title = `GP classification of ${experiment.dataset.name}`;
  const facts = { command, title, version, runtime: `${host.name} ${host.version}` };
  await writeText(path, await renderGpReport(gpReport(experiment, result, facts)));
}

async function writeText(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text);
  } catch (cause) {
    throw ioError(cause, "write", path);
  }
}
