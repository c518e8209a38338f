import { afterAll, describe, expect, it } from "vitest";
import { gpuEngine, wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import { RandomStream } from "../engine/rng.ts";
import { scope, tensor } from "../tensor/tensor.ts";
import { sampleTensor, StepHistograms } from "./step-histograms.ts";

const seed = freshSeed();
const engines = { wasm: await wasmEngine(), webgpu: await gpuEngine() };
afterAll(async () => {
  for (const engine of Object.values(engines)) await engine.close();
});

/** Numbers that tell where they were. */
const counted = (size: number) => Float32Array.from({ length: size }, (_, index) => index);

describe.each(Object.entries(engines))("on %s, a sample of a tensor", (_, engine) => {
  it.each<[number[], number]>([
    [[1], 0.01],
    [[7], 1],
    [[3, 5, 7], 0.25],
    [[64, 32, 9, 10], 0.01],
    [[2, 101], 0.01],
    [[4, 0, 3], 0.5],
  ])("of %j, part %d, is every s-th of its numbers", async (shape, part) => {
    const size = shape.reduce((product, side) => product * side, 1);
    const x = tensor(engine, counted(size), shape);
    const sample = await sampleTensor(x, part, new RandomStream(seed, "sample", size));
    x.dispose();
    const [first = 0, second = first + 1] = sample;
    const stride = sample.length < 2 ? 1 / part : second - first;
    expect([...sample]).toEqual(Array.from({ length: sample.length }, (__, index) => first + index * stride));
    if (size === 0) return;
    expect(first).toBeLessThan(Math.min(stride + 1, size));
    expect((sample.at(-1) ?? 0) + stride).toBeGreaterThanOrEqual(sample.length < 2 ? 0 : size);
    // The next number without a common factor is not far.
    expect(stride * part).toBeLessThan(part === 1 ? 1.01 : 1.3);
  });

  it("is of the numbers at its place in the queue, and needs the tensor no longer", async () => {
    const [before, after] = [counted(1000), new Float32Array(1000)];
    const reading = scope(engine, () => {
      const x = tensor(engine, before);
      const sample = sampleTensor(x, 0.1, new RandomStream(seed, "sample"));
      x.write(after);
      return { sample };
    });
    expect((await reading.sample).reduce((sum, value) => sum + value, 0)).toBeGreaterThan(0);
  });
});

describe("histograms of steps", () => {
  const pass = (histograms: StepHistograms, step: number, engine = engines.wasm) =>
    scope(engine, () => {
      const input = tensor(engine, new RandomStream(step, "x").fillNormal(new Float32Array(6000)), [6, 1000]);
      const output = tensor(engine, new Float32Array(6000).fill(1), [6, 1000]);
      histograms.see({ layer: "layers.0", title: "conv", input, output, step });
      histograms.see({ layer: "layers.1", title: "step11", input, output, step });
    });

  it("hold about the part asked for, of the batches kept, in step layers alone; each collection begins anew", async () => {
    const histograms = new StepHistograms({ seed, sample: 0.02, drop: 0.7 });
    const steps = Array.from({ length: 40 }, (_, step) => step);
    for (const step of steps) pass(histograms, step);
    const kept = steps.filter((step) => histograms.sees(step)).length;
    const found = await histograms.collect("train/");
    if (kept > 0) expect([...found.keys()]).toEqual(["train/step_input/layers.1", "train/step_output/layers.1"]);
    for (const histogram of found.values()) {
      // 6,000 numbers, every 53rd of them (50 to 52 share factors with 6,000, 51 included): 113 or 114.
      expect(histogram.count).toBeGreaterThanOrEqual(113 * kept);
      expect(histogram.count).toBeLessThanOrEqual(114 * kept);
    }
    expect((await histograms.collect()).size).toBe(0);
  });

  it("keep 1 - drop of the batches in the long run, the same ones for the same seed", () => {
    const [one, two] = [new StepHistograms({ seed, drop: 0.95 }), new StepHistograms({ seed, drop: 0.95 })];
    const steps = Array.from({ length: 20_000 }, (_, step) => step);
    const kept = steps.filter((step) => one.sees(step));
    // Six standard deviations of 20,000 draws.
    expect(Math.abs(kept.length - 1000)).toBeLessThan(6 * Math.sqrt(20_000 * 0.05 * 0.95));
    expect(steps.reverse().filter((step) => two.sees(step))).toEqual(kept.reverse());
    expect(steps.some((step) => new StepHistograms({ seed, drop: 1 }).sees(step))).toBe(false);
    expect(steps.every((step) => new StepHistograms({ seed, drop: 0 }).sees(step))).toBe(true);
  });

  it("are the same on every backend", async () => {
    const found = await Promise.all(
      Object.values(engines).map(async (engine) => {
        const histograms = new StepHistograms({ seed, drop: 0 });
        pass(histograms, 5, engine);
        return histograms.collect();
      }),
    );
    expect(found[0]?.size).toBe(2);
    expect(found[0]).toEqual(found[1]);
  });

  it("take no buffers but those of the first batch", async () => {
    const histograms = new StepHistograms({ seed, drop: 0 });
    const allocations: number[] = [];
    for (let step = 0; step < 4; step++) {
      pass(histograms, step);
      await histograms.collect();
      allocations.push(engines.wasm.backend.stats().slots);
    }
    expect(new Set(allocations.slice(1)).size).toBe(1);
  });

  it("say what a backend threw, where they are asked for", async () => {
    const engine = await wasmEngine();
    const histograms = new StepHistograms({ seed, drop: 0 });
    pass(histograms, 0, engine);
    await engine.close();
    await expect(histograms.collect()).rejects.toMatchObject({ name: "WidefieldError" });
  });

  it.each([
    [{ sample: 0 }, /in \(0, 1\], not 0/],
    [{ sample: 1.5 }, /not 1\.5/],
    [{ sample: Number.NaN }, /not NaN/],
    [{ drop: -0.1 }, /in \[0, 1\], not -0\.1/],
    [{ drop: 95 }, /not 95/],
  ])("of %j are refused", (options, message) => {
    expect(() => new StepHistograms({ seed, ...options })).toThrow(message);
  });
});
