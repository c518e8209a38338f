/**
 * A folder of CIFAR-10 or CIFAR-100 (A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009) in
 * either of its versions, packed or not: the binary one (data_batch_1.bin to data_batch_5.bin and test_batch.bin, or
 * train.bin and test.bin: records of a label, or a coarse and a fine one, and 3 x 32 x 32 bytes), or the Python one (the
 * same names without .bin, `cifar-python.ts`). Of CIFAR-10's five training batches a folder may hold the first few only.
 */
import { WidefieldError } from "../errors.ts";
import { CIFAR_SHAPE, type CifarFormat, IMAGE_BYTES, type Records, requireLabel } from "./cifar-records.ts";
import { parsePythonBatch } from "./cifar-python.ts";
import { type Dataset, fromPixels } from "./dataset.ts";
import {
  type DataFile,
  findFile,
  type FolderOptions,
  type Found,
  requireFolder,
  requireNoneMissing,
  unpackFound,
} from "./folder.ts";
import type { CifarBatches, PublishedDataset } from "./registry.ts";

/**
 * Reads the batches of a folder. Where it holds both versions, the binary one is taken, and `log` told so.
 *
 * @throws WidefieldError E_CONFIG without a folder or a way to read it; E_DATA for missing batches, for files that are no
 *   whole number of records, for pickles of anything but a batch, and for labels beyond the classes
 */
export async function readCifarFolder(
  entry: PublishedDataset,
  options: FolderOptions,
): Promise<{ readonly dataset: Dataset; readonly files: readonly DataFile[] }> {
  const { files } = entry;
  if (files?.format !== "cifar") throw new Error(`${entry.name} has no CIFAR batches`);
  const { dataDir, readFile } = requireFolder(entry.name, options);
  const find = async (name: string): Promise<Found | undefined> => findFile(dataDir, name, readFile);
  const binary = await findBatches(files.binary, find);
  const python = isEmpty(binary) ? await findBatches(files.python, find) : undefined;
  const isPython = python !== undefined && !isEmpty(python);
  const [names, found] = isPython ? [files.python, python] : [files.binary, binary];
  if (!isPython && !isEmpty(binary) && (await find(files.python.test)) !== undefined) {
    options.log?.(
      `${entry.name}: ${dataDir} holds both the binary and the Python version; the binary one (${files.binary.test}) is read`,
    );
  }
  const { train, test } = complete(
    entry.name,
    dataDir,
    names,
    found,
    isPython || !isEmpty(binary) ? undefined : files.python,
  );
  const parse = isPython ? parsePythonBatch : parseBinaryBatch;
  const { kind } = files;
  const read = async (file: Found, published: number): Promise<{ file: DataFile; records: Records }> => {
    const unpacked = await unpackFound(file);
    const records = parse(unpacked.content, unpacked.path, kind);
    return { file: { ...unpacked, records: { count: records.labels.length, published } }, records };
  };
  const trainBatches = [];
  for (const file of train) trainBatches.push(await read(file, kind.records.train));
  const testBatch = await read(test, kind.records.test);
  const trainRecords = joined(trainBatches.map(({ records }) => records));
  const labels = Int32Array.from([...trainRecords.labels, ...testBatch.records.labels]);
  const trainCount = trainRecords.labels.length;
  const content = { name: entry.name, shape: CIFAR_SHAPE, classes: entry.classes, labels, trainCount };
  return {
    dataset: fromPixels(content, trainRecords.pixels, testBatch.records.pixels),
    files: [...trainBatches, testBatch].map(({ file }) => file),
  };
}

interface FoundBatches {
  /** Up to the first that is missing. */
  readonly train: readonly Found[];
  readonly test: Found | undefined;
  /** A training batch that stands behind a missing one. */
  readonly stray: string | undefined;
}

async function findBatches(
  names: CifarBatches,
  find: (name: string) => Promise<Found | undefined>,
): Promise<FoundBatches> {
  const train: Found[] = [];
  for (const name of names.train) {
    const found = await find(name);
    if (found === undefined) break;
    train.push(found);
  }
  let stray: string | undefined;
  for (const name of names.train.slice(train.length + 1)) stray ??= (await find(name))?.name;
  return { train, test: await find(names.test), stray };
}

function isEmpty({ train, test, stray }: FoundBatches): boolean {
  return train.length === 0 && test === undefined && stray === undefined;
}

function complete(
  dataset: string,
  dataDir: string,
  names: CifarBatches,
  { train, test, stray }: FoundBatches,
  others: CifarBatches | undefined,
): { readonly train: readonly Found[]; readonly test: Found } {
  if (stray !== undefined) {
    const lost = names.train[train.length] ?? "";
    throw new WidefieldError("E_DATA", `${dataset}: ${lost} is missing in ${dataDir}, but ${stray} is there`, {
      details: { dataDir, missing: [lost] },
    });
  }
  const missing = [...(train.length === 0 ? names.train.slice(0, 1) : []), ...(test === undefined ? [names.test] : [])];
  const instead = others && `the Python version's ${others.train[0] ?? ""} and ${others.test}`;
  requireNoneMissing(dataset, dataDir, missing, instead);
  if (test === undefined) throw new Error("missing files were not reported");
  return { train, test };
}

function parseBinaryBatch(content: Uint8Array, path: string, { classes, labelBytes, records }: CifarFormat): Records {
  const recordBytes = labelBytes + IMAGE_BYTES;
  const count = content.length / recordBytes;
  if (!Number.isInteger(count) || count === 0) {
    const below = Math.floor(count);
    throw new WidefieldError(
      "E_DATA",
      `${path}: ${content.length} bytes are no whole number of CIFAR records of ${recordBytes} bytes (${below} take ` +
        `${below * recordBytes}, ${below + 1} take ${(below + 1) * recordBytes}; a published batch has ${records.test}, ` +
        `which take ${records.test * recordBytes}): the file is cut short, or not of the binary version`,
      { details: { path, bytes: content.length, recordBytes } },
    );
  }
  const labels = new Uint8Array(count);
  const pixels = new Uint8Array(count * IMAGE_BYTES);
  for (let record = 0; record < count; record++) {
    const image = record * recordBytes + labelBytes;
    labels[record] = requireLabel(content[image - 1], record, path, classes);
    pixels.set(content.subarray(image, image + IMAGE_BYTES), record * IMAGE_BYTES);
  }
  return { labels, pixels };
}

function joined(parts: readonly Records[]): Records {
  const concat = (arrays: readonly Uint8Array[]): Uint8Array => {
    const all = new Uint8Array(arrays.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const array of arrays) {
      all.set(array, at);
      at += array.length;
    }
    return all;
  };
  return { labels: concat(parts.map(({ labels }) => labels)), pixels: concat(parts.map(({ pixels }) => pixels)) };
}
