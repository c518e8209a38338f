/**
 * `network(engine, arch, { input, channels })`: the finite network of an architecture. With weights drawn from the prior it
 * is one of those whose infinitely wide limit `kernel()` computes; on a tape it is a model to train.
 */
import * as z from "zod";
import type { ImageBlock } from "../covariance/tiles.ts";
import type { ImageShape } from "../data/dataset.ts";
import type { Engine } from "../engine/engine.ts";
import { randomNormal } from "../engine/kernels/index.ts";
import { RandomStream, streamAddress } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";
import { deviceOf, type Device } from "../tensor/device.ts";
import { Forward } from "../tensor/forward.ts";
import { Computation, type Parameter } from "../tensor/graph.ts";
import type { Model, ModelParameter, ModelState, Pass } from "../tensor/model.ts";
import { flatten } from "../tensor/ops.ts";
import { scope, Tensor } from "../tensor/tensor.ts";
import type { Arch } from "./arch.ts";
import { imageBlock, shapeOf, type ImageSet } from "./image-set.ts";
import { checkInitialiser, distributionOf, type Initialiser } from "./initialisers.ts";
import { formatShape, type Shape } from "./layer.ts";
import { NetworkBuilder, floatsOf, type Activation } from "./network-builder.ts";

export interface NetworkOptions {
  /** Of one input: [channels, height, width], [features], or a dataset's `shape`. */
  readonly input: Shape | ImageShape;
  /**
   * Channels and units of every layer that has none of its own, times a convolution's `widthFactor`. Not needed where all
   * layers but the last have their own.
   */
  readonly channels?: number | undefined;
  /** Channels or units of the last layer with weights, unless it has its own; default 1. */
  readonly outputs?: number | undefined;
  /** What weights and biases are drawn from; default "prior". */
  readonly init?: Initialiser | undefined;
  /** Of the weights; default: the engine's. */
  readonly seed?: number | undefined;
  /** What weights and activations of `forward` may take in all; default: three quarters of the engine's memory. */
  readonly memoryBytes?: number | undefined;
}

/** Inputs that `Network.inputs` has found in order, for many passes. */
export interface NetworkInputs {
  readonly checked: ImageBlock;
}

/** Part of the memory budget that weights and activations may take: the rest is the caller's. */
const MEMORY_SHARE = 0.75;

interface Settings {
  readonly seed: number;
  readonly memoryBytes: number;
  readonly init: Initialiser;
}

export class Network implements Model {
  readonly input: Shape;
  /** Numbers that the network gives for each input. */
  readonly outputs: number;
  /** Weights, biases, scales and shifts in all. */
  readonly parameterCount: number;
  readonly parameters: readonly ModelParameter[];
  readonly states: readonly ModelState[];
  private readonly engine: Engine;
  private readonly builder: NetworkBuilder;
  private readonly computation: Computation;
  private readonly forwardPass: Forward;
  /** All arrays, in the graph's order. */
  private readonly tensors: readonly Tensor[];
  private readonly init: Initialiser;
  private readonly seed: number;

  constructor(engine: Engine, builder: NetworkBuilder, output: Activation, { seed, memoryBytes, init }: Settings) {
    this.engine = engine;
    this.builder = builder;
    this.seed = seed;
    this.init = init;
    this.input = builder.input.shape;
    this.outputs = floatsOf(output.shape);
    this.computation = new Computation(builder.graph, output.value);
    this.forwardPass = new Forward(engine, this.computation, memoryBytes);
    const { parameters } = builder.graph;
    this.tensors = allocate(deviceOf(engine), parameters);
    const named = parameters.map(({ name, trained }, id) => ({ name, trained, tensor: this.tensor(id) }));
    this.parameters = named.filter(({ trained }) => trained).map(({ name, tensor }) => ({ name, tensor }));
    this.states = named.filter(({ trained }) => !trained).map(({ name, tensor }) => ({ name, tensor }));
    this.parameterCount = this.parameters.reduce((sum, { tensor }) => sum + tensor.size, 0);
    try {
      this.resample(0);
    } catch (thrown) {
      this.dispose();
      throw thrown;
    }
  }

  get inputShape(): readonly number[] {
    return this.input;
  }

  /**
   * Draws all weights anew, as before any training: parameter p of draw d is the random stream (seed, "network parameter
   * p", d), so draws are independent, and each is the same everywhere: bit for bit on wasm, normal ones to within 1e-6 of
   * each weight on a GPU. Ordered with `forward`: passes asked for before still see the old weights.
   *
   * Throws E_CONFIG where `draw` is no integer in 0..2^53-1, and E_CLOSED after `dispose`.
   */
  resample(draw: number): void {
    this.engine.assertOpen();
    const draws = this.builder.random.map((random, index) => {
      const stream = `network parameter ${index}`;
      streamAddress(this.seed, stream, draw); // refuses what is no seed or draw at once
      return { tensor: this.tensor(random.parameter.id), stream, law: distributionOf(this.init, random) };
    });
    this.forwardPass.update(() => {
      for (const { tensor, stream, law } of draws) {
        if (law.kind === "normal") {
          const address = streamAddress(this.seed, stream, draw);
          const params = { count: tensor.size, ...address, scale: law.deviation };
          tensor.device.dispatch(randomNormal, params, [tensor.slot]);
        } else if (law.kind === "constant") {
          tensor.write(new Float32Array(tensor.size).fill(law.value));
        } else {
          // On the host: the same bits on every backend.
          const uniform = new RandomStream(this.seed, stream, draw).fillUniform(new Float32Array(tensor.size));
          tensor.write(uniform.map((value) => (2 * value - 1) * law.bound));
        }
      }
      for (const { parameter, values } of this.builder.fixed) this.tensor(parameter.id).write(values);
    });
  }

  /**
   * Checks inputs once, for many passes: they are not looked at again, and must not change. Throws E_SHAPE where they are
   * not of the network's shape, E_DATA for one that is not finite in float32.
   */
  inputs(images: ImageSet): NetworkInputs {
    const shape = shapeOf(images.shape);
    if (formatShape(shape) !== formatShape(this.input)) {
      throw new WidefieldError(
        "E_SHAPE",
        `the network takes inputs of ${formatShape(this.input)}, and these are of ${formatShape(shape)}`,
      );
    }
    // A float64 pixel beyond float32's range is an infinity only once it is rounded.
    const rounded = images.images instanceof Float64Array ? Float32Array.from(images.images) : images.images;
    return { checked: imageBlock({ images: rounded, shape }, "images") };
  }

  /**
   * What the network makes of each input, as in inference (running statistics, nothing dropped): row-major, [n, outputs].
   * After the first pass, one of no more inputs allocates nothing on the backend but copies of what is in its queue. A
   * pass of many inputs goes in parts: to train on, wait for it.
   *
   * Throws what `inputs` throws, E_MEMORY, and E_CLOSED after `dispose`.
   */
  async forward(inputs: ImageSet | NetworkInputs): Promise<Float32Array<ArrayBuffer>> {
    this.engine.assertOpen();
    this.forwardPass.assertLive();
    const { checked } = "checked" in inputs ? inputs : this.inputs(inputs);
    return this.forwardPass.run(checked, this.tensors);
  }

  /**
   * What the network makes of a tensor [batch, ...inputShape]: [batch, outputs]. On a tape if one records; parameters
   * behind `watched` get their gradients. To be called in a `scope`. Throws E_SHAPE, and E_CLOSED after `dispose`.
   */
  apply(x: Tensor, pass: Pass): Tensor {
    this.forwardPass.assertLive();
    const [, ...sides] = x.shape;
    if (sides.length !== this.input.length || !sides.every((side, axis) => side === this.input[axis]))
      throw new WidefieldError(
        "E_SHAPE",
        `the network takes tensors of [batch, ${this.input.join(", ")}], not of [${x.shape.join(", ")}]`,
      );
    return scope(x.device, () => {
      const made = this.computation.run(x, this.tensors, pass);
      return made.shape.length === 2 ? made : flatten(made);
    });
  }

  /** Frees weights and activations, once passes asked for before have ended. Idempotent. */
  dispose(): void {
    this.forwardPass.dispose(() => {
      for (const tensor of this.tensors) tensor.dispose();
      deviceOf(this.engine).pool.trim();
    });
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private tensor(id: number): Tensor {
    const found = this.tensors[id];
    if (found === undefined) throw new Error("the parameter belongs to another graph");
    return found;
  }
}

/** Tensors for parameters, which outlive the scope that they are made in. */
function allocate(device: Device, parameters: readonly Parameter[]): Tensor[] {
  const made: Tensor[] = [];
  try {
    for (const { shape } of parameters) made.push(Tensor.empty(device, shape));
  } catch (thrown) {
    for (const tensor of made) tensor.dispose();
    device.pool.trim();
    throw thrown;
  }
  for (const tensor of made) device.scopes.at(-1)?.delete(tensor);
  return made;
}

/** What kinds of things the options are; the numbers' ranges are looked at one by one. */
const optionsSchema = z.object(
  {
    input: z.union(
      [
        z.tuple([z.any(), z.any(), z.any()]),
        z.tuple([z.any()]),
        z.object({ channels: z.any(), height: z.any(), width: z.any() }),
      ],
      "input is the shape of one input: [channels, height, width], [features], or a dataset's shape",
    ),
  },
  "network() takes an engine, an architecture, and { input, channels }",
);

/**
 * A finite network, by default with weights from the prior: independent, N(0, weightVariance / (channels in x taps)) in a
 * convolution, N(0, weightVariance / features in) in a dense layer, and biases N(0, biasVariance). Draw 0 to begin with.
 *
 * Throws E_CONFIG for widths that are not positive whole numbers and for what is no shape, E_SHAPE where the architecture does not fit its input
 * or the branches of a sum differ in channels, E_MEMORY where not even one input fits the engine's budget.
 */
export function network(engine: Engine, arch: Arch, options: NetworkOptions): Network {
  engine.assertOpen();
  const parsed = optionsSchema.safeParse(options);
  if (!parsed.success)
    throw new WidefieldError("E_CONFIG", parsed.error.issues.map(({ message }) => message).join("; "), {
      cause: parsed.error,
    });
  const { channels, outputs, seed = engine.seed, memoryBytes = MEMORY_SHARE * engine.memoryBytes } = options;
  const init = checkInitialiser(options.init ?? "prior");
  for (const [name, value] of Object.entries({ channels, outputs })) {
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1))
      throw new WidefieldError("E_CONFIG", `${name} must be a positive whole number, not ${value}`);
  }
  const input = shapeOf(options.input);
  if (!input.every((size) => Number.isSafeInteger(size) && size > 0))
    throw new WidefieldError("E_SHAPE", `inputs have a shape of positive whole numbers, not ${formatShape(input)}`);
  arch.shape(input);
  const builder = new NetworkBuilder(input, channels, outputs ?? 1);
  const output = arch.network(builder, builder.input, { path: "architecture", name: "", readout: true });
  if (outputs !== undefined && !builder.hasReadout) {
    throw new WidefieldError(
      "E_CONFIG",
      `the architecture does not end with a layer that could have ${outputs} outputs: add dense() or a convolution`,
    );
  }
  return new Network(engine, builder, output, { seed, memoryBytes, init });
}
