/** Kernels that are recursions, of inputs as large and as small as their format allows. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuEngine, wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import { dense, erf, relu, serial, step, type Arch } from "../arch/arch.ts";
import type { KernelSpec } from "../arch/kernel-spec.ts";
import { specTiles } from "../arch/spec-tiles.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";
import type { Values } from "./matrix.ts";
import type { Precision } from "./tiles.ts";

const random = new RandomStream(freshSeed(), "gram range");
const FLOATS = 23;
const [ROWS, COLUMNS] = [5, 6];
let wasm: Engine;
let gpu: Engine;

beforeAll(async () => {
  wasm = await wasmEngine();
  gpu = await gpuEngine();
});
afterAll(async () => {
  await wasm.close();
  await gpu.close();
});

/** Rows and columns of a norm near 1; the first of each are the same, the second of each opposite, the third is 0. */
function inputs(): readonly [Float64Array<ArrayBuffer>, Float64Array<ArrayBuffer>] {
  const draw = (count: number): Float64Array<ArrayBuffer> =>
    Float64Array.from(random.fillNormal(new Float32Array(count * FLOATS)), (x) => Math.fround(x / Math.sqrt(FLOATS)));
  const [x, z] = [draw(ROWS), draw(COLUMNS)];
  z.set(x.subarray(0, FLOATS));
  z.set(
    x.subarray(FLOATS, 2 * FLOATS).map((value) => -value),
    FLOATS,
  );
  z.fill(0, 2 * FLOATS, 3 * FLOATS);
  return [x, z];
}

async function tileOf(
  engine: Engine,
  kernel: KernelSpec,
  x: Float64Array<ArrayBuffer>,
  z: Float64Array<ArrayBuffer>,
  precision: Precision,
): Promise<Values> {
  const images = (set: Float64Array<ArrayBuffer>): Values => (precision === "f64" ? set : Float32Array.from(set));
  const X = { images: images(x), shape: [FLOATS] } as const;
  const Z = { images: images(z), shape: [FLOATS] } as const;
  const { tiles } = await specTiles(engine, kernel, X, Z, precision);
  try {
    return await tiles.compute(0, ROWS, 0, COLUMNS, false);
  } finally {
    tiles.dispose();
  }
}

const arch = (...layers: Arch[]): KernelSpec => ({
  name: "arch",
  arch: serial(...layers),
  kind: "nngp",
});

/** With their degrees: K(a x, b z) = (a b)^degree K(x, z). */
const homogeneous: readonly (readonly [string, number, KernelSpec])[] = [
  ["ntk2", 1, { name: "ntk2" }],
  ["rf2", 1, { name: "rf2" }],
  ["poly", 3, { name: "poly", degree: 3, constant: 0 }],
  ["arccos of order 0", 0, { name: "arccos", order: 0, depth: 3 }],
  ["arccos of order 1", 1, { name: "arccos", order: 1, depth: 3 }],
  ["arccos of order 2", 4, { name: "arccos", order: 2, depth: 2 }],
  ["relus", 1, arch(dense(), relu(), dense(), relu(), dense())],
  ["a step, and biases behind it", 0, arch(dense(), step(), dense({ biasVariance: 0.5 }), relu(), dense())],
];

function engines(precision: Precision): readonly Engine[] {
  return precision === "f64" ? [wasm] : [wasm, gpu];
}

describe.each(["f32", "f64"] as const)("in %s", (precision) => {
  it.each([66, -84])("radial kernels are the same bits at 2^%d times the inputs and the bandwidth", async (power) => {
    const [x, z] = inputs();
    for (const name of ["rbf", "laplace"] as const) {
      for (const engine of engines(precision)) {
        const usual = await tileOf(engine, { name, bandwidth: 0.7 }, x, z, precision);
        expect(usual[0]).toBe(1);
        const scaled = (set: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> => set.map((v) => v * 2 ** power);
        const kernel = { name, bandwidth: 0.7 * 2 ** power };
        expect(await tileOf(engine, kernel, scaled(x), scaled(z), precision)).toEqual(usual);
      }
    }
  });

  // The product of both powers to the degree stays in float32; each alone may not.
  it.each([
    [66, -70],
    [-84, 80],
    [-53, -2],
    [100, -90],
  ])("homogeneous kernels follow inputs of 2^%d and 2^%d times their size", async (left, right) => {
    const [x, z] = inputs();
    const [large, other] = [x.map((v) => v * 2 ** left), z.map((v) => v * 2 ** right)];
    for (const [name, degree, kernel] of homogeneous) {
      if (degree * Math.abs(left + right) > 110) continue;
      const factor = 2 ** (degree * (left + right));
      for (const engine of engines(precision)) {
        const usual = await tileOf(engine, kernel, x, z, precision);
        const actual = await tileOf(engine, kernel, large, other, precision);
        const scale = Math.max(...usual.map(Math.abs));
        const errors = actual.map((value, at) => Math.abs(value / factor - (usual[at] ?? NaN)) / scale);
        expect(Math.max(...errors), name).toBeLessThan(precision === "f64" ? 1e-15 : 3e-7);
      }
    }
  });
});

describe("what leaves the range", () => {
  const one = (value: number): Float64Array<ArrayBuffer> =>
    new Float64Array(ROWS * FLOATS).fill(1).fill(value, FLOATS, 2 * FLOATS);

  async function refusal(kernel: KernelSpec, value: number, precision: Precision = "f32"): Promise<unknown> {
    const images = one(value);
    const X = { images: precision === "f64" ? images : Float32Array.from(images), shape: [FLOATS] } as const;
    const { tiles } = await specTiles(wasm, kernel, X, X, precision);
    try {
      return await tiles.compute(0, ROWS, 0, ROWS, true);
    } finally {
      tiles.dispose();
    }
  }

  it.each<readonly [string, KernelSpec, number, Precision]>([
    ["a length of too many bandwidths", { name: "rbf", bandwidth: 1e-3 }, 1e18, "f32"],
    ["the same of laplace", { name: "laplace", bandwidth: 1e-3 }, 1e18, "f32"],
    ["an input beside a bias", arch(dense({ biasVariance: 1 }), step(), dense()), 1e20, "f32"],
    ["an input of erf", arch(dense(), erf(), dense()), 1e20, "f32"],
    ["a kernel above float32", { name: "ntk2" }, 1e20, "f32"],
    ["a kernel below float32", { name: "ntk2" }, 1e-20, "f32"],
    ["a power below float32", { name: "poly", degree: 60, constant: 0 }, 0.05, "f32"],
    ["a kernel below float64", { name: "rf2" }, 1e-160, "f64"],
    ["a kernel above float64", { name: "rf2" }, 1e160, "f64"],
    ["float64 lengths", { name: "rbf", bandwidth: 1e-20 }, 1e200, "f64"],
  ])("is refused with the image: %s", async (_, kernel, value, precision) => {
    await expect(refusal(kernel, value, precision)).rejects.toMatchObject({
      code: "E_OVERFLOW",
      details: { row: 1 },
    });
  });
});
