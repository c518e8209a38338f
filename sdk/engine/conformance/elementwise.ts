/** out = f(a, b), element by element. */
import { elementwise, ElementwiseOperation } from "../kernels/elementwise.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, sample, worst, type Case, type Row } from "./row.ts";

type Name = keyof typeof ElementwiseOperation;

/** The two terms that the operation adds. */
const TERMS: Readonly<Record<Name, (alpha: number, beta: number, a: number, b: number) => readonly [number, number]>> =
  {
    fill: (alpha) => [alpha, 0],
    affine: (alpha, beta, a) => [alpha * a, beta],
    add: (alpha, beta, a, b) => [alpha * a, beta * b],
    multiply: (alpha, beta, a, b) => [alpha * a * b, beta],
    relu: (alpha, _, a) => [alpha * Math.max(a, 0), 0],
    step: (alpha, _, a) => [Number.isNaN(a) ? NaN : a > 0 ? alpha : 0, 0],
  };
const NAMES = Object.keys(TERMS) as Name[];
/** Elements that are checked of arrays that are only timed. */
const CHECKED = 100_003;

function mapCase(random: RandomStream, name: Name, count: number): Case {
  const alpha = Math.fround(random.normal());
  const beta = Math.fround(random.normal());
  const a = normals(random, count);
  const b = normals(random, count + 1).subarray(1);
  const operation = ElementwiseOperation[name];
  const places = sample(random, count, CHECKED);
  return {
    name: `${name}, ${count} elements`,
    buffers: { a, b, out: 4 * count },
    launches: [launch(elementwise, { count, operation, alpha, beta }, ["a", "b", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(places.length, (index) => {
        const at = places[index] ?? 0;
        const [first, second] = TERMS[name](alpha, beta, a[at] ?? NaN, b[at] ?? NaN);
        return specialErrorOf(actual[at], first + second, Math.abs(first) + Math.abs(second));
      });
    },
  };
}

/** What an overflow leaves behind, with NaNs of both signs. */
const SPECIAL = new Uint32Array([0x7fc00000, 0xffc00000, 0x7f800001, 0x7f800000, 0xff800000, 0, 0x80000000]);

/** Numbers that are not finite, among finite ones: NaN stays NaN, an infinity is what IEEE 754 makes of it. */
function specialCase(random: RandomStream, name: Name): Case {
  const plain = mapCase(random, name, 5 * SPECIAL.length);
  const a = plain.buffers["a"] as Float32Array<ArrayBuffer>;
  const bits = new Uint32Array(a.buffer, a.byteOffset, a.length);
  SPECIAL.forEach((special, i) => (bits[5 * i] = special));
  // The bits of a NaN are no promise.
  return { ...plain, name: `${name} of NaN and infinities`, loose: true };
}

/** The error, in units of `size`; where NaN or an infinity is expected, nothing else will do. */
function specialErrorOf(actual: number | undefined, expected: number, size: number): number {
  return Number.isFinite(expected) ? errorOf(actual, expected, size) : Object.is(actual, expected) ? 0 : Infinity;
}

export const elementwiseRow: Row = {
  kernel: elementwise as unknown as KernelSchema,
  measure: "the sum of the two terms' magnitudes",
  tolerance: 4e-7,
  reason:
    "three roundings of one unit in the last place (2^-23) each: WGSL may round either way, wasm rounds to nearest",
  unit: "GB/s",
  *cases(random) {
    for (const count of [0, 1, 2, 3, 4, 5, 255, 256, 257, 16381, 100_003]) {
      for (const name of NAMES) yield mapCase(random, name, count);
    }
    for (const name of NAMES) yield specialCase(random, name);
  },
  large(level, random) {
    const count = 2 ** (18 + 2 * level) + 3;
    return level > 2 ? undefined : { ...mapCase(random, "add", count), work: (12 * count) / 1e9 };
  },
};
