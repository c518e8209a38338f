/**
 * Bilinear scaling of byte images, in Pillow's convention, which is what torchvision's `Resize` does to the images that
 * the published recipes train on. With n pixels becoming m, output pixel i has its centre at (i + 1/2) n / m in the
 * input, whose own centres lie at 1/2, 3/2, ..; weights are a triangle of half-width max(1, n / m) around it, cut at the
 * border and scaled to sum 1. Rows are scaled first, then columns, each rounded to a byte, with weights in units of
 * 2^-22.
 */

const PRECISION_BITS = 22;
const HALF = 1 << (PRECISION_BITS - 1);

/** The weights along one axis. */
interface Axis {
  /** First input pixel of each output pixel. */
  readonly first: Int32Array;
  /** Input pixels of each output pixel. */
  readonly taps: Int32Array;
  /** [outputs, most]: in units of 2^-22. */
  readonly weights: Int32Array;
  readonly most: number;
}

function axisOf(inputs: number, outputs: number): Axis {
  const scale = inputs / outputs;
  const support = Math.max(1, scale);
  const most = 2 * Math.ceil(support) + 1;
  const first = new Int32Array(outputs);
  const taps = new Int32Array(outputs);
  const weights = new Int32Array(outputs * most);
  for (let output = 0; output < outputs; output++) {
    const centre = (output + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(inputs, Math.trunc(centre + support + 0.5));
    const triangle = Array.from({ length: end - begin }, (_, tap) =>
      Math.max(0, 1 - Math.abs((begin + tap - centre + 0.5) / support)),
    );
    const total = triangle.reduce((sum, weight) => sum + weight, 0);
    first[output] = begin;
    taps[output] = end - begin;
    triangle.forEach((weight, tap) => {
      weights[output * most + tap] = Math.trunc((weight / total) * 2 ** PRECISION_BITS + 0.5);
    });
  }
  return { first, taps, weights, most };
}

/** Scales planes of `height` x `width` bytes to `side` x `side`. Made once for a shape, used for every image of it. */
export class Resizer {
  readonly #across: Axis;
  readonly #down: Axis;
  readonly #rows: Uint8Array;
  readonly #height: number;
  readonly #width: number;
  readonly #side: number;

  constructor(height: number, width: number, side: number) {
    this.#across = axisOf(width, side);
    this.#down = axisOf(height, side);
    this.#rows = new Uint8Array(height * side);
    this.#height = height;
    this.#width = width;
    this.#side = side;
  }

  /** One plane, from `from[at]` to `to[offset]`. */
  plane(from: Uint8Array, at: number, to: Uint8Array, offset: number): void {
    const side = this.#side;
    for (let row = 0; row < this.#height; row++)
      scale(from, at + row * this.#width, 1, this.#across, this.#rows, row * side, 1);
    for (let column = 0; column < side; column++)
      scale(this.#rows, column, side, this.#down, to, offset + column, side);
  }
}

/** One line, every `step`-th byte from `at` on, into every `toStep`-th byte from `offset` on. */
function scale(
  from: Uint8Array,
  at: number,
  step: number,
  { first, taps, weights, most }: Axis,
  to: Uint8Array,
  offset: number,
  toStep: number,
): void {
  for (let output = 0; output < first.length; output++) {
    const begin = first[output] ?? 0;
    const count = taps[output] ?? 0;
    let sum = HALF;
    // At most 255 x 2^22 and the rounding of a few weights: below 2^31.
    for (let tap = 0; tap < count; tap++)
      sum += (from[at + (begin + tap) * step] ?? 0) * (weights[output * most + tap] ?? 0);
    to[offset + output * toStep] = Math.min(255, sum >> PRECISION_BITS);
  }
}
