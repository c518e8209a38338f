import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { referenceCovariance, referenceVariances } from "../../../test/reference/program.ts";
import { convnetGp, digitLike, mulberry32, programOf } from "../../../test/reference/programs.ts";
import type { Program } from "../../covariance/program.ts";
import { encodeProgram } from "../../covariance/program.ts";
import { programShape } from "../../covariance/shape.ts";
import { covariance, NO_DIAGONAL, variance, webgpuTableFloats } from "../kernels/covariance.ts";
import type { WebGpuBackend } from "./backend.ts";
import { openForTests } from "./testing.ts";

let backend: WebGpuBackend;
beforeAll(async () => {
  backend = await openForTests();
});
afterAll(() => backend.close());

type Images = readonly Float32Array<ArrayBuffer>[];

interface TileOptions {
  readonly diagonal?: number;
  readonly lower?: boolean;
  /** Longest side of a map, as the kernels are told: above 48 they take a pixel a lane. */
  readonly line?: number;
}

/** K(X, Y) and K(X, X)'s diagonal by the two kernels. */
async function gram(program: Program, xs: Images, ys: Images, options: TileOptions = {}) {
  const shape = { ...programShape(program), ...(options.line === undefined ? {} : { line: options.line }) };
  const words = encodeProgram(program);
  const steps = backend.allocate(words.byteLength, "program");
  backend.write(steps, 0, words);
  const tables = [xs, ys].map((images) => {
    const pixels = Float32Array.from(images.flatMap((image) => [...image]));
    const source = backend.allocate(pixels.byteLength, "images");
    backend.write(source, 0, pixels);
    const floats = webgpuTableFloats(images.length, shape.imageFloats, shape.tablePixels);
    const table = backend.allocate(4 * floats, "table");
    const variances = backend.allocate(4 * images.length, "variances");
    backend.dispatch(variance, { ...shape, images: images.length }, [steps, source, table, variances]);
    backend.free(source);
    return { table, variances };
  });
  const [rows, columns] = tables;
  if (rows === undefined || columns === undefined) throw new Error("two sets of images");
  const output = backend.allocate(4 * xs.length * ys.length, "output");
  backend.dispatch(
    covariance,
    {
      ...shape,
      rows: xs.length,
      columns: ys.length,
      diagonal: options.diagonal ?? NO_DIAGONAL,
      lower: options.lower === true ? 1 : 0,
    },
    [steps, rows.table, columns.table, rows.variances, output],
  );
  const kernel = new Float32Array(await backend.read(output, 0, 4 * xs.length * ys.length));
  const variances = new Float32Array(await backend.read(rows.variances, 0, 4 * xs.length));
  for (const slot of [steps, output, ...tables.flatMap(({ table, variances: each }) => [table, each])]) {
    backend.free(slot);
  }
  return { kernel, variances };
}

function worstRelative(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)) / Math.max(Math.abs(expected[i] ?? NaN), 1e-30);
    worst = error <= worst ? worst : error; // NaN is the worst
  }
  return worst;
}

function pairs(program: Program, xs: Images, ys: Images): number[] {
  return xs.flatMap((x) => ys.map((y) => referenceCovariance(program, x, y)));
}

function someDigits(count: number, seed: number, height = 28, width = 28, channels = 1): Float32Array<ArrayBuffer>[] {
  const random = mulberry32(seed);
  return Array.from({ length: count }, () => digitLike(random, height, width, channels));
}

describe("the ConvNet GP", () => {
  const program = convnetGp();
  it("agrees with float64 to 1e-6", async () => {
    const xs = someDigits(5, 1);
    const ys = someDigits(11, 2);
    const { kernel, variances } = await gram(program, xs, ys);
    console.log(
      worstRelative(kernel, pairs(program, xs, ys)),
      worstRelative(variances, referenceVariances(program, xs)),
    );
    expect(worstRelative(kernel, pairs(program, xs, ys))).toBeLessThan(1e-6);
    expect(worstRelative(variances, referenceVariances(program, xs))).toBeLessThan(1e-6);
  });
});
describe("programs of every shape", () => {
  const conv = "conv" as const;
  const relu = { layer: "relu" } as const;
  const mean = { layer: "mean" } as const;
  const cases: Record<string, Program> = {
    "a dense network": programOf([137, 1, 1], [mean, relu, mean, relu, mean]),
    "a non-square image with three channels": programOf(
      [3, 9, 13],
      [{ layer: conv, filter: [3, 5], padding: "same" }, relu, mean],
    ),
    "strides and valid padding": programOf(
      [1, 13, 11],
      [{ layer: conv, filter: [3, 3], stride: [2, 2] }, relu, { layer: conv, filter: [2, 3], padding: 1 }, relu, mean],
    ),
    "no relu, then a pointwise conv": programOf(
      [2, 5, 7],
      [{ layer: conv, filter: [3, 3], padding: "same", biasVariance: 0 }, { layer: conv, filter: [1, 1] }, relu, mean],
    ),
    "dilation, even filters": programOf(
      [1, 12, 12],
      [
        { layer: conv, filter: [4, 4], padding: "same" },
        relu,
        { layer: conv, filter: [2, 3], dilation: [3, 2], padding: "same", biasVariance: 0 },
        relu,
        mean,
      ],
    ),
    "a filter larger than the map": programOf(
      [1, 5, 4],
      [{ layer: conv, filter: [9, 9], padding: "same", biasVariance: 0 }, relu, mean],
    ),
    "maps that grow": programOf(
      [1, 4, 5],
      [
        { layer: conv, filter: [2, 2], padding: 3, biasVariance: 0 },
        relu,
        { layer: conv, filter: [2, 2], padding: 3 },
        relu,
        mean,
      ],
    ),
  };
  for (const [name, program] of Object.entries(cases)) {
    for (const line of [undefined, 1000])
      it(`${name} ${line}`, async () => {
        const first = program.steps[0];
        if (first?.kind !== "input") throw new Error("no input");
        const random = mulberry32(5);
        const image = () => Float32Array.from({ length: program.imageFloats }, () => (random() < 0.3 ? 0 : random()));
        const xs = Array.from({ length: 3 }, image),
          ys = Array.from({ length: 7 }, image);
        const { kernel, variances } = await gram(program, xs, ys, line === undefined ? {} : { line });
        console.log(
          name,
          line,
          worstRelative(kernel, pairs(program, xs, ys)),
          worstRelative(variances, referenceVariances(program, xs)),
        );
        expect(worstRelative(kernel, pairs(program, xs, ys))).toBeLessThan(1e-6);
      });
  }
});
