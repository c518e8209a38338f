/** Finite networks: forward passes against plain float64 loops on every backend, and their covariance against the kernel. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, gpuEngine, imageSet, wasmEngine } from "../../test/engines.ts";
import { finiteOutput } from "../../test/reference/finite.ts";
import { randomNetwork } from "../../test/reference/random-network.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { openWasm, wasmConfigurations } from "../../test/wasm.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { archToJson, conv, dense, erf, flatten, identity, relu, repeat, serial, step, sum } from "./arch.ts";
import { archFromJson } from "./json.ts";
import { kernel } from "./kernel.ts";
import type { ImageSet } from "./image-set.ts";
import type { Shape } from "./layer.ts";
import { network, type NetworkOptions } from "./network.ts";
import { preset } from "./presets.ts";

const random = mulberry32(freshSeed());
const signed = (count: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, () => 2 * random() - 1);
const imagesOf = (count: number, shape: readonly [number, number, number] | readonly [number]): ImageSet =>
  imageSet(
    Array.from({ length: count }, () => signed(shape.reduce((product, size) => product * size, 1))),
    shape,
  );

const engines: readonly [string, () => Promise<Engine>][] = [
  ...wasmConfigurations.map((configuration): [string, () => Promise<Engine>] => [
    `wasm ${configuration.variant}, ${configuration.threads} threads`,
    () => wasmEngine(configuration),
  ]),
  ["webgpu", gpuEngine],
];

/** What was thrown, which has to be a WidefieldError. */
async function refusal(work: () => unknown): Promise<WidefieldError> {
  try {
    await work();
  } catch (thrown) {
    if (thrown instanceof WidefieldError) return thrown;
    throw thrown;
  }
  throw new Error("nothing was thrown");
}

/** The largest error of a forward pass, in units of the size of what the outputs are sums of. */
async function forwardError(
  engine: Engine,
  arch: ReturnType<typeof archToJson>,
  count: number,
  { input, channels, outputs = 1, seed = 0 }: NetworkOptions & { readonly input: Shape; readonly channels: number },
): Promise<number> {
  const images = imagesOf(count, input);
  using net = network(engine, archFromJson(arch), { input, channels, outputs, seed });
  // A step right at 0 is no error on either side: such draws are passed over.
  const first = Math.floor(random() * 1e6);
  for (let draw = first; draw < first + 100; draw++) {
    const floats = images.images.length / count;
    const reference = Array.from({ length: count }, (_, n) =>
      finiteOutput(
        { arch, input, channels, outputs, seed, draw },
        images.images.subarray(n * floats, (n + 1) * floats),
      ),
    );
    if (reference.some(({ margin }) => margin < 1e-5)) continue;
    net.resample(draw);
    const actual = await net.forward(images);
    expect(actual).toHaveLength(count * net.outputs);
    let worst = 0;
    reference.forEach(({ values, sizes }, n) =>
      values.forEach((value, i) => {
        const difference = Math.abs((actual[n * net.outputs + i] ?? NaN) - value);
        const error = difference === 0 ? 0 : difference / (sizes[i] ?? NaN);
        worst = error <= worst ? worst : error;
      }),
    );
    return worst;
  }
  throw new Error(`every draw has a step right at 0`);
}

describe.each(engines)("a finite network on %s", (name, openEngine) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await openEngine();
  });
  afterAll(async () => {
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
    await engine.close();
  });

  it("computes what plain float64 loops compute with the same weights, for random architectures", async () => {
    for (let i = 0; i < (name === "webgpu" ? 25 : 60); i++) {
      const { arch, input } = randomNetwork(random);
      const json = archToJson(archFromJson(arch));
      const options = { input, channels: 1 + Math.floor(8 * random()), outputs: 1 + Math.floor(3 * random()), seed: i };
      const error = await forwardError(engine, json, 1 + Math.floor(4 * random()), options);
      // Some 80 u, u = 2^-24: up to a dozen layers add a few u each; the largest error of thousands was 2e-6.
      if (!(error <= 5e-6)) expect([error, JSON.stringify({ options, arch })]).toBe("at most 5e-6");
    }
  });

  it("cut into parts by the memory, gives every input the same output", async () => {
    const arch = serial(
      conv({ filter: 3, biasVariance: 1 }),
      relu(),
      conv({ filter: 5, stride: 2 }),
      erf(),
      flatten(),
      dense(),
    );
    const input = [2, 9, 7] as const;
    const images = imagesOf(23, input);
    using net = network(engine, arch, { input, channels: 6, outputs: 3 });
    const whole = await net.forward(images);
    // 5.5 KB of weights, and an input takes about 4 KB, and three quarters of the budget are the network's.
    using small = network(engineOf(engine.backend, 48_000), arch, { input, channels: 6, outputs: 3 });
    const { dispatches } = await engine.stats();
    expect(await small.forward(images)).toEqual(whole);
    expect((await engine.stats()).dispatches - dispatches).toBeGreaterThanOrEqual(12);
    const { code, message } = await refusal(() =>
      network(engineOf(engine.backend, 8_000), arch, { input, channels: 6, outputs: 3 }),
    );
    expect(code).toBe("E_MEMORY");
    expect(message).toMatch(/need \d+ bytes, and \d+ are left/);
  });

  it("keeps passes and new weights in order where each pass takes several parts", async () => {
    const arch = serial(conv({ filter: 3 }), relu(), flatten(), dense());
    const input = [2, 9, 7] as const;
    const images = imagesOf(40, input);
    using net = network(engine, arch, { input, channels: 6 });
    const whole = [];
    for (const draw of [0, 1]) {
      net.resample(draw);
      whole.push(await net.forward(images));
    }
    const small = network(engine, arch, { input, channels: 6, memoryBytes: 30_000 });
    const passes = [0, 1, 0, 1].map((draw) => {
      small.resample(draw);
      return small.forward(images);
    });
    small.dispose(); // what was asked for before is still answered
    expect(await Promise.all(passes)).toEqual([whole[0], whole[1], whole[0], whole[1]]);
    net.dispose();
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("an overflow is seen behind every nonlinearity that gives numbers for infinities", async () => {
    const large = { filter: 3, weightVariance: 1e37 };
    for (const layer of [relu(), step()]) {
      const arch = serial(conv(large), conv(large), conv(large), conv(large), layer, flatten(), dense());
      using net = network(engine, arch, { input: [1, 6, 6], channels: 8 });
      const [output] = await net.forward({ images: new Float32Array(36).fill(1), shape: [1, 6, 6] });
      expect(output).toBeNaN();
    }
  });

  it("allocates nothing after its first pass, and frees everything", async () => {
    using net = network(engine, preset("lenet-like"), { input: [1, 28, 28], channels: 3 });
    const images = imagesOf(5, [1, 28, 28]);
    await net.forward(images);
    const { buffers, bytes } = await engine.stats();
    for (let draw = 1; draw < 4; draw++) {
      net.resample(draw);
      await net.forward(images);
      expect(await engine.stats()).toMatchObject({ buffers, bytes });
    }
    net.dispose();
    net.dispose();
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
    expect((await refusal(() => net.forward(images))).code).toBe("E_CLOSED");
    expect((await refusal(() => net.resample(1))).code).toBe("E_CLOSED");
  });

  it("a pass that was asked for before new weights sees the old ones", async () => {
    const arch = serial(conv({ filter: 5 }), relu(), flatten(), dense());
    using net = network(engine, arch, { input: [1, 16, 16], channels: 16, seed: 3 });
    const images = imagesOf(40, [1, 16, 16]);
    const passes = [0, 1, 0, 1].map((draw) => {
      net.resample(draw);
      return net.forward(images);
    });
    const [first, second, third, fourth] = await Promise.all(passes);
    expect(third).toEqual(first);
    expect(fourth).toEqual(second);
    expect(second).not.toEqual(first);
  });
});

describe.each(wasmConfigurations)(
  "a batch larger than the memory, on $variant with $threads threads",
  (configuration) => {
    it("goes through in parts, and a larger one after it needs no room beside the old activations", async () => {
      const engine = engineOf(await openWasm({ ...configuration, memoryBytes: 32 * 2 ** 20 }), 32 * 2 ** 20);
      const net = network(engine, serial(conv({ filter: 3, stride: 4 }), relu(), flatten(), dense()), {
        input: [3, 32, 32],
        channels: 4,
      });
      // 12 KB each, 61 MB in all.
      const images = { images: signed(5000 * 3072), shape: [3, 32, 32] as const };
      const part = (begin: number, end: number) => ({
        ...images,
        images: images.images.subarray(begin * 3072, end * 3072),
      });
      const few = await net.forward(part(0, 300));
      const all = await net.forward(images);
      expect(all).toHaveLength(5000);
      expect(all.subarray(0, 300)).toEqual(few);
      expect(all.subarray(4990)).toEqual(await net.forward(part(4990, 5000)));
      net.dispose();
      expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
      await engine.close();
    });
  },
);

describe("on two threads", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = engineOf(await openWasm({ variant: "threads", threads: 2 }));
  });
  afterAll(() => engine.close());

  it("every preset has a network, with widths by stage and one output", async () => {
    const parameters = async (name: string, channels: number, input: readonly [number, number, number]) => {
      using net = network(engine, preset(name), { input, channels });
      const values = await net.forward(imagesOf(2, input));
      expect(values).toHaveLength(2);
      expect(values.every((value) => Number.isFinite(value) && value !== 0)).toBe(true);
      return net.parameterCount;
    };
    const mnist = [1, 28, 28] as const;
    const c = 2;
    expect(await parameters("convnet-gp", c, mnist)).toBe(49 * c + c + 6 * (49 * c * c + c) + 784 * c + 1);
    expect(await parameters("residual-cnn-gp", c, mnist)).toBe(16 * c + c + 8 * (16 * c * c + c) + 784 * c + 1);
    // Stages of c, 2 c and 4 c: each block two 3 x 3 convolutions, each stage one projection.
    const stage = (from: number, to: number) => from * to + 9 * from * to + 9 * 9 * to * to;
    const resnet = 9 * c + stage(c, c) + stage(c, 2 * c) + stage(2 * c, 4 * c);
    expect(await parameters("resnet32-gp", c, mnist)).toBe(resnet + 49 * 16 * c * c + 4 * c);
    const cifar = resnet + 18 * c + 64 * 16 * c * c + 16 * c * c + 4 * c;
    expect(await parameters("cifar-resnet32-gp", c, [3, 32, 32])).toBe(cifar);
    await parameters("lenet-like", c, mnist);
  });

  it("an identity of one channel is added to every channel; other channels have to agree, and both branches are named", async () => {
    const block = (channels?: number) =>
      sum(identity(), serial(conv({ filter: 3, ...(channels === undefined ? {} : { channels }) }), relu()));
    const options = { input: [1, 6, 6], channels: 4 } as const;
    network(engine, serial(block(), block(), flatten(), dense()), options).dispose();
    const { code, message } = await refusal(() =>
      network(engine, serial(block(), block(7), flatten(), dense()), options),
    );
    expect(code).toBe("E_SHAPE");
    expect(message).toMatch(
      /architecture\.layers\[1\]\.layers\[0\] \(identity\) gives 4 x 6 x 6, and architecture\.layers\[1\]\.layers\[1\] \(serial of 2 layers\) gives 7 x 6 x 6/,
    );
    // One channel of a convolution is no identity.
    const narrow = serial(
      conv({ filter: 3 }),
      sum(conv({ filter: 1, channels: 1 }), conv({ filter: 3 })),
      flatten(),
      dense(),
    );
    expect((await refusal(() => network(engine, narrow, options))).code).toBe("E_SHAPE");
  });

  it("widths that cannot be meant are refused", async () => {
    const arch = serial(conv({ filter: 3 }), flatten(), dense());
    const input = [1, 4, 4] as const;
    for (const channels of [0, -3, 1.5, NaN, Infinity]) {
      const { code, message } = await refusal(() => network(engine, arch, { input, channels }));
      expect(code).toBe("E_CONFIG");
      expect(message).toBe(`channels must be a positive whole number, not ${channels}`);
    }
    expect((await refusal(() => network(engine, arch, { input, channels: 1, outputs: 0 }))).message).toMatch(
      /^outputs/,
    );
    const residual = serial(conv({ filter: 3 }), sum(identity(), conv({ filter: 3 })));
    expect((await refusal(() => network(engine, residual, { input, channels: 2, outputs: 5 }))).code).toBe("E_CONFIG");
    using open = network(engine, residual, { input, channels: 2 });
    expect(open.outputs).toBe(2 * 16);
  });

  it("inputs of another shape, and ones that are not finite, are refused", async () => {
    using net = network(engine, serial(flatten(), dense()), { input: [1, 4, 4], channels: 1 });
    expect((await refusal(() => net.forward(imagesOf(2, [1, 4, 5])))).message).toMatch(/1 x 4 x 4.*1 x 4 x 5/);
    const images = imagesOf(2, [1, 4, 4]);
    images.images[20] = NaN;
    expect((await refusal(() => net.forward(images))).code).toBe("E_DATA");
  });

  it("float64 inputs are looked at as the float32 that they become", async () => {
    using net = network(engine, serial(flatten(), dense()), { input: [1, 4, 4], channels: 1 });
    const images = { images: new Float64Array(16).fill(1e300), shape: [1, 4, 4] as const };
    expect(await refusal(() => net.forward(images))).toMatchObject({
      code: "E_DATA",
      message: expect.stringMatching(/image 0, pixel 0 .* is Infinity/) as string,
    });
  });

  it("a dataset's shape is a shape; what is none, and no options, are refused", async () => {
    const arch = serial(flatten(), dense());
    using net = network(engine, arch, { input: { channels: 1, height: 4, width: 5 }, channels: 1 });
    expect(net.input).toEqual([1, 4, 5]);
    for (const input of [undefined, null, 20, "20", [4, 5], {}, { height: 4, width: 5 }]) {
      const { code, message } = await refusal(() => network(engine, arch, { input, channels: 1 } as never));
      expect([code, message]).toEqual(["E_CONFIG", expect.stringMatching(/^input is the shape of one input: \[/)]);
    }
    for (const options of [undefined, null, 3]) {
      const { code, message } = await refusal(() => network(engine, arch, options as never));
      expect([code, message]).toEqual(["E_CONFIG", expect.stringMatching(/\{ input, channels \}/)]);
    }
  });

  it("that cannot be drawn leaves nothing behind", async () => {
    const arch = serial(conv({ filter: 3 }), flatten(), dense());
    await engine.backend.finish(); // what is freed while the queue works counts until it has come so far
    const before = await engine.stats();
    for (const seed of [-1, 1.5, NaN])
      expect((await refusal(() => network(engine, arch, { input: [1, 4, 4], channels: 3, seed }))).code).toBe(
        "E_CONFIG",
      );
    await engine.backend.finish();
    expect(await engine.stats()).toMatchObject({ buffers: before.buffers, bytes: before.bytes });
  });

  it("outputs have the kernel as their covariance over draws, within the sampling error", async () => {
    // With one hidden layer that is exact at any width; deeper networks of relus are off by O(1 / width).
    const hidden = { weightVariance: 1.7, biasVariance: 0.3 };
    const readout = dense({ weightVariance: 2.1, biasVariance: 0.2 });
    const cases = [
      {
        arch: serial(conv({ filter: 3, stride: 2, ...hidden }), relu({ sqrt2: true }), flatten(), readout),
        channels: 5,
      },
      { arch: serial(conv({ filter: [2, 4], padding: "same-tf", ...hidden }), erf(), flatten(), readout), channels: 7 },
      {
        arch: serial(
          conv({ filter: 3, ...hidden }),
          repeat(2, sum(identity(), serial(relu(), conv({ filter: 3, ...hidden })))),
          conv({ filter: 5, padding: "valid", ...hidden }),
        ),
        channels: 24,
      },
    ];
    const stable = mulberry32(1);
    const input = [2, 5, 5] as const;
    const images = imageSet(
      Array.from({ length: 4 }, () => Float32Array.from({ length: 50 }, () => 2 * stable() - 1)),
      input,
    );
    for (const { arch, channels } of cases) {
      const draws = 3000;
      const { values: exact } = await kernel(engine, arch, images);
      using net = network(engine, arch, { input, channels, seed: 7 });
      const sums = new Float64Array(16);
      const squares = new Float64Array(16);
      for (let draw = 0; draw < draws; draw++) {
        net.resample(draw);
        const outputs = await net.forward(images);
        for (let k = 0; k < 16; k++) {
          const product = (outputs[k >> 2] ?? NaN) * (outputs[k & 3] ?? NaN);
          sums[k] = (sums[k] ?? NaN) + product;
          squares[k] = (squares[k] ?? NaN) + product * product;
        }
      }
      sums.forEach((total, k) => {
        const mean = total / draws;
        const deviation = Math.sqrt(((squares[k] ?? NaN) / draws - mean * mean) / draws);
        expect(Math.abs(mean - (exact[k] ?? NaN))).toBeLessThan(4 * deviation);
        expect(deviation).toBeLessThan(0.1 * (exact[(k >> 2) * 5] ?? NaN)); // the test can tell
      });
    }
  });
});
