/**
 * The regression problems that have names: datasets, datasets with noise in chosen frequencies (`fmnist-hf`,
 * `cifar10-lf`), CIFAR's cats against airplanes (`cifar2`, `cifar2-hf`) and synthetic features (`synth`).
 */
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import type { Dataset, ImageShape } from "./dataset.ts";
import type { ReadFile } from "./idx.ts";
import type { Problem } from "./problem.ts";
import { checkRanges, indicesOf, parseRanges, type Ranges } from "./ranges.ts";
import { DATASETS, findDataset, loadDataset, nearestName } from "./registry.ts";
import type { LargeFiles } from "./svhn.ts";
import { synth } from "./synth.ts";
import { cifar2 } from "./transforms/cifar2.ts";
import { HIGH_FREQUENCY_MULTIPLIERS, highFrequencyNoise } from "./transforms/high-frequency.ts";
import { COLOUR_THRESHOLDS, GREY_THRESHOLDS, lowFrequencyNoise } from "./transforms/low-frequency.ts";
import { type NoiseGenerator, NOISE_SEED } from "./transforms/noise-rows.ts";
import type { PrepareProgress } from "./transforms/prepared.ts";

/** High or low frequencies. */
export type NoiseKind = "hf" | "lf";

export interface ProblemOptions {
  readonly engine: Engine;
  /** The folder (or URL) that holds the data set's files. */
  readonly dataDir?: string | undefined;
  /** Required for data sets of files. */
  readonly readFile?: ReadFile | undefined;
  /** As `loadDataset` takes it: files that are large are read in pieces. */
  readonly files?: LargeFiles | undefined;
  /** For names that do not say it: `mnist` with "hf" is `mnist-hf`. */
  readonly noise?: NoiseKind | undefined;
  /** Index into the paper's noise levels (`noiseLevels`); default 0. */
  readonly level?: number | undefined;
  /** Where noise, and the rows of synth, come from; default: counter. */
  readonly rng?: NoiseGenerator | undefined;
  /** Default: 2048, the published data's. */
  readonly noiseSeed?: number | undefined;
  /** Of synth; default 0. */
  readonly kappa?: number | undefined;
  /** Of generated data (digits, and synth from the counter-based generator); default: the engine's. */
  readonly seed?: number | undefined;
  /** All images that will be asked for; default: every image. Noisy images and synth's rows are made for these only. */
  readonly ranges?: Ranges | string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PrepareProgress) => void) | undefined;
}

interface ProblemName {
  /** A dataset's name, "cifar2" or "synth". */
  readonly base: string;
  readonly noise: NoiseKind | undefined;
}

const SYNTH = "synth";
const CIFAR2 = "cifar2";

/** Names that noise can be added to. */
function imageNames(): string[] {
  return [...DATASETS.map(({ name }) => name), CIFAR2];
}

/** Every name that `openProblem` takes. */
export function problemNames(): string[] {
  return [...imageNames().flatMap((name) => [name, `${name}-hf`, `${name}-lf`]), SYNTH];
}

/**
 * The paper's noise levels of a problem: multipliers of high-frequency noise, thresholds of low-frequency noise, empty where
 * there is no noise. `shape`: of its images, which of one's own arrays decides between the thresholds of grey and of
 * colour images; without it they are taken for grey.
 *
 * @throws WidefieldError E_CONFIG for an unknown name, as `openProblem`
 */
export function noiseLevels(name: string, noise?: NoiseKind, shape?: ImageShape): readonly number[] {
  return levelsOf(parseName(name, noise), shape);
}

/**
 * The multiplier or threshold of one level; `shape` as in `noiseLevels`.
 *
 * @throws WidefieldError E_CONFIG for a level that the noise does not have, or a problem without noise
 */
export function noiseLevel(name: string, noise: NoiseKind | undefined, level: number, shape?: ImageShape): number {
  const parsed = parseName(name, noise);
  const found = requireLevel(parsed, level, shape);
  if (found !== undefined) return found.value;
  throw new WidefieldError("E_CONFIG", `${parsed.base} has no noise that could have a level`);
}

function levelsOf({ base, noise }: ProblemName, shape?: ImageShape): readonly number[] {
  if (noise === undefined) return [];
  if (noise === "hf") return HIGH_FREQUENCY_MULTIPLIERS;
  return ((shape ?? shapeOf(base))?.channels ?? 1) === 1 ? GREY_THRESHOLDS : COLOUR_THRESHOLDS;
}

/** Undefined for one's own arrays, which have a shape only once they are read. */
function shapeOf(base: string): ImageShape | undefined {
  return base === CIFAR2 ? { channels: 1, height: 32, width: 32 } : findDataset(base).shape;
}

/**
 * Opens a problem by name: a dataset (`mnist`, `cifar10`, `digits`, ..), `cifar2`, either with `-hf` or `-lf` behind it
 * (or `noise` beside it), or `synth`. Ten classes are learned as one-hot labels less a tenth (k classes: less 1 / k),
 * cifar2 as its labels less a half, synth as its labels are.
 *
 * @throws WidefieldError E_CONFIG for an unknown name (with the nearest), a level that the noise does not have, options of another
 *   problem; E_DATA and E_IO from the files; E_RANGE, E_MEMORY, E_ABORTED
 */
export async function openProblem(name: string, options: ProblemOptions): Promise<Problem> {
  const { engine } = options;
  engine.assertOpen();
  const parsed = parseName(name, options.noise);
  requireOwnOptions(parsed, options);
  const index = options.level ?? 0;
  // What can be refused is refused before any file is read.
  if (parsed.base !== SYNTH && shapeOf(parsed.base) !== undefined) requireLevel(parsed, index);
  const { rng, ranges, signal, onProgress } = options;
  const common = { rng, ranges, signal, onProgress, memoryBytes: engine.memoryBytes };
  const seed = options.seed ?? engine.seed;
  if (parsed.base === SYNTH) return synth({ ...common, kappa: options.kappa, seed });
  const plain = await openImages(parsed.base, options, seed);
  const level = requireLevel(parsed, index, plain.shape);
  if (level === undefined) return classification(plain.name, plain);
  const title = `${plain.name}-${parsed.noise ?? ""} level ${level.index}`;
  const noiseOptions = { ...common, seed: options.noiseSeed ?? NOISE_SEED, name: title };
  const dataset =
    parsed.noise === "hf"
      ? await highFrequencyNoise(plain, { ...noiseOptions, multiplier: level.value })
      : await lowFrequencyNoise(engine, plain, { ...noiseOptions, threshold: level.value });
  return classification(title, dataset);
}

/** Throws E_CONFIG: unknown, or with two kinds of noise. */
function parseName(name: string, noise: NoiseKind | undefined): ProblemName {
  const wanted = name.toLowerCase();
  const match = /^(.*)-(hf|lf)$/.exec(wanted);
  const base = match?.[1] ?? wanted;
  const named = match?.[2] as NoiseKind | undefined;
  const known = base === SYNTH ? named === undefined : imageNames().includes(base);
  if (!known) throw unknownName(name, wanted);
  if (base === SYNTH && noise !== undefined)
    throw new WidefieldError("E_CONFIG", "synth has no noise in frequencies: its difficulty is kappa");
  if (named !== undefined && noise !== undefined && named !== noise)
    throw new WidefieldError("E_CONFIG", `${name} has ${named} noise already, and ${noise} was asked for: choose one`);
  return { base, noise: named ?? noise };
}

function unknownName(name: string, wanted: string): WidefieldError {
  const names = problemNames();
  const nearest = nearestName(wanted, names);
  const guess = nearest === undefined ? "" : `; did you mean "${nearest}"?`;
  return new WidefieldError(
    "E_CONFIG",
    `no problem is named "${name}" (there are ${imageNames().join(", ")}, each also with -hf or -lf behind it for noise, ` +
      `and ${SYNTH})${guess}`,
    { details: { name, names, nearest } },
  );
}

/** Throws E_CONFIG for options of other problems. */
function requireOwnOptions({ base, noise }: ProblemName, { level, noiseSeed, kappa }: ProblemOptions): void {
  if (base !== SYNTH && kappa !== undefined)
    throw new WidefieldError("E_CONFIG", `${base} has no kappa: that is the difficulty of synth`);
  if (noise !== undefined || (level === undefined && noiseSeed === undefined)) return;
  const hint = base === SYNTH ? "its difficulty is kappa" : `choose ${base}-hf or ${base}-lf`;
  throw new WidefieldError(
    "E_CONFIG",
    `${base} has no noise that could have a ${level === undefined ? "seed" : "level"}: ${hint}`,
  );
}

interface Level {
  readonly index: number;
  /** Multiplier or threshold. */
  readonly value: number;
}

/** Undefined where there is no noise. Throws E_CONFIG for a level out of range. */
function requireLevel(parsed: ProblemName, index: number, shape?: ImageShape): Level | undefined {
  const { base, noise } = parsed;
  if (noise === undefined) return undefined;
  const levels = levelsOf(parsed, shape);
  const value = levels[index];
  if (value !== undefined) return { index, value };
  const [what, kind] = noise === "hf" ? ["multipliers", "high"] : ["thresholds", "low"];
  throw new WidefieldError(
    "E_CONFIG",
    `level ${index} is out of range: ${kind}-frequency noise of ${base} has levels 0 to ${levels.length - 1} (${what} ` +
      `${levels[0] ?? NaN} to ${levels.at(-1) ?? NaN})`,
    { details: { level: index, levels: levels.length } },
  );
}

async function openImages(base: string, { dataDir, readFile, files }: ProblemOptions, seed: number): Promise<Dataset> {
  const options = {
    seed,
    ...(dataDir === undefined ? {} : { dataDir }),
    ...(readFile === undefined ? {} : { readFile }),
    ...(files === undefined ? {} : { files }),
  };
  return base === CIFAR2 ? cifar2(await loadDataset("cifar10", options)) : loadDataset(base, options);
}

/**
 * k classes as k outputs, one-hot less 1 / k; two classes as one output, the label less a half. Its targets throw E_DATA for
 * fewer than two classes, which leave nothing to be learned, and E_RANGE.
 */
export function classification(name: string, dataset: Dataset): Problem {
  const { classes, labels, count } = dataset;
  const outputs = classes === 2 ? 1 : classes;
  return {
    name,
    dataset,
    outputs,
    decision: classes === 2 ? "sign" : "argmax",
    targets(ranges) {
      if (classes < 2)
        throw new WidefieldError(
          "E_DATA",
          `${name}: all labels are 0, one class: a regression learns two classes or more (labels 0, 1, ..)`,
          { details: { classes } },
        );
      const checked = typeof ranges === "string" ? parseRanges(ranges, count, name) : checkRanges(ranges, count, name);
      const indices = indicesOf(checked);
      if (outputs === 1) return Float64Array.from(indices, (index) => (labels[index] ?? NaN) - 0.5);
      const targets = new Float64Array(indices.length * outputs).fill(-1 / classes);
      indices.forEach((index, row) => (targets[row * outputs + (labels[index] ?? NaN)] = 1 - 1 / classes));
      return targets;
    },
  };
}
