import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { freshSeed } from "../../test/seed.ts";
import { RandomStream } from "../engine/rng.ts";
import { datasetSource } from "./batch-source.ts";
import { batches } from "./batches.ts";
import { fromArrays } from "./dataset.ts";
import { Resizer } from "./resize.ts";

const seed = freshSeed();
const sizes = fc.integer({ min: 1, max: 20 });

/** Weights of one output pixel over all inputs: a triangle around its centre, in float64. */
function weightsOf(inputs: number, outputs: number, output: number): number[] {
  const scale = inputs / outputs;
  const support = Math.max(1, scale);
  const centre = (output + 0.5) * scale;
  const weights = Array.from({ length: inputs }, (_, i) => Math.max(0, 1 - Math.abs(i + 0.5 - centre) / support));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

function scaled(image: Uint8Array, height: number, width: number, side: number): Uint8Array {
  const out = new Uint8Array(side * side);
  new Resizer(height, width, side).plane(image, 0, out, 0);
  return out;
}

describe("scaling an image", () => {
  it("is bilinear with pixel centres at halves, within the rounding of rows and columns to bytes", () => {
    fc.assert(
      fc.property(sizes, sizes, sizes, fc.nat(), (height, width, side, imageSeed) => {
        const random = new RandomStream(imageSeed, "resize.test");
        const image = Uint8Array.from({ length: height * width }, () => random.below(256));
        const out = scaled(image, height, width, side);
        let worst = 0;
        for (let y = 0; y < side; y++) {
          const down = weightsOf(height, side, y);
          for (let x = 0; x < side; x++) {
            const across = weightsOf(width, side, x);
            let expected = 0;
            for (let i = 0; i < height; i++)
              for (let j = 0; j < width; j++)
                expected += (down[i] ?? 0) * (across[j] ?? 0) * (image[i * width + j] ?? 0);
            worst = Math.max(worst, Math.abs((out[y * side + x] ?? NaN) - expected));
          }
        }
        expect(worst).toBeLessThan(1.01);
      }),
      { seed, numRuns: 40 },
    );
  });

  it("to its own size changes nothing, and one colour stays that colour", () => {
    fc.assert(
      fc.property(sizes, fc.nat(255), fc.nat(), (side, colour, imageSeed) => {
        const random = new RandomStream(imageSeed, "resize.test");
        const image = Uint8Array.from({ length: side * side }, () => random.below(256));
        expect(scaled(image, side, side, side)).toEqual(image);
        const flat = new Uint8Array(side * side).fill(colour);
        expect(scaled(flat, side, side, 13)).toEqual(new Uint8Array(169).fill(colour));
      }),
      { seed, numRuns: 30 },
    );
  });

  it("from 2 to 4 pixels interpolates at a quarter and three quarters", () => {
    expect([...scaled(Uint8Array.of(0, 100, 0, 100), 2, 2, 4).subarray(0, 4)]).toEqual([0, 25, 75, 100]);
  });

  it("comes before all else in batches of a source that asks for it", async () => {
    const random = new RandomStream(seed, "resize.test");
    const [count, height, width] = [5, 6, 9];
    const images = Uint8Array.from({ length: count * 3 * height * width }, () => random.below(256));
    const labels = new Uint8Array(count);
    const dataset = fromArrays({ name: "svhn", shape: { channels: 3, height, width }, images, labels, trainCount: 3 });
    const source = datasetSource(dataset, { resize: 8 });
    expect(source.shape).toEqual({ channels: 3, height: 8, width: 8 });
    const order = Uint32Array.of(4, 0, 3);
    const plan = { source, order, batch: 3, augment: true, seed, epoch: 0, workers: 0 };
    const { value: batch } = await batches(plan).next();
    const plane = height * width;
    const expected = [...order].flatMap((index) =>
      [0, 1, 2].flatMap((channel) => {
        const at = (index * 3 + channel) * plane;
        return Array.from(scaled(images.subarray(at, at + plane), height, width, 8), (byte) => Math.fround(byte / 255));
      }),
    );
    expect([...(batch?.images ?? [])]).toEqual(expected);
    expect(() => datasetSource(dataset, { resize: 0 })).toThrow("cannot be scaled to 0 pixels");
    const floats = fromArrays({
      shape: { channels: 1, height: 2, width: 2 },
      images: new Float32Array(4),
      labels: [0],
    });
    expect(() => datasetSource(floats, { resize: 8 })).toThrow("only images of bytes");
  });
});
