import { describe, expect, it } from "vitest";
import { RandomStream } from "../../engine/rng.ts";
import { freshSeed } from "../../../test/seed.ts";
import { type Dataset, fromArrays } from "../dataset.ts";
import { HIGH_FREQUENCY_MULTIPLIERS, highFrequencyMask, highFrequencyNoise } from "./high-frequency.ts";
import { formulaImages, imagesOf, smoothImages, spectraOf, worstDifference } from "./testing.ts";

const random = new RandomStream(freshSeed(), "high-frequency.test");
const norm = (values: Float64Array) => Math.hypot(...values);

/** Plane by plane: the spectra of the source's images less their means, and of the noisy ones. */
function planes(source: Dataset, noisy: Dataset) {
  const size = source.shape.height ** 2;
  const [before, after] = [spectraOf(imagesOf(source), source.shape), spectraOf(imagesOf(noisy), source.shape)];
  return Array.from({ length: before.length / size }, (_, k) => {
    const clean = before.subarray(k * size, (k + 1) * size);
    clean[0] = 0; // the mean's entry
    return { clean, noisy: after.subarray(k * size, (k + 1) * size) };
  });
}

describe("high-frequency noise", () => {
  it("has the paper's fifteen multipliers, and NumPy's linspace's bits", () => {
    expect(HIGH_FREQUENCY_MULTIPLIERS).toHaveLength(15);
    expect(HIGH_FREQUENCY_MULTIPLIERS.slice(0, 3)).toEqual([0, 0.21428571428571427, 0.42857142857142855]);
    expect(HIGH_FREQUENCY_MULTIPLIERS[7]).toBe(1.5);
    expect(HIGH_FREQUENCY_MULTIPLIERS[14]).toBe(3);
  });

  it("is masked to a quarter of a disc about the highest frequency", () => {
    const text = (n: number) =>
      Array.from({ length: n }, (_, i) =>
        highFrequencyMask(n)
          .subarray(i * n, (i + 1) * n)
          .join(""),
      );
    expect(text(5)).toEqual(["00001", "00111", "01111", "01111", "11111"]);
    expect(text(1)).toEqual(["1"]);
    expect(highFrequencyMask(28).reduce((sum, value) => sum + value, 0)).toBe(600);
  });

  it.each([
    [1, 28, 0.7],
    [1, 13, 2.1],
    [3, 32, 1.5],
    [2, 9, 3],
  ])(
    "changes masked frequencies only, by the norm it should: %i x %i x itself, x %d",
    async (channels, n, multiplier) => {
      const source = smoothImages(random, 7, 4, { channels, height: n, width: n });
      const noisy = await highFrequencyNoise(source, { multiplier, seed: random.below(2 ** 31) });
      const mask = highFrequencyMask(n);
      for (const { clean, noisy: spectrum } of planes(source, noisy)) {
        expect(norm(spectrum)).toBeCloseTo(n, 10);
        // The first entry beside the mean tells how the plane was scaled: it is not masked.
        const at = clean.findIndex((value, i) => i > 0 && mask[i] === 0 && Math.abs(value) > 1e-3);
        const scale = (spectrum[at] ?? NaN) / (clean[at] ?? NaN);
        const added = spectrum.map((value, i) => value / scale - (clean[i] ?? NaN));
        expect(norm(added) / norm(clean)).toBeCloseTo(multiplier, 10);
        const outside = added.filter((_, i) => mask[i] === 0);
        expect(norm(outside) / norm(clean)).toBeLessThan(1e-12);
      }
      expect(noisy.labels).toEqual(source.labels);
      expect(noisy).toMatchObject({ shape: source.shape, trainCount: 4, testCount: 3, classes: 3 });
    },
  );

  it("of multiplier 0 leaves centred images of norm sqrt(d), and blank images zero", async () => {
    const images = new Float32Array(3 * 25).fill(0.3);
    for (let i = 25; i < 50; i++) images[i] = random.uniform32();
    const source = fromArrays({ shape: { channels: 1, height: 5, width: 5 }, images, labels: [0, 1, 0] });
    for (const multiplier of [0, 2]) {
      const { images: made } = (await highFrequencyNoise(source, { multiplier })).selectFloat64("0:3");
      expect(norm(made.subarray(25, 50))).toBeCloseTo(5, 12);
      expect([...made.subarray(0, 25), ...made.subarray(50)].every((value) => value === 0)).toBe(true);
    }
  });

  it("looks like white noise where it is", async () => {
    const source = smoothImages(random, 400, 400, { channels: 1, height: 8, width: 8 });
    const noisy = await highFrequencyNoise(source, { multiplier: 1e6, seed: random.below(2 ** 31) });
    const mask = highFrequencyMask(8);
    const active = mask.reduce((sum, value) => sum + value, 0);
    // What the noise leaves of the image is a millionth, so each masked entry's mean square is d / active.
    const squares = new Float64Array(64);
    spectraOf(imagesOf(noisy), noisy.shape).forEach(
      (value, at) => (squares[at % 64] = (squares[at % 64] ?? NaN) + value ** 2 / 400),
    );
    squares.forEach((square, i) => {
      if (mask[i] === 0) expect(square).toBeLessThan(1e-9);
      // The mean of 400 squares of nearly normal numbers is off by a factor of 0.07, rms; six times that never happens.
      else expect(Math.abs(square / (64 / active) - 1)).toBeLessThan(0.43);
    });
  });

  it.each(["counter", "numpy"] as const)(
    "is the same whatever ranges are asked for, and for no other seed (%s)",
    async (rng) => {
      const source = smoothImages(random, 11, 6, { channels: 2, height: 5, width: 5 });
      const options = { multiplier: 1.1, rng, seed: random.below(2 ** 31) };
      const all = await highFrequencyNoise(source, options);
      const some = await highFrequencyNoise(source, { ...options, ranges: "9:11,2:4,5:6" });
      expect(some.selectFloat64("3:4,9:11,5:6").images).toEqual(all.selectFloat64("3:4,9:11,5:6").images);
      expect(await some.sha256()).toBe(await all.sha256());
      expect(() => some.select("2:5")).toThrow(/image 4 was not made.*ranges/);
      const other = await highFrequencyNoise(source, { ...options, seed: options.seed + 1 });
      expect(worstDifference(other.selectFloat64("0:11").images, all.selectFloat64("0:11").images)).toBeGreaterThan(
        0.01,
      );
      expect(await other.sha256()).not.toBe(await all.sha256());
    },
  );

  it("is the published noise with NumPy's generator", async () => {
    const source = formulaImages(9, 7, { channels: 1, height: 6, width: 6 });
    const noisy = await highFrequencyNoise(source, { multiplier: 1.5, rng: "numpy" });
    const { images } = noisy.selectFloat64("0:1,4:5,8:9");
    const found = [0, 7, 35, 36, 43, 71, 72, 79, 107].map((at) => images[at] ?? NaN);
    // NumPy 2.4 and SciPy 1.17.
    const numpy = [
      ...[-1.983536495478365, -0.6230745547407037, -0.3393640849162725],
      ...[-0.6741322778491593, -0.11060264462443709, -0.21998042204173196],
      ...[1.2852840265999532, -0.6160684439994657, -0.4218968428794201],
    ];
    expect(worstDifference(found, numpy)).toBeLessThan(1e-13);
  });

  it("refuses images that are not square, multipliers and seeds that cannot be, and stops on a signal", async () => {
    const square = smoothImages(random, 3, 2, { channels: 1, height: 4, width: 4 });
    const wide = smoothImages(random, 3, 2, { channels: 1, height: 4, width: 5 });
    await expect(highFrequencyNoise(wide, { multiplier: 1 })).rejects.toMatchObject({ code: "E_SHAPE" });
    await expect(highFrequencyNoise(square, { multiplier: -1 })).rejects.toThrow(/from 0 on, not -1/);
    await expect(highFrequencyNoise(square, { multiplier: NaN })).rejects.toMatchObject({ code: "E_CONFIG" });
    for (const rng of ["counter", "numpy"] as const)
      await expect(highFrequencyNoise(square, { multiplier: 1, rng, seed: -1 })).rejects.toMatchObject({
        code: "E_CONFIG",
      });
    await expect(highFrequencyNoise(square, { multiplier: 1, ranges: "1:4" })).rejects.toMatchObject({
      code: "E_RANGE",
    });
    await expect(highFrequencyNoise(square, { multiplier: 1, memoryBytes: 100 })).rejects.toMatchObject({
      code: "E_MEMORY",
    });
    const signal = AbortSignal.abort();
    await expect(highFrequencyNoise(square, { multiplier: 1, signal })).rejects.toMatchObject({ code: "E_ABORTED" });
  });
});
