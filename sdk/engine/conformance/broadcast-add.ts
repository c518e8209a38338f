/** a plus b repeated along some of three axes, against a float64 loop. */
import { broadcastAdd } from "../kernels/broadcast-add.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, sample, worst, type Case, type Row } from "./row.ts";

type Sizes = readonly [batch: number, channels: number, pixels: number];

/** Outputs that are checked of arrays that are only timed. */
const CHECKED = 100_003;

const SIZES: readonly Sizes[] = [
  [1, 1, 1],
  [0, 3, 5],
  [3, 0, 5],
  [3, 5, 0],
  [7, 11, 1],
  [1, 1, 259],
  [257, 3, 2],
  [5, 7, 49],
  [2, 3, 16411],
];

/** Along which axes b has entries of its own. */
const SHAPES = [
  [false, false, false],
  [false, true, false],
  [false, false, true],
  [true, false, true],
  [true, true, false],
  [true, true, true],
] as const;

function addCase(random: RandomStream, sizes: Sizes, own: readonly [boolean, boolean, boolean]): Case {
  const [batch, channels, pixels] = sizes;
  const alpha = Math.fround(random.normal());
  const beta = Math.fround(random.normal());
  const [rows, columns, depth] = sizes.map((size, axis) => (own[axis] === true ? size : 1)) as [number, number, number];
  const strideBatch = own[0] ? columns * depth : 0;
  const strideChannel = own[1] ? depth : 0;
  const stridePixel = own[2] ? 1 : 0;
  const count = batch * channels * pixels;
  const a = normals(random, count);
  const b = normals(random, rows * columns * depth);
  const places = sample(random, count, CHECKED);
  const params = { batch, channels, pixels, strideBatch, strideChannel, stridePixel, alpha, beta };
  return {
    name: `${sizes.join(" x ")} plus ${[rows, columns, depth].join(" x ")}`,
    buffers: { a, b, out: 4 * count },
    launches: [launch(broadcastAdd, params, ["a", "b", "out"])],
    outputs: ["out"],
    check: (read) => {
      const actual = new Float32Array(read("out"));
      return worst(places.length, (index) => {
        const at = places[index] ?? 0;
        const [n, c, p] = [Math.floor(at / (channels * pixels)), Math.floor(at / pixels) % channels, at % pixels];
        const first = alpha * (a[at] ?? NaN);
        const second = beta * (b[n * strideBatch + c * strideChannel + p * stridePixel] ?? NaN);
        return errorOf(actual[at], first + second, Math.abs(first) + Math.abs(second));
      });
    },
  };
}

export const broadcastAddRow: Row = {
  kernel: broadcastAdd as unknown as KernelSchema,
  measure: "the sum of the two terms' magnitudes",
  tolerance: 4e-7,
  reason:
    "three roundings of one unit in the last place (2^-23) each: WGSL may round either way, wasm rounds to nearest.",
  unit: "GB/s",
  *cases(random) {
    for (const sizes of SIZES) {
      for (const own of SHAPES) yield addCase(random, sizes, own);
    }
  },
  large(level, random) {
    const sizes: Sizes = [2 ** (2 + 2 * level), 64, 784];
    const bytes = 8 * sizes[0] * sizes[1] * sizes[2];
    return level > 2 ? undefined : { ...addCase(random, sizes, [true, false, true]), work: bytes / 1e9 };
  },
};
