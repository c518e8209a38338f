/** Channels of mean 0 and standard deviation 1 over all pixels of many images, from what their spectra say. */
import type { ImageShape } from "../dataset.ts";

/** Of the pixels of one channel. */
export interface Standard {
  readonly mean: number;
  readonly deviation: number;
}

/**
 * Statistics of each channel's pixels from the means and mean squares, over the images, of the entries of their orthonormal
 * DCT [channels, height, width]: a plane's sum is its first entry times sqrt(hw), and its sum of squares is its
 * spectrum's (Parseval). No image need be made for it. The deviation is that of all numbers (divided by their count).
 */
export function standardsOf(
  means: Float64Array,
  squares: Float64Array,
  { channels, height, width }: ImageShape,
): readonly Standard[] {
  const plane = height * width;
  return Array.from({ length: channels }, (_, channel) => {
    const mean = (means[channel * plane] as number) / Math.sqrt(plane);
    let square = 0;
    for (let k = channel * plane; k < (channel + 1) * plane; k++) square += squares[k] as number;
    const variance = square / plane - mean ** 2;
    // A channel without variance has only zeros to be divided.
    return { mean, deviation: variance > 0 ? Math.sqrt(variance) : 1 };
  });
}

/** Takes a plane's channel mean out and divides by its deviation. */
export function standardise(plane: Float64Array, { mean, deviation }: Standard): void {
  for (let i = 0; i < plane.length; i++) plane[i] = ((plane[i] as number) - mean) / deviation;
}
