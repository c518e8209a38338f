/** Kernel ridge regression against plain loops in float64. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { MemoryMatrix, type KernelMatrix } from "../covariance/matrix.ts";
import type { Engine } from "../engine/engine.ts";
import { krr } from "./krr.ts";
import { chooseKrrMethod, KRR_METHODS } from "./krr-plan.ts";
import { regressionScores } from "./regression-scores.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(() => engine.close());

const random = mulberry32(freshSeed());
const uniform = (length: number) => Float64Array.from({ length }, () => 2 * random() - 1);

/** Row-major products of points: rows of x against rows of z, plus `ridge` where they are the same point. */
function gram(x: Float64Array, z: Float64Array, d: number, ridge = 0): Float64Array {
  const [rows, columns] = [x.length / d, z.length / d];
  const values = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      let sum = x === z && i === j ? ridge : 0;
      for (let k = 0; k < d; k++) sum += (x[i * d + k] ?? NaN) * (z[j * d + k] ?? NaN);
      values[i * columns + j] = sum;
    }
  return values;
}

function matrixOf(values: Float64Array | Float32Array, rows: number, columns: number, exponent = 0): KernelMatrix {
  const own = values instanceof Float32Array ? new Float32Array(values) : new Float64Array(values);
  return new MemoryMatrix(own, { rows, columns, symmetric: rows === columns, exponent });
}

/** X of (A + lambda I) X = B by Gaussian elimination with pivoting. */
function plainSolve(A: ArrayLike<number>, lambda: number, B: Float64Array, n: number): Float64Array {
  const m = B.length / n;
  const rows = Array.from({ length: n }, (_, i) => [
    ...Array.from({ length: n }, (_, j) => (A[i * n + j] ?? NaN) + (i === j ? lambda : 0)),
    ...B.subarray(i * m, (i + 1) * m),
  ]);
  for (let k = 0; k < n; k++) {
    let best = k;
    for (let i = k; i < n; i++) if (Math.abs(rows[i]?.[k] ?? 0) > Math.abs(rows[best]?.[k] ?? 0)) best = i;
    [rows[k], rows[best]] = [rows[best] ?? [], rows[k] ?? []];
    const pivot = rows[k] ?? [];
    for (const [i, row] of rows.entries()) {
      if (i === k) continue;
      const factor = (row[k] ?? NaN) / (pivot[k] ?? NaN);
      for (let j = k; j < n + m; j++) row[j] = (row[j] ?? NaN) - factor * (pivot[j] ?? NaN);
    }
  }
  return Float64Array.from(rows.flatMap((row, i) => row.slice(n).map((value) => value / (row[i] ?? NaN))));
}

function plainProduct(A: ArrayLike<number>, n: number, B: Float64Array): Float64Array {
  const m = B.length / n;
  const rows = A.length / n;
  const C = new Float64Array(rows * m);
  for (let i = 0; i < rows; i++)
    for (let c = 0; c < m; c++)
      for (let k = 0; k < n; k++) C[i * m + c] = (C[i * m + c] ?? NaN) + (A[i * n + k] ?? NaN) * (B[k * m + c] ?? NaN);
  return C;
}

function expectClose(actual: Float64Array | undefined, expected: Float64Array, tolerance: number): void {
  const size = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(actual).toHaveLength(expected.length);
  actual?.forEach((value, at) => expect(Math.abs(value - (expected[at] ?? NaN))).toBeLessThan(tolerance * size));
}

/** 41 training points and 23 new ones in 50 dimensions, three outputs. */
const [n, rows, d, outputs] = [41, 23, 50, 3];
const [x, z] = [uniform(n * d), uniform(rows * d)];
const [targets, newTargets] = [uniform(n * outputs), uniform(rows * outputs)];
const kxx = gram(x, x, d, 0.5);
const ktx = gram(z, x, d);
const lambdas = [10, 0.25, 3, 0.25, 200];

describe("krr.fit", () => {
  for (const method of KRR_METHODS) {
    const tolerance = method === "multi-shift-cg" ? 1e-6 : 1e-11;

    it(`gives for every lambda what a plain solve gives: ${method}`, async () => {
      const model = await krr.fit(engine, matrixOf(kxx, n, n), targets, { lambdas, method, decision: "argmax" });
      expect(model).toMatchObject({ n, outputs, method, refused: [] });
      const predicted = await model.predict(matrixOf(ktx, rows, n), newTargets);
      lambdas.forEach((lambda, index) => {
        const coefficients = plainSolve(kxx, lambda, targets, n);
        expectClose(model.coefficients(index), coefficients, tolerance);
        const [train, test] = [plainProduct(kxx, n, coefficients), plainProduct(ktx, n, coefficients)];
        expectClose(model.trainPredictions(index), train, tolerance);
        expectClose(predicted[index]?.predictions, test, tolerance);
        const expected = regressionScores(train, targets, outputs, "argmax");
        expect(model.fits[index]?.lambda).toBe(lambda);
        expect(model.fits[index]?.train.squaredError).toBeCloseTo(expected.squaredError, 5);
        expect(model.fits[index]?.train.accuracy).toBe(expected.accuracy);
        const scores = regressionScores(test, newTargets, outputs, "argmax");
        expect(predicted[index]?.scores?.r2).toBeCloseTo(scores.r2 ?? NaN, 5);
        expect(predicted[index]?.scores?.squaredError).toBeCloseTo(scores.squaredError, 5);
      });
    });

    it(`works with a kernel in float32 as it is: ${method}`, async () => {
      const [k, t] = [Float32Array.from(kxx), Float32Array.from(ktx)];
      const model = await krr.fit(engine, matrixOf(k, n, n), targets, { lambdas: [0.5], method });
      const coefficients = plainSolve(k, 0.5, targets, n);
      expectClose(model.coefficients(0), coefficients, tolerance);
      const [predicted] = await model.predict(matrixOf(t, rows, n));
      expectClose(predicted?.predictions, plainProduct(t, n, coefficients), tolerance);
      expect(predicted?.scores).toBeUndefined();
    });

    it(`is not moved by powers of two that were taken out of the kernels: ${method}`, async () => {
      // An even power: Cholesky takes its root.
      const plain = await krr.fit(engine, matrixOf(kxx, n, n), targets, { lambdas, method });
      const scaled = (values: Float64Array, exponent: number) => values.map((value) => value * 2 ** -exponent);
      const model = await krr.fit(engine, matrixOf(scaled(kxx, 38), n, n, 38), targets, { lambdas, method });
      const before = await plain.predict(matrixOf(ktx, rows, n));
      const after = await model.predict(matrixOf(scaled(ktx, -12), rows, n, -12));
      lambdas.forEach((_, index) => {
        expect(model.coefficients(index)).toEqual(plain.coefficients(index));
        expect(model.trainPredictions(index)).toEqual(plain.trainPredictions(index));
        expect(after[index]?.predictions).toEqual(before[index]?.predictions);
      });
    });

    it(`takes a negative lambda as long as K + lambda I is positive definite: ${method}`, async () => {
      const model = await krr.fit(engine, matrixOf(kxx, n, n), targets, { lambdas: [-0.25, 1], method });
      expectClose(model.coefficients(0), plainSolve(kxx, -0.25, targets, n), 10 * tolerance);
      expectClose(model.coefficients(1), plainSolve(kxx, 1, targets, n), tolerance);
      const refused = krr.fit(engine, matrixOf(kxx, n, n), targets, { lambdas: [-1000, 1], method });
      await expect(refused).rejects.toMatchObject({ code: "E_NOT_POSITIVE_DEFINITE", details: { lambda: -1000 } });
    });
  }

  for (const method of ["cholesky", "eigh"] as const) {
    it(`interpolates with lambda 0 where the kernel is positive definite: ${method}`, async () => {
      const model = await krr.fit(engine, matrixOf(kxx, n, n), targets, { lambdas: [0], method });
      expect(model.fits[0]?.train).toEqual({ squaredError: 0, r2: 1, accuracy: undefined });
      const coefficients = plainSolve(kxx, 0, targets, n);
      expectClose(plainProduct(kxx, n, model.coefficients(0)), targets, 1e-11);
      expectClose(model.coefficients(0), coefficients, 1e-10);
    });

    it(`refuses lambda 0 with a singular kernel, and names a lambda that passes: ${method}`, async () => {
      // Two equal points: in exact arithmetic a pivot and an eigenvalue are 0.
      const twins = Float64Array.from([...x.subarray(0, (n - 1) * d), ...x.subarray(0, d)]);
      const singular = matrixOf(gram(twins, twins, d), n, n);
      const failure = krr.fit(engine, singular, targets, { lambdas: [1, 0], method });
      const { details, message } = await failure.then(
        () => expect.unreachable("it was fitted"),
        (error: unknown) => error as { details: { lambda: number; lambdaNeeded: number }; message: string },
      );
      expect(message).toMatch(
        /^with lambda 0 the 41 x 41 matrix .*(pivot \d+|eigenvalue).*; lambda [\d.e-]+ would have/,
      );
      expect(details.lambda).toBe(0);
      const { lambdaNeeded } = details;
      expect(lambdaNeeded).toBeGreaterThan(0);
      expect(lambdaNeeded).toBeLessThan(1e-6);
      const model = await krr.fit(engine, singular, targets, { lambdas: [lambdaNeeded], method });
      expect(model.fits).toHaveLength(1);
    });

    it(`leaves out what it cannot solve with, when it may, and tells why: ${method}`, async () => {
      const options = { lambdas: [1, -500, 2, -300], method, indefinite: "skip" } as const;
      const model = await krr.fit(engine, matrixOf(kxx, n, n), targets, options);
      expect(model.fits.map(({ lambda }) => lambda)).toEqual([1, 2]);
      expect(model.refused.map(({ lambda }) => lambda)).toEqual([-500, -300]);
      expectClose(model.coefficients(1), plainSolve(kxx, 2, targets, n), 1e-11);
    });
  }

  it("refuses grids, kernels and targets that cannot be meant", async () => {
    const matrix = matrixOf(kxx, n, n);
    const code = async (...args: Parameters<typeof krr.fit>) =>
      krr.fit(...args).then(
        () => "fitted",
        (error: unknown) => (error as { code: string }).code,
      );
    expect(await code(engine, matrix, targets, { lambdas: [] })).toBe("E_CONFIG");
    expect(await code(engine, matrix, targets, { lambdas: [1, NaN] })).toBe("E_CONFIG");
    expect(await code(engine, matrix, targets.subarray(1), { lambdas: [1] })).toBe("E_SHAPE");
    expect(await code(engine, matrixOf(ktx, rows, n), targets, { lambdas: [1] })).toBe("E_SHAPE");
    const bad = targets.slice();
    bad[7] = NaN;
    expect(await code(engine, matrix, bad, { lambdas: [1] })).toBe("E_DATA");
    const model = await krr.fit(engine, matrix, targets, { lambdas: [1] });
    await expect(model.predict(matrixOf(kxx, n, n), newTargets)).rejects.toMatchObject({ code: "E_SHAPE" });
    expect(() => model.coefficients(1)).toThrow(/there is no fit 1/);
  });

  it("tells in the kernel's units where conjugate gradients do not arrive, and does without that lambda if it may", async () => {
    // Eigenvalues over sixteen decades: no ridge of 1e-16 is reached.
    const steep = new Float64Array(n * n);
    const tilt = 0.3;
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) steep[i * n + j] = Math.exp(-((i - j) ** 2) * tilt ** 2);
    const matrix = matrixOf(
      steep.map((value) => value / 4),
      n,
      n,
      2,
    );
    const options = { lambdas: [1e-15, 2], method: "multi-shift-cg", tolerance: 1e-12 } as const;
    await expect(krr.fit(engine, matrix, targets, options)).rejects.toMatchObject({
      code: expect.stringMatching(/^E_NOT_(CONVERGED|POSITIVE_DEFINITE)$/) as string,
      message: expect.stringMatching(/^with lambda 1e-15/) as string,
      details: { lambda: 1e-15 },
    });
    const model = await krr.fit(engine, matrix, targets, { ...options, indefinite: "skip" });
    expect(model.fits.map(({ lambda }) => lambda)).toEqual([2]);
    expect(model.refused.map(({ lambda }) => lambda)).toEqual([1e-15]);
    const [refused] = model.refused;
    expect(refused?.reason.includes("positive definite")).toBe(refused?.kind === "not positive definite");
    expectClose(model.coefficients(0), plainSolve(steep, 2, targets, n), 1e-9);
  });

  it.each(["eigh", "multi-shift-cg"] as const)(
    "is as exact beside a lambda of -1e13 that is left out: %s",
    async (method) => {
      const options = { lambdas: [-1e13, 1e-3, 1], method, indefinite: "skip" } as const;
      const model = await krr.fit(engine, matrixOf(kxx, n, n), targets, options);
      expect(model.refused.map(({ lambda }) => lambda)).toEqual([-1e13]);
      const tolerance = method === "eigh" ? 1e-11 : 1e-6;
      [1e-3, 1].forEach((lambda, index) => {
        expectClose(model.coefficients(index), plainSolve(kxx, lambda, targets, n), tolerance);
      });
    },
  );

  it.each(KRR_METHODS)("says of a kernel of zeros only what is so: %s", async (method) => {
    const zero = matrixOf(new Float64Array(n * n), n, n);
    const error = await krr.fit(engine, zero, targets, { lambdas: [0], method }).then(
      () => expect.unreachable("it was fitted"),
      (thrown: unknown) => thrown as { code: string; message: string },
    );
    expect(error.code).toBe("E_NOT_POSITIVE_DEFINITE");
    expect(error.message).not.toMatch(/NaN|Infinity|lambda 0 would/);
    const model = await krr.fit(engine, zero, targets, { lambdas: [1], method });
    expectClose(model.coefficients(0), targets, 1e-12);
  });

  it.each(KRR_METHODS)("has no NaN in what it says of a kernel beyond float64's range: %s", async (method) => {
    const singular = matrixOf(gram(x.subarray(0, 5), x.subarray(0, 5), 1), 5, 5, 1100);
    for (const lambda of [0, -1e300]) {
      const error = await krr.fit(engine, singular, targets.subarray(0, 5), { lambdas: [lambda], method }).then(
        () => undefined,
        (thrown: unknown) => thrown as { code: string; message: string },
      );
      // Conjugate gradients may find a solution of the singular system.
      if (method !== "multi-shift-cg" || lambda < 0) expect(error).toBeDefined();
      expect(error?.message ?? "").not.toMatch(/NaN|Infinity/);
    }
  });

  it("tells an entry that is not finite, of the kernel at new inputs too, and a tolerance that is none", async () => {
    const model = await krr.fit(engine, matrixOf(kxx, n, n), targets, { lambdas: [1] });
    for (const Values of [Float32Array, Float64Array]) {
      const bad = Values.from(ktx);
      bad[7 * n + 3] = NaN;
      await expect(model.predict(matrixOf(bad, rows, n))).rejects.toMatchObject({
        code: "E_DATA",
        details: { row: 7, column: 3 },
      });
    }
    for (const tolerance of [NaN, 0, 1, -1])
      await expect(krr.fit(engine, matrixOf(kxx, n, n), targets, { lambdas, tolerance })).rejects.toMatchObject({
        code: "E_CONFIG",
      });
    const unmarked = new MemoryMatrix(kxx.slice(), { rows: n, columns: n, symmetric: false, exponent: 0 });
    await expect(krr.fit(engine, unmarked, targets, { lambdas })).rejects.toMatchObject({ code: "E_CONFIG" });
  });

  it("stops on a signal", async () => {
    const signal = AbortSignal.abort();
    for (const method of KRR_METHODS)
      await expect(krr.fit(engine, matrixOf(kxx, n, n), targets, { lambdas, method, signal })).rejects.toMatchObject({
        code: "E_ABORTED",
      });
  });
});

describe("the choice of a method", () => {
  const facts = {
    ...{ n: 5000, rhs: 10, trace: 2500, tolerance: 1e-8, float64: false },
    ...{ memoryBytes: 2 ** 33, scratchBytes: undefined, threads: 2 },
  };
  const grid = (count: number, first = 0.1) => Array.from({ length: count }, (_, i) => first * 1.5 ** i);

  it("is a Cholesky factor each for a few lambdas, one decomposition for many", () => {
    expect(chooseKrrMethod({ ...facts, lambdas: grid(20) }).method).toBe("cholesky");
    expect(chooseKrrMethod({ ...facts, lambdas: grid(80) }).method).toBe("eigh");
  });

  it("is conjugate gradients where the ridges are large or the matrix is, and never without a ridge", () => {
    expect(chooseKrrMethod({ ...facts, lambdas: grid(20, 1e4) }).method).toBe("multi-shift-cg");
    const large = { ...facts, n: 60000, trace: 3e4, memoryBytes: 2 ** 36 };
    expect(chooseKrrMethod({ ...large, lambdas: grid(20, 10) }).method).toBe("multi-shift-cg");
    expect(chooseKrrMethod({ ...large, lambdas: [0, ...grid(20, 10)] }).method).toBe("cholesky");
  });

  it("is told with what the others would take", () => {
    const { reason } = chooseKrrMethod({ ...facts, lambdas: grid(20, 1e-5) });
    expect(reason).toMatch(
      /^cholesky: about .* s for n = 5000, 20 lambdas, 10 outputs \(eigh: about .*; multi-shift-cg may/,
    );
    expect(chooseKrrMethod({ ...facts, rhs: 1, lambdas: [1] }).reason).toMatch(/ 1 lambda, 1 output \(/);
    expect(() => chooseKrrMethod({ ...facts, lambdas: grid(2), memoryBytes: 1000 })).toThrow(/no method fits/);
  });
});

describe("scores", () => {
  it("are those of the definitions: perfect, constant, and per output", () => {
    const cell = fc.double({ min: -10, max: 10, noNaN: true });
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell), { minLength: 2, maxLength: 20 }), (samples) => {
        const targets = Float64Array.from(samples.flat());
        const perfect = regressionScores(targets, targets, 2, "argmax");
        expect(perfect.squaredError).toBe(0);
        expect(perfect.accuracy).toBe(1);
        const means = [0, 1].map((c) => samples.reduce((sum, each) => sum + (each[c] ?? NaN), 0) / samples.length);
        const constant = Float64Array.from(samples.flatMap(() => means));
        const { r2 = 0 } = regressionScores(constant, targets, 2, undefined);
        expect(Math.abs(r2)).toBeLessThan(1e-9);
      }),
    );
  });

  it("take a negative output for class 0, and have no R^2 where targets do not vary", () => {
    const targets = Float64Array.of(-0.5, 0.5, -0.5, 0.5);
    expect(regressionScores(Float64Array.of(-1, -0.1, 0.2, 3), targets, 1, "sign").accuracy).toBe(0.5);
    expect(regressionScores(Float64Array.of(1, 2), Float64Array.of(1, 1), 1, undefined)).toEqual({
      ...{ squaredError: 0.5, r2: undefined, accuracy: undefined },
    });
  });
});
