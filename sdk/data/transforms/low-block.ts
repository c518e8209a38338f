/** The block of low frequencies of all channels' spectra, and the Gaussian draws that replace it. */
import type { Engine } from "../../engine/engine.ts";
import { RowProduct } from "../../linalg/row-products.ts";
import { dot } from "../../linalg/vectors.ts";
import type { ImageShape } from "../dataset.ts";
import type { NoiseRows } from "./noise-rows.ts";
import { type Moments, SPECTRA_BATCH, type SpectralGaussian } from "./spectra.ts";

export class LowBlock {
  /** Places of the block's entries in a spectrum [channels, height, width], channel by channel. */
  readonly places: Uint32Array;
  private readonly gaussian: SpectralGaussian;
  private readonly noise: NoiseRows;
  private readonly engine: Engine;
  private product: RowProduct | undefined;

  /** `threshold`: at least 1. */
  constructor(engine: Engine, gaussian: SpectralGaussian, noise: NoiseRows, shape: ImageShape, threshold: number) {
    const { channels, height, width } = shape;
    this.engine = engine;
    this.gaussian = gaussian;
    this.noise = noise;
    this.places = Uint32Array.from({ length: channels * threshold ** 2 }, (_, at) => {
      const [channel, i, j] = [Math.floor(at / threshold ** 2), Math.floor(at / threshold) % threshold, at % threshold];
      return (channel * height + i) * width + j;
    });
  }

  /** The square root's row for an entry of the spectrum. */
  private rootRow(place: number): Float64Array {
    const d = this.noise.width;
    return this.gaussian.root.subarray(place * d, (place + 1) * d);
  }

  /** Replaces the block in the spectra [n, d] of some images, at most SPECTRA_BATCH. */
  async replace(indices: Uint32Array, spectra: Float64Array): Promise<void> {
    const { places, gaussian, noise } = this;
    const d = noise.width;
    const z = new Float64Array(spectra.length);
    for (const [row, index] of indices.entries()) await noise.row(index, z.subarray(row * d, (row + 1) * d));
    this.product ??= new RowProduct(await this.engine.cpu(), gaussian.root, d, SPECTRA_BATCH, places);
    const draws = await this.product.times(z, indices.length);
    for (let row = 0; row < indices.length; row++) {
      places.forEach((place, k) => {
        const drawn = (gaussian.mean[place] as number) + (draws[row * places.length + k] as number);
        spectra[row * d + place] = drawn;
      });
    }
  }

  /**
   * Means and mean squares of all entries of the spectra over images whose z have these moments: outside the block those of the
   * training spectra; inside, with y = m + R z, the mean m + R E[z], and its square plus R Cov[z] R'.
   */
  async moments({ mean: zMean, covariance }: Moments): Promise<{ means: Float64Array; squares: Float64Array }> {
    const { places, gaussian, noise } = this;
    const d = noise.width;
    const means = gaussian.mean.slice();
    const squares = gaussian.variances.map((variance, k) => variance + (means[k] as number) ** 2);
    const batch = Math.min(places.length, SPECTRA_BATCH);
    const product = new RowProduct(await this.engine.cpu(), covariance, d, batch);
    const rows = new Float64Array(batch * d);
    try {
      for (let begin = 0; begin < places.length; begin += batch) {
        const end = Math.min(places.length, begin + batch);
        places.subarray(begin, end).forEach((place, k) => {
          rows.set(this.rootRow(place), k * d);
        });
        const spread = await product.times(rows, end - begin);
        for (let k = begin; k < end; k++) {
          const place = places[k] as number;
          const row = this.rootRow(place);
          const expected = (gaussian.mean[place] as number) + dot(row, zMean);
          means[place] = expected;
          squares[place] = expected ** 2 + dot(row, spread.subarray((k - begin) * d, (k - begin + 1) * d));
        }
      }
      return { means, squares };
    } finally {
      product.free();
    }
  }

  /** Releases the engine's memory. */
  free(): void {
    this.product?.free();
    this.product = undefined;
  }
}
