/** Batch normalisation (Ioffe and Szegedy 2015) and dropout. */
import { WidefieldError } from "../../errors.ts";
import { batchNormBack, batchNormFold } from "../../engine/kernels/batch-norm.ts";
import { channelAffine, channelMoments, channelSums } from "../../engine/kernels/channels.ts";
import { dropout as dropoutKernel } from "../../engine/kernels/dropout.ts";
import type { StreamAddress } from "../../engine/rng.ts";
import { record } from "../tape.ts";
import { scope, Tensor } from "../tensor.ts";
import { copyRun, reshape } from "./copies.ts";
import { channelShape, requireFloats, requireVector, shapeText } from "./shapes.ts";

export interface BatchNormOptions {
  readonly epsilon?: number | undefined;
  /** Part of the running statistics that each training pass replaces; default 0.1, as in PyTorch. */
  readonly momentum?: number | undefined;
  /** True: normalise by the batch and update `running`; false: normalise by `running`. */
  readonly training: boolean;
}

/**
 * (x - mean) / sqrt(variance + epsilon) times scale[c] plus shift[c], channel by channel, of images or of a matrix whose
 * columns are channels. `running` is [2, channels]: the means and (unbiased) variances that inference uses; training
 * updates it in place. Throws E_SHAPE, and E_CONFIG where a training batch has one number a channel.
 */
export function batchNorm(x: Tensor, scale: Tensor, shift: Tensor, running: Tensor, options: BatchNormOptions): Tensor {
  return scope(x.device, () => normalised(x, scale, shift, running, options));
}

function normalised(
  x: Tensor,
  scale: Tensor,
  shift: Tensor,
  running: Tensor,
  { epsilon = 1e-5, momentum = 0.1, training }: BatchNormOptions,
): Tensor {
  requireFloats("batchNorm", x, scale, shift, running);
  const sizes = channelShape("batchNorm", x);
  const { channels } = sizes;
  requireVector("batchNorm", "the scale", scale, channels);
  requireVector("batchNorm", "the shift", shift, channels);
  if (running.size !== 2 * channels)
    throw new WidefieldError("E_SHAPE", `running statistics are [2, ${channels}], not ${shapeText(running.shape)}`);
  const count = sizes.batch * sizes.pixels;
  if (training && count < 2)
    throw new WidefieldError(
      "E_CONFIG",
      "batch normalisation cannot train on one number a channel: use larger batches",
    );
  const { device } = x;
  const moments = training ? Tensor.empty(device, [2, channels]) : running;
  if (training) device.dispatch(channelMoments, sizes, [x.slot, moments.slot]);
  const coefficients = Tensor.empty(device, [2, channels]);
  // Where nothing is to be updated, a buffer of no meaning: kernels bind each buffer once.
  const updated = training ? running : Tensor.empty(device, [1]);
  const fold = { channels, count, epsilon, momentum: training ? momentum : 0 };
  device.dispatch(
    batchNormFold,
    fold,
    [moments, scale, shift, updated, coefficients].map(({ slot }) => slot),
  );
  const out = Tensor.empty(device, x.shape);
  device.dispatch(channelAffine, { ...sizes, useB: 0 }, [x.slot, x.slot, coefficients.slot, out.slot]);
  // In inference the statistics are constants: the gradient of x is s g, that of scale sums (x - mean) r.
  return record(out, [x, scale, shift], [x, scale, moments], (g, [savedX = x, savedScale = scale, saved = moments]) => {
    const sums = Tensor.empty(device, [2, channels]);
    device.dispatch(channelSums, { ...sizes, products: 1 }, [g.slot, savedX.slot, saved.slot, sums.slot]);
    const back = Tensor.empty(device, [3, channels]);
    const both = Tensor.empty(device, [2, channels]);
    device.dispatch(
      batchNormBack,
      { channels, count: training ? count : 0, epsilon },
      [sums, saved, savedScale, back, both].map(({ slot }) => slot),
    );
    const made = Tensor.empty(device, x.shape);
    device.dispatch(channelAffine, { ...sizes, useB: 1 }, [g.slot, savedX.slot, back.slot, made.slot]);
    return [made, copyRun(both, 0, channels), copyRun(both, channels, channels)];
  });
}

/**
 * x / (1 - rate) where a number survives, else 0; numbers survive with probability 1 - rate, one by one, or channel by
 * channel of [batch, channels, ..]. The mask is the random stream's at `address`: the same everywhere. Throws E_CONFIG
 * where rate is not in [0, 1).
 */
export function dropout(x: Tensor, rate: number, address: StreamAddress, perChannel = false): Tensor {
  if (!(rate >= 0 && rate < 1)) throw new WidefieldError("E_CONFIG", `a dropout's rate is in [0, 1), not ${rate}`);
  requireFloats("dropout", x);
  if (rate === 0) return reshape(x, x.shape); // never x itself: the caller may dispose of either
  const perGroup = perChannel ? Math.max(1, channelShape("dropout", x).pixels) : 1;
  const params = { count: x.size, perGroup, keep: 1 - rate, ...address };
  const masked = (from: Tensor): Tensor => {
    const out = Tensor.empty(from.device, from.shape);
    from.device.dispatch(dropoutKernel, params, [from.slot, out.slot]);
    return out;
  };
  return record(masked(x), [x], [], (g) => [masked(g)]);
}
