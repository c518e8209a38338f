/**
 * Recursions of points, in float32 and (on wasm) in float64, against Math.acos and Math.asin on the images themselves. A
 * float32 case runs the matmul whose products it starts from.
 */
import { compile, dense, erf, leakyRelu, abs, relu, serial, step, sum, identity, type Arch } from "../../arch/arch.ts";
import { closedKernel } from "../../covariance/closed-kernel.ts";
import { imageTable, type ImageTable } from "../../covariance/recursion-images.ts";
import { closedRecursion, encodeRecursion, recursionOf, type Recursion } from "../../covariance/recursion.ts";
import { NEAR } from "../../covariance/recursion.ts";
import { matmul } from "../kernels/matmul.ts";
import { recursion, recursionF64, Wanted } from "../kernels/recursion.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { referencePair } from "./recursion-reference.ts";
import { launch, sample, worst, type Case, type Data, type LargeCase, type Launch, type Row } from "./row.ts";

interface Precision {
  readonly kernel: KernelSchema;
  readonly bytes: 4 | 8;
  readonly tolerance: number;
  readonly reason: string;
}

const F32: Precision = {
  kernel: recursion as unknown as KernelSchema,
  bytes: 4,
  tolerance: 4e-6,
  reason:
    "below the 1e-5 that the project promises: products of points are within 5e-7, which the threshold below which gaps " +
    "come from the points, u = 2^-6, makes 1e-6 of each derivative, and four layers add up.",
};

const F64: Precision = {
  kernel: recursionF64 as unknown as KernelSchema,
  bytes: 8,
  tolerance: 1e-12,
  reason: "gaps come from the points, to a few units of 2^-53, and nothing magnifies their relative error.",
};

interface TestRecursion {
  readonly name: string;
  readonly recursion: Recursion;
  readonly floats: number;
  readonly wanted: number;
}

/** Pairs that are compared with the reference in one case. */
const CHECKED = 400;

function architecture(name: string, floats: number, arch: Arch): TestRecursion {
  const found = recursionOf(compile(arch, [floats]));
  if (found === undefined) throw new Error(`${name} has maps`);
  return { name, recursion: withGains(found), floats, wanted: Wanted.nngp | (hasStep(found) ? 0 : Wanted.ntk) };
}

function hasStep({ steps }: Recursion): boolean {
  return steps.some(({ kind }) => kind === "step");
}

/** Every linear step a layer of the NTK, whatever the program says: the kernel has to do what it is told. */
function withGains(recursion: Recursion): Recursion {
  const steps = recursion.steps.map((one, index) =>
    one.kind === "affine" ? { ...one, gain: 1, offset: index % 3 === 0 ? 0.125 : 0 } : one,
  );
  return { ...recursion, steps };
}

function closed(floats: number, name: string, parameters: Record<string, number> = {}): TestRecursion {
  const kernel = closedKernel(name, parameters);
  if (kernel.name === "rf") throw new Error("a finite model has no recursion");
  const wanted = kernel.name === "ntk2" ? Wanted.ntk : Wanted.nngp;
  const title = [name, ...Object.values(parameters)].join(" ");
  return { name: title, recursion: closedRecursion(kernel, floats), floats, wanted };
}

const bias = { weightVariance: 1.7, biasVariance: 0.3 };
const plain = { weightVariance: 1.7 };

function testRecursions(): TestRecursion[] {
  return [
    closed(784, "ntk2"),
    closed(13, "rf2"),
    closed(97, "poly", { degree: 1, constant: 0 }),
    closed(97, "poly", { degree: 5, constant: 0.7 }),
    closed(29, "rbf", { bandwidth: 4 }),
    closed(29, "laplace", { bandwidth: 3 }),
    ...[0, 1, 2].flatMap((order) => [1, 2].map((depth) => closed(57, "arccos", { order, depth }))),
    architecture("one layer", 5, serial(dense(bias))),
    architecture("relus", 784, serial(dense(plain), relu(), dense(plain), relu(), dense(plain), relu(), dense())),
    architecture("biases", 31, serial(dense(bias), relu({ sqrt2: true }), dense(bias), relu(), dense(bias))),
    architecture("both slopes", 64, serial(dense(bias), leakyRelu({ slope: 0.3 }), dense(plain), abs(), dense(bias))),
    architecture("erf", 100, serial(dense(bias), erf(), dense(bias), erf(), dense(plain))),
    architecture("step", 33, serial(dense(plain), step(), dense(bias))),
    architecture(
      "sums",
      48,
      serial(dense(bias), sum(identity(), serial(relu(), dense(bias), relu(), dense(plain))), relu(), dense(bias)),
    ),
  ];
}

/**
 * Normal numbers; of five or more, the second image is 0, the fourth nearly the third, the fifth twice that; of six, the
 * sixth opposite to the third, and of seven, the seventh nearly so, but for a hair.
 */
function testImages(random: RandomStream, count: number, floats: number): Float32Array {
  const images = random.fillNormal(new Float32Array(count * floats));
  if (count < 5) return images;
  images.fill(0, floats, 2 * floats);
  const third = images.subarray(2 * floats, 3 * floats);
  images.set(third, 3 * floats);
  images[3 * floats] = (images[3 * floats] ?? 0) + 2 ** -10;
  images.set(
    third.map((x) => 2 * x),
    4 * floats,
  );
  for (let image = 5; image < Math.min(count, 7); image++) {
    images.set(
      third.map((x) => -x),
      image * floats,
    );
  }
  if (count > 6) images[6 * floats] = (images[6 * floats] ?? 0) + 2 ** -8;
  return images;
}

function recursionCase(
  precision: Precision,
  test: TestRecursion,
  random: RandomStream,
  rows: number,
  columns: number,
): Case {
  const { floats, wanted } = test;
  const x = testImages(random, rows, floats);
  const y = testImages(random, columns, floats);
  // Equal images, and images that are nearly equal, in both sets.
  if (rows >= 5 && columns >= 5) y.set(x.subarray(0, 4 * floats));
  const single = precision.bytes === 4;
  const data = (values: Float64Array<ArrayBuffer>): Data => (single ? Float32Array.from(values) : values);
  const table = (images: Float32Array, count: number): ImageTable => imageTable(test.recursion, images, count, floats);
  const [xs, ys] = [table(x, rows), table(y, columns)];
  const outputs = wanted === (Wanted.nngp | Wanted.ntk) ? 2 : 1;
  const { steps, slots, metric } = test.recursion;
  const params = { rows, columns, floats, steps: steps.length, slots, angle: metric === "angle" ? 1 : 0, wanted };
  const buffers = ["program", "x table", "y table", "x", "y", "output"];
  const product = { m: rows, n: columns, k: floats, transposeA: 0, transposeB: 1, alpha: 1, beta: 0 };
  const launches: Launch[] = single
    ? [launch(matmul, product, ["x", "y", "output"]), launch(recursion, { ...params, near: NEAR[metric] }, buffers)]
    : [launch(recursionF64, params, buffers)];
  const places = sample(random, rows * columns, CHECKED);
  return {
    name: `${test.name}, ${rows} x ${columns} pairs`,
    buffers: {
      program: encodeRecursion(test.recursion),
      "x table": data(xs.table),
      "y table": data(ys.table),
      x: data(xs.points),
      y: data(ys.points),
      output: outputs * rows * columns * precision.bytes,
    },
    launches,
    outputs: ["output"],
    check: (output) => {
      const actual = single ? new Float32Array(output("output")) : new Float64Array(output("output"));
      return worst(places.length, (index) => {
        const place = places[index] ?? 0;
        const [i, j] = [Math.floor(place / columns), place % columns];
        const pair = referencePair(
          test.recursion,
          x.subarray(i * floats, (i + 1) * floats),
          y.subarray(j * floats, (j + 1) * floats),
        );
        const asked = wanted === Wanted.ntk ? [pair.theta] : outputs === 2 ? [pair.k, pair.theta] : [pair.k];
        return worst(outputs, (which) => {
          const { value, size } = asked[which] ?? { value: NaN, size: NaN };
          const error = Math.abs((actual[which * rows * columns + place] ?? NaN) - value);
          return error === 0 ? 0 : error / size;
        });
      });
    },
  };
}

function recursionRow(precision: Precision): Row {
  return {
    kernel: precision.kernel,
    measure: "sqrt(K(x, x) K(z, z))",
    tolerance: precision.tolerance,
    reason: precision.reason,
    unit: "pairs/s",
    *cases(random) {
      for (const test of testRecursions()) {
        yield recursionCase(precision, test, random, 7, 6);
        yield recursionCase(precision, test, random, 1, 1);
      }
      const [test] = testRecursions();
      if (test === undefined) return;
      for (const [rows, columns] of [
        [0, 3],
        [3, 0],
        [9, 259],
        [17, 31],
      ] as const)
        yield recursionCase(precision, test, random, rows, columns);
    },
    large(level, random): LargeCase | undefined {
      const side = 64 * 2 ** level;
      const relus = testRecursions().find(({ name }) => name === "relus");
      if (side > (precision.bytes === 4 ? 1024 : 256) || relus === undefined) return undefined;
      return { ...recursionCase(precision, relus, random, side, side), work: side * side };
    },
  };
}

export const recursionRows: readonly Row[] = [recursionRow(F32), recursionRow(F64)];
