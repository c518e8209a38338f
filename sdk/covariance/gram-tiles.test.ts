/** Kernels in closed form and of fully connected networks, against their formulas in plain float64. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, gpuEngine, wasmEngine, worstRelative } from "../../test/engines.ts";
import { golden, hasGolden, mnistFolder } from "../../test/golden-files.ts";
import { freshSeed } from "../../test/seed.ts";
import { openWasm } from "../../test/wasm.ts";
import {
  abs,
  compile,
  dense,
  erf,
  identity,
  leakyRelu,
  mixture,
  relu,
  serial,
  step,
  sum,
  type Arch,
} from "../arch/arch.ts";
import { closedTiles } from "../arch/closed-tiles.ts";
import { kernel as kernelOf } from "../arch/kernel.ts";
import { readFileFromDisk } from "../data/files.ts";
import { loadDataset } from "../data/registry.ts";
import { referenceFull } from "../engine/conformance/full-reference.ts";
import { referenceCovariance } from "../engine/conformance/reference.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";
import type { ClosedKernel } from "./closed-kernel.ts";
import { computeMatrices, type Values } from "./matrix.ts";
import type { Precision } from "./tiles.ts";

const seed = freshSeed();
const random = new RandomStream(seed, "gram tiles");
const engines = new Map<string, Engine>();
let wasm: Engine;

beforeAll(async () => {
  wasm = await wasmEngine();
  engines.set("wasm", wasm);
  engines.set("wasm, one thread", await wasmEngine({ variant: "single", threads: 1 }));
  engines.set("webgpu", await gpuEngine());
});
afterAll(async () => {
  for (const engine of engines.values()) await engine.close();
});

/**
 * Inputs of a norm near `norm`: normal numbers with a common part, so that cosines are near 0.4; the last but one is the
 * first with one number changed by a hair, the last the first times 1 + 2^-12.
 */
function inputs(count: number, floats: number, norm: number): Float32Array<ArrayBuffer> {
  const common = random.fillNormal(new Float32Array(floats));
  const all = random.fillNormal(new Float32Array(count * floats));
  const scale = norm / Math.sqrt(1.64 * floats);
  const set = all.map((value, i) => scale * (value + 0.8 * (common[i % floats] ?? 0)));
  if (count < 4) return set;
  const first = set.slice(0, floats);
  set.set(first, (count - 2) * floats);
  const changed = (count - 2) * floats + Math.floor(floats / 2);
  set[changed] = (set[changed] ?? 0) + norm * 2 ** -13;
  set.set(
    first.map((value) => value * (1 + 2 ** -12)),
    (count - 1) * floats,
  );
  return set;
}

function row(set: ArrayLike<number>, floats: number, i: number): Float64Array {
  return Float64Array.from({ length: floats }, (_, c) => set[i * floats + c] ?? NaN);
}

/** |x|, |z|, their cosine and angle, and |x - z|: the angle from the directions, not from the cosine. */
function geometry(x: Float64Array, z: Float64Array) {
  const norm = (v: Float64Array): number => Math.sqrt(v.reduce((total, value) => total + value * value, 0));
  const [a, b] = [norm(x), norm(z)];
  const apart = norm(x.map((value, i) => value / a - (z[i] ?? NaN) / b));
  const together = norm(x.map((value, i) => value / a + (z[i] ?? NaN) / b));
  const angle = 2 * Math.atan2(apart, together);
  const product = x.reduce((total, value, i) => total + value * (z[i] ?? NaN), 0);
  return { a, b, t: angle, c: 1 - apart ** 2 / 2, product, distance: norm(x.map((value, i) => value - (z[i] ?? NaN))) };
}

/** Cho & Saul 2009, eq. 4 to 6. */
function arcCosine(order: number, t: number): number {
  if (order === 0) return Math.PI - t;
  if (order === 1) return Math.sin(t) + (Math.PI - t) * Math.cos(t);
  return 3 * Math.sin(t) * Math.cos(t) + (Math.PI - t) * (1 + 2 * Math.cos(t) ** 2);
}

function formula(kernel: ClosedKernel, x: Float64Array, z: Float64Array): number {
  const { a, b, t, c, product, distance } = geometry(x, z);
  switch (kernel.name) {
    case "ntk2":
      return a * b * (c * (1 - t / Math.PI) + Math.sin(t) / (2 * Math.PI));
    case "rf2":
      return ((a * b) / 2) * ((c * (Math.PI / 2 - t)) / Math.PI + c / 2 + Math.sin(t) / Math.PI);
    case "poly":
      return (kernel.constant + product / Math.sqrt(x.length)) ** kernel.degree;
    case "rbf":
      return Math.exp(-(distance ** 2) / (2 * kernel.bandwidth ** 2));
    case "laplace":
      return Math.exp(-distance / kernel.bandwidth);
    case "arccos": {
      // Composition as in section 2.3: the cosine of the kernel, and its own variances.
      const { order, depth } = kernel;
      const largest = arcCosine(order, 0) / Math.PI;
      let [angle, own, other, value] = [t, a * a, b * b, NaN];
      for (let layer = 0; layer < depth; layer++) {
        const cosine = arcCosine(order, angle) / arcCosine(order, 0);
        value = (own * other) ** (order / 2) * cosine * largest;
        [own, other] = [own ** order * largest, other ** order * largest];
        angle = Math.acos(Math.min(1, cosine));
      }
      return value;
    }
    case "rf":
      throw new Error("a finite model has no formula");
  }
}

async function valuesOf(
  engine: Engine,
  kernel: ClosedKernel,
  x: Values,
  z: Values | undefined,
  floats: number,
  precision: Precision = "f32",
  tile = 256,
): Promise<Values> {
  const X = { images: x, shape: [floats] } as const;
  const Z = z === undefined ? X : ({ images: z, shape: [floats] } as const);
  const { tiles, ...size } = await closedTiles(engine, kernel, X, Z, precision);
  try {
    const symmetric = z === undefined;
    const memoryBytes = engine.memoryBytes;
    const [matrix] = await computeMatrices({ tiles, ...size, symmetric, precision, tile, memoryBytes });
    return matrix?.values ?? new Float32Array();
  } finally {
    tiles.dispose();
  }
}

/** The largest error in units of sqrt(K(x, x) K(z, z)), or of K itself where that is larger. */
function worstError(
  actual: Values,
  expected: (i: number, j: number) => number,
  rows: number,
  columns: number,
  own: (which: "x" | "z", i: number) => number,
): number {
  let worst = actual.length === rows * columns ? 0 : NaN;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const value = expected(i, j);
      const size = Math.max(Math.abs(value), Math.sqrt(Math.abs(own("x", i) * own("z", j))));
      const error = Math.abs((actual[i * columns + j] ?? NaN) - value) / size;
      if (!(error <= worst)) worst = error;
    }
  }
  return worst;
}

const kernels: readonly ClosedKernel[] = [
  { name: "ntk2" },
  { name: "rf2" },
  { name: "poly", degree: 1, constant: 0 },
  { name: "poly", degree: 4, constant: 0.5 },
  { name: "rbf", bandwidth: 11 },
  { name: "laplace", bandwidth: 7 },
  { name: "arccos", order: 0, depth: 1 },
  { name: "arccos", order: 1, depth: 3 },
  { name: "arccos", order: 2, depth: 2 },
];

describe("kernels in closed form", () => {
  it.each(kernels)("are their formulas: $name $degree$bandwidth$order", async (kernel) => {
    const floats = 60 + random.below(100);
    const [x, z] = [inputs(9, floats, 12), inputs(7, floats, 12)];
    z.set(x.subarray(0, floats)); // a pair of equal inputs, and pairs of nearly equal ones
    // Opposite ones, and nearly so: the last two of x are nearly the first.
    z.set(
      x.subarray(0, floats).map((value) => -value),
      floats,
    );
    z.set(
      x.subarray(8 * floats).map((value) => -3 * value),
      2 * floats,
    );
    z[2 * floats] = (z[2 * floats] ?? 0) + 2 ** -9;
    const expected = (i: number, j: number): number => formula(kernel, row(x, floats, i), row(z, floats, j));
    const own = (which: "x" | "z", i: number): number => {
      const input = row(which === "x" ? x : z, floats, i);
      return formula(kernel, input, input);
    };
    for (const [name, engine] of engines) {
      const single = await valuesOf(engine, kernel, x, z, floats);
      expect(worstError(single, expected, 9, 7, own), name).toBeLessThan(2e-6);
    }
    const double = await valuesOf(wasm, kernel, Float64Array.from(x), Float64Array.from(z), floats, "f64");
    expect(worstError(double, expected, 9, 7, own)).toBeLessThan(1e-10);
  });

  it("of steps on steps are right in float64 where float32 has lost the angle of parallel inputs", async () => {
    const floats = 60;
    const x = inputs(4, floats, 9);
    for (let i = 1; i < 4; i++) {
      x.set(
        x.subarray(0, floats).map((value) => value * (1 + 0.3 * i)),
        i * floats,
      );
    }
    for (const [depth, lost] of [
      [2, 3e-4],
      [3, 2e-2],
    ] as const) {
      const kernel = { name: "arccos", order: 0, depth } as const;
      const expected = (i: number, j: number): number =>
        i === j ? 1 : formula(kernel, row(x, floats, i), row(x, floats, j));
      const double = await valuesOf(wasm, kernel, Float64Array.from(x), undefined, floats, "f64");
      expect(worstError(double, expected, 4, 4, () => 1)).toBeLessThan(1e-8);
      for (const [name, engine] of engines) {
        const single = await valuesOf(engine, kernel, x, undefined, floats);
        expect(
          worstError(single, expected, 4, 4, () => 1),
          name,
        ).toBeLessThan(lost);
      }
    }
  });

  it("are the same bits in tiles of any size, and for (x, z) and (z, x)", async () => {
    const floats = 37;
    const x = inputs(23, floats, 5);
    for (const kernel of kernels) {
      for (const [name, engine] of engines) {
        const whole = await valuesOf(engine, kernel, x, undefined, floats);
        const tiled = await valuesOf(engine, kernel, x, undefined, floats, "f32", 7);
        expect(tiled, `${name} ${kernel.name}`).toEqual(whole);
        const z = x.slice(5 * floats, 16 * floats);
        const [xz, zx] = [
          await valuesOf(engine, kernel, x, z, floats, "f32", 4),
          await valuesOf(engine, kernel, z, x, floats, "f32", 16),
        ];
        const turned = xz.map((_, at) => zx[(at % 11) * 23 + Math.floor(at / 11)] ?? NaN);
        expect(xz, `${name} ${kernel.name}`).toEqual(turned);
      }
    }
  });

  it("are exact on the diagonal", async () => {
    const floats = 50;
    const x = inputs(6, floats, 9);
    for (const kernel of kernels) {
      const own = Array.from({ length: 6 }, (_, i) => formula(kernel, row(x, floats, i), row(x, floats, i)));
      for (const [name, engine] of engines) {
        const values = await valuesOf(engine, kernel, x, undefined, floats);
        own.forEach((value, i) =>
          expect(Math.abs((values[i * 7] ?? NaN) / value - 1), `${name} ${kernel.name}`).toBeLessThan(1.2e-7),
        );
      }
    }
  });

  it("say which images leave float32's range", async () => {
    const x = inputs(5, 20, 1e4);
    await expect(valuesOf(wasm, { name: "poly", degree: 9, constant: 0 }, x, undefined, 20)).rejects.toMatchObject({
      code: "E_OVERFLOW",
    });
  });
});

const bias = { weightVariance: 1.9, biasVariance: 0.4 };
const architectures: readonly (readonly [string, Arch])[] = [
  ["relus", serial(dense(bias), relu(), dense(bias), relu({ sqrt2: true }), dense())],
  ["other rectifiers", serial(dense(), leakyRelu({ slope: 0.2 }), dense(bias), abs(), dense(bias))],
  ["erf", serial(dense(bias), erf(), dense(bias), erf(), dense(bias))],
  ["steps", serial(dense(bias), step(), dense(bias), step({ sqrt2: true }), dense())],
  [
    "sums",
    serial(
      dense(bias),
      sum(identity(), serial(relu(), dense(bias))),
      mixture([0.25, 0.75], relu(), identity()),
      dense(bias),
    ),
  ],
];

describe("fully connected networks", () => {
  it.each(architectures)("have the kernels of their covariance program: %s", async (name, arch) => {
    const floats = 30 + random.below(20);
    const x = inputs(8, floats, Math.sqrt(floats));
    const double = { images: Float64Array.from(x), shape: [floats] } as const;
    const single = { images: x, shape: [floats] } as const;
    const kinds = name === "steps" ? (["nngp"] as const) : (["nngp", "ntk"] as const);
    for (const kind of kinds) {
      const program = compile(arch, [floats], kind === "ntk" ? { ntk: true, parametrisation: "ntk" } : undefined);
      const of = (i: number, j: number): number => {
        const one = row(x, floats, i);
        const other = i === j ? one : row(x, floats, j);
        if (kind === "nngp") return referenceCovariance(program, one, other) * 2 ** program.exponent;
        return referenceFull(program, one, other).ntk * 2 ** program.exponent;
      };
      const own = (_: string, i: number): number => of(i, i);
      // The reference's cosines of nearly equal inputs are off by 1e-16, and its acos by the root of that.
      const [f64, f32] = name === "steps" ? [1e-4, 1e-4] : kind === "ntk" ? [1e-7, 2e-6] : [1e-12, 2e-6];
      for (const [backend, engine] of engines) {
        const { values } = await kernelOf(engine, arch, single, undefined, { kind, tile: 5 });
        expect(worstError(values, of, 8, 8, own), `${backend} ${kind}`).toBeLessThan(f32);
      }
      const { values } = await kernelOf(wasm, arch, double, undefined, { kind, precision: "f64" });
      expect(worstError(values, of, 8, 8, own), kind).toBeLessThan(f64);
    }
  });

  it("have both kernels of one computation, bit for bit those of one alone", async () => {
    const floats = 41;
    const X = { images: inputs(20, floats, 6), shape: [floats] } as const;
    const arch = serial(dense(bias), relu(), dense(bias), erf(), dense());
    for (const engine of engines.values()) {
      const both = await kernelOf(engine, arch, X, undefined, { kind: ["nngp", "ntk"], tile: 8 });
      for (const kind of ["nngp", "ntk"] as const)
        expect(both[kind].values).toEqual((await kernelOf(engine, arch, X, undefined, { kind })).values);
    }
  });

  it.runIf(hasGolden)("have the kernels and neural tangent kernels computed elsewhere", async () => {
    const { indices, kernels: depths } = (await golden()).fc;
    const mnist = await loadDataset("mnist", { dataDir: mnistFolder, readFile: readFileFromDisk });
    const { images } = mnist.selectFloat64(indices.map((i) => `${i}:${i + 1}`).join(","));
    const floats = 784;
    for (let i = 0; i < indices.length; i++) {
      const image = images.subarray(i * floats, (i + 1) * floats);
      const norm = Math.sqrt(image.reduce((total, value) => total + value * value, 0));
      image.forEach((value, at) => (image[at] = (28 * value) / norm));
    }
    const double = { images, shape: [floats] } as const;
    const single = { images: Float32Array.from(images), shape: [floats] } as const;
    for (const [depth, matrices] of Object.entries(depths)) {
      const layers = Array.from({ length: Number(depth) }, (_, layer) => (layer === 0 ? [dense()] : [relu(), dense()]));
      const arch = serial(...layers.flat());
      for (const kind of ["nngp", "ntk"] as const) {
        const expected = (matrices as Readonly<Record<typeof kind, number[][]>>)[kind].flat();
        for (const engine of engines.values()) {
          const { values } = await kernelOf(engine, arch, single, undefined, { kind });
          expect(worstRelative(values, expected)).toBeLessThan(1e-6);
        }
        const { values } = await kernelOf(wasm, arch, double, undefined, { kind, precision: "f64" });
        expect(worstRelative(values, expected)).toBeLessThan(1e-13);
      }
    }
  });
});

describe("memory", () => {
  it("is given back, and values do not depend on how little of it there is", async () => {
    const backend = await openWasm({ variant: "single", threads: 1 });
    const floats = 40;
    const x = inputs(40, floats, 6);
    const large = await valuesOf(engineOf(backend), { name: "ntk2" }, x, undefined, floats, "f32", 5);
    const X = { images: x, shape: [floats] } as const;
    const small = await closedTiles(engineOf(backend), { name: "ntk2" }, X, X, "f32", { memoryBytes: 0 });
    const tile = await small.tiles.compute(35, 40, 0, 5, false);
    const same = tile.map((_, at) => large[(35 + Math.floor(at / 5)) * 40 + (at % 5)] ?? NaN);
    expect(tile).toEqual(same);
    small.tiles.dispose();
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
    await backend.close();
  });
});
