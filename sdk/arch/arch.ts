/**
 * The architecture language: constructors of layers, which compose, and the way from an architecture to a covariance
 * program.
 *
 *     serial(conv({ filter: 7, weightVariance: 2, biasVariance: 0.1 }), relu(), flatten(), dense())
 */
import { ProgramBuilder, type ProgramTarget } from "../covariance/builder.ts";
import type { Program } from "../covariance/program.ts";
import { WidefieldError } from "../errors.ts";
import { Abs } from "./abs.ts";
import { AvgPool, avgPoolSchema, type AvgPoolOptions } from "./avg-pool.ts";
import { BatchNorm, batchNormSchema, type BatchNormLayerOptions } from "./batch-norm.ts";
import { ClippedRelu, clippedReluSchema, type ClippedReluOptions } from "./clipped-relu.ts";
import { Conv, convSchema, type ConvOptions } from "./conv.ts";
import { Dense, denseSchema, type DenseOptions } from "./dense.ts";
import { Dropout, dropoutSchema, type DropoutOptions } from "./dropout.ts";
import { Elu, eluSchema, type EluOptions } from "./elu.ts";
import { Erf } from "./erf.ts";
import { Flatten } from "./flatten.ts";
import { GlobalAvgPool } from "./global-avg-pool.ts";
import { Identity } from "./identity.ts";
import { formatShape, isImage, type Layer, type LayerJson, type Shape } from "./layer.ts";
import { LeakyRelu, leakyReluSchema, type LeakyReluOptions } from "./leaky-relu.ts";
import { requireModest } from "./limits.ts";
import { MaxPool, maxPoolSchema, type MaxPoolOptions } from "./max-pool.ts";
import { Mixture, mixtureSchema } from "./mixture.ts";
import { PlainActivation } from "./plain-activations.ts";
import { Relu, reluSchema, type ReluOptions } from "./relu.ts";
import { Repeat, repeatSchema } from "./repeat.ts";
import { makeResnet, makeResnetBlock, type ResnetBlockOptions, type ResnetOptions } from "./resnet.ts";
import { branchesSchema, parse } from "./schema.ts";
import { Serial } from "./serial.ts";
import { Staircase, staircaseSchema, type StaircaseOptions } from "./staircase.ts";
import { Step, stepSchema, type StepOptions } from "./step.ts";
import { Sum } from "./sum.ts";
import { Threshold, thresholdSchema, type ThresholdOptions } from "./threshold.ts";

/** A layer, which may be a whole network: architectures compose. */
export type Arch = Layer;

/** One layer after the other. */
export function serial(...layers: readonly Layer[]): Serial {
  requireLayers("serial", layers);
  return new Serial(layers);
}

/** The sum of what several layers make of one input: a residual connection. */
export function sum(...layers: readonly Layer[]): Sum {
  requireLayers("sum", layers);
  return new Sum(layers);
}

/** What several layers make of one input, each in its proportion. Proportions are positive and add up to 1. */
export function mixture(proportions: readonly number[], ...layers: readonly Layer[]): Mixture {
  requireLayers("mixture", layers);
  parse(mixtureSchema, { type: "mixture", proportions, layers }, "mixture");
  return new Mixture(proportions, layers);
}

/** A layer several times, one after the other. */
export function repeat(times: number, layer: Layer): Repeat {
  const checked = parse(repeatSchema, { type: "repeat", times, layer }, "repeat");
  requireLayers("repeat", [layer]);
  return new Repeat(checked.times, layer);
}

export function conv(options: ConvOptions): Conv {
  return new Conv(parse(convSchema, { type: "conv", ...options }, "conv"));
}

export function dense(options: DenseOptions = {}): Dense {
  return new Dense(parse(denseSchema, { type: "dense", ...options }, "dense"));
}

export function flatten(): Flatten {
  return new Flatten();
}

/** The mean over windows: `avgPool({ window: 2 })` halves height and width. */
export function avgPool(options: AvgPoolOptions): AvgPool {
  return new AvgPool(parse(avgPoolSchema, { type: "avgPool", ...options }, "avgPool"));
}

/** The mean over all pixels, one number for each channel. */
export function globalAvgPool(): GlobalAvgPool {
  return new GlobalAvgPool();
}

export function identity(): Identity {
  return new Identity();
}

export function relu(options: ReluOptions = {}): Relu {
  return new Relu(parse(reluSchema, { type: "relu", ...options }, "relu"));
}

export function leakyRelu(options: LeakyReluOptions = {}): LeakyRelu {
  return new LeakyRelu(parse(leakyReluSchema, { type: "leakyRelu", ...options }, "leakyRelu"));
}

export function abs(): Abs {
  return new Abs();
}

export function step(options: StepOptions = {}): Step {
  return new Step(parse(stepSchema, { type: "step", ...options }, "step"));
}

export function erf(): Erf {
  return new Erf();
}

/** Each channel with mean 0 and variance 1 over the batch, then a learnt scale and shift. For networks that are trained. */
export function batchNorm(options: BatchNormLayerOptions = {}): BatchNorm {
  return new BatchNorm(parse(batchNormSchema, { type: "batchNorm", ...options }, "batchNorm"));
}

/** The maximum over windows. For networks that are trained, as are the layers that follow. */
export function maxPool(options: MaxPoolOptions): MaxPool {
  return new MaxPool(parse(maxPoolSchema, { type: "maxPool", ...options }, "maxPool"));
}

/** Each number, or each channel, dropped at random in training. */
export function dropout(options: DropoutOptions = {}): Dropout {
  return new Dropout(parse(dropoutSchema, { type: "dropout", ...options }, "dropout"));
}

/** x where x > 0, else alpha (e^x - 1). */
export function elu(options: EluOptions = {}): Elu {
  return new Elu(parse(eluSchema, { type: "elu", ...options }, "elu"));
}

/** 1 / (1 + e^-x) */
export function sigmoid(): PlainActivation {
  return new PlainActivation("sigmoid");
}

/** log(1 + e^x) */
export function softplus(): PlainActivation {
  return new PlainActivation("softplus");
}

export function tanh(): PlainActivation {
  return new PlainActivation("tanh");
}

/** min(max(x, -1), 1) */
export function hardTanh(): PlainActivation {
  return new PlainActivation("hardTanh");
}

/** min(max(x, 0), max) */
export function clippedRelu(options: ClippedReluOptions = {}): ClippedRelu {
  return new ClippedRelu(parse(clippedReluSchema, { type: "clippedRelu", ...options }, "clippedRelu"));
}

/** min(|x|, 1) */
export function cabs(): PlainActivation {
  return new PlainActivation("cabs");
}

/** 0 or 1, or -1 or 1 by the sign of x, trained by target propagation: see `threshold.ts`. */
export function threshold(options: ThresholdOptions = {}): Threshold {
  return new Threshold(parse(thresholdSchema, { type: "threshold", ...options }, "threshold"));
}

/** n steps between 0 and 1, trained by target propagation: see `staircase.ts`. */
export function staircase(options: StaircaseOptions = {}): Staircase {
  return new Staircase(parse(staircaseSchema, { type: "staircase", ...options }, "staircase"));
}

/** A pre-activation residual block: see `resnet.ts`. */
export function resnetBlock(options: ResnetBlockOptions = {}): Layer {
  return makeResnetBlock({ type: "resnetBlock", ...options }, "resnetBlock");
}

/** A pre-activation residual network of 6 n + 2 layers, without a read-out: see `resnet.ts`. */
export function resnet(options: ResnetOptions): Layer {
  return makeResnet({ type: "resnet", ...options }, "resnet");
}

/** Throws E_CONFIG unless there are layers, and nothing else. */
function requireLayers(name: "serial" | "sum" | "mixture" | "repeat", layers: readonly unknown[]): void {
  parse(branchesSchema("layers"), { type: "layers", layers }, name);
  layers.forEach((layer, index) => {
    if (isLayer(layer)) return;
    const what = Array.isArray(layer) ? `is a list: write ${name}(...layers)` : "is no layer: archFromJson reads JSON";
    throw new WidefieldError("E_CONFIG", `${name}: argument ${index + 1} ${what}`);
  });
}

function isLayer(value: unknown): value is Layer {
  return typeof value === "object" && value !== null && "covariance" in value;
}

/** The JSON form, with every default written out: equal architectures have equal JSON. */
export function archToJson(arch: Arch): LayerJson {
  return arch.toJSON();
}

/**
 * The covariance program of an architecture on inputs of a shape: [channels, height, width] or [features]; of its NNGP
 * unless `target` asks for the NTK beside it. Throws E_SHAPE, naming the layer that does not fit, and E_CONFIG for what is
 * no architecture or an enormous one, and for an NTK that there is none of.
 */
export function compile(arch: Arch, input: Shape, target?: ProgramTarget): Program {
  if (!isLayer(arch))
    throw new WidefieldError("E_CONFIG", "this is no architecture: archFromJson reads JSON, preset finds one by name");
  requireModest(arch, "architecture");
  if (![1, 3].includes(input.length))
    throw new WidefieldError(
      "E_SHAPE",
      `inputs have the shape [channels, height, width] or [features], not [${input.join(", ")}]`,
    );
  if (!input.every((size) => Number.isSafeInteger(size) && size > 0))
    throw new WidefieldError("E_SHAPE", `inputs have a shape of positive whole numbers, not ${formatShape(input)}`);
  arch.shape(input);
  // An image that is flattened first is a vector: a map of one pixel, which is a recursion's to compute.
  const flat = !isImage(input) || flattensFirst(arch);
  const [channels, height, width] = flat ? [input.reduce((product, size) => product * size, 1), 1, 1] : input;
  const program = new ProgramBuilder(channels, height, width, target);
  return program.finish(arch.covariance(program, program.input, input));
}

function flattensFirst(arch: Layer): boolean {
  if (arch instanceof Serial) return arch.layers[0] !== undefined && flattensFirst(arch.layers[0]);
  if (arch instanceof Repeat) return flattensFirst(arch.layer);
  return arch instanceof Flatten;
}
