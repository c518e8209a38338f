/**
 * Every operation on every backend: its values against float64 loops, its gradients against central differences of those
 * loops. Inputs keep away from kinks, where a difference means nothing.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ActivateName } from "../engine/kernels/activate.ts";
import type { Engine } from "../engine/engine.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { gpuEngine, wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import * as reference from "../../test/reference/tensor-ops.ts";
import { array64, type Array64 } from "../../test/reference/tensor-ops.ts";
import { RandomStream, streamAddress } from "../engine/rng.ts";
import * as ops from "./ops.ts";
import { gradients } from "./tape.ts";
import { labelTensor, scope, tensor, type Tensor } from "./tensor.ts";

const seed = freshSeed();
const random = mulberry32(seed);

function below(limit: number): number {
  return Math.floor(random() * limit);
}

function normal(): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Normal numbers in float32, none within 0.05 of a place where the function has a kink. */
function draw(shape: readonly number[], kinks: readonly number[] = []): Array64 {
  const size = shape.reduce((product, side) => product * side, 1);
  const one = (): number => {
    const value = Math.fround(normal());
    return kinks.some((kink) => Math.abs(value - kink) < 0.05) ? one() : value;
  };
  return array64(shape, Array.from({ length: size }, one));
}

/** Different numbers, at least 0.1 apart: maxima that a small step does not move. */
function apart(shape: readonly number[]): Array64 {
  const size = shape.reduce((product, side) => product * side, 1);
  const values = Array.from({ length: size }, (_, i) => 0.1 * (i - size / 2));
  for (let i = size - 1; i > 0; i--) {
    const j = below(i + 1);
    [values[i], values[j]] = [values[j] ?? 0, values[i] ?? 0];
  }
  return array64(shape, values.map(Math.fround));
}

interface Case {
  readonly name: string;
  readonly inputs: readonly Array64[];
  readonly apply: (inputs: readonly Tensor[]) => Tensor;
  readonly expected: (inputs: readonly Array64[]) => Array64;
  /** Inputs without a gradient. */
  readonly constant?: readonly number[];
  /** Tensors that `apply` itself makes beside its result, and leaves to a scope. */
  readonly own?: number;
}

const STEP = 1e-5;

/** d sum(weights f(inputs)) / d inputs[which], by central differences. */
function differences({ inputs, expected }: Case, weights: Array64, which: number): Float64Array {
  const value = (moved: Array64): number => {
    const out = expected(inputs.map((input, i) => (i === which ? moved : input)));
    return out.data.reduce((sum, entry, i) => sum + entry * (weights.data[i] ?? NaN), 0);
  };
  const input = inputs[which] ?? array64([], []);
  return input.data.map((_, place) => {
    const at = (step: number): number => {
      const data = input.data.slice();
      data[place] = (data[place] ?? 0) + step;
      return value({ shape: input.shape, data });
    };
    return (at(STEP) - at(-STEP)) / (2 * STEP);
  });
}

/** Largest difference in units of the largest expected number, or of 1. */
function error(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let [worst, scale] = [0, 1];
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i] ?? NaN));
  for (let i = 0; i < expected.length; i++) {
    const off = Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)) / scale;
    if (!(off <= worst)) worst = off;
  }
  return worst;
}

/** Roundings of float32 in sums of at most some hundred terms of about 1. */
const TOLERANCE = 2e-5;

async function check(engine: Engine, test: Case): Promise<void> {
  const expected = test.expected(test.inputs);
  const weights = draw(expected.shape);
  const tensors = test.inputs.map(({ shape, data }) => tensor(engine, Float32Array.from(data), shape));
  const weightTensor = tensor(engine, Float32Array.from(weights.data), weights.shape);
  const watched = tensors.filter((_, i) => !(test.constant ?? []).includes(i));
  let left = 0;
  const out = scope(engine, () => {
    const result = test.apply(tensors);
    left = result.device.scopes.at(-1)?.size ?? 0;
    return result;
  });
  // Outside of a scope nobody would dispose of more.
  expect(left, `${test.name}: tensors that it leaves`).toBe(1 + (test.own ?? 0));
  expect(out.shape).toEqual(expected.shape);
  expect(error(await out.read(), expected.data), `${test.name}: values`).toBeLessThan(TOLERANCE);
  const found = gradients(engine, watched, () => ops.sum(ops.multiply(test.apply(tensors), weightTensor)));
  for (const [index, one] of watched.entries()) {
    const which = tensors.indexOf(one);
    const numeric = differences(test, weights, which);
    const actual = await (found.gradients[index] ?? one).read();
    expect(error(actual, numeric), `${test.name}: gradient of input ${which}`).toBeLessThan(TOLERANCE);
  }
  for (const one of [...tensors, weightTensor, out, found.value, ...found.gradients]) one.dispose();
}

const unary: Readonly<
  Partial<Record<ActivateName, readonly [f: (x: number) => number, p?: number, q?: number, kinks?: readonly number[]]>>
> = {
  relu: [(x) => Math.max(x, 0), 0, 0, [0]],
  leakyRelu: [(x) => (x > 0 ? x : 0.25 * x), 0.25, 0, [0]],
  elu: [(x) => (x > 0 ? x : 1.5 * Math.expm1(x)), 1.5, 0, [0]],
  sigmoid: [(x) => 1 / (1 + Math.exp(-x))],
  softplus: [(x) => Math.log1p(Math.exp(x))],
  tanh: [Math.tanh],
  exp: [Math.exp],
  square: [(x) => x * x],
  abs: [Math.abs, 0, 0, [0]],
  sign: [Math.sign, 0, 0, [0]],
  clamp: [(x) => Math.min(Math.max(x, -0.75), 0.5), -0.75, 0.5, [-0.75, 0.5]],
  threshold: [(x) => (x > 0 ? 1 : -1), -1, 1, [0]],
};

function unaryCases(): Case[] {
  const shape = [3, 7, 5];
  const plain = Object.entries(unary).map(([name, [f, p = 0, q = 0, kinks = []]]): Case => ({
    name,
    inputs: [draw(shape, kinks)],
    apply: ([x]) => ops.apply(x as Tensor, name as ActivateName, p, q),
    expected: ([x]) => reference.map(x as Array64, f),
  }));
  const positive = reference.map(draw(shape), (x) => Math.fround(Math.abs(x) + 0.5));
  const ofPositive: [ActivateName, (x: number) => number][] = [
    ["log", Math.log],
    ["sqrt", Math.sqrt],
    ["reciprocal", (x) => 1 / x],
  ];
  return [
    ...plain,
    ...ofPositive.map(([name, f]): Case => ({
      name,
      inputs: [positive],
      apply: ([x]) => ops.apply(x as Tensor, name),
      expected: ([x]) => reference.map(x as Array64, f),
    })),
  ];
}

function binaryCases(): Case[] {
  const two = (): Array64[] => [draw([4, 9]), draw([4, 9])];
  return [
    {
      name: "add",
      inputs: two(),
      apply: ([a, b]) => ops.add(a as Tensor, b as Tensor, 0.5, -3),
      expected: ([a, b]) => reference.zip(a as Array64, b as Array64, (x, y) => 0.5 * x - 3 * y),
    },
    {
      name: "multiply",
      inputs: two(),
      apply: ([a, b]) => ops.multiply(a as Tensor, b as Tensor),
      expected: ([a, b]) => reference.zip(a as Array64, b as Array64, (x, y) => x * y),
    },
    {
      name: "divide",
      inputs: [draw([4, 9]), reference.map(draw([4, 9]), (x) => Math.fround(Math.sign(x) + x))],
      apply: ([a, b]) => ops.divide(a as Tensor, b as Tensor),
      expected: ([a, b]) => reference.zip(a as Array64, b as Array64, (x, y) => x / y),
    },
    {
      name: "a tensor with itself",
      inputs: [draw([11])],
      own: 2,
      apply: ([a]) => ops.multiply(a as Tensor, ops.add(a as Tensor, ops.affine(a as Tensor, 2, 1))),
      expected: ([a]) => reference.map(a as Array64, (x) => x * (3 * x + 1)),
    },
  ];
}

function linearCases(): Case[] {
  const [m, n, k] = [1 + below(9), 1 + below(9), 1 + below(40)];
  const products = [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB): Case => ({
      name: `matmul ${m} x ${n} x ${k}, ${transposeA} ${transposeB}`,
      inputs: [draw(transposeA ? [k, m] : [m, k]), draw(transposeB ? [n, k] : [k, n])],
      apply: ([a, b]) => ops.matmul(a as Tensor, b as Tensor, { transposeA, transposeB }),
      expected: ([a, b]) => reference.matmul(a as Array64, b as Array64, transposeA, transposeB),
    })),
  );
  const convolutions = Array.from({ length: 6 }, (_, index): Case => {
    const [batch, channels, out] = [1 + below(3), 1 + below(4), 1 + below(5)];
    const kernel = [1 + below(3), 1 + below(3)] as const;
    const options = {
      stride: [1 + below(3), 1 + below(3)] as const,
      dilation: [1 + below(2), 1 + below(2)] as const,
      padding: [below(3), below(3), below(3), below(3)] as const,
    };
    const sides = kernel.map((length, axis) => (length - 1) * (options.dilation[axis] ?? 1) + 1 + below(5));
    const biased = index % 2 === 0;
    return {
      name: `conv2d ${batch} x ${channels} x ${sides.join(" x ")}, ${kernel.join(" x ")} to ${out}, ${JSON.stringify(options)}`,
      inputs: [draw([batch, channels, ...sides]), draw([out, channels, ...kernel]), ...(biased ? [draw([out])] : [])],
      apply: ([x, w, b]) => ops.conv2d(x as Tensor, w as Tensor, options, b),
      expected: ([x, w, b]) => reference.conv2d(x as Array64, w as Array64, b, options),
    };
  });
  const biases = [
    [6, 5],
    [3, 4, 2, 5],
  ].map((shape): Case => ({
    name: `bias of ${shape.join(" x ")}`,
    inputs: [draw(shape), draw([shape[1] ?? 1])],
    apply: ([x, b]) => ops.bias(x as Tensor, b as Tensor),
    expected: ([x, b]) => reference.bias(x as Array64, b as Array64),
  }));
  return [...products, ...convolutions, ...biases];
}

function poolingCases(): Case[] {
  const geometries = [
    { window: [2, 2], stride: [2, 2], padding: [0, 0] },
    { window: [3, 3], stride: [2, 2], padding: [1, 1] },
    { window: [3, 2], stride: [1, 3], padding: [1, 0] },
  ] as const;
  return geometries.flatMap((options) =>
    (["max", "mean"] as const).map((kind): Case => ({
      name: `${kind} pool ${JSON.stringify(options)}`,
      inputs: [apart([2, 3, 7, 8])],
      apply: ([x]) => (kind === "max" ? ops.maxPool(x as Tensor, options) : ops.avgPool(x as Tensor, options)),
      expected: ([x]) => reference.pool(x as Array64, options, kind),
    })),
  );
}

function normalisationCases(): Case[] {
  const shapes = [
    [5, 3, 4, 3],
    [9, 4],
  ];
  const address = streamAddress(seed, "dropout", 7);
  const training = shapes.map((shape): Case => ({
    name: `batchNorm of ${shape.join(" x ")}, training`,
    own: 1,
    inputs: [draw(shape), draw([shape[1] ?? 1]), draw([shape[1] ?? 1])],
    apply: ([x, scale, shift]) => {
      const running = tensor((x as Tensor).device, new Float32Array(2 * (shape[1] ?? 1)), [2, shape[1] ?? 1]);
      return ops.batchNorm(x as Tensor, scale as Tensor, shift as Tensor, running, { epsilon: 1e-3, training: true });
    },
    expected: ([x, scale, shift]) =>
      reference.batchNorm(x as Array64, scale as Array64, shift as Array64, reference.moments(x as Array64), 1e-3),
  }));
  const inference = shapes.map((shape): Case => {
    const channels = shape[1] ?? 1;
    const by = array64(
      [2, channels],
      Array.from({ length: 2 * channels }, () => Math.fround(0.5 + random())),
    );
    return {
      name: `batchNorm of ${shape.join(" x ")}, inference`,
      own: 1,
      inputs: [draw(shape), draw([channels]), draw([channels])],
      apply: ([x, scale, shift]) => {
        const running = tensor((x as Tensor).device, Float32Array.from(by.data), by.shape);
        return ops.batchNorm(x as Tensor, scale as Tensor, shift as Tensor, running, { training: false });
      },
      expected: ([x, scale, shift]) => reference.batchNorm(x as Array64, scale as Array64, shift as Array64, by, 1e-5),
    };
  });
  const dropouts = [false, true].map((perChannel): Case => {
    const shape = [4, 6, 3, 2];
    const stream = new RandomStream(seed, "dropout", 7);
    const kept = Array.from({ length: perChannel ? 24 : 144 }, () => stream.uniform32() < Math.fround(0.7));
    return {
      name: `dropout, ${perChannel ? "channels" : "elements"}`,
      inputs: [draw(shape)],
      apply: ([x]) => ops.dropout(x as Tensor, 0.3, address, perChannel),
      expected: ([x]) => ({
        shape,
        data: (x as Array64).data.map((value, i) =>
          kept[perChannel ? Math.floor(i / 6) : i] === true ? value / 0.7 : 0,
        ),
      }),
    };
  });
  return [...training, ...inference, ...dropouts];
}

function reductionCases(): Case[] {
  const shape = [3, 4, 5];
  return [
    ...[undefined, 0, 1, 2].map((axis): Case => ({
      name: `sum over ${axis ?? "everything"}`,
      inputs: [draw(shape)],
      apply: ([x]) => ops.sum(x as Tensor, axis),
      expected: ([x]) => reference.sum(x as Array64, axis),
    })),
    {
      name: "mean over axis 1",
      inputs: [draw(shape)],
      apply: ([x]) => ops.mean(x as Tensor, 1),
      expected: ([x]) => reference.map(reference.sum(x as Array64, 1), (value) => value / 4),
    },
    {
      name: "max over the last axis",
      inputs: [apart(shape)],
      apply: ([x]) => ops.max(x as Tensor, -1),
      expected: ([x]) => reference.maxOfRows(x as Array64),
    },
    {
      name: "max over everything",
      inputs: [apart(shape)],
      apply: ([x]) => ops.max(x as Tensor),
      expected: ([x]) => array64([], [Math.max(...(x as Array64).data)]),
    },
    ...[false, true].map((log): Case => ({
      name: log ? "logSoftmax" : "softmax",
      inputs: [draw([4, 3, 11])],
      apply: ([x]) => (log ? ops.logSoftmax(x as Tensor) : ops.softmax(x as Tensor)),
      expected: ([x]) => reference.softmax(x as Array64, log),
    })),
  ];
}

function copyCases(): Case[] {
  const shape = [2, 3, 4, 5];
  return [
    {
      name: "reshape",
      inputs: [draw(shape)],
      apply: ([x]) => ops.reshape(x as Tensor, [6, -1]),
      expected: ([x]) => array64([6, 20], (x as Array64).data),
    },
    ...[
      [3, 2, 1, 0],
      [1, 0, 3, 2],
      [0, 2, 3, 1],
    ].map((order): Case => ({
      name: `transpose ${order.join("")}`,
      inputs: [draw(shape)],
      apply: ([x]) => ops.transpose(x as Tensor, order),
      expected: ([x]) => reference.transpose(x as Array64, order),
    })),
    ...[0, 1, 3].map((axis): Case => ({
      name: `slice along ${axis}`,
      inputs: [draw(shape)],
      apply: ([x]) => ops.slice(x as Tensor, axis, 1, (shape[axis] ?? 2) - 1),
      expected: ([x]) => reference.slice(x as Array64, axis, 1, (shape[axis] ?? 2) - 1),
    })),
    {
      name: "concat",
      inputs: [draw([2, 3, 4]), draw([2, 1, 4]), draw([2, 5, 4])],
      apply: (parts) => ops.concat(parts, 1),
      expected: (parts) => reference.concat(parts, 1),
    },
    {
      name: "pad",
      inputs: [draw([2, 3, 4])],
      apply: ([x]) =>
        ops.pad(
          x as Tensor,
          [
            [0, 1],
            [2, 0],
            [1, 3],
          ],
          -0.5,
        ),
      expected: ([x]) =>
        reference.pad(
          x as Array64,
          [
            [0, 1],
            [2, 0],
            [1, 3],
          ],
          -0.5,
        ),
    },
  ];
}

/** Labels with a wide step between the classes' scores and the kinks of hinges. */
function lossCases(): Case[] {
  const labels = Uint32Array.from({ length: 7 }, () => below(6));
  const names = ["crossEntropy", "hinge", "squaredHinge", "truncatedHinge", "logHinge"] as const;
  const classLosses = names.map((name): Case => ({
    name,
    inputs: [draw([7, 6], [-1, 1])],
    own: 2, // labels and ranks
    apply: ([x]) => {
      const target = labelTensor((x as Tensor).device, labels);
      return ops.classLoss(x as Tensor, target, name).loss;
    },
    expected: ([x]) => array64([], [reference.classLoss(x as Array64, labels, name)]),
  }));
  return [
    ...classLosses,
    {
      name: "meanSquaredError",
      inputs: [draw([5, 3]), draw([5, 3])],
      apply: ([x, y]) => ops.meanSquaredError(x as Tensor, y as Tensor),
      expected: ([x, y]) => {
        const squares = reference.zip(x as Array64, y as Array64, (a, b) => (a - b) ** 2);
        return reference.map(reference.sum(squares), (value) => value / 15);
      },
    },
    {
      name: "halfSquaredNorm",
      inputs: [draw([5, 3])],
      apply: ([x]) => ops.halfSquaredNorm(x as Tensor),
      expected: ([x]) => reference.map(reference.sum(reference.map(x as Array64, (a) => a * a)), (value) => value / 2),
    },
  ];
}

const cases: readonly Case[] = [
  ...unaryCases(),
  ...binaryCases(),
  ...linearCases(),
  ...poolingCases(),
  ...normalisationCases(),
  ...reductionCases(),
  ...copyCases(),
  ...lossCases(),
];

describe.each([
  ["wasm, two threads", () => wasmEngine()],
  ["wasm without threads", () => wasmEngine({ variant: "single", threads: 1 })],
  ["WebGPU", () => gpuEngine()],
])("operations on %s", (_, open) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await open();
  });
  afterAll(async () => engine.close());

  it.each(cases.map((one) => [one.name, one] as const))("%s", async (__, test) => {
    await check(engine, test);
  });

  it("leave nothing behind: every buffer is back in the pool", async () => {
    const made = cases.length;
    expect(made).toBeGreaterThan(50);
    const { pool } = tensor(engine, [1]).device;
    const before = engine.backend.stats().slots;
    pool.trim();
    // What is left is the tensor above.
    expect(before).toBeGreaterThan(1);
    expect(engine.backend.stats().slots).toBe(1);
    await engine.backend.finish();
  });
});
