/** The gradients of a convolution on every backend: random shapes against float64 loops, and what they promise. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freshSeed } from "../../../test/seed.ts";
import { openWasm, upload, wasmConfigurations } from "../../../test/wasm.ts";
import type { Backend } from "../backend.ts";
import { inputGradientCase, weightGradientCase } from "../conformance/conv2d-gradients.ts";
import { runCase } from "../conformance/row.ts";
import { RandomStream } from "../rng.ts";
import type { Fields, KernelSchema, ParamsOf } from "../schema.ts";
import { openForTests } from "../webgpu/testing.ts";
import { conv2d } from "./conv2d.ts";
import { conv2dInput } from "./conv2d-input.ts";
import { conv2dWeights, weightParts } from "./conv2d-weights.ts";

const seed = freshSeed();

const backends: readonly [string, () => Promise<Backend>][] = [
  ...wasmConfigurations.map(
    (configuration) =>
      [`wasm ${configuration.variant}, ${configuration.threads} threads`, () => openWasm(configuration)] as [
        string,
        () => Promise<Backend>,
      ],
  ),
  ["webgpu", () => openForTests()],
];

const side = fc.integer({ min: 1, max: 19 });
const channels = fc.constantFrom(1, 2, 3, 4, 5, 9, 16, 17, 31, 33, 65);
const step = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }));
const tap = fc.integer({ min: 1, max: 7 });
const pad = fc.integer({ min: -3, max: 6 });
const shapes = fc.record({
  batch: fc.integer({ min: 1, max: 6 }),
  input: fc.tuple(channels, side, side),
  output: fc.tuple(channels, side, side),
  filter: fc.tuple(tap, tap),
  stride: step,
  dilation: step,
  pad: fc.tuple(pad, pad),
  parts: fc.integer({ min: 1, max: 7 }),
});

function normals(length: number): Float32Array<ArrayBuffer> {
  return new RandomStream(seed, "gradients of a convolution").fillNormal(new Float32Array(length));
}

async function run<F extends Fields>(
  backend: Backend,
  kernel: KernelSchema<F>,
  params: ParamsOf<F>,
  inputs: readonly Float32Array[],
  floats: number,
): Promise<Float32Array> {
  const out = backend.allocate(4 * floats, "out");
  const slots = [...inputs.map((data) => upload(backend, data)), out];
  backend.dispatch(kernel, params, slots);
  const result = new Float32Array(await backend.read(out, 0, 4 * floats));
  for (const slot of slots) backend.free(slot);
  return result;
}

/** 13 channels to 37, 11 x 10 pixels to 6 x 10, filters of 3 x 4. */
function sizes(batch: number) {
  return {
    batch,
    inChannels: 13,
    inHeight: 11,
    inWidth: 10,
    outChannels: 37,
    outHeight: 6,
    outWidth: 10,
    kernelHeight: 3,
    kernelWidth: 4,
    strideHeight: 2,
    strideWidth: 1,
    dilationHeight: 1,
    dilationWidth: 2,
    padTop: 1,
    padLeft: 3,
  };
}
const IMAGE = 13 * 11 * 10;
const OUTPUT = 37 * 6 * 10;
const FILTERS = 37 * 13 * 3 * 4;

describe.each(backends)("the gradients of conv2d: %s", (_, openBackend) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openBackend();
  });
  afterAll(() => backend.close());

  it("are the float64 loops for any size, stride, dilation and padding, and write nothing beside their outputs", async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(), async (shape, drawn) => {
        for (const caseOf of [inputGradientCase, weightGradientCase]) {
          const { error } = await runCase(backend, caseOf(new RandomStream(drawn, "test"), shape));
          expect(error).toBeLessThanOrEqual(1e-6);
        }
      }),
      { numRuns: backend.info.software ? 15 : 40, seed },
    );
  });

  it("are adjoint to it: <conv2d(x, w), g> = <x, conv2dInput(g, w)> = <w, conv2dWeights(x, g)>", async () => {
    const size = sizes(3);
    const [images, gradient, weights] = [normals(3 * IMAGE), normals(3 * OUTPUT), normals(FILTERS)];
    const out = await run(
      backend,
      conv2d,
      { ...size, useBias: 0 },
      [images, weights, new Float32Array(37)],
      3 * OUTPUT,
    );
    const toImages = await run(backend, conv2dInput, size, [gradient, weights], 3 * IMAGE);
    const toWeights = await run(backend, conv2dWeights, { ...size, parts: 1 }, [images, gradient], FILTERS);
    const expected = dot(out, gradient);
    const scale = Math.hypot(...out) * Math.hypot(...gradient);
    expect(Math.abs(dot(images, toImages) - expected) / scale).toBeLessThan(1e-6);
    expect(Math.abs(dot(weights, toWeights) - expected) / scale).toBeLessThan(1e-6);
  });

  it("gives an image's input gradient the same bits whatever the batch around it, and so a part's weight gradient", async () => {
    const batch = 6;
    const [images, gradient, weights] = [normals(batch * IMAGE), normals(batch * OUTPUT), normals(FILTERS)];
    const whole = await run(backend, conv2dInput, sizes(batch), [gradient, weights], batch * IMAGE);
    const params = { ...sizes(batch), parts: 3 };
    const parts = await run(backend, conv2dWeights, params, [images, gradient], 3 * FILTERS);
    for (const part of [0, 1, 2]) {
      const own = gradient.slice(2 * part * OUTPUT, 2 * (part + 1) * OUTPUT);
      const alone = await run(backend, conv2dInput, sizes(2), [own, weights], 2 * IMAGE);
      expect(alone).toEqual(whole.slice(2 * part * IMAGE, 2 * (part + 1) * IMAGE));
      const seen = images.slice(2 * part * IMAGE, 2 * (part + 1) * IMAGE);
      const sums = await run(backend, conv2dWeights, { ...sizes(2), parts: 1 }, [seen, own], FILTERS);
      expect(sums).toEqual(parts.slice(part * FILTERS, (part + 1) * FILTERS));
    }
  });
});

function dot(x: Float32Array, y: Float32Array): number {
  return x.reduce((sum, value, index) => sum + value * (y[index] ?? NaN), 0);
}

it("the gradients of conv2d are the same bits on one thread and on two", async () => {
  const size = sizes(9);
  const parts = 4;
  const [images, gradient, weights] = [normals(9 * IMAGE), normals(9 * OUTPUT), normals(FILTERS)];
  const results: Float32Array[][] = [];
  for (const configuration of wasmConfigurations.filter(({ variant }) => variant !== "relaxed")) {
    const backend = await openWasm(configuration);
    results.push([
      await run(backend, conv2dInput, size, [gradient, weights], 9 * IMAGE),
      await run(backend, conv2dWeights, { ...size, parts }, [images, gradient], parts * FILTERS),
    ]);
    await backend.close();
  }
  for (const result of results) expect(result).toEqual(results[0]);
});

describe("weightParts", () => {
  it("gives every part an image, and enough parts to keep 16 threads busy", () => {
    for (const batch of [1, 2, 7, 64, 1000]) {
      const parts = weightParts({ ...sizes(batch), outHeight: 34, outWidth: 34 });
      expect(parts).toBeLessThanOrEqual(batch);
      expect(parts).toBeGreaterThanOrEqual(Math.min(batch, 32));
    }
  });

  it("is 1 for an empty batch, and where the filters are many blocks by themselves", () => {
    expect(weightParts(sizes(0))).toBe(1);
    expect(weightParts({ ...sizes(64), inChannels: 1024, outChannels: 1024 })).toBe(1);
  });
});

it("the gradients' grids stay within 65,535 workgroups a dimension for millions of pixels", () => {
  const limits = { invocations: 256, preferred: 256, storageBytes: 16384 };
  const size = { ...sizes(100_000), inChannels: 500, outChannels: 500 };
  const [x = 0, y = 0, z = 0] = conv2dInput.geometry?.(size, limits).workgroups ?? [];
  expect(Math.max(x, y, z)).toBeLessThanOrEqual(65535);
  expect(x * z * 64).toBeGreaterThanOrEqual(100_000 * 11 * 10);
  const weights = conv2dWeights.geometry?.({ ...size, parts: weightParts(size) }, limits).workgroups ?? [];
  expect(Math.max(...weights)).toBeLessThanOrEqual(65535);
});
