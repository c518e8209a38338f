/** Compiled programs on every backend against a float64 reference that works from the architecture's JSON. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { archFromJson } from "../sdk/arch/json.ts";
import { conv, dense, flatten, relu, serial, step, type Arch } from "../sdk/arch/arch.ts";
import { kernel, type KernelOptions } from "../sdk/arch/kernel.ts";
import type { LayerJson, Shape } from "../sdk/arch/layer.ts";
import { errorOf, worst } from "../sdk/engine/conformance/row.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { gpuEngine, imageSet, wasmEngine, worstRelative } from "./engines.ts";
import { referenceKernel } from "./reference/arch.ts";
import { mulberry32 } from "./reference/programs.ts";
import { randomCase, randomInputs, randomSlopes } from "./reference/random-arch.ts";
import { freshSeed } from "./seed.ts";

type ImageSets = readonly [Float32Array[], Float32Array[]];

/** True values of a kernel, whatever its exponent. */
async function values(
  engine: Engine,
  arch: Arch,
  shape: Shape,
  [xs, ys]: ImageSets,
  options: KernelOptions,
): Promise<Float64Array> {
  const result = await kernel(engine, arch, imageSet(xs, shape), imageSet(ys, shape), options);
  return Float64Array.from(result.values, (value) => value * 2 ** result.exponent);
}

/**
 * How much larger than an error of the covariances that erfs read the kernel's own becomes by them, at least 1; errors
 * are in units of `sizes`. An erf that does not saturate leaves relative errors as they are. Where it does, asin is read
 * near 1, where it is steep: an error e of c is one of e c / (sqrt(1 - c^2) asin c), whatever computes it.
 */
function erfGain(arch: LayerJson, shape: Shape, sets: ImageSets, expected: Float64Array, sizes: Float64Array) {
  const error = 2 ** -20;
  const off = referenceKernel(arch, shape, ...sets, 1 - error);
  return expected.map((value, at) => {
    const gain = Math.abs(value - (off[at] ?? Number.NaN)) / (error * (sizes[at] ?? Number.NaN));
    return gain > 1 ? gain : 1;
  });
}

/**
 * The worst error over `count` random architectures. Images of one sign: relative to the kernel. Of both signs kernels
 * can cancel to nothing: relative to sqrt(K(x, x) K(y, y)), which no kernel exceeds. In float32 in units of `erfGain`.
 */
async function worstOver(
  count: number,
  seed: number,
  engine: Engine,
  options: KernelOptions,
  signed: boolean,
  draw = randomCase,
) {
  let largest = { error: 0, case: "" };
  for (let turn = 0; turn < count; turn++) {
    const random = mulberry32(seed + turn);
    const { arch, shape } = draw(random);
    const sets = [randomInputs(random, shape, 3, signed), randomInputs(random, shape, 6, signed)] as const;
    const expected = referenceKernel(arch, shape, ...sets);
    const actual = await values(engine, archFromJson(arch), shape, sets, options);
    const [own, other] = sets.map((set) => set.map((x) => referenceKernel(arch, shape, [x], [x])[0] ?? Number.NaN));
    const norms = expected.map((_, at) => Math.sqrt((own?.[Math.floor(at / 6)] ?? 0) * (other?.[at % 6] ?? 0)));
    const sizes = signed ? norms : expected.map(Math.abs);
    const gains = options.precision === "f64" ? undefined : erfGain(arch, shape, sets, expected, sizes);
    const error = worst(expected.length, (i) =>
      errorOf(actual[i], expected[i] ?? Number.NaN, (sizes[i] ?? Number.NaN) * (gains?.[i] ?? 1)),
    );
    if (!(error <= largest.error)) largest = { error, case: `seed ${seed + turn}: ${JSON.stringify({ shape, arch })}` };
    if (Number.isNaN(error)) break;
  }
  return largest;
}

const seed = freshSeed();
let wasm: Engine;
let single: Engine;
let gpu: Engine;
beforeAll(async () => {
  [wasm, single, gpu] = [await wasmEngine(), await wasmEngine({ variant: "single", threads: 1 }), await gpuEngine()];
});
afterAll(async () => {
  for (const engine of [wasm, single, gpu]) await engine.close();
});

describe("random architectures agree with the reference", () => {
  for (const signed of [false, true]) {
    const inputs = signed ? "inputs of both signs" : "inputs from 0 to 1";
    it(`in float64 within 1e-12, ${inputs}`, async () => {
      const { error, case: text } = await worstOver(150, seed, wasm, { precision: "f64" }, signed);
      expect(error, text).toBeLessThan(1e-12);
    });
    it(`in float32 on wasm within 1e-6, ${inputs}`, async () => {
      const { error, case: text } = await worstOver(150, seed, wasm, {}, signed);
      expect(error, text).toBeLessThan(1e-6);
    });
    it(`in float32 on WebGPU within 1e-6, ${inputs}`, async () => {
      const { error, case: text } = await worstOver(25, seed, gpu, {}, signed);
      expect(error, text).toBeLessThan(1e-6);
    });
  }
});

describe("leaky relus of positive slope, whose covariances can cancel", () => {
  it("agree with the reference in float64 within 1e-12 of sqrt(K(x, x) K(y, y))", async () => {
    const { error, case: text } = await worstOver(100, seed, wasm, { precision: "f64" }, true, randomSlopes);
    expect(error, text).toBeLessThan(1e-12);
  });
});

describe("steps in float64", () => {
  it("are 1/2 to the last bits where images agree, and off by a rounding over the angle's sine elsewhere", async () => {
    const shape = [1, 6, 5] as const;
    const arch = serial(conv({ filter: 3, biasVariance: 0.2 }), step(), conv({ filter: 2 }), step(), flatten());
    const xs = randomInputs(mulberry32(seed), shape, 5);
    const expected = referenceKernel(arch.toJSON(), shape, xs, xs);
    const actual = await values(wasm, arch, shape, [xs, xs], { precision: "f64" });
    // kappa_0 turns an error e of a cosine into sqrt(2 e) / 2 pi at most, and the second one that into its root again:
    // for e = 1e-15 7e-9, then 2e-5. Pairs of an image with itself have no error at all.
    for (let i = 0; i < 5; i++) expect(Math.abs((actual[6 * i] ?? NaN) - 0.5)).toBeLessThan(1e-15);
    expect(worstRelative(actual, expected)).toBeLessThan(2e-5);
  });
});

describe("awkward architectures", () => {
  const image = [1, 6, 5] as const;
  const cases: Record<string, { arch: Arch; shape: Shape }> = {
    "no layer but flatten": { arch: flatten(), shape: [3, 4, 5] },
    "no layer but dense": { arch: dense(), shape: [7] },
    "relu alone on one number": { arch: relu(), shape: [1] },
    "a relu on the input": { arch: serial(relu(), flatten()), shape: image },
    "a relu behind the read-out": { arch: serial(conv({ filter: 3 }), flatten(), relu()), shape: image },
    "two relus in a row": { arch: serial(conv({ filter: 3 }), relu(), relu({ sqrt2: true }), flatten()), shape: image },
    "convolutions without a relu": { arch: serial(conv({ filter: 3 }), conv({ filter: 2 }), flatten()), shape: image },
    "a convolution that ends with one pixel": {
      arch: serial(conv({ filter: [6, 5], padding: "valid" }), relu()),
      shape: image,
    },
    "a filter far larger than the image": {
      arch: serial(conv({ filter: 25, biasVariance: 0.1 }), relu(), flatten()),
      shape: image,
    },
    "a dense layer between read-outs": { arch: serial(flatten(), dense(), relu(), dense(), relu()), shape: image },
    "weights that are zero": {
      arch: serial(conv({ filter: 3, weightVariance: 0, biasVariance: 2 }), relu(), flatten(), dense()),
      shape: image,
    },
    "weights that are zero behind a relu": {
      arch: serial(
        conv({ filter: 3 }),
        relu(),
        conv({ filter: 3, weightVariance: 0, biasVariance: 2 }),
        relu(),
        flatten(),
      ),
      shape: image,
    },
    "a kernel that is zero": {
      arch: serial(conv({ filter: 3, weightVariance: 0 }), relu(), flatten(), dense({ weightVariance: 0 })),
      shape: image,
    },
    "a read-out without weights": {
      arch: serial(relu(), flatten(), dense({ weightVariance: 0, biasVariance: 3 })),
      shape: image,
    },
    "serial within serial": {
      arch: serial(serial(conv({ filter: 3 }), relu()), serial(serial(flatten())), dense()),
      shape: image,
    },
  };
  for (const [name, { arch, shape }] of Object.entries(cases)) {
    it(name, async () => {
      const random = mulberry32(seed);
      const sets = [randomInputs(random, shape, 2), randomInputs(random, shape, 5)] as const;
      const expected = referenceKernel(arch.toJSON(), shape, ...sets);
      expect(worstRelative(await values(wasm, arch, shape, [...sets], { precision: "f64" }), expected)).toBeLessThan(
        1e-12,
      );
      for (const engine of [wasm, single, gpu])
        expect(worstRelative(await values(engine, arch, shape, [...sets], {}), expected)).toBeLessThan(1e-6);
    });
  }
});

describe("pixels of zero variance", () => {
  it("have covariance exactly 0 and never NaN, on every backend and in both precisions", async () => {
    const shape = [1, 12, 12] as const;
    const arch = serial(
      conv({ filter: 3, weightVariance: 2 }),
      relu(),
      conv({ filter: 3, weightVariance: 2 }),
      relu(),
      flatten(),
      dense({ weightVariance: 1.5 }),
    );
    const random = mulberry32(seed);
    // Far enough apart that no filter sees both: their kernel is zero, pixel by pixel.
    const stripe = (top: number) =>
      Float32Array.from({ length: 144 }, (_, p) => (p >= 12 * top && p < 12 * (top + 2) ? 0.1 + random() : 0));
    const blank = new Float32Array(144);
    const set = imageSet([stripe(0), stripe(10), blank], shape);
    for (const [engine, options] of [
      [wasm, {}],
      [single, {}],
      [gpu, {}],
      [wasm, { precision: "f64" }],
    ] as const) {
      const { values: k } = await kernel(engine, arch, set, undefined, options);
      expect([k[1], k[2], k[5], k[8]]).toEqual([0, 0, 0, 0]);
      expect(k[0]).toBeGreaterThan(0);
      expect(k[4]).toBeGreaterThan(0);
    }
  });

  it("in a network with biases take the biases alone", async () => {
    const shape = [2, 5, 4] as const;
    const arch = serial(conv({ filter: 3, biasVariance: 0.7 }), relu(), flatten(), dense({ biasVariance: 0.2 }));
    const sets = [[new Float32Array(40)], randomInputs(mulberry32(seed), shape, 3)] as const;
    const expected = referenceKernel(arch.toJSON(), shape, ...sets);
    for (const engine of [wasm, single, gpu])
      expect(worstRelative(await values(engine, arch, shape, [[...sets[0]], [...sets[1]]], {}), expected)).toBeLessThan(
        1e-6,
      );
  });
});
