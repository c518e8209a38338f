/**
 * What a covariance program means, in plain float64: every window summed tap by tap, nonlinearities by Math.acos and
 * Math.asin. Slow and obvious; all backends are compared with it.
 */
import type { ConvStep, ErfStep, InputStep, MeanStep, Program, RectifierStep, Step } from "../../covariance/program.ts";

/** The maps of K(x, y), K(x, x) and K(y, y) at one point of a program, row-major. */
interface Maps {
  readonly xy: Float64Array;
  readonly xx: Float64Array;
  readonly yy: Float64Array;
}

type Image = ArrayLike<number>;

/** The program's output for the pair (x, y), before the scale 2^exponent. Images are channels x height x width. */
export function referenceCovariance(program: Program, x: Image, y: Image): number {
  const slots: Maps[] = [];
  for (const step of program.steps) {
    const result = step.kind === "input" ? product(step, x, y) : apply(step, mapsOf(slots, step.from));
    const adds = "accumulate" in step && step.accumulate;
    slots[step.to] = adds ? sum(mapsOf(slots, step.to), result) : result;
  }
  return mapsOf(slots, program.steps.at(-1)?.to ?? 0).xy[0] ?? NaN;
}

/** The program's output for each image with itself, before the scale 2^exponent. */
export function referenceVariances(program: Program, images: readonly Image[]): number[] {
  return images.map((image) => referenceCovariance(program, image, image));
}

function mapsOf(slots: readonly Maps[], slot: number): Maps {
  const maps = slots[slot];
  if (maps === undefined) throw new Error(`slot ${slot} is read before it is written`);
  return maps;
}

function apply(step: Exclude<Step, InputStep>, maps: Maps): Maps {
  switch (step.kind) {
    case "conv":
      return each(maps, (map) => convolve(step, map));
    case "affine":
      return each(maps, (map) => map.map((k) => step.weight * k + step.bias));
    case "mean":
      return each(maps, (map) => mean(step, map));
    case "rectifier":
      return pixelwise(maps, (k, a, b) => rectify(step, k, Math.sqrt(a * b)));
    case "step":
      return pixelwise(maps, (k, a, b) => (a * b > 0 ? step.scale * arccosine0(k / Math.sqrt(a * b)) : 0));
    case "erf":
      return pixelwise(maps, (k, a, b) => arcsine(step, k, a, b));
    case "pool":
      throw new Error("pools are of full programs: see full-reference.ts");
  }
}

function each(maps: Maps, work: (map: Float64Array) => Float64Array): Maps {
  return { xy: work(maps.xy), xx: work(maps.xx), yy: work(maps.yy) };
}

/** work(K(u, v), K(u, u), K(v, v)) at every pixel, for the pairs (x, y), (x, x) and (y, y). */
function pixelwise({ xy, xx, yy }: Maps, work: (k: number, a: number, b: number) => number): Maps {
  const own = (k: number): number => work(k, k, k);
  return { xy: xy.map((k, p) => work(k, xx[p] ?? NaN, yy[p] ?? NaN)), xx: xx.map(own), yy: yy.map(own) };
}

function sum(a: Maps, b: Maps): Maps {
  const add = (u: Float64Array, v: Float64Array): Float64Array => u.map((value, p) => value + (v[p] ?? NaN));
  return { xy: add(a.xy, b.xy), xx: add(a.xx, b.xx), yy: add(a.yy, b.yy) };
}

function product(step: InputStep, x: Image, y: Image): Maps {
  return { xy: channelProduct(step, x, y), xx: channelProduct(step, x, x), yy: channelProduct(step, y, y) };
}

function channelProduct({ channels, height, width, scale }: InputStep, x: Image, y: Image): Float64Array {
  const plane = height * width;
  return Float64Array.from({ length: plane }, (_, p) => {
    let total = 0;
    for (let c = 0; c < channels; c++) total += (x[c * plane + p] ?? NaN) * (y[c * plane + p] ?? NaN);
    return scale * total;
  });
}

function convolve(step: ConvStep, map: Float64Array): Float64Array {
  return Float64Array.from({ length: step.outHeight * step.outWidth }, (_, p) => {
    const top = Math.floor(p / step.outWidth) * step.strideHeight - step.padTop;
    const left = (p % step.outWidth) * step.strideWidth - step.padLeft;
    let total = 0;
    for (let i = 0; i < step.filterHeight; i++) {
      for (let j = 0; j < step.filterWidth; j++) {
        const row = top + i * step.dilationHeight;
        const column = left + j * step.dilationWidth;
        const inside = row >= 0 && row < step.inHeight && column >= 0 && column < step.inWidth;
        if (inside) total += map[row * step.inWidth + column] ?? NaN;
      }
    }
    return step.weight * total + step.bias;
  });
}

function mean({ weight, bias }: MeanStep, map: Float64Array): Float64Array {
  return Float64Array.of((weight * map.reduce((total, value) => total + value, 0)) / map.length + bias);
}

/** n = sqrt(K(x, x) K(y, y)); see `RectifierStep`. */
function rectify({ positive, negative, curve }: RectifierStep, k: number, n: number): number {
  if (n === 0) return 0;
  const c = Math.min(1, Math.abs(k) / n);
  const t = Math.acos(c);
  const bend = Math.max(0, Math.sin(t) - t * c) / (2 * Math.PI);
  return positive * Math.max(k, 0) + negative * Math.max(-k, 0) + curve * n * bend;
}

/** (pi - acos c) / 2 pi (Cho & Saul 2009, eq. 3). */
function arccosine0(c: number): number {
  return (Math.PI - Math.acos(Math.min(1, Math.max(-1, c)))) / (2 * Math.PI);
}

function arcsine({ scale, offset }: ErfStep, k: number, a: number, b: number): number {
  return scale * Math.asin(k / Math.sqrt((a + offset) * (b + offset)));
}
