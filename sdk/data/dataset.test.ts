import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomBytes } from "../../test/idx-files.ts";
import { RandomStream } from "../engine/rng.ts";
import { type ArrayContent, checkFinite, fromArrays } from "./dataset.ts";

const shape = { channels: 3, height: 5, width: 2 };

function floats(n: number, seed = 1): Float32Array {
  return new RandomStream(seed, "floats").fillUniform(new Float32Array(n * 30));
}

function content(n: number, changes: Partial<ArrayContent> = {}): ArrayContent {
  return { shape, images: floats(n), labels: randomBytes(2, "labels", n, 4), classes: 4, ...changes };
}

const failsWith = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "WidefieldError", code, message: expect.stringMatching(message) as string }) as Error;

describe("a dataset", () => {
  it("has one index space, training images first", () => {
    const data = fromArrays(content(11, { trainCount: 7 }));
    expect(data).toMatchObject({ count: 11, trainCount: 7, testCount: 4, imageFloats: 30, classes: 4, shape });
    expect(data.train).toEqual([{ start: 0, end: 7 }]);
    expect(data.test).toEqual([{ start: 7, end: 11 }]);
    expect(fromArrays(content(3)).test).toEqual([]);
    expect(fromArrays(content(3, { trainCount: 0 })).train).toEqual([]);
  });

  it("gives the images and labels of ranges in the order of the list, across training and test", () => {
    const given = content(11, { trainCount: 7 });
    const data = fromArrays(given);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 11 }), (a, b) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        fc.pre(low < high);
        const { images, labels, indices } = data.select(`${low}:${high},0:${low}`);
        expect(indices.length).toBe(high);
        expect(images.length).toBe(30 * high);
        indices.forEach((index, row) => {
          expect(index).toBe(row < high - low ? low + row : row - (high - low));
          expect(labels[row]).toBe(given.labels[index]);
          expect(images.subarray(30 * row, 30 * row + 30)).toEqual(given.images.subarray(30 * index, 30 * index + 30));
        });
      }),
    );
    expect(data.select([{ start: 10, end: 11 }])).toEqual(data.select("10:"));
  });

  it("refuses ranges beyond its images", () => {
    expect(() => fromArrays(content(11)).select("3:12")).toThrow(failsWith("E_RANGE", /valid bounds are 0:11/));
    expect(() => fromArrays(content(11)).select([{ start: 3, end: 3 }])).toThrow(failsWith("E_RANGE", /empty/));
  });

  it("divides bytes by 255, correctly rounded to float32", () => {
    const images = Uint8Array.from({ length: 256 }, (_, i) => i);
    const data = fromArrays({ shape: { channels: 1, height: 16, width: 16 }, images, labels: [0] });
    const selected = data.select(":").images;
    selected.forEach((value, byte) => expect(value).toBe(Math.fround(byte / 255)));
    expect(selected[255]).toBe(1);
  });

  it("hands out fresh arrays", () => {
    const data = fromArrays(content(4));
    const before = data.select("0:2").images.slice();
    data.select("0:2").images.fill(9);
    expect(data.select("0:2").images).toEqual(before);
  });

  it.each([NaN, Infinity, -Infinity])("refuses a pixel that is %d with the index of image and pixel", (value) => {
    const images = floats(6);
    images[4 * 30 + 17] = value;
    expect(() => fromArrays(content(6, { images }))).toThrow(
      failsWith("E_DATA", /image 4, pixel 17 \(channel 1, row 3, column 1\) is (NaN|-?Infinity)/),
    );
    expect(() => checkFinite(images, shape, "x")).toThrow(
      expect.objectContaining({ details: { image: 4, pixel: 17, channel: 1, row: 3, column: 1 } }) as Error,
    );
  });

  it("refuses images and labels of different counts with both", () => {
    expect(() => fromArrays(content(6, { labels: [0, 1, 2, 3, 0] }))).toThrow(
      failsWith("E_SHAPE", /5 labels and images of 3 x 5 x 2 = 30 numbers need 150 numbers, not 180 \(6 images\)/),
    );
  });

  it("refuses labels that are no classes, with index and label", () => {
    expect(() => fromArrays(content(3, { labels: [0, 4, 0] }))).toThrow(failsWith("E_DATA", /label 1 is 4, .* 0\.\.3/));
    expect(() => fromArrays(content(3, { labels: [0, 1, -1] }))).toThrow(failsWith("E_DATA", /label 2 is -1/));
    expect(() => fromArrays(content(3, { labels: [0.5, 1, 1] }))).toThrow(failsWith("E_DATA", /label 0 is 0.5/));
    expect(() => fromArrays(content(3, { labels: [0, NaN, 1] }))).toThrow(failsWith("E_DATA", /label 1 is NaN/));
    expect(fromArrays({ shape, images: floats(3), labels: [0, 6, 2] }).classes).toBe(7);
  });

  it("refuses a shape without pixels and a split that is not there", () => {
    expect(() => fromArrays(content(1, { shape: { channels: 1, height: 0, width: 5 } }))).toThrow(
      failsWith("E_SHAPE", /must be positive/),
    );
    expect(() => fromArrays(content(3, { trainCount: 4 }))).toThrow(failsWith("E_SHAPE", /trainCount is 4.* 3 images/));
  });
});

describe("a dataset's SHA-256", () => {
  const given = { shape, images: randomBytes(3, "images", 180), labels: [0, 1, 2, 1, 0, 2], classes: 3, trainCount: 4 };

  it("is that of one line of JSON and the digests of training images, test images and labels", async () => {
    const hash = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");
    const head = '{"pixels":"uint8","channels":3,"height":5,"width":2,"classes":3,"trainCount":4,"testCount":2}';
    const labels = new Uint8Array(Int32Array.from(given.labels).buffer);
    const parts = [given.images.subarray(0, 120), given.images.subarray(120), labels].map(hash);
    expect(await fromArrays(given).sha256()).toBe(hash([head, ...parts].join("\n")));
    // Pixels in float64 are told apart, and those of the older types have the digests that they always had.
    const wide = fromArrays({ ...given, images: Float64Array.from(given.images) });
    expect(await wide.sha256()).not.toBe(await fromArrays(given).sha256());
    expect(wide.selectFloat64("0:1").images).toEqual(Float64Array.from(given.images).subarray(0, wide.imageFloats));
  });

  it("does not depend on the name, and on everything else", async () => {
    const own = await fromArrays(given).sha256();
    expect(await fromArrays({ ...given, name: "other" }).sha256()).toBe(own);
    const changedPixel = Uint8Array.from(given.images);
    changedPixel[179] = (changedPixel[179] ?? 0) ^ 1;
    const others = await Promise.all(
      [
        { images: changedPixel },
        { images: Float32Array.from(given.images, (byte) => byte / 255) },
        { labels: [0, 1, 2, 1, 0, 1] },
        { classes: 4 },
        { trainCount: 3 },
        { shape: { channels: 3, height: 2, width: 5 } },
      ].map(async (change) => fromArrays({ ...given, ...change }).sha256()),
    );
    expect(new Set([own, ...others]).size).toBe(7);
  });
});
