/**
 * What a covariance program means, in plain float64: every window summed tap by tap, the arc-cosine step by Math.acos.
 * Slow and obvious; all backends are compared with it.
 */
import type { ConvStep, InputStep, Program, ReluStep, Step } from "../../covariance/program.ts";

/** The maps of K(x, y), K(x, x) and K(y, y) at one point of a program, row-major. */
interface Maps {
  readonly xy: Float64Array;
  readonly xx: Float64Array;
  readonly yy: Float64Array;
}

type Image = ArrayLike<number>;

/** The program's output for the pair (x, y), before the scale 2^exponent. Images are channels x height x width. */
export function referenceCovariance(program: Program, x: Image, y: Image): number {
  const maps = run(program, x, y);
  return maps.xy[0] ?? NaN;
}

/** The program's output for each image with itself, before the scale 2^exponent. */
export function referenceVariances(program: Program, images: readonly Image[]): number[] {
  return images.map((image) => referenceCovariance(program, image, image));
}

function run(program: Program, x: Image, y: Image): Maps {
  let maps: Maps = { xy: new Float64Array(), xx: new Float64Array(), yy: new Float64Array() };
  for (const step of program.steps) maps = apply(step, maps, x, y);
  return maps;
}

function apply(step: Step, maps: Maps, x: Image, y: Image): Maps {
  switch (step.kind) {
    case "input":
      return { xy: product(step, x, y), xx: product(step, x, x), yy: product(step, y, y) };
    case "conv":
      return { xy: convolve(step, maps.xy), xx: convolve(step, maps.xx), yy: convolve(step, maps.yy) };
    case "relu":
      return relu(step, maps);
    case "mean": {
      const mean = (map: Float64Array): Float64Array =>
        Float64Array.of((step.weight * map.reduce((sum, value) => sum + value, 0)) / map.length + step.bias);
      return { xy: mean(maps.xy), xx: mean(maps.xx), yy: mean(maps.yy) };
    }
  }
}

function product({ channels, height, width, scale }: InputStep, x: Image, y: Image): Float64Array {
  const plane = height * width;
  return Float64Array.from({ length: plane }, (_, p) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += (x[c * plane + p] ?? NaN) * (y[c * plane + p] ?? NaN);
    return scale * sum;
  });
}

function convolve(step: ConvStep, map: Float64Array): Float64Array {
  return Float64Array.from({ length: step.outHeight * step.outWidth }, (_, p) => {
    const top = Math.floor(p / step.outWidth) * step.strideHeight - step.padTop;
    const left = (p % step.outWidth) * step.strideWidth - step.padLeft;
    let sum = 0;
    for (let i = 0; i < step.filterHeight; i++) {
      for (let j = 0; j < step.filterWidth; j++) {
        const row = top + i * step.dilationHeight;
        const column = left + j * step.dilationWidth;
        const inside = row >= 0 && row < step.inHeight && column >= 0 && column < step.inWidth;
        if (inside) sum += map[row * step.inWidth + column] ?? NaN;
      }
    }
    return step.weight * sum + step.bias;
  });
}

function relu({ scale }: ReluStep, { xy, xx, yy }: Maps): Maps {
  return {
    xy: xy.map((k, p) => scale * arccosine1(k, Math.sqrt((xx[p] ?? NaN) * (yy[p] ?? NaN)))),
    xx: xx.map((k) => (scale * k) / 2),
    yy: yy.map((k) => (scale * k) / 2),
  };
}

/** n kappa_1(k / n) = n (sin t + (pi - t) cos t) / (2 pi), t = acos(k / n) (Cho & Saul 2009, eq. 3 and 6). */
function arccosine1(k: number, n: number): number {
  if (n === 0) return 0;
  const c = Math.min(1, Math.max(-1, k / n));
  const t = Math.acos(c);
  return (n * (Math.sin(t) + (Math.PI - t) * c)) / (2 * Math.PI);
}
