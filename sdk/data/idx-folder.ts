/**
 * A folder of IDX files as MNIST, Fashion-MNIST and notMNIST ship them, packed or not: finds the files, checks that
 * they belong together, and makes one dataset of them.
 */
import { WidefieldError } from "../errors.ts";
import { sha256 } from "../platform/digest.ts";
import { type Dataset, fromPixels } from "./dataset.ts";
import {
  type DataFile,
  findFile,
  type FolderOptions,
  type Found,
  requireFolder,
  requireNoneMissing,
  type UnpackedFile,
  unpackedFile,
} from "./folder.ts";
import { type IdxImages, parseIdxImages, parseIdxLabels, unpackIdx } from "./idx.ts";
import type { IdxPart, PublishedDataset } from "./registry.ts";

export interface IdxPartContent {
  readonly images: IdxImages;
  readonly labels: Uint8Array;
  readonly files: readonly [images: DataFile, labels: DataFile];
}

export interface IdxFolder {
  /** Undefined where the dataset may come without and does. */
  readonly train: IdxPartContent | undefined;
  readonly test: IdxPartContent;
}

/**
 * Reads, unpacks and checks all files of a dataset.
 *
 * @throws WidefieldError E_CONFIG without a folder or a way to read it; E_DATA for missing or malformed files, for
 *   labels and images of different counts, and for training and test images of different sizes
 */
export async function readIdxFolder(entry: PublishedDataset, options: FolderOptions): Promise<IdxFolder> {
  const { files } = entry;
  if (files?.format !== "idx") throw new Error(`${entry.name} has no IDX files`);
  const { dataDir, readFile } = requireFolder(entry.name, options);
  const find = async (part: IdxPart) =>
    Promise.all([findFile(dataDir, part.images, readFile), findFile(dataDir, part.labels, readFile)]);
  const [train, test] = await Promise.all([find(files.train), find(files.test)]);
  const skipTrain = files.trainOptional && train.every((file) => file === undefined);
  const missing = [...(skipTrain ? [] : missingNames(files.train, train)), ...missingNames(files.test, test)];
  requireNoneMissing(entry.name, dataDir, missing);
  const [trainPart, testPart] = await Promise.all([
    skipTrain ? undefined : parsePart(train, entry.classes),
    parsePart(test, entry.classes),
  ]);
  if (trainPart !== undefined) requireSameSize(trainPart, testPart);
  return { train: trainPart, test: testPart };
}

/** The dataset of a folder's files; its shape is that of the files. */
export function datasetOfFolder(entry: PublishedDataset, { train, test }: IdxFolder): Dataset {
  const { height, width } = test.images;
  const trainCount = train?.images.count ?? 0;
  const labels = new Int32Array(trainCount + test.images.count);
  if (train !== undefined) labels.set(train.labels);
  labels.set(test.labels, trainCount);
  return fromPixels(
    { name: entry.name, shape: { channels: 1, height, width }, classes: entry.classes, labels, trainCount },
    train?.images.pixels ?? new Uint8Array(0),
    test.images.pixels,
  );
}

function missingNames(part: IdxPart, [images, labels]: readonly (Found | undefined)[]): string[] {
  return [...(images === undefined ? [part.images] : []), ...(labels === undefined ? [part.labels] : [])];
}

async function unpack({ name, path, bytes }: Found): Promise<UnpackedFile> {
  const content = await unpackIdx(bytes, path);
  const file = unpackedFile(name, path, content);
  return content === bytes ? file : { ...file, packedSha256: await sha256(bytes) };
}

async function parsePart(found: readonly (Found | undefined)[], classes: number): Promise<IdxPartContent> {
  const [imagesFound, labelsFound] = found;
  if (imagesFound === undefined || labelsFound === undefined) throw new Error("missing files were not reported");
  const files = [await unpack(imagesFound), await unpack(labelsFound)] as const;
  const images = parseIdxImages(files[0].content, files[0].path);
  const labels = parseIdxLabels(files[1].content, files[1].path, classes);
  if (images.count !== labels.length) {
    throw new WidefieldError(
      "E_DATA",
      `${files[0].path} has ${images.count} images, and ${files[1].path} has ${labels.length} labels: ` +
        "they do not belong together",
      { details: { images: images.count, labels: labels.length, paths: files.map(({ path }) => path) } },
    );
  }
  return { images, labels, files };
}

function requireSameSize(train: IdxPartContent, test: IdxPartContent): void {
  const size = ({ images }: IdxPartContent) => `${images.height} x ${images.width}`;
  if (size(train) === size(test)) return;
  throw new WidefieldError(
    "E_DATA",
    `${train.files[0].path} has images of ${size(train)}, and ${test.files[0].path} of ${size(test)}: ` +
      "they are not one dataset",
  );
}
