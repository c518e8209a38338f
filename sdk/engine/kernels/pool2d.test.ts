/** Pooling on every backend: random shapes against loops over windows, and what a pool and its gradient promise. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freshSeed } from "../../../test/seed.ts";
import { openWasm, upload, wasmConfigurations } from "../../../test/wasm.ts";
import type { Backend } from "../backend.ts";
import { poolCase, poolGradientCase } from "../conformance/pool2d.ts";
import { runCase } from "../conformance/row.ts";
import { RandomStream } from "../rng.ts";
import { openForTests } from "../webgpu/testing.ts";
import { pool2d, pool2dInput, PoolOperation } from "./pool2d.ts";

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

/** Along one axis: a window, and less padding than it has pixels. */
const axis = fc
  .record({
    input: fc.integer({ min: 1, max: 29 }),
    output: fc.integer({ min: 1, max: 15 }),
    window: fc.integer({ min: 1, max: 5 }),
    stride: fc.integer({ min: 1, max: 4 }),
    pad: fc.nat(4),
  })
  .map((drawn) => ({ ...drawn, pad: Math.min(drawn.pad, drawn.window - 1) }));
const shapes = fc.record({ planes: fc.integer({ min: 1, max: 9 }), down: axis, across: axis, wild: fc.boolean() }).map(
  ({ planes, down, across, wild }) =>
    ({
      planes,
      input: [down.input, across.input],
      output: [down.output, across.output],
      window: [down.window, across.window],
      stride: [down.stride, across.stride],
      pad: [down.pad, across.pad],
      wild,
    }) as const,
);

describe.each(backends)("pool2d: %s", (_, openBackend) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openBackend();
  });
  afterAll(() => backend.close());

  it("and its gradient are the loops over windows, overlapping or not, and write nothing beside their outputs", async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(), async (shape, drawn) => {
        const random = new RandomStream(drawn, "test");
        const results = [
          await runCase(backend, poolCase(random, shape, "max")),
          await runCase(backend, poolCase(random, { ...shape, wild: false }, "mean")),
          await runCase(backend, poolGradientCase(random, shape, "max")),
          await runCase(backend, poolGradientCase(random, shape, "mean")),
        ];
        for (const { error } of results) expect(error).toBeLessThanOrEqual(1e-6);
      }),
      { numRuns: 60, seed },
    );
  });

  it("sends a maximum's gradient back to the pixel it came from, each window's once", async () => {
    const [planes, inSide, outSide] = [5, 13, 7];
    const params = {
      planes,
      inHeight: inSide,
      inWidth: inSide,
      outHeight: outSide,
      outWidth: outSide,
      windowHeight: 3,
      windowWidth: 3,
      strideHeight: 2,
      strideWidth: 2,
      padTop: 1,
      padLeft: 1,
      operation: PoolOperation.max,
    };
    const [pixels, windows] = [planes * inSide * inSide, planes * outSide * outSide];
    const image = new RandomStream(seed, "pool").fillNormal(new Float32Array(pixels));
    const a = upload(backend, image);
    const pooled = upload(backend, new Float32Array(windows));
    const places = upload(backend, new Uint32Array(windows));
    const back = upload(backend, new Float32Array(pixels));
    backend.dispatch(pool2d, params, [a, pooled, places]);
    backend.dispatch(pool2dInput, params, [pooled, places, back]);
    const maxima = new Float32Array(await backend.read(pooled, 0, 4 * windows));
    const gradient = new Float32Array(await backend.read(back, 0, 4 * pixels));
    for (const slot of [a, pooled, places, back]) backend.free(slot);
    // The gradient of (sum of squares of the maxima) / 2: a pixel that is picked so many times, as many times itself.
    let picked = 0;
    gradient.forEach((value, place) => {
      const times = value / (image[place] ?? NaN);
      expect(Math.abs(times - Math.round(times))).toBeLessThan(1e-6);
      picked += Math.round(times);
    });
    expect(picked).toBe(windows);
    expect(maxima.every((value) => image.includes(value))).toBe(true);
  });
});
