/** Options of commands that take a regression problem: which noise, at which level, from which generator. */
import type { Command } from "commander";
import type { Problem } from "../sdk/data/problem.ts";
import { openProblem, type ProblemOptions } from "../sdk/data/problems.ts";
import type { Ranges } from "../sdk/data/ranges.ts";
import { readFileFromDisk } from "../sdk/data/files.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import type { Session } from "./session.ts";

/** As the command line gives them; the data set's name is the command's own option or argument. */
export interface ProblemInputs {
  readonly dataDir?: string;
  readonly noise?: "hf" | "lf";
  readonly level?: string;
  readonly rng: "counter" | "numpy";
  readonly noiseSeed?: string;
  readonly kappa?: string;
}

/** --data-dir, --noise, --level, --rng, --noise-seed, --kappa. */
export function addProblemOptions(command: Command): Command {
  return command;
}

/** The problem of a name. `ranges`: all images that will be asked for. Throws as `openProblem`. */
export async function openProblemFrom(
  name: string,
  inputs: ProblemInputs,
  engine: Engine,
  session: Pick<Session, "signal" | "progress">,
  ranges?: Ranges | string,
): Promise<Problem> {
  const options: ProblemOptions = {
    engine,
    readFile: readFileFromDisk,
    signal: session.signal,
    ranges,
    dataDir: inputs.dataDir,
  };
  return openProblem(name, options);
}
