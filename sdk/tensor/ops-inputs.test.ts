/** What operations refuse before they compute, and what they make of tensors without numbers. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuEngine, wasmEngine } from "../../test/engines.ts";
import { streamAddress } from "../engine/rng.ts";
import type { Engine } from "../engine/engine.ts";
import { deviceOf } from "./device.ts";
import { addToChannels } from "./ops/channel-maps.ts";
import * as ops from "./ops.ts";
import { gradients } from "./tape.ts";
import { labelTensor, scope, Tensor, tensor } from "./tensor.ts";

/** An operation on inputs of given shapes; `batch` is the first side of those that have one. */
interface Case {
  readonly shapes: (batch: number) => readonly (readonly number[])[];
  readonly apply: (inputs: readonly Tensor[]) => Tensor;
  /** For a batch of 0: the result's shape, and the numbers in each gradient; absent where the operation refuses that. */
  readonly empty?: readonly number[];
  /** Sees its input as another shape, whatever it holds. */
  readonly takesLabels?: boolean;
  /** Tensors that `apply` itself makes. */
  readonly own?: number;
}

const address = streamAddress(1, "dropout", 0);
const images = (batch: number): number[] => [batch, 3, 4, 5];
const rows = (batch: number): number[] => [batch, 3];
const unary = (apply: (x: Tensor) => Tensor): Case => ({
  shapes: (batch) => [rows(batch)],
  apply: ([x]) => apply(x as Tensor),
  empty: [0, 3],
});
const binary = (apply: (a: Tensor, b: Tensor) => Tensor): Case => ({
  shapes: (batch) => [rows(batch), rows(batch)],
  apply: ([a, b]) => apply(a as Tensor, b as Tensor),
  empty: [0, 3],
});
const without = ({ shapes, apply }: Case): Case => ({ shapes, apply });

const convolution: Case = {
  shapes: (batch) => [images(batch), [2, 3, 3, 3], [2]],
  apply: ([x, w, b]) => ops.conv2d(x as Tensor, w as Tensor, { padding: 1 }, b),
  empty: [0, 2, 4, 5],
};
const [unit, window] = [{ strideHeight: 1, strideWidth: 1, dilationHeight: 1, dilationWidth: 1 }, { window: 2 }];

/** Every operation of `ops`, by its name. */
const cases: Readonly<Record<string, Case>> = {
  ...{ abs: unary(ops.abs), elu: unary(ops.elu), exp: unary(ops.exp), leakyRelu: unary(ops.leakyRelu) },
  ...{ log: unary(ops.log), reciprocal: unary(ops.reciprocal), relu: unary(ops.relu), sigmoid: unary(ops.sigmoid) },
  ...{ sign: unary(ops.sign), softplus: unary(ops.softplus), sqrt: unary(ops.sqrt), square: unary(ops.square) },
  ...{ tanh: unary(ops.tanh), softmax: unary(ops.softmax), logSoftmax: unary(ops.logSoftmax) },
  ...{ multiply: binary(ops.multiply), subtract: binary(ops.subtract), divide: binary(ops.divide) },
  apply: unary((x) => ops.apply(x, "erf")),
  clamp: unary((x) => ops.clamp(x, -1, 1)),
  affine: unary((x) => ops.affine(x, 2, 1)),
  add: binary((a, b) => ops.add(a, b, 2, 3)),
  bias: {
    shapes: (batch) => [rows(batch), [3]],
    apply: ([x, b]) => ops.bias(x as Tensor, b as Tensor),
    empty: [0, 3],
  },
  conv2d: convolution,
  convolve: {
    ...convolution,
    apply: ([x, w, b]) =>
      ops.convolve(x as Tensor, w as Tensor, b, { outHeight: 4, outWidth: 5, ...unit, padTop: 1, padLeft: 1 }),
  },
  matmul: {
    shapes: (batch) => [rows(batch), [3, 2]],
    apply: ([a, b]) => ops.matmul(a as Tensor, b as Tensor),
    empty: [0, 2],
  },
  avgPool: {
    shapes: (batch) => [images(batch)],
    apply: ([x]) => ops.avgPool(x as Tensor, window),
    empty: [0, 3, 2, 2],
  },
  maxPool: {
    shapes: (batch) => [images(batch)],
    apply: ([x]) => ops.maxPool(x as Tensor, window),
    empty: [0, 3, 2, 2],
  },
  batchNorm: {
    shapes: (batch) => [images(batch), [3], [3], [2, 3]],
    apply: ([x, scale, shift, running]) =>
      ops.batchNorm(x as Tensor, scale as Tensor, shift as Tensor, running as Tensor, { training: false }),
    empty: [0, 3, 4, 5],
  },
  dropout: unary((x) => ops.dropout(x, 0.5, address)),
  concat: {
    shapes: (batch) => [rows(batch), [batch, 2]],
    apply: (parts) => ops.concat(parts, 1),
    empty: [0, 5],
  },
  flatten: {
    shapes: (batch) => [images(batch)],
    apply: ([x]) => ops.flatten(x as Tensor),
    empty: [0, 60],
    takesLabels: true,
  },
  pad: unary((x) =>
    ops.slice(
      ops.pad(x, [
        [0, 0],
        [1, 1],
      ]),
      1,
      1,
      3,
    ),
  ),
  reshape: { ...unary((x) => ops.reshape(x, [-1, 3])), takesLabels: true },
  slice: unary((x) => ops.concat([ops.slice(x, 1, 0, 2), ops.slice(x, 1, 2, 1)], 1)),
  transpose: { ...unary((x) => ops.transpose(x)), empty: [3, 0] },
  max: { ...unary((x) => ops.max(x, -1)), empty: [0] },
  mean: { ...unary((x) => ops.mean(x, 1)), empty: [0] },
  sum: { ...unary((x) => ops.sum(x, 0)), empty: [3] },
  classLoss: {
    ...without(unary((x) => ops.classLoss(x, labelTensor(x.device, new Uint32Array(x.shape[0] ?? 0))).loss)),
    own: 1,
  },
  halfSquaredNorm: { ...unary(ops.halfSquaredNorm), empty: [] },
  meanSquaredError: without(binary(ops.meanSquaredError)),
};

/** Beside them, what networks use. */
const everyCase = Object.entries<Case>({
  ...cases,
  addToChannels: {
    shapes: (batch: number) => [images(batch), [batch, 1, 4, 5]],
    apply: ([x, map]: readonly Tensor[]) => addToChannels(x as Tensor, map as Tensor),
    empty: [0, 3, 4, 5],
  },
});

function make(engine: Engine, shape: readonly number[]): Tensor {
  const size = shape.reduce((product, side) => product * side, 1);
  return tensor(
    engine,
    Float32Array.from({ length: size }, (_, i) => 0.5 + (i % 7)),
    shape,
  );
}

it("every operation is looked at here", () => {
  expect(Object.keys(cases).sort()).toEqual(Object.keys(ops).sort());
});

describe.each([
  ["wasm", () => wasmEngine()],
  ["WebGPU", () => gpuEngine()],
])("on %s", (_, open) => {
  let engine: Engine;
  let other: Engine;
  beforeAll(async () => {
    engine = await open();
    other = await wasmEngine({ variant: "single", threads: 1 });
  });
  afterAll(async () => {
    await engine.close();
    await other.close();
  });

  async function held(): Promise<number> {
    await engine.backend.finish();
    deviceOf(engine).pool.trim();
    return engine.backend.stats().slots;
  }

  it.each(everyCase)(
    "%s refuses labels, what is disposed of, and another engine's, and takes no memory",
    async (__, test) => {
      const shapes = test.shapes(2);
      for (const which of shapes.keys()) {
        const inputs = shapes.map((shape) => make(engine, shape));
        const shape = shapes[which] ?? [];
        const foreign = make(other, shape);
        const gone = make(engine, shape);
        gone.dispose();
        const labels = Tensor.empty(deviceOf(engine), shape, "u32");
        const given = (bad: Tensor): Tensor[] => inputs.map((good, index) => (index === which ? bad : good));
        const attempt = (bad: Tensor) => () => scope(engine, () => test.apply(given(bad)));
        expect(attempt(gone)).toThrow(expect.objectContaining({ code: "E_CLOSED" }));
        if (test.takesLabels !== true) expect(attempt(labels)).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
        if (inputs.length > 1)
          expect(attempt(foreign)).toThrow(
            expect.objectContaining({
              code: "E_CONFIG",
              message: expect.stringContaining("different engines") as string,
            }),
          );
        // Outside of a scope, nobody would give back what was taken before the refusal.
        const before = await held();
        expect(() => test.apply(given(gone))).toThrow(/disposed/);
        expect((await held()) - before).toBe(test.own ?? 0);
        for (const one of [...inputs, foreign, labels]) one.dispose();
      }
    },
  );

  it.each(everyCase.filter(([, { empty }]) => empty !== undefined))(
    "%s of a batch of nothing has its shape, and gradients of 0",
    async (__, test) => {
      const inputs = test.shapes(0).map((shape) => make(engine, shape));
      const out = scope(engine, () => test.apply(inputs));
      expect(out.shape).toEqual(test.empty);
      expect([...(await out.read())].every((value) => value === 0)).toBe(true);
      const { value, gradients: found } = gradients(engine, inputs, () => ops.sum(test.apply(inputs)));
      expect([...(await value.read())]).toEqual([0]);
      for (const [index, one] of found.entries()) {
        expect(one.shape).toEqual(inputs[index]?.shape);
        expect([...(await one.read())].every((slope) => slope === 0)).toBe(true);
      }
      for (const one of [...inputs, out, value, ...found]) one.dispose();
    },
  );

  it("what has no value without numbers is refused: means, maxima of rows, losses of a batch", () => {
    scope(engine, () => {
      const none = make(engine, [0, 3]);
      const labels = labelTensor(engine, new Uint32Array(0));
      const refused = expect.objectContaining({ code: "E_SHAPE" }) as unknown;
      expect(() => ops.mean(none)).toThrow(refused);
      expect(() => ops.max(none)).toThrow(refused);
      expect(() => ops.meanSquaredError(none, none)).toThrow(refused);
      expect(() => ops.classLoss(none, labels)).toThrow(refused);
      expect(() => ops.max(make(engine, [3, 0]), -1)).toThrow(refused);
    });
  });

  it("products and sums of nothing are 0, also where the result has numbers", async () => {
    const [a, b] = [make(engine, [2, 0]), make(engine, [0, 3])];
    const product = ops.matmul(a, b);
    expect([...(await product.read())]).toEqual([0, 0, 0, 0, 0, 0]);
    const rowSums = ops.sum(a, 1);
    expect([...(await rowSums.read())]).toEqual([0, 0]);
    for (const one of [a, b, product, rowSums]) one.dispose();
  });

  it("windows, strides and padding are whole numbers", () => {
    scope(engine, () => {
      const [x, w] = [make(engine, [1, 3, 6, 6]), make(engine, [2, 3, 3, 3])];
      const refused = expect.objectContaining({ code: "E_CONFIG" }) as unknown;
      expect(() => ops.conv2d(x, w, { padding: 0.5 })).toThrow(refused);
      expect(() => ops.conv2d(x, w, { padding: [1, NaN] })).toThrow(refused);
      expect(() => ops.conv2d(x, w, { stride: 0 })).toThrow(refused);
      expect(() => ops.conv2d(x, w, { dilation: 1.5 })).toThrow(refused);
      expect(() => ops.maxPool(x, { window: 2, padding: 0.5 })).toThrow(refused);
      expect(() => ops.avgPool(x, { window: 2, padding: 2 })).toThrow(refused);
      expect(() => ops.avgPool(x, { window: 2.5 })).toThrow(refused);
    });
  });

  it("dropout of rate 0 gives a tensor of its own", async () => {
    const x = make(engine, [2, 3]);
    ops.dropout(x, 0, address).dispose();
    expect((await x.read()).length).toBe(6);
    x.dispose();
  });
});
