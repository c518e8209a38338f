/**
 * What a layer is. Each kind of layer has one file in this folder, in which its JSON form, its effect on shapes and its
 * covariance step and its finite-width operation stand together: the formula is written once.
 */
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import { WidefieldError } from "../errors.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

/** [channels, height, width] of an image, or [features] of a vector. Infinity: a width that only a finite network fixes. */
export type Shape = readonly [channels: number, height: number, width: number] | readonly [features: number];

export type LayerJson = { readonly type: string } & Readonly<Record<string, unknown>>;

export interface Layer {
  readonly type: string;
  /** One phrase for messages: "conv 7x7 same". */
  readonly title: string;
  /** True where the layer, or one inside it, has weights. */
  readonly weighted: boolean;
  /** Shape of the output. Throws E_SHAPE, naming the layer by `path`, where the input does not fit. */
  shape(input: Shape, path?: string): Shape;
  /** The map of covariances that the layer makes of `map`. `input`, the shape of its input, has been accepted by `shape`. */
  covariance(program: ProgramBuilder, map: CovarianceMap, input: Shape): CovarianceMap;
  /** What the finite layer makes of `x`, whose shape has been accepted by `shape`. */
  network(builder: NetworkBuilder, x: Activation, place: Place): Activation;
  toJSON(): LayerJson;
}

export function isImage(shape: Shape): shape is readonly [number, number, number] {
  return shape.length === 3;
}

/** "1 x 28 x 28", "784 features". */
export function formatShape(shape: Shape): string {
  return isImage(shape) ? shape.map(formatWidth).join(" x ") : `${formatWidth(shape[0])} features`;
}

function formatWidth(width: number): string {
  return Number.isFinite(width) ? String(width) : "any";
}

/** What has a kernel, for messages. */
const KERNELS =
  "conv, dense, flatten, avgPool, globalAvgPool, identity, relu, leakyRelu, abs, step, erf and resnet have kernels, and " +
  "serial, sum, mixture and repeat of them";

/** For layers that only finite networks have. Throws E_CONFIG. */
export function noKernel({ type, title }: Layer): never {
  const name = title.startsWith(type) ? title : `${type} (${title})`;
  throw new WidefieldError(
    "E_CONFIG",
    `${name} has no kernel: it is a layer of networks that are trained. ${KERNELS}`,
    { details: { noKernel: type } },
  );
}

/** True for what `noKernel` throws. */
export function isNoKernel(thrown: unknown): thrown is WidefieldError {
  return thrown instanceof WidefieldError && "noKernel" in thrown.details;
}

/** The image that a layer asks for, or E_SHAPE with what it got. */
export function imageInput(layer: Layer, input: Shape, path: string): readonly [number, number, number] {
  if (isImage(input)) return input;
  throw new WidefieldError(
    "E_SHAPE",
    `${path} (${layer.title}) needs an image, but its input is a vector of ${formatShape(input)}`,
    { details: { path, layer: layer.toJSON(), input } },
  );
}

export function vectorInput(layer: Layer, input: Shape, path: string): number {
  if (!isImage(input)) return input[0];
  throw new WidefieldError(
    "E_SHAPE",
    `${path} (${layer.title}) needs a vector, but its input is an image of ${formatShape(input)}: put flatten before it`,
    { details: { path, layer: layer.toJSON(), input } },
  );
}
