/**
 * What training asks of data: batches of an epoch, and batches to evaluate on. Any source fits that gives them; arrays in
 * memory do through `arrayData`.
 */
import { RandomStream } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";
import { sizeOf } from "../tensor/tensor.ts";

/** Examples that go through a model at once. */
export interface TrainingBatch {
  readonly count: number;
  /** [count, ...inputShape], normalised. */
  readonly images: Float32Array;
  /** [count]; empty where there are none. */
  readonly labels: Uint32Array;
  /** [count, outputs]. */
  readonly targets?: Float32Array | undefined;
}

export interface TrainingData {
  /** Sides of one input: [channels, height, width] or [features]. */
  readonly inputShape: readonly number[];
  /** Labels are below it; 0: no labels. */
  readonly classes: number;
  /** Training examples of an epoch. */
  readonly trainCount: number;
  /** Batches of an epoch, counted from 1. */
  batchCount(epoch: number): number;
  /** The batches of an epoch, in an order that depends on the epoch alone: a run that resumes sees what it would have seen. */
  batchesOf(epoch: number): AsyncIterable<TrainingBatch>;
  readonly evaluation: {
    readonly validation?: (() => AsyncIterable<TrainingBatch>) | undefined;
    readonly test?: (() => AsyncIterable<TrainingBatch>) | undefined;
  };
  /** Takes a batch's memory back; called as soon as it has been copied. */
  release?(batch: TrainingBatch): void;
}

/** Examples one after the other. */
export interface Examples {
  /** [n, ...inputShape]. Not copied. */
  readonly images: Float32Array;
  /** [n]. */
  readonly labels?: ArrayLike<number> | undefined;
  /** [n, outputs]. */
  readonly targets?: Float32Array | undefined;
}

export interface ArrayDataOptions {
  readonly inputShape: readonly number[];
  /** Default: 0, no labels. */
  readonly classes?: number | undefined;
  readonly train: Examples;
  readonly validation?: Examples | undefined;
  readonly test?: Examples | undefined;
  /** Examples of a batch, or of those of an epoch, counted from 1. */
  readonly batch: number | ((epoch: number) => number);
  /** When evaluating; default 256. */
  readonly testBatch?: number | undefined;
  /** Of the order of examples, which the epoch changes; default 0. */
  readonly seed?: number | undefined;
}

/**
 * Data in memory, shuffled by (seed, epoch). Throws E_SHAPE where sizes do not fit together, E_DATA for inputs and targets
 * that are not finite and for labels that are no class, with their index, E_CONFIG for batches of no examples.
 */
export function arrayData(options: ArrayDataOptions): TrainingData {
  const { inputShape, classes = 0, train, validation, test, testBatch = 256, seed = 0 } = options;
  const batch = typeof options.batch === "number" ? () => options.batch as number : options.batch;
  const sets = {
    train: checked("training", train, inputShape, classes),
    validation: validation && checked("validation", validation, inputShape, classes),
    test: test && checked("test", test, inputShape, classes),
  };
  requireBatch(testBatch);
  requireBatch(batch(1));
  const { count } = sets.train;
  const inOrder = (set: CheckedExamples | undefined) =>
    set &&
    (() =>
      cut(
        set,
        testBatch,
        Uint32Array.from({ length: set.count }, (_, index) => index),
      ));
  return {
    inputShape,
    classes,
    trainCount: count,
    batchCount: (epoch) => Math.ceil(count / batch(epoch)),
    batchesOf: (epoch) => {
      requireBatch(batch(epoch));
      // The stream's index counts from 0, as the data loader's does: both see examples in the same order.
      return cut(sets.train, batch(epoch), new RandomStream(seed, "epoch", epoch - 1).permutation(count));
    },
    evaluation: { validation: inOrder(sets.validation), test: inOrder(sets.test) },
  };
}

interface CheckedExamples {
  readonly count: number;
  readonly images: Float32Array;
  readonly labels: Uint32Array | undefined;
  readonly targets: Float32Array | undefined;
}

async function* cut(set: CheckedExamples, batch: number, order: Uint32Array): AsyncGenerator<TrainingBatch> {
  const floats = set.images.length / set.count;
  const outputs = (set.targets?.length ?? 0) / set.count;
  for (let begin = 0; begin < set.count; begin += batch) {
    const chosen = order.subarray(begin, begin + batch);
    const rows = (from: Float32Array, width: number): Float32Array => {
      const out = new Float32Array(chosen.length * width);
      chosen.forEach((index, row) => out.set(from.subarray(index * width, (index + 1) * width), row * width));
      return out;
    };
    const { labels, targets } = set;
    yield await Promise.resolve({
      count: chosen.length,
      images: rows(set.images, floats),
      labels: labels === undefined ? new Uint32Array() : chosen.map((index) => labels[index] ?? 0),
      targets: targets && rows(targets, outputs),
    });
  }
}

function checked(what: string, set: Examples, inputShape: readonly number[], classes: number): CheckedExamples {
  const { images, labels, targets } = set;
  const floats = sizeOf(inputShape);
  const count = images.length / floats;
  if (!Number.isSafeInteger(count) || count === 0)
    throw new WidefieldError(
      "E_SHAPE",
      `${what} examples: ${images.length} numbers are not one or more inputs of [${inputShape.join(", ")}]`,
    );
  requireFinite(`${what} input`, images, floats);
  if (targets !== undefined && (targets.length === 0 || targets.length % count !== 0))
    throw new WidefieldError("E_SHAPE", `${count} ${what} examples have ${targets.length} numbers of targets`);
  if (targets !== undefined) requireFinite(`${what} target`, targets, targets.length / count);
  if (labels !== undefined) {
    if (labels.length !== count)
      throw new WidefieldError("E_SHAPE", `there are ${count} ${what} examples and ${labels.length} labels`);
    requireLabels(`${what} example`, labels, classes);
  }
  return { count, images, labels: labels && Uint32Array.from(labels), targets };
}

/** Throws E_DATA for the first label that is no integer in 0..classes-1. */
export function requireLabels(what: string, labels: ArrayLike<number>, classes: number): void {
  for (let index = 0; index < labels.length; index++) {
    const label = labels[index] ?? Number.NaN;
    if (Number.isInteger(label) && label >= 0 && label < classes) continue;
    throw new WidefieldError(
      "E_DATA",
      `${what} ${index} has the label ${label}, and there are ${classes} classes, counted from 0`,
      { details: { index, label, classes } },
    );
  }
}

function requireFinite(what: string, numbers: Float32Array, each: number): void {
  const bad = numbers.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  const index = Math.floor(bad / each);
  throw new WidefieldError("E_DATA", `${what} ${index} holds ${numbers[bad] ?? Number.NaN} at place ${bad % each}`, {
    details: { index, place: bad % each },
  });
}

function requireBatch(batch: number): void {
  if (!Number.isSafeInteger(batch) || batch < 1)
    throw new WidefieldError("E_CONFIG", `a batch is one example or more, not ${batch}`);
}
