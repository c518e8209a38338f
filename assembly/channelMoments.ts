/**
 * Mean and variance of each channel over batch and pixels, in float32 (schema: `sdk/engine/kernels/channels.ts`; the order of
 * the sums: `channels/sums.ts`). A float32 mean is off by up to its own last place, which counts where values lie far from 0
 * and close together: deviations are taken from the rounded mean m of a first pass, and put right by their own mean,
 *
 *     mean = m + E[a - m],  variance = E[(a - m)^2] - E[a - m]^2
 *
 * in which a - m is exact and the second term small. Cost: the memory traffic, the second pass from a cache.
 */
import { channelsAnItem, channelsAtOnce, DEVIATIONS, PLAIN, sumChannels, SUMS_SCRATCH_BYTES } from "./channels/sums";
import { buffer } from "./dispatch";
import { ChannelMomentsParams } from "./generated/kernels";

export function channelMoments(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<ChannelMomentsParams>(params);
  const batch = <i32>p.batch;
  const channels = <i32>p.channels;
  const pixels = <i32>p.pixels;
  // Of nothing, both are 0.
  const size = <f32>max<f64>(<f64>batch * <f64>pixels, 1);
  const an = channelsAnItem(pixels);
  const step = channelsAtOnce(pixels);
  const last = min(end * an, channels);
  const centres = scratch + SUMS_SCRATCH_BYTES;
  for (let c = begin * an; c < last; c += step) {
    const count = min(step, last - c);
    const a = buffer(buffers, 0) + (<usize>c * <usize>pixels << 2);
    const means = buffer(buffers, 1) + (<usize>c << 2);
    const variances = means + (<usize>channels << 2);
    sumChannels(PLAIN, a, a, 0, count, batch, channels, pixels, centres, 0, scratch);
    for (let i: usize = 0; i < <usize>count << 2; i += 4) store<f32>(centres + i, load<f32>(centres + i) / size);
    sumChannels(DEVIATIONS, a, a, centres, count, batch, channels, pixels, means, variances, scratch);
    for (let i: usize = 0; i < <usize>count << 2; i += 4) {
      const shift = load<f32>(means + i) / size;
      const square = load<f32>(variances + i) / size;
      store<f32>(means + i, load<f32>(centres + i) + shift);
      // max(NaN, 0) is NaN.
      store<f32>(variances + i, max<f32>(square - shift * shift, 0));
    }
  }
}
