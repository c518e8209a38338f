import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../../engine/engine.ts";
import { RandomStream } from "../../engine/rng.ts";
import { wasmEngine } from "../../../test/engines.ts";
import { freshSeed } from "../../../test/seed.ts";
import type { Dataset, ImageShape } from "../dataset.ts";
import { COLOUR_THRESHOLDS, GREY_THRESHOLDS, lowFrequencyMemory, lowFrequencyNoise } from "./low-frequency.ts";
import { centre, scaleTo } from "./planes.ts";
import { formulaImages, imagesOf, smoothImages, spectraOf, worstDifference } from "./testing.ts";

const random = new RandomStream(freshSeed(), "low-frequency.test");

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(async () => engine.close());

const inBlock =
  ({ height, width }: ImageShape, threshold: number) =>
  (at: number) =>
    Math.floor(at / width) % height < threshold && at % width < threshold;

/** Mean and covariance (divided by n) of rows of d numbers. */
function momentsOf(rows: Float64Array, d: number) {
  const n = rows.length / d;
  const mean = new Float64Array(d);
  rows.forEach((value, at) => (mean[at % d] = (mean[at % d] ?? NaN) + value / n));
  const covariance = new Float64Array(d * d);
  for (let i = 0; i < n; i++)
    for (let a = 0; a < d; a++)
      for (let b = 0; b < d; b++) {
        const product = ((rows[i * d + a] ?? NaN) - (mean[a] ?? NaN)) * ((rows[i * d + b] ?? NaN) - (mean[b] ?? NaN));
        covariance[a * d + b] = (covariance[a * d + b] ?? NaN) + product / n;
      }
  return { mean, covariance };
}

/** Spectra of grey images as the transform takes them: centred, and of norm sqrt(d). */
function normedSpectra(dataset: Dataset): Float64Array {
  const images = imagesOf(dataset);
  const pixels = dataset.imageFloats;
  for (let at = 0; at < images.length; at += pixels) {
    centre(images.subarray(at, at + pixels));
    scaleTo(Math.sqrt(pixels), images.subarray(at, at + pixels));
  }
  return spectraOf(images, dataset.shape);
}

describe("low-frequency noise", () => {
  it("has the paper's thresholds", () => {
    expect(GREY_THRESHOLDS).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27]);
    expect(COLOUR_THRESHOLDS).toHaveLength(15);
  });

  it.each([
    [8, 8, 5],
    [6, 9, 1],
    [28, 28, 7],
  ])(
    "leaves all other frequencies of grey images as they were, to 1e-12: %i x %i, threshold %i",
    async (height, width, threshold) => {
      const source = smoothImages(random, 31, 25, { channels: 1, height, width });
      const noisy = await lowFrequencyNoise(engine, source, { threshold, seed: random.below(2 ** 31) });
      const [before, after] = [normedSpectra(source), spectraOf(imagesOf(noisy), noisy.shape)];
      const low = inBlock(source.shape, threshold);
      const d = height * width;
      let [unchanged, changed] = [0, Infinity];
      before.forEach((value, at) => {
        const difference = Math.abs(value - (after[at] ?? NaN));
        if (!low(at % d)) unchanged = Math.max(unchanged, difference);
        // A centred image's first entry is zero in every image, and so in every draw.
        else if (at % d > 0) changed = Math.min(changed, difference);
      });
      expect(unchanged).toBeLessThan(1e-12);
      expect(changed).toBeGreaterThan(0);
      expect(noisy.labels).toEqual(source.labels);
    },
  );

  it("draws the block from the training spectra's mean and covariance", async () => {
    const [n, d, threshold] = [6000, 25, 3];
    const source = smoothImages(random, n, 500, { channels: 1, height: 5, width: 5 });
    const noisy = await lowFrequencyNoise(engine, source, { threshold, seed: random.below(2 ** 31) });
    const wanted = momentsOf(normedSpectra(source).subarray(0, 500 * d), d);
    const found = momentsOf(spectraOf(imagesOf(noisy), noisy.shape), d);
    const low = Array.from({ length: d }, (_, at) => at).filter(inBlock(source.shape, threshold));
    for (const a of low) {
      const sd = (k: number) => Math.sqrt(wanted.covariance[k * d + k] ?? NaN);
      // Six standard errors of a mean, and of a covariance, of 6,000 normal numbers; 1e-7 is what a root leaves of a zero.
      expect(Math.abs((found.mean[a] ?? NaN) - (wanted.mean[a] ?? NaN))).toBeLessThan(
        (6 * sd(a)) / Math.sqrt(n) + 1e-7,
      );
      for (const b of low) {
        const difference = (found.covariance[a * d + b] ?? NaN) - (wanted.covariance[a * d + b] ?? NaN);
        expect(Math.abs(difference)).toBeLessThan((6 * Math.SQRT2 * sd(a) * sd(b)) / Math.sqrt(n) + 1e-7);
      }
    }
  });

  it.each([0, 2, 5])(
    "gives colour images channels of mean 0 and deviation 1 over all training images: threshold %i",
    async (threshold) => {
      const shape = { channels: 3, height: 5, width: 5 };
      const source = smoothImages(random, 400, 333, shape);
      const noisy = await lowFrequencyNoise(engine, source, { threshold, seed: random.below(2 ** 31) });
      const { images } = noisy.selectFloat64("0:333");
      for (let channel = 0; channel < 3; channel++) {
        const pixels = images.filter((_, at) => Math.floor(at / 25) % 3 === channel);
        const mean = pixels.reduce((sum, value) => sum + value, 0) / pixels.length;
        const square = pixels.reduce((sum, value) => sum + value ** 2, 0) / pixels.length;
        expect(Math.abs(mean)).toBeLessThan(1e-12);
        expect(Math.abs(square - 1)).toBeLessThan(1e-12);
      }
    },
  );

  it("leaves all other frequencies of colour images as they were, but for the standardisation", async () => {
    const shape = { channels: 3, height: 6, width: 6 };
    const source = smoothImages(random, 50, 40, shape);
    const noisy = await lowFrequencyNoise(engine, source, { threshold: 4, seed: random.below(2 ** 31) });
    const [before, after] = [spectraOf(imagesOf(source), source.shape), spectraOf(imagesOf(noisy), noisy.shape)];
    const low = inBlock(shape, 4);
    for (let channel = 0; channel < 3; channel++) {
      const places = Array.from({ length: 36 }, (_, k) => channel * 36 + k).filter((at) => !low(at));
      // Over 255 and the channel's deviation: one factor for all.
      const first = places[0] ?? NaN;
      const factor = (after[first] ?? NaN) / (before[first] ?? NaN);
      for (let image = 0; image < 50; image++) {
        const differences = places.map(
          (k) => (after[image * 108 + k] ?? NaN) / factor - (before[image * 108 + k] ?? NaN),
        );
        expect(Math.max(...differences.map(Math.abs))).toBeLessThan(1e-12);
      }
    }
  });

  it.each(["counter", "numpy"] as const)("is the same whatever ranges are asked for (%s)", async (rng) => {
    for (const channels of [1, 3]) {
      const source = smoothImages(random, 300, 280, { channels, height: 4, width: 5 });
      const options = { threshold: 3, rng, seed: random.below(2 ** 31) };
      const all = await lowFrequencyNoise(engine, source, options);
      const some = await lowFrequencyNoise(engine, source, { ...options, ranges: "290:300,2:4,270:271" });
      expect(some.selectFloat64("270:271,3:4,290:300").images).toEqual(all.selectFloat64("270:271,3:4,290:300").images);
      expect(await some.sha256()).toBe(await all.sha256());
      expect(() => some.select("289:291")).toThrow(/image 289 was not made/);
      const other = await lowFrequencyNoise(engine, source, { ...options, threshold: 2 });
      expect(await other.sha256()).not.toBe(await all.sha256());
    }
  });

  it("is the published noise with NumPy's generator: grey images", async () => {
    const source = formulaImages(60, 50, { channels: 1, height: 6, width: 6 });
    const { images } = (await lowFrequencyNoise(engine, source, { threshold: 3, rng: "numpy" })).selectFloat64("0:60");
    const found = [0, 33, 57].flatMap((image) => [0, 7, 35].map((at) => images[image * 36 + at] ?? NaN));
    // NumPy 2.4 and SciPy 1.17.
    const numpy = [
      ...[-0.3950339733146244, -0.08040301052326577, 0.2577263566976724],
      ...[0.5061451401608734, 1.075677571290821, 0.8746355043849477],
      ...[1.7737338736274202, -0.6760840806356823, -0.6468402164112028],
    ];
    // Roots of eigenvalues that are zero but for rounding (the centred images' first entry) are 1e-8 on either side.
    expect(worstDifference(found, numpy)).toBeLessThan(1e-7);
  });

  it("is the published noise with NumPy's generator: colour images, drawn channels last", async () => {
    const source = formulaImages(120, 100, { channels: 3, height: 4, width: 4 });
    const make = async (threshold: number) =>
      (await lowFrequencyNoise(engine, source, { threshold, rng: "numpy" })).selectFloat64("0:120").images;
    const images = await make(2);
    const found = [0, 71, 111].flatMap((image) => [0, 21, 47].map((at) => images[image * 48 + at] ?? NaN));
    const numpy = [
      ...[-0.5791569315561926, 0.7324980064528288, -0.09969776975032897],
      ...[1.095538721131005, 0.6309184542329935, 1.2716581665236026],
      ...[0.23961200506403804, 0.8879570609719315, 1.9380278552953776],
    ];
    expect(worstDifference(found, numpy)).toBeLessThan(1e-7);
    const images0 = await make(0);
    const plain = [0, 21, 47].map((at) => images0[at] ?? NaN);
    expect(worstDifference(plain, [-1.7254942426624627, 1.5023069839147078, -1.6962986221495053])).toBeLessThan(1e-12);
  });

  it("asks for all memory before the first pass, with the Gaussian's in the message", async () => {
    const source = formulaImages(30, 20, { channels: 3, height: 32, width: 32 });
    const labels: string[] = [];
    const onProgress = ({ label }: { label: string }) => void labels.push(label);
    const options = { threshold: 20, memoryBytes: 300e6, ranges: "0:10", onProgress };
    const opening = lowFrequencyNoise(engine, source, options);
    await expect(opening).rejects.toMatchObject({ code: "E_MEMORY" });
    // Covariance and vectors of 3,072 numbers, 72 MiB each, and three such matrices more to decompose it.
    await expect(opening).rejects.toThrow(
      /images of 3 x 32 x 32 takes 3[67]\d MiB while the spectra's Gaussian is made/,
    );
    expect(labels).toEqual([]);
    const small = smoothImages(random, 30, 20, { channels: 3, height: 6, width: 6 });
    for (const threshold of [0, 3]) {
      for (const ranges of ["0:30", "3:4"]) {
        const { peak } = lowFrequencyMemory(small, threshold, ranges === "0:30" ? 30 : 1);
        const make = (memoryBytes: number) => lowFrequencyNoise(engine, small, { threshold, ranges, memoryBytes });
        await expect(make(peak - 1)).rejects.toMatchObject({ code: "E_MEMORY", details: { requested: peak } });
        // Source and images: what the images take goes on counting.
        expect((await make(peak)).bytes).toBe(small.bytes + (ranges === "0:30" ? 30 : 1) * 108 * 8);
      }
    }
  });

  it("refuses thresholds beyond the image, and data without training images; stops on a signal; frees its memory", async () => {
    const source = smoothImages(random, 30, 20, { channels: 1, height: 4, width: 6 });
    const tests = smoothImages(random, 3, 0, { channels: 1, height: 4, width: 4 });
    for (const threshold of [-1, 5, 1.5, NaN])
      await expect(lowFrequencyNoise(engine, source, { threshold })).rejects.toThrow(/0\.\.4 for images of 4 x 6/);
    await expect(lowFrequencyNoise(engine, tests, { threshold: 1 })).rejects.toMatchObject({ code: "E_DATA" });
    const before = await engine.stats();
    const signal = AbortSignal.abort();
    await expect(lowFrequencyNoise(engine, source, { threshold: 1, signal })).rejects.toMatchObject({
      code: "E_ABORTED",
    });
    const labels: string[] = [];
    const onProgress = ({ label }: { label: string }) => void labels.push(label);
    await lowFrequencyNoise(engine, source, { threshold: 1, onProgress });
    expect([...new Set(labels)]).toEqual(["spectra", "square root", "images"]);
    // The Gaussian of the last dataset is remembered.
    labels.length = 0;
    await lowFrequencyNoise(engine, source, { threshold: 2, onProgress });
    expect([...new Set(labels)]).toEqual(["images"]);
    expect((await engine.stats()).bytes).toBe(before.bytes);
  });
});
