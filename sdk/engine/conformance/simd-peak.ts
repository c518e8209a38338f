/** The chains of products and sums that measure the instruction set, against a plain loop over each lane. */
import { PEAK_CHAINS, PEAK_START_BYTES, peakOperations, simdPeak } from "../kernels/simd-peak.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, worst, type Case, type Row } from "./row.ts";

/** [items, turns] */
const SIZES = [
  [1, 0],
  [1, 1],
  [0, 7],
  [2, 3],
  [5, 64],
  [13, 1009],
] as const;

function peakCase(random: RandomStream, items: number, turns: number, wide: number): Case {
  const Lanes = wide === 1 ? Float64Array : Float32Array;
  const lanes = wide === 1 ? 2 : 4;
  const start = new Lanes(PEAK_START_BYTES / Lanes.BYTES_PER_ELEMENT);
  random.fillNormal(start);
  // A factor of a half at most: chains converge, so rounding errors do not add up.
  for (let lane = 0; lane < lanes; lane++) start[PEAK_CHAINS * lanes + lane] = random.uniform32() - 0.5;
  const unit = wide === 1 ? 2 ** -53 : 2 ** -24;
  return {
    name: `${items} items of ${turns} turns in float${wide === 1 ? 64 : 32}`,
    buffers: { start, out: 16 * items },
    launches: [launch(simdPeak, { items, turns, wide }, ["start", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Lanes(output("out"));
      return worst(actual.length, (index) => {
        const at = (vector: number): number => start[vector * lanes + (index % lanes)] ?? NaN;
        const [factor, summand] = [at(PEAK_CHAINS), at(PEAK_CHAINS + 1)];
        let [sum, magnitude] = [0, 0];
        for (let chain = 0; chain < PEAK_CHAINS; chain++) {
          let x = at(chain);
          for (let turn = 0; turn < turns; turn++) x = x * factor + summand;
          sum += x;
          magnitude += Math.abs(at(chain)) + Math.abs(summand);
        }
        return errorOf(actual[index], sum, unit * magnitude);
      });
    },
  };
}

export const simdPeakRow: Row = {
  kernel: simdPeak as unknown as KernelSchema,
  measure: "2^-53 (float64) or 2^-24 (float32) times the sum of the chains' starts' and summands' magnitudes",
  tolerance: 64,
  reason:
    "|factor| <= 1/2 keeps a chain below |start| + 2 |summand|, and halves errors from turn to turn: 8 in all of two " +
    "roundings a turn, 22 of the 11 sums, and float64 is compared with a loop that rounds as much.",
  unit: "GFLOP/s",
  *cases(random) {
    for (const [items, turns] of SIZES) for (const wide of [0, 1]) yield peakCase(random, items, turns, wide);
  },
  large(level, random, backend) {
    if (level > 0) return undefined;
    const shape = { items: 16 * backend.info.threads, turns: 4096, wide: 1 };
    return { ...peakCase(random, shape.items, shape.turns, shape.wide), work: peakOperations(shape) / 1e9 };
  },
};
