/**
 * `network(engine, arch, { input, channels })`: the finite network of an architecture, its weights drawn from the prior
 * whose infinitely wide limit `kernel()` computes.
 */
import * as z from "zod";
import type { ImageBlock } from "../covariance/tiles.ts";
import type { ImageShape } from "../data/dataset.ts";
import type { Engine } from "../engine/engine.ts";
import { randomNormal } from "../engine/kernels/index.ts";
import { streamAddress } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";
import { Forward } from "../tensor/forward.ts";
import type { Arch } from "./arch.ts";
import { imageBlock, shapeOf, type ImageSet } from "./image-set.ts";
import { formatShape, type Shape } from "./layer.ts";
import { NetworkBuilder, floatsOf, type RandomParameter } from "./network-builder.ts";

export interface NetworkOptions {
  /** Of one input: [channels, height, width], [features], or a dataset's `shape`. */
  readonly input: Shape | ImageShape;
  /** Channels and units of every layer that has none of its own, times a convolution's `widthFactor`. */
  readonly channels: number;
  /** Channels or units of the last layer with weights, unless it has its own; default 1. */
  readonly outputs?: number | undefined;
  /** Of the weights; default: the engine's. */
  readonly seed?: number | undefined;
  /** What weights and activations may take in all; default: three quarters of the engine's memory. */
  readonly memoryBytes?: number | undefined;
}

/** Inputs that `Network.inputs` has found in order, for many passes. */
export interface NetworkInputs {
  readonly checked: ImageBlock;
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

  constructor(
    engine: Engine,
    builder: NetworkBuilder,
    output: NetworkBuilder["input"],
    { seed, memoryBytes }: { readonly seed: number; readonly memoryBytes: number },
  ) {
    this.engine = engine;
    this.seed = seed;
    this.input = builder.input.shape;
    this.outputs = floatsOf(output.shape);
    this.parameters = builder.parameters;
    this.parameterCount = this.parameters.reduce((sum, { parameter }) => sum + parameter.floats, 0);
    this.forwardPass = new Forward(engine.backend, builder.graph, output.value, memoryBytes);
    try {
      for (const { parameter, values } of builder.fixed)
        engine.backend.write(this.forwardPass.slot(parameter), 0, values);
      this.resample(0);
    } catch (thrown) {
      this.forwardPass.dispose();
      throw thrown;
    }
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
    const draws = this.parameters.map(({ parameter, deviation }, index) => {
      const address = streamAddress(this.seed, `network parameter ${index}`, draw);
      return {
        slot: this.forwardPass.slot(parameter),
        params: { count: parameter.floats, ...address, scale: deviation },
      };
    });
    this.forwardPass.update(() => {
      for (const { slot, params } of draws) this.engine.backend.dispatch(randomNormal, params, [slot]);
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
   * What the network makes of each input: row-major, [n, outputs]. After the first pass, one of no more inputs allocates
   * nothing on the backend but copies of what is in its queue.
   *
   * Throws what `inputs` throws, E_MEMORY, and E_CLOSED after `dispose`.
   */
  async forward(inputs: ImageSet | NetworkInputs): Promise<Float32Array<ArrayBuffer>> {
    this.engine.assertOpen();
    this.forwardPass.assertLive();
    const { checked } = "checked" in inputs ? inputs : this.inputs(inputs);
    return this.forwardPass.run(checked);
  }

  /** Frees weights and activations, once passes asked for before have ended. Idempotent. */
  dispose(): void {
    this.forwardPass.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
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
 * A finite network with weights from the prior: independent, N(0, weightVariance / (channels in x taps)) in a convolution,
 * N(0, weightVariance / features in) in a dense layer, and biases N(0, biasVariance). Draw 0 to begin with.
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
  for (const [name, value] of Object.entries({ channels, outputs: outputs ?? 1 })) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new WidefieldError("E_CONFIG", `${name} must be a positive whole number, not ${value}`);
  }
  const input = shapeOf(options.input);
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
  return new Network(engine, builder, output, { seed, memoryBytes });
}
