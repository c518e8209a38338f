/**
 * `network(engine, arch, { input, channels })`: the finite network of an architecture, its weights drawn from the prior
 * whose infinitely wide limit `kernel()` computes.
 */
import type { Engine } from "../engine/engine.ts";
import { randomNormal } from "../engine/kernels/index.ts";
import { streamAddress } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";
import { Forward } from "../tensor/forward.ts";
import type { Arch } from "./arch.ts";
import { imageBlock, shapeOf, type ImageSet } from "./kernel.ts";
import { formatShape, type Shape } from "./layer.ts";
import { NetworkBuilder, floatsOf, type RandomParameter } from "./network-builder.ts";

export interface NetworkOptions {
  /** Of one input: [channels, height, width], or [features]. */
  readonly input: Shape;
  /** Channels and units of every layer that has none of its own, times a convolution's `widthFactor`. */
  readonly channels: number;
  /** Channels or units of the last layer with weights, unless it has its own; default 1. */
  readonly outputs?: number | undefined;
  /** Of the weights; default: the engine's. */
  readonly seed?: number | undefined;
}

/** Part of the memory budget that weights and activations may take: the rest is the caller's. */
const MEMORY_SHARE = 0.75;

export class Network {
  readonly input: Shape;
  /** Numbers that the network gives for each input. */
  readonly outputs: number;
  /** Weights and biases in all. */
  readonly parameterCount: number;
  private readonly engine: Engine;
  private readonly forwardPass: Forward;
  private readonly parameters: readonly RandomParameter[];
  private readonly seed: number;

  constructor(engine: Engine, builder: NetworkBuilder, output: NetworkBuilder["input"], seed: number) {
    this.engine = engine;
    this.seed = seed;
    this.input = builder.input.shape;
    this.outputs = floatsOf(output.shape);
    this.parameters = builder.parameters;
    this.parameterCount = this.parameters.reduce((sum, { parameter }) => sum + parameter.floats, 0);
    const memoryBytes = MEMORY_SHARE * engine.memoryBytes;
    this.forwardPass = new Forward(engine.backend, builder.graph, output.value, memoryBytes);
    this.resample(0);
  }

  /**
   * Draws all weights anew: parameter p of draw d is the random stream (seed, "network parameter p", d), so draws are
   * independent, and each is the same everywhere: bit for bit on wasm, to within 1e-6 of each weight on a GPU. Ordered with
   * `forward`: passes asked for before still see the old weights.
   *
   * Throws E_CONFIG where `draw` is no integer in 0..2^53-1, and E_CLOSED after `dispose`.
   */
  resample(draw: number): void {
    this.engine.assertOpen();
    this.forwardPass.assertLive();
    this.parameters.forEach(({ parameter, deviation }, index) => {
      const address = streamAddress(this.seed, `network parameter ${index}`, draw);
      const params = { count: parameter.floats, ...address, scale: deviation };
      this.engine.backend.dispatch(randomNormal, params, [this.forwardPass.slot(parameter)]);
    });
  }

  /**
   * What the network makes of each input: row-major, [n, outputs]. After the first pass, one of no more inputs allocates
   * nothing on the backend.
   *
   * Throws E_SHAPE where the inputs are not of the network's shape, E_DATA for one that is not finite, E_MEMORY, and
   * E_CLOSED after `dispose`.
   */
  async forward(images: ImageSet): Promise<Float32Array<ArrayBuffer>> {
    this.engine.assertOpen();
    this.forwardPass.assertLive();
    const shape = shapeOf(images.shape);
    if (formatShape(shape) !== formatShape(this.input)) {
      throw new WidefieldError(
        "E_SHAPE",
        `the network takes inputs of ${formatShape(this.input)}, and these are of ${formatShape(shape)}`,
      );
    }
    return this.forwardPass.run(imageBlock(images, "images"));
  }

  /** Frees weights and activations. Idempotent. */
  dispose(): void {
    this.forwardPass.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * A finite network with weights from the prior: independent, N(0, weightVariance / (channels in x taps)) in a convolution,
 * N(0, weightVariance / features in) in a dense layer, and biases N(0, biasVariance). Draw 0 to begin with.
 *
 * Throws E_CONFIG for widths that are not positive whole numbers, E_SHAPE where the architecture does not fit its input
 * or the branches of a sum differ in channels, E_MEMORY where not even one input fits the engine's budget.
 */
export function network(engine: Engine, arch: Arch, options: NetworkOptions): Network {
  engine.assertOpen();
  const { input, channels, outputs, seed = engine.seed } = options;
  for (const [name, value] of Object.entries({ channels, outputs: outputs ?? 1 })) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new WidefieldError("E_CONFIG", `${name} must be a positive whole number, not ${value}`);
  }
  if (!input.every((size) => Number.isSafeInteger(size) && size > 0))
    throw new WidefieldError("E_SHAPE", `inputs have a shape of positive whole numbers, not ${formatShape(input)}`);
  arch.shape(input);
  const builder = new NetworkBuilder(input, channels, outputs ?? 1);
  const output = arch.network(builder, builder.input, { path: "architecture", readout: true });
  if (outputs !== undefined && !builder.hasReadout) {
    throw new WidefieldError(
      "E_CONFIG",
      `the architecture does not end with a layer that could have ${outputs} outputs: add dense() or a convolution`,
    );
  }
  return new Network(engine, builder, output, seed);
}
