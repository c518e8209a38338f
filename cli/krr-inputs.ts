/**
 * What the commands on regression take from the command line: the problem, at the level asked for. The one place that
 * knows where problems come from.
 *
 * PLACEHOLDER, to be replaced by `problem-inputs.ts`: the built-in digits, with white noise for a sweep.
 */
import type { Command } from "commander";
import type { Json } from "../sdk/covariance/store/manifest.ts";
import { Dataset } from "../sdk/data/dataset.ts";
import { findDataset } from "../sdk/data/registry.ts";
import type { Problem } from "../sdk/data/problem.ts";
import { parseRanges, type Ranges } from "../sdk/data/ranges.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { RandomStream } from "../sdk/engine/rng.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { sha256 } from "../sdk/platform/digest.ts";
import { openDataset } from "./inputs.ts";
import type { Session } from "./session.ts";

export interface ProblemOptions {
  readonly dataset?: string;
  /** The same, by the name that other commands have for it. */
  readonly data?: string;
  readonly dataDir?: string;
}

export const DEFAULT_PROBLEM = "digits";

export function addProblem(command: Command): Command {
  return command
    .option("--dataset <name>", `the problem: a data set, or one with noise (default: "${DEFAULT_PROBLEM}")`)
    .option("--data <name>", "the same as --dataset")
    .option("--data-dir <folder>", "the folder of the data set's files");
}

/** The name that the options give. Throws E_CONFIG where they give two. */
export function problemName({ dataset, data }: ProblemOptions): string {
  if (dataset !== undefined && data !== undefined && dataset !== data)
    throw new WidefieldError("E_CONFIG", `--dataset ${dataset} and --data ${data} are two names: give one of them`);
  return dataset ?? data ?? DEFAULT_PROBLEM;
}

/** What a problem's levels are made from, beside its name: sweeps with other settings are other sweeps. */
export function problemSettings(_options: ProblemOptions, engine: Engine): Readonly<Record<string, Json>> {
  return { seed: engine.seed };
}

/** A problem; `level` in place of the options', where a sweep goes through several. `ranges`: all that is asked for. */
export async function openProblemOf(
  options: ProblemOptions,
  engine: Engine,
  _session: Pick<Session, "signal" | "progress">,
  _ranges: Ranges | undefined,
  level?: number,
): Promise<Problem> {
  const name = problemName(options);
  findDataset(name);
  const dataset = await openDataset({ data: name, ...(options.dataDir && { dataDir: options.dataDir }) }, engine.seed);
  if (level === undefined) return oneHotProblem(name, dataset);
  return oneHotProblem(`${name} level ${level}`, noisy(dataset, level));
}

/** White noise, for want of better. */
function noisy(dataset: Dataset, level: number): Dataset {
  const { name, shape, classes, trainCount, testCount, labels } = dataset;
  return new Dataset({
    ...{ name, shape, classes, trainCount, testCount, labels },
    writeImage(index, out, offset) {
      const { images } = dataset.selectFloat64([{ start: index, end: index + 1 }]);
      const random = new RandomStream(index, level);
      images.forEach((value, at) => (out[offset + at] = value + 0.15 * level * random.normal()));
    },
    digest: async () => sha256(`${await dataset.sha256()} ${level}`),
  });
}

function oneHotProblem(name: string, dataset: Dataset): Problem {
  return {
    name,
    dataset,
    outputs: dataset.classes,
    decision: "argmax",
    targets(ranges) {
      const list = typeof ranges === "string" ? parseRanges(ranges, dataset.count, dataset.name) : ranges;
      const labels = list.flatMap(({ start, end }) => [...dataset.labels.subarray(start, end)]);
      const targets = new Float64Array(labels.length * dataset.classes).fill(-0.1);
      labels.forEach((label, row) => (targets[row * dataset.classes + label] = 0.9));
      return targets;
    },
  };
}

/** Images that are not counted yet. */
const UNKNOWN = 2 ** 52;

/**
 * All images of the options' ranges, as few ranges in order, before the data set is there; undefined where one of them
 * ends at its end. Throws E_RANGE.
 */
export function unionOf(options: Readonly<Record<string, string | undefined>>): Ranges | undefined {
  const all = Object.entries(options).flatMap(([name, text]) => (text === undefined ? [] : rangesOf(name, text)));
  if (all.some(({ end }) => end === UNKNOWN)) return undefined;
  const merged: { start: number; end: number }[] = [];
  for (const { start, end } of all.sort((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end);
    else merged.push({ start, end });
  }
  return merged;
}

function rangesOf(name: string, text: string): Ranges {
  try {
    return parseRanges(text, UNKNOWN, `--${name}`);
  } catch (thrown) {
    if (!(thrown instanceof WidefieldError)) throw thrown;
    throw new WidefieldError(thrown.code, thrown.message.replace(/; valid bounds.*/, ""), { cause: thrown });
  }
}
