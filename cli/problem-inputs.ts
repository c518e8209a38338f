/** Options of commands that take data with or without noise: which noise, at which level, from which generator. */
import { type Command, Option } from "commander";
import type { Problem } from "../sdk/data/problem.ts";
import { type NoiseKind, openProblem } from "../sdk/data/problems.ts";
import type { Ranges } from "../sdk/data/ranges.ts";
import { readFileFromDisk } from "../sdk/data/files.ts";
import type { NoiseGenerator } from "../sdk/data/transforms/noise-rows.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { positiveNumber, type Session, wholeNumber } from "./session.ts";

/** As the command line gives them; the problem's name is an option or an argument of the command itself. */
export interface ProblemInputs {
  readonly dataDir?: string;
  readonly noise?: NoiseKind;
  readonly level?: string;
  readonly rng: NoiseGenerator;
  readonly noiseSeed?: string;
  readonly kappa?: string;
}

/**
 * --data-dir, --noise, --level, --rng, --noise-seed and --kappa. `level: false` where the command has levels of its own,
 * `kappa: false` where it takes no synth.
 */
export function addProblemOptions(
  command: Command,
  { level = true, kappa = true }: { readonly level?: boolean; readonly kappa?: boolean } = {},
): Command {
  command
    .option("--data-dir <folder>", "the folder of the data set's files")
    .addOption(
      new Option("--noise <kind>", "noise in high or low frequencies, for names that do not end in -hf or -lf").choices(
        ["hf", "lf"],
      ),
    );
  if (level) command.option("--level <n>", "the noise's level, from 0 on (default: 0)");
  const drawn = kappa ? "noise and of synth" : "noise";
  command
    .addOption(
      new Option("--rng <name>", `generator of ${drawn}; numpy: as the published data were made`)
        .choices(["counter", "numpy"])
        .default("counter"),
    )
    .option("--noise-seed <n>", "seed of the noise (default: 2048)");
  return kappa ? command.option("--kappa <x>", "of synth: 0, 0.1, .., 0.9 (default: 0)") : command;
}

/** Levels and half-open ranges of them: "0:15", "0,7,14". Throws E_CONFIG. */
export function parseLevels(text: string): readonly number[] {
  const refuse = (problem: string) =>
    new WidefieldError(
      "E_CONFIG",
      `--levels ${text}: ${problem}; write levels and ranges of them, such as 0:15 or 0,7,14`,
    );
  return text.split(",").flatMap((part) => {
    const match = /^\s*(\d+)\s*(?::\s*(\d+)\s*)?$/.exec(part);
    if (match === null) throw refuse(`"${part.trim()}" is neither a level nor a range start:end`);
    const start = Number(match[1]);
    const end = match[2] === undefined ? start + 1 : Number(match[2]);
    if (start >= end || end > 1000) throw refuse(`${part.trim()} is empty, or too long`);
    return Array.from({ length: end - start }, (_, i) => start + i);
  });
}

/**
 * Opens the problem of a name. `ranges`: all images that will be asked for, without them every image; noisy images and the
 * rows of synth are made for these only. Throws as `openProblem`, and E_CONFIG for numbers that are none.
 */
export async function openProblemFrom(
  name: string,
  inputs: ProblemInputs,
  engine: Engine,
  session: Pick<Session, "signal" | "progress">,
  ranges?: Ranges | string,
): Promise<Problem> {
  const { dataDir, noise, level, rng, noiseSeed, kappa } = inputs;
  return openProblem(name, {
    engine,
    dataDir,
    readFile: readFileFromDisk,
    files: await nodeFiles(),
    noise,
    level: level === undefined ? undefined : wholeNumber("--level", level),
    rng,
    noiseSeed: noiseSeed === undefined ? undefined : wholeNumber("--noise-seed", noiseSeed),
    kappa: kappa === undefined ? undefined : positiveNumber("--kappa", kappa),
    ranges,
    signal: session.signal,
    onProgress: ({ label, done, total }) => {
      session.progress.update(label, done, total);
    },
  });
}
