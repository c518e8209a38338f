/** From what the command line names to what the SDK takes: data sets, architectures, ranges, shards. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { type Arch } from "../sdk/arch/arch.ts";
import { archFromJson } from "../sdk/arch/json.ts";
import { preset, presetNames } from "../sdk/arch/presets.ts";
import type { Shard } from "../sdk/covariance/store/grid.ts";
import type { Dataset } from "../sdk/data/dataset.ts";
import { readFileFromDisk } from "../sdk/data/files.ts";
import { parseRanges, type Ranges } from "../sdk/data/ranges.ts";
import { loadDataset } from "../sdk/data/registry.ts";
import { messageOf, WidefieldError } from "../sdk/errors.ts";

export interface DataOptions {
  readonly data: string;
  readonly dataDir?: string;
  readonly quiet?: true;
}

export function addDatasetOptions(command: Command): Command {
  return command
    .option(
      "--data <name>",
      "data set: digits (built in), mnist, fmnist, notmnist, cifar10, npy (own arrays)",
      "digits",
    )
    .option("--data-dir <folder>", "the folder of the data set's files");
}

export function addDataOptions(command: Command): Command {
  return addDatasetOptions(command).option(
    "--arch <name|file>",
    `architecture: ${presetNames.join(", ")}, or a JSON file`,
    "convnet-gp",
  );
}

export async function openDataset({ data, dataDir, quiet }: DataOptions, seed: number): Promise<Dataset> {
  const dir = dataDir === undefined ? {} : { dataDir };
  const log = (line: string) => {
    if (quiet !== true) process.stderr.write(`${line}\n`);
  };
  return loadDataset(data, { readFile: readFileFromDisk, seed, log, ...dir });
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
