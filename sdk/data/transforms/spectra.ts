/**
 * Spectra of a dataset's images, and the Gaussian that low-frequency noise is drawn from: mean and covariance of the
 * training images' spectra. Sums over images are float64 products on all threads, a batch at a time; memory is that of a
 * few matrices of d x d, d the numbers of an image, whatever the number of images.
 */
import type { Engine } from "../../engine/engine.ts";
import { Breath } from "../../linalg/breath.ts";
import { eigh } from "../../linalg/eigh.ts";
import { GramSum } from "../../linalg/row-products.ts";
import { squareRoot } from "../../linalg/spectral.ts";
import type { Dataset } from "../dataset.ts";
import { Dct2 } from "./dct.ts";
import { centre, scaleTo } from "./planes.ts";
import { type PassOptions, runsOf, throwIfAborted } from "./prepared.ts";

/** Images whose spectra are in memory at once: with 3 x 32 x 32 pixels 6 MB, and enough work for all threads. */
export const SPECTRA_BATCH = 256;

/**
 * The spectra of images: [n, channels, height, width], a DCT for each plane.
 *
 * Grey images are first centred and scaled to norm sqrt(d), as the paper does with Fashion-MNIST; images of several channels are
 * taken as they came, in 0..255, as the paper does with CIFAR-10.
 */
export class SpectrumReader {
  readonly source: Dataset;
  readonly dct: Dct2;

  constructor(source: Dataset) {
    this.source = source;
    this.dct = new Dct2(source.shape.height, source.shape.width);
  }

  /** Of some images, ascending. */
  read(indices: Uint32Array): Float64Array<ArrayBuffer> {
    const { images } = this.source.selectFloat64(runsOf(indices));
    const { channels, height, width } = this.source.shape;
    const pixels = height * width;
    for (let at = 0; at < images.length; at += pixels) {
      const plane = images.subarray(at, at + pixels);
      if (channels === 1) {
        centre(plane);
        scaleTo(Math.sqrt(pixels), plane);
      } else {
        for (let i = 0; i < pixels; i++) plane[i] = (plane[i] as number) * 255;
      }
      this.dct.forward(plane);
    }
    return images;
  }
}

export interface Moments {
  /** d numbers. */
  readonly mean: Float64Array;
  /** d x d, divided by n. */
  readonly covariance: Float64Array;
}

/**
 * Mean and covariance (divided by n) of rows 0 .. n - 1, which `fill` writes, up to SPECTRA_BATCH at a time, in order.
 *
 * The covariance is summed about the first batch's mean, not about zero: the spectra's first entries are far from it, and
 * their squares would cancel digits.
 *
 * @throws WidefieldError E_MEMORY, E_ABORTED
 */
export async function moments(
  engine: Engine,
  n: number,
  d: number,
  fill: (begin: number, end: number) => Float64Array | Promise<Float64Array>,
  label: string,
  { name, signal, onProgress }: PassOptions,
): Promise<Moments> {
  const gram = new GramSum(await engine.cpu(), d, Math.min(n, SPECTRA_BATCH));
  try {
    const breath = new Breath();
    const mean = new Float64Array(d);
    let shift: Float64Array | undefined;
    for (let begin = 0; begin < n; begin += SPECTRA_BATCH) {
      throwIfAborted(name, signal);
      const end = Math.min(n, begin + SPECTRA_BATCH);
      const rows = await fill(begin, end);
      shift ??= columnMeans(rows, d);
      for (let at = 0; at < rows.length; at += d) {
        for (let k = 0; k < d; k++) {
          const value = (rows[at + k] as number) - (shift[k] as number);
          rows[at + k] = value;
          mean[k] = (mean[k] as number) + value;
        }
      }
      await gram.add(rows, end - begin);
      await breath.take();
      onProgress?.({ label, done: end, total: n });
    }
    const covariance = await gram.result();
    for (let k = 0; k < d; k++) mean[k] = (mean[k] as number) / n;
    for (let i = 0; i < d; i++)
      for (let j = 0; j < d; j++)
        covariance[i * d + j] = (covariance[i * d + j] as number) / n - (mean[i] as number) * (mean[j] as number);
    for (let k = 0; k < d; k++) mean[k] = (mean[k] as number) + (shift?.[k] ?? 0);
    return { mean, covariance };
  } finally {
    gram.free();
  }
}

function columnMeans(rows: Float64Array, d: number): Float64Array {
  const means = new Float64Array(d);
  for (let at = 0; at < rows.length; at++) means[at % d] = (means[at % d] as number) + (rows[at] as number);
  return means.map((sum) => (sum * d) / rows.length);
}

export interface SpectralMoments {
  readonly mean: Float64Array;
  /** Divided by n. */
  readonly variances: Float64Array;
}

export interface SpectralGaussian extends SpectralMoments {
  /** The covariance's symmetric square root, d x d; eigenvalues below zero, which are rounding errors, count as 0. */
  readonly root: Float64Array;
}

/** The Gaussian of all training spectra of a dataset. Throws E_MEMORY, E_ABORTED. */
export async function trainingGaussian(
  engine: Engine,
  reader: SpectrumReader,
  options: PassOptions,
): Promise<SpectralGaussian> {
  const { source } = reader;
  const d = source.imageFloats;
  const read = (begin: number, end: number) => reader.read(span(begin, end));
  const { mean, covariance } = await moments(engine, source.trainCount, d, read, "spectra", options);
  const { signal, onProgress } = options;
  const eigen = await eigh(engine, covariance, {
    signal,
    onProgress: ({ fraction }) => onProgress?.({ label: "square root", done: Math.round(100 * fraction), total: 100 }),
  });
  const root = await squareRoot(engine, eigen, { signal });
  return { mean, variances: Float64Array.from(mean, (_, k) => covariance[k * d + k] as number), root };
}

/** Its mean and variances only: one pass without products. Throws E_ABORTED. */
export async function trainingVariances(
  reader: SpectrumReader,
  { name, signal, onProgress }: PassOptions,
): Promise<SpectralMoments> {
  const { trainCount: n, imageFloats: d } = reader.source;
  const breath = new Breath();
  const mean = new Float64Array(d);
  const variances = new Float64Array(d);
  for (let begin = 0; begin < n; begin += SPECTRA_BATCH) {
    throwIfAborted(name, signal);
    const end = Math.min(n, begin + SPECTRA_BATCH);
    const rows = reader.read(span(begin, end));
    // Welford's update, image by image.
    for (let index = begin; index < end; index++) {
      for (let k = 0; k < d; k++) {
        const value = rows[(index - begin) * d + k] as number;
        const off = value - (mean[k] as number);
        const moved = (mean[k] as number) + off / (index + 1);
        mean[k] = moved;
        variances[k] = (variances[k] as number) + off * (value - moved);
      }
    }
    await breath.take();
    onProgress?.({ label: "spectra", done: end, total: n });
  }
  return { mean, variances: variances.map((sum) => sum / n) };
}

/** begin, begin + 1, .., end - 1. */
function span(begin: number, end: number): Uint32Array {
  return Uint32Array.from({ length: end - begin }, (_, i) => begin + i);
}
