/**
 * What an architecture's NNGP and NTK are, with average pooling, in plain float64 and straight from its JSON: covariances
 * of all pairs of pixels, every filter summed tap by tap, arc-cosines by Math.acos. It shares no code with the compiler.
 */
import type { LayerJson } from "../../sdk/arch/layer.ts";
import { positions } from "./arch.ts";

type Map = Float64Array<ArrayBuffer>;

/** Of pixels p of one image and q of the other, at [p * pixels + q]; `ntk` of (x, y) only. */
interface State {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly xy: Map;
  readonly xx: Map;
  readonly yy: Map;
  readonly ntk: Map;
}

interface Weights {
  readonly weightVariance: number;
  readonly biasVariance: number;
}

export interface FullKernels {
  readonly nngp: number;
  readonly ntk: number;
}

/** The kernels of a pair; `same` where both are one image, whose pixels have cosine 1 with themselves. */
export function fullPair(
  arch: LayerJson,
  shape: readonly number[],
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  parametrisation: "ntk" | "standard" = "ntk",
  same = x === y,
): FullKernels {
  const [channels = Number.NaN, height = 1, width = 1] = shape;
  const product = (u: ArrayLike<number>, v: ArrayLike<number>): Map => {
    const plane = height * width;
    return pairs(plane, (p, q) => {
      let sum = 0;
      for (let c = 0; c < channels; c++) sum += at(u, c * plane + p) * at(v, c * plane + q);
      return sum / channels;
    });
  };
  const xy = product(x, y);
  const start = { channels, height, width, xy, xx: product(x, x), yy: product(y, y), ntk: xy.map(() => 0) };
  const end = apply(arch, start, parametrisation === "standard", same);
  if (end.xy.length !== 1) throw new Error(`the reference ends with ${end.xy.length} pairs`);
  return { nngp: at(end.xy, 0), ntk: at(end.ntk, 0) };
}

function apply(layer: LayerJson, state: State, standard: boolean, same: boolean): State {
  const through = (layers: readonly LayerJson[]): State =>
    layers.reduce((each, next) => apply(next, each, standard, same), state);
  switch (layer.type) {
    case "serial":
      return through(layer["layers"] as LayerJson[]);
    case "repeat":
      return through(Array.from({ length: layer["times"] as number }, () => layer["layer"] as LayerJson));
    case "identity":
      return state;
    case "sum":
    case "mixture": {
      const branches = (layer["layers"] as LayerJson[]).map((each) => apply(each, state, standard, same));
      const proportions = (layer["proportions"] as number[] | undefined) ?? branches.map(() => 1);
      const [first = state] = branches;
      const total = (pick: (branch: State) => Map): Map =>
        pick(first).map((_, p) =>
          branches.reduce((sum, each, i) => sum + (proportions[i] ?? 0) * at(pick(each), p), 0),
        );
      const maps = { xy: total(({ xy }) => xy), xx: total(({ xx }) => xx), yy: total(({ yy }) => yy) };
      return { ...first, ...maps, ntk: total(({ ntk }) => ntk) };
    }
    case "conv": {
      const conv = layer as unknown as Parameters<typeof positions>[2] & Weights & { channels?: number };
      const [down, along] = [positions(state.height, 0, conv), positions(state.width, 1, conv)];
      const taps = Array.from({ length: conv.filter[0] * conv.filter[1] }, (_, tap) => [
        Math.floor(tap / conv.filter[1]) * conv.dilation[0],
        (tap % conv.filter[1]) * conv.dilation[1],
      ]);
      const seen = down.flatMap((top) =>
        along.map((left) => taps.map(([i = 0, j = 0]) => pixelAt(state, top + i, left + j))),
      );
      const plane = state.height * state.width;
      const mean = (map: Map): Map =>
        pairs(seen.length, (p, q) => {
          let sum = 0;
          for (let tap = 0; tap < taps.length; tap++) {
            const [a, b] = [seen[p]?.[tap] ?? -1, seen[q]?.[tap] ?? -1];
            if (a >= 0 && b >= 0) sum += at(map, a * plane + b);
          }
          return sum / taps.length;
        });
      const size = { channels: conv.channels ?? Number.NaN, height: down.length, width: along.length };
      return { ...linear(state, conv, mean, standard ? state.channels * taps.length : undefined), ...size };
    }
    case "dense": {
      const fanIn = standard ? state.channels : undefined;
      const units = (layer["units"] as number | undefined) ?? Number.NaN;
      return { ...linear(state, layer as unknown as Weights, (map) => map, fanIn), channels: units };
    }
    case "flatten": {
      const plane = state.height * state.width;
      const mean = (map: Map): Map => {
        let sum = 0;
        for (let p = 0; p < plane; p++) sum += at(map, p * plane + p);
        return Float64Array.of(sum / plane);
      };
      return { ...each(state, mean), channels: state.channels * plane, height: 1, width: 1 };
    }
    case "globalAvgPool":
      return pool(state, [state.height, state.width], [1, 1]);
    case "avgPool":
      return pool(state, layer["window"] as number[], layer["stride"] as number[]);
    default:
      return bent(layer, state, same);
  }
}

/** K' = w mean(K) + b;  T' = w mean(T) + K', or, with a fan-in, w mean(T) + fan-in mean(K) + 1 for a bias. */
function linear(
  state: State,
  { weightVariance, biasVariance }: Weights,
  mean: (map: Map) => Map,
  fanIn?: number,
): State {
  const means = each(state, mean);
  const affine = (map: Map): Map => map.map((k) => weightVariance * k + biasVariance);
  const xy = affine(means.xy);
  const ntk = means.ntk.map((t, p) => {
    const own = fanIn === undefined ? at(xy, p) : fanIn * at(means.xy, p) + (biasVariance > 0 ? 1 : 0);
    return weightVariance * t + own;
  });
  return { ...means, xy, xx: affine(means.xx), yy: affine(means.yy), ntk };
}

function pool(state: State, window: readonly number[], stride: readonly number[]): State {
  const { height, width } = state;
  const [tall = 1, wide = 1, down = 1, along = 1] = [...window, ...stride];
  const size = { height: Math.floor((height - tall) / down) + 1, width: Math.floor((width - wide) / along) + 1 };
  const seen = Array.from({ length: size.height * size.width }, (_, p) =>
    Array.from({ length: tall * wide }, (_, tap) => {
      const row = Math.floor(p / size.width) * down + Math.floor(tap / wide);
      return row * width + (p % size.width) * along + (tap % wide);
    }),
  );
  const mean = (map: Map): Map =>
    pairs(seen.length, (p, q) => {
      let sum = 0;
      for (const a of seen[p] ?? []) for (const b of seen[q] ?? []) sum += at(map, a * height * width + b);
      return sum / (tall * wide) ** 2;
    });
  return { ...each(state, mean), ...size };
}

/** E f(u) f(v) and E f'(u) f'(v) for u, v jointly normal with covariance k and variances a, b. */
type Bend = (k: number, a: number, b: number, equal: boolean) => readonly [number, number];

function bent(layer: LayerJson, state: State, same: boolean): State {
  const bend = bendOf(layer);
  const plane = state.height * state.width;
  const variance = (map: Map, p: number): number => at(map, p * plane + p);
  const own = (map: Map): Map =>
    pairs(plane, (p, q) => bend(at(map, p * plane + q), variance(map, p), variance(map, q), p === q)[0]);
  const values = Array.from({ length: plane * plane }, (_, i) => {
    const [p, q] = [Math.floor(i / plane), i % plane];
    return bend(at(state.xy, i), variance(state.xx, p), variance(state.yy, q), same && p === q);
  });
  return {
    ...state,
    xy: Float64Array.from(values, ([value]) => value),
    xx: own(state.xx),
    yy: own(state.yy),
    ntk: state.ntk.map((t, i) => t * (values[i]?.[1] ?? Number.NaN)),
  };
}

function bendOf(layer: LayerJson): Bend {
  switch (layer.type) {
    case "relu":
      return rectifier(1, 0, layer["sqrt2"] === true ? 2 : 1);
    case "leakyRelu":
      return rectifier(1, layer["slope"] as number, 1);
    case "abs":
      return rectifier(1, -1, 1);
    case "step":
      return (k, a, b, equal) => {
        const c = equal ? 1 : Math.min(1, Math.max(-1, k / Math.sqrt(a * b)));
        const gain = layer["sqrt2"] === true ? 2 : 1;
        return [a * b === 0 ? 0 : (gain * (Math.PI - Math.acos(c))) / (2 * Math.PI), Number.NaN];
      };
    case "erf":
      return (k, a, b, equal) => {
        const n = Math.sqrt((1 + 2 * a) * (1 + 2 * b));
        const twice = 2 * (equal ? a : k);
        return [(2 / Math.PI) * Math.asin(twice / n), 4 / Math.PI / Math.sqrt((n - twice) * (n + twice))];
      };
    default:
      throw new Error(`the reference knows no ${layer.type}`);
  }
}

/** u -> positive max(u, 0) + negative min(u, 0), by the four pairs of signs. */
function rectifier(positive: number, negative: number, gain: number): Bend {
  return (k, a, b, equal) => {
    const n = Math.sqrt(a * b);
    if (n === 0) return [0, 0];
    const t = Math.acos(equal ? 1 : Math.min(1, Math.max(-1, k / n)));
    const value = (angle: number): number =>
      (n * (Math.sin(angle) + (Math.PI - angle) * Math.cos(angle))) / (2 * Math.PI);
    const slope = (angle: number): number => (Math.PI - angle) / (2 * Math.PI);
    const alike = positive ** 2 + negative ** 2;
    const opposite = 2 * positive * negative;
    return [
      gain * (alike * value(t) - opposite * value(Math.PI - t)),
      gain * (alike * slope(t) + opposite * slope(Math.PI - t)),
    ];
  };
}

function each(state: State, work: (map: Map) => Map): State {
  return { ...state, xy: work(state.xy), xx: work(state.xx), yy: work(state.yy), ntk: work(state.ntk) };
}

function pairs(plane: number, value: (p: number, q: number) => number): Map {
  return Float64Array.from({ length: plane * plane }, (_, i) => value(Math.floor(i / plane), i % plane));
}

/** The pixel at a row and a column, or -1 outside. */
function pixelAt({ height, width }: State, row: number, column: number): number {
  return row >= 0 && row < height && column >= 0 && column < width ? row * width + column : -1;
}

function at(values: ArrayLike<number>, index: number): number {
  return values[index] ?? Number.NaN;
}
