/**
 * The images of one batch: cut, mirrored, normalised, in float32. Runs on workers and on the caller's thread alike, and
 * writes the same bits on both.
 */
import { WidefieldError } from "../errors.ts";
import { type Augmentation, type Cut, drawCut } from "./augment.ts";
import type { FileImages, MemoryImages } from "./batch-source.ts";
import { imageFloats } from "./dataset.ts";
import { decodeImage } from "./decode-image.ts";
import { byteTables, type Normalisation } from "./normalisation.ts";
import { Resizer } from "./resize.ts";

/** What decides the images of a batch, beside the source. */
export interface BatchRecipe {
  /** Of the images in the source, in their order. */
  readonly indices: Uint32Array;
  /** Of images in files: where each is. */
  readonly paths: readonly string[] | undefined;
  /** True: images are cut and mirrored at random. */
  readonly augment: boolean;
  readonly seed: number;
  readonly epoch: number;
  readonly normalisation: Normalisation;
  /** Images that cannot be used are left out and reported; false: the first of them is an error. */
  readonly skipBad: boolean;
}

export interface UnusableImage {
  /** In the batch as it was asked for. */
  readonly position: number;
  readonly path: string;
  readonly reason: string;
}

/** Reads a whole file. */
export type ReadImageFile = (path: string) => Promise<Uint8Array | undefined>;

/** An image as its numbers lie in memory: pixel (c, y, x) at `at` + c channelStep + y rowStep + x columnStep. */
export interface Raster {
  readonly data: Uint8Array | Float32Array;
  readonly at: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly channelStep: number;
  readonly rowStep: number;
  readonly columnStep: number;
}

const MIDDLE: Cut = { top: 0, left: 0, mirrored: false };
const NO_PADDING: Augmentation = { padding: 0, flip: false };

/** Prepares batches of one source; keeps what need not be made again for each. */
export class BatchPreparer {
  readonly #images: MemoryImages | FileImages;
  readonly #read: ReadImageFile;
  #constants: { readonly of: Normalisation; readonly values: PixelValues } | undefined;

  /** `read`: asked for images in files only. */
  constructor(images: MemoryImages | FileImages, read: ReadImageFile) {
    this.#images = images;
    this.#read = read;
  }

  /**
   * Writes the batch's images to `out`, [n, channels, height, width], from its front on.
   *
   * @param isCancelled asked between files: true ends the work, and what is written then is of no use
   * @returns the images that were left out, with `skipBad`; those after them stand closer to the front
   * @throws WidefieldError E_DATA, without `skipBad`, for an image that is missing, does not decode, or is too small; E_IO
   */
  async prepare(
    recipe: BatchRecipe,
    out: Float32Array,
    isCancelled: () => boolean = () => false,
  ): Promise<readonly UnusableImage[]> {
    const values = this.#valuesOf(recipe.normalisation);
    if (this.#images.kind === "files") return this.#fromFiles(this.#images, recipe, values, out, isCancelled);
    this.#fromMemory(this.#images, recipe, values, out);
    return [];
  }

  #valuesOf(normalisation: Normalisation): PixelValues {
    const { mean, std } = normalisation;
    const same = this.#constants?.of;
    if (same === undefined || String([mean, std]) !== String([same.mean, same.std]))
      this.#constants = { of: normalisation, values: { mean, std, tables: byteTables(normalisation) } };
    return this.#constants?.values ?? { mean, std, tables: [] };
  }

  #fromMemory(images: MemoryImages, recipe: BatchRecipe, values: PixelValues, out: Float32Array): void {
    const { indices, augment, seed, epoch } = recipe;
    const { padding, flip } = (augment ? images.augmentation : undefined) ?? NO_PADDING;
    const { rasterOf, side } = memoryRasters(images);
    const { channels, height, width } = images.shape;
    const [rows, columns] = side === undefined ? [height, width] : [side, side];
    const random = padding > 0 || flip;
    const range = { rows: 2 * padding, columns: 2 * padding, flip };
    for (let row = 0; row < indices.length; row++) {
      const index = indices[row] ?? 0;
      const cut = random ? drawCut(seed, epoch, index, range) : MIDDLE;
      writeCut(rasterOf(index), cut, padding, [rows, columns], values, out, row * channels * rows * columns);
    }
  }

  async #fromFiles(
    { crop }: FileImages,
    { indices, paths = [], augment, seed, epoch, skipBad }: BatchRecipe,
    values: PixelValues,
    out: Float32Array,
    isCancelled: () => boolean,
  ): Promise<readonly UnusableImage[]> {
    const bad: UnusableImage[] = [];
    let written = 0;
    // The next file is read while one is decoded.
    let reading = settled(this.#read(paths[0] ?? ""));
    for (let position = 0; position < indices.length && !isCancelled(); position++) {
      const path = paths[position] ?? "";
      const { bytes, error } = await reading;
      if (position + 1 < indices.length) reading = settled(this.#read(paths[position + 1] ?? ""));
      const raster = error ?? rasterOfFile(bytes, crop);
      if (typeof raster === "string") {
        if (!skipBad) throw unusable(path, raster);
        bad.push({ position, path, reason: raster });
        continue;
      }
      if (raster instanceof Error) throw raster;
      const range = { rows: raster.height - crop, columns: raster.width - crop, flip: true };
      const cut = augment
        ? drawCut(seed, epoch, indices[position] ?? 0, range)
        : { top: Math.round(range.rows / 2), left: Math.round(range.columns / 2), mirrored: false };
      writeCut(raster, cut, 0, [crop, crop], values, out, written * 3 * crop * crop);
      written++;
    }
    return bad;
  }
}

/** What pixels become: bytes by a table for each channel, floats by the formula. */
interface PixelValues extends Normalisation {
  readonly tables: readonly Float32Array[];
}

function memoryRasters({ shape, train, test, trainCount, resize }: MemoryImages): {
  readonly rasterOf: (index: number) => Raster;
  /** Where images are scaled. */
  readonly side: number | undefined;
} {
  const { channels, height, width } = shape;
  const floats = imageFloats(shape);
  const planes = (data: Raster["data"], at: number, rows: number, columns: number): Raster => ({
    data,
    at,
    channels,
    height: rows,
    width: columns,
    channelStep: rows * columns,
    rowStep: columns,
    columnStep: 1,
  });
  const placeOf = (index: number): [Raster["data"], number] =>
    index < trainCount ? [train, index * floats] : [test, (index - trainCount) * floats];
  if (resize === undefined) return { rasterOf: (index) => planes(...placeOf(index), height, width), side: undefined };
  const resizer = new Resizer(height, width, resize);
  const scaled = new Uint8Array(channels * resize * resize);
  return {
    side: resize,
    rasterOf: (index) => {
      const [data, at] = placeOf(index);
      if (!(data instanceof Uint8Array)) throw new Error("only bytes are scaled");
      for (let channel = 0; channel < channels; channel++)
        resizer.plane(data, at + channel * height * width, scaled, channel * resize * resize);
      return planes(scaled, 0, resize, resize);
    },
  };
}

/** A file's content, or what kept it from being read. */
async function settled(
  reading: Promise<Uint8Array | undefined>,
): Promise<{ readonly bytes?: Uint8Array | undefined; readonly error?: Error }> {
  return reading.then(
    (bytes) => ({ bytes }),
    (thrown: unknown) => ({ error: thrown instanceof Error ? thrown : new Error(String(thrown)) }),
  );
}

/** The image, or why it cannot be used. */
function rasterOfFile(bytes: Uint8Array | undefined, crop: number): Raster | string {
  if (bytes === undefined) return "there is no such file";
  const raster = decodeImage(bytes);
  if (typeof raster === "string") return raster;
  const { height, width } = raster;
  if (height >= crop && width >= crop) return raster;
  return `it has ${height} x ${width} pixels, fewer than the ${crop} x ${crop} that are cut out of it`;
}

function unusable(path: string, reason: string): WidefieldError {
  return new WidefieldError(
    "E_DATA",
    `${path}: this image cannot be used: ${reason}; repair or remove the file, or leave such images out (--skip-bad)`,
    { details: { path, reason } },
  );
}

/** Writes [channels, rows, columns] of a padded image, normalised; the padding is black. */
function writeCut(
  { data, at, channels, height, width, channelStep, rowStep, columnStep }: Raster,
  { top, left, mirrored }: Cut,
  padding: number,
  [rows, columns]: readonly [number, number],
  { mean, std, tables }: PixelValues,
  out: Float32Array,
  offset: number,
): void {
  // Column c of the part is column left + c - padding of the image, or of the part read backwards where it is mirrored.
  const first = left - padding;
  const step = mirrored ? -1 : 1;
  const start = mirrored ? first + columns - 1 : first;
  // Columns of the part that lie in the image: from `low` on, and below `high`.
  const low = Math.max(0, mirrored ? start - width + 1 : -start);
  const high = Math.min(columns, mirrored ? start + 1 : width - start);
  for (let channel = 0; channel < channels; channel++) {
    const table = data instanceof Uint8Array ? tables[channel] : undefined;
    const centre = mean[channel] ?? NaN;
    const scale = std[channel] ?? NaN;
    const black = (0 - centre) / scale;
    for (let row = 0; row < rows; row++) {
      const to = offset + (channel * rows + row) * columns;
      const y = top + row - padding;
      const inside = y >= 0 && y < height && low < high;
      out.fill(black, to, to + (inside ? low : columns));
      if (!inside) continue;
      out.fill(black, to + high, to + columns);
      const line = at + channel * channelStep + y * rowStep;
      let from = line + (start + step * low) * columnStep;
      if (table === undefined) {
        for (let column = low; column < high; column++, from += step * columnStep)
          out[to + column] = ((data[from] ?? NaN) - centre) / scale;
      } else {
        for (let column = low; column < high; column++, from += step * columnStep)
          out[to + column] = table[data[from] ?? 0] ?? NaN;
      }
    }
  }
}
