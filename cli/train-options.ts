/**
 * The options of `widefield train`, under the names of Friesen and Domingos' published script, and what they make of
 * settings. Lists are separated by spaces, as there, or by commas.
 */
import { Option, type Command } from "commander";
import { readFile } from "node:fs/promises";
import { WidefieldError, messageOf } from "../sdk/errors.ts";
import { nonlinearity, nonlinearityNames } from "../sdk/experiments/nonlinearities.ts";
import {
  TRAIN_ARCHS,
  TRAIN_DATASETS,
  TRAIN_LOSSES,
  TRAIN_OPTIMISERS,
  TRAIN_SCHEDULES,
  trainSettings,
  type TrainSettings,
  type TrainSettingsInput,
} from "../sdk/experiments/train-settings.ts";
import { targetRuleNames } from "../sdk/tensor/target-rules.ts";
import { addOutputOptions, wholeNumber, type CommonOptions } from "./session.ts";

/** How a run is made and where it goes: apart from settings, for recipes too. */
export interface RunOptions extends Omit<CommonOptions, "seed"> {
  readonly seed?: string;
  readonly dataRoot?: string;
  readonly download?: true;
  readonly skipBad?: true;
  readonly nworkers: string;
  readonly gpus?: string[];
  /** False with --no-save. */
  readonly save?: string | false;
  readonly logInfo?: string;
  readonly resume?: string;
  readonly testModel?: string;
  readonly diagnostics?: true;
  readonly tbSamplePct: string;
  readonly tbDropPct: string;
  /** False with --no-tb-log. */
  readonly tbLog: boolean;
}

export interface SettingsOptions {
  readonly ds?: string;
  readonly arch?: string;
  readonly nonlin?: string;
  readonly tpRule?: string;
  /** False with --no-tp-grad-scale, and so on. */
  readonly tpGradScale: boolean;
  readonly loss?: string;
  readonly useBn?: true;
  readonly opt?: string;
  readonly lr?: string;
  readonly momentum?: string;
  readonly wtdecay?: string;
  readonly lrDecay?: string;
  readonly lrDecayEpochs?: string[];
  readonly schedule?: string;
  readonly warmup?: string;
  readonly epochs?: string;
  readonly batch?: string;
  readonly accumulate?: string;
  readonly testBatch?: string;
  readonly val: boolean;
  readonly plotTest?: true;
  readonly testFinalModel?: true;
  readonly aug: boolean;
  readonly dbgDsSize?: string;
  readonly limit?: string;
  readonly init?: string;
}

export function addSettingsOptions(command: Command): Command {
  const named = (flags: string, text: string, names: readonly string[]) => new Option(flags, text).choices(names);
  return command
    .addOption(named("--ds <name>", "data set to train on (default: cifar10)", TRAIN_DATASETS))
    .option(
      "--arch <name|file>",
      `network: ${TRAIN_ARCHS.join(", ")}, or an architecture's JSON file (layers without a width have 100)`,
    )
    .option("--nonlin <name>", `its nonlinearity: ${nonlinearityNames.join(", ")}`)
    .option("--tp-rule <name>", `how hard thresholds go back: ${targetRuleNames.join(", ")} (default: SoftHinge)`)
    .option("--no-tp-grad-scale", "divide target propagation's losses by the batch size, in place of weighting by |g|")
    .addOption(named("--loss <name>", "of the classes (default: crossent)", TRAIN_LOSSES))
    .option("--use-bn", "with batch normalisation")
    .addOption(named("--opt <name>", "optimiser (default: sgd)", TRAIN_OPTIMISERS))
    .option("--lr <x>", "learning rate to begin with")
    .option("--momentum <x>", "of sgd (default: 0.9)")
    .option("--wtdecay <x>", "weight decay, as L2 (default: 0)")
    .option("--lr-decay <x>", "factor of the rate at each of --lr-decay-epochs (default: 0.1)")
    .option("--lr-decay-epochs <n...>", "epochs, counted from 1, before which the rate changes")
    .addOption(
      named("--schedule <name>", "steps: --lr-decay-epochs; linear: to zero; cosine: to zero", TRAIN_SCHEDULES),
    )
    .option("--warmup <n>", "epochs over which a cosine's rate rises first")
    .option("--epochs <n>", "epochs in all (default: 300)")
    .option("--batch <n>", "images of a training batch (default: 64)")
    .option("--accumulate <n>", "batches whose gradients make one step (default: 1)")
    .option("--test-batch <n>", "images of a validation or test batch (default: as --batch)")
    .option("--no-val", "train on the validation images too, and keep the last model")
    .option("--plot-test", "test after every epoch")
    .option(
      "--test-final-model",
      "test the trained model: the best on the validation images, or with --no-val the last",
    )
    .option("--no-aug", "no random crops and mirror images")
    .option("--dbg-ds-size <n>", "train on the first n images only")
    .option("--limit <n>", "the same")
    .option("--init <name>", "initialiser: pytorch, prior, xavier, xavierNormal, he, heFanOut (default: pytorch)");
}

export function addRunOptions(command: Command): Command {
  return addOutputOptions(command)
    .addOption(
      new Option("--backend <name>", "where to compute; auto: a hardware GPU, else wasm")
        .choices(["auto", "webgpu", "wasm"])
        .default("auto"),
    )
    .option("--adapter <name>", "part of a GPU's name; software adapters are used only when named")
    .option("--threads <n>", "threads of the wasm backend (default: all cores)")
    .option("--memory <bytes>", "what may be held at once, such as 2GB (default: half the machine's memory)")
    .option("--seed <n>", "of weights, order, crops and dropout (default: 468412397)")
    .option("--data-root <folder>", "where the data set's files are (default: data/NAME; imagenet: train/ and val/)")
    .option("--download", "fetch what is missing of the data set first")
    .option("--skip-bad", "leave out images that do not decode, and say which")
    .option("--nworkers <n>", "threads that prepare batches; 0: none", "2")
    .option("--gpus <names...>", "several GPUs, by parts of their names, among which every batch is cut")
    .option("--save <folder>", "where checkpoints and records go (default: logs/...); the same folder again goes on")
    .option("--no-save", "write nothing")
    .option("--log-info <text>", "added to the default folder's name")
    .option("--resume <folder>", "go on from the last checkpoint of this folder, which has to have one")
    .option("--test-model <folder>", "train nothing: test the model of this run's folder")
    .option("--diagnostics", "histograms of what hard thresholds take and give, in the event files")
    .option("--tb-sample-pct <x>", "part of the numbers that histograms count, from 0 to 1", "0.01")
    .option("--tb-drop-pct <x>", "part of the batches that histograms leave out, from 0 to 1", "0.95")
    .option("--no-tb-log", "no event files for TensorBoard");
}

/** A number of an option, NaN where it is none: settings say what is wrong with it. */
function number(text: string | undefined): number | undefined {
  return text === undefined ? undefined : text.trim() === "" ? Number.NaN : Number(text);
}

/** Entries that are there. */
function given<T extends object>(entries: T): Partial<{ [K in keyof T]: Exclude<T[K], undefined> }> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined)) as never;
}

/**
 * Settings of the options, over those of `base` (a recipe's). Throws E_CONFIG, also for a nonlinearity that cannot be: before
 * images are fetched.
 */
export async function settingsOf(
  options: Partial<SettingsOptions> & Pick<RunOptions, "seed">,
  base?: TrainSettings,
): Promise<TrainSettings> {
  const { arch, limit, dbgDsSize } = options;
  const off = (flag: boolean | undefined): false | undefined => (flag === false ? false : undefined);
  const merged = {
    ...base,
    ...given({
      ds: options.ds?.toLowerCase(),
      arch: arch === undefined ? undefined : await archOption(arch),
      nonlin: options.nonlin,
      tpRule: options.tpRule,
      tpGradScale: off(options.tpGradScale),
      loss: options.loss,
      useBn: options.useBn,
      opt: options.opt,
      lr: number(options.lr),
      momentum: number(options.momentum),
      wtdecay: number(options.wtdecay),
      lrDecay: number(options.lrDecay),
      lrDecayEpochs: options.lrDecayEpochs?.flatMap((text) => text.split(",")).map(Number),
      schedule: options.schedule,
      warmup: number(options.warmup),
      epochs: number(options.epochs),
      batch: number(options.batch),
      accumulate: number(options.accumulate),
      testBatch: number(options.testBatch),
      val: off(options.val),
      plotTest: options.plotTest,
      testFinalModel: options.testFinalModel,
      aug: off(options.aug),
      dbgDsSize: number(dbgDsSize ?? limit),
      init: options.init,
      seed: options.seed === undefined ? undefined : wholeNumber("--seed", options.seed),
    }),
  };
  for (const name of ["arch", "lr"] as const)
    if (merged[name] === undefined) throw new WidefieldError("E_CONFIG", `--${name} is needed: see --help`);
  const settings = trainSettings(merged as TrainSettingsInput);
  const { nonlin, tpRule: rule, tpGradScale: gradScale } = settings;
  if (typeof settings.arch === "string") nonlinearity(nonlin, { rule, gradScale });
  else requireNoLayers(options);
  return settings;
}

/** Throws E_CONFIG for options that choose layers of named networks. */
function requireNoLayers({ arch = "", nonlin, tpRule, tpGradScale, useBn }: Partial<SettingsOptions>): void {
  const flags = [
    ...(nonlin === undefined ? [] : ["--nonlin"]),
    ...(tpRule === undefined ? [] : ["--tp-rule"]),
    ...(tpGradScale === false ? ["--no-tp-grad-scale"] : []),
    ...(useBn === undefined ? [] : ["--use-bn"]),
  ];
  if (flags.length === 0) return;
  throw new WidefieldError(
    "E_CONFIG",
    `${flags.join(", ")}: for ${TRAIN_ARCHS.join(", ")}; the layers of ${arch} are all in the file`,
  );
}

/** The name of a network, or what stands in a JSON file: anything with a path separator or a dot is one. */
async function archOption(name: string): Promise<unknown> {
  if (!/[./\\]/.test(name)) return name;
  try {
    return JSON.parse(await readFile(name, "utf8"));
  } catch (cause) {
    throw new WidefieldError("E_CONFIG", `--arch ${name}: ${messageOf(cause)}`, { cause });
  }
}
