/**
 * What a recursion (`recursion.ts`) needs to know of each image: its point, whose products with others make the gaps,
 * and a table of its standard deviations through the steps. Worked out in float64, once per image.
 */
import { angleOf } from "./arc.ts";
import type { Recursion, RecursionStep } from "./recursion.ts";
import { degreeOf, shiftOf, timesPower } from "./recursion-scale.ts";

/**
 * Rows of a table for each step, each as long as there are images (rounded up to four):
 *
 *     0  h of the input; of other steps s before the step
 *     1  r = 1 / s, of erf with its offset; 0 where s is nothing
 *     2  s behind the step
 *     3  phi between the map and an affine step's bias, or erf's offset
 *     4  s in the step's slot: with what it is added to
 *     5  phi of a sum: between what was there and what is added
 */
export const TABLE_ROWS = 6;

/**
 * 2^-50: covariances so far below a map's units are nothing, and 1 / s^2 stays finite. Only inputs of networks with biases
 * come there, where the bias, or the unit of its weights, is what their kernel is made of.
 */
const SMALLEST = 2 ** -50;

/** The least multiple of four that holds all images. */
export function tablePitch(images: number): number {
  return Math.ceil(images / 4) * 4;
}

export interface ImageTable {
  /** [images, floats]: x / |x|, and 0 for x = 0; of the metric "distance" x in its unit. */
  readonly points: Float64Array<ArrayBuffer>;
  /** [steps, TABLE_ROWS, pitch]. */
  readonly table: Float64Array<ArrayBuffer>;
  /** Powers of two that were taken out: K(x, z) is the recursion's times 2^(x's + z's). */
  readonly exponents: Float64Array<ArrayBuffer>;
  /** The largest number of each image that steps square, or multiply with another image's. */
  readonly reaches: Float64Array<ArrayBuffer>;
  /** K(x, x) and theta(x, x) in the output, without these powers. */
  readonly variances: Float64Array<ArrayBuffer>;
  readonly tangents: Float64Array<ArrayBuffer>;
}

/** Of `images`, `count` times `floats` numbers. */
export function imageTable(recursion: Recursion, images: ArrayLike<number>, count: number, floats: number): ImageTable {
  const { steps, metric, scale, slots } = recursion;
  const pitch = tablePitch(count);
  const points = Float64Array.from(images);
  const table = new Float64Array(steps.length * TABLE_ROWS * pitch);
  const [exponents, reaches] = [new Float64Array(count), new Float64Array(count)];
  const variances = new Float64Array(count);
  const tangents = new Float64Array(count);
  const degree = degreeOf(recursion);
  const [k, theta] = [new Float64Array(slots), new Float64Array(slots)];
  const write = (step: number, row: number, image: number, value: number): void => {
    table[(step * TABLE_ROWS + row) * pitch + image] = value;
  };
  for (let image = 0; image < count; image++) {
    const point = points.subarray(image * floats, (image + 1) * floats);
    // In a unit in which squares neither overflow nor underflow; of distances, in theirs.
    const largest = point.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const power = metric === "angle" && largest > 0 ? Math.floor(Math.log2(largest)) : 0;
    let square = 0;
    point.forEach((x, i) => {
      const value = metric === "angle" ? timesPower(x, -power) : x / scale;
      square += value * value;
      point[i] = value;
    });
    const norm = Math.sqrt(square);
    if (metric === "angle" && norm > 0) point.forEach((x, i) => (point[i] = x / norm));
    const shift = norm > 0 ? shiftOf(power + Math.floor(Math.log2(norm)), degree) : 0;
    exponents[image] = shift * (degree ?? 0);
    const input = metric === "angle" ? scale * timesPower(square, 2 * (power - shift)) : 1;
    // Of distances a sum of two squares, doubled.
    let reach = metric === "angle" ? Math.sqrt(input) : 2 * norm;
    for (const [index, step] of steps.entries()) {
      if (step.kind === "input") {
        write(index, 0, image, metric === "angle" ? 0.5 : square / 2);
        write(index, 2, image, Math.sqrt(input));
        write(index, 4, image, Math.sqrt(input));
        k[step.to] = input;
        theta[step.to] = 0;
        continue;
      }
      const before = k[step.from] ?? NaN;
      const own = through(step, before, theta[step.from] ?? NaN);
      const spread = Math.sqrt(step.kind === "erf" ? before + step.offset : before);
      write(index, 0, image, Math.sqrt(before));
      write(index, 1, image, spread < SMALLEST ? 0 : 1 / spread);
      write(index, 2, image, Math.sqrt(own.k));
      if (step.kind === "affine") write(index, 3, image, angle(step.bias, step.weight * before));
      if (step.kind === "erf") write(index, 3, image, angle(step.offset, before));
      if (step.accumulate) {
        const there = k[step.to] ?? NaN;
        write(index, 5, image, angle(own.k, there));
        own.k += there;
        own.theta += theta[step.to] ?? NaN;
      }
      write(index, 4, image, Math.sqrt(own.k));
      reach = Math.max(reach, Math.sqrt(own.k));
      k[step.to] = own.k;
      theta[step.to] = own.theta;
    }
    const output = steps.at(-1)?.to ?? 0;
    reaches[image] = reach;
    variances[image] = k[output] ?? NaN;
    tangents[image] = theta[output] ?? NaN;
  }
  return { points, table, exponents, reaches, variances, tangents };
}

/** tan^2 of the angle is a / b. */
function angle(a: number, b: number): number {
  return angleOf(Math.sqrt(a), Math.sqrt(b));
}

/** K(x, x) and theta(x, x) behind a step. */
function through(
  step: Exclude<RecursionStep, { kind: "input" }>,
  k: number,
  theta: number,
): { k: number; theta: number } {
  switch (step.kind) {
    case "affine": {
      const { weight, bias, gain, offset } = step;
      const own = weight * k + bias;
      return { k: own, theta: weight * theta + gain * own + offset };
    }
    case "rectifier":
      return { k: step.positive * k, theta: step.positive * theta };
    case "step":
      return { k: k > 0 ? step.scale / 2 : 0, theta: 0 };
    case "erf": {
      const { scale, offset } = step;
      return {
        k: scale * angleOf(k, Math.sqrt(offset * (2 * k + offset))),
        theta: (scale / Math.sqrt(offset * (2 * k + offset))) * theta,
      };
    }
    case "square":
      return { k: 3 * k * k, theta: 0 };
    case "power":
      return { k: k ** step.degree, theta: 0 };
    case "gaussian":
    case "laplace":
      return { k: 1, theta: 0 };
  }
}
