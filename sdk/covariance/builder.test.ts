/** Scales: networks that grow or shrink out of float32's range are as accurate as others. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuEngine, imageSet, wasmEngine, worstRelative } from "../../test/engines.ts";
import { referenceKernel } from "../../test/reference/arch.ts";
import { digitLike, mulberry32 } from "../../test/reference/programs.ts";
import { compile, conv, dense, flatten, relu, serial, type Arch } from "../arch/arch.ts";
import { kernel, kernelDiagonal, type Kernel } from "../arch/kernel.ts";
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
const random = mulberry32(Date.now());
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
