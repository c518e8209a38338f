/**
 * A network in training or in inference in plain float64 loops, straight from its architecture's JSON, with parameters by
 * the names that checkpoints know. It shares the random streams of dropout with `network()`, and no other code.
 */
import type { LayerJson } from "../../sdk/arch/layer.ts";
import { RandomStream } from "../../sdk/engine/rng.ts";
import { array64, batchNorm, bias, conv2d, map, matmul, moments, pool, zip, type Array64 } from "./tensor-ops.ts";

export interface TrainedPass {
  readonly training: boolean;
  readonly seed: number;
  readonly step: number;
}

export interface TrainedOutput {
  readonly y: Array64;
  /** The distance of the nearest number to a kink or a tie: what float32 may put on the other side. */
  readonly margin: number;
  /** Of each batch norm in training, by its name: the moments of the batch, and how many numbers they are of. */
  readonly moments: ReadonlyMap<string, { readonly of: Array64; readonly count: number }>;
}

/** What the network makes of inputs [batch, ..]. Convolutions are padded by numbers. */
export function trainedOutput(
  arch: LayerJson,
  parameters: ReadonlyMap<string, Array64>,
  x: Array64,
  pass: TrainedPass,
): TrainedOutput {
  const run = new Run(parameters, pass);
  const y = run.apply(arch, "", x);
  return { y, margin: run.margin, moments: run.moments };
}

const PIECES: Readonly<Record<string, (layer: LayerJson) => readonly number[]>> = {
  relu: () => [0],
  leakyRelu: () => [0],
  elu: () => [0],
  abs: () => [0],
  hardTanh: () => [-1, 1],
  cabs: () => [-1, 0, 1],
  clippedRelu: ({ max }) => [0, max as number],
};

const FUNCTIONS: Readonly<Record<string, (layer: LayerJson) => (z: number) => number>> = {
  identity: () => (z) => z,
  relu:
    ({ sqrt2 }) =>
    (z) =>
      (sqrt2 === true ? Math.SQRT2 : 1) * Math.max(z, 0),
  leakyRelu:
    ({ slope }) =>
    (z) =>
      z > 0 ? z : (slope as number) * z,
  elu:
    ({ alpha }) =>
    (z) =>
      z > 0 ? z : (alpha as number) * Math.expm1(z),
  abs: () => Math.abs,
  sigmoid: () => (z) => 1 / (1 + Math.exp(-z)),
  softplus: () => (z) => Math.log1p(Math.exp(z)),
  tanh: () => Math.tanh,
  hardTanh: () => (z) => Math.min(Math.max(z, -1), 1),
  cabs: () => (z) => Math.min(Math.abs(z), 1),
  clippedRelu:
    ({ max }) =>
    (z) =>
      Math.min(Math.max(z, 0), max as number),
};

class Run {
  margin = Number.POSITIVE_INFINITY;
  readonly moments = new Map<string, { readonly of: Array64; readonly count: number }>();
  private readonly parameters: ReadonlyMap<string, Array64>;
  private readonly pass: TrainedPass;

  constructor(parameters: ReadonlyMap<string, Array64>, pass: TrainedPass) {
    this.parameters = parameters;
    this.pass = pass;
  }

  apply(layer: LayerJson, name: string, x: Array64): Array64 {
    const inside = (layer["layers"] ?? []) as LayerJson[];
    const [batch = 1, channels = 1, height = 1, width = 1] = x.shape;
    switch (layer.type) {
      case "serial":
        return inside.reduce((state, one, i) => this.apply(one, joined(name, `layers.${i}`), state), x);
      case "repeat": {
        let state = x;
        for (let time = 0; time < (layer["times"] as number); time++)
          state = this.apply(layer["layer"] as LayerJson, joined(name, `times.${time}`), state);
        return state;
      }
      case "sum":
      case "mixture": {
        const proportions = (layer["proportions"] as number[] | undefined)?.map(Math.sqrt) ?? inside.map(() => 1);
        const parts = inside.map((one, i) =>
          map(this.apply(one, joined(name, `layers.${i}`), x), (value) => (proportions[i] ?? 0) * value),
        );
        return parts.reduce(addRepeated);
      }
      case "flatten":
        return { shape: [batch, x.data.length / batch], data: x.data };
      case "globalAvgPool": {
        const means = pool(x, { window: [height, width], stride: [1, 1], padding: [0, 0] }, "mean");
        return { shape: [batch, channels], data: means.data };
      }
      case "avgPool":
        return pool(x, windows(layer), "mean");
      case "maxPool":
        return this.maxPool(x, layer);
      case "conv": {
        const [stride, dilation, padding] = [
          layer["stride"] as Pair,
          layer["dilation"] as Pair,
          layer["padding"] as number,
        ];
        const options = { stride, dilation, padding: [padding, padding, padding, padding] } as const;
        return conv2d(x, this.parameter(name, "weights"), this.optional(name, "bias"), options);
      }
      case "dense": {
        const product = matmul(x, this.parameter(name, "weights"), false, true);
        const biases = this.optional(name, "bias");
        return biases === undefined ? product : bias(product, biases);
      }
      case "batchNorm": {
        const batchMoments = moments(x);
        if (this.pass.training) this.moments.set(name, { of: batchMoments, count: x.data.length / channels });
        const by = this.pass.training ? batchMoments : this.parameter(name, "running");
        return batchNorm(
          x,
          this.parameter(name, "scale"),
          this.parameter(name, "shift"),
          by,
          layer["epsilon"] as number,
        );
      }
      case "dropout":
        return this.pass.training ? this.dropout(x, layer, name) : x;
      default: {
        const make = FUNCTIONS[layer.type];
        if (make === undefined) throw new Error(`the reference knows no ${layer.type}`);
        for (const kink of PIECES[layer.type]?.(layer) ?? [])
          x.data.forEach((z) => (this.margin = Math.min(this.margin, Math.abs(z - kink))));
        return map(x, make(layer));
      }
    }
  }

  private maxPool(x: Array64, layer: LayerJson): Array64 {
    const options = windows(layer);
    const largest = pool(x, options, "max");
    // The second largest of each window: the largest once the largest is taken out.
    const taken = new Set(largest.data);
    const others = pool(
      map(x, (z) => (taken.has(z) ? Number.NEGATIVE_INFINITY : z)),
      options,
      "max",
    );
    const gaps = zip(largest, others, (a, b) => a - b).data;
    this.margin = Math.min(this.margin, ...gaps);
    return largest;
  }

  private dropout(x: Array64, layer: LayerJson, name: string): Array64 {
    const [batch = 1, channels = 1] = x.shape;
    const stream = new RandomStream(this.pass.seed, `dropout ${name}`, this.pass.step);
    const keep = Math.fround(1 - (layer["rate"] as number));
    const group = layer["perChannel"] === true ? x.data.length / (batch * channels) : 1;
    const mask = Array.from({ length: x.data.length / group }, () => (stream.uniform32() < keep ? 1 / keep : 0));
    return array64(
      x.shape,
      x.data.map((value, i) => value * (mask[Math.floor(i / group)] ?? NaN)),
    );
  }

  private parameter(name: string, part: string): Array64 {
    const found = this.optional(name, part);
    if (found === undefined) throw new Error(`there is no ${joined(name, part)}`);
    return found;
  }

  private optional(name: string, part: string): Array64 | undefined {
    return this.parameters.get(joined(name, part));
  }
}

type Pair = readonly [number, number];

function windows(layer: LayerJson): { readonly window: Pair; readonly stride: Pair; readonly padding: Pair } {
  const padding = (layer["padding"] as number | undefined) ?? 0;
  return { window: layer["window"] as Pair, stride: layer["stride"] as Pair, padding: [padding, padding] };
}

/** a + b; one that has a single channel is added to all channels of the other. */
function addRepeated(a: Array64, b: Array64): Array64 {
  const [wide, narrow] = a.data.length >= b.data.length ? [a, b] : [b, a];
  const channels = wide.data.length / narrow.data.length;
  const pixels = narrow.data.length / (narrow.shape[0] ?? 1);
  const value = (i: number): number => {
    const image = Math.floor(i / (channels * pixels));
    return narrow.data[image * pixels + (i % pixels)] ?? NaN;
  };
  if (channels === 1) return zip(wide, narrow, (left, right) => left + right);
  return array64(
    wide.shape,
    wide.data.map((left, i) => left + value(i)),
  );
}

function joined(name: string, part: string): string {
  return name === "" ? part : `${name}.${part}`;
}
