/**
 * The interpreters of covariance programs, in float32 and (on wasm) in float64, against the plain one in `reference.ts`.
 * A covariance case runs its variance kernel first, whose table no one else can read.
 */
import { encodeProgram } from "../../covariance/encode.ts";
import type { Program } from "../../covariance/program.ts";
import { programShape } from "../../covariance/shape.ts";
import type { Backend } from "../backend.ts";
import { covarianceF64, varianceF64 } from "../kernels/covariance-f64.ts";
import { covariance, NO_DIAGONAL, tableFloats, variance } from "../kernels/covariance.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { convnetGp, testImages, testPrograms, type TestProgram } from "./programs.ts";
import { referenceCovariance } from "./reference.ts";
import { errorOf, launch, sample, worst, type Case, type Data, type LargeCase, type Launch, type Row } from "./row.ts";

interface Precision {
  readonly variance: KernelSchema;
  readonly covariance: KernelSchema;
  readonly bytes: 4 | 8;
  tableBytes(backend: Backend, images: number, program: Program): number;
  readonly tolerance: number;
  readonly reason: string;
}

const F32: Precision = {
  variance: variance as unknown as KernelSchema,
  covariance: covariance as unknown as KernelSchema,
  bytes: 4,
  tableBytes: (backend, images, { imageFloats, tablePixels }) =>
    4 * tableFloats(backend.info.backend, images, imageFloats, tablePixels),
  tolerance: 1e-6,
  reason:
    "the accuracy that the project promises: 16 u, u = 2^-24. Pixels are not negative, so every sum is of one sign and " +
    "roundings average out over a map.",
};

const F64: Precision = {
  variance: varianceF64 as unknown as KernelSchema,
  covariance: covarianceF64 as unknown as KernelSchema,
  bytes: 8,
  tableBytes: (_, images, { imageFloats, tablePixels }) => 8 * images * (imageFloats + tablePixels),
  tolerance: 1e-12,
  reason: "the accuracy that the project promises; the reference's own rounding is a few times 1e-15.",
};

/** Pairs that are compared with the reference, which is slow, in one case. */
const CHECKED = 24;

function floats(precision: Precision, bytes: ArrayBuffer): Float32Array | Float64Array {
  return precision.bytes === 8 ? new Float64Array(bytes) : new Float32Array(bytes);
}

/** Images as the variance kernel of a precision takes them. */
function pixels(precision: Precision, images: Float32Array<ArrayBuffer>): Data {
  return precision.bytes === 8 ? Float64Array.from(images) : images;
}

/** Image `index` of images that lie one after the other. */
function image(program: Program, images: Float32Array, index: number): Float32Array {
  return images.subarray(index * program.imageFloats, (index + 1) * program.imageFloats);
}

function varianceLaunch(precision: Precision, program: Program, images: number, which: string): Launch {
  const params = { ...programShape(program), images, slices: 0, sliceFloats: 0 };
  return launch(precision.variance, params, ["program", which, `${which} table`, `${which} variances`, "workspace"]);
}

function varianceCase(
  precision: Precision,
  test: TestProgram,
  random: RandomStream,
  backend: Backend,
  count: number,
): Case {
  const { name, program } = test;
  const images = testImages(test, random, count);
  const places = sample(random, count, CHECKED);
  return {
    name: `${name}, ${count} images`,
    buffers: {
      program: encodeProgram(program),
      x: pixels(precision, images),
      "x table": precision.tableBytes(backend, count, program),
      "x variances": precision.bytes * count,
      workspace: 16,
    },
    launches: [varianceLaunch(precision, program, count, "x")],
    outputs: ["x variances"],
    check: (output) => {
      const actual = floats(precision, output("x variances"));
      return worst(places.length, (index) => {
        const place = places[index] ?? 0;
        const x = image(program, images, place);
        const expected = referenceCovariance(program, x, x);
        return errorOf(actual[place], expected, Math.abs(expected));
      });
    },
  };
}

interface Tile {
  readonly rows: number;
  readonly columns: number;
  /** Column j holds the image of row j - diagonal, where there is one. */
  readonly diagonal?: number;
  readonly lower?: boolean;
}

function covarianceCase(
  precision: Precision,
  test: TestProgram,
  random: RandomStream,
  backend: Backend,
  { rows, columns, diagonal = NO_DIAGONAL, lower = false }: Tile,
): Case {
  const { name, program } = test;
  const x = testImages(test, random, rows);
  const y = testImages(test, random, columns);
  for (let j = 0; j < columns; j++) {
    const i = j - diagonal;
    if (i >= 0 && i < rows) y.set(image(program, x, i), j * program.imageFloats);
  }
  const wanted = sample(random, rows * columns, CHECKED).filter((place) => {
    return !lower || (place % columns) - Math.floor(place / columns) <= diagonal;
  });
  const params = { ...programShape(program), rows, columns, diagonal, lower: lower ? 1 : 0, slices: 0, sliceFloats: 0 };
  const marks = [diagonal === NO_DIAGONAL ? "" : `, diagonal ${diagonal}`, lower ? ", lower" : ""].join("");
  return {
    name: `${name}, ${rows} x ${columns} pairs${marks}`,
    buffers: {
      program: encodeProgram(program),
      x: pixels(precision, x),
      y: pixels(precision, y),
      "x table": precision.tableBytes(backend, rows, program),
      "y table": precision.tableBytes(backend, columns, program),
      "x variances": precision.bytes * rows,
      "y variances": precision.bytes * columns,
      output: precision.bytes * rows * columns,
      workspace: 16,
    },
    setup: [varianceLaunch(precision, program, rows, "x"), varianceLaunch(precision, program, columns, "y")],
    launches: [
      launch(precision.covariance, params, ["program", "x table", "y table", "x variances", "output", "workspace"]),
    ],
    outputs: ["output"],
    loose: lower,
    check: (output) => {
      const actual = floats(precision, output("output"));
      return worst(wanted.length, (index) => {
        const place = wanted[index] ?? 0;
        const row = image(program, x, Math.floor(place / columns));
        const expected = referenceCovariance(program, row, image(program, y, place % columns));
        return errorOf(actual[place], expected, Math.abs(expected));
      });
    },
  };
}

/** Square tiles for timing: 32, 64, .. 1024 images a side. */
function largeTile(precision: Precision, level: number, random: RandomStream, backend: Backend): LargeCase | undefined {
  const side = 32 * 2 ** level;
  if (side > 1024) return undefined;
  const test = covarianceCase(precision, convnetGp(), random, backend, { rows: side, columns: side });
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
      for (const test of testPrograms()) {
        for (const count of [1, 6]) yield varianceCase(precision, test, random, backend, count);
      }
      for (const count of [0, 3, 67]) yield varianceCase(precision, convnetGp(), random, backend, count);
    },
    large(level, random, backend) {
      const count = 64 * 4 ** level;
      if (count > 4096) return undefined;
      return { ...varianceCase(precision, convnetGp(), random, backend, count), work: count };
    },
  };
}

function covarianceRow(precision: Precision): Row {
  return {
    kernel: precision.covariance,
    measure: "the covariance",
    tolerance: precision.tolerance,
    reason: precision.reason,
    unit: "pairs/s",
    *cases(random, backend) {
      const tile = (test: TestProgram, shape: Tile): Case => covarianceCase(precision, test, random, backend, shape);
      for (const test of testPrograms()) {
        yield tile(test, { rows: 5, columns: 4 });
        yield tile(test, { rows: 1, columns: 1 });
        yield tile(test, { rows: 7, columns: 7, diagonal: 0, lower: true });
      }
      const gp = convnetGp();
      yield tile(gp, { rows: 0, columns: 3 });
      yield tile(gp, { rows: 3, columns: 0 });
      yield tile(gp, { rows: 17, columns: 37 });
      yield tile(gp, { rows: 33, columns: 2 });
      yield tile(gp, { rows: 4, columns: 9, diagonal: 3 });
      yield tile(gp, { rows: 9, columns: 4, diagonal: -3, lower: true });
    },
    large: (level, random, backend) => largeTile(precision, level, random, backend),
  };
}

export const covarianceRows: readonly Row[] = [F32, F64].flatMap((precision) => [
  varianceRow(precision),
  covarianceRow(precision),
]);
