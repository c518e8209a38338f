/** Gaussian process classification against a plain dense solve in float64. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { imageSet, wasmEngine, gpuEngine, worstRelative } from "../../test/engines.ts";
import { referenceKernel } from "../../test/reference/arch.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { conv, dense, flatten, relu, serial } from "../arch/arch.ts";
import type { ImageSet } from "../arch/image-set.ts";
import { MemoryMatrix } from "../covariance/matrix.ts";
import { digits } from "../data/digits.ts";
import type { Engine } from "../engine/engine.ts";
import { cholesky } from "../linalg/cholesky.ts";
import { denseSymmetric } from "../linalg/source.ts";
import { errorPercent, gp } from "./gp.ts";
import { noiseJitter, Posterior } from "./posterior.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(() => engine.close());

const random = mulberry32(Date.now());
const shape = [2, 5, 4] as const;
const arch = serial(
  conv({ filter: 3, weightVariance: 2, biasVariance: 0.1 }),
  relu(),
  flatten(),
  dense({ weightVariance: 2, biasVariance: 0.1 }),
);
const F64 = { precision: "f64" } as const;

function inputs(count: number): { images: Float32Array[]; set: ImageSet } {
  const images = Array.from({ length: count }, () => Float32Array.from({ length: 40 }, () => 2 * random() - 1));
  return { images, set: imageSet(images, shape) };
}

/** X of A X = B by Gaussian elimination with pivoting: A n x n, B n x m, row-major. */
function denseSolve(A: Float64Array, B: Float64Array, n: number): Float64Array {
  const m = B.length / n;
  const [a, b] = [Float64Array.from(A), Float64Array.from(B)];
  const at = (values: Float64Array, index: number) => values[index] ?? Number.NaN;
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(at(a, i * n + k)) > Math.abs(at(a, pivot * n + k))) pivot = i;
    for (const [values, width] of [
      [a, n],
      [b, m],
    ] as const)
      for (let j = 0; j < width; j++)
        [values[k * width + j], values[pivot * width + j]] = [at(values, pivot * width + j), at(values, k * width + j)];
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = at(a, i * n + k) / at(a, k * n + k);
      for (let j = 0; j < n; j++) a[i * n + j] = at(a, i * n + j) - factor * at(a, k * n + j);
      for (let j = 0; j < m; j++) b[i * m + j] = at(b, i * m + j) - factor * at(b, k * m + j);
    }
  }
  return b.map((value, index) => value / at(a, Math.floor(index / m) * n + Math.floor(index / m)));
}

/** log det of a symmetric positive definite matrix: the pivots of elimination without exchanges. */
function logDeterminant(A: Float64Array, n: number): number {
  const a = Float64Array.from(A);
  let sum = 0;
  for (let k = 0; k < n; k++) {
    const pivot = a[k * n + k] ?? NaN;
    sum += Math.log(pivot);
    for (let i = k + 1; i < n; i++) {
      const factor = (a[i * n + k] ?? NaN) / pivot;
      for (let j = k; j < n; j++) a[i * n + j] = (a[i * n + j] ?? NaN) - factor * (a[k * n + j] ?? NaN);
    }
  }
  return sum;
}

function product(A: Float64Array, B: Float64Array, inner: number): Float64Array {
  const [rows, columns] = [A.length / inner, B.length / inner];
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += (A[i * inner + k] ?? NaN) * (B[k * columns + j] ?? NaN);
    return sum;
  });
}

function oneHot(labels: readonly number[], classes: number): Float64Array {
  return Float64Array.from({ length: labels.length * classes }, (_, at) =>
    labels[Math.floor(at / classes)] === at % classes ? 1 : -1,
  );
}

const absoluteError = (actual: Float64Array, expected: Float64Array) =>
  Math.max(...actual.map((value, at) => Math.abs(value - (expected[at] ?? NaN))));

function squareMatrix(values: Float64Array, exponent = 0): MemoryMatrix {
  const rows = Math.sqrt(values.length);
  return new MemoryMatrix(Float64Array.from(values), { rows, columns: rows, symmetric: true, exponent });
}

describe("a fitted Gaussian process", () => {
  const n = 37;
  const [train, test] = [inputs(n), inputs(9)];
  const labels = Array.from({ length: n }, (_, i) => (i < 3 ? i : Math.floor(random() * 3)));
  const reference = (xs: Float32Array[], ys: Float32Array[]) => referenceKernel(arch.toJSON(), shape, xs, ys);
  const kxx = reference(train.images, train.images);
  const ktx = reference(test.images, train.images);

  for (const jitter of [0, 1e-3]) {
    it(`has the means and variances of a dense solve, jitter ${jitter}`, async () => {
      const mean = kxx.reduce((sum, value, at) => sum + (at % (n + 1) === 0 ? value : 0), 0) / n;
      const jittered = kxx.map((value, at) => value + (at % (n + 1) === 0 ? jitter * mean : 0));
      const targets = oneHot(labels, 3);
      const expected = product(ktx, denseSolve(jittered, targets, n), n);
      using model = await gp.fit(engine, arch, train.set, labels, { ...F64, jitter });
      const { mean: means, labels: predicted, variance } = await model.predict(test.set, { variance: true });
      expect(absoluteError(means, expected)).toBeLessThan(1e-8);
      expect([...predicted]).toEqual(
        Array.from({ length: 9 }, (_, row) => {
          const own = [...expected.subarray(3 * row, 3 * row + 3)];
          return own.indexOf(Math.max(...own));
        }),
      );
      const turned = Float64Array.from(ktx, (_, at) => ktx[(at % 9) * n + Math.floor(at / 9)] ?? NaN);
      const explained = product(ktx, denseSolve(jittered, turned, n), n);
      const own = test.images.map((image) => reference([image], [image])[0] ?? NaN);
      const variances = Float64Array.from(own, (value, row) => value - (explained[row * 9 + row] ?? NaN));
      expect(variance === undefined ? NaN : absoluteError(variance, variances)).toBeLessThan(1e-8);
    });

    it(`has the log marginal likelihood of a plain computation, jitter ${jitter}, powers of two taken out or not`, async () => {
      const mean = kxx.reduce((sum, value, at) => sum + (at % (n + 1) === 0 ? value : 0), 0) / n;
      const jittered = kxx.map((value, at) => value + (at % (n + 1) === 0 ? jitter * mean : 0));
      const targets = oneHot(labels, 3);
      const solved = denseSolve(jittered, targets, n);
      const misfit = targets.reduce((sum, target, at) => sum + target * (solved[at] ?? NaN), 0);
      const expected = -misfit / 2 - (3 / 2) * (logDeterminant(jittered, n) + n * Math.log(2 * Math.PI));
      for (const exponent of [0, 40, -700]) {
        const scaled = squareMatrix(
          kxx.map((value) => value * 2 ** -exponent),
          exponent,
        );
        using model = await Posterior.fit(engine, scaled, labels, { jitter });
        expect(Math.abs((model.logMarginalLikelihood ?? NaN) / expected - 1)).toBeLessThan(1e-10);
      }
    });

    it(`predicts its own training inputs as a product would, jitter ${jitter}`, async () => {
      using model = await gp.fit(engine, arch, train.set, labels, { ...F64, jitter });
      const direct = await model.predict({ images: train.set.images.slice(), shape });
      const { mean, labels: predicted } = model.posterior.trainingPrediction();
      expect(absoluteError(mean, direct.mean)).toBeLessThan(1e-8);
      expect(predicted).toEqual(direct.labels);
      if (jitter === 0) expect([...predicted]).toEqual(labels);
    });
  }

  it("gives the same from a GPU, to float32's accuracy times the condition of the matrix", async () => {
    const gpu = await gpuEngine();
    using one = await gp.fit(engine, arch, train.set, labels, { jitter: 0.1 });
    using other = await gp.fit(gpu, arch, train.set, labels, { jitter: 0.1 });
    const [a, b] = [await one.predict(test.set), await other.predict(test.set)];
    expect(absoluteError(b.mean, a.mean)).toBeLessThan(1e-4);
    other.dispose();
    expect(await gpu.stats()).toMatchObject({ buffers: 0, bytes: 0 });
    await gpu.close();
  });

  it("does not care for the scale of its kernel, powers of two taken out included", async () => {
    const cross = new MemoryMatrix(ktx.slice(), { rows: 9, columns: n, symmetric: false, exponent: 0 });
    using plain = await Posterior.fit(engine, squareMatrix(kxx), labels, { jitter: 1e-3 });
    const expected = await plain.predict(cross, new Float64Array(9).fill(50));
    for (const [own, other] of [
      [200, 200],
      [-300, -297],
      [900, 10],
    ] as const) {
      const scaled = (values: Float64Array, exponent: number) => values.map((value) => value * 2 ** -exponent);
      using model = await Posterior.fit(engine, squareMatrix(scaled(kxx, own), own), labels, { jitter: 1e-3 });
      const facts = { rows: 9, columns: n, symmetric: false, exponent: other };
      const result = await model.predict(new MemoryMatrix(scaled(ktx, other), facts), new Float64Array(9).fill(50));
      expect(absoluteError(result.mean, expected.mean)).toBeLessThan(1e-9);
      expect(
        absoluteError(result.variance ?? new Float64Array(), expected.variance ?? new Float64Array()),
      ).toBeLessThan(1e-8);
    }
  });

  it("with a kernel near 1e73 gives the labels and means of the same network rescaled", async () => {
    const digit = digits({ size: 14, seed: Date.now() });
    const [few, more] = [digit.select("0:60"), digit.select("60000:60040")];
    // Every layer's output is divided by 64: its weights by 64, its biases by 64 to the power of its depth.
    const network = (divisor: number) => {
      const layers = Array.from({ length: 40 }, (_, i) => [
        conv({ filter: 7, weightVariance: (2.79 * 49) / divisor, biasVariance: 7.86 / divisor ** (i + 1) }),
        relu(),
      ]);
      return serial(...layers.flat(), flatten(), dense());
    };
    const options = { jitter: 1e-4 };
    using a = await gp.fit(engine, network(1), few, few.labels, options);
    using b = await gp.fit(engine, network(64), few, few.labels, options);
    const [wildly, tamely] = [await a.predict(more), await b.predict(more)];
    expect([...wildly.labels]).toEqual([...tamely.labels]);
    expect(absoluteError(wildly.mean, tamely.mean)).toBeLessThan(1e-2);
  });
});

describe("jitter", () => {
  it('"auto" is 0 for a matrix that needs none, and as little as possible for duplicated images', async () => {
    const { images } = inputs(12);
    const twice = imageSet([...images, ...images], shape);
    const labels = Array.from({ length: 24 }, (_, i) => i % 2);
    using sound = await gp.fit(engine, arch, imageSet(images, shape), labels.slice(0, 12), F64);
    expect(sound.posterior.solver.relativeShift).toBe(0);
    using duplicated = await gp.fit(engine, arch, twice, labels, F64);
    const { relativeShift = NaN } = duplicated.posterior.solver;
    expect(relativeShift).toBeGreaterThan(0);
    expect(relativeShift).toBeLessThanOrEqual(1e-6);
    const { mean } = duplicated.posterior.trainingPrediction();
    for (const value of mean) expect(Number.isFinite(value)).toBe(true);
  });

  it("that is too small for a matrix that is not positive definite names the pivot and what would do", async () => {
    const indefinite = squareMatrix(Float64Array.of(1, 2, 0, 2, 1, 0, 0, 0, 1));
    await expect(Posterior.fit(engine, indefinite, [0, 1, 0], { jitter: 0 })).rejects.toMatchObject({
      code: "E_NOT_POSITIVE_DEFINITE",
      details: { pivot: 1, jitter: 0 },
      message: expect.stringMatching(/jitter/) as string,
    });
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("that is no number from 0 on is refused", async () => {
    for (const jitter of [-1e-9, Number.NaN, Number.POSITIVE_INFINITY])
      await expect(Posterior.fit(engine, squareMatrix(Float64Array.of(1)), [0], { jitter })).rejects.toMatchObject({
        code: "E_CONFIG",
      });
  });
});

describe("a solver", () => {
  const n = 60;
  const [train, test] = [inputs(n), inputs(7)];
  const labels = Array.from({ length: n }, (_, i) => i % 3);
  const kxx = referenceKernel(arch.toJSON(), shape, train.images, train.images);
  const ktx = referenceKernel(arch.toJSON(), shape, test.images, train.images);
  const trace = kxx.reduce((sum, value, at) => sum + (at % (n + 1) === 0 ? value : 0), 0);
  const cross = (exponent = 0) =>
    new MemoryMatrix(
      ktx.map((value) => value * 2 ** -exponent),
      { rows: 7, columns: n, symmetric: false, exponent },
    );
  const single = (exponent = 0) =>
    new MemoryMatrix(
      Float32Array.from(kxx, (value) => value * 2 ** -exponent),
      { rows: n, columns: n, symmetric: true, exponent },
    );
  const own = new Float64Array(7).fill((2 * trace) / n);

  it("of any kind gives Cholesky's means, variances and, but for cg, its marginal likelihood", async () => {
    for (const matrix of [squareMatrix(kxx), single()]) {
      const lambda = (1e-3 * trace) / n;
      const results = await Promise.all(
        (["cholesky", "eigh", "cg"] as const).map(async (solver) => {
          await using model = await Posterior.fit(engine, matrix, labels, { lambda, solver, tolerance: 1e-13 });
          expect(model.solver.method).toBe(solver);
          return { model, training: model.trainingPrediction(), ...(await model.predict(cross(), own)) };
        }),
      );
      const [exact, eigen, iterative] = results;
      for (const other of [eigen, iterative]) {
        expect(absoluteError(other?.mean ?? new Float64Array(), exact?.mean ?? new Float64Array())).toBeLessThan(1e-9);
        const variance = other?.variance ?? new Float64Array();
        expect(absoluteError(variance, exact?.variance ?? new Float64Array())).toBeLessThan(1e-9);
        expect(other?.training.labels).toEqual(exact?.training.labels);
        expect(Math.abs((other?.model.lambda ?? NaN) / lambda - 1)).toBeLessThan(1e-12);
      }
      const evidence = exact?.model.logMarginalLikelihood ?? NaN;
      expect(Math.abs((eigen?.model.logMarginalLikelihood ?? NaN) / evidence - 1)).toBeLessThan(1e-10);
      expect(iterative?.model.logMarginalLikelihood).toBeUndefined();
      expect(iterative?.model.iterations).toBeGreaterThan(0);
      expect(iterative?.model.relativeResidual).toBeLessThanOrEqual(1e-13);
    }
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("that is Cholesky gives, bit for bit, what the factorisation itself gives with the same jitter", async () => {
    for (const jitter of [0.01, "noise"] as const) {
      const matrix = single();
      const used = jitter === "noise" ? noiseJitter(matrix) : jitter;
      using factor = await cholesky(engine, denseSymmetric(matrix.values, n), { jitter: used });
      using model = await Posterior.fit(engine, matrix, labels, { jitter });
      expect(model.weights).toEqual(await factor.solve(oneHot(labels, 3)));
      expect(model.solver).toMatchObject({ relativeShift: used, logDeterminant: factor.logDeterminant });
      const { variance } = await model.predict(cross(), own);
      const turned = Float64Array.from(ktx, (_, at) => ktx[(at % 7) * n + Math.floor(at / 7)] ?? NaN);
      const explained = new Float64Array(7);
      (await factor.forward(turned)).forEach(
        (half, at) => (explained[at % 7] = (explained[at % 7] ?? NaN) + half ** 2),
      );
      expect(variance).toEqual(own.map((value, row) => Math.max(0, value - (explained[row] ?? NaN))));
    }
  });

  it("gets lambda in the kernel's units, and jitter as a share of the mean diagonal, whatever was taken out", async () => {
    const jitter = 1e-2;
    for (const solver of ["cholesky", "eigh", "cg"] as const) {
      const means: Float64Array[] = [];
      for (const exponent of [0, 90]) {
        for (const ridge of [{ jitter }, { lambda: (jitter * trace) / n }]) {
          const options = { ...ridge, solver, tolerance: 1e-12 };
          await using model = await Posterior.fit(engine, single(exponent), labels, options);
          expect(Math.abs((model.solver.relativeShift ?? NaN) / jitter - 1)).toBeLessThan(1e-6);
          expect(Math.abs((model.lambda * n) / (jitter * trace) - 1)).toBeLessThan(1e-6);
          means.push((await model.predict(cross(exponent))).mean);
        }
      }
      for (const mean of means) expect(absoluteError(mean, means[0] ?? new Float64Array())).toBeLessThan(1e-6);
    }
  });

  it("takes duplicated images with the noise's jitter, without a decomposition for each attempt", async () => {
    const { images } = inputs(20);
    const twice = imageSet([...images, ...images], shape);
    const doubled = Array.from({ length: 40 }, (_, i) => i % 2);
    for (const solver of ["cholesky", "eigh", "cg"] as const) {
      await using model = await gp.fit(engine, arch, twice, doubled, { solver });
      for (const value of model.posterior.trainingPrediction().mean) expect(Number.isFinite(value)).toBe(true);
      expect(model.posterior.solver.relativeShift).toBeGreaterThan(0);
    }
  });

  it("refuses jitter and lambda at once, numbers that cannot be meant, and automatic jitter with cg", async () => {
    const fit = (options: Parameters<typeof Posterior.fit>[3]) => Posterior.fit(engine, single(), labels, options);
    for (const options of [
      { jitter: 1e-3, lambda: 1 },
      { jitter: "noise", lambda: 1 },
      { lambda: -1 },
      { lambda: NaN },
      { jitter: "auto", solver: "cg" },
      { solver: "lu" as "cg" },
      { solver: "cg", tolerance: -1 },
    ] as const)
      await expect(fit(options)).rejects.toMatchObject({ code: "E_CONFIG" });
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("that cannot converge is an error with its history, and leaves nothing behind", async () => {
    const fit = Posterior.fit(engine, single(), labels, { solver: "cg", lambda: 0, tolerance: 1e-300 });
    await expect(fit).rejects.toMatchObject({
      code: "E_NOT_CONVERGED",
      details: { history: expect.any(Array) as unknown },
    });
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("that is over says so where it is asked for variances", async () => {
    for (const solver of ["cholesky", "eigh", "cg"] as const) {
      const model = await Posterior.fit(engine, single(), labels, { solver, lambda: 1 });
      await model[Symbol.asyncDispose]();
      await model[Symbol.asyncDispose]();
      await expect(model.predict(cross(), own)).rejects.toMatchObject({ code: "E_CLOSED" });
      expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
    }
  });
});

describe("what a fit is asked of", () => {
  const identity = squareMatrix(Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1));

  it("labels that are no classes are refused with their place", async () => {
    for (const [labels, options, message] of [
      [[0, 1.5, 1], {}, /label 1 is 1\.5; labels are whole numbers from 0 to/],
      [[0, -1, 1], {}, /label 1 is -1/],
      [[0, 1, 2], { classes: 2 }, /label 2 is 2; labels are whole numbers from 0 to 1/],
      [[0, Number.NaN, 2], { classes: 3 }, /label 1 is NaN/],
      [[0, Number.NaN, 2], {}, /label 1 is NaN/],
    ] as const) {
      await expect(Posterior.fit(engine, identity, labels, options)).rejects.toMatchObject({
        code: "E_DATA",
        message: expect.stringMatching(message) as string,
      });
    }
  });

  it("as many labels as images, and a square kernel", async () => {
    await expect(Posterior.fit(engine, identity, [0, 1])).rejects.toMatchObject({
      code: "E_SHAPE",
      message: "2 labels for 3 training inputs",
    });
    const wide = new MemoryMatrix(new Float32Array(6), { rows: 2, columns: 3, symmetric: false, exponent: 0 });
    await expect(Posterior.fit(engine, wide, [0, 1])).rejects.toMatchObject({ code: "E_SHAPE" });
  });

  it("predictions take one column for each training input", async () => {
    using model = await Posterior.fit(engine, identity, [0, 1, 1]);
    const cut = new MemoryMatrix(new Float32Array(4), { rows: 2, columns: 2, symmetric: false, exponent: 0 });
    await expect(model.predict(cut)).rejects.toMatchObject({
      code: "E_SHAPE",
      message: expect.stringMatching(/2 columns.*3 training/) as string,
    });
  });

  it("entries that are not finite are refused", async () => {
    await expect(
      Posterior.fit(engine, squareMatrix(Float64Array.of(1, 0, Number.NaN, 1)), [0, 1]),
    ).rejects.toMatchObject({ code: "E_DATA" });
  });

  it("one class, and classes that no training image has, are no trouble", async () => {
    using one = await Posterior.fit(engine, identity, [0, 0, 0]);
    expect([...one.trainingPrediction().labels]).toEqual([0, 0, 0]);
    using ten = await Posterior.fit(engine, identity, [0, 7, 0], { classes: 10 });
    expect(ten.trainingPrediction().mean).toHaveLength(30);
    expect([...ten.trainingPrediction().labels]).toEqual([0, 7, 0]);
  });
});

describe("a process that is over", () => {
  it("leaves no buffer behind, and says that it is closed", async () => {
    const { set } = inputs(20);
    const labels = Array.from({ length: 20 }, (_, i) => i % 4);
    for (const options of [{ jitter: 1e-3 }, { ...F64, jitter: 1e-3 }]) {
      const model = await gp.fit(engine, arch, set, labels, options);
      await model.predict(inputs(5).set, { variance: true });
      model.dispose();
      model.dispose();
      expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
      await expect(model.predict(inputs(1).set, { variance: true })).rejects.toMatchObject({ code: "E_CLOSED" });
      expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
    }
  });
});

describe("errorPercent", () => {
  it("counts labels that differ", () => {
    expect(errorPercent([1, 2, 3, 4], [1, 2, 0, 4])).toBe(25);
    expect(errorPercent(Int32Array.of(1, 1), Int32Array.of(1, 1))).toBe(0);
  });
});

describe("the dense solve of this file", () => {
  it("solves", () => {
    const A = Float64Array.from({ length: 49 }, () => random() - 0.5);
    const B = Float64Array.from({ length: 14 }, () => random());
    expect(worstRelative(product(A, denseSolve(A, B, 7), 7), B)).toBeLessThan(1e-9);
  });
});
