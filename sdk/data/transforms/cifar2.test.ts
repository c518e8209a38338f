import { describe, expect, it } from "vitest";
import { RandomStream } from "../../engine/rng.ts";
import { freshSeed } from "../../../test/seed.ts";
import { fromArrays } from "../dataset.ts";
import { cifar2, grey } from "./cifar2.ts";

const random = new RandomStream(freshSeed(), "cifar2.test");
const SHAPE = { channels: 3, height: 2, width: 3 };

function colours(labels: readonly number[], trainCount: number) {
  const images = Uint8Array.from({ length: labels.length * 18 }, () => random.below(256));
  return { images, dataset: fromArrays({ name: "colours", shape: SHAPE, images, labels, classes: 10, trainCount }) };
}

describe("grey", () => {
  it("is 0.2125 R + 0.7154 G + 0.0721 B of every pixel, and white stays white", () => {
    const { images, dataset } = colours([0, 1, 2], 2);
    const { images: found } = grey(dataset).selectFloat64("0:3");
    for (let image = 0; image < 3; image++) {
      for (let pixel = 0; pixel < 6; pixel++) {
        const [r, g, b] = [0, 6, 12].map((plane) => (images[image * 18 + plane + pixel] ?? NaN) / 255);
        const wanted = 0.2125 * (r ?? NaN) + 0.7154 * (g ?? NaN) + 0.0721 * (b ?? NaN);
        expect(found[image * 6 + pixel]).toBeCloseTo(wanted, 15);
      }
    }
    const white = fromArrays({ shape: SHAPE, images: new Uint8Array(18).fill(255), labels: [0] });
    expect(
      grey(white)
        .selectFloat64("0:1")
        .images.every((value) => Math.abs(value - 1) < 1e-15),
    ).toBe(true);
  });

  it("refuses images without red, green and blue", () => {
    const images = new Uint8Array(4);
    expect(() => grey(fromArrays({ shape: { channels: 1, height: 2, width: 2 }, images, labels: [0] }))).toThrow(
      /2 x 2/,
    );
  });
});

describe("cifar2", () => {
  it("is the cats as 0 and the airplanes as 1, in their order, training images first", async () => {
    const { dataset } = colours([3, 1, 0, 9, 3, 0, 5, 3], 5);
    const found = cifar2(dataset);
    expect(found).toMatchObject({
      classes: 2,
      trainCount: 3,
      testCount: 2,
      shape: { channels: 1, height: 2, width: 3 },
    });
    expect([...found.labels]).toEqual([0, 1, 0, 1, 0]);
    expect(found.selectFloat64("1:4").images).toEqual(grey(dataset).selectFloat64("2:3,4:6").images);
    expect(await found.sha256()).toMatch(/^[0-9a-f]{64}$/);
    expect(await found.sha256()).not.toBe(await grey(dataset).sha256());
  });

  it("refuses data without either class", () => {
    expect(() => cifar2(colours([3, 1, 3], 2).dataset)).toThrow(/no airplanes \(class 0\)/);
    expect(() => cifar2(colours([0, 1], 2).dataset)).toThrow(/no cats \(class 3\)/);
  });
});
