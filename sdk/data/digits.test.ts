import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { digits } from "./digits.ts";
import type { Selection } from "./dataset.ts";

/** Label of the nearest training image, for each test image. */
function nearestNeighbour(train: Selection, test: Selection, pixels: number): number[] {
  return Array.from(test.indices, (_, row) => {
    let nearest = Infinity;
    let label = -1;
    for (let candidate = 0; candidate < train.indices.length; candidate++) {
      let distance = 0;
      for (let p = 0; p < pixels; p++) {
        distance += ((test.images[row * pixels + p] ?? NaN) - (train.images[candidate * pixels + p] ?? NaN)) ** 2;
      }
      if (distance < nearest) {
        nearest = distance;
        label = train.labels[candidate] ?? NaN;
      }
    }
    return label;
  });
}

describe("the synthetic digits", () => {
  it("are 60,000 training and 10,000 test images of 28 x 28 in ten classes", () => {
    expect(digits()).toMatchObject({
      name: "digits",
      shape: { channels: 1, height: 28, width: 28 },
      classes: 10,
      trainCount: 60_000,
      testCount: 10_000,
    });
  });

  it("are the same bytes as ever: a change of a byte needs a new version in the digest", () => {
    const { images, labels } = digits().select("0:300,69900:70000");
    const bytes = Uint8Array.from(images, (value) => Math.round(value * 255));
    const hash = createHash("sha256").update(bytes).update(Uint8Array.from(labels)).digest("hex");
    expect(hash).toMatchInlineSnapshot(`"be9c56c632e682f96804ad9f87187574d1af18b151e7e6f789721b344be69605"`);
  });

  it("depend on seed and index only: not on the range they are asked for in, nor on the counts", () => {
    const whole = digits({ seed: 5 }).select("90:130");
    const part = digits({ seed: 5, trainCount: 100, testCount: 50 }).select("120:125,97:103");
    part.indices.forEach((index, row) => {
      const at = index - 90;
      expect(part.labels[row]).toBe(whole.labels[at]);
      expect(part.images.subarray(row * 784, row * 784 + 784)).toEqual(whole.images.subarray(at * 784, at * 784 + 784));
    });
  });

  it("differ between seeds and between images", () => {
    const hash = (seed: number, ranges: string) =>
      createHash("sha256").update(digits({ seed }).select(ranges).images).digest("hex");
    expect(new Set([hash(0, "0:1"), hash(1, "0:1"), hash(0, "1:2"), hash(2 ** 40, "0:1")]).size).toBe(4);
  });

  it("are grey levels of 8 bits, with ink within and blank borders", () => {
    const { images } = digits({ seed: 3 }).select("0:500");
    for (const value of images) expect(Math.fround(Math.round(value * 255) / 255)).toBe(value);
    for (let image = 0; image < 500; image++) {
      const one = images.subarray(image * 784, image * 784 + 784);
      expect(Math.max(...one)).toBeGreaterThan(0.4);
      expect(one.reduce((sum, value) => sum + value, 0)).toBeGreaterThan(10);
      const border = one.filter((_, p) => p < 28 || p >= 27 * 28 || p % 28 === 0 || p % 28 === 27);
      expect(Math.max(...border)).toBe(0);
    }
  });

  it("come in every class about equally often", () => {
    const counts = new Array<number>(10).fill(0);
    for (const label of digits({ seed: 9 }).labels) counts[label] = (counts[label] ?? 0) + 1;
    // Five standard deviations of a binomial count.
    for (const count of counts) expect(Math.abs(count - 7000)).toBeLessThan(5 * Math.sqrt(7000 * 0.9));
  });

  it("can be told apart by their nearest neighbours, and not all of them", () => {
    const data = digits();
    const test = data.select("60000:60500");
    const guesses = nearestNeighbour(data.select("0:1000"), test, 784);
    const errors = guesses.filter((guess, row) => guess !== test.labels[row]).length;
    expect(errors / 5).toBeGreaterThan(2);
    expect(errors / 5).toBeLessThan(10);
  });

  it("come in other sizes, as the same drawings", () => {
    const small = digits({ size: 14 }).select("0:20");
    const large = digits({ size: 56 }).select("0:20");
    expect(small.images.length).toBe(20 * 196);
    expect(large.images.length).toBe(20 * 3136);
    const mean = (images: Float32Array) => images.reduce((sum, value) => sum + value, 0) / images.length;
    expect(Math.abs(mean(small.images) / mean(large.images) - 1)).toBeLessThan(0.05);
    expect(large.labels).toEqual(small.labels);
  });

  it("have a SHA-256 that follows seed, size and counts", async () => {
    const hashes = await Promise.all(
      [{}, { seed: 1 }, { size: 14 }, { trainCount: 5 }, { testCount: 5 }].map(async (o) => digits(o).sha256()),
    );
    expect(new Set(hashes).size).toBe(5);
    expect(await digits({ seed: 0, size: 28 }).sha256()).toBe(hashes[0]);
  });

  it.each([
    [{ size: 0 }, /size must be an integer of at least 8, not 0/],
    [{ size: 28.5 }, /size/],
    [{ trainCount: -1 }, /trainCount/],
    [{ testCount: NaN }, /testCount/],
    [{ seed: -1 }, /seed/],
  ])("refuse %j", (options, message) => {
    expect(() => digits(options)).toThrow(expect.objectContaining({ code: "E_CONFIG" }) as Error);
    expect(() => digits(options)).toThrow(message);
  });
});
