/**
 * The interpreters of full covariance programs, in float32 and (on wasm) in float64, against the plain one in
 * `full-reference.ts`. A covariance case runs its variance kernel first, whose table no one else can read.
 */
import { encodeFull } from "../../covariance/encode-full.ts";
import { fullTableF64, fullWasmWorkspaceF64 } from "../../covariance/full-memory-f64.ts";
import { fullWasmWorkspace } from "../../covariance/full-memory.ts";
import { fullShape, type FullShape } from "../../covariance/full-shape.ts";
import type { Backend } from "../backend.ts";
import { NO_DIAGONAL, tableFloats, type Workspace } from "../kernels/covariance.ts";
import { fullCovarianceF64, fullVarianceF64 } from "../kernels/full-covariance-f64.ts";
import { fullCovariance, fullVariance, NNGP, NTK } from "../kernels/full-covariance.ts";
import { fullWebgpuWorkspace } from "../kernels/full-workspace.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { fullTestImages, fullTestPrograms, myrtle, type FullTestProgram } from "./full-programs.ts";
import { referenceFull } from "./full-reference.ts";
import { errorOf, launch, sample, worst, type Case, type Data, type LargeCase, type Launch, type Row } from "./row.ts";

interface Precision {
  readonly variance: KernelSchema;
  readonly covariance: KernelSchema;
  readonly bytes: 4 | 8;
  /** Numbers of the table of so many images. */
  tableFloats(backend: Backend, images: number, shape: FullShape): number;
  workspace(backend: Backend, shape: FullShape): Workspace;
  readonly tolerance: number;
  readonly reason: string;
}

const F32: Precision = {
  variance: fullVariance as unknown as KernelSchema,
  covariance: fullCovariance as unknown as KernelSchema,
  bytes: 4,
  tableFloats: ({ info }, images, { imageFloats, tablePixels }) =>
    tableFloats(info.backend, images, imageFloats, tablePixels),
  workspace: ({ info }, shape) =>
    info.backend === "wasm" ? fullWasmWorkspace(shape, info.threads) : fullWebgpuWorkspace(info, shape, 2 ** 26),
  tolerance: 1e-5,
  reason:
    "the accuracy that the project promises. Distances have a few u of their variance, u = 2^-24, so 1 - c has 1e-7, and " +
    "kappa_0 that over sin t, which is 5e-3 and more in these images: up to 5e-6, where a single pixel is left.",
};

const F64: Precision = {
  variance: fullVarianceF64 as unknown as KernelSchema,
  covariance: fullCovarianceF64 as unknown as KernelSchema,
  bytes: 8,
  tableFloats: (_, images, shape) => fullTableF64(images, shape),
  workspace: ({ info }, shape) => fullWasmWorkspaceF64(shape, info.threads),
  tolerance: 1e-11,
  reason:
    "the reference takes the angle of two nearly equal pixels from a cosine with an error of 1e-16, and gets it to " +
    "1e-16 / sin t: 1e-12 for these images. All else is a few times 1e-15.",
};

/** Pairs that are compared with the reference, which is slow, in one case: all of them but in those for timing. */
const CHECKED = 15;
const LARGE_CHECKED = 4;

function numbers(precision: Precision, bytes: ArrayBuffer): Float32Array | Float64Array {
  return precision.bytes === 8 ? new Float64Array(bytes) : new Float32Array(bytes);
}

/** Images as the variance kernel of a precision takes them. */
function pixels(precision: Precision, images: Float32Array<ArrayBuffer>): Data {
  return precision.bytes === 8 ? Float64Array.from(images) : images;
}

/** A program on a backend: its words, its params, the workspace. */
interface Prepared {
  readonly words: Uint32Array<ArrayBuffer>;
  readonly shape: FullShape;
  readonly workspace: Workspace;
  readonly params: FullShape & { readonly kinds: number; readonly slices: number; readonly sliceFloats: number };
  readonly outputs: number;
}

function prepare(precision: Precision, { program, kinds }: FullTestProgram, backend: Backend): Prepared {
  const encoded = encodeFull(program);
  const shape = fullShape(program, encoded);
  const workspace = precision.workspace(backend, shape);
  const { slices, sliceFloats } = workspace;
  const outputs = (kinds & NNGP ? 1 : 0) + (kinds & NTK ? 1 : 0);
  return { words: encoded.words, shape, workspace, params: { ...shape, kinds, slices, sliceFloats }, outputs };
}

/** Image `index` of images that lie one after the other. */
function image({ program }: FullTestProgram, images: Float32Array, index: number): Float32Array {
  return images.subarray(index * program.imageFloats, (index + 1) * program.imageFloats);
}

/** What the reference gives for a pair, in the order of the outputs. Equal images are one to it. */
function expected({ program, kinds }: FullTestProgram, x: Float32Array, y: Float32Array): number[] {
  const equal = x.every((value, at) => value === y[at]);
  const { nngp, ntk } = referenceFull(program, x, equal ? x : y);
  return [...(kinds & NNGP ? [nngp] : []), ...(kinds & NTK ? [ntk] : [])];
}

function varianceLaunch(precision: Precision, { params }: Prepared, images: number, which: string): Launch {
  const buffers = ["program", which, `${which} table`, `${which} variances`, "workspace"];
  return launch(precision.variance, { ...params, images }, buffers);
}

function varianceCase(
  precision: Precision,
  test: FullTestProgram,
  random: RandomStream,
  backend: Backend,
  count: number,
  checked = CHECKED,
): Case {
  const prepared = prepare(precision, test, backend);
  const { words, shape, workspace, outputs } = prepared;
  const images = fullTestImages(test, random, count);
  const places = sample(random, count, checked);
  return {
    name: `${test.name}, ${count} images`,
    buffers: {
      program: words,
      x: pixels(precision, images),
      "x table": precision.bytes * precision.tableFloats(backend, count, shape),
      "x variances": precision.bytes * outputs * count,
      workspace: workspace.bytes,
    },
    launches: [varianceLaunch(precision, prepared, count, "x")],
    outputs: ["x variances"],
    check: (output) => {
      const actual = numbers(precision, output("x variances"));
      return worst(places.length, (index) => {
        const place = places[index] ?? 0;
        const x = image(test, images, place);
        const truth = expected(test, x, x);
        return worst(outputs, (which) => relative(actual[which * count + place], truth[which]));
      });
    },
  };
}

function relative(actual: number | undefined, truth = NaN): number {
  return errorOf(actual, truth, Math.abs(truth));
}

interface Tile {
  readonly rows: number;
  readonly columns: number;
  /** Column j holds the image of row j - diagonal, where there is one. */
  readonly diagonal?: number;
  readonly lower?: boolean;
  /** The columns hold the rows' images, and no entry is known to be a diagonal one. */
  readonly twice?: boolean;
}

function covarianceCase(
  precision: Precision,
  test: FullTestProgram,
  random: RandomStream,
  backend: Backend,
  { rows, columns, diagonal = NO_DIAGONAL, lower = false, twice = false }: Tile,
  checked = CHECKED,
): Case {
  const prepared = prepare(precision, test, backend);
  const { words, shape, workspace, outputs, params } = prepared;
  const x = fullTestImages(test, random, rows);
  const y = fullTestImages(test, random, columns);
  for (let j = 0; j < columns; j++) {
    const i = twice ? j : j - diagonal;
    if (i >= 0 && i < rows) y.set(image(test, x, i), j * test.program.imageFloats);
  }
  const wanted = sample(random, rows * columns, checked).filter((place) => {
    return !lower || (place % columns) - Math.floor(place / columns) <= diagonal;
  });
  const tile = { ...params, rows, columns, diagonal, lower: lower ? 1 : 0 };
  const other = twice ? "x table" : "y table";
  const marks = [diagonal === NO_DIAGONAL ? "" : `, diagonal ${diagonal}`, lower ? ", lower" : ""].join("");
  return {
    name: `${test.name}, ${rows} x ${columns} pairs${twice ? " of the same images" : ""}${marks}`,
    buffers: {
      program: words,
      x: pixels(precision, x),
      y: pixels(precision, y),
      "x table": precision.bytes * precision.tableFloats(backend, rows, shape),
      "y table": precision.bytes * precision.tableFloats(backend, columns, shape),
      "x variances": precision.bytes * outputs * rows,
      "y variances": precision.bytes * outputs * columns,
      output: precision.bytes * outputs * rows * columns,
      workspace: workspace.bytes,
    },
    setup: [
      varianceLaunch(precision, prepared, rows, "x"),
      ...(twice ? [] : [varianceLaunch(precision, prepared, columns, "y")]),
    ],
    launches: [launch(precision.covariance, tile, ["program", "x table", other, "x variances", "output", "workspace"])],
    outputs: ["output"],
    loose: lower,
    check: (output) => {
      const actual = numbers(precision, output("output"));
      // Covariances of the same images in both orders have to agree to the bit.
      if (twice && !isSymmetric(actual, rows, outputs)) return Infinity;
      return worst(wanted.length, (index) => {
        const place = wanted[index] ?? 0;
        const truth = expected(test, image(test, x, Math.floor(place / columns)), image(test, y, place % columns));
        return worst(outputs, (which) => relative(actual[which * rows * columns + place], truth[which]));
      });
    },
  };
}

function isSymmetric(matrices: Float32Array | Float64Array, side: number, outputs: number): boolean {
  const at = (which: number, i: number, j: number): number => matrices[(which * side + i) * side + j] ?? NaN;
  return (
    worst(outputs * side * side, (index) => {
      const [which, i, j] = [Math.floor(index / side ** 2), Math.floor(index / side) % side, index % side];
      return Object.is(at(which, i, j), at(which, j, i)) ? 0 : Infinity;
    }) === 0
  );
}

/** Square tiles for timing: 2, 4, .. 64 images a side. */
function largeTile(precision: Precision, level: number, random: RandomStream, backend: Backend): LargeCase | undefined {
  const side = 2 * 2 ** level;
  if (side > 64) return undefined;
  const test = covarianceCase(precision, myrtle(8), random, backend, { rows: side, columns: side }, LARGE_CHECKED);
  return { ...test, work: side * side };
}

function varianceRow(precision: Precision): Row {
  return {
    kernel: precision.variance,
    measure: "the variance",
    tolerance: precision.tolerance,
    reason: precision.reason,
    unit: "images/s",
    *cases(random, backend) {
      for (const test of fullTestPrograms()) yield varianceCase(precision, test, random, backend, 3);
      for (const count of [0, 1, 19]) yield varianceCase(precision, myrtle(4), random, backend, count);
    },
    large(level, random, backend) {
      const count = 4 * 4 ** level;
      if (count > 256) return undefined;
      return { ...varianceCase(precision, myrtle(8), random, backend, count, LARGE_CHECKED), work: count };
    },
  };
}

function covarianceRow(precision: Precision): Row {
  return {
    kernel: precision.covariance,
    measure: "the kernel",
    tolerance: precision.tolerance,
    reason: precision.reason,
    unit: "pairs/s",
    *cases(random, backend) {
      const tile = (test: FullTestProgram, shape: Tile): Case =>
        covarianceCase(precision, test, random, backend, shape);
      for (const test of fullTestPrograms()) {
        yield tile(test, { rows: 3, columns: 3, twice: true });
      }
      const small = myrtle(4);
      yield tile(small, { rows: 1, columns: 1 });
      yield tile(small, { rows: 0, columns: 3 });
      yield tile(small, { rows: 3, columns: 0 });
      yield tile(small, { rows: 2, columns: 7 });
      yield tile(small, { rows: 4, columns: 3, diagonal: 0, lower: true });
      yield tile(small, { rows: 3, columns: 5, diagonal: 2 });
      yield tile(small, { rows: 5, columns: 3, diagonal: -2, lower: true });
    },
    large: (level, random, backend) => largeTile(precision, level, random, backend),
  };
}

/** The float32 kernels. */
export const fullSingleRows: readonly Row[] = [varianceRow(F32), covarianceRow(F32)];

/** The float64 kernels. */
export const fullDoubleRows: readonly Row[] = [varianceRow(F64), covarianceRow(F64)];
