/**
 * The synthetic problem of arXiv 2006.13409 (section 3 and appendix A): features of which a few directions matter, the more
 * so the larger kappa, and labels that are a polynomial of degree four in those.
 *
 *     x = (x', x''), d = 1024: x' uniform on the sphere of radius d^((2/5 + kappa) / 2) in its floor(d^(2/5)) = 16
 *     dimensions, x'' uniform on the sphere of radius sqrt(d) in the other 1,008
 *     y = f2 / |f2| + f3 / |f3| + f4 / |f4|,   fk = sum over i of beta_ki x'_i x'_(i+1) .. x'_(i+k-1), beta exponential(1)
 *
 * |f| is the root mean square over the 1,048,576 published training rows, also where fewer rows are used. Each term is
 * homogeneous, so y does not depend on kappa: everything about it is computed on the unit sphere.
 *
 * The published script draws `normal(size=(n, d))` row by row from seed 145 (test rows: 10,000 from seed 2), normalises the
 * two parts of each row, and draws beta from seed 14. With `rng: "numpy"` the rows are those, but for the published arrays
 * being float32. With the counter-based generator the rows are others, and beta and |f|, which say what there is to be
 * learned, are the published ones all the same.
 */
import { WidefieldError } from "../errors.ts";
import { RandomState } from "../numpy/random-state.ts";
import type { Problem } from "./problem.ts";
import { checkRanges, indicesOf, parseRanges } from "./ranges.ts";
import { type NoiseGenerator, type NoiseRows, noiseRows } from "./transforms/noise-rows.ts";
import { scaleTo } from "./transforms/planes.ts";
import { type PassOptions, prepare, preparedDataset, type PrepareOptions } from "./transforms/prepared.ts";

const DIMENSIONS = 1024;
/** Of x': floor(1024^(2/5)). */
export const RELEVANT = 16;
export const SYNTH_TRAIN_COUNT = 2 ** 20;
export const SYNTH_TEST_COUNT = 10_000;
const TRAIN_SEED = 145;
const TEST_SEED = 2;
const BETA_SEED = 14;

/**
 * Root mean squares of f2, f3 and f4 on the unit sphere over the published training rows: `termRootMeanSquares(2 ** 20)`,
 * which takes a minute. With beta given, their expectations are within 0.1 % of these: E[(u_1 .. u_k)^2] is
 * 1 / (16 18 .. (14 + 2k)), and products of two different terms have mean zero.
 */
const ROOT_MEAN_SQUARES: readonly number[] = [0.2833174272849749, 0.059353996845301016, 0.01672263401341049];

export interface SynthOptions extends PrepareOptions {
  /** 0 <= kappa < 1; the paper has 0, 0.1, .., 0.9. Default 0. */
  readonly kappa?: number | undefined;
  /** Default: counter. */
  readonly rng?: NoiseGenerator | undefined;
  /** Of the counter-based generator; default 0. NumPy's seeds are the published ones. */
  readonly seed?: number | undefined;
}

/** Part of the digest. */
const VERSION = 1;
const BATCH = 64;

/**
 * The problem with training rows 0 .. 1,048,575 and test rows behind them, of which those in `ranges` are made: without
 * ranges all of them, 8.1 GiB.
 *
 * @throws WidefieldError E_CONFIG for kappa or the seed; E_RANGE, E_MEMORY, E_ABORTED
 */
export async function synth(options: SynthOptions = {}): Promise<Problem> {
  const { kappa = 0, rng = "counter", seed = 0 } = options;
  if (!(kappa >= 0 && kappa < 1))
    throw new WidefieldError(
      "E_CONFIG",
      `synth: kappa is a number from 0 to below 1 (the paper has 0, 0.1, .., 0.9), not ${kappa}`,
    );
  const name = `synth kappa ${kappa}`;
  const count = SYNTH_TRAIN_COUNT + SYNTH_TEST_COUNT;
  const { signal, onProgress } = options;
  const row = rowsOf(rng, seed, { name, signal, onProgress });
  const radius = DIMENSIONS ** ((2 / 5 + kappa) / 2);
  const prepared = await prepare({ name, count, floats: DIMENSIONS }, options, BATCH, async (indices, out) => {
    for (const [at, index] of indices.entries()) {
      const x = out.subarray(at * DIMENSIONS, (at + 1) * DIMENSIONS);
      await row(index, x);
      scaleTo(radius, x.subarray(0, RELEVANT));
      scaleTo(Math.sqrt(DIMENSIONS), x.subarray(RELEVANT));
    }
  });
  const content = {
    name,
    shape: { channels: 1, height: 1, width: DIMENSIONS },
    classes: 1,
    trainCount: SYNTH_TRAIN_COUNT,
    testCount: SYNTH_TEST_COUNT,
    labels: new Int32Array(count),
  };
  const recipe = { synth: VERSION, kappa, rng, ...(rng === "counter" ? { seed } : {}) };
  const dataset = preparedDataset(content, prepared, undefined, recipe);
  return {
    name,
    dataset,
    outputs: 1,
    decision: undefined,
    targets(ranges) {
      const checked = typeof ranges === "string" ? parseRanges(ranges, count, name) : checkRanges(ranges, count, name);
      const unit = new Float64Array(RELEVANT);
      return Float64Array.from(indicesOf(checked), (index) => {
        const from = prepared.rowOf(index) * DIMENSIONS;
        unit.set(prepared.rows.subarray(from, from + RELEVANT));
        scaleTo(1, unit);
        return label(unit);
      });
    },
  };
}

/** Writes the normal numbers of row `index` of the index space. Throws E_CONFIG for a seed that cannot be. */
function rowsOf(rng: NoiseGenerator, seed: number, pass: PassOptions): NoiseRows["row"] {
  if (rng === "counter") {
    const rows = noiseRows("counter", seed, "synth", DIMENSIONS, pass);
    return async (index, out) => rows.row(index, out);
  }
  const train = noiseRows("numpy", TRAIN_SEED, "", DIMENSIONS, pass);
  const test = noiseRows("numpy", TEST_SEED, "", DIMENSIONS, pass);
  return async (index, out) =>
    index < SYNTH_TRAIN_COUNT ? train.row(index, out) : test.row(index - SYNTH_TRAIN_COUNT, out);
}

/** beta2, beta3 and beta4: 15, 14 and 13 numbers. */
export function synthBeta(): readonly Float64Array[] {
  const random = new RandomState(BETA_SEED);
  return [2, 3, 4].map((degree) => random.exponential(1, RELEVANT - degree + 1));
}

const BETA = synthBeta();

/** f2, f3 and f4 at a point of 16 coordinates. */
export function synthTerms(x: Float64Array): readonly number[] {
  return BETA.map((beta, k) => {
    let sum = 0;
    for (let i = 0; i < beta.length; i++) {
      let product = beta[i] as number;
      for (let j = i; j < i + k + 2; j++) product *= x[j] as number;
      sum += product;
    }
    return sum;
  });
}

function label(unit: Float64Array): number {
  return synthTerms(unit).reduce((sum, term, k) => sum + term / (ROOT_MEAN_SQUARES[k] as number), 0);
}

/** Root mean squares of f2, f3 and f4 on the unit sphere over the first `rows` published training rows. */
export function termRootMeanSquares(rows: number): number[] {
  const random = new RandomState(TRAIN_SEED);
  const squares = BETA.map(() => 0);
  const unit = new Float64Array(RELEVANT);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < RELEVANT; i++) unit[i] = random.normal();
    random.skipNormals(DIMENSIONS - RELEVANT);
    scaleTo(1, unit);
    synthTerms(unit).forEach((term, k) => (squares[k] = (squares[k] as number) + term ** 2));
  }
  return squares.map((square) => Math.sqrt(square / rows));
}
