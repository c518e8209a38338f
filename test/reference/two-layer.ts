/**
 * The smallest network with a width: dense, relu, dense, in float64 plain loops, with everything about its prior in
 * closed form. Hidden units are i.i.d. given the inputs, h = relu(u) with u ~ N(0, C); outputs given the hidden units are
 * Gaussian with covariance v (1/width) sum of h h'. So, at every width and not only in the limit,
 *
 *     E f f' = K = v E h h'
 *     n E |S - K|^2 = |K|^2 + (tr K)^2 + (3 sum over i, j of v^2 E h_i^2 h_j^2 - (tr K)^2 - 2 |K|^2) / width
 *
 * for the covariance S of n draws, with E h_i h_j and E h_i^2 h_j^2 the arc-cosine kernels of orders 1 and 2 (Cho and
 * Saul 2009, eq. 6 and 7).
 */
import { RandomStream } from "../../sdk/engine/rng.ts";

export interface TwoLayer {
  readonly features: number;
  /** [n, features] */
  readonly inputs: Float32Array;
  readonly weightVariance: number;
  readonly biasVariance: number;
  /** v: of the read-out, which has no bias. */
  readonly readoutVariance: number;
}

const count = ({ inputs, features }: TwoLayer) => inputs.length / features;

/** Outputs of draw number `draw`, one for every input. */
export function drawTwoLayer(network: TwoLayer, width: number, seed: number, draw: number): Float64Array {
  const { features, inputs, weightVariance, biasVariance, readoutVariance } = network;
  const random = new RandomStream(seed, width, draw);
  const outputs = new Float64Array(count(network));
  const weights = new Float64Array(features);
  for (let unit = 0; unit < width; unit++) {
    for (let k = 0; k < features; k++) weights[k] = random.normal() * Math.sqrt(weightVariance / features);
    const bias = random.normal() * Math.sqrt(biasVariance);
    const readout = random.normal() * Math.sqrt(readoutVariance / width);
    for (let i = 0; i < outputs.length; i++) {
      let sum = bias;
      for (let k = 0; k < features; k++) sum += (weights[k] ?? NaN) * (inputs[i * features + k] ?? NaN);
      outputs[i] = (outputs[i] ?? NaN) + readout * Math.max(0, sum);
    }
  }
  return outputs;
}

/** The kernel K, and n E |S - K|^2 at a width, both exact. */
export function twoLayerTheory(network: TwoLayer) {
  const { features, inputs, weightVariance, biasVariance, readoutVariance } = network;
  const n = count(network);
  const hidden = (i: number, j: number) => {
    let sum = 0;
    for (let k = 0; k < features; k++) sum += (inputs[i * features + k] ?? NaN) * (inputs[j * features + k] ?? NaN);
    return (weightVariance * sum) / features + biasVariance;
  };
  const kernel = new Float64Array(n * n);
  let [norm, trace, fourth] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const product = Math.sqrt(hidden(i, i) * hidden(j, j));
      const cosine = i === j ? 1 : Math.min(1, hidden(i, j) / product);
      const [angle, sine] = [Math.acos(cosine), Math.sqrt(1 - cosine * cosine)];
      const value = (readoutVariance * product * (sine + (Math.PI - angle) * cosine)) / (2 * Math.PI);
      const second = 3 * sine * cosine + (Math.PI - angle) * (1 + 2 * cosine * cosine);
      kernel[i * n + j] = value;
      norm += value * value;
      fourth += (readoutVariance * product) ** 2 * (second / (2 * Math.PI));
      if (i === j) trace += value;
    }
  }
  const squaredError = (width: number) => norm + trace ** 2 + (3 * fourth - trace ** 2 - 2 * norm) / width;
  return { kernel, norm, squaredError };
}
