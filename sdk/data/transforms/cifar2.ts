/**
 * CIFAR-2: the cats and the airplanes of CIFAR-10 in grey, the two-class problem of arXiv 2006.13409 (appendix A). The
 * weights are those of scikit-image's `rgb2gray`.
 */
import { WidefieldError } from "../../errors.ts";
import { sha256 } from "../../platform/digest.ts";
import { Dataset, shapeText } from "../dataset.ts";

const [RED, GREEN, BLUE] = [0.2125, 0.7154, 0.0721] as const;

/** Part of the digests. */
const VERSION = 1;

/** CIFAR-10's number of a class, and the label that it gets. */
const LABELS: ReadonlyMap<number, number> = new Map([
  [3, 0], // cat
  [0, 1], // airplane
]);

/**
 * Colour images as one channel, 0.2125 R + 0.7154 G + 0.0721 B.
 *
 * @throws WidefieldError E_SHAPE for images that do not have three channels
 */
export function grey(source: Dataset): Dataset {
  const { channels, height, width } = source.shape;
  if (channels !== 3)
    throw new WidefieldError(
      "E_SHAPE",
      `${source.name}: grey is made of red, green and blue, not of ${shapeText(source.shape)}`,
    );
  const pixels = height * width;
  return new Dataset({
    name: `${source.name} in grey`,
    shape: { channels: 1, height, width },
    classes: source.classes,
    trainCount: source.trainCount,
    testCount: source.testCount,
    labels: source.labels,
    bytes: source.bytes,
    writeImage: (index, out, offset) => {
      const { images } = source.selectFloat64([{ start: index, end: index + 1 }]);
      for (let i = 0; i < pixels; i++) {
        const [red, green, blue] = [images[i] ?? NaN, images[pixels + i] ?? NaN, images[2 * pixels + i] ?? NaN];
        out[offset + i] = RED * red + GREEN * green + BLUE * blue;
      }
    },
    digest: async () => sha256(JSON.stringify({ transform: "grey", version: VERSION, source: await source.sha256() })),
  });
}

/**
 * The cats (label 0) and airplanes (label 1) of CIFAR-10, in grey, in their order: of all 60,000 images, 10,000 for
 * training and 2,000 for tests.
 *
 * @throws WidefieldError E_SHAPE for images that do not have three channels, E_DATA where either class is missing
 */
export function cifar2(cifar10: Dataset): Dataset {
  const source = grey(cifar10);
  const chosen: number[] = [];
  cifar10.labels.forEach((label, index) => {
    if (LABELS.has(label)) chosen.push(index);
  });
  const labels = Int32Array.from(chosen, (index) => LABELS.get(cifar10.labels[index] ?? NaN) ?? NaN);
  for (const [label, what] of [
    [0, "cats (class 3)"],
    [1, "airplanes (class 0)"],
  ] as const) {
    if (labels.includes(label)) continue;
    throw new WidefieldError("E_DATA", `${cifar10.name} holds no ${what}, and cifar2 is made of cats and airplanes`);
  }
  const trainCount = chosen.filter((index) => index < cifar10.trainCount).length;
  return new Dataset({
    name: "cifar2",
    shape: source.shape,
    classes: 2,
    trainCount,
    testCount: chosen.length - trainCount,
    labels,
    bytes: source.bytes,
    writeImage: (index, out, offset) => {
      const start = chosen[index] ?? NaN;
      out.set(source.selectFloat64([{ start, end: start + 1 }]).images, offset);
    },
    digest: async () =>
      sha256(JSON.stringify({ transform: "cifar2", version: VERSION, source: await source.sha256() })),
  });
}
