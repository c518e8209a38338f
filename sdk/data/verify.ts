/** Reading a dataset from end to end, and saying what is in it and whether it is what was published. */
import type { Dataset, ImageShape } from "./dataset.ts";
import { SOURCES } from "./fetch-sources.ts";
import type { DataFile } from "./folder.ts";
import { findDataset, loadDataset, type LoadOptions, type NamedDataset, readFolder } from "./registry.ts";
import type { Ranges } from "./ranges.ts";

export interface PartReport {
  readonly count: number;
  /** Number of images of each class. */
  readonly labels: readonly number[];
  /** In [0, 1] where images are bytes, else what floats were given; undefined where there are no images. */
  readonly pixels: { readonly min: number; readonly max: number; readonly mean: number } | undefined;
}

export interface FileReport {
  readonly name: string;
  readonly path: string;
  /** Unpacked. */
  readonly bytes: number;
  /** Of the unpacked content. */
  readonly sha256: string;
  /** "unknown": no digest of the published file is known here, and nothing else speaks against it. */
  readonly published: "same" | "different" | "unknown";
  /** Of the published file as it is downloaded, packed, where only that is known and nothing here is compared with it. */
  readonly packedSha256?: string;
  /** Of CIFAR's batches and SVHN's files: how many images there are, and in the published file. */
  readonly records?: { readonly count: number; readonly published: number };
}

export interface VerifyReport {
  readonly name: string;
  readonly shape: ImageShape;
  readonly classes: number;
  readonly train: PartReport;
  readonly test: PartReport;
  /** Of the dataset: shape, images and labels. */
  readonly sha256: string;
  /** Empty for generated datasets. */
  readonly files: readonly FileReport[];
  /** What the reader of the folder had to say: that both versions of CIFAR-10 are there, say. */
  readonly notes: readonly string[];
}

/**
 * Reads everything of a dataset by name.
 *
 * @throws WidefieldError as `loadDataset`; a file that is well-formed but not the published one is in the report
 */
export async function verifyDataset(name: string, options: LoadOptions = {}): Promise<VerifyReport> {
  const entry = findDataset(name);
  const notes: string[] = [];
  const generated = entry.files === undefined;
  const { dataset, files } = generated
    ? { dataset: await loadDataset(name, options), files: [] }
    : await readFolder(entry, { ...options, log: (line) => void notes.push(line) });
  return {
    name: dataset.name,
    shape: dataset.shape,
    classes: dataset.classes,
    train: describePart(dataset, dataset.train),
    test: describePart(dataset, dataset.test),
    sha256: await dataset.sha256(),
    files: await Promise.all(files.map((file) => describeFile(entry, file))),
    notes,
  };
}

/** Images are looked at so many at a time: 13 MB of doubles for 28 x 28. */
const BATCH = 2048;

function describePart(dataset: Dataset, [range]: Ranges): PartReport {
  const labels = new Array<number>(dataset.classes).fill(0);
  if (range === undefined) return { count: 0, labels, pixels: undefined };
  let min = Infinity;
  let max = -Infinity;
  let mean = 0;
  const numbers = (range.end - range.start) * dataset.imageFloats;
  for (let start = range.start; start < range.end; start += BATCH) {
    const batch = dataset.selectFloat64([{ start, end: Math.min(start + BATCH, range.end) }]);
    for (const value of batch.images) {
      if (value < min) min = value;
      if (value > max) max = value;
      mean += value / numbers; // a sum of large ones would be infinite
    }
    for (const label of batch.labels) labels[label] = (labels[label] ?? 0) + 1;
  }
  const count = range.end - range.start;
  return { count, labels, pixels: { min, max, mean } };
}

async function describeFile(entry: NamedDataset, file: DataFile): Promise<FileReport> {
  const { name, path, bytes, records } = file;
  const digest = await file.sha256();
  const published = publishedAs(entry, file, digest);
  const packed = published === "unknown" ? packedDigest(entry, name) : undefined;
  const complete = records === undefined || records.count === records.published;
  return {
    name,
    path,
    bytes,
    sha256: digest,
    published: complete ? published : "different",
    ...(packed !== undefined && { packedSha256: packed }),
    ...(records && { records }),
  };
}

/** By the digest of the content, or of the file as it was downloaded where only that is known. */
function publishedAs(entry: NamedDataset, { name, packedSha256 }: DataFile, digest: string): FileReport["published"] {
  const known = entry.shape === undefined ? undefined : entry.files?.sha256[name];
  if (known !== undefined) return known === digest ? "same" : "different";
  // Packed again, the same content has another digest: that a file differs says nothing.
  const packed = packedDigest(entry, name);
  return packed !== undefined && packed === packedSha256 ? "same" : "unknown";
}

function packedDigest(entry: NamedDataset, name: string): string | undefined {
  const downloads = SOURCES.find((source) => source.name === entry.name)?.downloads ?? [];
  return downloads.find(({ file }) => file === `${name}.gz`)?.sha256;
}
