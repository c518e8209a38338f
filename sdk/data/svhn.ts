/**
 * SVHN's cropped digits (Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011):
 * train_32x32.mat, extra_32x32.mat and test_32x32.mat, each with X, bytes of 32 x 32 x 3 x n with rows fastest, and y, n
 * labels 1 to 10, where 10 is the digit 0. The images of train and of extra are the training images, in this order; a
 * folder without extra is taken, and the caller told.
 *
 * Extra alone inflates to 1.6 GB, so no file is ever whole in memory beside its images: each is inflated in pieces, whose
 * bytes go to their places at once. The images lie in memory that threads share.
 */
import { WidefieldError } from "../errors.ts";
import { sha256 } from "../platform/digest.ts";
import type { Files } from "../platform/files.ts";
import { sharedBuffer } from "./batch-source.ts";
import { type Dataset, fromPixels } from "./dataset.ts";
import { candidates, type DataFile, type FolderOptions, requireFolder, requireNoneMissing } from "./folder.ts";
import { type ByteSource, type MatlabVariable, memorySource, readMatlab } from "./matlab.ts";
import type { PublishedDataset } from "./registry.ts";

/** Files that can be read piece by piece. */
export type LargeFiles = Pick<Files, "open" | "size" | "sha256">;

export interface SvhnOptions extends FolderOptions {
  readonly files?: LargeFiles;
}

const SIDE = 32;
const PLANE = SIDE * SIDE;
const IMAGE = 3 * PLANE;
const CLASSES = 10;

/** A file that is there. */
interface Part {
  readonly path: string;
  /** Images, by its header. */
  readonly count: number;
  readonly open: () => Promise<ByteSource & { close(): Promise<void> }>;
  readonly file: DataFile;
}

/**
 * Reads the folder.
 *
 * @throws WidefieldError E_CONFIG without a folder or a way to read it; E_DATA for missing files, for files that are no
 *   MATLAB files of level 5 or lack X or y, for labels that are not 1 to 10; E_IO
 */
export async function readSvhnFolder(
  entry: PublishedDataset,
  options: SvhnOptions,
): Promise<{ readonly dataset: Dataset; readonly files: readonly DataFile[] }> {
  const { name, files } = entry;
  if (files?.format !== "svhn") throw new Error(`${name} has no MATLAB files`);
  const { dataDir } = requireFolder(name, options);
  const { records } = files;
  const train = await findPart(files.train, records.train, dataDir, options);
  const extra = await findPart(files.extra, records.extra, dataDir, options);
  const test = await findPart(files.test, records.test, dataDir, options);
  const missing = [...(train === undefined ? [files.train] : []), ...(test === undefined ? [files.test] : [])];
  requireNoneMissing(name, dataDir, missing);
  if (train === undefined || test === undefined) throw new Error("missing files were not reported");
  if (extra === undefined)
    options.log?.(
      `${name}: ${dataDir} has no ${files.extra}: the ${train.count} images of ${files.train} are all that train`,
    );
  const trainParts = extra === undefined ? [train] : [train, extra];
  const trainCount = trainParts.reduce((sum, { count }) => sum + count, 0);
  const labels = new Int32Array(trainCount + test.count);
  const trainPixels = new Uint8Array(sharedBuffer(trainCount * IMAGE));
  let first = 0;
  for (const part of trainParts) {
    const end = first + part.count;
    await readPart(part, trainPixels.subarray(first * IMAGE, end * IMAGE), labels.subarray(first, end));
    first = end;
  }
  const testPixels = new Uint8Array(sharedBuffer(test.count * IMAGE));
  await readPart(test, testPixels, labels.subarray(trainCount));
  const content = { name, shape: { channels: 3, height: SIDE, width: SIDE }, classes: CLASSES, labels, trainCount };
  return {
    dataset: fromPixels(content, trainPixels, testPixels),
    files: [...trainParts, test].map(({ file }) => file),
  };
}

/** The file as it is: packed again, it would have to be unpacked as a whole. Undefined where there is none. */
async function findPart(
  name: string,
  published: number,
  dataDir: string,
  { readFile, files }: SvhnOptions,
): Promise<Part | undefined> {
  const [path = name] = candidates(dataDir, name);
  const content = files === undefined ? await readFile?.(path) : undefined;
  const bytes = content?.length ?? (await files?.size(path));
  if (bytes === undefined) return undefined;
  const open: Part["open"] = async () => {
    if (files !== undefined) return files.open(path);
    return { ...memorySource(content ?? new Uint8Array()), close: async () => undefined };
  };
  const file: DataFile = {
    name,
    path,
    bytes,
    sha256: async () => files?.sha256(path) ?? sha256(content ?? new Uint8Array()),
    records: { count: await countOf(open, path), published },
  };
  return { path, count: file.records?.count ?? 0, open, file };
}

/** With the file open. */
async function closing<T>(open: Part["open"], use: (source: ByteSource) => Promise<T>): Promise<T> {
  const source = await open();
  try {
    return await use(source);
  } finally {
    await source.close();
  }
}

/** How many images a file announces. */
async function countOf(open: Part["open"], path: string): Promise<number> {
  return closing(open, async (source) => {
    for await (const variable of readMatlab(source, path)) if (variable.name === "X") return imagesOf(variable, path);
    throw new WidefieldError("E_DATA", `${path}: it has no variable X: is it a file of SVHN's cropped digits?`);
  });
}

/** Throws E_DATA where X is not 32 x 32 x 3 x n bytes. One image has no fourth size. */
function imagesOf({ shape, type }: MatlabVariable, path: string): number {
  const [height, width, channels, count = 1] = shape;
  if (type === "uint8" && height === SIDE && width === SIDE && channels === 3 && shape.length <= 4) return count;
  const sizes = shape.join(" x ");
  throw new WidefieldError("E_DATA", `${path}: X is ${sizes} of ${type ?? "no number"}, not 32 x 32 x 3 x n of uint8`, {
    details: { path, shape, type },
  });
}

async function readPart({ path, count, open }: Part, pixels: Uint8Array, labels: Int32Array): Promise<void> {
  const labelled = await closing(open, async (source) => {
    let found = false;
    for await (const variable of readMatlab(source, path)) {
      if (variable.name === "X") await readPixels(variable, pixels);
      if (variable.name !== "y") continue;
      found = true;
      const numbers = await variable.numbers();
      if (numbers.length !== count)
        throw new WidefieldError("E_DATA", `${path}: ${count} images and ${numbers.length} labels`);
      numbers.forEach((number, i) => (labels[i] = digitOf(number, i, path)));
    }
    return found;
  });
  if (!labelled) throw new WidefieldError("E_DATA", `${path}: it has no variable y: its images have no labels`);
}

/** From rows fastest to columns fastest, plane by plane: both sizes are 32, so a place is a few bits of its number. */
async function readPixels(variable: MatlabVariable, pixels: Uint8Array): Promise<void> {
  let at = 0;
  for await (const piece of variable.pieces()) {
    for (const byte of piece) {
      const row = at & 31;
      const column = (at >> 5) & 31;
      pixels[at - (at & 1023) + SIDE * row + column] = byte;
      at++;
    }
  }
}

function digitOf(label: number, record: number, path: string): number {
  if (Number.isInteger(label) && label >= 1 && label <= CLASSES) return label % CLASSES;
  throw new WidefieldError(
    "E_DATA",
    `${path}: image ${record} has label ${label}; labels are 1 to 10, and 10 is the digit 0`,
    {
      details: { path, record, label },
    },
  );
}
