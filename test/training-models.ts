/** Small models for tests of training, built from operations, and data for them. */
import type { Engine } from "../sdk/engine/engine.ts";
import { RandomStream, streamAddress } from "../sdk/engine/rng.ts";
import type { Model, ModelParameter, ModelState, Pass } from "../sdk/tensor/model.ts";
import * as ops from "../sdk/tensor/ops.ts";
import type { Tensor } from "../sdk/tensor/tensor.ts";
import { tensor } from "../sdk/tensor/tensor.ts";
import { arrayData, type Examples, type TrainingData } from "../sdk/learn/training-data.ts";

export interface PerceptronOptions {
  readonly inputs: number;
  readonly hidden: number;
  readonly outputs: number;
  readonly seed: number;
  /** Of the hidden units. */
  readonly dropout?: number;
  readonly batchNorm?: boolean;
  /** The hidden layer's function; default: relu. */
  readonly activation?: (x: Tensor) => Tensor;
  /** Factors of parameters, by name. */
  readonly rates?: Readonly<Record<string, number>>;
  readonly decays?: Readonly<Record<string, number>>;
}

/** dense, [batch norm], activation, [dropout], dense. */
export function perceptron(engine: Engine, options: PerceptronOptions): Model {
  const { inputs, hidden, outputs, seed, dropout = 0, batchNorm = false, activation = ops.relu } = options;
  const random = new RandomStream(seed, "perceptron");
  const drawn = (shape: readonly number[], scale: number): Tensor => {
    const size = shape.reduce((product, side) => product * side, 1);
    return tensor(
      engine,
      random.fillNormal(new Float32Array(size)).map((value) => value * scale),
      shape,
    );
  };
  const parameters: ModelParameter[] = [];
  const parameter = (name: string, made: Tensor): Tensor => {
    parameters.push({ name, tensor: made, rate: options.rates?.[name], decay: options.decays?.[name] });
    return made;
  };
  const weights1 = parameter("first.weights", drawn([inputs, hidden], 1 / Math.sqrt(inputs)));
  const bias1 = parameter("first.bias", drawn([hidden], 0.1));
  const states: ModelState[] = [];
  const ones = (values: number[]): Tensor => tensor(engine, values);
  const norm = batchNorm
    ? {
        scale: parameter("norm.scale", ones(Array.from({ length: hidden }, () => 1))),
        shift: parameter("norm.shift", ones(Array.from({ length: hidden }, () => 0))),
        running: tensor(engine, [...Array<number>(hidden).fill(0), ...Array<number>(hidden).fill(1)], [2, hidden]),
      }
    : undefined;
  if (norm !== undefined) states.push({ name: "norm.running", tensor: norm.running });
  const weights2 = parameter("second.weights", drawn([hidden, outputs], 1 / Math.sqrt(hidden)));
  const bias2 = parameter("second.bias", drawn([outputs], 0.1));

  const apply = (x: Tensor, pass: Pass): Tensor => {
    const layer = (name: string, input: Tensor, work: (input: Tensor) => Tensor): Tensor => {
      const output = work(input);
      pass.observe?.(name, name, input, output);
      return output;
    };
    let z = layer("first", x, (input) => ops.bias(ops.matmul(input, weights1), bias1));
    if (norm !== undefined) {
      const { scale, shift, running } = norm;
      z = layer("norm", z, (input) => ops.batchNorm(input, scale, shift, running, { training: pass.training }));
    }
    z = layer("activation", z, activation);
    if (dropout > 0 && pass.training) z = ops.dropout(z, dropout, streamAddress(pass.seed, "dropout", pass.step));
    return layer("second", z, (input) => ops.bias(ops.matmul(input, weights2), bias2));
  };
  return { parameters, states, inputShape: [inputs], outputs, apply };
}

/** Points around a centre for each class; centres are 4.2 apart or more where there are as many inputs as classes. */
export function clusters(count: number, inputs: number, classes: number, seed: number, spread = 0.3): Examples {
  const random = new RandomStream(seed, "clusters");
  const labels = Uint32Array.from({ length: count }, (_, i) => i % classes);
  const images = new Float32Array(count * inputs);
  for (let i = 0; i < images.length; i++) {
    const [row, column] = [Math.floor(i / inputs), i % inputs];
    const centre = column % classes === labels[row] ? 3 : 0;
    images[i] = centre + spread * random.normal();
  }
  return { images, labels };
}

export interface ClusterOptions {
  readonly count: number;
  readonly inputs: number;
  readonly classes: number;
  readonly batch: number;
  readonly seed: number;
}

/** `clusters` to train on, and as many to validate. */
export function clusterData({ count, inputs, classes, batch, seed }: ClusterOptions): TrainingData {
  const { images, labels } = clusters(2 * count, inputs, classes, seed);
  const part = (begin: number, end: number): Examples => ({
    images: images.subarray(begin * inputs, end * inputs),
    labels: Array.from(labels ?? []).slice(begin, end),
  });
  const sets = { train: part(0, count), validation: part(count, 2 * count) };
  return arrayData({ inputShape: [inputs], classes, ...sets, batch, seed, testBatch: 2 * batch + 1 });
}

/** Every parameter of a model, one after the other. */
export async function weightsOf({ parameters }: Model): Promise<Float32Array> {
  const all: number[] = [];
  for (const one of parameters) all.push(...(await one.tensor.read()));
  return Float32Array.from(all);
}
