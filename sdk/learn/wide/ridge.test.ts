/** Random-feature and tangent models by conjugate gradients, against dense float64 ridge regressions. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuEngine, wasmEngine } from "../../../test/engines.ts";
import { freshSeed } from "../../../test/seed.ts";
import type { Backend } from "../../engine/backend.ts";
import type { Engine } from "../../engine/engine.ts";
import { RandomStream } from "../../engine/rng.ts";
import { dot, euclidean, smallCholesky, smallSolve } from "../../linalg/vectors.ts";
import { WideDesign, type Inputs } from "./design.ts";
import { leastBytes, parameterCount, sizesOf, type LinearWideModel } from "./linear-model.ts";
import { tangentAmplitudes, unitDirections } from "./directions.ts";
import { WideRidge, type WideRidgeFit } from "./ridge.ts";

const seed = freshSeed();

function normals(name: string, count: number): Float64Array {
  return new RandomStream(seed, name).fillNormal(new Float64Array(count));
}

function inputsOf(count: number, inputs: number): Inputs {
  return { count, images: Float32Array.from(normals("images", count * inputs)) };
}

/** The design matrix by its definition, a row for each image and output. */
function denseDesign(model: LinearWideModel, { count, images }: Inputs): Float64Array[] {
  const { name, width, inputs, outputs } = model;
  const directions = unitDirections(model.seed, 0, width, inputs);
  const amplitudes = tangentAmplitudes(model.seed, outputs, width);
  const rows: Float64Array[] = [];
  for (let image = 0; image < count; image++) {
    const x = Float64Array.from(images.subarray(image * inputs, (image + 1) * inputs));
    for (let c = 0; c < outputs; c++) {
      const row = new Float64Array(parameterCount(model));
      for (let j = 0; j < width; j++) {
        const z = dot(Float64Array.from(directions.subarray(j * inputs, (j + 1) * inputs)), x);
        row[j * outputs + c] = Math.max(z, 0);
        if (name === "nt" && z > 0)
          x.forEach((value, i) => {
            row[(width + 1) * outputs + j * inputs + i] = (amplitudes[c * width + j] as number) * value;
          });
      }
      row[width * outputs + c] = 1;
      rows.push(row);
    }
  }
  return rows;
}

/** theta of (A'A / n + lambda I) theta = A'Y / n. */
function denseRidge(rows: readonly Float64Array[], targets: Float64Array, images: number, lambda: number) {
  const size = (rows[0] as Float64Array).length;
  const columns = Array.from({ length: size }, (_, i) => Float64Array.from(rows, (row) => row[i] as number));
  const matrix = new Float64Array(size * size);
  for (let i = 0; i < size; i++)
    for (let j = 0; j <= i; j++)
      matrix[i * size + j] =
        dot(columns[i] as Float64Array, columns[j] as Float64Array) / images + (i === j ? lambda : 0);
  const factor = smallCholesky(matrix, size, 0);
  if (!(factor instanceof Float64Array)) throw new Error("the dense reference is not positive definite");
  const theta = Float64Array.from(columns, (column) => dot(column, targets) / images);
  smallSolve(factor, size, theta);
  return theta;
}

/** |a - b| / |b| */
const distance = (a: Float64Array, b: Float64Array) =>
  euclidean(a.map((value, i) => value - (b[i] as number))) / euclidean(b);

async function allFits(fits: AsyncIterable<WideRidgeFit>): Promise<WideRidgeFit[]> {
  const all: WideRidgeFit[] = [];
  for await (const fit of fits) all.push(fit);
  return all;
}

describe("directions", () => {
  it("have length 1, and those of a narrow model are the first ones of a wide one", () => {
    const wide = unitDirections(seed, 0, 37, 11);
    for (let unit = 0; unit < 37; unit++)
      expect(euclidean(Float64Array.from(wide.subarray(unit * 11, (unit + 1) * 11)))).toBeCloseTo(1, 6);
    expect(unitDirections(seed, 5, 20, 11)).toEqual(wide.slice(55, 220));
    expect(tangentAmplitudes(seed, 3, 37).slice(37, 50)).toEqual(tangentAmplitudes(seed, 2, 13).slice(13));
  });
});

const models: readonly LinearWideModel[] = [
  { name: "rf", width: 41, inputs: 7, outputs: 3, seed },
  { name: "rf", width: 130, inputs: 5, outputs: 1, seed },
  { name: "nt", width: 13, inputs: 5, outputs: 3, seed },
  { name: "nt", width: 17, inputs: 9, outputs: 1, seed },
];

describe.each([
  ["wasm", () => wasmEngine()],
  ["webgpu", () => gpuEngine()],
])("on %s", (_, open) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await open();
  });
  afterAll(() => engine.close());

  it.each(models)(
    "$name of $width units and $outputs outputs: products are those of the dense matrix",
    async (model) => {
      const inputs = inputsOf(53, model.inputs);
      const rows = denseDesign(model, inputs);
      // 53 images in blocks of 20: two whole ones and a part.
      using design = await WideDesign.open(engine, model, { rows: 20 });
      expect(design.blockRows).toBe(20);
      const theta = normals("theta", design.parameters * 3);
      const first = theta.subarray(0, design.parameters);
      const values = Float64Array.from(rows, (row) => dot(row, first));
      expect(distance(await design.predict(inputs, first), values)).toBeLessThan(2e-6);
      const r = normals("r", rows.length);
      const adjoint = new Float64Array(design.parameters);
      rows.forEach((row, at) =>
        row.forEach((value, i) => (adjoint[i] = (adjoint[i] as number) + value * (r[at] as number))),
      );
      expect(distance(await design.adjoint(inputs, r), adjoint)).toBeLessThan(2e-6);
      const products = await design.gram(inputs, theta, 3);
      for (let v = 0; v < 3; v++) {
        const vector = theta.subarray(v * design.parameters, (v + 1) * design.parameters);
        const product = new Float64Array(design.parameters);
        for (const row of rows) {
          const value = dot(row, vector);
          row.forEach((entry, i) => (product[i] = (product[i] as number) + entry * value));
        }
        const own = products.slice(v * design.parameters, (v + 1) * design.parameters);
        expect(distance(own, product)).toBeLessThan(2e-6);
      }
    },
  );
});

describe("fits", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await wasmEngine();
  });
  afterAll(() => engine.close());

  const model: LinearWideModel = { name: "nt", width: 16, inputs: 6, outputs: 2, seed };

  it.each(models)("$name of $width units, $outputs outputs are the dense float64 ridge regression's", async (model) => {
    const inputs = inputsOf(60, model.inputs);
    const targets = normals("targets", 60 * model.outputs);
    const rows = denseDesign(model, inputs);
    using ridge = await WideRidge.open(engine, model, 32);
    const lambdas = [0.01, 3, 0.2];
    const fits = await allFits(ridge.fits(inputs, targets, { lambdas, tolerance: 2e-6 }));
    expect(fits.map(({ lambda }) => lambda)).toEqual([3, 0.2, 0.01]);
    const others = { count: 9, images: Float32Array.from(normals("others", 9 * model.inputs)) };
    const otherRows = denseDesign(model, others);
    for (const fit of fits) {
      const theta = denseRidge(rows, targets, 60, fit.lambda);
      expect(fit.converged).toBe(true);
      expect(distance(fit.theta, theta)).toBeLessThan(1e-3);
      const predicted = await ridge.predict(others, fit);
      expect(
        distance(
          predicted,
          Float64Array.from(otherRows, (row) => dot(row, theta)),
        ),
      ).toBeLessThan(2e-4);
    }
  });

  it("do not depend on what groups of lambdas memory holds", async () => {
    const inputs = inputsOf(30, 6);
    const targets = normals("targets", 60);
    using ridge = await WideRidge.open(engine, model);
    const together = await allFits(ridge.fits(inputs, targets, { lambdas: [0.1, 1, 10], tolerance: 1e-6 }));
    for (const { lambda, theta } of together) {
      const [alone] = await allFits(ridge.fits(inputs, targets, { lambdas: [lambda], tolerance: 1e-6 }));
      expect(distance(alone?.theta ?? theta, theta)).toBeLessThan(1e-4);
    }
  });

  it("at the cap on iterations are what was reached, and say so; so are those that rounding stops", async () => {
    const inputs = inputsOf(30, 6);
    const targets = normals("targets", 60);
    using ridge = await WideRidge.open(engine, model);
    const [short] = await allFits(ridge.fits(inputs, targets, { lambdas: [1e-3], maxIterations: 3 }));
    expect(short).toMatchObject({ converged: false, iterations: 3 });
    expect(short?.relativeResidual).toBeGreaterThan(1e-4);
    const [exact] = await allFits(ridge.fits(inputs, targets, { lambdas: [1e-3], tolerance: 1e-14 }));
    expect(exact?.converged).toBe(false);
    expect(exact?.relativeResidual).toBeLessThan(1e-4);
  });

  it("stop when asked to", async () => {
    using ridge = await WideRidge.open(engine, model);
    const controller = new AbortController();
    const fits = ridge.fits(inputsOf(30, 6), normals("targets", 60), {
      lambdas: [1e-3],
      signal: controller.signal,
      onProgress: ({ iteration }) => {
        if (iteration === 2) controller.abort();
      },
    });
    await expect(allFits(fits)).rejects.toMatchObject({ code: "E_ABORTED" });
  });

  it("refuse models, grids and data that cannot be", async () => {
    await expect(WideDesign.open(engine, { ...model, width: 0 }, {})).rejects.toMatchObject({
      code: "E_CONFIG",
      message: "nt: width is a whole number of at least 1, not 0",
    });
    using ridge = await WideRidge.open(engine, model);
    const refused = (inputs: Inputs, targets: number, lambdas: readonly number[]) =>
      allFits(ridge.fits(inputs, new Float64Array(targets), { lambdas }));
    await expect(refused(inputsOf(3, 6), 6, [])).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(refused(inputsOf(3, 6), 6, [-1])).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(refused(inputsOf(3, 6), 5, [1])).rejects.toMatchObject({ code: "E_SHAPE" });
    await expect(refused(inputsOf(3, 5), 6, [1])).rejects.toMatchObject({ code: "E_SHAPE" });
    await expect(refused({ count: 0, images: new Float32Array() }, 0, [1])).rejects.toMatchObject({ code: "E_SHAPE" });
  });
});

describe("memory", () => {
  it.each<LinearWideModel>([
    // Most of it is weights: more than half of the budget.
    { name: "rf", width: 10_000, inputs: 60, outputs: 1, seed },
    // Most of it is vectors.
    { name: "nt", width: 600, inputs: 60, outputs: 2, seed },
  ])("is used up to the last of it by $name, one lambda at a time", async (model) => {
    const { name, outputs } = model;
    const [least, vectors] = [leastBytes(model), 13 * 8 * parameterCount(model)];
    const inputs = inputsOf(5, 60);
    const targets = normals("targets", 5 * outputs);
    const lambdas = [1, 10];
    const thetas: Float64Array[] = [];
    for (const budget of [least + vectors, 4 * (least + vectors)]) {
      await using engine = await wasmEngine({ variant: "threads", threads: 2 }, budget + 2 ** 16);
      using ridge = await WideRidge.open(engine, model);
      const fits = await allFits(ridge.fits(inputs, targets, { lambdas, tolerance: 1e-6 }));
      thetas.push(fits[1]?.theta ?? new Float64Array());
    }
    expect(distance(thetas[0] as Float64Array, thetas[1] as Float64Array)).toBeLessThan(1e-4);
    await using small = await wasmEngine({ variant: "threads", threads: 2 }, least + vectors - 2 ** 16);
    await expect(WideRidge.open(small, model)).rejects.toMatchObject({
      code: "E_MEMORY",
      message: expect.stringMatching(
        new RegExp(
          `^${name} of ${model.width} units, .* needs \\d+ MiB for its weights .* \\d+ MiB for the vectors .* the budget is`,
        ),
      ) as string,
    });
  });

  it("holds random features of 321,126 units on 784 inputs in 2 GiB, and refuses tangents of them there", async () => {
    const rf: LinearWideModel = { name: "rf", width: 321_126, inputs: 784, outputs: 10, seed };
    const wasm = { info: { backend: "wasm", maxBufferBytes: 2 ** 32 - 2 ** 26 } } as Backend;
    expect(leastBytes(rf) + 13 * 8 * parameterCount(rf)).toBeLessThan(2 ** 31);
    expect(sizesOf(wasm, rf, 60_000, 2 ** 31).rows).toBeGreaterThan(100);
    expect(() => sizesOf(wasm, { ...rf, name: "nt" }, 60_000, 2 ** 31)).toThrow(/^nt of 321126 units and 784 inputs/);
  });

  it("decides the rows of a block, down to one, and refuses what does not fit with the bytes", async () => {
    const model: LinearWideModel = { name: "rf", width: 20_000, inputs: 30, outputs: 2, seed };
    await using engine = await wasmEngine({ variant: "threads", threads: 2 }, 2 ** 26);
    const before = (await engine.stats()).bytes;
    using design = await WideDesign.open(engine, model, { memoryBytes: 14e6 });
    expect(design.blockRows).toBeGreaterThan(1);
    expect(design.blockRows).toBeLessThan(40);
    expect((await engine.stats()).bytes - before).toBeLessThan(14e6);
    const inputs = inputsOf(2 * design.blockRows + 1, 30);
    const theta = normals("theta", design.parameters);
    using whole = await WideDesign.open(engine, { ...model }, { rows: 1 });
    expect(distance(await design.predict(inputs, theta), await whole.predict(inputs, theta))).toBeLessThan(1e-6);
    await expect(WideDesign.open(engine, model, { memoryBytes: 2e6 })).rejects.toMatchObject({
      code: "E_MEMORY",
      message: expect.stringMatching(/^rf of 20000 units and 30 inputs needs \d+ MiB/) as string,
    });
  });
});
