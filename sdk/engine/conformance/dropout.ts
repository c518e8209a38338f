/** Dropout against the stream's own numbers: the mask has to be the same everywhere, to the last element. */
import { dropout } from "../kernels/dropout.ts";
import { RandomStream, streamAddress } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, worst, type LargeCase, type Row } from "./row.ts";

/** Elements that are checked of arrays that are only timed. */
const CHECKED = 20_011;

function maskCase(random: RandomStream, count: number, perGroup: number, keep: number): LargeCase {
  const [seed, stream, index] = [random.below(2 ** 32), random.below(2 ** 31), random.below(1000)];
  // No zeros: what has been dropped can be told.
  const a = normals(random, count).map((x) => (x === 0 ? 1 : x));
  const rounded = Math.fround(keep);
  return {
    name: `${count} elements, ${perGroup} a group, ${keep} kept`,
    buffers: { a, out: 4 * count },
    launches: [launch(dropout, { count, perGroup, keep, ...streamAddress(seed, stream, index) }, ["a", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      const checked = Math.min(count, CHECKED);
      const numbers = new RandomStream(seed, stream, index).fillUniform(
        new Float32Array(Math.ceil(checked / perGroup)),
      );
      return worst(checked, (i) => {
        const kept = (numbers[Math.floor(i / perGroup)] ?? NaN) < rounded;
        const expected = kept ? (a[i] ?? NaN) / rounded : 0;
        return errorOf(actual[i], expected, Math.abs(expected));
      });
    },
    work: (8 * count) / 1e9,
  };
}

export const dropoutRow: Row = {
  kernel: dropout as unknown as KernelSchema,
  measure: "the value; of what is dropped, nothing may be left",
  tolerance: 3e-7,
  reason: "one quotient, in which WGSL may be off by 2.5 of the last place (2^-23).",
  unit: "GB/s",
  *cases(random) {
    for (const count of [0, 1, 5, 257, 4096, 9001])
      for (const perGroup of [1, 2, 3, 49]) yield maskCase(random, count, perGroup, 0.1 + 0.8 * random.uniform());
    yield maskCase(random, 20_011, 10_007, 0.5);
    yield maskCase(random, 1001, 1, 1);
  },
  large(level, random) {
    return level > 2 ? undefined : maskCase(random, 2 ** (16 + 2 * level) + 3, 1, 0.5);
  },
};
