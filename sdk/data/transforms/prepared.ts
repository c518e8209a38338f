/**
 * Datasets whose images are computed from another's before they are used. Only the images that will be asked for are
 * computed and kept, in float64; what they are does not depend on which those are, and neither does the digest, which
 * stands for the source and the recipe.
 */
import { WidefieldError } from "../../errors.ts";
import { Breath } from "../../linalg/breath.ts";
import { sha256 } from "../../platform/digest.ts";
import { Dataset, imageFloats, type DatasetContent } from "../dataset.ts";
import { checkRanges, countOf, indicesOf, parseRanges, type Ranges } from "../ranges.ts";

export interface PrepareProgress {
  /** What is being made: "images", "spectra", "noise", "square root"; "skipping noise": what lies before that of the first image. */
  readonly label: string;
  readonly done: number;
  readonly total: number;
}

export interface PrepareOptions {
  /** All images that will be asked for; default: every image there is. */
  readonly ranges?: Ranges | string | undefined;
  /** Bytes that the images may take; default: 4 GiB. */
  readonly memoryBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PrepareProgress) => void) | undefined;
}

/** What a long pass needs of the options. */
export type PassOptions = Pick<PrepareOptions, "signal" | "onProgress"> & {
  /** For messages. */
  readonly name: string;
};

/** Where a dataset's own images stand among those kept. */
export interface Prepared {
  /** [kept, floats], in the order of their indices. */
  readonly rows: Float64Array<ArrayBuffer>;
  /** The row of an image. Throws E_RANGE for one that was not prepared. */
  readonly rowOf: (index: number) => number;
}

/**
 * Computes the images of the ranges, in the order of their indices, up to `batch` at a time: `make` writes image
 * indices[r] to out[r floats ..].
 *
 * @throws WidefieldError E_RANGE for the ranges, E_MEMORY where the images are too many to keep, E_ABORTED
 */
export async function prepare(
  dataset: { readonly name: string; readonly count: number; readonly floats: number },
  options: PrepareOptions,
  batch: number,
  make: (indices: Uint32Array, out: Float64Array) => void | Promise<void>,
): Promise<Prepared> {
  const { name, count, floats } = dataset;
  const ranges = rangesOf(options.ranges, count, name);
  const kept = countOf(ranges);
  const bytes = kept * floats * 8;
  const limit = memoryOf(options);
  requireRoom(name, `${kept} images take ${mib(bytes)} in float64`, bytes, limit);
  const indices = indicesOf(ranges).sort();
  const rows = new Float64Array(kept * floats);
  const breath = new Breath();
  for (let begin = 0; begin < kept; begin += batch) {
    throwIfAborted(name, options.signal);
    const end = Math.min(kept, begin + batch);
    await make(indices.subarray(begin, end), rows.subarray(begin * floats, end * floats));
    await breath.take();
    options.onProgress?.({ label: "images", done: end, total: kept });
  }
  const places = new Int32Array(count).fill(-1);
  indices.forEach((index, row) => (places[index] = row));
  return {
    rows,
    rowOf: (index) => {
      const row = places[index] ?? -1;
      if (row >= 0) return row;
      throw new WidefieldError(
        "E_RANGE",
        `${name}: image ${index} was not made; this dataset was opened for some images only: open it with ranges that ` +
          "hold every image that will be asked for",
        { details: { index } },
      );
    },
  };
}

/** A dataset of prepared images. `recipe`: everything but the source that decides what they are, for the digest. */
export function preparedDataset(
  content: Omit<DatasetContent, "writeImage" | "digest">,
  { rows, rowOf }: Prepared,
  source: { sha256(): Promise<string> } | undefined,
  recipe: Readonly<Record<string, unknown>>,
): Dataset {
  const floats = imageFloats(content.shape);
  return new Dataset({
    ...content,
    bytes: rows.byteLength + (content.bytes ?? 0),
    writeImage: (index, out, offset) => {
      const from = rowOf(index) * floats;
      out.set(rows.subarray(from, from + floats), offset);
    },
    digest: async () => sha256(JSON.stringify({ ...recipe, source: (await source?.sha256()) ?? null })),
  });
}

/** How many images the options ask for. Throws E_RANGE. */
export function keptOf(options: PrepareOptions, count: number, name: string): number {
  return countOf(rangesOf(options.ranges, count, name));
}

/** Bytes that may be used. */
export function memoryOf({ memoryBytes = 2 ** 32 }: PrepareOptions): number {
  return memoryBytes;
}

export function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

function rangesOf(ranges: Ranges | string | undefined, count: number, name: string): Ranges {
  if (ranges === undefined) return count === 0 ? [] : [{ start: 0, end: count }];
  return typeof ranges === "string" ? parseRanges(ranges, count, name) : checkRanges(ranges, count, name);
}

/** Throws E_MEMORY: `what` takes the memory. */
export function requireRoom(name: string, what: string, bytes: number, limit: number): void {
  if (bytes <= limit) return;
  throw new WidefieldError(
    "E_MEMORY",
    `${name}: ${what}, and ${mib(limit)} may be used: ask for fewer images, or raise the memory option`,
    { details: { requested: bytes, limit } },
  );
}

/** Throws E_ABORTED. */
export function throwIfAborted(name: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WidefieldError("E_ABORTED", `${name}: making the images was stopped`, { cause: signal.reason });
}

/** Ascending indices as ranges. */
export function runsOf(indices: Uint32Array): Ranges {
  const ranges: { start: number; end: number }[] = [];
  for (const index of indices) {
    const last = ranges.at(-1);
    if (last?.end === index) last.end++;
    else ranges.push({ start: index, end: index + 1 });
  }
  return ranges;
}
