/**
 * What batches are made of: images in memory or in files, with labels, targets or both. Everything that can be wrong
 * with them is refused here, before anything is trained.
 */
import { WidefieldError } from "../errors.ts";
import { type Augmentation, augmentationOf } from "./augment.ts";
import { checkFinite, type Dataset, type ImageShape, imageFloats, type Pixels, shapeText } from "./dataset.ts";
import type { ReadFile } from "./idx.ts";
import type { Problem } from "./problem.ts";
import { parseRanges, type Ranges } from "./ranges.ts";

/** Images in memory; a worker is given them once, shared where the runtime can share memory. */
export interface MemoryImages {
  readonly kind: "memory";
  /** Of the images as they are stored. */
  readonly shape: ImageShape;
  /** Images 0 .. trainCount - 1 and those after them; bytes stand for byte / 255. */
  readonly train: Uint8Array | Float32Array;
  readonly test: Uint8Array | Float32Array;
  readonly trainCount: number;
  /** Bytes only: scaled to so many pixels on each side before anything else (`resize.ts`). */
  readonly resize?: number | undefined;
  readonly augmentation?: Augmentation | undefined;
}

/** Images in files of their own, each larger than the part that is cut out of it. */
export interface FileImages {
  readonly kind: "files";
  /** Side of the square that is cut out: at random, and mirrored at random, for training; else from the middle. */
  readonly crop: number;
}

export interface BatchSource {
  readonly name: string;
  readonly count: number;
  /** Of the images that go out. */
  readonly shape: ImageShape;
  /** Labels are below it; 0 where there are none. */
  readonly classes: number;
  readonly labels: ArrayLike<number> | undefined;
  /** Numbers of an image's target; 0 where there are none. */
  readonly outputs: number;
  /** [count, outputs]. */
  readonly targets: Float32Array | undefined;
  readonly images: MemoryImages | FileImages;
  /** Of images in memory that are made when they are asked for: makes these. */
  readonly make?: ((indices: Uint32Array) => void) | undefined;
  /** Of images in files. */
  readonly pathOf?: ((index: number) => string) | undefined;
  /** How the caller's thread reads a file; workers have their own way. */
  readonly read?: ReadFile | undefined;
}

export interface DatasetSourceOptions {
  /** Side in pixels that images of bytes are scaled to; the published recipes train SVHN at 40. */
  readonly resize?: number | undefined;
  /** Default: `augmentationOf` the dataset's name; null: none. */
  readonly augmentation?: Augmentation | null | undefined;
}

/**
 * The images and labels of a dataset, by its own indices. Images that the dataset makes when they are asked for
 * (digits, noisy ones) are made once and kept.
 *
 * @throws WidefieldError E_CONFIG for a size that images cannot be scaled to
 */
export function datasetSource(dataset: Dataset, options: DatasetSourceOptions = {}): BatchSource {
  const { name, shape, classes, labels, count, trainCount } = dataset;
  const { resize } = options;
  const augmentation = options.augmentation === undefined ? augmentationOf(name) : (options.augmentation ?? undefined);
  if (augmentation !== undefined && !(Number.isInteger(augmentation.padding) && augmentation.padding >= 0))
    throw new WidefieldError(
      "E_CONFIG",
      `${name}: padding must be a whole number of pixels, not ${augmentation.padding}`,
    );
  const { pixels } = dataset;
  const stored = pixels === undefined ? undefined : { train: inSingle(pixels.train), test: inSingle(pixels.test) };
  if (resize !== undefined) {
    const bytes = stored?.train instanceof Uint8Array && stored.test instanceof Uint8Array;
    if (!bytes) throw new WidefieldError("E_CONFIG", `${name}: only images of bytes can be scaled to another size`);
    if (!Number.isInteger(resize) || resize < 1)
      throw new WidefieldError("E_CONFIG", `${name}: images cannot be scaled to ${resize} pixels`);
  }
  const kept = stored === undefined ? madeOnce(dataset) : undefined;
  const parts = stored ?? { train: kept?.images ?? new Float32Array(), test: new Float32Array() };
  return {
    name,
    count,
    shape: resize === undefined ? shape : { channels: shape.channels, height: resize, width: resize },
    classes,
    labels,
    outputs: 0,
    targets: undefined,
    images: {
      kind: "memory",
      shape,
      ...parts,
      trainCount: stored === undefined ? count : trainCount,
      resize,
      augmentation,
    },
    make: kept?.make,
  };
}

function inSingle(pixels: Pixels): Uint8Array | Float32Array {
  return pixels instanceof Float64Array ? Float32Array.from(pixels) : pixels;
}

/** Room for all images, of which the system gives what is written to; and which of them are there. */
function madeOnce(dataset: Dataset): { images: Float32Array; make: (indices: Uint32Array) => void } {
  const floats = dataset.imageFloats;
  const images = new Float32Array(sharedBuffer(dataset.count * floats * Float32Array.BYTES_PER_ELEMENT));
  const made = new Uint8Array(dataset.count);
  return {
    images,
    make: (indices) => {
      for (const index of indices) {
        if (made[index] === 1) continue;
        dataset.writeImage(index, images, index * floats);
        made[index] = 1;
      }
    },
  };
}

/** Memory that threads can share, where the runtime has it; else memory of this thread. */
export function sharedBuffer(bytes: number): ArrayBuffer | SharedArrayBuffer {
  return canShare() ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
}

/** Pages have shared memory only where they are isolated from other origins; Node and Deno do not know the question. */
export function canShare(): boolean {
  const { crossOriginIsolated } = globalThis as { readonly crossOriginIsolated?: boolean };
  return typeof SharedArrayBuffer !== "undefined" && crossOriginIsolated !== false;
}

export interface TargetContent {
  /** Default "arrays". */
  readonly name?: string;
  /** Of an image; a number: of that many features. */
  readonly shape: ImageShape | number;
  /** [n, channels * height * width] or [n, features]. Not copied. */
  readonly images: Uint8Array | Float32Array;
  /** [n, outputs]. */
  readonly targets?: Float32Array | undefined;
  /** Numbers of a target; required with targets. */
  readonly outputs?: number | undefined;
  /** n class numbers. */
  readonly labels?: ArrayLike<number> | undefined;
  /** Required with labels. */
  readonly classes?: number | undefined;
}

/**
 * A source of one's own arrays, for regression or classification.
 *
 * @throws WidefieldError E_SHAPE where sizes do not fit together; E_DATA for numbers that are not finite and labels that
 *   are no class, each with its index; E_CONFIG where there is nothing to learn
 */
export function fromTargets(content: TargetContent): BatchSource {
  const { name = "arrays", images, targets, outputs = 0, labels, classes = 0 } = content;
  const shape = typeof content.shape === "number" ? featuresShape(content.shape) : content.shape;
  const floats = imageFloats(shape);
  if (Object.values<number>({ ...shape }).some((size) => !Number.isInteger(size) || size < 1))
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: an image or a vector needs sizes of 1 or more, not ${shapeText(shape)}`,
    );
  if (targets === undefined && labels === undefined)
    throw new WidefieldError("E_CONFIG", `${name}: give targets, labels or both: there is nothing to learn`);
  const count = images.length / floats;
  if (!Number.isInteger(count))
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: ${images.length} numbers are no whole number of images of ${shapeText(shape)} = ${floats} numbers`,
    );
  if (images instanceof Float32Array) checkFinite(images, shape, name);
  if (targets !== undefined) requireTargets(targets, outputs, count, name);
  if (labels !== undefined) requireLabels(labels, classes, count, name);
  return {
    name,
    count,
    shape,
    classes: labels === undefined ? 0 : classes,
    labels,
    outputs: targets === undefined ? 0 : outputs,
    targets,
    images: { kind: "memory", shape, train: images, test: images.subarray(images.length), trainCount: count },
  };
}

function featuresShape(features: number): ImageShape {
  return { channels: 1, height: 1, width: features };
}

function requireTargets(targets: Float32Array, outputs: number, count: number, name: string): void {
  if (!Number.isInteger(outputs) || outputs < 1 || targets.length !== count * outputs) {
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: ${count} images with ${outputs} outputs need ${count * outputs} targets, not ${targets.length}`,
    );
  }
  const first = targets.findIndex((value) => !Number.isFinite(value));
  if (first < 0) return;
  const image = Math.floor(first / outputs);
  throw new WidefieldError(
    "E_DATA",
    `${name}: output ${first % outputs} of image ${image}'s target is ${targets[first] ?? NaN}; targets must be finite`,
    { details: { image, output: first % outputs } },
  );
}

function requireLabels(labels: ArrayLike<number>, classes: number, count: number, name: string): void {
  if (labels.length !== count)
    throw new WidefieldError("E_SHAPE", `${name}: there are ${count} images and ${labels.length} labels`);
  for (let i = 0; i < count; i++) {
    const label = labels[i] ?? NaN;
    if (Number.isInteger(label) && label >= 0 && label < classes) continue;
    throw new WidefieldError("E_DATA", `${name}: label ${i} is ${label}, not an integer in 0..${classes - 1}`, {
      details: { index: i, label, classes },
    });
  }
}

/**
 * The images of a regression problem with its targets, and its labels where they are classes. Row i of the ranges is
 * image i of the source; images and targets are rounded to float32.
 *
 * @throws WidefieldError E_RANGE, and what the problem's targets throw
 */
export function problemSource(problem: Problem, ranges: Ranges | string): BatchSource {
  const { name, dataset, outputs, decision } = problem;
  const { images, shape, labels } = dataset.select(ranges);
  const checked = typeof ranges === "string" ? parseRanges(ranges, dataset.count, name) : ranges;
  return fromTargets({
    name,
    shape,
    images,
    outputs,
    targets: Float32Array.from(problem.targets(checked)),
    ...(decision === undefined ? {} : { labels, classes: dataset.classes }),
  });
}

/** What a network takes and gives. */
export interface NetworkEnds {
  readonly input: ImageShape;
  /** Numbers it gives for an image. */
  readonly outputs: number;
}

/**
 * Refuses a source that a network cannot be trained or tested on.
 *
 * @throws WidefieldError E_SHAPE where images are not the network's, or targets have another number of outputs; E_DATA for a
 *   label that the network has no output for, with its index
 */
export function requireFit(source: BatchSource, { input, outputs }: NetworkEnds): void {
  const { name, shape, labels, targets } = source;
  if (shape.channels !== input.channels || shape.height !== input.height || shape.width !== input.width) {
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: its images are ${shapeText(shape)}, and the network takes ${shapeText(input)}: choose an architecture for ` +
        "this size, or another dataset",
      { details: { images: shape, network: input } },
    );
  }
  if (targets !== undefined && source.outputs !== outputs)
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: its targets have ${source.outputs} outputs, and the network gives ${outputs}`,
    );
  if (targets !== undefined || labels === undefined || source.classes <= outputs) return;
  for (let index = 0; index < labels.length; index++) {
    const label = labels[index] ?? NaN;
    if (label < outputs) continue;
    throw new WidefieldError(
      "E_DATA",
      `${name}: image ${index} has label ${label}, and the network has ${outputs} outputs, for labels 0 to ${outputs - 1}: ` +
        `the dataset has ${source.classes} classes`,
      { details: { index, label, outputs } },
    );
  }
}
