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
 * Those statistics need no noisy image to be made: means and mean squares of the entries of their spectra will do
 * (`standardise.ts`). Outside the block these are the training spectra's; inside, those of m + C^(1/2) z over the n draws
 * of the training images, which the draws' own mean and covariance tell: one pass over all z, with a d x d matrix to keep.
 */
import type { Engine } from "../../engine/engine.ts";
import { WidefieldError } from "../../errors.ts";
import { eighBytes } from "../../linalg/eigh.ts";
import { type Dataset, type ImageShape, shapeText } from "../dataset.ts";
import { LowBlock } from "./low-block.ts";
import { type NoiseGenerator, NOISE_SEED, type NoiseRows, noiseRows } from "./noise-rows.ts";
import {
  keptOf,
  memoryOf,
  mib,
  type PassOptions,
  prepare,
  preparedDataset,
  type PrepareOptions,
  requireRoom,
} from "./prepared.ts";
import { forget, lastOf } from "./recent.ts";
import {
  type Moments,
  moments,
  SPECTRA_BATCH,
  SpectrumReader,
  trainingGaussian,
  trainingVariances,
} from "./spectra.ts";
import { standardise, standardsOf } from "./standardise.ts";

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
 * Memory: `lowFrequencyMemory`, which has to be there before anything is computed.
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
  const memory = lowFrequencyMemory(source, threshold, keptOf(options, source.count, name));
  requireRoom(name, memoryText(memory, source), memory.peak, memoryOf(options));
  const reader = new SpectrumReader(source);
  const { shape, classes, trainCount, testCount, labels } = source;
  const noise = planarRows(noiseRows(rng, seed, "noise.low-frequency", floats, pass), rng, shape);
  const digest = await source.sha256();
  const remembered = <T>(kind: string, key: readonly unknown[], make: () => Promise<T>) =>
    lastOf(engine, kind, JSON.stringify(key), make);

  let block: LowBlock | undefined;
  if (threshold > 0) {
    const gaussian = await remembered("gaussian", [digest], () => {
      forget(engine, "draws"); // of another dataset
      return trainingGaussian(engine, reader, pass);
    });
    block = new LowBlock(engine, gaussian, noise, shape, threshold);
  }
  const standards = async () => {
    if (block === undefined) {
      const { mean, variances } = await trainingVariances(reader, pass);
      const squares = variances.map((variance, k) => variance + (mean[k] as number) ** 2);
      return standardsOf(mean, squares, shape);
    }
    const draws = await remembered("draws", [digest, rng, seed], () => drawMoments(engine, noise, trainCount, pass));
    const { means, squares } = await block.moments(draws);
    return standardsOf(means, squares, shape);
  };
  try {
    const standard = shape.channels === 1 ? undefined : await standards();
    const plane = shape.height * shape.width;
    const prepared = await prepare(
      { name, count: source.count, floats },
      { ...options, memoryBytes: memoryOf(options) - (memory.images - memory.rows) },
      SPECTRA_BATCH,
      async (indices, out) => {
        out.set(reader.read(indices));
        await block?.replace(indices, out);
        for (let at = 0; at < out.length; at += plane) {
          reader.dct.inverse(out, at);
          const own = standard?.[(at / plane) % shape.channels];
          if (own !== undefined) standardise(out.subarray(at, at + plane), own);
        }
      },
    );
    const recipe = { transform: "low-frequency noise", version: VERSION, threshold, rng, seed };
    const content = { name, shape, classes, trainCount, testCount, labels, bytes: source.bytes };
    return preparedDataset(content, prepared, source, recipe);
  } finally {
    block?.free();
  }
}

/** Bytes of memory. */
export interface LowFrequencyMemory {
  /** The most that is held at once. */
  readonly peak: number;
  /** While the training images' Gaussian, and the draws' moments, are made. */
  readonly statistics: number;
  /** While the noisy images are made, which stay. */
  readonly images: number;
  /** Of the noisy images alone. */
  readonly rows: number;
}

/**
 * What `kept` noisy images take, the source's own included, with D = 8 d^2 bytes for a d x d matrix. The Gaussian is made
 * by `eigh` with the covariance and then its vectors beside it, 5 D and more; the root stays. For several channels so
 * does the covariance of the draws, whose making takes 1.5 D beside the root, and reading it a third matrix.
 */
export function lowFrequencyMemory(source: Dataset, threshold: number, kept: number): LowFrequencyMemory {
  const { imageFloats: d, shape, trainCount } = source;
  const matrix = 8 * d * d;
  const batch = 8 * d * Math.min(SPECTRA_BATCH, Math.max(kept, trainCount));
  const rows = 8 * d * kept;
  const places = shape.channels * threshold ** 2;
  const colour = shape.channels > 1;
  // Sums of products, and what they are read into; two batches on either side.
  const sums = 1.5 * matrix + 4 * batch;
  const gaussian = Math.max(sums, 2 * matrix + eighBytes(d));
  const draws = colour ? Math.max(matrix + sums, 3 * matrix + 4 * batch) : 0;
  const held = (colour ? 2 : 1) * matrix + 8 * places * (d + SPECTRA_BATCH) + batch;
  const statistics = source.bytes + (threshold === 0 ? 2 * batch : Math.max(gaussian, draws));
  const images = source.bytes + (threshold === 0 ? 0 : held) + 3 * batch + rows;
  return { peak: Math.max(statistics, images), statistics, images, rows };
}

function memoryText(memory: LowFrequencyMemory, source: Dataset): string {
  const most =
    memory.statistics > memory.images ? "while the spectra's Gaussian is made" : "with the images in float64";
  return (
    `low-frequency noise for images of ${shapeText(source.shape)} takes ${mib(memory.peak)} ${most} (the Gaussian of ` +
    `${source.imageFloats} numbers ${mib(memory.statistics)}, the images ${mib(memory.images)}; ${mib(source.bytes)} of ` +
    "either are the data set)"
  );
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
    row: async (index, out) => {
      await rows.row(index, interleaved);
      for (let at = 0; at < rows.width; at++)
        out[(at % channels) * plane + Math.floor(at / channels)] = interleaved[at] as number;
    },
  };
}

/** Mean and covariance of the z of n training images. */
function drawMoments(engine: Engine, noise: NoiseRows, n: number, pass: PassOptions): Promise<Moments> {
  const { width } = noise;
  const fill = async (begin: number, end: number) => {
    const rows = new Float64Array((end - begin) * width);
    for (let index = begin; index < end; index++)
      await noise.row(index, rows.subarray((index - begin) * width, (index - begin + 1) * width));
    return rows;
  };
  return moments(engine, n, width, fill, "noise", pass);
}
