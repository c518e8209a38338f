/** From what the command line names to what the SDK takes: data sets, architectures, ranges, shards. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { type Arch } from "../sdk/arch/arch.ts";
import { archFromJson } from "../sdk/arch/json.ts";
import { preset, presetNames } from "../sdk/arch/presets.ts";
import type { Shard } from "../sdk/covariance/store/grid.ts";
import type { Dataset, ImageShape } from "../sdk/data/dataset.ts";
import { readFileFromDisk } from "../sdk/data/files.ts";
import { problemNames } from "../sdk/data/problems.ts";
import { parseRanges, type Ranges } from "../sdk/data/ranges.ts";
import { DATASETS, findDataset, loadDataset } from "../sdk/data/registry.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { messageOf, WidefieldError } from "../sdk/errors.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { unionOf } from "./krr-inputs.ts";
import { addProblemOptions, openProblemFrom, type ProblemInputs } from "./problem-inputs.ts";
import type { Session } from "./session.ts";

export interface DataOptions extends ProblemInputs {
  readonly data: string;
  readonly quiet?: true;
}

/** --data and what makes it another one: its folder, and noise. */
export function addDatasetOptions(command: Command): Command {
  const named = command.option(
    "--data <name>",
    "data set: digits (built in), mnist, fmnist, notmnist, cifar10, cifar2, npy (own arrays); with noise: mnist-hf, mnist-lf, ..",
    "digits",
  );
  return addProblemOptions(named, { kappa: false });
}

export function addDataOptions(command: Command): Command {
  return addDatasetOptions(command).option(
    "--arch <name|file>",
    `architecture: ${presetNames.join(", ")}, or a JSON file`,
    "convnet-gp",
  );
}

/**
 * The data set of the options, with its noise. `images`: the ranges of the command's options, by their names: noise is made
 * for their images only. Throws as `openProblem`.
 */
export async function openDataset(
  options: DataOptions,
  engine: Engine,
  session: Pick<Session, "signal" | "progress">,
  images: Readonly<Record<string, string | undefined>>,
): Promise<Dataset> {
  const { data, noise, level, noiseSeed } = options;
  const name = data.toLowerCase();
  if (name === "synth")
    throw new WidefieldError("E_CONFIG", "--data synth: its labels are numbers, not classes; see widefield krr");
  const made = problemNames().includes(name) && !DATASETS.some((entry) => entry.name === name);
  if (!made && (noise ?? level ?? noiseSeed) === undefined) return loadPlain(options, name, engine.seed);
  return (await openProblemFrom(name, options, engine, session, unionOf(images))).dataset;
}

/** The shape of its images, which noise leaves as it is; files are read only where they tell. */
export async function shapeOfImages(options: DataOptions): Promise<ImageShape> {
  const name = options.data.toLowerCase().replace(/-(hf|lf)$/, "");
  if (name === "cifar2") return { channels: 1, height: 32, width: 32 };
  return findDataset(name).shape ?? (await loadPlain(options, name, 0)).shape;
}

async function loadPlain({ dataDir, quiet }: DataOptions, name: string, seed: number): Promise<Dataset> {
  const dir = dataDir === undefined ? {} : { dataDir };
  const log = (line: string) => {
    if (quiet !== true) process.stderr.write(`${line}\n`);
  };
  return loadDataset(name, { readFile: readFileFromDisk, files: await nodeFiles(), seed, log, ...dir });
}

/** A preset by its name, else a JSON file: anything with a path separator or a dot is a file. */
export async function openArch(name: string): Promise<Arch> {
  if (presetNames.includes(name) || !/[./\\]/.test(name)) return preset(name);
  let text: string;
  try {
    text = await readFile(name, "utf8");
  } catch (cause) {
    throw new WidefieldError("E_CONFIG", `--arch ${name}: ${messageOf(cause)}; presets are ${presetNames.join(", ")}`, {
      cause,
    });
  }
  try {
    return archFromJson(text);
  } catch (thrown) {
    if (thrown instanceof WidefieldError)
      throw new WidefieldError(thrown.code, `${name}: ${thrown.message}`, { cause: thrown });
    throw thrown;
  }
}

/** The ranges of an option, with its name in the error. */
export function openRanges(option: string, text: string, dataset: Dataset): Ranges {
  try {
    return parseRanges(text, dataset.count, dataset.name);
  } catch (thrown) {
    if (thrown instanceof WidefieldError)
      throw new WidefieldError(thrown.code, `${option}: ${thrown.message}`, { cause: thrown });
    throw thrown;
  }
}

/** "1/4": the second of four, counted from 0. */
export function parseShard(text: string): Shard {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const [index, count] = [Number(match?.[1]), Number(match?.[2])];
  if (match !== null && index < count) return { index, count };
  throw new WidefieldError("E_CONFIG", `--shard ${text}: write i/n with 0 <= i < n, such as 0/4`);
}
