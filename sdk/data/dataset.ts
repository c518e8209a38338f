/**
 * Datasets: labelled images with one index space, training images first and then test images (MNIST: 0..59999 and
 * 60000..69999). Images stay as they came (bytes, floats, or a function that makes them) and become float32 when a
 * range is asked for: MNIST is 55 MB, not 220.
 */
import { WidefieldError } from "../errors.ts";
import { sha256 } from "../platform/digest.ts";
import { checkRanges, countOf, indicesOf, parseRanges, type Ranges } from "./ranges.ts";

export interface ImageShape {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Images row by row, [n, channels * height * width]: bytes, which stand for byte / 255, or floats as they are. */
export type Pixels = Uint8Array | Float32Array | Float64Array;

export interface Selection<
  T extends Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> = Float32Array<ArrayBuffer>,
> {
  /** [n, channels * height * width]; in [0, 1] unless the dataset was given other floats. */
  readonly images: T;
  readonly shape: ImageShape;
  readonly labels: Int32Array<ArrayBuffer>;
  /** Where each row stands in the dataset. */
  readonly indices: Uint32Array<ArrayBuffer>;
}

/** Images in memory, in two parts; bytes stand for byte / 255. */
export interface StoredPixels {
  /** [trainCount, channels * height * width]. */
  readonly train: Pixels;
  /** [testCount, channels * height * width]. */
  readonly test: Pixels;
}

/** What makes a Dataset. */
export interface DatasetContent {
  readonly name: string;
  readonly shape: ImageShape;
  readonly classes: number;
  readonly trainCount: number;
  readonly testCount: number;
  /** Of all images, in 0..classes-1. */
  readonly labels: Int32Array;
  /** Writes image `index` to out[offset .. offset + channels * height * width - 1]. */
  readonly writeImage: (index: number, out: Float32Array | Float64Array, offset: number) => void;
  /** Of memory that the images take; default: 0, made when they are asked for. */
  readonly bytes?: number | undefined;
  /** The images themselves, where they lie in memory as they came. */
  readonly pixels?: StoredPixels | undefined;
  /** Hexadecimal SHA-256 that stands for shape, images and labels; asked for once at most. */
  readonly digest: () => Promise<string>;
}

export class Dataset {
  readonly name: string;
  readonly shape: ImageShape;
  readonly classes: number;
  readonly trainCount: number;
  readonly testCount: number;
  /** Of all images, training images first; in 0..classes-1. */
  readonly labels: Int32Array;
  /** Bytes of memory that the images take; 0 where they are made when they are asked for. */
  readonly bytes: number;
  /** Undefined where images are made when they are asked for. Not to be written to. */
  readonly pixels: StoredPixels | undefined;
  readonly #writeImage: DatasetContent["writeImage"];
  readonly #digest: DatasetContent["digest"];
  #sha256: Promise<string> | undefined;

  constructor(content: DatasetContent) {
    this.name = content.name;
    this.shape = content.shape;
    this.classes = content.classes;
    this.trainCount = content.trainCount;
    this.testCount = content.testCount;
    this.labels = content.labels;
    this.bytes = content.bytes ?? 0;
    this.pixels = content.pixels;
    this.#writeImage = content.writeImage;
    this.#digest = content.digest;
  }

  /** Number of images, training and test. */
  get count(): number {
    return this.trainCount + this.testCount;
  }

  /** Floats of one image. */
  get imageFloats(): number {
    return imageFloats(this.shape);
  }

  /** The range of training images; empty where there are none. */
  get train(): Ranges {
    return this.trainCount === 0 ? [] : [{ start: 0, end: this.trainCount }];
  }

  /** The range of test images; empty where there are none. */
  get test(): Ranges {
    return this.testCount === 0 ? [] : [{ start: this.trainCount, end: this.count }];
  }

  /**
   * Images and labels of some ranges, in the order of the list, as fresh arrays.
   *
   * @throws WidefieldError E_RANGE
   */
  select(ranges: Ranges | string): Selection {
    return this.#fill(ranges, (floats) => new Float32Array(floats));
  }

  /**
   * The same with the pixels in float64: byte / 255 to the last bit, for kernels in float64.
   *
   * @throws WidefieldError E_RANGE
   */
  selectFloat64(ranges: Ranges | string): Selection<Float64Array<ArrayBuffer>> {
    return this.#fill(ranges, (floats) => new Float64Array(floats));
  }

  /**
   * Writes one image to out[offset .. offset + imageFloats - 1].
   *
   * @throws WidefieldError E_RANGE where this dataset was opened without it; RangeError for no index of the dataset
   */
  writeImage(index: number, out: Float32Array | Float64Array, offset: number): void {
    if (!(index >= 0 && index < this.count)) throw new RangeError(`${this.name} has no image ${index}`);
    this.#writeImage(index, out, offset);
  }

  #fill<T extends Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>>(
    ranges: Ranges | string,
    allocate: (floats: number) => T,
  ): Selection<T> {
    const checked =
      typeof ranges === "string"
        ? parseRanges(ranges, this.count, this.name)
        : checkRanges(ranges, this.count, this.name);
    const n = countOf(checked);
    const indices = indicesOf(checked);
    const images = allocate(n * this.imageFloats);
    const labels = new Int32Array(n);
    indices.forEach((index, row) => {
      this.#writeImage(index, images, row * this.imageFloats);
      // checkRanges: every index is below count, which is the number of labels.
      labels[row] = this.labels[index] ?? NaN;
    });
    return { images, shape: this.shape, labels, indices };
  }

  /**
   * Stands for the content (shape, counts, images, labels): it goes into manifests, so that a kernel matrix is never
   * used with other data. It depends neither on the name nor on how files were packed.
   */
  async sha256(): Promise<string> {
    this.#sha256 ??= this.#digest();
    return this.#sha256;
  }
}

export interface ArrayContent {
  /** Default "arrays". */
  readonly name?: string;
  readonly shape: ImageShape;
  /** [n, channels * height * width]; floats may be any finite numbers, bytes stand for byte / 255. Not copied. */
  readonly images: Pixels;
  /** n class numbers. */
  readonly labels: ArrayLike<number>;
  /** Default: the largest label + 1. */
  readonly classes?: number;
  /** The first so many images are training images, the others test images. Default: all. */
  readonly trainCount?: number;
}

/**
 * A dataset of one's own.
 *
 * @throws WidefieldError E_SHAPE where sizes do not fit together, E_DATA where a pixel is NaN or infinite or a label is
 *   not a class, each with its index
 */
export function fromArrays(content: ArrayContent): Dataset {
  const { name = "arrays", shape, images } = content;
  const pixels = imageFloats(shape);
  if (Object.values<number>({ ...shape }).some((size) => !Number.isInteger(size) || size < 1)) {
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: channels, height and width must be positive, not ${shapeText(shape)}`,
    );
  }
  const labels = Int32Array.from(content.labels);
  const count = labels.length;
  if (images.length !== count * pixels) {
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: ${count} labels and images of ${shapeText(shape)} = ${pixels} numbers need ${count * pixels} numbers, ` +
        `not ${images.length} (${images.length / pixels} images)`,
      { details: { labels: count, numbers: images.length, imageFloats: pixels } },
    );
  }
  if (!(images instanceof Uint8Array)) checkFinite(images, shape, name);
  const classes = content.classes ?? labels.reduce((largest, label) => Math.max(largest, label), -1) + 1;
  for (let i = 0; i < count; i++) {
    const label = content.labels[i] ?? NaN;
    if (Number.isInteger(label) && label >= 0 && label < classes) continue;
    throw new WidefieldError("E_DATA", `${name}: label ${i} is ${label}, not an integer in 0..${classes - 1}`, {
      details: { index: i, label, classes },
    });
  }
  const trainCount = content.trainCount ?? count;
  if (!Number.isInteger(trainCount) || trainCount < 0 || trainCount > count) {
    throw new WidefieldError("E_SHAPE", `${name}: trainCount is ${trainCount}, and there are ${count} images`);
  }
  const split = trainCount * pixels;
  return fromPixels({ name, shape, classes, labels, trainCount }, images.subarray(0, split), images.subarray(split));
}

/**
 * A dataset of arrays that are known to be right: `labels` covers both parts, each of whole images of one type.
 *
 * Its digest is the SHA-256 of a line of JSON (pixel type, shape, classes, counts) followed by the hexadecimal SHA-256
 * of the training images, of the test images and of all labels (little-endian int32), a line each: no copy of the data
 * is needed, and `sha256sum` can check it. An array beyond a gibibyte has a line for every gibibyte of it: WebCrypto
 * takes a piece whole, and copies it.
 */
export function fromPixels(
  content: Pick<Dataset, "name" | "shape" | "classes" | "labels" | "trainCount">,
  train: Pixels,
  test: Pixels,
): Dataset {
  const { shape, classes, labels, trainCount } = content;
  const size = imageFloats(shape);
  const testCount = labels.length - trainCount;
  const scale = (pixels: Pixels) => (pixels instanceof Uint8Array ? 255 : 1);
  return new Dataset({
    ...content,
    testCount,
    bytes: train.byteLength + test.byteLength,
    pixels: { train, test },
    writeImage: (index, out, offset) => {
      const [part, row] = index < trainCount ? [train, index] : [test, index - trainCount];
      const divisor = scale(part);
      // Divided, not multiplied by 1/255: the correctly rounded quotient is what the papers' loaders give.
      for (let i = 0; i < size; i++) out[offset + i] = (part[row * size + i] ?? NaN) / divisor;
    },
    digest: async () => {
      const { channels, height, width } = shape;
      const head = JSON.stringify({
        pixels: pixelType(train),
        channels,
        height,
        width,
        classes,
        trainCount,
        testCount,
      });
      const parts: string[] = [];
      for (const bytes of [train, test, labels].map(bytesOf)) {
        for (let at = 0; at === 0 || at < bytes.length; at += DIGEST_BYTES)
          parts.push(await sha256(bytes.subarray(at, at + DIGEST_BYTES)));
      }
      return sha256([head, ...parts].join("\n"));
    },
  });
}

/** Of a line of a digest. */
const DIGEST_BYTES = 2 ** 30;

/** "uint8", "float32" or "float64". */
export function pixelType(pixels: Pixels): string {
  if (pixels instanceof Uint8Array) return "uint8";
  return pixels instanceof Float32Array ? "float32" : "float64";
}

function bytesOf(array: Pixels | Int32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

export function imageFloats({ channels, height, width }: ImageShape): number {
  return channels * height * width;
}

/** "28 x 28", "3 x 32 x 32". */
export function shapeText({ channels, height, width }: ImageShape): string {
  return channels === 1 ? `${height} x ${width}` : `${channels} x ${height} x ${width}`;
}

/**
 * Refuses NaN and infinities, which a kernel would spread over whole rows of a matrix.
 *
 * @throws WidefieldError E_DATA with the index of the image and of the pixel
 */
export function checkFinite(images: Float32Array | Float64Array, shape: ImageShape, name: string): void {
  // A plain loop: findIndex calls a function for every pixel there is.
  let first = 0;
  while (first < images.length && Number.isFinite(images[first])) first++;
  if (first === images.length) return;
  const image = Math.floor(first / imageFloats(shape));
  const pixel = first % imageFloats(shape);
  const column = pixel % shape.width;
  const row = Math.floor(pixel / shape.width) % shape.height;
  const channel = Math.floor(pixel / (shape.width * shape.height));
  throw new WidefieldError(
    "E_DATA",
    `${name}: image ${image}, pixel ${pixel} (channel ${channel}, row ${row}, column ${column}) is ${images[first] ?? NaN}; ` +
      "every pixel must be a finite number",
    { details: { image, pixel, channel, row, column } },
  );
}
