/** What operations ask of their inputs, and how they say no. */
import { WidefieldError } from "../../errors.ts";
import type { Tensor } from "../tensor.ts";

/** "[64, 3, 32, 32]" */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/**
 * What every operation asks first, before it takes memory of its own: tensors that are alive, of float32, and on one
 * engine (whose slots mean nothing to another). Throws E_CLOSED and E_CONFIG.
 */
export function requireFloats(operation: string, ...tensors: readonly Tensor[]): void {
  requireAlive(operation, ...tensors);
  for (const { type, shape } of tensors)
    if (type !== "f32")
      throw new WidefieldError(
        "E_CONFIG",
        `${operation} computes with float32 numbers, and a tensor of ${shapeText(shape)} holds labels`,
      );
}

/** Tensors that are alive, and on one engine. Throws E_CLOSED and E_CONFIG. */
export function requireAlive(operation: string, ...tensors: readonly Tensor[]): void {
  for (const { isDisposed, shape, device } of tensors) {
    if (isDisposed)
      throw new WidefieldError(
        "E_CLOSED",
        `${operation}: a tensor of ${shapeText(shape)} has been disposed of; what a scope made lives no longer than the scope`,
      );
    if (device.engine !== tensors[0]?.device.engine)
      throw new WidefieldError(
        "E_CONFIG",
        `${operation}: its tensors are on different engines; read() one of them and make it a tensor of the other's engine`,
      );
  }
}

export function requireSameShape(operation: string, a: Tensor, b: Tensor): void {
  if (a.shape.length === b.shape.length && a.shape.every((side, axis) => side === b.shape[axis])) return;
  throw new WidefieldError(
    "E_SHAPE",
    `${operation} takes tensors of one shape, not ${shapeText(a.shape)} and ${shapeText(b.shape)}`,
  );
}

/** [rows, columns]. */
export function matrixShape(operation: string, { shape }: Tensor): readonly [number, number] {
  const [rows, columns] = shape;
  if (shape.length === 2 && rows !== undefined && columns !== undefined) return [rows, columns];
  throw new WidefieldError("E_SHAPE", `${operation} takes a matrix, not a tensor of ${shapeText(shape)}`);
}

/** [batch, channels, height, width]. */
export function imageShape(operation: string, { shape }: Tensor): readonly [number, number, number, number] {
  const [batch, channels, height, width] = shape;
  if (
    shape.length === 4 &&
    batch !== undefined &&
    channels !== undefined &&
    height !== undefined &&
    width !== undefined
  )
    return [batch, channels, height, width];
  throw new WidefieldError(
    "E_SHAPE",
    `${operation} takes images of [batch, channels, height, width], not a tensor of ${shapeText(shape)}`,
  );
}

/** [batch, channels, pixels] of images, or of a matrix whose columns are channels. */
export function channelShape(
  operation: string,
  { shape }: Tensor,
): { readonly batch: number; readonly channels: number; readonly pixels: number } {
  const [batch, channels] = shape;
  if (shape.length < 2 || batch === undefined || channels === undefined)
    throw new WidefieldError(
      "E_SHAPE",
      `${operation} takes a tensor of [batch, channels, ..], not one of ${shapeText(shape)}`,
    );
  return { batch, channels, pixels: shape.slice(2).reduce((product, side) => product * side, 1) };
}

/** One number for each of `count` channels. */
export function requireVector(operation: string, what: string, { shape }: Tensor, count: number): void {
  if (shape.length === 1 && shape[0] === count) return;
  throw new WidefieldError("E_SHAPE", `${operation}: ${what} must be of [${count}], not of ${shapeText(shape)}`);
}

/** The number of an axis, from the end where it is negative. Throws E_SHAPE. */
export function axisOf(operation: string, { shape }: Tensor, axis: number): number {
  const number = axis < 0 ? shape.length + axis : axis;
  if (Number.isInteger(axis) && number >= 0 && number < shape.length) return number;
  throw new WidefieldError("E_SHAPE", `${operation}: there is no axis ${axis} in ${shapeText(shape)}`);
}

/** Numbers in the axes [from, to). */
export function span(shape: readonly number[], from: number, to = shape.length): number {
  return shape.slice(from, to).reduce((product, side) => product * side, 1);
}
