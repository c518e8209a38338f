/** Sums, moments and affine maps of channels, against float64 loops. */
import { channelAffine, channelMoments, channelSums } from "../kernels/channels.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, sample, worst, type Case, type Row } from "./row.ts";

type Sizes = readonly [batch: number, channels: number, pixels: number];

/** Numbers that are checked of arrays that are only timed. */
const CHECKED = 100_003;

const SIZES: readonly Sizes[] = [
  [1, 1, 1],
  [0, 5, 7],
  [3, 0, 5],
  [3, 5, 0],
  [1, 1009, 1],
  [64, 67, 1],
  [9, 1031, 1],
  [8, 5003, 1],
  [4099, 3, 1],
  [1, 1, 259],
  [5, 131, 2],
  [17, 37, 4],
  [33, 7, 31],
  [5, 3, 63],
  [3, 7, 64],
  [2, 5, 65],
  [11, 3, 131],
  [2, 3, 16411],
  [1, 1, 300_007],
];

/** The places of channel c in an array. */
function* placesOf([batch, channels, pixels]: Sizes, c: number): Generator<number> {
  for (let n = 0; n < batch; n++) {
    for (let p = 0; p < pixels; p++) yield (n * channels + c) * pixels + p;
  }
}

function sumsCase(random: RandomStream, sizes: Sizes, products: 0 | 1): Case {
  const [batch, channels, pixels] = sizes;
  const count = batch * channels * pixels;
  const a = normals(random, count);
  const b = normals(random, products * count + products).subarray(products);
  const centre = normals(random, products * channels);
  const checked = sample(random, channels, Math.ceil(CHECKED / Math.max(1, batch * pixels)));
  return {
    name: `${products === 1 ? "sums with products" : "sums"} of ${sizes.join(" x ")}`,
    buffers: { a, b, centre, out: 4 * (1 + products) * channels },
    launches: [launch(channelSums, { batch, channels, pixels, products }, ["a", "b", "centre", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(checked.length, (index) => {
        const c = checked[index] ?? 0;
        let [sum, size, product, productSize] = [0, 0, 0, 0];
        for (const at of placesOf(sizes, c)) {
          const value = a[at] ?? NaN;
          sum += value;
          size += Math.abs(value);
          if (products === 0) continue;
          product += value * ((b[at] ?? NaN) - (centre[c] ?? NaN));
          productSize += Math.abs(value) * (Math.abs(b[at] ?? NaN) + Math.abs(centre[c] ?? NaN));
        }
        const error = errorOf(actual[c], sum, size);
        return products === 0 ? error : Math.max(error, errorOf(actual[channels + c], product, productSize));
      });
    },
  };
}

/** Values far from 0 and close together, as far as `spread` says. */
function momentsCase(random: RandomStream, sizes: Sizes, centre: number, spread: number): Case {
  const [batch, channels, pixels] = sizes;
  const a = normals(random, batch * channels * pixels).map((value) => centre + spread * value);
  const checked = sample(random, channels, Math.ceil(CHECKED / Math.max(1, batch * pixels)));
  return {
    name: `moments of ${sizes.join(" x ")}, ${centre} +- ${spread}`,
    buffers: { a, out: 8 * channels },
    launches: [launch(channelMoments, { batch, channels, pixels }, ["a", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(checked.length, (index) => {
        const c = checked[index] ?? 0;
        const count = Math.max(1, batch * pixels);
        let [mean, size, variance] = [0, 0, 0];
        for (const at of placesOf(sizes, c)) {
          mean += (a[at] ?? NaN) / count;
          size += Math.abs(a[at] ?? NaN) / count;
        }
        for (const at of placesOf(sizes, c)) variance += ((a[at] ?? NaN) - mean) ** 2 / count;
        return Math.max(errorOf(actual[c], mean, size), errorOf(actual[channels + c], variance, variance));
      });
    },
  };
}

function affineCase(random: RandomStream, sizes: Sizes, useB: 0 | 1): Case {
  const [batch, channels, pixels] = sizes;
  const count = batch * channels * pixels;
  const a = normals(random, count);
  const b = normals(random, useB * count + useB).subarray(useB);
  const coefficients = normals(random, (2 + useB) * channels);
  const places = sample(random, count, CHECKED);
  return {
    name: `affine of ${sizes.join(" x ")}${useB === 1 ? " with b" : ""}`,
    buffers: { a, b, coefficients, out: 4 * count },
    launches: [launch(channelAffine, { batch, channels, pixels, useB }, ["a", "b", "coefficients", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(places.length, (index) => {
        const at = places[index] ?? 0;
        const c = Math.floor(at / pixels) % channels;
        const first = (coefficients[c] ?? NaN) * (a[at] ?? NaN);
        const second = useB === 1 ? (coefficients[channels + c] ?? NaN) * (b[at] ?? NaN) : 0;
        const third = coefficients[(1 + useB) * channels + c] ?? NaN;
        return errorOf(actual[at], first + second + third, Math.abs(first) + Math.abs(second) + Math.abs(third));
      });
    },
  };
}

const largeSizes = (level: number): Sizes => [4 ** (1 + level), 32, 1156];

export const channelRows: readonly Row[] = [
  {
    kernel: channelSums as unknown as KernelSchema,
    measure: "the sum of the terms' magnitudes, |a| and |a| (|b| + |centre|)",
    tolerance: 2e-6,
    reason:
      "32 u, u = 2^-24: at most 8 terms in a running sum, 8 parts of a short plane, one rounding for each level of the " +
      "pairwise tree and four of the lanes, and two of a product pass through any term.",
    unit: "GB/s",
    *cases(random) {
      for (const sizes of SIZES) {
        yield sumsCase(random, sizes, 0);
        yield sumsCase(random, sizes, 1);
      }
    },
    large(level, random) {
      const sizes = largeSizes(level);
      const work = (4 * sizes[0] * sizes[1] * sizes[2]) / 1e9;
      return level > 1 ? undefined : { ...sumsCase(random, sizes, 0), work };
    },
  },
  {
    kernel: channelMoments as unknown as KernelSchema,
    measure: "the mean magnitude (mean) and the variance itself",
    tolerance: 3e-6,
    reason:
      "the sums' 32 u (2e-6), of squares that hold two roundings more; the mean that deviations are taken from may be any " +
      "near the true one, since it is put right.",
    unit: "GB/s",
    *cases(random) {
      for (const sizes of SIZES) {
        yield momentsCase(random, sizes, 0, 1);
        yield momentsCase(random, sizes, 1000, 0.01);
      }
    },
    large(level, random) {
      const sizes = largeSizes(level);
      const work = (4 * sizes[0] * sizes[1] * sizes[2]) / 1e9;
      return level > 1 ? undefined : { ...momentsCase(random, sizes, 0, 1), work };
    },
  },
  {
    kernel: channelAffine as unknown as KernelSchema,
    measure: "the sum of the three terms' magnitudes",
    tolerance: 5e-7,
    reason:
      "four roundings of one unit in the last place (2^-23) each: WGSL may round either way, wasm rounds to nearest.",
    unit: "GB/s",
    *cases(random) {
      for (const sizes of SIZES) {
        yield affineCase(random, sizes, 0);
        yield affineCase(random, sizes, 1);
      }
    },
    large(level, random) {
      const sizes = largeSizes(level);
      const work = (12 * sizes[0] * sizes[1] * sizes[2]) / 1e9;
      return level > 1 ? undefined : { ...affineCase(random, sizes, 1), work };
    },
  },
];
