/** Losses of a batch by name, and how what a batch reports (its loss and its labels' ranks) becomes scores. */
import { ClassLossOperation, type ClassLossName } from "../engine/kernels/class-loss.ts";
import { WidefieldError } from "../errors.ts";
import type { Model, Pass } from "../tensor/model.ts";
import { copyInto } from "../tensor/ops/copies.ts";
import { classLoss, meanSquaredError } from "../tensor/ops/losses.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { BatchTensors, PlacedBatch } from "./batch-tensors.ts";
import type { Scores } from "./training-state.ts";

export interface BatchLoss {
  /** The mean over the batch, a tensor of one number. */
  readonly loss: Tensor;
  /** [count]: how many classes come before each example's label (`ClassLoss.ranks`); without them there is no accuracy. */
  readonly ranks?: Tensor | undefined;
}

/**
 * A loss of one's own, from the model's [count, outputs] and the batch. Penalties may be added to it: in training alone,
 * by what `pass` says.
 */
export type CustomLoss = (scores: Tensor, batch: BatchTensors, pass: Pass) => BatchLoss;

/** Losses of labels (`ops.classLoss`), or the mean over examples and outputs of (score - target)^2. */
export type LossName = ClassLossName | "squareError";

export const LOSS_NAMES: readonly LossName[] = [...(Object.keys(ClassLossOperation) as ClassLossName[]), "squareError"];

/** What a loss asks of data and model. */
export interface LossNeeds {
  readonly model: Pick<Model, "outputs">;
  /** Classes of the data's labels. */
  readonly classes: number;
}

/** The function behind a name. Throws E_CONFIG for a name that there is not, E_DATA where data has no labels or too many. */
export function lossOf(loss: LossName | CustomLoss, { model, classes }: LossNeeds): CustomLoss {
  if (typeof loss === "function") return loss;
  if (!LOSS_NAMES.includes(loss))
    throw new WidefieldError("E_CONFIG", `there is no loss "${loss}": ${LOSS_NAMES.join(", ")}`);
  if (loss === "squareError") return squareError(classes > 1 && classes === model.outputs);
  if (classes === 0) throw new WidefieldError("E_DATA", `the loss "${loss}" is of labels, and the data has none`);
  if (classes > model.outputs)
    throw new WidefieldError(
      "E_DATA",
      `the data has ${classes} classes, and the model gives ${model.outputs} scores: ` +
        `give its last layer ${classes} outputs`,
      { details: { classes, outputs: model.outputs } },
    );
  return (scores, { labels }) => {
    if (labels === undefined) throw new WidefieldError("E_DATA", `the loss "${loss}" is of labels: a batch has none`);
    return classLoss(scores, labels, loss);
  };
}

/** `ranked`: there are labels, and a score for each class. */
function squareError(ranked: boolean): CustomLoss {
  return (scores, { targets, labels }) => {
    if (targets === undefined)
      throw new WidefieldError("E_DATA", 'the loss "squareError" is of targets, and a batch has none');
    const loss = meanSquaredError(scores, targets);
    if (!ranked || labels === undefined) return { loss };
    // Of this loss only the ranks count.
    return { loss, ranks: scores.device.paused(() => classLoss(scores, labels)).ranks };
  };
}

/** Puts loss and ranks where `readReport` finds them. */
export function writeReport({ loss, ranks }: BatchLoss, { report, count }: PlacedBatch): void {
  copyInto(loss, report, 0);
  if (ranks === undefined) return;
  if (ranks.size !== count)
    throw new WidefieldError("E_SHAPE", `${count} examples have ${ranks.size} ranks: one is wanted for each`);
  copyInto(ranks, report, 1);
}

/** One batch's share in `Scores`. */
export interface BatchReport {
  readonly count: number;
  /** The mean over the batch. */
  readonly loss: number;
  /** Examples whose label comes first, and among the first five; undefined without ranks. */
  readonly top1?: number | undefined;
  readonly top5?: number | undefined;
}

/** Once the batch has been computed. */
export async function readReport({ report, count }: PlacedBatch, ranked: boolean): Promise<BatchReport> {
  const [loss = Number.NaN, ...ranks] = await report.readFinal();
  if (!ranked) return { count, loss };
  const before = (place: number): number => ranks.reduce((found, rank) => found + Number(rank < place), 0);
  return { count, loss, top1: before(1), top5: before(5) };
}

/** Reports of batches, added up in float64. */
export class ScoreSum {
  private readonly outputs: number;
  private count = 0;
  private loss = 0;
  private top1: number | undefined = 0;
  private top5: number | undefined = 0;

  /** `outputs`: of the model. Among five scores every label is one of the first five. */
  constructor(outputs: number) {
    this.outputs = outputs;
  }

  add({ count, loss, top1, top5 }: BatchReport): void {
    this.count += count;
    this.loss += count * loss;
    this.top1 = this.top1 !== undefined && top1 !== undefined ? this.top1 + top1 : undefined;
    this.top5 = this.top5 !== undefined && top5 !== undefined ? this.top5 + top5 : undefined;
  }

  get scores(): Scores {
    const { count, loss, top1, top5, outputs } = this;
    const part = (of: number | undefined): number | undefined => (of === undefined ? undefined : of / count);
    const [accuracy, five] = [part(top1), outputs > 5 ? part(top5) : undefined];
    return {
      loss: loss / count,
      ...(accuracy === undefined ? {} : { accuracy }),
      ...(five === undefined ? {} : { top5: five }),
      count,
    };
  }
}
