/**
 * Batches in a backend's memory. Tensors are made once for each number of examples that occurs, two of each: while a batch
 * is computed with, the next is written into the other, without a place in the queue and without a copy on the way.
 *
 * Whoever places batch k + 1 has seen the report of batch k - 1, so nothing under way touches what is written.
 */
import { WidefieldError } from "../errors.ts";
import type { Device } from "../tensor/device.ts";
import { sizeOf, Tensor } from "../tensor/tensor.ts";
import { requireLabels, type TrainingBatch } from "./training-data.ts";

/** What losses see. */
export interface BatchTensors {
  readonly count: number;
  /** [count, ...inputShape] */
  readonly images: Tensor;
  /** [count], where there are any. */
  readonly labels?: Tensor | undefined;
  /** [count, outputs], where there are any. */
  readonly targets?: Tensor | undefined;
}

export interface PlacedBatch extends BatchTensors {
  /** [1 + count]: the loss and the ranks of the labels, which go back to the host in one piece. */
  readonly report: Tensor;
}

/** Counts for which tensors are kept. */
const MOST_COUNTS = 8;

interface Pair {
  readonly batches: readonly [PlacedBatch, PlacedBatch];
  /** The number of the batch that they were made for. */
  readonly madeAt: number;
  next: 0 | 1;
}

export class BatchPlaces {
  private readonly device: Device;
  private readonly inputShape: readonly number[];
  private readonly classes: number;
  private readonly pairs = new Map<string, Pair>();
  /** Batches so far. */
  private count = 0;

  /** `inputShape`: the model's. Labels are below `classes`. */
  constructor(device: Device, inputShape: readonly number[], classes: number) {
    this.device = device;
    this.inputShape = inputShape;
    this.classes = classes;
  }

  /**
   * Copies a batch into tensors that the batch before the last has used; its arrays are free again. Throws E_SHAPE where
   * its sizes do not fit together or to the model, E_DATA for a label that is no class.
   */
  place(batch: TrainingBatch): PlacedBatch {
    requireSizes(batch, this.inputShape);
    requireLabels("example", batch.labels, this.classes);
    const pair = this.pairFor(batch);
    const turn = pair.next;
    pair.next = turn === 0 ? 1 : 0;
    const placed = pair.batches[turn];
    // The buffers of new tensors may have had other uses, which have ended for sure once a report behind them is here.
    const settled = this.count++ >= pair.madeAt + 2;
    const write = (tensor: Tensor | undefined, data: Float32Array | Uint32Array | undefined): void => {
      if (tensor === undefined || data === undefined) return;
      if (settled) tensor.writeUnordered(data);
      else tensor.write(data);
    };
    write(placed.images, batch.images);
    write(placed.labels, batch.labels);
    write(placed.targets, batch.targets);
    return placed;
  }

  dispose(): void {
    for (const pair of this.pairs.values()) disposePair(pair);
    this.pairs.clear();
  }

  private pairFor(batch: TrainingBatch): Pair {
    const { count, labels, targets } = batch;
    const key = [count, labels.length, targets?.length].join();
    const kept = this.pairs.get(key);
    // The last used stand last.
    this.pairs.delete(key);
    const pair = kept ?? { batches: [this.make(batch), this.make(batch)], madeAt: this.count, next: 0 };
    this.pairs.set(key, pair);
    const [oldest] = this.pairs;
    if (this.pairs.size > MOST_COUNTS && oldest !== undefined) {
      this.pairs.delete(oldest[0]);
      disposePair(oldest[1]);
    }
    return pair;
  }

  private make({ count, labels, targets }: TrainingBatch): PlacedBatch {
    const { device, inputShape } = this;
    return {
      count,
      images: Tensor.empty(device, [count, ...inputShape]),
      labels: labels.length === 0 ? undefined : Tensor.empty(device, [count], "u32"),
      targets: targets && Tensor.empty(device, [count, targets.length / count]),
      report: Tensor.empty(device, [1 + count]),
    };
  }
}

function disposePair({ batches }: Pair): void {
  for (const { images, labels, targets, report } of batches)
    for (const tensor of [images, labels, targets, report]) tensor?.dispose();
}

function requireSizes({ count, images, labels, targets }: TrainingBatch, inputShape: readonly number[]): void {
  const floats = sizeOf(inputShape);
  if (!Number.isSafeInteger(count) || count < 1)
    throw new WidefieldError("E_SHAPE", `a batch is one example or more, not ${count}`);
  if (images.length !== count * floats)
    throw new WidefieldError(
      "E_SHAPE",
      `${images.length} numbers are not ${count} inputs of [${inputShape.join(", ")}], which have ${floats} each`,
    );
  if (labels.length !== 0 && labels.length !== count)
    throw new WidefieldError("E_SHAPE", `a batch of ${count} examples has ${labels.length} labels`);
  if (targets !== undefined && (targets.length === 0 || targets.length % count !== 0))
    throw new WidefieldError("E_SHAPE", `a batch of ${count} examples has ${targets.length} numbers of targets`);
}
