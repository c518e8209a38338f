/** Maps of one channel that all channels of an image share. */
import { WidefieldError } from "../../errors.ts";
import { broadcastAdd } from "../../engine/kernels/broadcast-add.ts";
import { record } from "../tape.ts";
import { Tensor } from "../tensor.ts";
import { reshape } from "./copies.ts";
import { affine } from "./elementwise.ts";
import { sum } from "./reductions.ts";
import { channelShape, requireFloats, shapeText } from "./shapes.ts";

/**
 * x [batch, channels, ..] plus `factor` times a map [batch, 1, ..] in every channel: how a residual network adds its
 * image. Throws E_SHAPE.
 */
export function addToChannels(x: Tensor, map: Tensor, factor = 1): Tensor {
  requireFloats("addToChannels", x, map);
  const { batch, channels, pixels } = channelShape("addToChannels", x);
  const [, , ...sides] = x.shape;
  const wanted = [batch, 1, ...sides];
  if (wanted.length !== map.shape.length || !wanted.every((side, axis) => side === map.shape[axis]))
    throw new WidefieldError(
      "E_SHAPE",
      `addToChannels: the map for ${shapeText(x.shape)} is of ${shapeText(wanted)}, not of ${shapeText(map.shape)}`,
    );
  const out = Tensor.empty(x.device, x.shape);
  const strides = { strideBatch: pixels, strideChannel: 0, stridePixel: 1 };
  const params = { batch, channels, pixels, ...strides, alpha: 1, beta: factor };
  x.device.dispatch(broadcastAdd, params, [x.slot, map.slot, out.slot]);
  return record(out, [x, map], [], (g, _, needs) => [
    needs[0] === true ? g : undefined,
    needs[1] === true ? affine(reshape(sum(g, 1), map.shape), factor) : undefined,
  ]);
}
