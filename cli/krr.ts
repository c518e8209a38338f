/** `widefield krr`: kernel ridge regression over a grid of ridges, from data to errors. */
import { Command, Option } from "commander";
import { kernelToJson, type KernelSpec } from "../sdk/arch/kernel-spec.ts";
import type { Json } from "../sdk/covariance/store/manifest.ts";
import { KernelStore } from "../sdk/covariance/store/store.ts";
import type { Problem } from "../sdk/data/problem.ts";
import { countOf } from "../sdk/data/ranges.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { runKrr, type KrrExperiment, type KrrResult } from "../sdk/experiments/krr.ts";
import { krrCsv, krrJson, requireSameJob, writeArrays } from "../sdk/experiments/krr-files.ts";
import { parseLambdas } from "../sdk/experiments/krr-lambdas.ts";
import { version } from "../sdk/index.node.ts";
import { KRR_METHODS, type KrrMethod } from "../sdk/learn/krr-plan.ts";
import type { RegressionScores } from "../sdk/learn/regression-scores.ts";
import { type Files, replaceFile } from "../sdk/platform/files.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { platform } from "../sdk/platform/platform.ts";
import { commandLine } from "./command-line.ts";
import { formatRate, table } from "./format.ts";
import { openRanges } from "./inputs.ts";
import { addKernelOptions, kernelFromOptions, type KernelOptions } from "./kernel-options.ts";
import { addProblem, openProblemOf, unionOf, type ProblemOptions } from "./krr-inputs.ts";
import {
  addEngineOptions,
  positiveNumber,
  wholeNumber,
  withEngine,
  type CommonOptions,
  type Session,
} from "./session.ts";

export interface RegressionOptions {
  readonly method: "auto" | KrrMethod;
  readonly tolerance?: string;
  readonly precision: "f32" | "f64";
  readonly tile?: string;
}

interface KrrOptions extends CommonOptions, ProblemOptions, KernelOptions, RegressionOptions {
  readonly lambda: string;
  readonly train: string;
  readonly test?: string;
  readonly skipIndefinite?: true;
  readonly kxx?: string;
  readonly kxt?: string;
  readonly out?: string;
  readonly scratch?: string;
  readonly keepCoefficients?: string;
  readonly keepPredictions?: string;
}

export function krrCommand(): Command {
  const command = new Command("krr").description(
    "regress a problem's targets by kernel ridge regression, for a grid of ridges at once",
  );
  return addRegression(addEngineOptions(addKernelOptions(addProblem(command))))
    .requiredOption(
      "--lambda <grid>",
      "added to the kernel's diagonal as it is: low:high:count (geometric), a list, or one number",
    )
    .option("--train <ranges>", "training images", "0:1000")
    .option("--test <ranges>", "test images")
    .option("--skip-indefinite", "leave out lambdas that are too small for the kernel, instead of refusing the grid")
    .option("--kxx <store>", "the training kernel, already on disk (its leading part is used)")
    .option("--kxt <store>", "the kernel of training (rows) and test images, likewise")
    .option(
      "--out <folder>",
      "keep kernels, results and a manifest here; the same folder again goes on where it stopped",
    )
    .option("--scratch <folder>", "where a factor goes that memory does not hold")
    .option("--keep-coefficients <file>", "write the coefficients as .npy, [solved lambdas, train, outputs]")
    .option(
      "--keep-predictions <file>",
      "write the predictions of test images as .npy, [solved lambdas, test, outputs]",
    )
    .action(run);
}

/** What fitting takes, whatever is fitted. */
export function addRegression(command: Command): Command {
  return command
    .addOption(
      new Option("--method <name>", "how ridges are solved for; auto: by the expected time, with the reason on stderr")
        .choices(["auto", ...KRR_METHODS])
        .default("auto"),
    )
    .option("--tolerance <x>", "relative residual at which conjugate gradients stop (default: 1e-8)")
    .addOption(
      new Option("--precision <name>", "f64: kernels in float64 on wasm").choices(["f32", "f64"]).default("f32"),
    )
    .option(
      "--tile <n>",
      "rows and columns of the tiles that kernels are computed and kept in, 1 to 8192 (default: by the kernel)",
    );
}

/** Those options, for an experiment. Throws E_CONFIG. */
export function regressionOf({ method, tolerance, precision, tile }: RegressionOptions) {
  if (tolerance !== undefined && method !== "auto" && method !== "multi-shift-cg")
    throw new WidefieldError("E_CONFIG", `--tolerance is for conjugate gradients; ${method} is exact`);
  return {
    ...{ method, precision },
    tolerance: tolerance === undefined ? undefined : positiveNumber("--tolerance", tolerance),
    tile: tile === undefined ? undefined : wholeNumber("--tile", tile),
  };
}

async function run(options: KrrOptions): Promise<void> {
  const lambdas = lambdasOf(options.lambda);
  const regression = regressionOf(options);
  for (const name of ["kxt", "keepPredictions"] as const)
    if (options[name] !== undefined && options.test === undefined)
      throw new WidefieldError(
        "E_CONFIG",
        `--${name === "kxt" ? name : "keep-predictions"} needs --test: the images that it belongs to`,
      );
  await withEngine(options, async (engine, session) => {
    const { signal, progress, json } = session;
    const kernel = await kernelFromOptions(options);
    const problem = await openProblemOf(
      options,
      engine,
      session,
      unionOf({ train: options.train, test: options.test }),
    );
    const files = await nodeFiles();
    const stores: { kxx?: KernelStore; kxt?: KernelStore } = {};
    for (const name of ["kxx", "kxt"] as const) {
      const path = options[name];
      if (path !== undefined) stores[name] = await KernelStore.open(files, path);
    }
    const job = await jobOf(problem, kernel, options, lambdas);
    if (options.out !== undefined) {
      await files.makeFolder(options.out);
      await requireSameJob(files, options.out, job);
    }
    const experiment: KrrExperiment = {
      ...{ engine, problem, kernel, lambdas, stores, signal },
      ...regression,
      train: openRanges("--train", options.train, problem.dataset),
      test: options.test === undefined ? undefined : openRanges("--test", options.test, problem.dataset),
      indefinite: options.skipIndefinite === true ? "skip" : "refuse",
      folder: options.out === undefined ? undefined : { files, path: options.out },
      scratch: options.scratch === undefined ? undefined : { files, folder: options.scratch },
      onProgress: ({ phase, label, detail, done, total, rate }) =>
        progress.update(label, done, total, detail ?? (phase === "kernel" ? formatRate(rate, "pairs/s") : "")),
    };
    const result = await runKrr(experiment);
    const facts = await manifestOf(engine, problem, kernel, options, stores);
    if (options.out !== undefined) await writeResults(files, options.out, result, { ...facts, job });
    session.print(json ? JSON.stringify({ ...krrJson(result), ...facts }) : summaryText(result, session));
    // Behind the result: a file that cannot be written must not take it along.
    await writeKept(files, options, experiment, result);
  });
}

export function lambdasOf(text: string): readonly number[] {
  try {
    return parseLambdas(text);
  } catch (thrown) {
    if (thrown instanceof WidefieldError)
      throw new WidefieldError(thrown.code, `--${thrown.message}`, { cause: thrown });
    throw thrown;
  }
}

/** All that the results depend on: a folder keeps those of one job. */
async function jobOf(
  problem: Problem,
  kernel: KernelSpec,
  options: KrrOptions,
  lambdas: readonly number[],
): Promise<Readonly<Record<string, Json>>> {
  const {
    train,
    test = null,
    precision,
    method,
    tolerance = null,
    skipIndefinite = false,
    kxx = null,
    kxt = null,
  } = options;
  return {
    problem: problem.name,
    dataset: { name: problem.dataset.name, sha256: await problem.dataset.sha256() },
    kernel: kernelToJson(kernel) as Json,
    ...{ train, test, precision, method, tolerance, skipIndefinite, kxx, kxt },
    lambdas: [...lambdas],
  };
}

/** What was asked for, of which data, and where it ran. */
async function manifestOf(
  engine: Engine,
  problem: Problem,
  kernel: KernelSpec,
  options: KrrOptions,
  stores: NonNullable<KrrExperiment["stores"]>,
) {
  const { backend, adapter, threads } = engine.info;
  const host = platform();
  return {
    command: commandLine(),
    widefield: version,
    problem: problem.name,
    dataset: { name: problem.dataset.name, sha256: await problem.dataset.sha256() },
    kernel: kernelToJson(kernel),
    ...{ train: options.train, test: options.test ?? null, precision: options.precision },
    ...storePrecisions(stores),
    ...{ backend, adapter, threads, seed: engine.seed, runtime: `${host.name} ${host.version}` },
  };
}

/** What stores that were given were computed in, whatever was asked for. */
function storePrecisions({ kxx, kxt }: NonNullable<KrrExperiment["stores"]>) {
  if (kxx === undefined && kxt === undefined) return {};
  const of = (store: KernelStore | undefined) => store?.manifest.precision ?? null;
  return { storePrecision: { kxx: of(kxx), kxt: of(kxt) } };
}

async function writeResults(files: Files, folder: string, result: KrrResult, facts: object): Promise<void> {
  const encode = (text: string) => new TextEncoder().encode(text);
  await replaceFile(files, `${folder}/results.csv`, encode(krrCsv(result.rows)));
  await replaceFile(files, `${folder}/results.json`, encode(`${JSON.stringify(krrJson(result), null, 2)}\n`));
  const manifest = { ...facts, created: new Date().toISOString() };
  await replaceFile(files, `${folder}/manifest.json`, encode(`${JSON.stringify(manifest, null, 2)}\n`));
}

/** Neither file may take the other along. */
async function writeKept(
  files: Files,
  { keepCoefficients, keepPredictions }: KrrOptions,
  { problem: { outputs }, train, test }: KrrExperiment,
  { model, predictions }: KrrResult,
): Promise<void> {
  const count = model.fits.length;
  const coefficients = function* () {
    for (let index = 0; index < count; index++) yield model.coefficients(index);
  };
  const written = await Promise.allSettled([
    keepCoefficients === undefined
      ? undefined
      : writeArrays(files, keepCoefficients, coefficients(), [count, countOf(train), outputs]),
    keepPredictions === undefined
      ? undefined
      : writeArrays(
          files,
          keepPredictions,
          predictions.map((each) => each.predictions),
          [count, countOf(test ?? []), outputs],
        ),
  ]);
  for (const outcome of written) if (outcome.status === "rejected") throw outcome.reason;
}

function summaryText(result: KrrResult, session: Session): string {
  const { rows, best, kernel, solve } = result;
  for (const { reason } of rows) if (reason !== undefined) session.note(`left out: ${reason}`);
  const sets = rows.some(({ test }) => test !== undefined) ? (["train", "test"] as const) : (["train"] as const);
  const accuracies = rows.some(({ train }) => train?.accuracy !== undefined);
  const names = ["squared error", "R^2", ...(accuracies ? ["accuracy"] : [])];
  const head = ["lambda", ...sets.flatMap((set) => names.map((name) => `${set} ${name}`)), ""];
  const lines = rows.map((row) => [
    String(Number(row.lambda.toPrecision(4))),
    ...sets.flatMap((set) => cells(row[set], accuracies)),
    row === best ? "best" : (row.refusal ?? ""),
  ]);
  const made = `${kernel.pairs} pairs in ${kernel.seconds.toFixed(2)} s`;
  const rate = kernel.pairs === 0 ? "from disk" : `${made}, ${formatRate(kernel.pairsPerSecond, "pairs/s")}`;
  return [
    table([head, ...lines]),
    "",
    table([
      ["kernel", rate],
      [
        "solve",
        `${solve.seconds.toFixed(2)} s by ${solve.method}, ${rows.length} ${rows.length === 1 ? "lambda" : "lambdas"}`,
      ],
    ]),
  ].join("\n");
}

function cells(scores: RegressionScores | undefined, accuracies: boolean): string[] {
  const text = (value: number | undefined, format: (value: number) => string) =>
    value === undefined ? "" : format(value);
  return [
    text(scores?.squaredError, (value) => value.toPrecision(5)),
    text(scores?.r2, (value) => value.toFixed(5)),
    ...(accuracies ? [text(scores?.accuracy, (value) => `${(100 * value).toFixed(2)} %`)] : []),
  ];
}
