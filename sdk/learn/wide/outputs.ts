/** What trained models make of images, and the loss that they are fitted by. */
import type { Engine } from "../../engine/engine.ts";
import type { Model } from "../../tensor/model.ts";
import { affine, meanSquaredError } from "../../tensor/ops.ts";
import { scope, tensor, type Tensor } from "../../tensor/tensor.ts";
import type { BatchTensors } from "../batch-tensors.ts";
import type { BatchLoss } from "../training-loss.ts";
import type { Inputs } from "./design.ts";

/** Images that go through a model at once, at most. */
const BATCH = 512;

/** A model's outputs in inference, [count, outputs]. `most`: images at once; what training had room for, inference has. */
export async function modelOutputs(
  engine: Engine,
  model: Model,
  { count, images }: Inputs,
  most = BATCH,
): Promise<Float64Array> {
  const batch = Math.min(most, BATCH);
  const floats = images.length / count;
  const all = new Float64Array(count * model.outputs);
  for (let begin = 0; begin < count; begin += batch) {
    const end = Math.min(count, begin + batch);
    const read = scope(engine, () => {
      const x = tensor(engine, images.subarray(begin * floats, end * floats), [end - begin, ...model.inputShape]);
      // A read is asked for where the tensor stands in the queue, so that it may be disposed of behind it.
      return { values: model.apply(x, { training: false, seed: 0, step: 0 }).read() };
    });
    all.set(await read.values, begin * model.outputs);
  }
  return all;
}

/** The mean over examples of the squared error, summed over outputs. */
export function summedSquareLoss(scores: Tensor, { targets }: BatchTensors): BatchLoss {
  if (targets === undefined) throw new Error("the square loss is of targets, and a batch has none");
  return { loss: affine(meanSquaredError(scores, targets), scores.shape[1] ?? 1) };
}
