/**
 * Noise in the high frequencies (Ghorbani, Mei, Misiakiewicz and Montanari, arXiv 2006.13409, section 3 and appendix A):
 * what a smooth kernel would otherwise ignore drowns, and what a network can learn to ignore stays.
 *
 * For each plane of n x n pixels, with F the orthonormal DCT of the plane less its mean:
 *
 *     G ~ N(0, 1) at the frequencies (i, j) with (n-1-i)^2 + (n-1-j)^2 <= (n-1)^2, 0 elsewhere
 *     F' = F + multiplier |F| G / |G|
 *     the plane of F', scaled to norm n
 *
 * Planes of colour images get noise of their own each, so an image of d numbers has norm sqrt(d). A plane of equal pixels
 * has nothing to be drowned and stays zero.
 */
import { WidefieldError } from "../../errors.ts";
import { type Dataset, shapeText } from "../dataset.ts";
import { Dct2 } from "./dct.ts";
import { type NoiseGenerator, NOISE_SEED, noiseRows } from "./noise-rows.ts";
import { centre, norm, scaleTo } from "./planes.ts";
import { prepare, preparedDataset, type PrepareOptions, runsOf } from "./prepared.ts";

/** The paper's noise levels: linspace(0, 3, 15). */
export const HIGH_FREQUENCY_MULTIPLIERS: readonly number[] = Array.from({ length: 15 }, (_, level) =>
  level === 14 ? 3 : level * (3 / 14),
);

export interface HighFrequencyOptions extends PrepareOptions {
  /** Norm of the noise, relative to the image's. */
  readonly multiplier: number;
  /** Default: counter. */
  readonly rng?: NoiseGenerator | undefined;
  /** Default: 2048. */
  readonly seed?: number | undefined;
  /** Of the dataset that is made. */
  readonly name?: string | undefined;
}

/** Part of the digest. Raise it with every change that changes a pixel by more than rounding. */
const VERSION = 1;
const BATCH = 64;

/** n x n: 1 at the frequencies that get noise, 0 elsewhere. */
export function highFrequencyMask(n: number): Uint8Array {
  return Uint8Array.from({ length: n * n }, (_, at) => {
    const [fromLastRow, fromLastColumn] = [n - 1 - Math.floor(at / n), n - 1 - (at % n)];
    return fromLastRow ** 2 + fromLastColumn ** 2 <= (n - 1) ** 2 ? 1 : 0;
  });
}

/**
 * A dataset with noise in the high frequencies of its training and test images. The same options give the same images,
 * whatever `ranges` are. With `rng: "numpy"` the noise is the published one: an n x n `normal` for each plane, training
 * images first, then test images. A folder that holds fewer training images than were published has its test images
 * earlier in that stream, and so gives them other noise.
 *
 * @throws WidefieldError E_SHAPE for images that are not square, E_CONFIG for a multiplier that is negative or not finite,
 *   or for the seed; E_RANGE, E_MEMORY, E_ABORTED
 */
export async function highFrequencyNoise(source: Dataset, options: HighFrequencyOptions): Promise<Dataset> {
  const { multiplier, rng = "counter", seed = NOISE_SEED, name = `${source.name}-hf` } = options;
  const { channels, height: n, width } = source.shape;
  if (n !== width)
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: high-frequency noise is for square images, not ${shapeText(source.shape)}`,
    );
  if (!(multiplier >= 0 && Number.isFinite(multiplier)))
    throw new WidefieldError(
      "E_CONFIG",
      `${name}: the multiplier of the noise is a number from 0 on, not ${multiplier}`,
    );
  const dct = new Dct2(n, n);
  const mask = highFrequencyMask(n);
  const plane = n * n;
  const floats = channels * plane;
  const { signal, onProgress } = options;
  const rows = noiseRows(rng, seed, "noise.high-frequency", floats, { name, signal, onProgress });
  const noise = new Float64Array(floats);
  const prepared = await prepare({ name, count: source.count, floats }, options, BATCH, async (indices, out) => {
    out.set(source.selectFloat64(runsOf(indices)).images);
    for (const [row, index] of indices.entries()) {
      if (multiplier > 0) await rows.row(index, noise);
      for (let channel = 0; channel < channels; channel++) {
        const pixels = out.subarray(row * floats + channel * plane, row * floats + (channel + 1) * plane);
        centre(pixels);
        dct.forward(pixels);
        addNoise(pixels, noise.subarray(channel * plane, (channel + 1) * plane), mask, multiplier);
        dct.inverse(pixels);
        scaleTo(n, pixels);
      }
    }
  });
  const recipe = { transform: "high-frequency noise", version: VERSION, multiplier, rng, seed };
  const { shape, classes, trainCount, testCount, labels, bytes } = source;
  return preparedDataset({ name, shape, classes, trainCount, testCount, labels, bytes }, prepared, source, recipe);
}

/** Adds the masked noise, scaled to `multiplier` times the spectrum's norm. */
function addNoise(spectrum: Float64Array, noise: Float64Array, mask: Uint8Array, multiplier: number): void {
  if (multiplier === 0) return;
  let square = 0;
  for (let i = 0; i < mask.length; i++) if (mask[i] === 1) square += (noise[i] as number) ** 2;
  const scale = (multiplier * norm(spectrum)) / Math.sqrt(square);
  for (let i = 0; i < mask.length; i++)
    if (mask[i] === 1) spectrum[i] = (spectrum[i] as number) + scale * (noise[i] as number);
}
