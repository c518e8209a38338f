/** What the commands on regression take from the command line: the problem, at the level asked for, and its images. */
import type { Command } from "commander";
import type { Json } from "../sdk/covariance/store/manifest.ts";
import type { Problem } from "../sdk/data/problem.ts";
import { parseRanges, type Ranges } from "../sdk/data/ranges.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { addProblemOptions, openProblemFrom, type ProblemInputs } from "./problem-inputs.ts";
import type { Session } from "./session.ts";

export interface ProblemOptions extends ProblemInputs {
  readonly dataset?: string;
  /** The same, by the name that other commands have for it. */
  readonly data?: string;
}

export const DEFAULT_PROBLEM = "digits";

/** `levels`: the command goes through several. */
export function addProblem(command: Command, { levels = false }: { readonly levels?: boolean } = {}): Command {
  const named = command
    .option("--dataset <name>", `the problem: a data set, or one with noise (default: "${DEFAULT_PROBLEM}")`)
    .option("--data <name>", "the same as --dataset");
  return addProblemOptions(named, { level: !levels });
}

/** The name that the options give. Throws E_CONFIG where they give two. */
function nameOf({ dataset, data }: ProblemOptions): string {
  if (dataset !== undefined && data !== undefined && dataset !== data)
    throw new WidefieldError("E_CONFIG", `--dataset ${dataset} and --data ${data} are two names: give one of them`);
  return dataset ?? data ?? DEFAULT_PROBLEM;
}

/** With the kind of noise: "mnist-hf". */
export function problemName(options: ProblemOptions): string {
  const name = nameOf(options);
  return options.noise === undefined || name.endsWith(`-${options.noise}`) ? name : `${name}-${options.noise}`;
}

/** What a problem's levels are made from, beside its name: sweeps with other settings are other sweeps. */
export function problemSettings(options: ProblemOptions, engine: Engine): Readonly<Record<string, Json>> {
  return { rng: options.rng, noiseSeed: options.noiseSeed ?? null, seed: engine.seed };
}

/**
 * A problem; `level` in place of the options', where a sweep goes through several: of `synth`, ten times kappa.
 * `ranges`: all images that will be asked for. Throws as `openProblemFrom`.
 */
export async function openProblemOf(
  options: ProblemOptions,
  engine: Engine,
  session: Pick<Session, "signal" | "progress">,
  ranges: Ranges | undefined,
  level?: number,
): Promise<Problem> {
  const name = nameOf(options);
  const leveled =
    level === undefined ? {} : name === "synth" ? { kappa: String(level / 10) } : { level: String(level) };
  return openProblemFrom(name, { ...options, ...leveled }, engine, session, ranges);
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
