/** The networks of Ghorbani et al. 2020 against float64 loops: what they compute, their gradients, rates and penalties. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../../test/engines.ts";
import { freshSeed } from "../../../test/seed.ts";
import type { Engine } from "../../engine/engine.ts";
import { RandomStream } from "../../engine/rng.ts";
import { multiply, sum } from "../../tensor/ops.ts";
import { gradients } from "../../tensor/tape.ts";
import { deviceOf } from "../../tensor/device.ts";
import type { Model } from "../../tensor/model.ts";
import { tensor } from "../../tensor/tensor.ts";
import { tangentAmplitudes, unitDirections } from "./directions.ts";
import type { BatchTensors } from "../batch-tensors.ts";
import { WideDesign } from "./design.ts";
import { LinearWideNetwork } from "./linear-networks.ts";
import { MeanFieldNetwork } from "./mean-field.ts";
import { MyrtleNetwork } from "./myrtle.ts";
import { modelOutputs, summedSquareLoss } from "./outputs.ts";
import { paperBatch, paperFactor } from "./paper.ts";
import { WideRidge, type WideRidgeFit } from "./ridge.ts";
import type { WideNetwork } from "./wide-network.ts";

const seed = freshSeed();
type Arrays = Readonly<Record<string, Float64Array>>;
/** Outputs of one input, in float64. */
type Reference = (parameters: Arrays, x: Float64Array) => Float64Array;

const relu = (x: Float64Array) => x.map((value) => Math.max(value, 0));
function of(arrays: Arrays, name: string): Float64Array {
  const array = arrays[name];
  if (array === undefined) throw new Error(`no ${name}`);
  return array;
}

function normals(name: string, count: number): Float32Array<ArrayBuffer> {
  return new RandomStream(seed, name).fillNormal(new Float32Array(count));
}

/** x W / divisor + b, W of [inputs, units]. */
function dense(x: Float64Array, weights: Float64Array, biases: Float64Array, divisor = 1): Float64Array {
  const units = biases.length;
  return biases.map(
    (bias, j) => x.reduce((total, value, i) => total + value * (weights[i * units + j] as number), 0) / divisor + bias,
  );
}

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(() => engine.close());

async function arraysOf(network: WideNetwork): Promise<Record<string, Float64Array>> {
  const entries = network.parameters.map(
    async ({ name, tensor: one }) => [name, Float64Array.from(await one.read())] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

/** Outputs and gradients are those of the reference, at weights moved away from where they start. */
async function agrees(network: WideNetwork, reference: Reference, floats: number, tolerance = 2e-4): Promise<void> {
  for (const { name, tensor: one } of network.parameters) {
    const [before, noise] = [await one.read(), normals(`${name} noise`, one.size)];
    one.write(before.map((value, i) => value + 0.3 * (noise[i] as number)));
  }
  const count = 5;
  const images = normals("images", count * floats);
  const parameters = await arraysOf(network);
  const outputs = (arrays: Arrays) =>
    Array.from({ length: count }, (_, row) => [
      ...reference(arrays, Float64Array.from(images.subarray(row * floats, (row + 1) * floats))),
    ]).flat();
  const expected = outputs(parameters);
  const scale = Math.max(...expected.map(Math.abs));
  const actual = await modelOutputs(engine, network, { count, images });
  actual.forEach((value, i) => {
    expect(Math.abs(value - (expected[i] as number))).toBeLessThan(1e-5 * scale);
  });
  const factors = normals("factors", expected.length);
  using x = tensor(engine, images, [count, ...network.inputShape]);
  using weights = tensor(engine, factors, [count, network.outputs]);
  const pass = { training: true, seed: 0, step: 0 };
  const watched = network.parameters.map(({ tensor: one }) => one);
  const { gradients: found } = gradients(engine, watched, () => sum(multiply(network.apply(x, pass), weights)));
  const loss = (arrays: Arrays) =>
    outputs(arrays).reduce((total, value, i) => total + value * (factors[i] as number), 0);
  const draw = new RandomStream(seed, "places");
  for (const [index, { name, tensor: one }] of network.parameters.entries()) {
    const gradient = (await found[index]?.read()) ?? new Float32Array();
    const size = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    for (let turn = 0; turn < 4; turn++) {
      const at = draw.below(one.size);
      const moved = (by: number) =>
        loss({ ...parameters, [name]: of(parameters, name).with(at, (of(parameters, name)[at] as number) + by) });
      const difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
      expect(Math.abs((gradient[at] as number) - difference), `${name}[${at}]`).toBeLessThan(tolerance * size);
    }
  }
  for (const gradient of found) gradient.dispose();
}

describe("nn", () => {
  it.each([1, 2, 3])("with %i hidden layers computes the mean-field network and its gradients", async (hidden) => {
    const [inputs, width, outputs] = [7, 6, 3];
    using network = new MeanFieldNetwork(engine, { inputs, width, hidden, outputs, seed });
    await agrees(
      network,
      (p, x) => {
        let h = x;
        for (let layer = 0; layer < hidden; layer++) {
          const active = relu(dense(h, of(p, `hidden.${layer}.weights`), of(p, `hidden.${layer}.bias`)));
          h = layer === 0 ? active : active.map((value) => value / width);
        }
        return dense(h, of(p, "output.weights"), of(p, "output.bias"), width);
      },
      inputs,
    );
  });

  it("starts, is paced and is penalised as the paper says", async () => {
    const [inputs, width, outputs] = [400, 64, 3];
    using network = new MeanFieldNetwork(engine, { inputs, width, hidden: 2, outputs, seed });
    const arrays = await arraysOf(network);
    const deviation = (name: string) =>
      Math.sqrt(of(arrays, name).reduce((total, v) => total + v * v, 0) / of(arrays, name).length);
    expect(deviation("hidden.0.weights")).toBeCloseTo(1 / 20, 2);
    expect(Math.abs(deviation("hidden.1.weights") - 1)).toBeLessThan(0.1);
    expect([...new Set(of(arrays, "hidden.1.bias"))]).toEqual([Math.fround(0.01)]);
    expect([...of(arrays, "output.bias")]).toEqual([0, 0, 0]);
    const facts = network.parameters.map(({ name, rate, decay }) => [name, rate, decay]);
    expect(facts).toEqual([
      ["hidden.0.weights", 64, 1],
      ["hidden.0.bias", 64, 0],
      ["hidden.1.weights", 64 * 64, 1 / 8],
      ["hidden.1.bias", 64, 0],
      ["output.weights", 64 * 3, 0],
      ["output.bias", 1, 0],
    ]);
  });

  it("drops units in training only, others by step", () => {
    using network = new MeanFieldNetwork(engine, { inputs: 5, width: 200, outputs: 1, dropout: 0.5, seed });
    using x = tensor(engine, normals("images", 5), [1, 5]);
    const value = async (training: boolean, step: number) => {
      using out = network.apply(x, { training, seed: 1, step });
      return (await out.read())[0];
    };
    return Promise.all([value(false, 0), value(false, 1), value(true, 0), value(true, 0), value(true, 1)]).then(
      ([a, b, c, d, e]) => {
        expect(a).toBe(b);
        expect(c).toBe(d);
        expect(new Set([a, c, e]).size).toBe(3);
      },
    );
  });

  it("refuses sizes and rates that cannot be", () => {
    const options = { inputs: 3, width: 4, outputs: 1 };
    expect(() => new MeanFieldNetwork(engine, { ...options, hidden: 0 })).toThrow(/hidden is a whole number/);
    expect(() => new MeanFieldNetwork(engine, { ...options, dropout: 1 })).toThrow(/in \[0, 1\)/);
  });
});

describe.each(["rf", "nt"] as const)("%s", (name) => {
  const model = { name, width: 9, inputs: 5, outputs: 3, seed };

  it("starts at zero, and then computes what its design matrix does, with its gradients", async () => {
    using network = await LinearWideNetwork.open(engine, model);
    const images = normals("images", 20);
    expect(new Set(await modelOutputs(engine, network, { count: 4, images }))).toEqual(new Set([0]));
    const directions = unitDirections(seed, 0, 9, 5);
    const amplitudes = tangentAmplitudes(seed, 3, 9);
    await agrees(
      network,
      (p, x) => {
        const z = Float64Array.from({ length: 9 }, (_, j) =>
          x.reduce((total, v, i) => total + v * (directions[j * 5 + i] as number), 0),
        );
        const linear = dense(relu(z), of(p, "output.weights"), of(p, "output.bias"));
        if (name === "rf") return linear;
        const moved = z.map((_, j) =>
          x.reduce((total, v, i) => total + v * (of(p, "tangent")[j * 5 + i] as number), 0),
        );
        return linear.map(
          (f, c) =>
            f + moved.reduce((t, g, j) => t + ((z[j] as number) > 0 ? g * (amplitudes[c * 9 + j] as number) : 0), 0),
        );
      },
      5,
    );
    const arrays = await arraysOf(network);
    const order = ["output.weights", "output.bias", ...(name === "nt" ? ["tangent"] : [])];
    const theta = Float64Array.from(order.flatMap((one) => [...of(arrays, one)]));
    using design = await WideDesign.open(engine, model, {});
    const [own, linear] = [
      await modelOutputs(engine, network, { count: 4, images }),
      await design.predict({ count: 4, images }, theta),
    ];
    own.forEach((value, i) => expect(value).toBeCloseTo(linear[i] as number, 4));
  });

  it("has at the solution of least squares no gradient of what both ways of fitting penalise", async () => {
    const [count, lambda] = [12, 0.3];
    const [images, targets] = [normals("images", count * 5), normals("targets", count * 3)];
    using ridge = await WideRidge.open(engine, model);
    const fits = ridge.fits({ count, images }, Float64Array.from(targets), { lambdas: [lambda], tolerance: 1e-6 });
    const theta = ((await fits.next()).value as WideRidgeFit).theta;
    using network = await LinearWideNetwork.open(engine, model);
    let at = 0;
    for (const { tensor: one } of network.parameters)
      one.write(Float32Array.from(theta.subarray(at, (at += one.size))));
    expect(at).toBe(theta.length);
    using x = tensor(engine, images, [count, 5]);
    using y = tensor(engine, targets, [count, 3]);
    const batch = { targets: y } as BatchTensors;
    const pass = { training: true, seed: 0, step: 0 };
    for (const { tensor: one, decay = 1 } of network.parameters.filter((parameter) => parameter.decay !== 0)) {
      const { gradients: found } = gradients(engine, [one], () => summedSquareLoss(network.apply(x, pass), batch).loss);
      const [gradient, weights] = [(await found[0]?.read()) ?? new Float32Array(), await one.read()];
      const size = weights.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      weights.forEach((value, i) => {
        expect(Math.abs((gradient[i] as number) + decay * lambda * value)).toBeLessThan(1e-3 * lambda * size);
      });
      for (const one of found) one.dispose();
    }
  });

  it("is penalised where the paper penalises it", async () => {
    using network = await LinearWideNetwork.open(engine, model);
    const penalised = network.parameters.filter(({ decay }) => decay !== 0).map((one) => one.name);
    expect(penalised).toEqual([name === "rf" ? "output.weights" : "tangent"]);
  });
});

describe("myrtle", () => {
  const width = 2;

  it("computes its convolutions, pools and read-out, with their gradients", async () => {
    using network = new MyrtleNetwork(engine, { input: [3, 32, 33], width, outputs: 2, seed });
    await agrees(
      network,
      (p, x) => {
        let [h, height, breadth] = [x, 32, 33];
        for (const [layer, pools] of [0, 1, 1, 3].entries()) {
          h = relu(convolved(h, of(p, `layers.${layer}.weights`), of(p, `layers.${layer}.bias`), height, breadth));
          for (let pool = 0; pool < pools; pool++) {
            h = pooled(h, width, height, breadth);
            [height, breadth] = [Math.floor(height / 2), Math.floor(breadth / 2)];
          }
        }
        return dense(h, of(p, "output.weights"), of(p, "output.bias"));
      },
      3 * 32 * 33,
      1e-3,
    );
  });

  it("starts and is penalised as the paper says, and refuses images that its pools leave nothing of", async () => {
    using network = new MyrtleNetwork(engine, { input: [3, 32, 32], width: 32, outputs: 10, seed });
    const arrays = await arraysOf(network);
    const filters = of(arrays, "layers.2.weights");
    const square = filters.reduce((total, v) => total + v * v, 0) / filters.length;
    expect(Math.abs((square * 9 * 32) / 2 - 1)).toBeLessThan(0.1);
    expect(of(arrays, "output.weights").length).toBe(320);
    expect(of(arrays, "layers.0.bias")[3]).toBe(Math.fround(0.01));
    const penalised = network.parameters.filter(({ decay }) => decay !== 0).map(({ name }) => name);
    expect(penalised).toEqual([0, 1, 2, 3].map((layer) => `layers.${layer}.weights`));
    const tight = { input: [1, 28, 28] as const, width: 4, outputs: 10 };
    expect(() => new MyrtleNetwork(engine, tight)).toThrow(/have to be 32 x 32 at least/);
  });
});

/** 3 x 3, zeros around. */
function convolved(
  x: Float64Array,
  filters: Float64Array,
  biases: Float64Array,
  height: number,
  breadth: number,
): Float64Array {
  const channels = x.length / (height * breadth);
  const out = new Float64Array(biases.length * height * breadth);
  let at = 0;
  for (let o = 0; o < biases.length; o++)
    for (let row = 0; row < height; row++)
      for (let column = 0; column < breadth; column++) {
        let total = biases[o] as number;
        for (let c = 0; c < channels; c++)
          for (let i = -1; i <= 1; i++)
            for (let j = -1; j <= 1; j++) {
              const [y, z] = [row + i, column + j];
              if (y < 0 || z < 0 || y >= height || z >= breadth) continue;
              const weight = filters[((o * channels + c) * 3 + i + 1) * 3 + j + 1] as number;
              total += weight * (x[(c * height + y) * breadth + z] as number);
            }
        out[at++] = total;
      }
  return out;
}

/** Means over 2 x 2. */
function pooled(x: Float64Array, channels: number, height: number, breadth: number): Float64Array {
  const [rows, columns] = [Math.floor(height / 2), Math.floor(breadth / 2)];
  return Float64Array.from({ length: channels * rows * columns }, (_, at) => {
    const [c, row, column] = [Math.floor(at / (rows * columns)), Math.floor(at / columns) % rows, at % columns];
    const pixel = (i: number, j: number) => x[(c * height + 2 * row + i) * breadth + 2 * column + j] as number;
    return (pixel(0, 0) + pixel(0, 1) + pixel(1, 0) + pixel(1, 1)) / 4;
  });
}

describe("widths that do not fit", () => {
  it.each<[string, (width: number) => WideNetwork | Promise<WideNetwork>]>([
    ["nn", (width) => new MeanFieldNetwork(engine, { inputs: 8, width, hidden: 2, outputs: 10, seed })],
    ["myrtle", (width) => new MyrtleNetwork(engine, { input: [3, 32, 32], width, outputs: 10, seed })],
    ["nt", (width) => LinearWideNetwork.open(engine, { name: "nt", width, inputs: 4000, outputs: 10, seed })],
  ])("are refused by %s with the bytes, and leave none behind", async (_, open) => {
    const bytes = () => {
      deviceOf(engine).pool.trim();
      return engine.backend.stats().bytes;
    };
    const before = bytes();
    for (const width of [40_000, 2_000_000_000])
      await expect((async () => open(width))()).rejects.toMatchObject({ code: "E_MEMORY" });
    expect(bytes()).toBe(before);
  });
});

describe("outputs", () => {
  it("are the same however many images go through a model at once, and never more than are asked for", async () => {
    using network = new MeanFieldNetwork(engine, { inputs: 4, width: 8, outputs: 2, seed });
    const images = normals("images", 4 * 700);
    const counts: (number | undefined)[] = [];
    const counting: Model = {
      ...{ inputShape: [4], outputs: 2, parameters: network.parameters, states: [] },
      apply: (x, pass) => {
        counts.push(x.shape[0]);
        return network.apply(x, pass);
      },
    };
    const few = await modelOutputs(engine, counting, { count: 700, images }, 300);
    const many = await modelOutputs(engine, counting, { count: 700, images }, 10_000);
    expect(counts).toEqual([300, 300, 100, 512, 188]);
    few.forEach((value, i) => expect(value).toBeCloseTo(many[i] as number, 5));
  });
});

describe("the paper's pace", () => {
  it("rises for fifteen epochs to twice the rate, then falls along a cosine to a fifteenth", () => {
    const factors = Array.from({ length: 100 }, (_, at) => paperFactor(at + 1, 100));
    expect(factors[0]).toBe(0);
    expect(factors[14]).toBeCloseTo(28 / 15, 12);
    expect(factors[15]).toBe(2);
    expect(factors[57]).toBeCloseTo(1 + Math.cos((Math.PI * 42) / 85), 12);
    expect(factors[99]).toBe(1 / 15);
  });

  it("has batches by model, problem and epoch", () => {
    expect([paperBatch("myrtle", "cifar10-lf", 1), paperBatch("nn", "cifar2-hf", 40)]).toEqual([128, 250]);
    expect([15, 16].map((epoch) => paperBatch("nn", "fmnist-hf", epoch))).toEqual([500, 1000]);
    expect([15, 16].map((epoch) => paperBatch("nn", "synth", epoch))).toEqual([512, 1024]);
    expect([paperBatch("rf", "fmnist", 1), paperBatch("nt", "cifar2-hf", 1)]).toEqual([10_000, 2000]);
  });
});
