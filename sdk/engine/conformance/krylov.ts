/** A float32 tile times float64 blocks, and its transpose, judged in units of the sums of magnitudes. */
import { partDoubles, ProductDirection, productParts, tileFold, tileProduct } from "../kernels/krylov.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, sample, worst, type Case, type Row } from "./row.ts";

/** [rows, columns, vectors]: rows of every remainder modulo 4, work items and chunks of 512 columns that are not full. */
const SIZES = [
  [1, 1, 1],
  [0, 5, 1],
  [3, 1, 2],
  [4, 2, 1],
  [5, 3, 3],
  [64, 64, 1],
  [67, 129, 2],
  [130, 513, 1],
  [127, 1031, 5],
] as const;

const CHECKED = 1024;

function productCase(random: RandomStream, rows: number, columns: number, vectors: number, directions: number): Case {
  const [row, column] = [random.below(9), random.below(9)];
  const leftLength = row + rows + random.below(5);
  const rightLength = column + columns + random.below(5);
  const tile = random.fillNormal(new Float32Array(rows * columns));
  const right = random.fillNormal(new Float64Array(rightLength * vectors));
  const left = random.fillNormal(new Float64Array(leftLength * vectors));
  const out = random.fillNormal(new Float64Array(leftLength * vectors));
  const fold = random.fillNormal(new Float64Array(rightLength * vectors));
  const transposed = (directions & ProductDirection.transposed) !== 0;
  const params = { rows, columns, row, column, vectors, leftLength, rightLength, directions };
  const launches = [launch(tileProduct, params, ["tile", "right", "out", "left", "parts"])];
  if (transposed) {
    const folding = { parts: productParts(rows), columns, column, vectors, rightLength };
    launches.push(launch(tileFold, folding, ["parts", "fold"]));
  }
  const entry = (i: number, j: number): number => tile[i * columns + j] ?? NaN;
  /** One entry of a result: what stood there, and a sum of products of tile entries and a vector's. */
  const errorAt = (actual: number | undefined, before: number, count: number, term: (k: number) => number): number => {
    let [sum, magnitude] = [before, Math.abs(before)];
    for (let k = 0; k < count; k++) {
      sum += term(k);
      magnitude += Math.abs(term(k));
    }
    return errorOf(actual, sum, magnitude);
  };
  const leftPlaces = sample(random, leftLength * vectors, CHECKED);
  const rightPlaces = sample(random, rightLength * vectors, CHECKED);
  return {
    name: `${rows} x ${columns}, ${vectors} vectors, directions ${directions}`,
    buffers: { tile, right, out, left, parts: 8 * partDoubles(rows, columns, vectors), fold },
    launches,
    outputs: ["out", "fold", "parts"],
    loose: true, // no part is written where only the tile itself is multiplied
    check: (output) => {
      const [y, z] = [new Float64Array(output("out")), new Float64Array(output("fold"))];
      const forward = (directions & ProductDirection.forward) !== 0;
      const ofLeft = worst(leftPlaces.length, (index) => {
        const place = leftPlaces[index] ?? 0;
        const [v, i] = [Math.floor(place / leftLength), (place % leftLength) - row];
        const count = forward && i >= 0 && i < rows ? columns : 0;
        const base = v * rightLength + column;
        return errorAt(y[place], out[place] ?? NaN, count, (k) => entry(i, k) * (right[base + k] ?? NaN));
      });
      const ofRight = worst(rightPlaces.length, (index) => {
        const place = rightPlaces[index] ?? 0;
        const [v, j] = [Math.floor(place / rightLength), (place % rightLength) - column];
        const count = transposed && j >= 0 && j < columns ? rows : 0;
        const base = v * leftLength + row;
        return errorAt(z[place], fold[place] ?? NaN, count, (k) => entry(k, j) * (left[base + k] ?? NaN));
      });
      return Math.max(ofLeft, ofRight);
    },
  };
}

const tolerance = {
  measure: "the sum of the terms' magnitudes",
  tolerance: 1e-13,
  reason:
    "(k + 1) 2^-53 for k terms (Higham 2002, section 4.2): 1.2e-13 for 1031, and roundings of either sign leave a tenth.",
};

const { forward, transposed } = ProductDirection;

const tileProductRow: Row = {
  kernel: tileProduct as unknown as KernelSchema,
  ...tolerance,
  unit: "GB/s",
  *cases(random) {
    for (const [rows, columns, vectors] of SIZES)
      for (const directions of [forward, transposed, forward + transposed])
        yield productCase(random, rows, columns, vectors, directions);
  },
  large(level, random) {
    const n = 512 * 2 ** level;
    if (n > 1024) return undefined;
    return { ...productCase(random, n, n, 1, forward + transposed), work: (4 * n * n) / 1e9 };
  },
};

/** [parts, columns, vectors] */
const FOLDS = [
  [1, 1, 1],
  [0, 3, 2],
  [2, 3, 3],
  [3, 511, 1],
  [16, 513, 3],
] as const;

function foldCase(random: RandomStream, parts: number, columns: number, vectors: number): Case {
  const column = random.below(4);
  const rightLength = column + columns + random.below(4);
  const values = random.fillNormal(new Float64Array(parts * columns * vectors));
  const out = random.fillNormal(new Float64Array(rightLength * vectors));
  return {
    name: `${parts} parts of ${columns} columns, ${vectors} vectors`,
    buffers: { parts: values, out },
    launches: [launch(tileFold, { parts, columns, column, vectors, rightLength }, ["parts", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float64Array(output("out"));
      return worst(actual.length, (place) => {
        const [v, j] = [Math.floor(place / rightLength), (place % rightLength) - column];
        let expected = out[place] ?? NaN;
        if (j >= 0 && j < columns)
          for (let k = 0; k < parts; k++) expected += values[(k * vectors + v) * columns + j] ?? NaN;
        return errorOf(actual[place], expected, 0);
      });
    },
  };
}

const tileFoldRow: Row = {
  kernel: tileFold as unknown as KernelSchema,
  measure: "nothing: parts are added in their order, and every bit is that of the plain loop",
  tolerance: 0,
  reason: "each addition is one float64 addition.",
  unit: "GB/s",
  *cases(random) {
    for (const [parts, columns, vectors] of FOLDS) yield foldCase(random, parts, columns, vectors);
  },
  large: (level, random) =>
    level > 0 ? undefined : { ...foldCase(random, 16, 1024, 8), work: (8 * 16 * 1024 * 8) / 1e9 },
};

export const krylovRows: readonly Row[] = [tileProductRow, tileFoldRow];
