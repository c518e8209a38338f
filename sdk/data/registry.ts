/**
 * The datasets that have names, and how to load one. Files are found through the caller's `readFile`, so that Node,
 * Deno and pages share this.
 */
import { WidefieldError } from "../errors.ts";
import type { Dataset, ImageShape } from "./dataset.ts";
import { digits } from "./digits.ts";
import type { ReadFile } from "./idx.ts";
import { datasetOfFolder, readIdxFolder } from "./idx-folder.ts";

/** One half of an IDX dataset: the names of its two files, without `.gz`. */
export interface IdxPart {
  readonly images: string;
  readonly labels: string;
}

export interface NamedDataset {
  readonly name: string;
  readonly title: string;
  readonly shape: ImageShape;
  readonly classes: number;
  /** As published; a folder may hold fewer images. */
  readonly trainCount: number;
  readonly testCount: number;
  /** Undefined: generated, needs no files. */
  readonly files?: {
    readonly train: IdxPart;
    readonly test: IdxPart;
    /** True: a folder with test files only will do. The index space then starts with the test images. */
    readonly trainOptional: boolean;
    /** SHA-256 of the unpacked files as published, by name, where known. */
    readonly sha256: Readonly<Record<string, string>>;
  };
}

const TRAIN: IdxPart = { images: "train-images-idx3-ubyte", labels: "train-labels-idx1-ubyte" };
const TEST: IdxPart = { images: "t10k-images-idx3-ubyte", labels: "t10k-labels-idx1-ubyte" };
const GREY_28 = { channels: 1, height: 28, width: 28 } as const;
const SIZES = { shape: GREY_28, classes: 10, trainCount: 60_000, testCount: 10_000 } as const;

export const DATASETS: readonly NamedDataset[] = [
  {
    name: "mnist",
    title: "MNIST: handwritten digits",
    ...SIZES,
    files: {
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
    files: { train: TRAIN, test: TEST, trainOptional: false, sha256: {} },
  },
  {
    name: "notmnist",
    title: "notMNIST: letters A to J in many typefaces",
    ...SIZES,
    files: { train: TRAIN, test: TEST, trainOptional: true, sha256: {} },
  },
  { name: "digits", title: "synthetic digits, made from a seed", ...SIZES },
];

export interface LoadOptions {
  /** The folder (or URL) that holds the files. */
  readonly dataDir?: string;
  /** Required for datasets of files: `readFileFromDisk`, or one that fetches. */
  readonly readFile?: ReadFile;
  /** For generated datasets; default 0. */
  readonly seed?: number;
}

/**
 * The entry of a name, whatever its case.
 *
 * @throws WidefieldError E_CONFIG with the known names, and the nearest if one is near
 */
export function findDataset(name: string): NamedDataset {
  const wanted = name.toLowerCase();
  const found = DATASETS.find((dataset) => dataset.name === wanted);
  if (found !== undefined) return found;
  const names = DATASETS.map((dataset) => dataset.name);
  const [nearest] = names
    .map((candidate) => ({ candidate, distance: editDistance(wanted, candidate) }))
    .filter(({ candidate, distance }) => distance <= candidate.length / 2)
    .sort((a, b) => a.distance - b.distance);
  const guess = nearest === undefined ? "" : `; did you mean "${nearest.candidate}"?`;
  throw new WidefieldError("E_CONFIG", `no dataset is named "${name}" (there are ${names.join(", ")})${guess}`, {
    details: { name, names, nearest: nearest?.candidate },
  });
}

/**
 * Loads a dataset by name.
 *
 * @throws WidefieldError E_CONFIG (unknown name, no folder given), E_DATA (missing or malformed files), E_IO
 */
export async function loadDataset(name: string, options: LoadOptions = {}): Promise<Dataset> {
  const entry = findDataset(name);
  if (entry.files === undefined) return digits(options.seed === undefined ? {} : { seed: options.seed });
  return datasetOfFolder(entry, await readIdxFolder(entry, options));
}

/** Levenshtein's distance: insertions, deletions and substitutions that turn one word into the other. */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substituted = (above[column - 1] ?? NaN) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(substituted, (above[column] ?? NaN) + 1, (current[column - 1] ?? NaN) + 1));
    }
    above = current;
  }
  return above[b.length] ?? NaN;
}
