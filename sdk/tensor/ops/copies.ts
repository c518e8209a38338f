/** Transposes, slices, padding, concatenation, repetition: numbers moved from place to place. */
import { WidefieldError } from "../../errors.ts";
import { stridedCopy } from "../../engine/kernels/strided-copy.ts";
import { filled, record } from "../tape.ts";
import { Tensor } from "../tensor.ts";
import { axisOf, requireFloats, shapeText, span } from "./shapes.ts";

/** The same numbers, in the same order, in another shape; one side may be -1: what is left. A view. Throws E_SHAPE. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  const known = shape.reduce((product, side) => (side === -1 ? product : product * side), 1);
  const resolved = shape.map((side) => (side === -1 ? x.size / known : side));
  return record(x.share(resolved), [x], [], (g) => [g.share(x.shape)]);
}

/** [batch, everything else]. */
export function flatten(x: Tensor): Tensor {
  return reshape(x, [x.shape[0] ?? 1, span(x.shape, 1)]);
}

/** Axis k of the result is axis order[k] of x; default: reversed. Of at most four axes. Throws E_SHAPE. */
export function transpose(
  x: Tensor,
  order: readonly number[] = x.shape.map((_, axis) => x.shape.length - 1 - axis),
): Tensor {
  requireFloats("transpose", x);
  const rank = x.shape.length;
  const axes = order.map((axis) => axisOf("transpose", x, axis));
  if (rank > 4 || axes.length !== rank || new Set(axes).size !== rank)
    throw new WidefieldError(
      "E_SHAPE",
      `transpose takes the axes of ${shapeText(x.shape)} in some order, four at most, not ${shapeText(order)}`,
    );
  const shape = axes.map((axis) => x.shape[axis] ?? 1);
  const out = Tensor.empty(x.device, shape);
  const strides = contiguous(x.shape);
  move(x, out, { sides: shape, inStrides: axes.map((axis) => strides[axis] ?? 0), outStrides: contiguous(shape) });
  const back = axes.map((_, axis) => axes.indexOf(axis));
  return record(out, [x], [], (g) => [transpose(g, back)]);
}

/** Entries [begin, begin + size) along an axis. Throws E_SHAPE. */
export function slice(x: Tensor, axis: number, begin: number, size: number): Tensor {
  requireFloats("slice", x);
  const along = axisOf("slice", x, axis);
  const side = x.shape[along] ?? 0;
  if (!Number.isSafeInteger(begin) || !Number.isSafeInteger(size) || begin < 0 || size < 0 || begin + size > side)
    throw new WidefieldError("E_SHAPE", `slice: entries ${begin} to ${begin + size} of ${side} along axis ${along}`);
  const { outer, inner } = around(x.shape, along);
  const out = Tensor.empty(x.device, replaced(x.shape, along, size));
  const whole = [side * inner, inner, 1];
  const part = [size * inner, inner, 1];
  const sides = [outer, size, inner];
  move(x, out, { sides, inStrides: whole, outStrides: part, inOffset: begin * inner });
  return record(out, [x], [], (g) => {
    const made = filled(g.device, x.shape, 0);
    move(g, made, { sides, inStrides: part, outStrides: whole, outOffset: begin * inner });
    return [made];
  });
}

/** Tensors one after the other along an axis; their other sides are the same. Throws E_SHAPE. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  const [first] = tensors;
  if (first === undefined) throw new WidefieldError("E_SHAPE", "concat takes at least one tensor");
  requireFloats("concat", ...tensors);
  const along = axisOf("concat", first, axis);
  for (const other of tensors) {
    const fits = other.shape.length === first.shape.length;
    if (!fits || !other.shape.every((side, k) => k === along || side === first.shape[k]))
      throw new WidefieldError(
        "E_SHAPE",
        `concat along axis ${along}: ${shapeText(other.shape)} does not go behind ${shapeText(first.shape)}`,
      );
  }
  const sizes = tensors.map(({ shape }) => shape[along] ?? 0);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const { outer, inner } = around(first.shape, along);
  const out = Tensor.empty(first.device, replaced(first.shape, along, total));
  let begin = 0;
  const begins = sizes.map((size) => (begin += size) - size);
  tensors.forEach((one, index) => {
    const size = sizes[index] ?? 0;
    move(one, out, {
      sides: [outer, size, inner],
      inStrides: [size * inner, inner, 1],
      outStrides: [total * inner, inner, 1],
      outOffset: (begins[index] ?? 0) * inner,
    });
  });
  return record(out, tensors, [], (g, _, needs) =>
    sizes.map((size, index) => (needs[index] === true ? slice(g, along, begins[index] ?? 0, size) : undefined)),
  );
}

/** Zeros (or `value`) around x: pads[k] = [before, after] along axis k, of at most four axes. Throws E_SHAPE. */
export function pad(x: Tensor, pads: readonly (readonly [number, number])[], value = 0): Tensor {
  requireFloats("pad", x);
  const whole = pads.every((both) => both.every((count) => Number.isSafeInteger(count) && count >= 0));
  if (x.shape.length > 4 || pads.length !== x.shape.length || !whole)
    throw new WidefieldError(
      "E_SHAPE",
      `pad takes [before, after] for each axis of ${shapeText(x.shape)}, four at most`,
    );
  const shape = x.shape.map((side, axis) => side + (pads[axis]?.[0] ?? 0) + (pads[axis]?.[1] ?? 0));
  const out = filled(x.device, shape, value);
  const inStrides = contiguous(x.shape);
  const outStrides = contiguous(shape);
  const outOffset = outStrides.reduce((sum, stride, axis) => sum + stride * (pads[axis]?.[0] ?? 0), 0);
  move(x, out, { sides: x.shape, inStrides, outStrides, outOffset });
  return record(out, [x], [], (g) => {
    const made = Tensor.empty(g.device, x.shape);
    move(g, made, { sides: x.shape, inStrides: outStrides, outStrides: inStrides, inOffset: outOffset });
    return [made];
  });
}

/** `count` numbers of a tensor from `begin` on, as a vector; no operation of its own on a tape. */
export function copyRun(x: Tensor, begin: number, count: number): Tensor {
  const out = Tensor.empty(x.device, [count]);
  move(x, out, { sides: [count], inStrides: [1], outStrides: [1], inOffset: begin });
  return out;
}

/** Writes the numbers of a tensor into another, from its number `begin` on; no operation of its own on a tape. */
export function copyInto(x: Tensor, to: Tensor, begin: number): void {
  move(x, to, { sides: [x.size], inStrides: [1], outStrides: [1], outOffset: begin });
}

/** x [outer, inner] repeated between: [outer, times, inner]; no operation of its own on a tape. */
export function repeatBetween(
  x: Tensor,
  outer: number,
  times: number,
  inner: number,
  shape: readonly number[],
): Tensor {
  const out = Tensor.empty(x.device, shape);
  move(x, out, { sides: [outer, times, inner], inStrides: [inner, 0, 1], outStrides: [times * inner, inner, 1] });
  return out;
}

/** x [outer, side, inner] as [side, outer, inner]; no operation of its own on a tape. */
export function swapOuter(x: Tensor, outer: number, side: number, inner: number): Tensor {
  const out = Tensor.empty(x.device, [side, outer, inner]);
  const inStrides = [inner, side * inner, 1];
  move(x, out, { sides: [side, outer, inner], inStrides, outStrides: [outer * inner, inner, 1] });
  return out;
}

interface Move {
  readonly sides: readonly number[];
  readonly inStrides: readonly number[];
  readonly outStrides: readonly number[];
  readonly inOffset?: number;
  readonly outOffset?: number;
}

function move(from: Tensor, to: Tensor, { sides, inStrides, outStrides, inOffset = 0, outOffset = 0 }: Move): void {
  const front = 4 - sides.length;
  const at = (list: readonly number[], k: number, missing: number): number =>
    k < front ? missing : (list[k - front] ?? 0);
  from.device.dispatch(
    stridedCopy,
    {
      ...{ n0: at(sides, 0, 1), n1: at(sides, 1, 1), n2: at(sides, 2, 1), n3: at(sides, 3, 1), inOffset, outOffset },
      ...{ inStride0: at(inStrides, 0, 0), inStride1: at(inStrides, 1, 0) },
      ...{ inStride2: at(inStrides, 2, 0), inStride3: at(inStrides, 3, 0) },
      ...{ outStride0: at(outStrides, 0, 0), outStride1: at(outStrides, 1, 0) },
      ...{ outStride2: at(outStrides, 2, 0), outStride3: at(outStrides, 3, 0), alpha: 1, beta: 0 },
    },
    [from.slot, to.slot],
  );
}

/** Strides of a row-major array. */
function contiguous(shape: readonly number[]): number[] {
  return shape.map((_, axis) => span(shape, axis + 1));
}

function around(shape: readonly number[], axis: number): { readonly outer: number; readonly inner: number } {
  return { outer: span(shape, 0, axis), inner: span(shape, axis + 1) };
}

function replaced(shape: readonly number[], axis: number, side: number): number[] {
  return shape.map((old, k) => (k === axis ? side : old));
}
