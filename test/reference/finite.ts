/**
 * A finite network in plain float64 loops, straight from its architecture's JSON, with the weights that `network()` promises
 * for a seed and a draw. It shares the random streams with it, and no other code.
 */
import type { LayerJson } from "../../sdk/arch/layer.ts";
import { RandomStream } from "../../sdk/engine/rng.ts";
import { positions } from "./arch.ts";

type Shape = readonly [channels: number, height: number, width: number];

/** Numbers, and how large the terms are that they are sums of: rounding errors are proportional to that. */
interface State {
  readonly shape: Shape;
  readonly values: Float64Array;
  readonly sizes: Float64Array;
}

export interface Finite {
  readonly arch: LayerJson;
  readonly input: readonly number[];
  readonly channels: number;
  readonly outputs: number;
  readonly seed: number;
  readonly draw: number;
}

export interface FiniteOutput {
  readonly values: Float64Array;
  readonly sizes: Float64Array;
  /** The smallest |x| / size that a step met: one near 0 may fall on either side in float32. */
  readonly margin: number;
}

/** What the network gives for one image. */
export function finiteOutput(net: Finite, image: ArrayLike<number>): FiniteOutput {
  return new Pass(net).run(image);
}

const at = (values: ArrayLike<number>, index: number): number => values[index] ?? Number.NaN;
const weighs = (layer: LayerJson): boolean =>
  layer.type === "conv" || layer.type === "dense" || inside(layer).some(weighs);
const inside = (layer: LayerJson): LayerJson[] =>
  layer.type === "repeat" ? [layer["layer"] as LayerJson] : ((layer["layers"] as LayerJson[] | undefined) ?? []);

class Pass {
  private readonly net: Finite;
  private parameters = 0;
  private margin = Number.POSITIVE_INFINITY;

  constructor(net: Finite) {
    this.net = net;
  }

  run(image: ArrayLike<number>): FiniteOutput {
    const [channels = 0, height = 1, width = 1] = this.net.input;
    const values = Float64Array.from(image);
    const { values: out, sizes } = this.apply(
      this.net.arch,
      { shape: [channels, height, width], values, sizes: values.map(Math.abs) },
      true,
    );
    return { values: out, sizes, margin: this.margin };
  }

  /** `last`: no layer behind this one has weights. */
  private apply(layer: LayerJson, x: State, last: boolean): State {
    const each = (f: (value: number) => number, gain: number): State => ({
      shape: x.shape,
      values: x.values.map(f),
      sizes: x.sizes.map((size) => gain * size),
    });
    const factor = layer["sqrt2"] === true ? Math.SQRT2 : 1;
    switch (layer.type) {
      case "identity":
        return x;
      case "relu":
        return each((value) => factor * Math.max(value, 0), factor);
      case "abs":
        return each(Math.abs, 1);
      case "leakyRelu": {
        const slope = layer["slope"] as number;
        return each((value) => (value > 0 ? value : slope * value), Math.max(1, Math.abs(slope)));
      }
      case "erf":
        return each(erf, 2 / Math.sqrt(Math.PI));
      case "step":
        // An exact zero, behind a relu or outside an image, is one in float32 too.
        x.values.forEach((value, i) => {
          if (value !== 0) this.margin = Math.min(this.margin, Math.abs(value) / at(x.sizes, i));
        });
        return {
          shape: x.shape,
          values: x.values.map((value) => (value > 0 ? factor : 0)),
          sizes: x.sizes.map(() => factor),
        };
      case "flatten":
        return { ...x, shape: [x.values.length, 1, 1] };
      case "avgPool":
        return mean(x, layer["window"] as number[], layer["stride"] as number[]);
      case "globalAvgPool": {
        const pooled = mean(x, x.shape.slice(1), [1, 1]);
        return { ...pooled, shape: [x.shape[0], 1, 1] };
      }
      case "serial": {
        const layers = inside(layer);
        const final = layers.findLastIndex(weighs);
        return layers.reduce((state, one, index) => this.apply(one, state, last && index === final), x);
      }
      case "repeat": {
        let state = x;
        const times = layer["times"] as number;
        for (const one of inside(layer))
          for (let time = 0; time < times; time++) state = this.apply(one, state, last && time === times - 1);
        return state;
      }
      case "sum":
      case "mixture": {
        const proportions = layer["proportions"] as number[] | undefined;
        const states = inside(layer).map((one) => this.apply(one, x, false));
        return combine(states, proportions?.map(Math.sqrt) ?? states.map(() => 1));
      }
      case "conv":
        return this.conv(layer, x, last);
      case "dense":
        return this.conv({ ...unit, ...layer, channels: layer["units"] }, x, last);
      default:
        throw new Error(`the reference knows no ${layer.type}`);
    }
  }

  private conv(layer: LayerJson, { shape, values, sizes }: State, last: boolean): State {
    const conv = layer as unknown as Parameters<typeof positions>[2];
    const [inChannels, height, width] = shape;
    const channels =
      (layer["channels"] as number | undefined) ??
      (last ? this.net.outputs : this.net.channels * ((layer["widthFactor"] as number | undefined) ?? 1));
    const { filter, dilation, weightVariance, biasVariance } = conv;
    const fanIn = inChannels * filter[0] * filter[1];
    const weights = this.draw(channels * fanIn, weightVariance / fanIn);
    const bias = biasVariance === 0 ? new Float32Array(channels) : this.draw(channels, biasVariance);
    const [rows, columns] = [positions(height, 0, conv), positions(width, 1, conv)];
    const out = new Float64Array(channels * rows.length * columns.length);
    const energy = new Float64Array(out.length);
    let index = 0;
    for (let o = 0; o < channels; o++) {
      for (const top of rows) {
        for (const left of columns) {
          let sum = at(bias, o);
          let squares = sum * sum;
          for (let q = 0; q < fanIn; q++) {
            const row = top + (Math.floor(q / filter[1]) % filter[0]) * dilation[0];
            const column = left + (q % filter[1]) * dilation[1];
            if (row < 0 || row >= height || column < 0 || column >= width) continue;
            const from = (Math.floor(q / (filter[0] * filter[1])) * height + row) * width + column;
            const weight = at(weights, o * fanIn + q);
            sum += weight * at(values, from);
            squares += (weight * at(sizes, from)) ** 2;
          }
          out[index] = sum;
          energy[index++] = Math.sqrt(squares);
        }
      }
    }
    return { shape: [channels, rows.length, columns.length], values: out, sizes: energy };
  }

  private draw(count: number, variance: number): Float32Array {
    const stream = new RandomStream(this.net.seed, `network parameter ${this.parameters++}`, this.net.draw);
    return stream.fillNormal(new Float32Array(count)).map((value) => value * Math.fround(Math.sqrt(variance)));
  }
}

/** The mean of each channel over windows that lie inside the map. */
function mean({ shape, values, sizes }: State, window: readonly number[], stride: readonly number[]): State {
  const [channels, height, width] = shape;
  const [tall = 1, wide = 1, down = 1, along = 1] = [...window, ...stride];
  const [rows, columns] = [Math.floor((height - tall) / down) + 1, Math.floor((width - wide) / along) + 1];
  const over = (numbers: Float64Array): Float64Array =>
    Float64Array.from({ length: channels * rows * columns }, (_, index) => {
      const first = Math.floor(index / (rows * columns)) * height * width;
      const top = (Math.floor(index / columns) % rows) * down;
      let sum = 0;
      for (let i = 0; i < tall; i++)
        for (let j = 0; j < wide; j++) sum += at(numbers, first + (top + i) * width + (index % columns) * along + j);
      return sum / (tall * wide);
    });
  return { shape: [channels, rows, columns], values: over(values), sizes: over(sizes) };
}

/** A dense layer is a 1 x 1 convolution of 1 x 1 images. */
const unit = { filter: [1, 1], stride: [1, 1], dilation: [1, 1], padding: "valid" };

/** The weighted sum; maps of one channel are repeated. */
function combine(states: readonly State[], factors: readonly number[]): State {
  const widest = states.reduce((a, b) => (b.shape[0] > a.shape[0] ? b : a));
  const part = (values: ArrayLike<number>, index: number): number => at(values, index % values.length);
  const sum = (of: (state: State, factor: number, index: number) => number) =>
    widest.values.map((_, index) => states.reduce((total, state, k) => total + of(state, at(factors, k), index), 0));
  const squares = sum((state, factor, index) => (factor * part(state.sizes, index)) ** 2);
  return {
    shape: widest.shape,
    values: sum((state, factor, index) => factor * part(state.values, index)),
    sizes: squares.map(Math.sqrt),
  };
}

/** erf(x) = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, by Simpson's rule: good to 1e-12. */
function erf(x: number): number {
  const steps = 400;
  const end = Math.min(Math.abs(x), 6);
  const h = end / steps;
  let sum = 1 + Math.exp(-end * end);
  for (let i = 1; i < steps; i++) sum += (i % 2 === 1 ? 4 : 2) * Math.exp(-((i * h) ** 2));
  return (Math.sign(x) * 2 * (sum * h)) / (3 * Math.sqrt(Math.PI));
}
