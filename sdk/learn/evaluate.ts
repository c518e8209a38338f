/** What a model makes of examples that it is not trained on: loss, top-1 and top-5. */
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { deviceOf, type Device } from "../tensor/device.ts";
import type { Model } from "../tensor/model.ts";
import { scope } from "../tensor/tensor.ts";
import { BatchPlaces } from "./batch-tensors.ts";
import { oneBehind } from "./one-behind.ts";
import type { TrainingBatch } from "./training-data.ts";
import {
  lossOf,
  readReport,
  ScoreSum,
  writeReport,
  type BatchReport,
  type CustomLoss,
  type LossName,
} from "./training-loss.ts";
import type { Scores } from "./training-state.ts";

export interface EvaluateOptions {
  readonly engine: Engine;
  readonly model: Model;
  /** Classes of the data's labels; default: as many as the model has outputs. */
  readonly classes?: number | undefined;
  /** Default "crossEntropy". */
  readonly loss?: LossName | CustomLoss | undefined;
}

export interface EvaluationRun {
  readonly signal?: AbortSignal | undefined;
  /** Takes a batch's memory back. */
  readonly release?: ((batch: TrainingBatch) => void) | undefined;
  /** Examples so far. */
  readonly onProgress?: ((examples: number) => void) | undefined;
}

/** Evaluates as often as it is asked to, with the memory of the first time. */
export class Evaluator {
  private readonly device: Device;
  private readonly model: Model;
  private readonly places: BatchPlaces;
  private readonly loss: CustomLoss;

  /** Throws what `lossOf` throws. */
  constructor({ engine, model, classes = model.outputs, loss = "crossEntropy" }: EvaluateOptions) {
    this.device = deviceOf(engine);
    this.model = model;
    this.places = new BatchPlaces(this.device, model.inputShape, classes);
    this.loss = lossOf(loss, { model, classes });
  }

  /** Scores of all batches together. Throws E_SHAPE and E_DATA for batches that do not fit the model, E_ABORTED. */
  async run(batches: AsyncIterable<TrainingBatch>, options: EvaluationRun = {}): Promise<Scores> {
    const { signal, release, onProgress } = options;
    const sum = new ScoreSum(this.model.outputs);
    let examples = 0;
    await oneBehind(
      batches,
      (batch) => {
        if (signal?.aborted === true)
          throw new WidefieldError("E_ABORTED", `stopped after evaluating ${examples} examples`, {
            cause: signal.reason,
          });
        const report = this.append(batch);
        release?.(batch);
        return report;
      },
      (report) => {
        sum.add(report);
        examples += report.count;
        onProgress?.(examples);
      },
    );
    return sum.scores;
  }

  dispose(): void {
    this.places.dispose();
  }

  private append(batch: TrainingBatch): Promise<BatchReport> {
    const placed = this.places.place(batch);
    const pass = { training: false, seed: 0, step: 0 };
    let ranked = false;
    scope(this.device, () => {
      const result = this.loss(this.model.apply(placed.images, pass), placed, pass);
      ranked = result.ranks !== undefined;
      writeReport(result, placed);
    });
    return readReport(placed, ranked);
  }
}

/** `Evaluator` for once. */
export async function evaluate(
  options: EvaluateOptions & EvaluationRun & { readonly batches: AsyncIterable<TrainingBatch> },
): Promise<Scores> {
  const evaluator = new Evaluator(options);
  try {
    return await evaluator.run(options.batches, options);
  } finally {
    evaluator.dispose();
  }
}
