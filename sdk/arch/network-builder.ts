/**
 * Builds a finite network step by step, as the layers of an architecture ask for it: the twin of the covariance program's
 * builder. A layer gives a function of tensors and says which arrays it needs; what is common to several stands here.
 */
import type { BoxGeometry } from "../covariance/program.ts";
import { WidefieldError } from "../errors.ts";
import { Graph, type Parameter, type Read, type Value } from "../tensor/graph.ts";
import type { Pass } from "../tensor/model.ts";
import { addToChannels } from "../tensor/ops/channel-maps.ts";
import * as ops from "../tensor/ops.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Fans } from "./initialisers.ts";
import { isImage, type Shape } from "./layer.ts";

/** A value in the network. Its shape is finite. */
export interface Activation {
  readonly value: Value;
  readonly shape: Shape;
}

/** Where in the architecture a layer stands. */
export interface Place {
  /** For messages: "architecture.layers[3]". */
  readonly path: string;
  /** What its parameters' names begin with: "layers.3"; "" of the whole architecture. */
  readonly name: string;
  /** True where no layer behind this one has weights: its last layer that has some gives the network's outputs. */
  readonly readout: boolean;
}

/** The place of layer `index` of a list. */
export function placeInside({ path, name }: Place, index: number, readout: boolean): Place {
  return { path: `${path}.layers[${index}]`, name: joined(name, `layers.${index}`), readout };
}

/** "layers.3" and "weights": "layers.3.weights". */
export function joined(name: string, part: string): string {
  return name === "" ? part : `${name}.${part}`;
}

/** What a layer's width depends on. */
export interface Widths {
  /** The layer's own, which counts before anything else. */
  readonly own: number | undefined;
  /** How many times as wide as other layers; default 1. */
  readonly factor?: number | undefined;
}

/** A linear layer's prior: its weights and biases are independent, N(0, variance). */
export interface Prior {
  readonly weightVariance: number;
  readonly biasVariance: number;
  /** Whether there are biases: those of variance 0 are learnt. */
  readonly bias: boolean;
}

/** A parameter that an initialiser draws. */
export interface RandomParameter extends Fans {
  readonly parameter: Parameter;
  /** Standard deviation of its prior. */
  readonly deviation: number;
}

/** An array that starts out the same in every draw: a scale, a running statistic. */
export interface FixedParameter {
  readonly parameter: Parameter;
  readonly values: Float32Array<ArrayBuffer>;
}

/** A layer as passes name it. */
interface Titled {
  readonly title: string;
}

export class NetworkBuilder {
  readonly graph: Graph;
  readonly input: Activation;
  readonly random: RandomParameter[] = [];
  readonly fixed: FixedParameter[] = [];
  private readonly channels: number | undefined;
  private readonly outputs: number;
  private readout = false;

  /** `channels`: the width of layers that have none of their own; `outputs`: that of the read-out. */
  constructor(input: Shape, channels: number | undefined, outputs: number) {
    this.channels = channels;
    this.outputs = outputs;
    this.graph = new Graph(input);
    this.input = { value: this.graph.input, shape: input };
  }

  /** True once a layer was asked for as the read-out. */
  get hasReadout(): boolean {
    return this.readout;
  }

  /** Channels or units of a linear layer. Throws E_CONFIG where nothing says how many. */
  width({ path, readout }: Place, { own, factor = 1 }: Widths): number {
    if (readout) this.readout = true;
    if (own !== undefined) return own;
    if (readout) return this.outputs;
    if (this.channels !== undefined) return factor * this.channels;
    throw new WidefieldError("E_CONFIG", `${path} has no width of its own: give the network's \`channels\``, {
      details: { path },
    });
  }

  /** A layer that makes an array of `shape` of one input. */
  layer(
    { title }: Titled,
    { name }: Place,
    x: Activation,
    shape: Shape,
    apply: (x: Tensor, pass: Pass, read: Read) => Tensor,
  ): Activation {
    const operation = {
      ...{ layer: name, title, inputs: [x.value] },
      apply: (pass: Pass, read: Read) => apply(read(x.value), pass, read),
    };
    return { value: this.graph.append(operation, shape), shape };
  }

  /** A layer that changes numbers one by one. */
  map(layer: Titled, place: Place, x: Activation, apply: (x: Tensor) => Tensor): Activation {
    return this.layer(layer, place, x, x.shape, apply);
  }

  /** A convolution of an image; variances are those of single weights. */
  conv(layer: Titled, place: Place, x: Activation, geometry: BoxGeometry, channels: number, prior: Prior): Activation {
    const { filterHeight, filterWidth, outHeight, outWidth } = geometry;
    const taps = filterHeight * filterWidth;
    const sides = [channels, x.shape[0], filterHeight, filterWidth];
    const fans = { layer: "conv", fanIn: x.shape[0] * taps, fanOut: channels * taps } as const;
    const { weights, bias } = this.linear(place, sides, fans, prior);
    return this.layer(layer, place, x, [channels, outHeight, outWidth], (input, _, read) =>
      ops.convolve(input, read(weights), bias && read(bias), geometry),
    );
  }

  /** A fully connected layer on a vector; variances are those of single weights. */
  dense(layer: Titled, place: Place, x: Activation, units: number, prior: Prior): Activation {
    const [features] = x.shape;
    const fans = { layer: "dense", fanIn: features, fanOut: units } as const;
    const { weights, bias } = this.linear(place, [units, features], fans, prior);
    return this.layer(layer, place, x, [units], (input, _, read) => {
      const product = ops.matmul(input, read(weights), { transposeB: true });
      return bias === undefined ? product : ops.bias(product, read(bias));
    });
  }

  /** An array that starts out the same in every draw; `trained`: false for running statistics. */
  array(
    place: Place,
    part: string,
    shape: readonly number[],
    values: Float32Array<ArrayBuffer>,
    trained = true,
  ): Parameter {
    const parameter = this.graph.parameter(joined(place.name, part), shape, trained);
    this.fixed.push({ parameter, values });
    return parameter;
  }

  /**
   * The sum of activations, each times its weight. Those of `repeated` have one channel, and are added to all channels of
   * the others.
   */
  add({ title }: Titled, { name }: Place, terms: readonly Term[], repeated: readonly Term[]): Activation {
    const [first, ...others] = terms;
    if (first === undefined) throw new Error("a sum has terms");
    const operation = {
      ...{ layer: name, title, inputs: [...terms, ...repeated].map(({ x }) => x.value) },
      apply: (_: Pass, read: Read): Tensor => {
        let total = read(first.x.value);
        let { weight } = first;
        for (const other of others) {
          total = ops.add(total, read(other.x.value), weight, other.weight);
          weight = 1;
        }
        if (weight !== 1) total = ops.affine(total, weight);
        return repeated.reduce((sum, map) => addToChannels(sum, read(map.x.value), map.weight), total);
      },
    };
    const { shape } = first.x;
    return { value: this.graph.append(operation, shape), shape };
  }

  private linear(
    { name }: Place,
    sides: readonly number[],
    fans: Omit<Fans, "role">,
    { weightVariance, biasVariance, bias: biased }: Prior,
  ): { readonly weights: Parameter; readonly bias: Parameter | undefined } {
    const drawn = (role: Fans["role"], shape: readonly number[], variance: number): Parameter => {
      const parameter = this.graph.parameter(joined(name, role), shape);
      this.random.push({ parameter, role, ...fans, deviation: Math.fround(Math.sqrt(variance)) });
      return parameter;
    };
    const weights = drawn("weights", sides, weightVariance);
    return { weights, bias: biased ? drawn("bias", sides.slice(0, 1), biasVariance) : undefined };
  }
}

interface Term {
  readonly x: Activation;
  readonly weight: number;
}

/** Numbers in one example of a shape. */
export function floatsOf(shape: Shape): number {
  return isImage(shape) ? shape[0] * shape[1] * shape[2] : shape[0];
}
