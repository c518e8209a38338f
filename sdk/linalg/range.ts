/** Runs of rows and columns. */

/** Half-open: [begin, end). */
export interface Range {
  readonly begin: number;
  readonly end: number;
}

/** [0, n) in runs of `size`, the last one perhaps shorter. */
export function runs(n: number, size: number): Range[] {
  return Array.from({ length: Math.ceil(n / size) }, (_, k) => ({ begin: k * size, end: Math.min(n, (k + 1) * size) }));
}
