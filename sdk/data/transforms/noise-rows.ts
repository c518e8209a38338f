/**
 * Standard normal numbers, a row of them for each image: from the counter-based generator, where row i is a stream of its
 * own, or from NumPy's legacy generator as published scripts drew them, one row after the other.
 */
import { RandomStream, streamAddress } from "../../engine/rng.ts";
import { Breath } from "../../linalg/breath.ts";
import { RandomState } from "../../numpy/random-state.ts";
import { type PassOptions, throwIfAborted } from "./prepared.ts";

/** "counter": Philox; "numpy": `numpy.random.seed(seed)`, then `numpy.random.normal`. */
export type NoiseGenerator = "counter" | "numpy";

/** The seed of the published data of arXiv 2006.13409. */
export const NOISE_SEED = 2048;

export interface NoiseRows {
  /** Numbers of a row. */
  readonly width: number;
  /**
   * Fills out[0 .. width - 1] with row `index`: the same numbers whatever other rows are asked for. From NumPy's generator
   * rows come at their best in ascending order: those between are skipped, and going back means starting again. One call
   * at a time. Throws E_ABORTED.
   */
  row(index: number, out: Float64Array): Promise<void>;
}

/**
 * Row i of the counter-based generator is the stream `name` with index i; of NumPy's, the normal numbers i width ..
 * (i + 1) width - 1 after its seed: with all of a dataset's images in one index space, what `normal(size=width)` gives
 * for each image in turn, and also what one `normal(size=(N, width))` for N training images and then another for test
 * images give.
 *
 * `pass`: skipping to a row far on takes minutes, which `signal` ends and `onProgress` tells of.
 *
 * @throws WidefieldError E_CONFIG for a seed that the generator does not take
 */
export function noiseRows(
  generator: NoiseGenerator,
  seed: number,
  name: string,
  width: number,
  pass: PassOptions,
): NoiseRows {
  return generator === "numpy" ? numpyRows(seed, width, pass) : counterRows(seed, name, width);
}

function counterRows(seed: number, name: string, width: number): NoiseRows {
  streamAddress(seed, name); // a seed that cannot be is refused now
  return {
    width,
    row: async (index, out) => {
      new RandomStream(seed, name, index).fillNormal(out.subarray(0, width));
    },
  };
}

/** Normal numbers that are skipped at once: a tenth of a second. An even number of them leaves no half of a pair behind. */
const STEP = 2 ** 22;

function numpyRows(seed: number, width: number, { name, signal, onProgress }: PassOptions): NoiseRows {
  const random = new RandomState(seed);
  /** Normal numbers of the stream that are behind us; kept right also where skipping is stopped. */
  let at = 0;
  const skipTo = async (wanted: number): Promise<void> => {
    const first = at;
    const breath = new Breath();
    while (at < wanted) {
      throwIfAborted(name, signal);
      const step = Math.min(STEP, wanted - at);
      random.skipNormals(step);
      at += step;
      if (wanted - first <= STEP) continue;
      onProgress?.({ label: "skipping noise", done: at - first, total: wanted - first });
      await breath.take();
    }
  };
  return {
    width,
    row: async (index, out) => {
      if (index * width < at) {
        random.seed(seed);
        at = 0;
      }
      await skipTo(index * width);
      for (let i = 0; i < width; i++) out[i] = random.normal();
      at += width;
    },
  };
}
