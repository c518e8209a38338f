/** Gradient flow against integrations of its equations in small steps, and against gradient descent itself. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, wasmEngine } from "../../test/engines.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { MemoryMatrix, type KernelMatrix } from "../covariance/matrix.ts";
import type { Engine } from "../engine/engine.ts";
import { gradientFlow, maxLearningRate } from "./gradient-flow.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(() => engine.close());

const random = mulberry32(freshSeed());
const uniform = (length: number) => Float64Array.from({ length }, () => 2 * random() - 1);
const [n, rows, outputs] = [13, 7, 2];
const N = n * outputs;

/** A B for row-major matrices, A of `inner` columns. */
function times(A: Float64Array, B: Float64Array, inner: number): Float64Array {
  const [height, width] = [A.length / inner, B.length / inner];
  const C = new Float64Array(height * width);
  for (let i = 0; i < height; i++)
    for (let j = 0; j < width; j++)
      for (let k = 0; k < inner; k++)
        C[i * width + j] = (C[i * width + j] ?? NaN) + (A[i * inner + k] ?? NaN) * (B[k * width + j] ?? NaN);
  return C;
}

function transposed(A: Float64Array, columns: number): Float64Array {
  const height = A.length / columns;
  return A.map((_, at) => A[(at % height) * columns + Math.floor(at / height)] ?? NaN);
}

/** Gram matrices of n training and `rows` new points with so many features. */
function kernels(features: number) {
  const [x, z] = [uniform(n * features), uniform(rows * features)];
  const gram = (a: Float64Array, b: Float64Array) => times(a, transposed(b, features), features);
  return { x, z, dd: gram(x, x), td: gram(z, x), tt: gram(z, z) };
}

function matrixOf(values: Float64Array, height: number, width: number, exponent = 0): KernelMatrix {
  return new MemoryMatrix(new Float64Array(values), {
    ...{ rows: height, columns: width, exponent },
    symmetric: height === width,
  });
}

const square = (values: Float64Array) => matrixOf(values, n, n);
const across = (values: Float64Array) => matrixOf(values, rows, n);

function expectClose(actual: Float64Array | undefined, expected: Float64Array, tolerance: number): void {
  const size = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
  expect(actual).toHaveLength(expected.length);
  actual?.forEach((value, at) => expect(Math.abs(value - (expected[at] ?? NaN)) / size).toBeLessThan(tolerance));
}

/**
 * The classical Runge-Kutta method for dS/dt = -1/N Theta S with S_0 = I, and for Q = 1/N integral of Theta_td S: what is
 * left of the training outputs before training, and what has gone over to the new ones.
 */
function integrate(dd: Float64Array, td: Float64Array, t: number, steps = 4000) {
  let s = new Float64Array(n * n);
  for (let i = 0; i < n; i++) s[i * n + i] = 1;
  let q = new Float64Array(rows * n);
  const h = t / steps;
  const slope = (at: Float64Array) => times(dd, at, n).map((value) => -value / N);
  const rate = (at: Float64Array) => times(td, at, n).map((value) => value / N);
  const along = (from: Float64Array, by: Float64Array, step: number) =>
    from.map((value, i) => value + step * (by[i] ?? NaN));
  for (let step = 0; step < steps; step++) {
    const k1 = slope(s);
    const second = along(s, k1, h / 2);
    const k2 = slope(second);
    const third = along(s, k2, h / 2);
    const k3 = slope(third);
    const fourth = along(s, k3, h);
    const k4 = slope(fourth);
    const [r1, r2, r3, r4] = [rate(s), rate(second), rate(third), rate(fourth)];
    const mean = (a: Float64Array, b: Float64Array, c: Float64Array, d: Float64Array) =>
      a.map((value, i) => (value + 2 * (b[i] ?? NaN) + 2 * (c[i] ?? NaN) + (d[i] ?? NaN)) / 6);
    q = along(q, mean(r1, r2, r3, r4), h);
    s = along(s, mean(k1, k2, k3, k4), h);
  }
  return { s, q };
}

/** K_tt - Q K_dt - K_td Q' + Q K_dd Q', as written. */
function ensemble(q: Float64Array, { dd, td, tt }: Pick<ReturnType<typeof kernels>, "dd" | "td" | "tt">): Float64Array {
  const qk = times(q, transposed(td, n), n);
  const qkq = times(times(q, dd, n), transposed(q, n), n);
  const back = transposed(qk, rows);
  return tt.map((value, at) => value - (qk[at] ?? NaN) - (back[at] ?? NaN) + (qkq[at] ?? NaN));
}

const targets = uniform(N);
const initial = { train: uniform(N), test: uniform(rows * outputs) };
const residual = targets.map((target, at) => target - (initial.train[at] ?? NaN));

describe("gradientFlow", () => {
  it("follows the differential equation: means, and the covariance of an NTK ensemble", async () => {
    const [theta, prior] = [kernels(20), kernels(17)];
    const t = 30 + 40 * random();
    const { s, q } = integrate(theta.dd, theta.td, t);
    const flow = await gradientFlow(engine, { ntk: square(theta.dd), nngp: square(prior.dd) }, targets, {
      initial: initial.train,
    });
    const [train] = await flow.train(t, { covariance: true });
    const left = times(s, residual, n);
    expectClose(
      train?.mean,
      targets.map((target, at) => target - (left[at] ?? NaN)),
      1e-8,
    );
    expectClose(train?.covariance, times(times(s, prior.dd, n), transposed(s, n), n), 1e-8);
    const inputs = { ntk: across(theta.td), nngp: across(prior.td), prior: matrixOf(prior.tt, rows, rows) };
    const [found] = await flow.predict(t, { ...inputs, initial: initial.test });
    const moved = times(q, residual, n);
    expectClose(
      found?.mean,
      initial.test.map((value, at) => value + (moved[at] ?? NaN)),
      1e-8,
    );
    expectClose(found?.covariance, ensemble(q, prior), 1e-8);
  });

  it("with the NNGP kernel alone trains the last layer, and ends in the Gaussian process' posterior", async () => {
    const prior = kernels(25);
    const t = 20 + 30 * random();
    const { q } = integrate(prior.dd, prior.td, t);
    const flow = await gradientFlow(engine, { nngp: square(prior.dd) }, targets);
    const inputs = { nngp: across(prior.td), prior: matrixOf(prior.tt, rows, rows) };
    const [found, end, late] = await flow.predict([t, Infinity, 1e9], inputs);
    expectClose(found?.mean, times(q, targets, n), 1e-8);
    expectClose(found?.covariance, ensemble(q, prior), 1e-8);
    // K_td K^-1, checked by its product with K.
    const [train, vanished] = await flow.train([Infinity, Infinity], { covariance: true });
    expectClose(train?.mean, targets, 1e-10);
    expect(vanished?.covariance).toEqual(new Float64Array(n * n));
    expectClose(late?.mean, end?.mean ?? new Float64Array(), 1e-9);
    // The posterior of the joint Gaussian: its covariance is the inverse of a block of the inverse, so that it times
    // itself with the explained part gives the prior back.
    const identity = new Float64Array(n * n).map((_, at) => Number(Math.floor(at / n) === at % n));
    const solving = await gradientFlow(engine, { nngp: square(prior.dd) }, identity);
    const [inverse] = await solving.predict(Infinity, { nngp: matrixOf(identity, n, n) });
    const weights = times(prior.td, inverse?.mean ?? new Float64Array(), n);
    expectClose(times(weights, prior.dd, n), prior.td, 1e-8);
    const explained = times(weights, transposed(prior.td, n), n);
    expectClose(
      end?.covariance,
      prior.tt.map((value, at) => value - (explained[at] ?? NaN)),
      1e-7,
    );
  });

  it("at time 0 is the prior, and learning rate and time only count together", async () => {
    const theta = kernels(20);
    const flow = await gradientFlow(engine, { ntk: square(theta.dd), nngp: square(theta.dd) }, targets);
    const inputs = { ntk: across(theta.td), nngp: across(theta.td), prior: matrixOf(theta.tt, rows, rows) };
    const [start] = await flow.predict(0, inputs);
    expect(start?.mean).toEqual(new Float64Array(rows * outputs));
    expect(start?.covariance).toEqual(theta.tt);
    const fast = await gradientFlow(engine, { ntk: square(theta.dd) }, targets, { learningRate: 8 });
    const [a, b] = [await flow.predict(24, { ntk: inputs.ntk }), await fast.predict(3, { ntk: inputs.ntk })];
    expect(a[0]?.mean).toEqual(b[0]?.mean);
  });

  it("leaves directions that the kernel does not see where they are, at every time", async () => {
    // Five features for 13 points: eight eigenvalues are 0 but for rounding.
    const theta = kernels(5);
    const flow = await gradientFlow(engine, { ntk: square(theta.dd), nngp: square(theta.dd) }, targets);
    const [early, late, end] = await flow.train([1e6, 1e12, Infinity]);
    expectClose(late?.mean, end?.mean ?? new Float64Array(), 1e-9);
    expectClose(early?.mean, end?.mean ?? new Float64Array(), 1e-6);
    // The projection onto the features: what is left over is orthogonal to them.
    const over = targets.map((target, at) => target - (end?.mean[at] ?? NaN));
    const overlap = times(transposed(theta.x, 5), over, n);
    expect(Math.max(...overlap.map(Math.abs))).toBeLessThan(1e-10);
    const [test, huge] = await flow.predict([Infinity, 1e15], { ntk: across(theta.td) });
    expectClose(huge?.mean, test?.mean ?? new Float64Array(), 1e-9);
    expect(Math.max(...(test?.mean ?? []).map(Math.abs))).toBeLessThan(1e4);
  });

  it("with a regularisation ends in kernel ridge regression, at the training inputs given as new ones too", async () => {
    const theta = kernels(20);
    const options = { diagReg: 0.7, absolute: true };
    const flow = await gradientFlow(engine, { ntk: square(theta.dd) }, targets, options);
    const [train] = await flow.predict(Infinity, { ntk: square(theta.dd) });
    // (K + r I) a = y with K a = f: r a = y - f.
    const a = targets.map((target, at) => (target - (train?.mean[at] ?? NaN)) / 0.7);
    expectClose(times(theta.dd, a, n), train?.mean ?? new Float64Array(), 1e-10);
  });

  it("trains with the regularisation as a part of the kernel, up to the targets, as neural-tangents does", async () => {
    const theta = kernels(20);
    const options = { diagReg: 0.7, absolute: true };
    const more = theta.dd.map((value, at) => value + (Math.floor(at / n) === at % n ? 0.7 : 0));
    for (const kind of ["ntk", "nngp"] as const) {
      const both = (dd: Float64Array) =>
        kind === "ntk" ? { ntk: square(dd), nngp: square(theta.dd) } : { nngp: square(dd) };
      const flow = await gradientFlow(engine, both(theta.dd), targets, options);
      const plain = await gradientFlow(engine, both(more), targets);
      const [found, expected] = [flow, plain].map((each) => each.train([0, 3, 40, Infinity], { covariance: true }));
      const other = (await expected) ?? [];
      (await found)?.forEach(({ mean, covariance }, at) => {
        expectClose(mean, other[at]?.mean ?? new Float64Array(), 1e-9);
        expectClose(covariance, other[at]?.covariance ?? new Float64Array(), 1e-9);
      });
      expectClose(other[3]?.mean, targets, 1e-9);
    }
  });

  it("does not depend on a power of two that was taken out of the kernel", async () => {
    const theta = kernels(20);
    const shrink = (values: Float64Array) => values.map((value) => value * 2 ** -60);
    const plain = await gradientFlow(engine, { ntk: square(theta.dd) }, targets);
    const flow = await gradientFlow(engine, { ntk: matrixOf(shrink(theta.dd), n, n, 60) }, targets);
    const [expected] = await plain.predict(40, { ntk: across(theta.td) });
    const [found] = await flow.predict(40, { ntk: matrixOf(shrink(theta.td), rows, n, 60) });
    expect(found?.mean).toEqual(expected?.mean);
  });

  it("is what gradient descent on a linear model does with a small learning rate", async () => {
    const features = 20;
    const { x, z, dd, td } = kernels(features);
    const ntk = square(dd);
    const rate = (await maxLearningRate(engine, ntk, { outputs })) / 2000;
    const steps = 3000;
    const [start, weights] = [uniform(features * outputs), new Float64Array(features * outputs)];
    weights.set(start);
    for (let step = 0; step < steps; step++) descend(x, features, weights, rate);
    const before = { train: times(x, start, features), test: times(z, start, features) };
    const flow = await gradientFlow(engine, { ntk }, targets, { learningRate: rate, initial: before.train });
    const [found] = await flow.predict(steps, { ntk: across(td), initial: before.test });
    // Each step is off by (rate s / N)^2 / 2, at most 1e-6 / 2.
    expectClose(found?.mean, times(z, weights, features), 2e-3);
  });

  it("refuses kernels and times that cannot be meant", async () => {
    const theta = kernels(20);
    const flow = await gradientFlow(engine, { ntk: square(theta.dd) }, targets);
    await expect(flow.train(-1)).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(flow.predict(1, { nngp: across(theta.td) })).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(flow.predict(1, { ntk: square(theta.dd), initial: targets.subarray(1) })).rejects.toMatchObject({
      code: "E_SHAPE",
    });
    await expect(flow.train(1, { covariance: true })).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(gradientFlow(engine, {}, targets)).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(gradientFlow(engine, { ntk: across(theta.td) }, targets)).rejects.toMatchObject({ code: "E_SHAPE" });
    const bad = theta.dd.slice();
    bad[2 * n + 1] = NaN;
    await expect(gradientFlow(engine, { ntk: square(bad) }, targets)).rejects.toMatchObject({
      code: "E_DATA",
      details: { row: 2, column: 1 },
    });
    await expect(flow.predict(1, { ntk: matrixOf(new Float64Array(), 0, n) })).rejects.toThrow(
      /there are no new inputs/,
    );
    const moved = await gradientFlow(engine, { ntk: square(theta.dd) }, targets, { initial: initial.train });
    await expect(moved.predict(1, { ntk: across(theta.td) })).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringContaining("before training") as string,
    });
    const small = engineOf(engine.backend, 4 * 8 * n * n - 1);
    await expect(gradientFlow(small, { ntk: square(theta.dd) }, targets)).rejects.toMatchObject({ code: "E_MEMORY" });
    const negative = square(theta.dd.map((value) => -value));
    await expect(gradientFlow(engine, { ntk: negative }, targets)).rejects.toMatchObject({
      code: "E_NOT_POSITIVE_DEFINITE",
    });
  });
});

/** One step of gradient descent on 1 / 2N |x w - y|^2. */
function descend(x: Float64Array, features: number, weights: Float64Array, rate: number): void {
  const off = times(x, weights, features).map((value, at) => value - (targets[at] ?? NaN));
  times(transposed(x, features), off, n).forEach((gradient, at) => {
    weights[at] = (weights[at] ?? NaN) - (rate * gradient) / N;
  });
}

describe("maxLearningRate", () => {
  it.each([0, 0.9])("is where gradient descent with momentum %d turns from shrinking to growing", async (momentum) => {
    const features = 6;
    const { x, dd } = kernels(features);
    const rate = await maxLearningRate(engine, square(dd), { outputs, momentum });
    const sizeAfter = (factor: number) => {
      const weights = uniform(features * outputs);
      const velocity = new Float64Array(weights.length);
      for (let step = 0; step < 3000; step++) {
        const before = weights.slice();
        descend(x, features, weights, factor * rate);
        weights.forEach((value, at) => {
          velocity[at] = momentum * (velocity[at] ?? NaN) + value - (before[at] ?? NaN);
          weights[at] = (before[at] ?? NaN) + (velocity[at] ?? NaN);
        });
      }
      return Math.max(...weights.map(Math.abs));
    };
    expect(sizeAfter(0.99)).toBeLessThan(1e3);
    expect(sizeAfter(1.02)).toBeGreaterThan(1e5);
  });
});
