/**
 * Regression problems: a dataset with the real numbers that are to be learned from it. A classification problem's are
 * its one-hot labels less a tenth, as the papers on kernels regress them.
 */
import type { Dataset } from "./dataset.ts";
import type { Ranges } from "./ranges.ts";

export interface Problem {
  /** "fmnist-hf level 7", for titles and manifests. */
  readonly name: string;
  readonly dataset: Dataset;
  /** Numbers learned for each image. */
  readonly outputs: number;
  /** How predictions become classes: the largest of the outputs; one output's sign (negative: class 0); or none. */
  readonly decision: "argmax" | "sign" | undefined;
  /** [n, outputs], for the images of these ranges in their order. Throws E_RANGE. */
  targets(ranges: Ranges | string): Float64Array<ArrayBuffer>;
}
