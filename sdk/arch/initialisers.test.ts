/** What networks are drawn from before training. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { engineOf, wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import { openWasm } from "../../test/wasm.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";
import { batchNorm, conv, dense, flatten, relu, serial } from "./arch.ts";
import type { Initialiser } from "./initialisers.ts";
import { network } from "./network.ts";

const seed = freshSeed();
let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(() => engine.close());

const CONV_IN = 2 * 5 * 5;
const CONV_OUT = 40 * 5 * 5;
const DENSE_IN = 40 * 16;
const DENSE_OUT = 30;
const arch = serial(
  conv({ filter: 5, channels: 40, weightVariance: 3, biasVariance: 0.7 }),
  ...[batchNorm(), relu(), flatten(), dense({ units: DENSE_OUT, bias: true })],
);

/** Every array of a network by its place: conv weights, conv bias, dense weights, dense bias. */
async function drawn(init: Initialiser | undefined, on = engine) {
  using net = network(on, arch, { input: [2, 4, 4], init, seed });
  const read = async (name: string) => {
    const held = net.parameters.find((one) => one.name === name)?.tensor;
    if (held === undefined) throw new Error(`no ${name}`);
    return held.read();
  };
  return {
    conv: await read("layers.0.weights"),
    convBias: await read("layers.0.bias"),
    dense: await read("layers.4.weights"),
    denseBias: await read("layers.4.bias"),
    scale: await read("layers.1.scale"),
    shift: await read("layers.1.shift"),
    running: await (net.states[0] as { tensor: { read(): Promise<Float32Array> } }).tensor.read(),
  };
}

const deviation = (values: Float32Array): number =>
  Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
const largest = (values: Float32Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** Normal: of the deviation within 6 standard errors, with some beyond two of it. */
function expectNormal(values: Float32Array, expected: number): void {
  expect(Math.abs(deviation(values) / expected - 1)).toBeLessThan(6 / Math.sqrt(2 * values.length));
  if (values.length > 500) expect(largest(values)).toBeGreaterThan(2 * expected);
}

/** Uniform on +-bound. */
function expectUniform(values: Float32Array, bound: number): void {
  expect(largest(values)).toBeLessThanOrEqual(bound);
  expect(Math.abs(deviation(values) / (bound / Math.sqrt(3)) - 1)).toBeLessThan(6 / Math.sqrt(values.length));
  if (values.length > 500) expect(largest(values)).toBeGreaterThan(0.95 * bound);
}

const expectConstant = (values: Float32Array, value: number): void =>
  expect(values).toEqual(new Float32Array(values.length).fill(value));

it("the prior is N(0, weightVariance / fan-in), and biases of variance 0 are 0", async () => {
  const prior = await drawn(undefined);
  expectNormal(prior.conv, Math.sqrt(3 / CONV_IN));
  expectNormal(prior.convBias, Math.sqrt(0.7));
  expectNormal(prior.dense, Math.sqrt(1 / DENSE_IN));
  expect(largest(prior.denseBias)).toBe(0);
  expect(await drawn("prior")).toEqual(prior);
});

it("batch norm starts out as the identity, whatever the initialiser", async () => {
  for (const init of ["prior", "pytorch", { constant: 3 }] as const) {
    const { scale, shift, running } = await drawn(init);
    expectConstant(scale, 1);
    expectConstant(shift, 0);
    expect(running).toEqual(Float32Array.from([...new Array<number>(40).fill(0), ...new Array<number>(40).fill(1)]));
  }
});

it("PyTorch's are uniform on 1 / sqrt(fan-in), biases too, and the bits of the named streams", async () => {
  const values = await drawn("pytorch");
  expectUniform(values.conv, 1 / Math.sqrt(CONV_IN));
  expectUniform(values.convBias, 1 / Math.sqrt(CONV_IN));
  expectUniform(values.dense, 1 / Math.sqrt(DENSE_IN));
  expectUniform(values.denseBias, 1 / Math.sqrt(DENSE_IN));
  const stream = new RandomStream(seed, "network parameter 2", 0);
  const expected = values.dense.map(() => (2 * stream.uniform32() - 1) / Math.sqrt(DENSE_IN));
  expect(values.dense).toEqual(expected);
  const single = engineOf(await openWasm({ variant: "single", threads: 1 }));
  expect(await drawn("pytorch", single)).toEqual(values);
  await single.close();
});

it("Xavier's and He's have no biases to begin with", async () => {
  const xavier = await drawn("xavier");
  expectUniform(xavier.conv, Math.sqrt(6 / (CONV_IN + CONV_OUT)));
  expectUniform(xavier.dense, Math.sqrt(6 / (DENSE_IN + DENSE_OUT)));
  const normal = await drawn("xavierNormal");
  expectNormal(normal.conv, Math.sqrt(2 / (CONV_IN + CONV_OUT)));
  expectNormal(normal.dense, Math.sqrt(2 / (DENSE_IN + DENSE_OUT)));
  const he = await drawn("he");
  expectNormal(he.conv, Math.sqrt(2 / CONV_IN));
  expectNormal(he.dense, Math.sqrt(2 / DENSE_IN));
  for (const { convBias, denseBias } of [xavier, normal, he]) {
    expectConstant(convBias, 0);
    expectConstant(denseBias, 0);
  }
});

it("residual networks take He's fan-out in convolutions and PyTorch's elsewhere", async () => {
  const values = await drawn("heFanOut");
  expectNormal(values.conv, Math.sqrt(2 / CONV_OUT));
  expectUniform(values.dense, 1 / Math.sqrt(DENSE_IN));
  expectUniform(values.denseBias, 1 / Math.sqrt(DENSE_IN));
});

it("a deviation, a constant, and a law for each kind of layer", async () => {
  expectNormal((await drawn({ normal: 0.25 })).dense, 0.25);
  expectConstant((await drawn({ constant: 0.5 })).conv, 0.5);
  // The Myrtle network's own.
  const myrtle = await drawn({ conv: "heFanOut", dense: "prior", bias: { constant: 0.01 } });
  expectNormal(myrtle.conv, Math.sqrt(2 / CONV_OUT));
  expectNormal(myrtle.dense, Math.sqrt(1 / DENSE_IN));
  expectConstant(myrtle.convBias, 0.01);
  expectConstant(myrtle.denseBias, 0.01);
});

it("another draw has other numbers, and the same draw the same", async () => {
  using net = network(engine, arch, { input: [2, 4, 4], init: "pytorch", seed });
  const [weights] = net.parameters;
  if (weights === undefined) throw new Error("no parameters");
  const first = await weights.tensor.read();
  weights.tensor.write(first.map((value) => value + 1)); // as training does
  net.resample(1);
  expect(await weights.tensor.read()).not.toEqual(first);
  net.resample(0);
  expect(await weights.tensor.read()).toEqual(first);
});

it("what is no initialiser is refused with what there is", () => {
  for (const init of ["kaiming", { normal: -1 }, { constant: NaN }, {}, { conv: "prior", pool: "prior" }, 3])
    expect(() => network(engine, arch, { input: [2, 4, 4], init: init as never })).toThrow(/init.*pytorch, xavier/);
});
