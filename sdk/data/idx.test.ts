import { describe, expect, it } from "vitest";
import { gzip, idxFile, randomBytes } from "../../test/idx-files.ts";
import { parseIdxImages, parseIdxLabels, unpackIdx } from "./idx.ts";

const pixels = randomBytes(1, "pixels", 5 * 7 * 3);
const images = idxFile([5, 7, 3], pixels);
const labels = idxFile([4], [3, 0, 9, 9]);

/** The same bytes inside a larger buffer, at an odd offset. */
function embedded(bytes: Uint8Array): Uint8Array {
  const larger = new Uint8Array(bytes.length + 9).fill(0xaa);
  larger.set(bytes, 3);
  return larger.subarray(3, 3 + bytes.length);
}

const dataError = (message: RegExp) =>
  expect.objectContaining({
    name: "WidefieldError",
    code: "E_DATA",
    message: expect.stringMatching(message) as string,
  }) as Error;

describe("an IDX file", () => {
  it("of images gives count, height, width and pixels, also as a view into other memory", () => {
    for (const bytes of [images, embedded(images)]) {
      const parsed = parseIdxImages(bytes, "images");
      expect(parsed).toMatchObject({ count: 5, height: 7, width: 3 });
      expect(parsed.pixels).toEqual(pixels);
    }
  });

  it("of labels gives the labels", () => {
    expect([...parseIdxLabels(embedded(labels), "labels", 10)]).toEqual([3, 0, 9, 9]);
  });

  it("may hold no images", () => {
    const parsed = parseIdxImages(idxFile([0, 28, 28], []), "none");
    expect(parsed).toMatchObject({ count: 0, height: 28, width: 28 });
    expect(parsed.pixels.length).toBe(0);
  });

  it("that is truncated is refused with both sizes", () => {
    expect(() => parseIdxImages(images.subarray(0, 100), "a/images")).toThrow(
      dataError(/^a\/images: truncated: it has 100 bytes, and 5 x 7 x 3 images take 121/),
    );
    expect(() => parseIdxLabels(labels.subarray(0, 9), "l", 10)).toThrow(
      dataError(/has 9 bytes, and 4 labels take 12/),
    );
    expect(() => parseIdxImages(images.subarray(0, 9), "i")).toThrow(dataError(/has 9 bytes, and its header.* 16/));
    expect(() => parseIdxImages(new Uint8Array(0), "i")).toThrow(dataError(/has 0 bytes, and its header.* 16/));
  });

  it("with bytes after its end is refused with both sizes", () => {
    const longer = new Uint8Array(images.length + 2);
    longer.set(images);
    expect(() => parseIdxImages(longer, "i")).toThrow(dataError(/it has 123 bytes, and .* take 121: 2 bytes too many/));
  });

  it("with another magic number is refused with both", () => {
    expect(() => parseIdxImages(labels, "x")).toThrow(
      dataError(/0x00000801 \(labels\).*0x00000803; are two files swapped/),
    );
    expect(() => parseIdxLabels(images, "x", 10)).toThrow(dataError(/0x00000803 \(images\).*0x00000801/));
    const floats = Uint8Array.from(images);
    floats[2] = 0x0d;
    expect(() => parseIdxImages(floats, "x")).toThrow(dataError(/0x00000d03.*0x00000803.*unsigned bytes/));
    expect(() => parseIdxImages(new TextEncoder().encode("<html>"), "x")).toThrow(dataError(/0x3c68746d/));
  });

  it("of images without pixels is refused", () => {
    expect(() => parseIdxImages(idxFile([5, 0, 28], []), "x")).toThrow(dataError(/its images are 0 x 28 pixels/));
  });

  it("with a label that is no class is refused with index and label", () => {
    expect(() => parseIdxLabels(idxFile([3], [9, 10, 11]), "l", 10)).toThrow(dataError(/label 1 is 10, not in 0\.\.9/));
    expect(() => parseIdxLabels(labels, "l", 4)).toThrow(dataError(/label 2 is 9, not in 0\.\.3/));
  });
});

describe("a packed IDX file", () => {
  it("is known by its content, whatever its name", async () => {
    for (const name of ["images.gz", "images", "images.idx"]) {
      expect(await unpackIdx(embedded(gzip(images)), name)).toEqual(images);
      expect(await unpackIdx(images, name)).toEqual(images);
    }
  });

  it("named .gz that is neither gzip nor IDX is refused with its first bytes", async () => {
    const page = new TextEncoder().encode("<html>not found</html>");
    await expect(unpackIdx(page, "d/images.gz")).rejects.toThrow(
      dataError(/^d\/images\.gz: it is named \.gz but is not gzip: it starts with 3c 68 74 6d, not 1f 8b/),
    );
    await expect(unpackIdx(new Uint8Array(0), "images.gz")).rejects.toThrow(dataError(/starts with nothing/));
  });

  it("that is cut short is refused with the sizes of what could be unpacked and of the whole", async () => {
    // Random bytes do not compress, so that cutting the packed file in half leaves its header readable.
    const large = idxFile([100, 28, 28], randomBytes(2, "large", 78_400));
    const packed = gzip(large);
    const error: unknown = await unpackIdx(packed.subarray(0, packed.length / 2), "x.gz").catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toEqual(dataError(/^x\.gz: .*damaged or cut short.*: \d+ of 78416 bytes could be unpacked/));
    expect(error).toHaveProperty("details.expectedBytes", 78_416);
  });

  it("that is cut anywhere is refused, also within its last eight bytes", async () => {
    const packed = gzip(images);
    for (let length = 2; length < packed.length; length++) {
      await expect(unpackIdx(packed.subarray(0, length), "x.gz")).rejects.toThrow(dataError(/damaged or cut short/));
    }
  });

  it("with any bit flipped beyond the header is refused", async () => {
    const packed = gzip(images);
    for (let byte = 10; byte < packed.length; byte++) {
      const damaged = Uint8Array.from(packed);
      damaged[byte] = (damaged[byte] ?? 0) ^ (1 << (byte % 8));
      await expect(unpackIdx(damaged, "x.gz").then((bytes) => parseIdxImages(bytes, "x.gz"))).rejects.toThrow(
        dataError(/^x\.gz: /),
      );
    }
  });

  it("followed by other bytes is refused", async () => {
    const packed = gzip(images);
    const followed = new Uint8Array(packed.length + 5);
    followed.set(packed);
    followed.fill(7, packed.length);
    await expect(unpackIdx(followed, "x.gz")).rejects.toThrow(dataError(/damaged or cut short/));
    const twice = new Uint8Array(2 * packed.length);
    twice.set(packed);
    twice.set(packed, packed.length);
    await expect(unpackIdx(twice, "x.gz")).rejects.toThrow(dataError(/damaged or cut short/));
  });
});
