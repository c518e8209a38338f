/** C = alpha op(A) op(B) + beta C against three nested loops in float64. */
import { matmul } from "../kernels/matmul.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, sample, worst, type Case, type Row } from "./row.ts";

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA?: 0 | 1;
  readonly transposeB?: 0 | 1;
  readonly alpha?: number;
  readonly beta?: number;
}

/** Entries that are checked of a product too large to be checked whole. */
const CHECKED = 4096;

const SHAPES: readonly Product[] = [
  { m: 1, n: 1, k: 1 },
  { m: 0, n: 5, k: 3 },
  { m: 5, n: 0, k: 3 },
  { m: 3, n: 5, k: 0, beta: 0.5 },
  { m: 1, n: 257, k: 31 },
  { m: 257, n: 1, k: 31 },
  { m: 7, n: 11, k: 13 },
  { m: 64, n: 64, k: 64 },
  { m: 65, n: 63, k: 66 },
  { m: 127, n: 131, k: 1 },
  { m: 101, n: 103, k: 307 },
  { m: 31, n: 29, k: 1031 },
];

function productCase(random: RandomStream, shape: Product): Case & { readonly work: number } {
  const { m, n, k, transposeA = 0, transposeB = 0 } = shape;
  const alpha = Math.fround(shape.alpha ?? 1);
  const beta = Math.fround(shape.beta ?? 0);
  const a = normals(random, m * k);
  const b = normals(random, k * n);
  const c = beta === 0 ? new Float32Array(m * n).fill(NaN) : normals(random, m * n);
  const entryA = (i: number, p: number): number => a[transposeA === 1 ? p * m + i : i * k + p] ?? NaN;
  const entryB = (p: number, j: number): number => b[transposeB === 1 ? j * k + p : p * n + j] ?? NaN;
  const places = sample(random, m * n, CHECKED);

  const entryError = (place: number, actual: number | undefined): number => {
    const i = Math.floor(place / n);
    const j = place % n;
    let sum = beta === 0 ? 0 : beta * (c[place] ?? NaN);
    let magnitude = Math.abs(sum);
    for (let p = 0; p < k; p++) {
      const term = alpha * entryA(i, p) * entryB(p, j);
      sum += term;
      magnitude += Math.abs(term);
    }
    return errorOf(actual, sum, magnitude);
  };

  const letters = `${transposeA === 1 ? "A' " : "A "}${transposeB === 1 ? "B'" : "B"}`;
  return {
    name: `${letters} m=${m} n=${n} k=${k} alpha=${shape.alpha ?? 1} beta=${shape.beta ?? 0}`,
    buffers: { a, b, c },
    launches: [launch(matmul, { m, n, k, transposeA, transposeB, alpha, beta }, ["a", "b", "c"])],
    outputs: ["c"],
    check: (output) => {
      const actual = new Float32Array(output("c"));
      return worst(places.length, (index) => entryError(places[index] ?? 0, actual[places[index] ?? 0]));
    },
    work: (2 * m * n * k) / 1e9,
  };
}

export const matmulRow: Row = {
  kernel: matmul as unknown as KernelSchema,
  measure: "the sum of the entry's terms' magnitudes",
  tolerance: 1e-6,
  reason:
    "16 u, u = 2^-24. k terms guarantee (k + 2) u; roundings of either sign leave about u for any k, and the largest of " +
    "a million entries stays below 6 u.",
  unit: "GFLOP/s",
  *cases(random) {
    for (const shape of SHAPES) {
      for (const transposeA of [0, 1] as const) {
        for (const transposeB of [0, 1] as const) yield productCase(random, { ...shape, transposeA, transposeB });
      }
    }
    yield productCase(random, { m: 37, n: 41, k: 43, alpha: -0.75, beta: 1.5 });
    yield productCase(random, { m: 37, n: 41, k: 43, alpha: 0, beta: -1 });
  },
  large(level, random) {
    const size = 256 * 2 ** level;
    return size > 2048 ? undefined : productCase(random, { m: size, n: size, k: size });
  },
};
