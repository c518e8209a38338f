/**
 * The random search of Garriga-Alonso et al. 2019 (section 4): the architecture that a seed stands for, drawn from
 * NumPy's generator in the order of the authors' script, and its conversion to the architecture language.
 *
 * The published script draws a spacing of skip connections for *every* seed below 56, also for those (below 36) of
 * the search without skips. The paper's search cannot have been run like that: its ConvNet GP (seed 31) has none.
 * `skips` chooses:
 *
 *     "script"  the published script to the letter (default)
 *     "paper"   seeds below 36 have no skip connections. Of these, 27 fit 28 x 28 images, the number of networks
 *               that the paper reports, and seed 31 is its ConvNet GP. From 36 on both rules agree.
 */
import { conv, dense, erf, flatten, identity, relu, serial, sum, type Arch } from "../arch/arch.ts";
import { WidefieldError } from "../errors.ts";
import { RandomState } from "../numpy/random-state.ts";

export const SKIP_RULES = ["script", "paper"] as const;
export type SkipRule = (typeof SKIP_RULES)[number];

export interface DrawnConv {
  readonly filter: number;
  readonly stride: number;
  readonly padding: "valid" | "same-tf";
}

/** What was drawn. Every convolution is followed by the nonlinearity; relu carries a factor of sqrt(2). */
export interface Drawn {
  readonly seed: number;
  /** A convolution sums weightVariance * K over its filter (it does not take the mean). */
  readonly weightVariance: number;
  readonly biasVariance: number;
  readonly convs: readonly DrawnConv[];
  readonly nonlinearity: "relu" | "erf";
  /** Convolutions between two skip connections; null: none. */
  readonly skipEvery: number | null;
}

/** A network in the manner of LeNet that the script runs beside the drawn ones. */
const LENET_SEED = 1234;
/** From here on the script is called with skip connections allowed. */
const FIRST_SEED_WITH_SKIPS = 36;
/** Below this seed the script has skip connections whatever it draws. */
const FIRST_SEED_OF_DRAWN_SKIPS = 56;

/**
 * The draw of a seed: 1 to 60 for the paper's networks, 1234 for `lenet-like`; others draw as the script would.
 *
 * The order of the draws is the script's: each `random.rand()` below is the next number of the stream, and the last
 * one is drawn only where there are skips.
 *
 * @throws WidefieldError E_CONFIG for a seed that is not in 0..2^32-1
 */
export function drawArchitecture(seed: number, skips: SkipRule = "script"): Drawn {
  if (seed === LENET_SEED) return lenetLike;
  const random = new RandomState(seed);
  const allowSkip = seed >= FIRST_SEED_WITH_SKIPS;
  const [fewest, span, filterSpan] = allowSkip ? [4, 12, 4] : [2, 7, 5];
  const weightVariance = 8 * random.rand() + 0.5;
  const biasVariance = 8 * random.rand() + 0.2;
  const layers = fewest + Math.floor(random.rand() * span);
  const filter = 3 + Math.floor(random.rand() * filterSpan);
  const stride = 1 + Math.floor(3 * random.rand());
  const padding = random.rand() > 0.5 ? "valid" : "same-tf";
  const nonlinearity = random.rand() > 0.5 ? "relu" : "erf";
  const always = seed < FIRST_SEED_OF_DRAWN_SKIPS && (allowSkip || skips === "script");
  const skipEvery = (random.rand() > 0.5 && allowSkip) || always ? Math.floor(2 * random.rand()) + 1 : null;
  // A skip connection adds maps, which must have one size: the script then overrides what it has drawn.
  const conv: DrawnConv = skipEvery === null ? { filter, stride, padding } : { filter, stride: 1, padding: "same-tf" };
  const convs = Array.from({ length: layers }, () => conv);
  return { seed, weightVariance, biasVariance, convs, nonlinearity, skipEvery };
}

const lenetLike: Drawn = {
  seed: LENET_SEED,
  weightVariance: 1,
  biasVariance: 1,
  convs: [
    { filter: 5, stride: 1, padding: "valid" },
    { filter: 2, stride: 1, padding: "same-tf" },
    { filter: 5, stride: 1, padding: "valid" },
    { filter: 2, stride: 1, padding: "same-tf" },
  ],
  nonlinearity: "relu",
  skipEvery: null,
};

/**
 * The architecture. With skips, before every convolution i > 0 whose i is a multiple of `skipEvery` the covariance is
 * added to the one remembered there last (at first the input), and the sum is remembered: so every run of `skipEvery`
 * convolutions is one residual sum, but for the last run, which no convolution follows. As in the script a sum comes
 * after the nonlinearity. The read-out is the mean over pixels, times weightVariance, plus biasVariance.
 */
export function drawnArch({ weightVariance, biasVariance, convs, nonlinearity, skipEvery }: Drawn): Arch {
  const activation = nonlinearity === "relu" ? relu({ sqrt2: true }) : erf();
  const blocks = convs.map(({ filter, stride, padding }) => [
    // Here a conv takes the mean over its filter's taps, and the script's the sum.
    conv({ filter, stride, padding, weightVariance: weightVariance * filter ** 2, biasVariance }),
    activation,
  ]);
  const run = skipEvery ?? blocks.length;
  const last = Math.floor((blocks.length - 1) / run) * run;
  const sums = Array.from({ length: last / run }, (_, i) =>
    sum(identity(), serial(...blocks.slice(i * run, (i + 1) * run).flat())),
  );
  return serial(...sums, ...blocks.slice(last).flat(), flatten(), dense({ weightVariance, biasVariance }));
}

/** Seeds that one option may name; a search of more is a mistake. */
const MOST_SEEDS = 100_000;

/**
 * Reads a list of seeds and half-open ranges of them: "1:61,1234".
 *
 * @throws WidefieldError E_CONFIG: malformed, empty, a seed twice, or beyond 2^32
 */
export function parseSeeds(text: string): readonly number[] {
  const refuse = (problem: string) =>
    new WidefieldError("E_CONFIG", `seeds "${text}": ${problem}; write seeds and ranges of them, such as 1:61,1234`);
  const seeds = new Set<number>();
  for (const part of text.split(",")) {
    const match = /^\s*(\d+)\s*(?::\s*(\d+)\s*)?$/.exec(part);
    if (match === null) throw refuse(`"${part.trim()}" is neither a seed nor a range start:end`);
    const start = Number(match[1]);
    const end = match[2] === undefined ? start + 1 : Number(match[2]);
    if (start >= end) throw refuse(`${part.trim()} is empty`);
    if (end > 2 ** 32) throw refuse(`${part.trim()} goes beyond 4294967295, the largest seed`);
    if (seeds.size + end - start > MOST_SEEDS) throw refuse(`these are more than ${MOST_SEEDS} seeds`);
    for (let seed = start; seed < end; seed++) {
      if (seeds.has(seed)) throw refuse(`${seed} is there twice`);
      seeds.add(seed);
    }
  }
  return [...seeds];
}

/** "4" where all layers have the same, else "5 2 5 2". */
export function perLayer(values: readonly (string | number)[]): string {
  return new Set(values).size === 1 ? String(values[0]) : values.join(" ");
}
