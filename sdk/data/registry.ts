/**
 * The datasets that have names, and how to load one. Files are found through the caller's `readFile`, so that Node,
 * Deno and pages share this.
 */
import { closest, distance } from "fastest-levenshtein";
import { WidefieldError } from "../errors.ts";
import type { Dataset, ImageShape } from "./dataset.ts";
import { readCifarFolder } from "./cifar.ts";
import { CIFAR_10, CIFAR_100, type CifarFormat } from "./cifar-records.ts";
import { digits } from "./digits.ts";
import type { DataFile } from "./folder.ts";
import type { ReadFile } from "./idx.ts";
import { datasetOfFolder, readIdxFolder } from "./idx-folder.ts";
import { readNpyFolder } from "./npy-dataset.ts";
import { type LargeFiles, readSvhnFolder } from "./svhn.ts";

/** One half of a dataset: the names of its two files, without `.gz`. */
export interface IdxPart {
  readonly images: string;
  readonly labels: string;
}

/** A dataset that is the same for everybody. */
export interface PublishedDataset {
  readonly name: string;
  readonly title: string;
  readonly shape: ImageShape;
  readonly classes: number;
  /** As published; a folder may hold fewer images. */
  readonly trainCount: number;
  readonly testCount: number;
  /** Undefined: generated, needs no files. */
  readonly files?: IdxFiles | CifarFiles | SvhnFiles;
}

/** Arrays of one's own: what they are is known when they are read. */
export interface ArraysDataset {
  readonly name: string;
  readonly title: string;
  readonly shape?: undefined;
  readonly classes?: undefined;
  readonly trainCount?: undefined;
  readonly testCount?: undefined;
  readonly files: NpyFiles;
}

export type NamedDataset = PublishedDataset | ArraysDataset;

interface NpyFiles {
  readonly format: "npy";
  readonly train: IdxPart;
  /** May be absent. */
  readonly test: IdxPart;
}

interface Published {
  /** SHA-256 of the unpacked files as published, by name, where known. */
  readonly sha256: Readonly<Record<string, string>>;
}

interface IdxFiles extends Published {
  readonly format: "idx";
  readonly train: IdxPart;
  readonly test: IdxPart;
  /** True: a folder with test files only will do. The index space then starts with the test images. */
  readonly trainOptional: boolean;
}

interface CifarFiles extends Published {
  readonly format: "cifar";
  readonly kind: CifarFormat;
  readonly binary: CifarBatches;
  readonly python: CifarBatches;
}

/** The files of one of CIFAR's versions. */
export interface CifarBatches {
  /** In their order; a folder may hold the first few only. */
  readonly train: readonly string[];
  readonly test: string;
}

interface SvhnFiles extends Published {
  readonly format: "svhn";
  readonly train: string;
  /** More training images, behind those of `train`; may be absent. */
  readonly extra: string;
  readonly test: string;
  /** Images of the published files. */
  readonly records: { readonly train: number; readonly extra: number; readonly test: number };
}

const TRAIN: IdxPart = { images: "train-images-idx3-ubyte", labels: "train-labels-idx1-ubyte" };
const TEST: IdxPart = { images: "t10k-images-idx3-ubyte", labels: "t10k-labels-idx1-ubyte" };
const BATCHES = [1, 2, 3, 4, 5].map((batch) => `data_batch_${batch}`);
const GREY_28 = { channels: 1, height: 28, width: 28 } as const;
const SIZES = { shape: GREY_28, classes: 10, trainCount: 60_000, testCount: 10_000 } as const;

export const DATASETS: readonly NamedDataset[] = [
  {
    name: "mnist",
    title: "MNIST: handwritten digits",
    ...SIZES,
    files: {
      format: "idx",
      train: TRAIN,
      test: TEST,
      trainOptional: false,
      sha256: {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
      },
    },
  },
  {
    name: "fmnist",
    title: "Fashion-MNIST: photographs of clothes",
    ...SIZES,
    files: { format: "idx", train: TRAIN, test: TEST, trainOptional: false, sha256: {} },
  },
  {
    name: "notmnist",
    title: "notMNIST: letters A to J in many typefaces",
    ...SIZES,
    files: { format: "idx", train: TRAIN, test: TEST, trainOptional: true, sha256: {} },
  },
  {
    name: "cifar10",
    title: "CIFAR-10: photographs of ten things, binary or Python version",
    shape: { channels: 3, height: 32, width: 32 },
    classes: 10,
    trainCount: 50_000,
    testCount: 10_000,
    files: {
      format: "cifar",
      kind: CIFAR_10,
      binary: { train: BATCHES.map((batch) => `${batch}.bin`), test: "test_batch.bin" },
      python: { train: BATCHES, test: "test_batch" },
      sha256: {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
      },
    },
  },
  {
    name: "cifar100",
    title: "CIFAR-100: photographs of a hundred things, binary or Python version",
    shape: { channels: 3, height: 32, width: 32 },
    classes: 100,
    trainCount: 50_000,
    testCount: 10_000,
    files: {
      format: "cifar",
      kind: CIFAR_100,
      binary: { train: ["train.bin"], test: "test.bin" },
      python: { train: ["train"], test: "test" },
      sha256: {
        "train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
        "test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
      },
    },
  },
  {
    name: "svhn",
    title: "SVHN: house numbers, cropped to their digits; train and extra are its training images",
    shape: { channels: 3, height: 32, width: 32 },
    classes: 10,
    trainCount: 604_388,
    testCount: 26_032,
    files: {
      format: "svhn",
      train: "train_32x32.mat",
      extra: "extra_32x32.mat",
      test: "test_32x32.mat",
      records: { train: 73_257, extra: 531_131, test: 26_032 },
      sha256: {
        "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        "extra_32x32.mat": "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
        "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
      },
    },
  },
  { name: "digits", title: "synthetic digits, made from a seed", ...SIZES },
  {
    name: "npy",
    title: "your own NumPy arrays: images (n, h, w), (n, c, h, w) or (n, d), integer labels (n,)",
    files: {
      format: "npy",
      train: { images: "train-images.npy", labels: "train-labels.npy" },
      test: { images: "test-images.npy", labels: "test-labels.npy" },
    },
  },
];

export interface LoadOptions {
  /** The folder (or URL) that holds the files. */
  readonly dataDir?: string;
  /** Required for datasets of files: `readFileFromDisk`, or one that fetches. */
  readonly readFile?: ReadFile;
  /** `nodeFiles()` in Node and Deno: SVHN's files, which are large, are then read in pieces, never one as a whole. */
  readonly files?: LargeFiles;
  /** Takes a line about what was found in the folder: both versions of CIFAR-10, say. */
  readonly log?: (line: string) => void;
  /** For generated datasets; default 0. */
  readonly seed?: number;
}

/**
 * The entry of a name, whatever its case.
 *
 * @throws WidefieldError E_CONFIG with the known names, and the nearest if one is near
 */
export function findDataset(name: string): NamedDataset {
  return findNamed(name, DATASETS, "dataset is named");
}

/** The same for any list of things with names; `called` makes the message: "no dataset is named ...". */
export function findNamed<T extends { readonly name: string }>(name: string, list: readonly T[], called: string): T {
  const wanted = name.toLowerCase();
  const found = list.find((entry) => entry.name === wanted);
  if (found !== undefined) return found;
  const names = list.map((entry) => entry.name);
  const nearest = nearestName(wanted, names);
  const guess = nearest === undefined ? "" : `; did you mean "${nearest}"?`;
  throw new WidefieldError("E_CONFIG", `no ${called} "${name}" (there are ${names.join(", ")})${guess}`, {
    details: { name, names, nearest },
  });
}

/** What was meant, perhaps: the nearest of some names, if it is near. */
export function nearestName(wanted: string, names: readonly string[]): string | undefined {
  const candidate = closest(wanted, [...names]);
  return distance(wanted, candidate) <= candidate.length / 2 ? candidate : undefined;
}

/**
 * Loads a dataset by name.
 *
 * @throws WidefieldError E_CONFIG (unknown name, no folder given), E_DATA (missing or malformed files), E_IO
 */
export async function loadDataset(name: string, options: LoadOptions = {}): Promise<Dataset> {
  const entry = findDataset(name);
  if (entry.files === undefined) return digits(options.seed === undefined ? {} : { seed: options.seed });
  return (await readFolder(entry, options)).dataset;
}

/** A dataset of files, and its files. Throws what `loadDataset` throws. */
export async function readFolder(
  entry: NamedDataset,
  options: LoadOptions,
): Promise<{ readonly dataset: Dataset; readonly files: readonly DataFile[] }> {
  // One's own arrays have no shape until they are read.
  if (entry.shape === undefined) return readNpyFolder(entry, options);
  if (entry.files?.format === "cifar") return readCifarFolder(entry, options);
  if (entry.files?.format === "svhn") return readSvhnFolder(entry, options);
  const folder = await readIdxFolder(entry, options);
  return { dataset: datasetOfFolder(entry, folder), files: [...(folder.train?.files ?? []), ...folder.test.files] };
}
