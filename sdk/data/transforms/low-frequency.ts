/**
 * Noise in the low frequencies (Ghorbani, Mei, Misiakiewicz and Montanari, arXiv 2006.13409, appendix A): what a smooth kernel sees best
 * carries no information any more.
 *
 * The frequencies (i, j), i and j below a threshold, of an image's orthonormal DCT are replaced by those of a draw
 *
 *     m + C^(1/2) z,   z ~ N(0, I)
 *
 * with m and C mean and covariance (divided by n) of the training images' spectra, all channels jointly, and the symmetric
 * square root; the other frequencies stay. Then
 *
 * * a grey image, which was centred and scaled to norm sqrt(d) before its DCT, is left as the inverse DCT gives it;
 * * images of several channels, which came in 0..255, are standardised: each channel less its mean, over its standard
 *   deviation, both those of all pixels of all *noisy* training images.
 *
 * Those statistics need no noisy image to be made. By Parseval a plane's sum of squares is its spectrum's, and its sum is the
 * first entry times sqrt(hw). Outside the block the mean square of an entry is its variance plus its squared mean, which
 * the training spectra's moments hold; inside, it is that of m + C^(1/2) z over the n draws of the training images, which
 * the draws' own mean and covariance tell: one pass over all z, with a d x d matrix to keep.
 */
import type { Engine } from "../../engine/engine.ts";
import { WidefieldError } from "../../errors.ts";
import { RowProduct } from "../../linalg/row-products.ts";
import { dot } from "../../linalg/vectors.ts";
import { type Dataset, type ImageShape, shapeText } from "../dataset.ts";
import { type NoiseGenerator, NOISE_SEED, type NoiseRows, noiseRows } from "./noise-rows.ts";
import { prepare, preparedDataset, type PrepareOptions } from "./prepared.ts";
import { lastOf } from "./recent.ts";
import {
  type Moments,
  moments,
  type PassOptions,
  SPECTRA_BATCH,
  type SpectralGaussian,
  SpectrumReader,
  trainingGaussian,
} from "./spectra.ts";

/** The paper's thresholds for Fashion-MNIST: grey images of 28 x 28. */
export const GREY_THRESHOLDS: readonly number[] = Array.from({ length: 14 }, (_, level) => 2 * level + 1);
/** The paper's thresholds for CIFAR-10: colour images of 32 x 32. */
export const COLOUR_THRESHOLDS: readonly number[] = [0, 4, 8, 12, 14, 17, 19, 20, 22, 24, 25, 27, 28, 29, 30];

export interface LowFrequencyOptions extends PrepareOptions {
  /** Side of the block of frequencies that is replaced; 0: none. */
  readonly threshold: number;
  /** Default: counter. */
  readonly rng?: NoiseGenerator | undefined;
  /** Default: 2048. */
  readonly seed?: number | undefined;
  /** Of the dataset that is made. */
  readonly name?: string | undefined;
}

/** Part of the digest. Raise it with every change that changes a pixel by more than rounding. */
const VERSION = 1;

/**
 * A dataset with noise in the low frequencies of its training and test images. The same options give the same images,
 * whatever `ranges` are, up to the rounding of float64 on other machines. The Gaussian is that of all training images there are, also
 * where a folder holds fewer than were published.
 *
 * With `rng: "numpy"` the noise is the published one: `normal(size=(N, d))` for the N training images, then for the test
 * images; z is drawn channels last, as the published script holds CIFAR's images. N is the number of training images
 * there are, so with fewer of them the test images' noise is another part of the stream.
 *
 * Cost: n d^2 multiplications for the covariance of n training images, 9 d^3 for its square root (784 dimensions: a second; 3,072:
 * a minute), and for several channels n d^2 again for the statistics. An engine remembers the last of each, so that the
 * next threshold is cheap.
 *
 * @throws WidefieldError E_CONFIG for a threshold that is not a whole number up to the images' size, or for the seed; E_DATA
 *   without training images; E_RANGE, E_MEMORY, E_ABORTED
 */
export async function lowFrequencyNoise(
  engine: Engine,
  source: Dataset,
  options: LowFrequencyOptions,
): Promise<Dataset> {
  const { threshold, rng = "counter", seed = NOISE_SEED, name = `${source.name}-lf` } = options;
  requireThreshold(name, threshold, source.shape);
  if (source.trainCount === 0)
    throw new WidefieldError(
      "E_DATA",
      `${name}: the noise is that of the training images' spectra, and there are none`,
    );
  const pass: PassOptions = { name, signal: options.signal, onProgress: options.onProgress };
  const floats = source.imageFloats;
  const reader = new SpectrumReader(source);
  const noise = planarRows(noiseRows(rng, seed, "noise.low-frequency", floats), rng, source.shape);
  const digest = await source.sha256();
  const gaussian = await lastOf(engine, "gaussian", digest, () => trainingGaussian(engine, reader, pass));
  const block = new Block(engine, gaussian, source.shape, threshold, noise);
  try {
    const standard =
      source.shape.channels === 1 ? undefined : await standardOf(engine, block, source, pass, [digest, rng, seed]);
    const prepared = await prepare(
      { name, count: source.count, floats },
      options,
      SPECTRA_BATCH,
      async (indices, out) => {
        out.set(reader.read(indices));
        await block.replace(indices, out);
        const plane = source.shape.height * source.shape.width;
        for (let at = 0; at < out.length; at += plane) {
          reader.dct.inverse(out, at);
          if (standard !== undefined)
            standardise(out.subarray(at, at + plane), standard[(at / plane) % standard.length]);
        }
      },
    );
    const recipe = { transform: "low-frequency noise", version: VERSION, threshold, rng, seed };
    const { shape, classes, trainCount, testCount, labels } = source;
    return preparedDataset({ name, shape, classes, trainCount, testCount, labels }, prepared, source, recipe);
  } finally {
    block.free();
  }
}

function requireThreshold(name: string, threshold: number, shape: ImageShape): void {
  const most = Math.min(shape.height, shape.width);
  if (Number.isInteger(threshold) && threshold >= 0 && threshold <= most) return;
  throw new WidefieldError(
    "E_CONFIG",
    `${name}: the threshold is a number of frequencies, 0..${most} for images of ${shapeText(shape)}, not ${threshold}`,
  );
}

/** Rows in the order of spectra, channel by channel; NumPy's are drawn channels last. */
function planarRows(rows: NoiseRows, rng: NoiseGenerator, { channels, height, width }: ImageShape): NoiseRows {
  if (rng === "counter" || channels === 1) return rows;
  const plane = height * width;
  const interleaved = new Float64Array(rows.width);
  return {
    width: rows.width,
    row(index, out) {
      rows.row(index, interleaved);
      for (let at = 0; at < rows.width; at++)
        out[(at % channels) * plane + Math.floor(at / channels)] = interleaved[at] as number;
    },
  };
}

/** The top-left entries of all channels' spectra, and what replaces them. */
class Block {
  /** Places of the block's entries in a spectrum, channel by channel. */
  readonly places: Uint32Array;
  readonly gaussian: SpectralGaussian;
  readonly noise: NoiseRows;
  /** The square root's rows for these entries: [places, d]. */
  readonly root: Float64Array;
  private readonly engine: Engine;
  private readonly floats: number;
  private product: RowProduct | undefined;

  constructor(engine: Engine, gaussian: SpectralGaussian, shape: ImageShape, threshold: number, noise: NoiseRows) {
    const { channels, height, width } = shape;
    this.engine = engine;
    this.gaussian = gaussian;
    this.noise = noise;
    this.floats = channels * height * width;
    this.places = Uint32Array.from({ length: channels * threshold ** 2 }, (_, at) => {
      const [channel, i, j] = [Math.floor(at / threshold ** 2), Math.floor(at / threshold) % threshold, at % threshold];
      return (channel * height + i) * width + j;
    });
    this.root = new Float64Array(this.places.length * this.floats);
    this.places.forEach((place, row) => {
      this.root.set(gaussian.root.subarray(place * this.floats, (place + 1) * this.floats), row * this.floats);
    });
  }

  /** Replaces these entries of the spectra of some images. */
  async replace(indices: Uint32Array, spectra: Float64Array): Promise<void> {
    const { places, floats, gaussian, noise } = this;
    if (places.length === 0) return;
    const z = new Float64Array(spectra.length);
    indices.forEach((index, row) => {
      noise.row(index, z.subarray(row * floats, (row + 1) * floats));
    });
    this.product ??= new RowProduct(await this.engine.cpu(), this.root, floats, SPECTRA_BATCH);
    const draws = await this.product.times(z, indices.length);
    for (let row = 0; row < indices.length; row++) {
      places.forEach((place, k) => {
        const drawn = (gaussian.mean[place] as number) + (draws[row * places.length + k] as number);
        spectra[row * floats + place] = drawn;
      });
    }
  }

  free(): void {
    this.product?.free();
  }
}

interface Standard {
  readonly mean: number;
  readonly deviation: number;
}

function standardise(plane: Float64Array, standard: Standard | undefined): void {
  if (standard === undefined) return;
  const { mean, deviation } = standard;
  for (let i = 0; i < plane.length; i++) plane[i] = ((plane[i] as number) - mean) / deviation;
}

/** Mean and standard deviation of the pixels of each channel of all noisy training images: see above. */
async function standardOf(
  engine: Engine,
  block: Block,
  source: Dataset,
  pass: PassOptions,
  key: readonly unknown[],
): Promise<Standard[]> {
  const { channels, height, width } = source.shape;
  const { gaussian, places } = block;
  const plane = height * width;
  const entries = Float64Array.from(gaussian.mean);
  const squares = gaussian.variances.map((variance, k) => variance + (gaussian.mean[k] as number) ** 2);
  if (places.length > 0) {
    const draws = await lastOf(engine, "draws", JSON.stringify(key), () =>
      drawMoments(engine, block.noise, source, pass),
    );
    const { mean, squares: drawn } = await drawnSquares(engine, block, draws);
    places.forEach((place, k) => {
      entries[place] = mean[k] as number;
      squares[place] = drawn[k] as number;
    });
  }
  return Array.from({ length: channels }, (_, channel) => {
    const mean = (entries[channel * plane] as number) / Math.sqrt(plane);
    let square = 0;
    for (let k = channel * plane; k < (channel + 1) * plane; k++) square += squares[k] as number;
    const variance = square / plane - mean ** 2;
    // A channel without variance has only zeros to be divided.
    return { mean, deviation: variance > 0 ? Math.sqrt(variance) : 1 };
  });
}

/** Mean and covariance of the z of all training images. */
function drawMoments(engine: Engine, noise: NoiseRows, source: Dataset, pass: PassOptions): Promise<Moments> {
  const { width } = noise;
  const fill = (begin: number, end: number) => {
    const rows = new Float64Array((end - begin) * width);
    for (let index = begin; index < end; index++)
      noise.row(index, rows.subarray((index - begin) * width, (index - begin + 1) * width));
    return rows;
  };
  return moments(engine, source.trainCount, width, fill, "noise", pass);
}

/** Of the block's entries, over all training images' draws y = m + R z: the mean m + R E[z], the mean square E[y]^2 + R Cov[z] R'. */
async function drawnSquares(
  engine: Engine,
  { root, places, gaussian }: Block,
  { mean: zMean, covariance }: Moments,
): Promise<{ readonly mean: Float64Array; readonly squares: Float64Array }> {
  const d = zMean.length;
  const mean = new Float64Array(places.length);
  const squares = new Float64Array(places.length);
  const product = new RowProduct(await engine.cpu(), covariance, d, Math.min(places.length, SPECTRA_BATCH));
  try {
    for (let begin = 0; begin < places.length; begin += SPECTRA_BATCH) {
      const end = Math.min(places.length, begin + SPECTRA_BATCH);
      const rows = root.subarray(begin * d, end * d);
      const spread = await product.times(rows, end - begin);
      for (let k = begin; k < end; k++) {
        const row = root.subarray(k * d, (k + 1) * d);
        const expected = (gaussian.mean[places[k] as number] as number) + dot(row, zMean);
        mean[k] = expected;
        squares[k] = expected ** 2 + dot(row, spread.subarray((k - begin) * d, (k - begin + 1) * d));
      }
    }
    return { mean, squares };
  } finally {
    product.free();
  }
}
