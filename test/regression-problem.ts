/** A small regression problem for tests: the built-in digits, with one-hot labels less a tenth. */
import type { Dataset } from "../sdk/data/dataset.ts";
import { digits } from "../sdk/data/digits.ts";
import type { Problem } from "../sdk/data/problem.ts";
import { parseRanges } from "../sdk/data/ranges.ts";

export function digitsProblem(seed: number, name = "digits"): Problem {
  const dataset: Dataset = digits({ size: 10, seed, trainCount: 200, testCount: 100 });
  return {
    ...{ name, dataset, outputs: 10, decision: "argmax" },
    targets(ranges) {
      const list = typeof ranges === "string" ? parseRanges(ranges, dataset.count, dataset.name) : ranges;
      const labels = list.flatMap(({ start, end }) => [...dataset.labels.subarray(start, end)]);
      const targets = new Float64Array(labels.length * 10).fill(-0.1);
      labels.forEach((label, row) => (targets[row * 10 + label] = 0.9));
      return targets;
    },
  };
}
