/** Sums, means and maxima over axes, and softmax. */
import { WidefieldError } from "../../errors.ts";
import { reduce, ReduceOperation } from "../../engine/kernels/reduce.ts";
import { softmax as softmaxKernel, softmaxGradient } from "../../engine/kernels/softmax.ts";
import { record } from "../tape.ts";
import { scope, Tensor } from "../tensor.ts";
import { sumChannels } from "./channel-sums.ts";
import { repeatBetween, reshape, swapOuter } from "./copies.ts";
import { affine } from "./elementwise.ts";
import { maxPool } from "./pooling.ts";
import { axisOf, requireFloats, span } from "./shapes.ts";

/** The sum over one axis, which goes away; without an axis over everything, a tensor of []. Throws E_SHAPE. */
export function sum(x: Tensor, axis?: number): Tensor {
  requireFloats("sum", x);
  const along = axis === undefined ? 0 : axisOf("sum", x, axis);
  const outer = axis === undefined ? 1 : span(x.shape, 0, along);
  const side = axis === undefined ? x.size : (x.shape[along] ?? 0);
  const inner = axis === undefined ? 1 : span(x.shape, along + 1);
  const shape = axis === undefined ? [] : x.shape.filter((_, k) => k !== along);
  const out = sumBetween(x, outer, side, inner, shape);
  return record(out, [x], [], (g) => [repeatBetween(g, outer, side, inner, x.shape)]);
}

/** The mean over one axis, or over everything. Throws E_SHAPE where there is nothing to take it of. */
export function mean(x: Tensor, axis?: number): Tensor {
  const count = axis === undefined ? x.size : (x.shape[axisOf("mean", x, axis)] ?? 0);
  if (count === 0) throw new WidefieldError("E_SHAPE", "mean of no numbers");
  return scope(x.device, () => affine(sum(x, axis), 1 / count));
}

/** The maximum over the last axis, or over everything; the first of equal ones gets the gradient. Throws E_SHAPE. */
export function max(x: Tensor, axis?: number): Tensor {
  if (axis !== undefined && axisOf("max", x, axis) !== x.shape.length - 1)
    throw new WidefieldError("E_SHAPE", "max is over the last axis, or over everything: transpose first");
  const columns = axis === undefined ? x.size : (x.shape.at(-1) ?? 0);
  if (columns === 0) throw new WidefieldError("E_SHAPE", "max of no numbers");
  return scope(x.device, () => {
    const rows = reshape(x, [x.size / columns, 1, 1, columns]);
    return reshape(maxPool(rows, { window: [1, columns] }), axis === undefined ? [] : x.shape.slice(0, -1));
  });
}

/** e^x over its sum along the last axis. */
export function softmax(x: Tensor): Tensor {
  return normalise(x, 0);
}

/** log softmax(x) along the last axis. */
export function logSoftmax(x: Tensor): Tensor {
  return normalise(x, 1);
}

function normalise(x: Tensor, log: 0 | 1): Tensor {
  requireFloats("softmax", x);
  const columns = x.shape.at(-1) ?? 1;
  const params = { rows: columns === 0 ? 0 : x.size / columns, columns, log };
  const out = Tensor.empty(x.device, x.shape);
  x.device.dispatch(softmaxKernel, params, [x.slot, out.slot]);
  return record(out, [x], [out], (g, [saved = out]) => {
    const made = Tensor.empty(g.device, g.shape);
    g.device.dispatch(softmaxGradient, params, [saved.slot, g.slot, made.slot]);
    return [made];
  });
}

function sumBetween(x: Tensor, outer: number, side: number, inner: number, shape: readonly number[]): Tensor {
  if (inner === 1) {
    const out = Tensor.empty(x.device, shape);
    x.device.dispatch(reduce, { rows: outer, columns: side, operation: ReduceOperation.sum }, [x.slot, out.slot]);
    return out;
  }
  // One block at a time is a sum over a batch; several are moved so that what is summed is the batch.
  if (outer === 1) return view(sumChannels(x, { batch: side, channels: inner, pixels: 1 }), shape);
  const moved = swapOuter(x, outer, side, inner);
  const summed = sumChannels(moved, { batch: side, channels: outer * inner, pixels: 1 });
  moved.dispose();
  return view(summed, shape);
}

function view(x: Tensor, shape: readonly number[]): Tensor {
  const seen = x.share(shape);
  x.dispose();
  return seen;
}
