/** Networks as models on a tape: gradients of every kind of parameter, what training and inference do, and a few steps. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuEngine, wasmEngine } from "../../test/engines.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { array64, type Array64 } from "../../test/reference/tensor-ops.ts";
import { trainedOutput, type TrainedPass } from "../../test/reference/trained-network.ts";
import { freshSeed } from "../../test/seed.ts";
import type { Engine } from "../engine/engine.ts";
import { INFERENCE } from "../tensor/forward.ts";
import * as ops from "../tensor/ops.ts";
import { gradients } from "../tensor/tape.ts";
import { labelTensor, scope, tensor } from "../tensor/tensor.ts";
import {
  abs,
  avgPool,
  batchNorm,
  cabs,
  clippedRelu,
  conv,
  dense,
  dropout,
  elu,
  flatten,
  globalAvgPool,
} from "./arch.ts";
import { hardTanh, identity, leakyRelu, maxPool, mixture, relu, repeat, serial, sigmoid, softplus } from "./arch.ts";
import { archToJson, sum, tanh, type Arch } from "./arch.ts";
import type { Shape } from "./layer.ts";
import { network, type Network } from "./network.ts";

const random = mulberry32(freshSeed());
const signed = (count: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, () => 2 * random() - 1);
const oneOf = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;

const activations = [relu(), relu({ sqrt2: true }), leakyRelu({ slope: 0.2 }), abs(), elu({ alpha: 0.7 }), sigmoid()];
const others = [softplus(), tanh(), hardTanh(), cabs(), clippedRelu({ max: 1.5 }), identity()];
const activation = (): Arch => oneOf([...activations, ...others]);

/** Every layer that has a gradient, with strides, dilations and borders that are uneven. */
function imageNetwork(): { readonly arch: Arch; readonly input: Shape } {
  const biased = { biasVariance: 0.5 };
  const block = sum(
    identity(),
    serial(conv({ filter: 3, padding: 1, channels: 4 }), batchNorm({ epsilon: 1e-3 }), activation()),
  );
  const arch = serial(
    conv({ filter: [3, 2], stride: [1, 2], dilation: [2, 1], padding: 2, channels: 4, ...biased }),
    ...[batchNorm(), activation(), maxPool({ window: 3, stride: 2, padding: 1 })],
    repeat(2, block),
    dropout({ rate: 0.4, perChannel: true }),
    mixture([0.3, 0.7], identity(), serial(conv({ filter: 1, padding: 0, channels: 4, bias: true }), activation())),
    ...[avgPool({ window: 2, stride: 1 }), flatten(), dense({ units: 6, bias: true }), batchNorm(), activation()],
    ...[dropout({ rate: 0.3 }), dense({ units: 3 })],
  );
  return { arch, input: [2, 9, 8] };
}

/** A residual network that begins with its image: one channel, added to all. */
function broadcastNetwork(): { readonly arch: Arch; readonly input: Shape } {
  const first = conv({ filter: 3, padding: 1, channels: 3, bias: true });
  return {
    arch: serial(mixture([0.4, 0.6], identity(), serial(first, activation())), globalAvgPool(), dense({ units: 2 })),
    input: [1, 5, 6],
  };
}

const TRAINING: TrainedPass = { training: true, seed: 11, step: 3 };

/** All arrays of a network, rounded to float64 without a change. */
async function arraysOf(net: Network): Promise<Map<string, Array64>> {
  const arrays = new Map<string, Array64>();
  for (const { name, tensor: held } of [...net.parameters, ...net.states])
    arrays.set(name, array64(held.shape, await held.read()));
  return arrays;
}

/** Parameters of no special value: batch norms that scale and shift, running moments of some data. */
function perturb(net: Network): void {
  for (const { name, tensor: held } of [...net.parameters, ...net.states])
    if (/(scale|shift|running)$/.test(name)) held.write(signed(held.size).map((value) => 1 + 0.5 * value));
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((total, value, i) => total + value * (b[i] ?? NaN), 0);
/** mean y^2 */
const lossOf = (y: Array64): number => dot(y.data, y.data) / y.data.length;

describe.each([
  ["wasm", () => wasmEngine()],
  ["webgpu", gpuEngine],
] as const)("a network on a tape, on %s", (_, openEngine) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await openEngine();
  });
  afterAll(() => engine.close());

  it.each([
    ["of every layer", imageNetwork],
    ["that adds an image to all channels", broadcastNetwork],
  ])("%s: gradients of every parameter are the slopes of the float64 loss", async (__, make) => {
    for (let attempt = 0; ; attempt++) {
      const { arch, input } = make();
      using net = network(engine, arch, { input, seed: Math.floor(random() * 1e6) });
      perturb(net);
      const shape = [5, ...input];
      const data = signed(shape.reduce((product, side) => product * side, 1));
      const json = archToJson(arch);
      const arrays = await arraysOf(net);
      const at = (parameters: ReadonlyMap<string, Array64>) =>
        trainedOutput(json, parameters, array64(shape, data), TRAINING);
      const expected = at(arrays);
      // Float32, or the step of a difference, may put a number near a kink on its other side, all the more behind batch norms
      // of little variance: such draws are passed over.
      if (expected.margin < 1e-4 && attempt < 20) continue;
      expect(expected.margin).toBeGreaterThanOrEqual(1e-4);
      const watched = net.parameters.map((one) => one.tensor);
      const found = scope(engine, () => {
        const x = tensor(engine, data, shape);
        const { value, gradients: all } = gradients(engine, watched, () =>
          ops.mean(ops.square(net.apply(x, TRAINING))),
        );
        return [value.read(), ...all.map((one) => one.read())];
      });
      const [loss, ...slopes] = await Promise.all(found);
      expect(Math.abs((loss?.[0] ?? NaN) / lossOf(expected.y) - 1)).toBeLessThan(1e-5);
      for (const [index, { name, tensor: held }] of net.parameters.entries()) {
        const direction = signed(held.size);
        const moved = (step: number): number => {
          const before = arrays.get(name) as Array64;
          const data64 = before.data.map((value, i) => value + step * (direction[i] ?? NaN));
          return lossOf(at(new Map([...arrays, [name, array64(before.shape, data64)]])).y);
        };
        const step = 1e-7;
        const slope = (moved(step) - moved(-step)) / (2 * step);
        const actual = slopes[index] ?? [];
        // Relative to what the sum over the direction is of: entries of both signs cancel in it.
        const size = Math.sqrt(dot(actual, actual) * dot(direction, direction)) + 1e-3 * lossOf(expected.y);
        expect(Math.abs(dot(actual, direction) - slope) / size, name).toBeLessThan(1e-4);
      }
      return;
    }
  });

  it("training keeps running moments and drops numbers; inference uses the moments and drops none", async () => {
    const { arch, input } = imageNetwork();
    using net = network(engine, arch, { input, seed: 5 });
    const before = await arraysOf(net);
    const shape = [4, ...input];
    const data = signed(4 * 144);
    const trained = scope(engine, () => net.apply(tensor(engine, data, shape), TRAINING).read());
    const expected = trainedOutput(archToJson(arch), before, array64(shape, data), TRAINING);
    expectClose(await trained, expected.y.data);
    const after = await arraysOf(net);
    expect(net.states.map(({ name }) => name).sort()).toEqual(
      [...expected.moments.keys()].map((n) => `${n}.running`).sort(),
    );
    for (const [name, { of, count }] of expected.moments) {
      const old = before.get(`${name}.running`)?.data ?? [];
      const channels = of.data.length / 2;
      const running = Array.from(of.data, (moment, i) => {
        const unbiased = i < channels ? moment : (moment * count) / (count - 1);
        return 0.9 * (old[i] ?? NaN) + 0.1 * unbiased;
      });
      expectClose(after.get(`${name}.running`)?.data ?? [], running);
    }
    for (const { name } of net.parameters) expect(after.get(name)).toEqual(before.get(name));
    const inference = trainedOutput(archToJson(arch), after, array64(shape, data), INFERENCE);
    const outputs = await net.forward({ images: data, shape: input });
    expectClose(outputs, inference.y.data);
    const applied = await scope(engine, () => net.apply(tensor(engine, data, shape), INFERENCE).read());
    expect(applied).toEqual(outputs);
  });

  it("inference is the same in parts of any size, and allocates nothing for fewer inputs than before", async () => {
    const { arch, input } = imageNetwork();
    using net = network(engine, arch, { input, seed: 8 });
    perturb(net);
    const images = signed(31 * 144);
    const part = (count: number) => ({ images: images.subarray(0, count * 144), shape: input });
    const whole = await net.forward(part(31));
    const { buffers, bytes } = await engine.stats();
    for (const count of [1, 2, 17, 30])
      expect(await net.forward(part(count))).toEqual(whole.subarray(0, count * net.outputs));
    expect(await engine.stats()).toMatchObject({ buffers, bytes });
    // Room for a few inputs at once.
    using small = network(engine, arch, { input, seed: 8, memoryBytes: 4 * net.parameterCount + 40_000 });
    for (const [index, { tensor: held }] of [...net.parameters, ...net.states].entries())
      [...small.parameters, ...small.states][index]?.tensor.write(await held.read());
    const { dispatches } = await engine.stats();
    expect(await small.forward(part(31))).toEqual(whole);
    expect((await engine.stats()).dispatches - dispatches).toBeGreaterThan(4 * 20);
  });

  it("a training step allocates nothing after the first ones, and leaves nothing behind", async () => {
    const { arch, input } = imageNetwork();
    const net = network(engine, arch, { input, seed: 5 });
    const data = signed(6 * 144);
    const step = (): Promise<void> => {
      scope(engine, () => {
        const x = tensor(engine, data, [6, ...input]);
        gradients(
          engine,
          net.parameters.map((one) => one.tensor),
          () => ops.mean(ops.square(net.apply(x, TRAINING))),
        );
      });
      return engine.backend.finish();
    };
    await step();
    await step();
    const { buffers, bytes } = await engine.stats();
    for (let i = 0; i < 3; i++) await step();
    expect(await engine.stats()).toMatchObject({ buffers, bytes });
    net.dispose();
    await engine.backend.finish();
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });
});

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(actual).toHaveLength(expected.length);
  const size = Math.sqrt(dot(expected, expected) / expected.length);
  Array.from(expected).forEach((value, i) => expect(Math.abs((actual[i] ?? NaN) - value) / size).toBeLessThan(2e-5));
}

describe("on two threads", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await wasmEngine();
  });
  afterAll(() => engine.close());

  it("a network drawn from a Gaussian process's prior learns by cross-entropy", async () => {
    const arch = serial(
      repeat(2, serial(conv({ filter: 3, weightVariance: 2, biasVariance: 0.1 }), relu())),
      ...[flatten(), dense()],
    );
    using net = network(engine, arch, { input: [1, 6, 6], channels: 8, outputs: 3, seed: 2 });
    const data = signed(30 * 36);
    const labels = Uint32Array.from({ length: 30 }, (_, i) => i % 3);
    const losses: number[] = [];
    for (let step = 0; step < 40; step++) {
      const found = scope(engine, () => {
        const x = tensor(engine, data, [30, 1, 6, 6]);
        const { value, gradients: all } = gradients(
          engine,
          net.parameters.map((one) => one.tensor),
          () => ops.classLoss(net.apply(x, { training: true, seed: 0, step }), labelTensor(engine, labels)).loss,
        );
        return [value.read(), ...all.map((one) => one.read())];
      });
      const [loss, ...slopes] = await Promise.all(found);
      losses.push(loss?.[0] ?? NaN);
      for (const [index, { tensor: held }] of net.parameters.entries()) {
        const now = await held.read();
        held.write(now.map((value, i) => value - 0.02 * (slopes[index]?.[i] ?? NaN)));
      }
    }
    const [first = NaN] = losses;
    expect(losses.at(-1)).toBeLessThan(0.8 * first);
  });

  it("parameters are named by their place, each once", () => {
    const inner = serial(conv({ filter: 1, channels: 2 }), batchNorm());
    const arch = serial(sum(identity(), repeat(2, inner)), flatten(), dense({ units: 2, bias: true }));
    using net = network(engine, arch, { input: [2, 3, 3] });
    const inside = [0, 1].flatMap((time) => {
      const name = `layers.0.layers.1.times.${time}.layers`;
      return [`${name}.0.weights`, `${name}.1.scale`, `${name}.1.shift`];
    });
    expect(net.parameters.map(({ name }) => name)).toEqual([...inside, "layers.2.weights", "layers.2.bias"]);
    expect(net.states.map(({ name }) => name)).toEqual(
      [0, 1].map((time) => `layers.0.layers.1.times.${time}.layers.1.running`),
    );
    expect(net.parameters.at(-2)?.tensor.shape).toEqual([2, 18]);
    expect(net.parameterCount).toBe(2 * (4 + 2 + 2) + 36 + 2);
    using single = network(engine, conv({ filter: 2, channels: 1 }), { input: [1, 3, 3] });
    expect(single.parameters.map(({ name }) => name)).toEqual(["weights"]);
  });

  it("a pass is watched layer by layer", () => {
    const arch = serial(conv({ filter: 3, channels: 2 }), relu(), flatten(), dense({ units: 3 }));
    using net = network(engine, arch, { input: [1, 4, 4] });
    const seen: unknown[] = [];
    scope(engine, () => {
      const x = tensor(engine, signed(32), [2, 1, 4, 4]);
      const y = net.apply(x, {
        ...INFERENCE,
        observe: (layer, title, from, to) => void seen.push([layer, title, from.shape, to.shape]),
      });
      expect(y.shape).toEqual([2, 3]);
      expect(x.isDisposed).toBe(false);
    });
    const map = [2, 2, 4, 4];
    expect(seen).toEqual([
      ["layers.0", "conv 3x3 same", [2, 1, 4, 4], map],
      ["layers.1", "relu", map, map],
      ["layers.2", "flatten", map, [2, 32]],
      ["layers.3", "dense", [2, 32], [2, 3]],
    ]);
  });

  it("parameters outlive the scope that the network is made in", async () => {
    const net = scope(engine, () => ({ made: network(engine, dense({ units: 2 }), { input: [3] }) })).made;
    expect(await net.forward({ images: signed(6), shape: [3] })).toHaveLength(4);
    net.dispose();
  });

  it("inputs of another shape are refused, and so is a network that has been disposed of", () => {
    const net = network(engine, dense({ units: 2 }), { input: [3] });
    scope(engine, () => {
      const x = tensor(engine, signed(8), [2, 4]);
      expect(() => net.apply(x, INFERENCE)).toThrow(/takes tensors of \[batch, 3\], not of \[2, 4\]/);
      net.dispose();
      expect(() => net.apply(x, INFERENCE)).toThrow(/disposed of/);
    });
  });

  it("widths that nothing gives are asked for, with the layer", () => {
    expect(() => network(engine, serial(dense(), relu(), dense()), { input: [3] })).toThrow(
      /architecture\.layers\[0\] has no width of its own: give the network's `channels`/,
    );
  });
});
