/** Sets of inputs as kernels and networks take them, checked once. */
import type { ImageBlock } from "../covariance/tiles.ts";
import { checkFinite, type ImageShape } from "../data/dataset.ts";
import { WidefieldError } from "../errors.ts";
import { formatShape, type Shape } from "./layer.ts";

/** Inputs one after the other; `select()` of a dataset gives one. Bytes must be made floats first. */
export interface ImageSet {
  /** [n, channels * height * width], or [n, features] for vectors. */
  readonly images: Float32Array | Float64Array;
  readonly shape: ImageShape | Shape;
}

export function shapeOf(shape: ImageShape | Shape): Shape {
  return "channels" in shape ? [shape.channels, shape.height, shape.width] : shape;
}

/** Checks a set's sizes and pixels. Throws E_SHAPE, and E_DATA for a pixel that is not finite, with its index. */
export function imageBlock(set: ImageSet, name: string): ImageBlock {
  const shape = shapeOf(set.shape);
  const floats = shape.reduce((product, size) => product * size, 1);
  const count = set.images.length / floats;
  if (!Number.isInteger(count)) {
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: ${set.images.length} numbers are no whole number of inputs of ${formatShape(shape)}`,
    );
  }
  if (count === 0) throw new WidefieldError("E_SHAPE", `${name}: there are no inputs`);
  const [channels, height, width] = shape.length === 3 ? shape : [1, 1, floats];
  checkFinite(set.images, { channels, height, width }, name);
  return { count, floats, slice: (begin, end) => set.images.subarray(begin * floats, end * floats) };
}
