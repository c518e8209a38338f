/** Operations on tensors in plain float64 loops, one element after the other: what `sdk/tensor/ops` is compared with. */

export interface Array64 {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export function array64(shape: readonly number[], data: ArrayLike<number>): Array64 {
  return { shape, data: Float64Array.from(data) };
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, side) => product * side, 1);
}

function side(a: Array64, axis: number): number {
  return a.shape[axis] ?? 1;
}

/** f at every index of a shape. */
function build(shape: readonly number[], f: (index: readonly number[]) => number): Array64 {
  const data = Float64Array.from({ length: sizeOf(shape) }, (_, flat) => f(indexOf(shape, flat)));
  return { shape, data };
}

function indexOf(shape: readonly number[], flat: number): number[] {
  const index: number[] = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const length = shape[axis] ?? 1;
    index[axis] = flat % length;
    flat = Math.floor(flat / length);
  }
  return index;
}

/** The entry at an index; 0 outside. */
function at({ shape, data }: Array64, ...index: readonly number[]): number {
  let flat = 0;
  for (const [axis, length] of shape.entries()) {
    const i = index[axis] ?? 0;
    if (i < 0 || i >= length) return 0;
    flat = flat * length + i;
  }
  return data[flat] ?? NaN;
}

export function map(a: Array64, f: (value: number) => number): Array64 {
  return { shape: a.shape, data: a.data.map(f) };
}

export function zip(a: Array64, b: Array64, f: (left: number, right: number) => number): Array64 {
  return { shape: a.shape, data: a.data.map((value, i) => f(value, b.data[i] ?? NaN)) };
}

export function matmul(a: Array64, b: Array64, transposeA: boolean, transposeB: boolean): Array64 {
  const k = side(a, transposeA ? 0 : 1);
  return build([side(a, transposeA ? 1 : 0), side(b, transposeB ? 0 : 1)], ([i = 0, j = 0]) => {
    let total = 0;
    for (let p = 0; p < k; p++)
      total += (transposeA ? at(a, p, i) : at(a, i, p)) * (transposeB ? at(b, j, p) : at(b, p, j));
    return total;
  });
}

export interface Convolution {
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  readonly padding: readonly [top: number, left: number, bottom: number, right: number];
}

export function conv2d(x: Array64, w: Array64, b: Array64 | undefined, options: Convolution): Array64 {
  const { stride, dilation, padding } = options;
  const [top, left, bottom, right] = padding;
  const [height, width] = [side(w, 2), side(w, 3)];
  const outHeight = Math.floor((side(x, 2) + top + bottom - (height - 1) * dilation[0] - 1) / stride[0]) + 1;
  const outWidth = Math.floor((side(x, 3) + left + right - (width - 1) * dilation[1] - 1) / stride[1]) + 1;
  return build([side(x, 0), side(w, 0), outHeight, outWidth], ([n = 0, o = 0, v = 0, u = 0]) => {
    let total = b === undefined ? 0 : at(b, o);
    for (let c = 0; c < side(x, 1); c++)
      for (let i = 0; i < height; i++)
        for (let j = 0; j < width; j++)
          total +=
            at(w, o, c, i, j) *
            at(x, n, c, v * stride[0] - top + i * dilation[0], u * stride[1] - left + j * dilation[1]);
    return total;
  });
}

export function bias(x: Array64, b: Array64): Array64 {
  return build(x.shape, (index) => at(x, ...index) + at(b, index[1] ?? 0));
}

export interface Pooling {
  readonly window: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
}

export function pool(x: Array64, { window, stride, padding }: Pooling, kind: "max" | "mean"): Array64 {
  const out = (length: number, axis: 0 | 1): number =>
    Math.floor((length + 2 * padding[axis] - window[axis]) / stride[axis]) + 1;
  const [height, width] = [side(x, 2), side(x, 3)];
  return build([side(x, 0), side(x, 1), out(height, 0), out(width, 1)], ([n = 0, c = 0, v = 0, u = 0]) => {
    let [largest, total] = [-Infinity, 0];
    for (let i = 0; i < window[0]; i++)
      for (let j = 0; j < window[1]; j++) {
        const [row, column] = [v * stride[0] - padding[0] + i, u * stride[1] - padding[1] + j];
        if (row < 0 || row >= height || column < 0 || column >= width) continue;
        largest = Math.max(largest, at(x, n, c, row, column));
        total += at(x, n, c, row, column);
      }
    return kind === "max" ? largest : total / (window[0] * window[1]);
  });
}

/** Means and variances (of the population) over all axes but the second: [2, channels]. */
export function moments(x: Array64): Array64 {
  const channels = side(x, 1);
  const values = Array.from({ length: channels }, (_, c) =>
    Array.from(x.data).filter((__, flat) => indexOf(x.shape, flat)[1] === c),
  );
  const means = values.map((list) => list.reduce((sum, value) => sum + value, 0) / list.length);
  const variances = values.map(
    (list, c) => list.reduce((sum, value) => sum + (value - (means[c] ?? 0)) ** 2, 0) / list.length,
  );
  return { shape: [2, channels], data: Float64Array.from([...means, ...variances]) };
}

export function batchNorm(x: Array64, scale: Array64, shift: Array64, by: Array64, epsilon: number): Array64 {
  return build(x.shape, (index) => {
    const c = index[1] ?? 0;
    return ((at(x, ...index) - at(by, 0, c)) / Math.sqrt(at(by, 1, c) + epsilon)) * at(scale, c) + at(shift, c);
  });
}

export function sum(x: Array64, axis?: number): Array64 {
  if (axis === undefined)
    return { shape: [], data: Float64Array.of(x.data.reduce((total, value) => total + value, 0)) };
  const shape = x.shape.filter((_, k) => k !== axis);
  return build(shape, (index) => {
    let total = 0;
    for (let i = 0; i < side(x, axis); i++) total += at(x, ...index.slice(0, axis), i, ...index.slice(axis));
    return total;
  });
}

export function maxOfRows(x: Array64): Array64 {
  const columns = x.shape.at(-1) ?? 1;
  return build(x.shape.slice(0, -1), (index) =>
    Math.max(...Array.from({ length: columns }, (_, j) => at(x, ...index, j))),
  );
}

export function softmax(x: Array64, log: boolean): Array64 {
  const columns = x.shape.at(-1) ?? 1;
  return build(x.shape, (index) => {
    const row = Array.from({ length: columns }, (_, j) => at(x, ...index.slice(0, -1), j));
    const largest = Math.max(...row);
    const total = row.reduce((sums, value) => sums + Math.exp(value - largest), 0);
    const shifted = at(x, ...index) - largest;
    return log ? shifted - Math.log(total) : Math.exp(shifted) / total;
  });
}

export function transpose(x: Array64, order: readonly number[]): Array64 {
  const shape = order.map((axis) => side(x, axis));
  return build(shape, (index) => at(x, ...x.shape.map((_, axis) => index[order.indexOf(axis)] ?? 0)));
}

export function slice(x: Array64, axis: number, begin: number, size: number): Array64 {
  const shape = x.shape.map((length, k) => (k === axis ? size : length));
  return build(shape, (index) => at(x, ...index.map((i, k) => (k === axis ? i + begin : i))));
}

export function concat(parts: readonly Array64[], axis: number): Array64 {
  const total = parts.reduce((sums, part) => sums + side(part, axis), 0);
  const shape = (parts[0]?.shape ?? []).map((length, k) => (k === axis ? total : length));
  return build(shape, (index) => {
    let place = index[axis] ?? 0;
    for (const part of parts) {
      if (place < side(part, axis)) return at(part, ...index.map((i, k) => (k === axis ? place : i)));
      place -= side(part, axis);
    }
    return NaN;
  });
}

export function pad(x: Array64, pads: readonly (readonly [number, number])[], value: number): Array64 {
  const shape = x.shape.map((length, k) => length + (pads[k]?.[0] ?? 0) + (pads[k]?.[1] ?? 0));
  return build(shape, (index) => {
    const inner = index.map((i, k) => i - (pads[k]?.[0] ?? 0));
    return inner.every((i, k) => i >= 0 && i < side(x, k)) ? at(x, ...inner) : value;
  });
}

/** The mean over rows of a class loss; names as in `ops.classLoss`. */
export function classLoss(scores: Array64, labels: ArrayLike<number>, name: string): number {
  const [rows, classes] = [side(scores, 0), side(scores, 1)];
  const used = name === "crossEntropy" || name === "logHinge" ? softmax(scores, true) : scores;
  let total = 0;
  for (let r = 0; r < rows; r++) {
    if (name === "crossEntropy") total -= at(used, r, labels[r] ?? 0);
    else
      for (let k = 0; k < classes; k++) {
        const margin = 1 - (k === labels[r] ? 1 : -1) * at(used, r, k);
        const hinge = Math.max(0, margin);
        total += name === "squaredHinge" ? hinge ** 2 : name === "truncatedHinge" ? Math.min(hinge, 2) : hinge;
      }
  }
  return total / rows;
}
