/** Sums over a batch and its pixels, channel by channel: what gradients of biases, scales and split sums are. */
import { channelSums } from "../../engine/kernels/channels.ts";
import { Tensor } from "../tensor.ts";

export interface ChannelSizes {
  readonly batch: number;
  readonly channels: number;
  readonly pixels: number;
}

/** [channels]: the sum of a [batch, channels, pixels] over batch and pixels. */
export function sumChannels(a: Tensor, sizes: ChannelSizes): Tensor {
  const out = Tensor.empty(a.device, [sizes.channels]);
  a.device.dispatch(channelSums, { ...sizes, products: 0 }, [a.slot, a.slot, a.slot, out.slot]);
  return out;
}
