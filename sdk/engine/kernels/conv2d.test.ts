/** conv2d on every backend: random shapes against float64 loops, and the identities that a convolution has. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openWasm, upload, wasmConfigurations } from "../../../test/wasm.ts";
import type { Backend } from "../backend.ts";
import { convolutionCase } from "../conformance/conv2d.ts";
import { runCase } from "../conformance/row.ts";
import { RandomStream } from "../rng.ts";
import { openForTests } from "../webgpu/testing.ts";
import { conv2d } from "./conv2d.ts";

type Params = Parameters<typeof conv2d.split>[0];

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

const side = fc.integer({ min: 1, max: 23 });
const channels = fc.constantFrom(1, 2, 3, 4, 5, 9, 16, 17, 31, 33, 65);
const step = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }));
const tap = fc.integer({ min: 1, max: 7 });
const pad = fc.integer({ min: -3, max: 6 });
const shapes = fc.record({
  batch: fc.integer({ min: 1, max: 6 }),
  input: fc.tuple(channels, side, side),
  // Any output size is meant: what reaches beyond the input reads zeros.
  output: fc.tuple(channels, side, side),
  filter: fc.tuple(tap, tap),
  stride: step,
  dilation: step,
  pad: fc.tuple(pad, pad),
  bias: fc.boolean(),
});

/** A square convolution of square images. */
function square(batch: number, from: number, to: number, size: number, filter: number): Params {
  return {
    batch,
    inChannels: from,
    inHeight: size,
    inWidth: size,
    outChannels: to,
    outHeight: size,
    outWidth: size,
    kernelHeight: filter,
    kernelWidth: filter,
    strideHeight: 1,
    strideWidth: 1,
    dilationHeight: 1,
    dilationWidth: 1,
    padTop: filter >> 1,
    padLeft: filter >> 1,
    useBias: 1,
  };
}

async function convolve(
  backend: Backend,
  params: Params,
  images: Float32Array,
  weights: Float32Array,
  bias: Float32Array,
): Promise<Float32Array> {
  const bytes = 4 * params.batch * params.outChannels * params.outHeight * params.outWidth;
  const out = backend.allocate(bytes, "out");
  const slots = [...[images, weights, bias].map((data) => upload(backend, data)), out];
  backend.dispatch(conv2d, params, slots);
  const result = new Float32Array(await backend.read(out, 0, bytes));
  for (const slot of slots) backend.free(slot);
  return result;
}

function normals(length: number): Float32Array {
  return new RandomStream(Math.floor(Math.random() * 2 ** 32), "test").fillNormal(new Float32Array(length));
}

describe.each(backends)("conv2d: %s", (_, openBackend) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openBackend();
  });
  afterAll(() => backend.close());

  it("is the float64 loop for any size, stride, dilation and padding, and writes nothing beside its output", async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(), async (shape, seed) => {
        const { error } = await runCase(backend, convolutionCase(new RandomStream(seed, "test"), shape));
        expect(error).toBeLessThanOrEqual(1e-6);
      }),
      { numRuns: 60 },
    );
  });

  it("of a centred delta is the image itself, bit for bit", async () => {
    for (const filter of [1, 3, 5]) {
      const [batch, count, size] = [3, 6, 11];
      const images = normals(batch * count * size * size);
      const delta = new Float32Array(count * count * filter * filter);
      const centre = (filter * filter) >> 1;
      for (let c = 0; c < count; c++) delta[(c * count + c) * filter * filter + centre] = 1;
      const params = square(batch, count, count, size, filter);
      expect(await convolve(backend, params, images, delta, new Float32Array(count))).toEqual(images);
    }
  });

  it("gives an image the same bits whatever the batch around it", async () => {
    const [batch, from, to, size, filter] = [9, 13, 37, 9, 5];
    const images = normals(batch * from * size * size);
    const weights = normals(to * from * filter * filter);
    const bias = normals(to);
    const whole = await convolve(backend, square(batch, from, to, size, filter), images, weights, bias);
    const floats = from * size * size;
    for (const n of [0, 4, 8]) {
      const one = images.slice(n * floats, (n + 1) * floats);
      const alone = await convolve(backend, square(1, from, to, size, filter), one, weights, bias);
      expect(alone).toEqual(whole.slice(n * to * size * size, (n + 1) * to * size * size));
    }
  });
});

it("conv2d gives the same bits on one thread and on two", async () => {
  const params = square(5, 23, 70, 14, 7);
  const images = normals(5 * 23 * 14 * 14);
  const weights = normals(70 * 23 * 49);
  const bias = normals(70);
  const results: Float32Array[] = [];
  for (const configuration of wasmConfigurations.filter(({ variant }) => variant !== "relaxed")) {
    const backend = await openWasm(configuration);
    results.push(await convolve(backend, params, images, weights, bias));
    await backend.close();
  }
  for (const result of results) expect(result).toEqual(results[0]);
});

it("conv2d's grid stays within 65,535 workgroups a dimension for millions of pixels", () => {
  const limits = { invocations: 256, preferred: 256, storageBytes: 16384 };
  const geometry = conv2d.geometry?.({ ...square(100_000, 1, 100, 28, 7), outChannels: 500 }, limits);
  const [x = 0, y = 0, z = 0] = geometry?.workgroups ?? [];
  expect(Math.max(x, y, z)).toBeLessThanOrEqual(65535);
  expect(x * z * 64).toBeGreaterThanOrEqual(100_000 * 28 * 28);
  expect(y).toBe(8);
});
