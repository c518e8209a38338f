/**
 * out[c] = sum over n, p of a[n, c, p], and with products = 1 also out[channels + c] = sum of a (b - centre[c]), in float32
 * (schema: `sdk/engine/kernels/channels.ts`; the order of the sums: `channels/sums.ts`). Cost: the memory traffic.
 */
import { channelsAnItem, channelsAtOnce, PLAIN, PRODUCTS, sumChannels } from "./channels/sums";
import { buffer } from "./dispatch";
import { ChannelSumsParams } from "./generated/kernels";

export function channelSums(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<ChannelSumsParams>(params);
  const batch = <i32>p.batch;
  const channels = <i32>p.channels;
  const pixels = <i32>p.pixels;
  const an = channelsAnItem(pixels);
  const step = channelsAtOnce(pixels);
  const last = min(end * an, channels);
  for (let c = begin * an; c < last; c += step) {
    const count = min(step, last - c);
    const skipped = <usize>c * <usize>pixels << 2;
    const a = buffer(buffers, 0) + skipped;
    const first = buffer(buffers, 3) + (<usize>c << 2);
    const second = first + (<usize>channels << 2);
    if (p.products) {
      const b = buffer(buffers, 1) + skipped;
      const centre = buffer(buffers, 2) + (<usize>c << 2);
      sumChannels(PRODUCTS, a, b, centre, count, batch, channels, pixels, first, second, scratch);
    } else {
      sumChannels(PLAIN, a, a, 0, count, batch, channels, pixels, first, 0, scratch);
    }
  }
}
