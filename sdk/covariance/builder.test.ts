/** Scales: networks that grow or shrink out of float32's range are as accurate as others. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuEngine, imageSet, wasmEngine, worstRelative } from "../../test/engines.ts";
import { referenceKernel } from "../../test/reference/arch.ts";
import { digitLike, mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { abs, compile, conv, dense, erf, flatten, identity, mixture, relu, repeat } from "../arch/arch.ts";
import { serial, step, sum, type Arch } from "../arch/arch.ts";
import { kernel, kernelDiagonal, type Kernel } from "../arch/kernel.ts";
import type { Shape } from "../arch/layer.ts";
import type { Engine } from "../engine/engine.ts";

let wasm: Engine;
let gpu: Engine;
beforeAll(async () => {
  [wasm, gpu] = [await wasmEngine(), await gpuEngine()];
});
afterAll(async () => {
  for (const engine of [wasm, gpu]) await engine.close();
});

/** The ConvNet GP's layers, so many of them. */
function convnet(layers: number): Arch {
  const each = () => [conv({ filter: 7, weightVariance: 2.79 * 49, biasVariance: 7.86 }), relu()];
  const dimensions = { weightVariance: 2.79, biasVariance: 7.86 };
  return serial(...Array.from({ length: layers }, each).flat(), flatten(), dense(dimensions));
}

const trueValues = ({ values, exponent }: Kernel) => Float64Array.from(values, (value) => value * 2 ** exponent);

const shape = [1, 14, 14] as const;
const random = mulberry32(freshSeed());
const images = Array.from({ length: 5 }, () => digitLike(random, 14, 14));
const X = imageSet(images, shape);
const reference = (arch: Arch) => referenceKernel(arch.toJSON(), shape, images, images);

describe("a network of 40 layers, whose kernel is near 1e73", () => {
  const arch = convnet(40);

  it("is as accurate as one of 7 layers, in both precisions and on both backends", async () => {
    for (const each of [convnet(7), arch]) {
      const expected = reference(each);
      expect(
        worstRelative(trueValues(await kernel(wasm, each, X, undefined, { precision: "f64" })), expected),
      ).toBeLessThan(1e-12);
      for (const engine of [wasm, gpu]) {
        expect(worstRelative(trueValues(await kernel(engine, each, X)), expected)).toBeLessThan(1e-6);
        const diagonal = expected.filter((_, at) => at % (images.length + 1) === 0);
        expect(worstRelative(await kernelDiagonal(engine, each, X), diagonal)).toBeLessThan(1e-6);
      }
    }
  });

  it("has its power of two outside of the values, which float32 holds", async () => {
    const { values, exponent } = await kernel(wasm, arch, X);
    expect(Math.log10(values[0] ?? 0) + exponent * Math.log10(2)).toBeGreaterThan(65);
    for (const value of values) expect(Math.abs(Math.log2(value))).toBeLessThan(24);
    expect((await kernel(wasm, convnet(7), X)).exponent).toBe(0);
  });
});

describe("a network that shrinks by a thousand a layer", () => {
  for (const [name, make] of [
    [
      "convolutions",
      (layers: number) =>
        serial(
          ...Array.from({ length: layers }, () => [conv({ filter: 3, weightVariance: 1e-3 }), relu()]).flat(),
          flatten(),
        ),
    ],
    [
      "convolutions with the read-out's weight",
      (layers: number) =>
        serial(
          ...Array.from({ length: layers }, () => [conv({ filter: 3, weightVariance: 1e-3 }), relu()]).flat(),
          flatten(),
          dense({ weightVariance: 1e-3 }),
        ),
    ],
  ] as const) {
    it(`${name}, 30 layers: as accurate as 2`, async () => {
      for (const layers of [2, 30]) {
        const arch = make(layers);
        const expected = reference(arch);
        expect(expected[0]).toBeGreaterThan(0);
        expect(
          worstRelative(trueValues(await kernel(wasm, arch, X, undefined, { precision: "f64" })), expected),
        ).toBeLessThan(1e-12);
        for (const engine of [wasm, gpu])
          expect(worstRelative(trueValues(await kernel(engine, arch, X)), expected)).toBeLessThan(1e-6);
      }
    });
  }

  it("dense networks of any scale that end with a relu, or with a dense layer", async () => {
    for (const weightVariance of [1e-6, 1e-3, 1, 1e3, 1e6]) {
      for (const end of [
        [],
        [relu()],
        [relu(), dense({ weightVariance })],
        [relu(), dense({ weightVariance, biasVariance: 1e-9 })],
      ]) {
        const arch = serial(
          dense({ weightVariance }),
          relu(),
          dense({ weightVariance, biasVariance: weightVariance / 10 }),
          ...end,
        );
        const inputs = images.map((image) => image.map((value) => value + random()));
        const expected = referenceKernel(arch.toJSON(), [196], inputs, inputs);
        for (const engine of [wasm, gpu])
          expect(worstRelative(trueValues(await kernel(engine, arch, imageSet(inputs, [196]))), expected)).toBeLessThan(
            1e-6,
          );
      }
    }
  });

  it("biases far above what comes through the weights leave the biases", async () => {
    const arch = serial(
      ...[1e12, 1, 1e-12].flatMap((biasVariance) => [conv({ filter: 3, weightVariance: 1e-9, biasVariance }), relu()]),
      flatten(),
    );
    for (const engine of [wasm, gpu])
      expect(worstRelative(trueValues(await kernel(engine, arch, X)), reference(arch))).toBeLessThan(1e-6);
  });
});

/** Float64 within 1e-12 of the reference, and float32 within `single` on both backends. */
async function agrees(arch: Arch, inputs: readonly Float32Array[], size: Shape, single = 1e-6): Promise<void> {
  const set = imageSet(inputs, size);
  const expected = referenceKernel(arch.toJSON(), size, inputs, inputs);
  const double = await kernel(wasm, arch, set, undefined, { precision: "f64" });
  expect(worstRelative(trueValues(double), expected)).toBeLessThan(1e-12);
  for (const engine of [wasm, gpu])
    expect(worstRelative(trueValues(await kernel(engine, arch, set)), expected)).toBeLessThan(single);
}

describe("branches of a sum that differ in size by more than float32 holds", () => {
  const grow = () => repeat(25, serial(conv({ filter: 7, weightVariance: 2.79 * 49, biasVariance: 7.86 }), relu()));
  const shrink = () => repeat(25, serial(conv({ filter: 3, weightVariance: 1e-3 }), relu()));
  const cases: Record<string, Arch> = {
    "a branch that grows beside the identity": sum(identity(), grow()),
    "a branch that grows beside a convolution": sum(conv({ filter: 3 }), grow()),
    "a branch that grows beside one that shrinks": sum(shrink(), grow()),
    "a branch that shrinks beside the identity": sum(identity(), shrink()),
    "a branch that grows and reads its base last": serial(
      conv({ filter: 3 }),
      sum(identity(), relu(), serial(grow(), grow())),
    ),
    "a mixture with a tiny proportion of a branch that grows": mixture([1 - 1e-9, 1e-9], identity(), grow()),
    "sums in sums": sum(identity(), sum(conv({ filter: 3 }), serial(grow(), sum(identity(), grow())))),
    "a branch that is zero": sum(serial(conv({ filter: 3, weightVariance: 0 }), grow()), relu(), grow()),
    "zero beside a branch that grows": sum(conv({ filter: 3, weightVariance: 0 }), grow(), relu()),
  };
  // A pixel that is blank in none of them: beside the identity's kernel, of images that share none, see below.
  const sharing = images.slice(0, 3).map((image) => image.with(7 * 14 + 7, 0.5));
  for (const [name, arch] of Object.entries(cases)) it(name, () => agrees(serial(arch, flatten()), sharing, shape));

  it("of images whose kernel is the tiny branch alone, float32 has 0: 1e-84 of what they have with themselves", async () => {
    const arch = serial(sum(identity(), shrink()), flatten());
    const halves = [0, 1].map((half) =>
      Float32Array.from({ length: 196 }, (_, p) => (Math.floor(p / 98) === half ? 0.1 + random() : 0)),
    );
    const expected = referenceKernel(arch.toJSON(), shape, halves, halves);
    expect(expected[1]).toBeGreaterThan(0);
    expect(expected[1]).toBeLessThan(1e-80);
    const double = await kernel(wasm, arch, imageSet(halves, shape), undefined, { precision: "f64" });
    expect(worstRelative(trueValues(double), expected)).toBeLessThan(1e-12);
    for (const engine of [wasm, gpu])
      expect(trueValues(await kernel(engine, arch, imageSet(halves, shape)))[1]).toBe(0);
  });
});

describe("deep networks on maps that are smaller than their filters", () => {
  for (const [height, width] of [
    [1, 1],
    [1, 3],
    [5, 2],
    [7, 7],
  ] as const) {
    it(`${height} x ${width}: 60 layers are as accurate as 2`, async () => {
      const size = [1, height, width] as const;
      const inputs = Array.from({ length: 4 }, () => new Float32Array(height * width).map(() => 0.1 + random()));
      for (const filter of [3, 7]) {
        const layer = serial(conv({ filter }), relu({ sqrt2: true }));
        for (const layers of [2, 60]) await agrees(serial(repeat(layers, layer), flatten()), inputs, size, 2e-6);
      }
    });
  }

  it("and so are dilated filters of which a single tap lies inside", async () => {
    const layer = serial(conv({ filter: 5, dilation: 9 }), relu({ sqrt2: true }));
    await agrees(
      serial(repeat(60, layer), flatten()),
      images.slice(0, 3).map((image) => image.subarray(0, 49)),
      [1, 7, 7],
      2e-6,
    );
  });
});

describe("erf of variances of any size", () => {
  it("is accurate from 1e-60 to 1e60, and layer behind layer", async () => {
    const inputs = images.slice(0, 3).map((image) => image.map((value) => value + random()));
    // Not near 1e12: of images that agree 1 - c is then 1e-12 or so, and asin's slope makes 1e-10 of a rounding.
    for (const weightVariance of [1e-60, 1e-30, 1e-20, 1e-12, 1e-3, 1e30, 1e60])
      await agrees(
        serial(conv({ filter: 3, weightVariance }), erf(), conv({ filter: 3 }), relu(), flatten()),
        inputs,
        shape,
      );
    for (const layers of [2, 16, 40])
      await agrees(
        serial(repeat(layers, serial(conv({ filter: 3, weightVariance: 1e-3 }), erf())), flatten()),
        inputs,
        shape,
      );
  });

  it("and a step behind it sees no size at all", async () => {
    const inputs = images.slice(0, 3).map((image) => image.map((value) => value + random()));
    const [small, plain] = [1e-23, 1].map((weightVariance) =>
      serial(conv({ filter: 3, weightVariance: 1e-9 * weightVariance }), erf(), conv({ filter: 3 }), step(), flatten()),
    );
    if (small === undefined || plain === undefined) throw new Error("two architectures");
    const set = imageSet(inputs, shape);
    for (const engine of [wasm, gpu]) {
      const values = await Promise.all([small, plain].map((arch) => kernel(engine, arch, set)));
      expect(worstRelative(values[0]?.values ?? [], values[1]?.values ?? [])).toBeLessThan(2e-3);
      expect(Math.min(...(values[0]?.values ?? []))).toBeGreaterThan(0.2);
    }
  });
});

describe("pixels that are nearly nothing", () => {
  it("give a relu no negative direction: K(x, x) is what K(x, y) is for y = x, and no less than any other", async () => {
    for (const arch of [serial(conv({ filter: 1 }), relu(), flatten()), serial(abs(), flatten())]) {
      for (const size of [1e-14, 1e-15, 1e-16, 1e-17, 1e-18]) {
        const inputs = [1, 2, -1].map((factor) => Float32Array.of(factor * size));
        const [X, Y] = [imageSet(inputs, [1, 1, 1]), imageSet(inputs, [1, 1, 1])];
        for (const engine of [wasm, gpu]) {
          const { values } = await kernel(engine, arch, X);
          const others = (await kernel(engine, arch, X, Y)).values;
          const at = (i: number, j: number) => values[3 * i + j] ?? Number.NaN;
          for (const i of [0, 1, 2]) {
            expect(Math.abs((others[4 * i] ?? NaN) - at(i, i))).toBeLessThanOrEqual(4e-7 * at(i, i));
            for (const j of [0, 1, 2])
              expect(Math.abs(at(i, j))).toBeLessThanOrEqual(Math.sqrt(at(i, i) * at(j, j)) * (1 + 1e-6));
          }
        }
      }
    }
  });
});

describe("a compiled program", () => {
  it("moves weights into the steps that absorb them: its convolutions only add", () => {
    const { steps } = compile(convnet(3), shape);
    expect(steps.map(({ kind }) => kind)).toEqual([
      "input",
      ...["conv", "rectifier", "conv", "rectifier", "conv", "rectifier"],
      "mean",
    ]);
    for (const step of steps) {
      if (step.kind === "conv") expect(step.weight).toBe(1);
    }
    // Where positive is 1, variances stay as they are and the covariance needs no product: the cheapest rectifier.
    for (const step of steps) {
      if (step.kind === "rectifier") expect(step).toMatchObject({ positive: 1, negative: 0, curve: 2 });
    }
  });

  it("counts the largest map and the standard deviations of every relu", () => {
    const arch = serial(
      conv({ filter: 3, padding: 4 }),
      relu(),
      conv({ filter: 5, stride: 3, padding: "valid" }),
      relu(),
      flatten(),
    );
    // 9 x 7 grows to 15 x 13, and shrinks to 4 x 3.
    expect(compile(arch, [3, 9, 7])).toMatchObject({
      imageFloats: 189,
      mapPixels: 195,
      tablePixels: 195 + 12,
      exponent: 0,
    });
  });
});
