/** Normal numbers of a random stream against the generator in JavaScript, in float64. */
import { randomNormal } from "../kernels/random-normal.ts";
import { RandomStream, streamAddress } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, worst, type LargeCase, type Row } from "./row.ts";

/** Numbers that are checked of arrays that are only timed. */
const CHECKED = 100_003;

function streamCase(seed: number, stream: string | number, index: number, count: number): LargeCase {
  const scale = Math.fround(0.1 + (index % 7));
  return {
    name: `${count} numbers of (${seed}, ${stream}, ${index})`,
    buffers: { out: 4 * count },
    launches: [launch(randomNormal, { count, ...streamAddress(seed, stream, index), scale }, ["out"])],
    outputs: ["out"],
    check: (read) => {
      const actual = new Float32Array(read("out"));
      const exact = new RandomStream(seed, stream, index).fillNormal(new Float64Array(Math.min(count, CHECKED)));
      return worst(exact.length, (i) => {
        const expected = scale * (exact[i] ?? NaN);
        return errorOf(actual[i], expected, Math.abs(expected));
      });
    },
    work: count / 1e6,
  };
}

export const randomNormalRow: Row = {
  kernel: randomNormal as unknown as KernelSchema,
  measure: "the number itself",
  tolerance: 1e-6,
  reason:
    "16 u, u = 2^-24: a logarithm, a square root and a sine or cosine of a few u each, and WGSL's division and square " +
    "root may be off by 2.5 and 3 of the last place. Wasm computes in float64 and rounds twice.",
  unit: "million/s",
  *cases(random) {
    for (const count of [0, 1, 2, 3, 4, 5, 1023, 1025, 100_003]) {
      yield streamCase(random.below(2 ** 32), random.below(2 ** 31), random.below(1000), count);
    }
    yield streamCase(2 ** 53 - 1, "the largest address", 2 ** 53 - 1, 1000);
  },
  large(level) {
    return level > 3 ? undefined : streamCase(level, "large", level, 2 ** (16 + 2 * level));
  },
};
