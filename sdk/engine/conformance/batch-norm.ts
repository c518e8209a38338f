/** The small arithmetic of batch normalisation, against float64. */
import { batchNormBack, batchNormFold } from "../kernels/batch-norm.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, worst, type Case, type Row } from "./row.ts";

const CHANNELS = [0, 1, 3, 5, 64, 67, 1025, 5003] as const;
const EPSILON = Math.fround(1e-5);

/** Means of any sign, and behind them variances of many magnitudes. */
function momentsOf(random: RandomStream, channels: number): Float32Array<ArrayBuffer> {
  return normals(random, 2 * channels).map((value, i) => (i < channels ? value : Math.exp(3 * value)));
}

function foldCase(random: RandomStream, channels: number, count: number, momentum: number): Case {
  const moments = momentsOf(random, channels);
  const scale = normals(random, channels);
  const shift = normals(random, channels);
  const running = normals(random, momentum > 0 ? 2 * channels : 1);
  const params = { channels, count, epsilon: EPSILON, momentum: Math.fround(momentum) };
  return {
    name: `fold of ${channels} channels, count ${count}, momentum ${momentum}`,
    buffers: { moments, scale, shift, running, coefficients: 8 * channels },
    launches: [launch(batchNormFold, params, ["moments", "scale", "shift", "running", "coefficients"])],
    outputs: ["running", "coefficients"],
    check: (output) => {
      const coefficients = new Float32Array(output("coefficients"));
      const updated = new Float32Array(output("running"));
      const keep = 1 - params.momentum;
      if (momentum === 0 && updated[0] !== running[0]) return Infinity;
      return worst(channels, (c) => {
        const [mean, variance] = [moments[c] ?? NaN, moments[channels + c] ?? NaN];
        const s = (scale[c] ?? NaN) / Math.sqrt(variance + EPSILON);
        const offset = shift[c] ?? NaN;
        const errors = [
          errorOf(coefficients[c], s, Math.abs(s)),
          errorOf(coefficients[channels + c], offset - mean * s, Math.abs(offset) + Math.abs(mean * s)),
        ];
        if (momentum > 0) {
          const unbiased = variance * (count / Math.max(1, count - 1));
          for (const [at, value] of [[c, mean] as const, [channels + c, unbiased] as const]) {
            const [first, second] = [keep * (running[at] ?? NaN), params.momentum * value];
            errors.push(errorOf(updated[at], first + second, Math.abs(first) + Math.abs(second)));
          }
        }
        return worst(errors.length, (i) => errors[i] ?? NaN);
      });
    },
  };
}

function backCase(random: RandomStream, channels: number, count: number): Case {
  const sums = normals(random, 2 * channels);
  const moments = momentsOf(random, channels);
  const scale = normals(random, channels);
  const params = { channels, count, epsilon: EPSILON };
  return {
    name: `back of ${channels} channels, count ${count}`,
    buffers: { sums, moments, scale, coefficients: 12 * channels, gradients: 8 * channels },
    launches: [launch(batchNormBack, params, ["sums", "moments", "scale", "coefficients", "gradients"])],
    outputs: ["coefficients", "gradients"],
    check: (output) => {
      const coefficients = new Float32Array(output("coefficients"));
      const gradients = new Float32Array(output("gradients"));
      return worst(channels, (c) => {
        const [sum, product] = [sums[c] ?? NaN, sums[channels + c] ?? NaN];
        const r = 1 / Math.sqrt((moments[channels + c] ?? NaN) + EPSILON);
        const s = (scale[c] ?? NaN) * r;
        const share = count === 0 ? 0 : 1 / count;
        const t = -s * r * r * product * share;
        const [first, second] = [-s * sum * share, -t * (moments[c] ?? NaN)];
        const errors = [
          errorOf(coefficients[c], s, Math.abs(s)),
          errorOf(coefficients[channels + c], t, Math.abs(t)),
          errorOf(coefficients[2 * channels + c], first + second, Math.abs(first) + Math.abs(second)),
          errorOf(gradients[c], r * product, Math.abs(r * product)),
          errorOf(gradients[channels + c], sum, 0),
        ];
        return worst(errors.length, (i) => errors[i] ?? NaN);
      });
    },
  };
}

export const batchNormRows: readonly Row[] = [
  {
    kernel: batchNormFold as unknown as KernelSchema,
    measure: "the sum of the terms' magnitudes",
    tolerance: 1.5e-6,
    reason:
      "twelve units in the last place (2^-23): WGSL grants a division 2.5, a square root 3 (its own division and inverse " +
      "root), and each product and sum one; wasm rounds once from float64.",
    unit: "Gchannels/s",
    *cases(random) {
      for (const channels of CHANNELS) {
        yield foldCase(random, channels, 1 + random.below(9), 0.1);
        yield foldCase(random, channels, 1 + random.below(2 ** 20), 1);
        yield foldCase(random, channels, 1 + random.below(2 ** 20), 0);
      }
      yield foldCase(random, 7, 1, 0.1);
    },
    large(level, random) {
      const channels = 4096 * 16 ** level;
      return level > 1 ? undefined : { ...foldCase(random, channels, 777, 0.1), work: channels / 1e9 };
    },
  },
  {
    kernel: batchNormBack as unknown as KernelSchema,
    measure: "the sum of the terms' magnitudes",
    tolerance: 3e-6,
    reason:
      "25 units in the last place (2^-23): WGSL grants 1 / sqrt(x) 5.5, of which the coefficient t holds three, and each " +
      "product and division up to 2.5; wasm rounds once from float64.",
    unit: "Gchannels/s",
    *cases(random) {
      for (const channels of CHANNELS) yield backCase(random, channels, 1 + random.below(2 ** 20));
      yield backCase(random, 7, 0);
    },
    large(level, random) {
      const channels = 4096 * 16 ** level;
      return level > 1 ? undefined : { ...backCase(random, channels, 777), work: channels / 1e9 };
    },
  },
];
