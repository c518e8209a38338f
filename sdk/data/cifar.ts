/**
 * CIFAR-10 in its binary version (A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009): records
 * of a label and 3 x 32 x 32 bytes, red, green and blue planes one after the other. Training images are in
 * data_batch_1.bin to data_batch_5.bin, of which a folder may hold the first few only, test images in test_batch.bin.
 */
import { WidefieldError } from "../errors.ts";
import { type Dataset, fromPixels } from "./dataset.ts";
import { type DataFile, findFile, type FolderOptions, requireFolder, requireNoneMissing } from "./folder.ts";
import { gunzip, isGzip } from "./gzip.ts";
import type { NamedDataset } from "./registry.ts";

const SHAPE = { channels: 3, height: 32, width: 32 } as const;
const IMAGE_BYTES = 3 * 32 * 32;
/** Of a label and its image. */
export const RECORD_BYTES = 1 + IMAGE_BYTES;

interface Records {
  readonly labels: Uint8Array;
  /** count x 3 x 32 x 32. */
  readonly pixels: Uint8Array;
}

/**
 * Reads the batches of a folder.
 *
 * @throws WidefieldError E_CONFIG without a folder or a way to read it; E_DATA for missing batches, for files that are no
 *   whole number of records and for labels beyond 9
 */
export async function readCifarFolder(
  entry: NamedDataset,
  options: FolderOptions,
): Promise<{ readonly dataset: Dataset; readonly files: readonly DataFile[] }> {
  const { files } = entry;
  if (files?.format !== "cifar") throw new Error(`${entry.name} has no CIFAR batches`);
  const { dataDir, readFile } = requireFolder(entry.name, options);
  const train: DataFile[] = [];
  for (const name of files.train) {
    const found = await findFile(dataDir, name, readFile);
    if (found === undefined) break;
    train.push(await unpack(found));
  }
  for (const name of files.train.slice(train.length + 1)) {
    if ((await findFile(dataDir, name, readFile)) === undefined) continue;
    const lost = files.train[train.length] ?? "";
    throw new WidefieldError("E_DATA", `${entry.name}: ${lost} is missing in ${dataDir}, but ${name} is there`, {
      details: { dataDir, missing: [lost] },
    });
  }
  const found = await findFile(dataDir, files.test, readFile);
  const [first] = files.train;
  const missing = [...(train.length === 0 && first !== undefined ? [first] : []), ...(found ? [] : [files.test])];
  requireNoneMissing(entry.name, dataDir, missing);
  if (found === undefined) throw new Error("missing files were not reported");
  const test = await unpack(found);
  const parts = { train: joined(train.map(parse)), test: parse(test) };
  const labels = Int32Array.from([...parts.train.labels, ...parts.test.labels]);
  const trainCount = parts.train.labels.length;
  const content = { name: entry.name, shape: SHAPE, classes: entry.classes, labels, trainCount };
  return { dataset: fromPixels(content, parts.train.pixels, parts.test.pixels), files: [...train, test] };
}

async function unpack({ name, path, bytes }: { name: string; path: string; bytes: Uint8Array }): Promise<DataFile> {
  return { name, path, content: isGzip(bytes) ? await gunzip(bytes, path) : bytes };
}

function parse({ path, content }: DataFile): Records {
  const count = content.length / RECORD_BYTES;
  if (!Number.isInteger(count) || count === 0) {
    throw new WidefieldError(
      "E_DATA",
      `${path}: ${content.length} bytes are no whole number of CIFAR records of ${RECORD_BYTES} bytes: ` +
        "the file is cut short, or not of the binary version",
      { details: { path, bytes: content.length } },
    );
  }
  const labels = new Uint8Array(count);
  const pixels = new Uint8Array(count * IMAGE_BYTES);
  for (let record = 0; record < count; record++) {
    const at = record * RECORD_BYTES;
    const label = content[at] ?? Number.NaN;
    if (!(label < 10))
      throw new WidefieldError("E_DATA", `${path}: record ${record} has label ${label}; labels are 0 to 9`, {
        details: { path, record, label },
      });
    labels[record] = label;
    pixels.set(content.subarray(at + 1, at + RECORD_BYTES), record * IMAGE_BYTES);
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
