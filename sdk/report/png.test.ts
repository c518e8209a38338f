import { crc32, inflateSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ImageShape } from "../data/dataset.ts";
import { WidefieldError } from "../errors.ts";
import { pngDataUri } from "./png.ts";

interface Decoded {
  readonly width: number;
  readonly height: number;
  readonly samples: number;
  readonly bytes: number[];
}

/** Reads what `pngDataUri` writes (8 bits a sample, no filter), checking every length and CRC on the way. */
function decode(uri: string): Decoded {
  const file = Buffer.from(uri.replace(/^data:image\/png;base64,/, ""), "base64");
  expect(file.subarray(0, 8).toString("latin1")).toBe("\x89PNG\r\n\x1a\n");
  const chunks = new Map<string, Buffer>();
  let at = 8;
  while (at < file.length) {
    const length = file.readUInt32BE(at);
    const body = file.subarray(at + 4, at + 8 + length);
    expect(file.readUInt32BE(at + 8 + length)).toBe(crc32(body));
    chunks.set(body.toString("latin1", 0, 4), body.subarray(4));
    at += 12 + length;
  }
  expect(at).toBe(file.length);
  expect([...chunks.keys()]).toEqual(["IHDR", "IDAT", "IEND"]);
  const header = chunks.get("IHDR") ?? Buffer.alloc(13);
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  expect([...header.subarray(8)]).toEqual([8, header[9], 0, 0, 0]);
  const samples = header[9] === 2 ? 3 : 1;
  const rows = inflateSync(chunks.get("IDAT") ?? Buffer.alloc(0));
  const stride = 1 + samples * width;
  expect(rows.length).toBe(height * stride);
  for (let row = 0; row < height; row++) expect(rows[row * stride]).toBe(0);
  return { width, height, samples, bytes: [...rows].filter((_, i) => i % stride !== 0) };
}

const shapes = fc.record({
  channels: fc.constantFrom(1, 2, 3, 4),
  height: fc.integer({ min: 1, max: 31 }),
  width: fc.integer({ min: 1, max: 31 }),
});

describe("pngDataUri", () => {
  it("holds every pixel: three channels in colour, others as their mean", async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })), async (shape, values) => {
        const { channels, height, width } = shape;
        const image = Float32Array.from({ length: channels * height * width }, () => values.next().value as number);
        const png = decode(await pngDataUri(image, shape));
        expect([png.width, png.height, png.samples]).toEqual([width, height, channels === 3 ? 3 : 1]);
        const pixels = height * width;
        for (let pixel = 0; pixel < pixels; pixel++) {
          const own = Array.from({ length: channels }, (_, c) => image[c * pixels + pixel] ?? Number.NaN);
          const grey = own.reduce((sum, value) => sum + value, 0) / channels;
          const expected = (channels === 3 ? own : [grey]).map((value) => Math.round(255 * value));
          expect(png.bytes.slice(pixel * png.samples, (pixel + 1) * png.samples)).toEqual(expected);
        }
      }),
      { numRuns: 30 },
    );
  });

  it("stretches intensities beyond [0, 1], as of standardised images, to black and white", async () => {
    const image = Float32Array.of(-2, 0, 3);
    expect(decode(await pngDataUri(image, { channels: 1, height: 1, width: 3 })).bytes).toEqual([0, 102, 255]);
  });

  it("refuses an image of another size than its shape", async () => {
    const shape: ImageShape = { channels: 1, height: 2, width: 2 };
    await expect(pngDataUri(new Float32Array(5), shape)).rejects.toThrow(
      new WidefieldError("E_SHAPE", "an image of 5 values is not 1 x 2 x 2"),
    );
  });
});
