/**
 * What a training run is made of between two epochs, and nothing else: a run that is stopped after epoch k, captured,
 * written to disk, read again and restored goes on to the same bits as one that was never stopped (on one backend).
 * How it is written is `checkpoint.ts`'s business; what one batch changes is `training-step.ts`'s.
 *
 * Random numbers need no state: batches are drawn by (seed, epoch), dropout's masks by (seed, step).
 */
import { WidefieldError } from "../errors.ts";
import type { Model } from "../tensor/model.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";

/** An array by the name that a checkpoint knows it by, row-major. */
export interface NamedArray {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** What an optimiser remembers. */
export interface OptimiserState {
  readonly name: "sgd" | "adam" | "rmsprop";
  /** Updates so far: what bias corrections count. */
  readonly steps: number;
  /** "layers.0.weights.velocity": the parameter's name, a dot, and what it is. */
  readonly arrays: readonly NamedArray[];
}

/** What a model makes of a set of examples. */
export interface Scores {
  /** The mean over examples; NaN where there were none. */
  readonly loss: number;
  /** Part of the examples whose label has the largest score, in [0, 1]; absent where there are no classes. */
  readonly accuracy?: number | undefined;
  /** Part of the examples whose label is among the five largest scores; absent where there are no more than five classes. */
  readonly top5?: number | undefined;
  /** How many examples. */
  readonly count: number;
}

/** One epoch, in numbers that JSON holds. */
export interface EpochRecord {
  /** Counted from 1. */
  readonly epoch: number;
  /** Batches seen so far, in all epochs. */
  readonly step: number;
  /** The learning rate of the epoch's last update. */
  readonly rate: number;
  /** Running over the epoch: each batch before its own update. */
  readonly training: Scores;
  /** Absent in epochs that did not evaluate, or without such examples. */
  readonly validation?: Scores | undefined;
  readonly test?: Scores | undefined;
  /** Of training alone, without evaluation. */
  readonly seconds: number;
  readonly examplesPerSecond: number;
}

/** The epoch of the largest validation accuracy, the first of equal ones; of the smallest loss where there are no classes. */
export interface BestEpoch {
  readonly epoch: number;
  readonly scores: Scores;
}

export interface TrainingState {
  /** Epochs that are done. */
  readonly epoch: number;
  /** Batches seen: what dropout's masks are drawn by. */
  readonly step: number;
  readonly parameters: readonly NamedArray[];
  /** Running statistics. */
  readonly states: readonly NamedArray[];
  readonly optimiser: OptimiserState;
  readonly history: readonly EpochRecord[];
  readonly best?: BestEpoch | undefined;
}

/** What `captureModel` reads of a model. */
export type ModelArrays = Pick<TrainingState, "parameters" | "states">;

/** Reads parameters and states, after everything dispatched so far. */
export async function captureModel({ parameters, states }: Pick<Model, "parameters" | "states">): Promise<ModelArrays> {
  return { parameters: await readAll(parameters), states: await readAll(states) };
}

/**
 * Writes parameters and states into a model. Throws E_CONFIG, before anything is written, where they are of another
 * model: with what is missing, what is too much, and whose shapes differ.
 */
export function restoreModel(model: Pick<Model, "parameters" | "states">, arrays: ModelArrays): void {
  requireMatch(
    "the state is of another model",
    [...model.parameters, ...model.states],
    [...arrays.parameters, ...arrays.states],
  );
  writeAll(model.parameters, arrays.parameters);
  writeAll(model.states, arrays.states);
}

/** A tensor and what a state knows it by. */
export interface NamedTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

/** All of them as of now: what is dispatched while this waits does not change them. */
export async function readAll(tensors: readonly NamedTensor[]): Promise<NamedArray[]> {
  return Promise.all(
    tensors.map(async ({ name, tensor }) => ({ name, shape: tensor.shape, data: await tensor.read() })),
  );
}

/** Writes each array into the tensor of its name; `requireMatch` comes first. */
export function writeAll(tensors: readonly NamedTensor[], arrays: readonly NamedArray[]): void {
  const found = new Map(arrays.map((array) => [array.name, array.data]));
  for (const { name, tensor } of tensors) {
    const data = found.get(name);
    if (data === undefined) throw new Error(`no array is called ${name}`);
    tensor.write(data);
  }
}

/** Lines of a difference that a message shows. */
const MOST_LINES = 8;

/** Throws E_CONFIG where arrays and tensors do not have the same names and shapes. */
export function requireMatch(what: string, tensors: readonly NamedTensor[], arrays: readonly NamedArray[]): void {
  const given = new Map(arrays.map((array) => [array.name, array]));
  const wanted = new Set(tensors.map(({ name }) => name));
  const lines: string[] = [];
  for (const { name, tensor } of tensors) {
    const array = given.get(name);
    const shape = `[${tensor.shape.join(", ")}]`;
    if (array === undefined) lines.push(`${name} ${shape} is missing`);
    else if (array.shape.join() !== tensor.shape.join())
      lines.push(`${name} is [${array.shape.join(", ")}], and the model's is ${shape}`);
    else if (array.data.length !== sizeOf(array.shape))
      lines.push(`${name} has ${array.data.length} numbers for ${shape}`);
  }
  for (const { name, shape } of arrays)
    if (!wanted.has(name)) lines.push(`${name} [${shape.join(", ")}] is none of the model's`);
  if (lines.length === 0) return;
  const shown = lines.slice(0, MOST_LINES);
  if (lines.length > MOST_LINES) shown.push(`and ${lines.length - MOST_LINES} more`);
  throw new WidefieldError("E_CONFIG", [`${what}:`, ...shown.map((line) => `  ${line}`)].join("\n"), {
    details: { differences: lines },
  });
}
