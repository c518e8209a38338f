/**
 * Builds a finite network step by step, as the layers of an architecture ask for it: the twin of the covariance program's
 * builder. A layer says what it does in the terms of this file; which kernels that takes is decided here.
 */
import type { BoxGeometry, PoolGeometry } from "../covariance/program.ts";
import { broadcastAdd, conv2d, elementwise, matmul } from "../engine/kernels/index.ts";
import { ElementwiseOperation } from "../engine/kernels/elementwise.ts";
import { Graph, type Parameter, type Value } from "../tensor/graph.ts";
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
  /** True where no layer behind this one has weights: its last layer that has some gives the network's outputs. */
  readonly readout: boolean;
}

/** What a layer's width depends on. */
export interface Widths {
  /** The layer's own, which counts before anything else. */
  readonly own: number | undefined;
  /** How many times as wide as other layers; default 1. */
  readonly factor?: number | undefined;
}

/** A linear layer's prior: its weights and biases are independent, N(0, variance); a variance of 0 means no bias. */
export interface Prior {
  readonly weightVariance: number;
  readonly biasVariance: number;
}

/** A parameter and the standard deviation of its prior. */
export interface RandomParameter {
  readonly parameter: Parameter;
  readonly deviation: number;
}

/** A parameter that is the same in every draw. */
export interface FixedParameter {
  readonly parameter: Parameter;
  readonly values: Float32Array<ArrayBuffer>;
}

/** The nonlinearities that kernels exist for. */
export type Activate = "relu" | "step" | "leakyRelu" | "abs" | "erf";

export class NetworkBuilder {
  readonly graph: Graph;
  readonly input: Activation;
  readonly parameters: RandomParameter[] = [];
  readonly fixed: FixedParameter[] = [];
  private readonly channels: number;
  private readonly outputs: number;
  private readout = false;

  /** `channels`: the width of layers that have none of their own; `outputs`: that of the read-out. */
  constructor(input: Shape, channels: number, outputs: number) {
    this.channels = channels;
    this.outputs = outputs;
    this.graph = new Graph(floatsOf(input));
    this.input = { value: this.graph.input, shape: input };
  }

  /** True once a layer was asked for as the read-out. */
  get hasReadout(): boolean {
    return this.readout;
  }

  /** Channels or units of a linear layer. */
  width({ readout }: Place, { own, factor = 1 }: Widths): number {
    if (readout) this.readout = true;
    return own ?? (readout ? this.outputs : factor * this.channels);
  }

  /** A convolution of an image; variances are those of single weights. */
  conv(x: Activation, geometry: BoxGeometry, channels: number, prior: Prior, { path }: Place): Activation {
    const inChannels = x.shape[0];
    const count = channels * inChannels * geometry.filterHeight * geometry.filterWidth;
    const weights = this.parameter(count, prior.weightVariance, `${path} weights`);
    const bias = prior.biasVariance === 0 ? undefined : this.parameter(channels, prior.biasVariance, `${path} bias`);
    const params = {
      inChannels,
      inHeight: geometry.inHeight,
      inWidth: geometry.inWidth,
      outChannels: channels,
      outHeight: geometry.outHeight,
      outWidth: geometry.outWidth,
      kernelHeight: geometry.filterHeight,
      kernelWidth: geometry.filterWidth,
      strideHeight: geometry.strideHeight,
      strideWidth: geometry.strideWidth,
      dilationHeight: geometry.dilationHeight,
      dilationWidth: geometry.dilationWidth,
      padTop: geometry.padTop,
      padLeft: geometry.padLeft,
      useBias: bias === undefined ? 0 : 1,
    };
    const shape = [channels, geometry.outHeight, geometry.outWidth] as const;
    const inputs = [x.value, weights, bias ?? weights];
    return { value: this.graph.apply(conv2d, (batch) => ({ batch, ...params }), inputs, floatsOf(shape)), shape };
  }

  /** A fully connected layer on a vector; variances are those of single weights. */
  dense(x: Activation, units: number, prior: Prior, { path }: Place): Activation {
    const features = x.shape[0];
    const weights = this.parameter(units * features, prior.weightVariance, `${path} weights`);
    const product = (batch: number) => {
      return { m: batch, n: units, k: features, transposeA: 0, transposeB: 1, alpha: 1, beta: 0 };
    };
    const linear = this.graph.apply(matmul, product, [x.value, weights], units);
    if (prior.biasVariance === 0) return { value: linear, shape: [units] };
    const bias = this.parameter(units, prior.biasVariance, `${path} bias`);
    const add = (batch: number) => {
      const strides = { strideBatch: 0, strideChannel: 0, stridePixel: 1 };
      return { batch, channels: 1, pixels: units, ...strides, alpha: 1, beta: 1 };
    };
    return { value: this.graph.apply(broadcastAdd, add, [linear, bias], units), shape: [units] };
  }

  /** The mean over windows: a convolution with one filter of equal weights, each channel an image of its own. */
  pool(x: Activation, geometry: PoolGeometry): Activation {
    const { inHeight, inWidth, outHeight, outWidth, windowHeight, windowWidth, strideHeight, strideWidth } = geometry;
    const taps = windowHeight * windowWidth;
    const weights = this.graph.parameter(taps, `mean over ${windowHeight} x ${windowWidth}`);
    this.fixed.push({ parameter: weights, values: new Float32Array(taps).fill(1 / taps) });
    const [channels] = x.shape;
    const params = {
      ...{ inChannels: 1, inHeight, inWidth, outChannels: 1, outHeight, outWidth },
      ...{ kernelHeight: windowHeight, kernelWidth: windowWidth, strideHeight, strideWidth },
      ...{ dilationHeight: 1, dilationWidth: 1, padTop: 0, padLeft: 0, useBias: 0 },
    };
    const shape = [channels, outHeight, outWidth] as const;
    const inputs = [x.value, weights, weights];
    const value = this.graph.apply(
      conv2d,
      (batch) => ({ batch: batch * channels, ...params }),
      inputs,
      floatsOf(shape),
    );
    return { value, shape };
  }

  /** scale f(x), element by element; `slope`: of leakyRelu, at negative x. */
  activate(x: Activation, name: Activate, scale = 1, slope = 0): Activation {
    return this.map(x, x, ElementwiseOperation[name], scale, slope);
  }

  /** The same numbers as a vector. */
  flatten(x: Activation): Activation {
    return { value: x.value, shape: [floatsOf(x.shape)] };
  }

  scale(x: Activation, factor: number): Activation {
    return factor === 1 ? x : this.map(x, x, ElementwiseOperation.affine, factor, 0);
  }

  /** The sum of activations of one shape, each times its weight. */
  add(terms: readonly { readonly x: Activation; readonly weight: number }[]): Activation {
    const [first, ...others] = terms;
    if (first === undefined) throw new Error("a sum has terms");
    let { x, weight } = first;
    for (const other of others) {
      x = this.map(x, other.x, ElementwiseOperation.add, weight, other.weight);
      weight = 1;
    }
    return this.scale(x, weight);
  }

  /** x plus `factor` times a map of one channel, for every channel of x. */
  addToChannels(x: Activation, map: Activation, factor: number): Activation {
    const [channels] = x.shape;
    const pixels = map.value.floats;
    const params = (batch: number) => {
      const strides = { strideBatch: pixels, strideChannel: 0, stridePixel: 1 };
      return { batch, channels, pixels, ...strides, alpha: 1, beta: factor };
    };
    const value = this.graph.apply(broadcastAdd, params, [x.value, map.value], x.value.floats);
    return { value, shape: x.shape };
  }

  private map(a: Activation, b: Activation, operation: number, alpha: number, beta: number): Activation {
    const { floats } = a.value;
    const params = (batch: number) => ({ count: batch * floats, operation, alpha, beta });
    return { value: this.graph.apply(elementwise, params, [a.value, b.value], floats), shape: a.shape };
  }

  private parameter(count: number, variance: number, label: string): Parameter {
    const parameter = this.graph.parameter(count, label);
    this.parameters.push({ parameter, deviation: Math.fround(Math.sqrt(variance)) });
    return parameter;
  }
}

/** Numbers in one example of a shape. */
export function floatsOf(shape: Shape): number {
  return isImage(shape) ? shape[0] * shape[1] * shape[2] : shape[0];
}
