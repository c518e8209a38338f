/** What an architecture is, for people to read: its layers with their shapes, and what its kernel costs. */
import { programCost, type ProgramCost } from "../covariance/cost.ts";
import { stepSize, type Step } from "../covariance/program.ts";
import { WidefieldError } from "../errors.ts";
import { archToJson, compile, type Arch } from "./arch.ts";
import { isNoKernel, type Layer, type LayerJson, type Shape } from "./layer.ts";
import { Mixture } from "./mixture.ts";
import { NetworkBuilder } from "./network-builder.ts";
import { Repeat } from "./repeat.ts";
import { Serial } from "./serial.ts";
import { Sum } from "./sum.ts";

export interface LayerRow {
  /** How many layers this one is inside of. */
  readonly depth: number;
  readonly title: string;
  /** Variances, proportions: what the title leaves out. "weights 2.79, biases 0.1", or empty. */
  readonly settings: string;
  /** Shape of the output; of what is repeated, the first time. "any": channels that only a finite network fixes. */
  readonly shape: readonly (number | "any")[];
}

export interface StepRow {
  /** "conv 7x7", "rectifier". */
  readonly title: string;
  /** Slots, as "0 > 1"; "+" where the result is added to what is there. */
  readonly route: string;
  readonly size: readonly [height: number, width: number];
  readonly operations: number;
}

/** The covariance program of an architecture, and what it costs. */
export interface KernelDescription {
  readonly steps: readonly StepRow[];
  /** Maps of a pair that are live at once. */
  readonly liveMaps: number;
  /** Pixels of the largest map. */
  readonly mapPixels: number;
  readonly cost: ProgramCost;
}

export type ArchDescription = {
  readonly input: Shape;
  readonly layers: readonly LayerRow[];
  readonly arch: LayerJson;
  /** Weights, biases, scales and shifts of its finite network, where all widths are given. */
  readonly parameters?: number;
} & (KernelDescription | { /** Why there is none. */ readonly noKernel: string });

/** Throws E_SHAPE where the architecture does not fit inputs of this shape. */
export function describeArch(arch: Arch, input: Shape): ArchDescription {
  const kernel = describeKernel(arch, input);
  const parameters = parameterCount(arch, input);
  return {
    ...{ input, layers: layerRows(arch, input, 0), arch: archToJson(arch), ...kernel },
    ...(parameters === undefined ? {} : { parameters }),
  };
}

function describeKernel(arch: Arch, input: Shape): KernelDescription | { readonly noKernel: string } {
  try {
    const program = compile(arch, input);
    const cost = programCost(program);
    return {
      steps: program.steps.map((step, index) => stepRow(step, cost.operationsOfSteps[index] ?? 0)),
      liveMaps: program.slots,
      mapPixels: program.mapPixels,
      cost,
    };
  } catch (thrown) {
    if (isNoKernel(thrown)) return { noKernel: thrown.message };
    throw thrown;
  }
}

/**
 * Numbers that training changes in the finite network of an architecture; undefined where the architecture leaves widths
 * open, or its branches do not meet. Throws E_SHAPE where it does not fit its input.
 */
export function parameterCount(arch: Arch, input: Shape): number | undefined {
  if (!arch.shape(input).every(Number.isFinite)) return undefined;
  try {
    const builder = new NetworkBuilder(input, undefined, 1);
    arch.network(builder, builder.input, { path: "architecture", name: "", readout: true });
    const trained = builder.graph.parameters.filter((parameter) => parameter.trained);
    return trained.reduce((sum, { floats }) => sum + floats, 0);
  } catch (thrown) {
    if (thrown instanceof WidefieldError) return undefined;
    throw thrown;
  }
}

function layerRows(layer: Layer, input: Shape, depth: number): LayerRow[] {
  const shape = layer.shape(input).map((size) => (Number.isFinite(size) ? size : "any"));
  const own: LayerRow = { depth, title: layer.title, settings: settingsOf(layer), shape };
  if (layer instanceof Serial) return [own, ...chainRows(layer.layers, input, depth + 1)];
  if (layer instanceof Repeat) return [own, ...layerRows(layer.layer, input, depth + 1)];
  if (layer instanceof Sum || layer instanceof Mixture)
    return [own, ...layer.layers.flatMap((branch) => layerRows(branch, input, depth + 1))];
  return [own];
}

/** The numbers of a layer's JSON form that shape its kernel and are not in its title. */
function settingsOf(layer: Layer): string {
  const { weightVariance, biasVariance, bias, proportions } = layer.toJSON();
  const shares = layer instanceof Mixture && Array.isArray(proportions) ? `proportions ${proportions.join(", ")}` : "";
  const weights = typeof weightVariance === "number" ? `weights ${weightVariance}` : "";
  const drawn = typeof biasVariance === "number" && biasVariance > 0 ? `biases ${biasVariance}` : "";
  const biases = bias === true ? "learnt biases" : drawn;
  return [shares, weights, biases].filter((part) => part !== "").join(", ");
}

function chainRows(layers: readonly Layer[], input: Shape, depth: number): LayerRow[] {
  let shape = input;
  return layers.flatMap((layer) => {
    const rows = layerRows(layer, shape, depth);
    shape = layer.shape(shape);
    return rows;
  });
}

function stepRow(step: Step, operations: number): StepRow {
  const from = step.kind === "input" ? "images" : String(step.from);
  const adds = "accumulate" in step && step.accumulate ? " +" : "";
  const title = step.kind === "conv" ? `conv ${step.filterHeight}x${step.filterWidth}` : step.kind;
  return { title, route: `${from} > ${step.to}${adds}`, size: stepSize(step).out, operations };
}
