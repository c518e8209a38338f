/** Small datasets for tests of transforms. */
import type { RandomStream } from "../../engine/rng.ts";
import { type Dataset, fromArrays, imageFloats, type ImageShape } from "../dataset.ts";
import { Dct2 } from "./dct.ts";

/** Bytes by a formula, which the NumPy program that made the tests' literals repeats. */
export function formulaImages(count: number, trainCount: number, shape: ImageShape): Dataset {
  const floats = imageFloats(shape);
  const images = Uint8Array.from({ length: count * floats }, (_, at) => {
    const [i, p] = [Math.floor(at / floats), at % floats];
    return (37 * i * i + 11 * p * (i + 1) + ((p * p) % 23) * ((i % 5) + 1)) % 256;
  });
  return fromArrays({ name: "formula", shape, images, labels: new Int32Array(count), classes: 10, trainCount });
}

/** Images whose pixels are neighbours' averages of noise, so that their spectra are far from white. */
export function smoothImages(random: RandomStream, count: number, trainCount: number, shape: ImageShape): Dataset {
  const floats = imageFloats(shape);
  const images = new Float32Array(count * floats);
  for (let i = 0; i < count; i++) {
    let value = 0;
    for (let p = 0; p < floats; p++) {
      value = 0.8 * value + 0.2 * random.uniform();
      images[i * floats + p] = value;
    }
  }
  const labels = Int32Array.from({ length: count }, () => random.below(3));
  return fromArrays({ name: "smooth", shape, images, labels, classes: 3, trainCount });
}

/** [n, channels, height, width]: all images of a dataset. */
export function imagesOf(dataset: Dataset): Float64Array {
  return dataset.selectFloat64(`0:${dataset.count}`).images;
}

/** The spectra of images, plane by plane, in their place. */
export function spectraOf(images: Float64Array, { height, width }: ImageShape): Float64Array {
  const dct = new Dct2(height, width);
  for (let at = 0; at < images.length; at += height * width) dct.forward(images, at);
  return images;
}

/** Largest difference between two arrays of one length; NaN where the lengths differ. */
export function worstDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = a.length === b.length ? 0 : NaN;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] ?? NaN) - (b[i] ?? NaN));
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}
