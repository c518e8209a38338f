/** Maxima and means over windows of images. */
import { WidefieldError } from "../../errors.ts";
import { pool2d, pool2dInput, PoolOperation } from "../../engine/kernels/pool2d.ts";
import { record } from "../tape.ts";
import { Tensor } from "../tensor.ts";
import { pairOf, type Pair } from "./linear.ts";
import { imageShape, requireFloats, shapeText } from "./shapes.ts";

export interface PoolingOptions {
  readonly window: Pair;
  /** Default: the window. */
  readonly stride?: Pair | undefined;
  /** On every side: outside of a maximum, 0 in a mean, which is always over the whole window. At most half a window. */
  readonly padding?: Pair | undefined;
}

/** The maximum over windows of images [batch, channels, height, width]; the first of equal ones gets the gradient. */
export function maxPool(x: Tensor, options: PoolingOptions): Tensor {
  return pool(x, options, PoolOperation.max);
}

/** The mean over windows of images [batch, channels, height, width]. */
export function avgPool(x: Tensor, options: PoolingOptions): Tensor {
  return pool(x, options, PoolOperation.mean);
}

function pool(x: Tensor, { window, stride = window, padding = 0 }: PoolingOptions, operation: number): Tensor {
  requireFloats("pooling", x);
  const [batch, channels, inHeight, inWidth] = imageShape("pooling", x);
  const [windowHeight, windowWidth] = pairOf("window", window);
  const [strideHeight, strideWidth] = pairOf("stride", stride);
  const [padTop, padLeft] = typeof padding === "number" ? [padding, padding] : padding;
  const whole = Number.isSafeInteger(padTop) && Number.isSafeInteger(padLeft);
  if (!(whole && padTop >= 0 && padLeft >= 0 && 2 * padTop <= windowHeight && 2 * padLeft <= windowWidth))
    throw new WidefieldError(
      "E_CONFIG",
      `padding of a pool is in whole pixels, and at most half its window, not ${padTop}, ${padLeft}`,
    );
  const outHeight = Math.floor((inHeight + 2 * padTop - windowHeight) / strideHeight) + 1;
  const outWidth = Math.floor((inWidth + 2 * padLeft - windowWidth) / strideWidth) + 1;
  if (!(outHeight > 0 && outWidth > 0))
    throw new WidefieldError(
      "E_SHAPE",
      `a window of ${windowHeight} x ${windowWidth} does not fit into images of ${shapeText(x.shape)}`,
    );
  const params = {
    ...{ planes: batch * channels, inHeight, inWidth, outHeight, outWidth, operation },
    ...{ windowHeight, windowWidth, strideHeight, strideWidth, padTop, padLeft },
  };
  const out = Tensor.empty(x.device, [batch, channels, outHeight, outWidth]);
  const places = Tensor.empty(x.device, operation === PoolOperation.max ? out.shape : [1], "u32");
  x.device.dispatch(pool2d, params, [x.slot, out.slot, places.slot]);
  const pooled = record(out, [x], [places], (g, [saved = places]) => {
    const made = Tensor.empty(g.device, x.shape);
    g.device.dispatch(pool2dInput, params, [g.slot, saved.slot, made.slot]);
    return [made];
  });
  places.dispose();
  return pooled;
}
