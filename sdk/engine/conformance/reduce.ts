/** Row by row: sum, max, min, argmax. */
import { reduce, ReduceOperation } from "../kernels/reduce.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, sample, worst, type Case, type Row } from "./row.ts";

type Name = keyof typeof ReduceOperation;
const NAMES = Object.keys(ReduceOperation) as Name[];
/** Rows that are checked of long ones. */
const CHECKED = 64;

/** What a row reduces to, and what an error in it is measured by: only a sum may be off at all. */
function reference(name: Name, row: Float32Array): { value: number; scale: number } {
  let [sum, magnitude, largest, smallest, place] = [0, 0, -Infinity, Infinity, 0];
  row.forEach((value, index) => {
    sum += value;
    magnitude += Math.abs(value);
    if (value > largest) place = index;
    largest = Math.max(largest, value);
    smallest = Math.min(smallest, value);
  });
  if (name === "sum") return { value: sum, scale: magnitude };
  return { value: name === "max" ? largest : name === "min" ? smallest : place, scale: 0 };
}

/** With `levels`, the entries are few whole numbers, so that extremes are met more than once. */
function reduceCase(random: RandomStream, name: Name, rows: number, columns: number, levels = 0): Case {
  const a = normals(random, rows * columns);
  if (levels > 0) a.forEach((_, index) => (a[index] = random.below(levels) - 2));
  const places = sample(random, rows, columns > 1000 ? CHECKED : Infinity);
  return {
    name: `${name}, ${rows} x ${columns}${levels > 0 ? ", repeated values" : ""}`,
    buffers: { a, out: 4 * rows },
    launches: [launch(reduce, { rows, columns, operation: ReduceOperation[name] }, ["a", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(places.length, (index) => {
        const row = places[index] ?? 0;
        const { value, scale } = reference(name, a.subarray(row * columns, (row + 1) * columns));
        return errorOf(actual[row], value, scale);
      });
    },
  };
}

const SHAPES = [
  [1, 1],
  [0, 7],
  [3, 0],
  [1, 3],
  [5, 17],
  [13, 127],
  [13, 128],
  [13, 129],
  [2, 257],
  [257, 5],
  [3, 5003],
  [1, 200_003],
  [70_001, 2],
] as const;

export const reduceRow: Row = {
  kernel: reduce as unknown as KernelSchema,
  measure: "the sum of the row's magnitudes (sum); max, min and argmax are exact",
  tolerance: 1e-6,
  reason:
    "16 u, u = 2^-24: at most 8 roundings in a lane and one for each level of the pairwise tree pass through any entry.",
  unit: "GB/s",
  *cases(random) {
    for (const [rows, columns] of SHAPES) {
      for (const name of NAMES) yield reduceCase(random, name, rows, columns);
    }
    for (const name of NAMES) yield reduceCase(random, name, 31, 301, 5);
  },
  large(level, random) {
    const rows = 256 * 4 ** level;
    return level > 2 ? undefined : { ...reduceCase(random, "sum", rows, 1021), work: (4 * rows * 1021) / 1e9 };
  },
};
