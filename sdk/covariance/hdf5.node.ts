/**
 * Kernel matrices from HDF5 files, such as the ones that `cnn-gp` (Garriga-Alonso et al. 2019) writes: datasets Kxx,
 * Kxvx and Kxtx, float32, of shape [1, n, m], in chunks, NaN where no worker has written; of Kxx only the blocks on one
 * side of the diagonal are computed.
 *
 * The library h5wasm (HDF5 itself, compiled to WebAssembly) reads the file through the runtime's own file system, block
 * by block, so the file may be larger than the memory. It is loaded when first needed.
 */
import type { Dataset, File, Group } from "h5wasm/node";
import { messageOf, WidefieldError } from "../errors.ts";
import { importMatrix, type ImportOptions, type ImportResult } from "./import.ts";
import { digestOf, type MatrixFile, mergedFiles } from "./matrix-file.ts";
import type { Files } from "../platform/files.ts";

/** What this file uses of the library. */
interface Library {
  readonly File: typeof File;
}

/** The library with its heap as it starts, and its chunk cache. */
const LIBRARY_BYTES = 32 * 2 ** 20;

/** Cross kernels of cnn-gp have training images in their columns; ours have them in their rows. */
const TURNED = new Set(["Kxvx", "Kxtx"]);

/** First bytes of an HDF5 file; a user block may stand before them, at 512, 1024, 2048, ... */
const SIGNATURE = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];

export interface Hdf5Options extends ImportOptions {
  /** Its path in the file; may be left out where there is only one matrix. */
  readonly dataset?: string | undefined;
  /** Further files with the same dataset, from other workers: an entry is the first file's that has it. */
  readonly merge?: readonly string[] | undefined;
}

export interface Hdf5Result extends ImportResult {
  readonly dataset: string;
  /** True for Kxvx and Kxtx: the store holds the transpose, with the training images in its rows. */
  readonly transposed: boolean;
}

let library: Promise<Library> | undefined;

async function load(): Promise<Library> {
  library ??= import("h5wasm/node").then(async (module) => {
    const hdf5 = await module.ready;
    // Without this, failures are printed on stderr and come back as handles that do not work.
    hdf5.activate_throwing_error_handler();
    return module;
  });
  return library;
}

/** Whether a file is HDF5, by its first bytes. */
export async function isHdf5(files: Files, path: string): Promise<boolean> {
  const file = await files.open(path);
  try {
    for (let at = 0; at + SIGNATURE.length <= file.bytes && at <= 2 ** 20; at = at === 0 ? 512 : 2 * at) {
      const bytes = new Uint8Array(SIGNATURE.length);
      await file.read(bytes, at);
      if (SIGNATURE.every((byte, index) => bytes[index] === byte)) return true;
    }
    return false;
  } finally {
    await file.close();
  }
}

/**
 * Imports a dataset of shape [n, m] or [1, n, m] into the store at `to`. A square matrix whose two sides agree up to
 * rounding, where both are there, is stored as symmetric: entries at or below the diagonal where they are there, their
 * mirror images elsewhere. Kxvx and Kxtx are transposed.
 *
 * Throws E_DATA for a file that HDF5 cannot read, a dataset that is none or no matrix, infinite values, and entries that
 * are in none of the files, which it counts; E_CONFIG where `dataset` is missing and there are several.
 */
export async function importHdf5(files: Files, from: string, to: string, options: Hdf5Options): Promise<Hdf5Result> {
  const opened: File[] = [];
  try {
    const parts: MatrixFile[] = [];
    let name = options.dataset;
    for (const path of [from, ...(options.merge ?? [])]) {
      const file = await openFile(files, path);
      opened.push(file);
      const found = matrixOf(files, path, file, name);
      parts.push(found.matrix);
      name = found.name;
    }
    const merged = mergedFiles(parts as [MatrixFile, ...MatrixFile[]]);
    const dataset = name ?? "";
    const transposed = TURNED.has(dataset);
    const matrix = transposed ? { ...merged, cross: true } : merged;
    const result = await importMatrix(files, matrix, to, options, transposed);
    return { ...result, dataset, transposed };
  } finally {
    for (const file of opened) file.close();
  }
}

async function openFile(files: Files, path: string): Promise<File> {
  // For the errors of the file system in our words; the library's are about its inner layers.
  await (await files.open(path)).close();
  const { File } = await load();
  try {
    return new File(path, "r");
  } catch (cause) {
    throw refused(path, `HDF5 cannot read it: ${reasonOf(cause)}`, cause);
  }
}

function matrixOf(
  files: Files,
  path: string,
  file: File,
  asked: string | undefined,
): { readonly matrix: MatrixFile; readonly name: string } {
  const datasets = asked === undefined ? datasetsOf(file) : named(file, asked.replace(/^\//, ""));
  const matrices = datasets.filter(({ dataset }) => matrixShape(dataset) !== undefined);
  const listed = matrices.length === 0 ? "none that is a matrix" : matrices.map(({ name }) => name).join(", ");
  if (asked === undefined && matrices.length > 1)
    throw new WidefieldError("E_CONFIG", `${path} holds several matrices: choose one with --dataset, of ${listed}`);
  const found = asked === undefined ? matrices[0] : datasets.find(({ name }) => name === asked.replace(/^\//, ""));
  if (found === undefined)
    throw refused(
      path,
      asked === undefined ? `it holds no matrix; ${contents(file)}` : `it has no dataset ${asked}; it has ${listed}`,
    );
  const size = matrixShape(found.dataset);
  const place = `${path}/${found.name}`;
  if (size === undefined)
    throw refused(place, `its shape is ${shapeOf(found.dataset)}, not (n, m) or (1, n, m); ${contents(file)}`);
  return { name: found.name, matrix: datasetMatrix(files, place, path, found, size) };
}

/** What there is to choose from: "the file has Kv_diag (8), Kxx (1, 8, 8)". */
function contents(file: File): string {
  const all = datasetsOf(file).map(({ name, dataset }) => `${name} ${shapeOf(dataset)}`);
  return all.length === 0 ? "the file has no datasets" : `the file has ${all.join(", ")}`;
}

function shapeOf({ shape }: Dataset): string {
  return `(${(shape ?? []).join(", ")})`;
}

interface Named {
  readonly name: string;
  readonly dataset: Dataset;
}

/** Groups within groups are looked into so deep: links may make a circle. */
const DEEPEST = 8;

/** The dataset of a path, or, for the message that there is none, all there are. */
function named(file: File, name: string): Named[] {
  const entity = file.get(name);
  return entity !== null && "type" in entity && (entity.type as string) === "Dataset"
    ? [{ name, dataset: entity as Dataset }]
    : datasetsOf(file);
}

/** All datasets, those in groups included, by their paths. */
function datasetsOf(group: Group, prefix = "", depth = 0): Named[] {
  if (depth > DEEPEST) return [];
  return group.keys().flatMap((key) => {
    const name = `${prefix}${key}`;
    const entity = group.get(key);
    if (entity === null || !("type" in entity)) return [];
    // The classes are the library's, which is not loaded statically: hence no instanceof.
    const type: string = entity.type;
    if (type === "Dataset") return [{ name, dataset: entity as Dataset }];
    return type === "Group" ? datasetsOf(entity as Group, `${name}/`, depth + 1) : [];
  });
}

interface Size {
  readonly rows: number;
  readonly columns: number;
}

/** [n, m] and [1, n, m] are matrices. */
function matrixShape({ shape }: Dataset): Size | undefined {
  const [rows = 0, columns = 0, ...more] = shape?.length === 3 && shape[0] === 1 ? shape.slice(1) : (shape ?? []);
  return shape === null || more.length > 0 || rows === 0 || columns === 0 ? undefined : { rows, columns };
}

/** Filters of chunks that the library has: deflate (gzip), shuffle, Fletcher's checksum, n-bit, scale and offset. */
const FILTERS = new Set([1, 2, 3, 5, 6]);

/** Others that h5py and PyTables write, by their registered numbers. */
const FILTER_NAMES: Readonly<Record<number, string>> = {
  4: "szip",
  32000: "lzf",
  32001: "blosc",
  32004: "lz4",
  32008: "bitshuffle",
  32015: "zstd",
};

/** Types of values that are read, and those of the other byte order. */
const TYPES = new Set(["<f", "<d"]);
const BIG_ENDIAN: Readonly<Record<string, string>> = { ">f": "<f4", ">d": "<f8" };

/** Why a dataset's values cannot be read here, and what to do about it; undefined where they can. */
export function unreadable({ dtype, filters }: Pick<Dataset, "dtype" | "filters">): string | undefined {
  const type = typeof dtype === "string" ? dtype : JSON.stringify(dtype);
  const turned = BIG_ENDIAN[type];
  if (turned !== undefined)
    return `its values are big-endian, and not read here: write them as little-endian (in h5py, with dtype="${turned}")`;
  if (!TYPES.has(type)) return `its values are of type "${type}", not float32 or float64`;
  const filter = filters.find(({ id }) => !FILTERS.has(id));
  if (filter === undefined) return undefined;
  const name = FILTER_NAMES[filter.id] ?? `filter ${filter.id}`;
  return (
    `its chunks are packed with ${name}, which is not read here: ` +
    `write it with gzip or not packed at all (in h5py, with compression="gzip" or none)`
  );
}

function datasetMatrix(files: Files, path: string, file: string, { name, dataset }: Named, size: Size): MatrixFile {
  const reason = unreadable(dataset);
  if (reason !== undefined) throw refused(path, reason);
  const dtype = dataset.dtype === "<f" ? "float32" : "float64";
  const leading: [number, number][] = dataset.shape?.length === 3 ? [[0, 1]] : [];
  const chunk = dataset.metadata.chunks?.at(-1) ?? 1024;
  return {
    path,
    ...size,
    dtype,
    // Whole chunks: a chunk that is too large for the library's cache is read again for every block that it is in.
    blockSize: chunk >= 1024 ? 1024 : chunk * Math.floor(1024 / chunk),
    gaps: true,
    // The file's alone would be the same for all its datasets.
    sha256: async () => digestOf([await files.sha256(file), name]),
    heldBytes: LIBRARY_BYTES,
    // In the library's heap, as it hands it out, and as float64.
    blockBytes: (rows, columns) => rows * columns * 24,
    block(rowBegin, rowEnd, columnBegin, columnEnd) {
      try {
        const values = dataset.slice([...leading, [rowBegin, rowEnd], [columnBegin, columnEnd]]);
        if (values instanceof Float64Array) return Promise.resolve(values);
        return Promise.resolve(Float64Array.from(values as Float32Array));
      } catch (cause) {
        const place = `rows ${rowBegin}:${rowEnd}, columns ${columnBegin}:${columnEnd}`;
        return Promise.reject(refused(path, `${place} cannot be read: ${reasonOf(cause)}`, cause));
      }
    },
  };
}

/** What the innermost of HDF5's layers said: "truncated file: eof = ...". The others only pass it on. */
function reasonOf(thrown: unknown): string {
  const message = messageOf(thrown);
  return [...message.matchAll(/ in \w+\(\): (.*)$/gm)].at(-1)?.[1] ?? message;
}

function refused(path: string, reason: string, cause?: unknown): WidefieldError {
  return new WidefieldError("E_DATA", `${path} cannot be imported: ${reason}`, { cause, details: { path } });
}
