/**
 * What an architecture means, in plain float64 and straight from its JSON: every filter summed tap by tap, the
 * arc-cosine step by Math.acos, variances followed beside covariances, nothing scaled, fused or separated. It shares no
 * code with the compiler, so that it can tell when the compiler is wrong.
 */
import type { LayerJson } from "../../sdk/arch/layer.ts";

type Pair = readonly [vertical: number, horizontal: number];
type Shape = readonly number[];

interface ConvJson {
  readonly filter: Pair;
  readonly stride: Pair;
  readonly dilation: Pair;
  readonly padding: "same" | "same-tf" | "valid" | number;
  readonly weightVariance: number;
  readonly biasVariance: number;
}

/** A map of h x w pixels (1 x 1 for vectors), and whether it is still one of images. */
interface Place {
  readonly height: number;
  readonly width: number;
}

/** K(x, y), K(x, x) and K(y, y) at every pixel. */
interface Maps extends Place {
  readonly xy: Float64Array;
  readonly xx: Float64Array;
  readonly yy: Float64Array;
}

/**
 * All kernel values between two lists of images, row-major. `erfInput` multiplies the covariances of x and y (not their
 * variances) in front of every erf: what a kernel makes of errors there.
 */
export function referenceKernel(
  arch: LayerJson,
  shape: Shape,
  xs: readonly ArrayLike<number>[],
  ys: readonly ArrayLike<number>[],
  erfInput = 1,
): Float64Array {
  return Float64Array.from(xs.flatMap((x) => ys.map((y) => referencePair(arch, shape, x, y, erfInput))));
}

export function referencePair(
  arch: LayerJson,
  shape: Shape,
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  erfInput = 1,
): number {
  const [channels = Number.NaN, height = 1, width = 1] = shape;
  const place = { channels, height, width };
  const start = { height, width, xy: product(place, x, y), xx: product(place, x, x), yy: product(place, y, y) };
  const { xy } = apply(arch, start, erfInput);
  if (xy.length !== 1) throw new Error(`the reference ends with ${xy.length} pixels`);
  return at(xy, 0);
}

function product(
  { channels, height, width }: { channels: number; height: number; width: number },
  x: ArrayLike<number>,
  y: ArrayLike<number>,
): Float64Array {
  const map = new Float64Array(height * width);
  for (let p = 0; p < map.length; p++) {
    for (let c = 0; c < channels; c++) map[p] = at(map, p) + at(x, c * map.length + p) * at(y, c * map.length + p);
    map[p] = at(map, p) / channels;
  }
  return map;
}

function apply(layer: LayerJson, maps: Maps, erfInput: number): Maps {
  switch (layer.type) {
    case "serial":
      return (layer["layers"] as LayerJson[]).reduce((state, each) => apply(each, state, erfInput), maps);
    case "repeat":
      return Array.from({ length: layer["times"] as number }).reduce<Maps>(
        (state) => apply(layer["layer"] as LayerJson, state, erfInput),
        maps,
      );
    case "identity":
      return maps;
    case "sum":
    case "mixture": {
      const branches = (layer["layers"] as LayerJson[]).map((each) => apply(each, maps, erfInput));
      const proportions = (layer["proportions"] as number[] | undefined) ?? branches.map(() => 1);
      const total = (pick: (branch: Maps) => Float64Array) =>
        pick(branches[0] ?? maps).map((_, p) =>
          branches.reduce((sum, branch, index) => sum + (proportions[index] ?? 0) * at(pick(branch), p), 0),
        );
      const { height, width } = branches[0] ?? maps;
      return { height, width, xy: total(({ xy }) => xy), xx: total(({ xx }) => xx), yy: total(({ yy }) => yy) };
    }
    case "conv": {
      const conv = layer as unknown as ConvJson;
      const one = (map: Float64Array) => convolve(conv, maps, map);
      const vertical = positions(maps.height, 0, conv);
      const horizontal = positions(maps.width, 1, conv);
      return {
        height: vertical.length,
        width: horizontal.length,
        xy: one(maps.xy),
        xx: one(maps.xx),
        yy: one(maps.yy),
      };
    }
    case "relu": {
      const gain = layer["sqrt2"] === true ? 2 : 1;
      return pointwise(maps, (k, a, b) => gain * arccosine(k, a, b));
    }
    case "abs":
      return pointwise(maps, (k, a, b) => 2 * arccosine(k, a, b) + 2 * arccosine(-k, a, b));
    case "leakyRelu": {
      const slope = layer["slope"] as number;
      return pointwise(maps, (k, a, b) => (1 + slope * slope) * arccosine(k, a, b) - 2 * slope * arccosine(-k, a, b));
    }
    case "step": {
      const gain = layer["sqrt2"] === true ? 2 : 1;
      return pointwise(maps, (k, a, b) => {
        if (a * b === 0) return 0;
        return gain * (0.5 - Math.acos(Math.min(1, Math.max(-1, k / Math.sqrt(a * b)))) / (2 * Math.PI));
      });
    }
    case "erf":
      return pointwise(
        { ...maps, xy: maps.xy.map((k) => erfInput * k) },
        (k, a, b) => (2 / Math.PI) * Math.asin((2 * k) / Math.sqrt((1 + 2 * a) * (1 + 2 * b))),
      );
    case "flatten": {
      const one = (map: Float64Array) => Float64Array.of(map.reduce((sum, value) => sum + value, 0) / map.length);
      return { height: 1, width: 1, xy: one(maps.xy), xx: one(maps.xx), yy: one(maps.yy) };
    }
    case "dense": {
      const { weightVariance, biasVariance } = layer as unknown as ConvJson;
      const one = (map: Float64Array) => map.map((k) => weightVariance * k + biasVariance);
      return { ...maps, xy: one(maps.xy), xx: one(maps.xx), yy: one(maps.yy) };
    }
    default:
      throw new Error(`the reference knows no ${layer.type}`);
  }
}

/**
 * Where a filter's first tap stands at each output along one axis of n pixels: every place at which the filter lies
 * within the padded line, found by trying.
 */
export function positions(n: number, axis: 0 | 1, { filter, stride, dilation, padding }: ConvJson): number[] {
  const taps = Array.from({ length: filter[axis] }, (_, tap) => tap * dilation[axis]);
  const last = taps.at(-1) ?? 0;
  let front = 0;
  let back = 0;
  if (padding === "same") {
    front = last >> 1;
    back = last - front;
  } else if (padding === "same-tf") {
    // As many zeros as the ceil(n / stride)-th output needs, the odd one behind.
    const outputs = Math.ceil(n / stride[axis]);
    let zeros = 0;
    while ((outputs - 1) * stride[axis] + last > n - 1 + zeros) zeros++;
    front = zeros >> 1;
    back = zeros - front;
  } else if (padding !== "valid") {
    front = padding;
    back = padding;
  }
  const found: number[] = [];
  for (let first = -front; first + last < n + back; first += stride[axis]) found.push(first);
  return found;
}

function convolve(conv: ConvJson, { height, width }: Place, map: Float64Array): Float64Array {
  const { filter, dilation, weightVariance, biasVariance } = conv;
  const out: number[] = [];
  for (const top of positions(height, 0, conv)) {
    for (const left of positions(width, 1, conv)) {
      let sum = 0;
      for (let i = 0; i < filter[0]; i++) {
        for (let j = 0; j < filter[1]; j++) {
          const row = top + i * dilation[0];
          const column = left + j * dilation[1];
          if (row >= 0 && row < height && column >= 0 && column < width) sum += at(map, row * width + column);
        }
      }
      out.push((weightVariance * sum) / (filter[0] * filter[1]) + biasVariance);
    }
  }
  return Float64Array.from(out);
}

/** f(K(u, v), K(u, u), K(v, v)) at every pixel, for the pair and for each image with itself. */
function pointwise(maps: Maps, f: (k: number, a: number, b: number) => number): Maps {
  const own = (map: Float64Array) => map.map((variance) => f(variance, variance, variance));
  return {
    ...maps,
    xy: maps.xy.map((k, p) => f(k, at(maps.xx, p), at(maps.yy, p))),
    xx: own(maps.xx),
    yy: own(maps.yy),
  };
}

/** E[relu(u) relu(v)] for u, v jointly normal with covariance k and variances a, b (Cho and Saul 2009, eq. 6, over 2 pi). */
function arccosine(k: number, a: number, b: number): number {
  const n = Math.sqrt(a) * Math.sqrt(b);
  if (n === 0) return 0;
  const c = Math.min(1, Math.max(-1, k / n));
  const theta = Math.acos(c);
  return (n * (Math.sin(theta) + (Math.PI - theta) * c)) / (2 * Math.PI);
}

function at(values: ArrayLike<number>, index: number): number {
  return values[index] ?? Number.NaN;
}
