/** Losses: one number for a batch, its gradient made in the same pass. */
import { WidefieldError } from "../../errors.ts";
import {
  classLoss as classLossKernel,
  ClassLossOperation,
  type ClassLossName,
} from "../../engine/kernels/class-loss.ts";
import { elementwise, ElementwiseOperation } from "../../engine/kernels/elementwise.ts";
import { reduce, ReduceOperation } from "../../engine/kernels/reduce.ts";
import { isOne, record } from "../tape.ts";
import { scope, Tensor } from "../tensor.ts";
import { repeatBetween } from "./copies.ts";
import { affine, square, subtract } from "./elementwise.ts";
import { mean, sum } from "./reductions.ts";
import { matrixShape, requireAlive, requireFloats, shapeText } from "./shapes.ts";

export interface ClassLoss {
  /** The mean over rows, a tensor of []. */
  readonly loss: Tensor;
  /**
   * How many classes come before each row's label: 0 where the label has the largest score, below 5 where it is among the
   * first five; the number of classes where the label's score is NaN.
   */
  readonly ranks: Tensor;
}

/**
 * The mean loss of class scores [rows, classes] against labels [rows] (`labelTensor`), each below `classes`: the caller
 * sees to that. Losses, with targets +1 for the label and -1 for other classes, m = target times score, summed over
 * classes: "crossEntropy", "hinge" max(0, 1 - m), "squaredHinge", "truncatedHinge" clamp(1 - m, 0, 2), "logHinge", the
 * hinge of log-softmax. Throws E_SHAPE.
 */
export function classLoss(scores: Tensor, labels: Tensor, name: ClassLossName = "crossEntropy"): ClassLoss {
  requireFloats("a class loss", scores);
  requireAlive("a class loss", scores, labels);
  const [rows, classes] = matrixShape("a class loss", scores);
  if (labels.type !== "u32" || labels.size !== rows)
    throw new WidefieldError(
      "E_SHAPE",
      `a class loss takes a label for each row of ${shapeText(scores.shape)}, not ${labels.type} of ${shapeText(labels.shape)}`,
    );
  if (rows === 0) throw new WidefieldError("E_SHAPE", "a loss of no rows");
  const { device } = scores;
  return scope(device, () => {
    const losses = Tensor.empty(device, [rows]);
    const gradient = Tensor.empty(device, scores.shape);
    const ranks = Tensor.empty(device, [rows]);
    const params = { rows, classes, operation: ClassLossOperation[name], scale: 1 / rows };
    device.dispatch(
      classLossKernel,
      params,
      [scores, labels, losses, gradient, ranks].map(({ slot }) => slot),
    );
    const total = Tensor.empty(device, []);
    device.dispatch(reduce, { rows: 1, columns: rows, operation: ReduceOperation.sum }, [losses.slot, total.slot]);
    const loss = Tensor.empty(device, []);
    const scale = { count: 1, operation: ElementwiseOperation.affine, alpha: 1 / rows, beta: 0 };
    device.dispatch(elementwise, scale, [total.slot, total.slot, loss.slot]);
    record(loss, [scores], [gradient], (g, [saved = gradient]) => [isOne(g) ? saved : scaledBy(saved, g)]);
    return { loss, ranks };
  });
}

/** The mean over all numbers of (x - target)^2. Throws E_SHAPE where shapes differ. */
export function meanSquaredError(x: Tensor, target: Tensor): Tensor {
  return scope(x.device, () => mean(square(subtract(x, target))));
}

/** Half the sum of squares: an L2 penalty before its factor. */
export function halfSquaredNorm(x: Tensor): Tensor {
  return scope(x.device, () => affine(sum(square(x)), 0.5));
}

/** x times a tensor of one number. */
function scaledBy(x: Tensor, factor: Tensor): Tensor {
  const spread = repeatBetween(factor, 1, x.size, 1, x.shape);
  const out = Tensor.empty(x.device, x.shape);
  const params = { count: x.size, operation: ElementwiseOperation.multiply, alpha: 1, beta: 0 };
  x.device.dispatch(elementwise, params, [x.slot, spread.slot, out.slot]);
  return out;
}
