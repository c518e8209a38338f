/**
 * What a full covariance program means, in plain float64: covariances K and NTKs T of all pairs of pixels, every window
 * summed tap by tap, nonlinearities by Math.acos and Math.asin. Small images only; all backends are compared with it.
 */
import type {
  AffineStep,
  ConvStep,
  MeanStep,
  NonlinearityStep,
  PoolStep,
  Program,
  Step,
} from "../../covariance/program.ts";

/** K and T of all pairs (p, q) of a pixel of one image and a pixel of another: K[p * pixels + q]. */
interface Pairs {
  readonly k: Float64Array;
  readonly t: Float64Array;
}

/** Of (x, y), (x, x) and (y, y). */
interface Maps {
  readonly xy: Pairs;
  readonly xx: Pairs;
  readonly yy: Pairs;
}

type Image = ArrayLike<number>;

/** The output for the pair (x, y), before the scale 2^exponent. Images are channels x height x width. */
export function referenceFull(program: Program, x: Image, y: Image): { readonly nngp: number; readonly ntk: number } {
  const slots: Maps[] = [];
  const same = x === y;
  for (const step of program.steps) {
    if (step.kind === "input") {
      const product = (u: Image, v: Image): Pairs => channelProduct(step, u, v);
      slots[step.to] = { xy: product(x, y), xx: product(x, x), yy: product(y, y) };
      continue;
    }
    const from = mapsOf(slots, step.from);
    const maps = isPixelwise(step) ? pixelwise(step, from, same) : each(from, (pairs) => linear(step, pairs));
    slots[step.to] = "accumulate" in step && step.accumulate ? sum(mapsOf(slots, step.to), maps) : maps;
  }
  const { xy } = mapsOf(slots, program.steps.at(-1)?.to ?? 0);
  return { nngp: xy.k[0] ?? NaN, ntk: xy.t[0] ?? NaN };
}

function mapsOf(slots: readonly Maps[], slot: number): Maps {
  const maps = slots[slot];
  if (maps === undefined) throw new Error(`slot ${slot} is read before it is written`);
  return maps;
}

function isPixelwise(step: Step): step is NonlinearityStep {
  return step.kind === "rectifier" || step.kind === "step" || step.kind === "erf";
}

function each(maps: Maps, work: (pairs: Pairs) => Pairs): Maps {
  return { xy: work(maps.xy), xx: work(maps.xx), yy: work(maps.yy) };
}

function sum(a: Maps, b: Maps): Maps {
  const add = (u: Float64Array, v: Float64Array): Float64Array => u.map((value, p) => value + (v[p] ?? NaN));
  const both = (u: Pairs, v: Pairs): Pairs => ({ k: add(u.k, v.k), t: add(u.t, v.t) });
  return { xy: both(a.xy, b.xy), xx: both(a.xx, b.xx), yy: both(a.yy, b.yy) };
}

function channelProduct(
  { channels, height, width, scale }: { channels: number; height: number; width: number; scale: number },
  u: Image,
  v: Image,
): Pairs {
  const plane = height * width;
  const k = Float64Array.from({ length: plane * plane }, (_, at) => {
    const [p, q] = [Math.floor(at / plane), at % plane];
    let total = 0;
    for (let c = 0; c < channels; c++) total += (u[c * plane + p] ?? NaN) * (v[c * plane + q] ?? NaN);
    return scale * total;
  });
  return { k, t: new Float64Array(k.length) };
}

function linear(step: ConvStep | AffineStep | PoolStep | MeanStep, { k, t }: Pairs): Pairs {
  if (step.kind === "pool") return { k: pool(step, k), t: pool(step, t) };
  const sums = (map: Float64Array): Float64Array =>
    step.kind === "conv" ? convolve(step, map) : step.kind === "mean" ? mean(step, map) : map;
  const after = sums(k).map((value) => step.weight * value + step.bias);
  const { gain = 0, offset = 0 } = step.gradient ?? {};
  const learnt = sums(t).map((value, at) => step.weight * value + gain * (after[at] ?? NaN) + offset);
  return { k: after, t: learnt };
}

function mean({ height, width }: MeanStep, map: Float64Array): Float64Array {
  const plane = height * width;
  let total = 0;
  for (let p = 0; p < plane; p++) total += map[p * plane + p] ?? NaN;
  return Float64Array.of(total / plane);
}

/** The pixels that the taps of a window see, by output pixel; outside the map: none. */
function windows(
  [height, width]: readonly [number, number],
  [outHeight, outWidth]: readonly [number, number],
  [tapsDown, tapsAlong]: readonly [number, number],
  strides: readonly [number, number],
  dilations: readonly [number, number],
  pads: readonly [number, number],
): (number | undefined)[][] {
  return Array.from({ length: outHeight * outWidth }, (_, p) => {
    const top = Math.floor(p / outWidth) * strides[0] - pads[0];
    const left = (p % outWidth) * strides[1] - pads[1];
    return Array.from({ length: tapsDown * tapsAlong }, (_, tap) => {
      const row = top + Math.floor(tap / tapsAlong) * dilations[0];
      const column = left + (tap % tapsAlong) * dilations[1];
      return row >= 0 && row < height && column >= 0 && column < width ? row * width + column : undefined;
    });
  });
}

/** The same tap of both windows, summed over taps. */
function convolve(step: ConvStep, map: Float64Array): Float64Array {
  const plane = step.inHeight * step.inWidth;
  const seen = windows(
    [step.inHeight, step.inWidth],
    [step.outHeight, step.outWidth],
    [step.filterHeight, step.filterWidth],
    [step.strideHeight, step.strideWidth],
    [step.dilationHeight, step.dilationWidth],
    [step.padTop, step.padLeft],
  );
  return Float64Array.from({ length: seen.length ** 2 }, (_, at) => {
    const [a, b] = [seen[Math.floor(at / seen.length)] ?? [], seen[at % seen.length] ?? []];
    return a.reduce<number>((total, p, tap) => {
      const q = b[tap];
      return p === undefined || q === undefined ? total : total + (map[p * plane + q] ?? NaN);
    }, 0);
  });
}

/** The mean over all pairs of taps. */
function pool(step: PoolStep, map: Float64Array): Float64Array {
  const plane = step.inHeight * step.inWidth;
  const seen = windows(
    [step.inHeight, step.inWidth],
    [step.outHeight, step.outWidth],
    [step.windowHeight, step.windowWidth],
    [step.strideHeight, step.strideWidth],
    [1, 1],
    [0, 0],
  );
  return Float64Array.from({ length: seen.length ** 2 }, (_, at) => {
    const [a, b] = [seen[Math.floor(at / seen.length)] ?? [], seen[at % seen.length] ?? []];
    let total = 0;
    for (const p of a) for (const q of b) total += map[(p ?? NaN) * plane + (q ?? NaN)] ?? NaN;
    return total / (a.length * b.length);
  });
}

/** K' and T' pair by pair; the cosine of a pixel with itself is 1, whatever rounding made of it. */
function pixelwise(step: NonlinearityStep, { xy, xx, yy }: Maps, same: boolean): Maps {
  const bend = (pairs: Pairs, left: Pairs, right: Pairs, itself: boolean): Pairs => {
    const plane = Math.sqrt(pairs.k.length);
    const k = new Float64Array(pairs.k.length);
    const t = new Float64Array(pairs.k.length);
    for (let p = 0; p < plane; p++) {
      for (let q = 0; q < plane; q++) {
        const at = p * plane + q;
        const [a, b] = [left.k[p * plane + p] ?? NaN, right.k[q * plane + q] ?? NaN];
        const [value, slope] = nonlinear(step, pairs.k[at] ?? NaN, a, b, itself && p === q);
        k[at] = value;
        t[at] = slope * (pairs.t[at] ?? NaN);
      }
    }
    return { k, t };
  };
  return { xy: bend(xy, xx, yy, same), xx: bend(xx, xx, xx, true), yy: bend(yy, yy, yy, true) };
}

/** The covariance behind a nonlinearity, and of its derivatives, for a covariance k and variances a and b. */
function nonlinear(step: NonlinearityStep, k: number, a: number, b: number, equal: boolean): readonly [number, number] {
  if (step.kind === "erf") {
    const [s, n] = [Math.sqrt((a + step.offset) * (b + step.offset)), equal ? a : k];
    return [step.scale * Math.asin(n / s), step.scale / Math.sqrt((s - n) * (s + n))];
  }
  const n = Math.sqrt(a * b);
  if (n === 0) return [0, 0];
  const c = equal ? 1 : Math.min(1, Math.abs(k) / n);
  const t = Math.acos(c);
  if (step.kind === "step") return [(step.scale * (k >= 0 ? Math.PI - t : t)) / (2 * Math.PI), NaN];
  const bend = Math.max(0, Math.sin(t) - t * c) / (2 * Math.PI);
  const value = step.positive * Math.max(k, 0) + step.negative * Math.max(-k, 0) + step.curve * n * bend;
  const slope = (step.curve * (k >= 0 ? Math.PI - t : t)) / (2 * Math.PI) - step.negative;
  return [value, slope];
}
