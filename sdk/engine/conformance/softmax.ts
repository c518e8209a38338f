/** Softmax of rows and its backward pass, against float64 loops. */
import { softmax, softmaxGradient } from "../kernels/softmax.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, worst, type Case, type Row } from "./row.ts";

type Shape = readonly [rows: number, columns: number];

const SHAPES: readonly Shape[] = [
  [1, 1],
  [0, 7],
  [3, 0],
  [5, 2],
  [67, 10],
  [7, 63],
  [7, 64],
  [5, 65],
  [3, 257],
  [2, 5003],
  [1000, 3],
  [1, 70_001],
];

/**
 * log(sum of e^(x - largest)) with the largest left out of the sum, and added in a log1p; and how much it changes when every
 * term does by one part, and every difference of scores by one part.
 */
function logSum(row: Float32Array): { readonly largest: number; readonly log: number; readonly change: number } {
  let place = 0;
  row.forEach((value, k) => {
    if (value > (row[place] ?? NaN)) place = k;
  });
  const largest = row[place] ?? NaN;
  let [others, change] = [0, 0];
  row.forEach((value, k) => {
    if (k === place) return;
    const term = Math.exp(value - largest);
    others += term;
    change += term * (1 + largest - value);
  });
  return { largest, log: Math.log1p(others), change: change / (1 + others) };
}

function softmaxCase(random: RandomStream, [rows, columns]: Shape, log: 0 | 1, spread: number): Case {
  const a = normals(random, rows * columns).map((value) => spread * value);
  return {
    name: `${log === 1 ? "log softmax" : "softmax"} of ${rows} x ${columns}, scores of ${spread}`,
    buffers: { a, out: 4 * rows * columns },
    launches: [launch(softmax, { rows, columns, log }, ["a", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(rows, (row) => {
        const scores = a.subarray(row * columns, (row + 1) * columns);
        const { largest, log: logarithm, change } = logSum(scores);
        return worst(columns, (k) => {
          const x = (scores[k] ?? NaN) - largest;
          const value = actual[row * columns + k];
          if (log === 1) return errorOf(value, x - logarithm, logarithm + change - x + TINY);
          const p = Math.exp(x - logarithm);
          return errorOf(value, p, p * (1 - x) + TINY);
        });
      });
    },
  };
}

/** Below the smallest normal number over the tolerance, a GPU may flush what it computes to 0. */
const TINY = 2 ** -126 / 1e-6;

/** A NaN anywhere in a row, and nowhere else, comes out as NaN everywhere in that row. */
function nanCase(random: RandomStream, log: 0 | 1): Case {
  const [rows, columns] = [7, 37];
  const a = normals(random, rows * columns);
  for (const row of [1, 4]) a[row * columns + random.below(columns)] = NaN;
  return {
    ...softmaxCase(random, [rows, columns], log, 1),
    name: `NaN in rows, log ${log}`,
    buffers: { a, out: 4 * rows * columns },
    loose: true,
    check: (output) => {
      const actual = new Float32Array(output("out"));
      const wrong = actual.some((value, at) => Number.isNaN(value) !== [1, 4].includes(Math.floor(at / columns)));
      return wrong ? Infinity : 0;
    },
  };
}

function gradientCase(random: RandomStream, [rows, columns]: Shape, log: 0 | 1): Case {
  const g = normals(random, rows * columns);
  const y = normals(random, rows * columns);
  for (let row = 0; row < rows; row++) {
    const scores = y.subarray(row * columns, (row + 1) * columns);
    const { largest, log: logarithm } = logSum(scores);
    scores.forEach((value, k) => {
      const l = value - largest - logarithm;
      scores[k] = log === 1 ? l : Math.exp(l);
    });
  }
  return {
    name: `backward of ${log === 1 ? "log softmax" : "softmax"}, ${rows} x ${columns}`,
    buffers: { y, g, out: 4 * rows * columns },
    launches: [launch(softmaxGradient, { rows, columns, log }, ["y", "g", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(rows, (row) => {
        let [sum, size] = [0, 0];
        for (let at = row * columns; at < (row + 1) * columns; at++) {
          const term = (g[at] ?? NaN) * (log === 1 ? 1 : (y[at] ?? NaN));
          sum += term;
          size += Math.abs(term);
        }
        return worst(columns, (k) => {
          const at = row * columns + k;
          const [value, slope] = [y[at] ?? NaN, g[at] ?? NaN];
          const weight = log === 1 ? Math.exp(value) : value;
          const own = log === 1 ? slope : value * slope;
          return errorOf(actual[at], own - weight * sum, Math.abs(own) + weight * size);
        });
      });
    },
  };
}

export const softmaxRows: readonly Row[] = [
  {
    kernel: softmax as unknown as KernelSchema,
    measure:
      "the value itself, and what it changes when all differences of scores and their exponentials do by one part",
    tolerance: 3e-6,
    reason:
      "40 u, u = 2^-24: 32 roundings in a sum of a million terms, four of an exponential, four behind it; a difference of " +
      "scores is rounded once, which the exponential multiplies by the difference.",
    unit: "Gentries/s",
    *cases(random) {
      for (const shape of SHAPES) {
        for (const spread of [1, 12]) {
          yield softmaxCase(random, shape, 0, spread);
          yield softmaxCase(random, shape, 1, spread);
        }
      }
      yield softmaxCase(random, [1, 1_000_003], 1, 1);
      yield nanCase(random, 0);
      yield nanCase(random, 1);
    },
    large(level, random) {
      const rows = 1024 * 8 ** level;
      return level > 1 ? undefined : { ...softmaxCase(random, [rows, 101], 0, 1), work: (rows * 101) / 1e9 };
    },
  },
  {
    kernel: softmaxGradient as unknown as KernelSchema,
    measure: "the sum of the magnitudes of all terms",
    tolerance: 3e-6,
    reason: "40 u, u = 2^-24: 32 roundings in a sum of a million terms, four of an exponential, four behind it.",
    unit: "Gentries/s",
    *cases(random) {
      for (const shape of SHAPES) {
        yield gradientCase(random, shape, 0);
        yield gradientCase(random, shape, 1);
      }
    },
    large(level, random) {
      const rows = 1024 * 8 ** level;
      return level > 1 ? undefined : { ...gradientCase(random, [rows, 101], 0), work: (rows * 101) / 1e9 };
    },
  },
];
