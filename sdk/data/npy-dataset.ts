/**
 * Datasets from one's own .npy arrays: images of uint8 (which stand for byte / 255), float32 or float64 (as they are), and
 * integer labels of any width. Pixels keep their precision: float64 images are float64 in `selectFloat64`.
 */
import { WidefieldError } from "../errors.ts";
import { npyRefusal, type NpyArrayHeader, readArrayHeader, requireWhole } from "../numpy/npy.ts";
import {
  checkFinite,
  type Dataset,
  fromPixels,
  imageFloats,
  type ImageShape,
  type Pixels,
  pixelType,
  shapeText,
} from "./dataset.ts";
import {
  type UnpackedFile,
  findFile,
  type FolderOptions,
  type Found,
  requireFolder,
  requireNoneMissing,
  unpackFound,
} from "./folder.ts";
import type { ReadFile } from "./idx.ts";
import type { ArraysDataset } from "./registry.ts";

/** The bytes of a .npy file, or its path, which then is read with `readFile`. */
export type NpySource = Uint8Array | string;

export interface NpyArrays {
  /** Default "npy". */
  readonly name?: string;
  /** [n, d], [n, height, width] or [n, channels, height, width]. */
  readonly trainImages: NpySource;
  /** [n] class numbers from 0 on. */
  readonly trainLabels: NpySource;
  readonly testImages?: NpySource;
  readonly testLabels?: NpySource;
  /** What rows of d numbers are images of. Default: of one row of d pixels. */
  readonly shape?: ImageShape;
  /** Default: the largest label of both parts, + 1. */
  readonly classes?: number;
  /** Required for paths. */
  readonly readFile?: ReadFile;
}

/**
 * A dataset of .npy arrays.
 *
 * @throws WidefieldError E_DATA for files that are missing, damaged, or hold other than images and labels, for pixels
 *   that are not finite and labels out of range, with their index; E_SHAPE for counts and shapes that do not fit together;
 *   E_CONFIG for a path without `readFile`, and test images without labels or the other way round
 */
export async function npyDataset(arrays: NpyArrays): Promise<Dataset> {
  const { name = "npy", trainImages, trainLabels, testImages, testLabels, readFile, shape, classes } = arrays;
  if ((testImages === undefined) !== (testLabels === undefined))
    throw new WidefieldError("E_CONFIG", `${name}: give both testImages and testLabels, or neither`);
  const open = async (source: NpySource, what: string): Promise<UnpackedFile> => {
    if (typeof source !== "string") return unpackFound({ name: what, path: what, bytes: source });
    if (readFile === undefined)
      throw new WidefieldError("E_CONFIG", `${name}: ${source} is a path: give readFile, which reads one`);
    const bytes = await readFile(source);
    if (bytes === undefined) throw new WidefieldError("E_DATA", `${name}: there is no file ${source}`);
    return unpackFound({ name: what, path: source, bytes });
  };
  const train = await parsePart(await open(trainImages, "trainImages"), await open(trainLabels, "trainLabels"), shape);
  const test =
    testImages === undefined || testLabels === undefined
      ? undefined
      : await parsePart(await open(testImages, "testImages"), await open(testLabels, "testLabels"), shape);
  return joined(name, train, test, classes);
}

/** The dataset of a folder with train-images.npy, train-labels.npy, and perhaps test-images.npy and test-labels.npy. */
export async function readNpyFolder(
  { name, files }: ArraysDataset,
  options: FolderOptions,
): Promise<{ readonly dataset: Dataset; readonly files: readonly UnpackedFile[] }> {
  const { dataDir, readFile } = requireFolder(name, options);
  const find = async (file: string): Promise<Found | undefined> => findFile(dataDir, file, readFile);
  const [trainImages, trainLabels] = [await find(files.train.images), await find(files.train.labels)];
  const [testImages, testLabels] = [await find(files.test.images), await find(files.test.labels)];
  const hasTest = testImages !== undefined || testLabels !== undefined;
  requireNoneMissing(name, dataDir, [
    ...(trainImages === undefined ? [files.train.images] : []),
    ...(trainLabels === undefined ? [files.train.labels] : []),
    ...(hasTest && testImages === undefined ? [files.test.images] : []),
    ...(hasTest && testLabels === undefined ? [files.test.labels] : []),
  ]);
  const found = [trainImages, trainLabels, testImages, testLabels].filter((file) => file !== undefined);
  const [images, labels, moreImages, moreLabels] = await Promise.all(found.map(unpackFound));
  if (images === undefined || labels === undefined) throw new Error("missing files were not reported");
  const train = await parsePart(images, labels);
  const test =
    moreImages === undefined || moreLabels === undefined ? undefined : await parsePart(moreImages, moreLabels);
  return {
    dataset: joined(name, train, test),
    files: [images, labels, moreImages, moreLabels].filter((file) => file !== undefined),
  };
}

interface Part {
  readonly path: string;
  readonly shape: ImageShape;
  /** [n, channels * height * width]. */
  readonly pixels: Pixels;
  readonly labels: Int32Array;
}

async function parsePart(images: UnpackedFile, labels: UnpackedFile, wanted?: ImageShape): Promise<Part> {
  const { path, content } = images;
  const header = await headerOf(images);
  const shape = shapeOf(path, header.shape, wanted);
  if (header.fortran) throw npyRefusal(path, "it is stored in Fortran order; save numpy.ascontiguousarray(images)");
  const pixels = numbersOf(path, header, content);
  if (!(pixels instanceof Uint8Array)) checkFinite(pixels, shape, path);
  const numbers = await labelsOf(labels);
  const [count = 0] = header.shape;
  if (count !== numbers.length) {
    throw new WidefieldError(
      "E_SHAPE",
      `${path} has ${count} images, and ${labels.path} has ${numbers.length} labels: they do not belong together`,
      { details: { images: count, labels: numbers.length } },
    );
  }
  return { path, shape, pixels, labels: numbers };
}

async function headerOf({ path, content }: UnpackedFile): Promise<NpyArrayHeader> {
  return readArrayHeader(path, {
    bytes: content.length,
    read: async (into, position) => into.set(content.subarray(position, position + into.length)),
  });
}

function shapeOf(path: string, sizes: readonly number[], wanted: ImageShape | undefined): ImageShape {
  const text = `(${sizes.join(", ")})`;
  if (sizes.length < 2 || sizes.length > 4 || sizes.includes(0)) {
    const kinds = "(n, d), (n, height, width) or (n, channels, height, width)";
    throw npyRefusal(path, `its shape is ${text}, and images are ${kinds}`);
  }
  if (sizes.length === 2) {
    const [, width = 0] = sizes;
    if (wanted === undefined) return { channels: 1, height: 1, width };
    if (imageFloats(wanted) === width) return wanted;
    throw new WidefieldError(
      "E_SHAPE",
      `${path}: images of ${shapeText(wanted)} are ${imageFloats(wanted)} numbers, not the ${width} of a row`,
    );
  }
  const [, channels = 1, height = 0, width = 0] = sizes.length === 3 ? [0, 1, ...sizes.slice(1)] : sizes;
  // Photographs have few channels and many pixels: (n, 32, 32, 3) can only be meant the other way round.
  if (sizes.length === 4 && width <= 4 && channels > 4) {
    throw npyRefusal(
      path,
      `its shape ${text} has the channels last, and they are read first: save numpy.ascontiguousarray(` +
        "images.transpose(0, 3, 1, 2))",
    );
  }
  const shape = { channels, height, width };
  if (wanted === undefined || shapeText(wanted) === shapeText(shape)) return shape;
  throw new WidefieldError("E_SHAPE", `${path} has images of ${shapeText(shape)}, not ${shapeText(wanted)}`);
}

function numbersOf(path: string, header: NpyArrayHeader, content: Uint8Array): Pixels {
  const itemBytes = { "|u1": 1, "<f4": 4, "<f8": 8 }[header.descr ?? ""];
  if (itemBytes === undefined) {
    const found = header.descr ?? "records";
    throw npyRefusal(path, `its pixels are ${found}, not '|u1', '<f4' or '<f8'; save it with .astype("<f4")`);
  }
  requireWhole(path, header, itemBytes, content.length);
  const values = content.subarray(header.offset);
  if (itemBytes === 1) return values;
  // Headers end at a multiple of 64 bytes, of the file and most often of the memory too.
  const { buffer, byteOffset, length } = values.byteOffset % itemBytes === 0 ? values : new Uint8Array(values);
  const count = length / itemBytes;
  return itemBytes === 4 ? new Float32Array(buffer, byteOffset, count) : new Float64Array(buffer, byteOffset, count);
}

/** More classes than any list of labels names: such a number is no label. */
const MAX_CLASSES = 2 ** 20;

async function labelsOf(file: UnpackedFile): Promise<Int32Array> {
  const { path, content } = file;
  const header = await headerOf(file);
  const { descr, shape } = header;
  const found = /^([<>|=])([iu])([1248])$/.exec(descr ?? "");
  if (found === null) {
    const advice = 'labels are class numbers, saved with .astype("int64")';
    throw npyRefusal(path, `its values are ${descr ?? "records"}, not integers; ${advice}`);
  }
  const [count = 0, ...others] = shape;
  if (shape.length < 1 || others.some((size) => size !== 1) || count === 0)
    throw npyRefusal(path, `its shape is (${shape.join(", ")}), and labels are (n,)`);
  const [, order, kind, width] = found;
  const bits = 8 * Number(width);
  requireWhole(path, header, bits / 8, content.length);
  const view = new DataView(content.buffer, content.byteOffset + header.offset, content.length - header.offset);
  const littleEndian = order !== ">";
  const readers: Readonly<Record<string, (at: number) => number>> = {
    i8: (at) => view.getInt8(at),
    u8: (at) => view.getUint8(at),
    i16: (at) => view.getInt16(at, littleEndian),
    u16: (at) => view.getUint16(at, littleEndian),
    i32: (at) => view.getInt32(at, littleEndian),
    u32: (at) => view.getUint32(at, littleEndian),
    i64: (at) => Number(view.getBigInt64(at, littleEndian)),
    u64: (at) => Number(view.getBigUint64(at, littleEndian)),
  };
  const read = readers[`${kind ?? ""}${bits}`];
  if (read === undefined) throw new Error(`no integers are ${descr ?? ""}`);
  return Int32Array.from({ length: count }, (_, index) => {
    const label = read((index * bits) / 8);
    if (label >= 0 && label < MAX_CLASSES) return label;
    throw new WidefieldError(
      "E_DATA",
      `${path}: label ${index} is ${label}, not a class number in 0..${MAX_CLASSES - 1}`,
      {
        details: { path, index, label },
      },
    );
  });
}

function joined(name: string, train: Part, test: Part | undefined, wantedClasses?: number): Dataset {
  const { shape } = train;
  if (test !== undefined) requireAlike(train, test);
  const labels = new Int32Array(train.labels.length + (test?.labels.length ?? 0));
  labels.set(train.labels);
  labels.set(test?.labels ?? [], train.labels.length);
  const largest = labels.reduce((most, label) => Math.max(most, label), 0);
  const classes = wantedClasses ?? largest + 1;
  if (!Number.isInteger(classes) || largest >= classes) {
    const index = labels.indexOf(largest);
    throw new WidefieldError("E_DATA", `${name}: label ${index} is ${largest}, and there are ${classes} classes`, {
      details: { index, label: largest, classes },
    });
  }
  const content = { name, shape, classes, labels, trainCount: train.labels.length };
  const none = train.pixels.subarray(0, 0);
  return fromPixels(content, train.pixels, test?.pixels ?? none);
}

/** One part divided by 255 and the other not would still be a dataset, and a useless one. */
function requireAlike(train: Part, test: Part): void {
  const describe = ({ shape, pixels }: Part) => `${shapeText(shape)} ${pixelType(pixels)}`;
  if (describe(train) === describe(test)) return;
  throw new WidefieldError(
    "E_SHAPE",
    `${train.path} has images of ${describe(train)}, and ${test.path} of ${describe(test)}: save both alike`,
  );
}
