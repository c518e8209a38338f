/**
 * Standard normal numbers, a row of them for each image: from the counter-based generator, where row i is a stream of its
 * own, or from NumPy's legacy generator as published scripts drew them, one row after the other.
 */
import { RandomStream, streamAddress } from "../../engine/rng.ts";
import { RandomState } from "../../numpy/random-state.ts";

/** "counter": Philox; "numpy": `numpy.random.seed(seed)`, then `numpy.random.normal`. */
export type NoiseGenerator = "counter" | "numpy";

/** The seed of the published data of arXiv 2006.13409. */
export const NOISE_SEED = 2048;

export interface NoiseRows {
  /** Numbers of a row. */
  readonly width: number;
  /**
   * Fills out[0 .. width - 1] with row `index`: the same numbers whatever other rows are asked for. From NumPy's generator
   * rows come at their best in ascending order: those between are skipped, and going back means starting again.
   */
  row(index: number, out: Float64Array): void;
}

/**
 * Row i of the counter-based generator is the stream `name` with index i; of NumPy's, the normal numbers i width ..
 * (i + 1) width - 1 after its seed: with all of a dataset's images in one index space, what `normal(size=width)` gives
 * for each image in turn, and also what one `normal(size=(N, width))` for N training images and then another for test
 * images give.
 *
 * @throws WidefieldError E_CONFIG for a seed that the generator does not take
 */
export function noiseRows(generator: NoiseGenerator, seed: number, name: string, width: number): NoiseRows {
  return generator === "numpy" ? numpyRows(seed, width) : counterRows(seed, name, width);
}

function counterRows(seed: number, name: string, width: number): NoiseRows {
  streamAddress(seed, name); // a seed that cannot be is refused now
  return {
    width,
    row(index, out) {
      new RandomStream(seed, name, index).fillNormal(out.subarray(0, width));
    },
  };
}

function numpyRows(seed: number, width: number): NoiseRows {
  const random = new RandomState(seed);
  let next = 0;
  return {
    width,
    row(index, out) {
      if (index < next) {
        random.seed(seed);
        next = 0;
      }
      random.skipNormals((index - next) * width);
      for (let i = 0; i < width; i++) out[i] = random.normal();
      next = index + 1;
    },
  };
}
