/** Copies between strided arrays of four axes, against a float64 loop. */
import { stridedCopy } from "../kernels/strided-copy.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, sample, worst, type Case, type LargeCase, type Row } from "./row.ts";

type Four = readonly [number, number, number, number];

interface Copy {
  readonly what: string;
  readonly sizes: Four;
  readonly inOffset?: number;
  readonly inStrides: Four;
  readonly outOffset?: number;
  readonly outStrides: Four;
}

/** Places of out that are checked of arrays that are only timed. */
const CHECKED = 100_003;
/** What alpha and beta may be: a plain copy, a scaled one, and a sum. */
const FACTORS = [
  [1, 0],
  [-0.75, 0],
  [1, 1],
  [0.3, -1.7],
] as const;

const COPIES: readonly Copy[] = [
  { what: "a number", sizes: [1, 1, 1, 1], inStrides: [9, 9, 9, 9], outStrides: [9, 9, 9, 9] },
  { what: "nothing", sizes: [3, 0, 5, 2], inStrides: [10, 10, 2, 1], outStrides: [10, 10, 2, 1] },
  { what: "a line", sizes: [1, 1, 1, 100_003], inStrides: [0, 0, 0, 1], outStrides: [0, 0, 0, 1] },
  {
    what: "a line in four axes",
    sizes: [7, 11, 13, 17],
    inStrides: [2431, 221, 17, 1],
    outStrides: [2431, 221, 17, 1],
  },
  { what: "a transpose", sizes: [1, 1, 67, 131], inStrides: [0, 0, 131, 1], outStrides: [0, 0, 1, 67] },
  { what: "a long transpose", sizes: [8209, 1, 1, 9], inStrides: [9, 0, 0, 1], outStrides: [1, 0, 0, 8209] },
  { what: "a narrow transpose", sizes: [3, 1, 4111, 1], inStrides: [1, 0, 3, 0], outStrides: [4111, 0, 1, 0] },
  { what: "channels to the end", sizes: [3, 5, 9, 7], inStrides: [315, 63, 7, 1], outStrides: [315, 1, 35, 5] },
  { what: "all axes turned round", sizes: [5, 7, 11, 3], inStrides: [231, 33, 3, 1], outStrides: [1, 5, 35, 385] },
  {
    what: "a slice",
    sizes: [2, 3, 19, 23],
    inOffset: 45,
    inStrides: [2400, 800, 40, 1],
    outStrides: [1311, 437, 23, 1],
  },
  {
    what: "padding",
    sizes: [2, 3, 19, 23],
    inStrides: [1311, 437, 23, 1],
    outOffset: 91,
    outStrides: [2700, 900, 30, 1],
  },
  { what: "repeated numbers", sizes: [13, 1, 1, 301], inStrides: [1, 0, 0, 0], outStrides: [301, 0, 0, 1] },
  { what: "repeated rows", sizes: [1, 29, 1, 301], inStrides: [0, 0, 0, 1], outStrides: [0, 301, 0, 1] },
  {
    what: "a reversed line",
    sizes: [1, 1, 5, 301],
    inOffset: 300,
    inStrides: [0, 0, 301, -1],
    outStrides: [0, 0, 301, 1],
  },
  {
    what: "reversal of out",
    sizes: [5, 1, 1, 301],
    inStrides: [301, 0, 0, 1],
    outOffset: 1504,
    outStrides: [-301, 0, 0, -1],
  },
  { what: "every third", sizes: [1, 7, 1, 101], inStrides: [0, 303, 0, 3], outStrides: [0, 202, 0, 2] },
];

/** A copy with axes in any order, reversed or repeated, with gaps. */
function anyCopy(random: RandomStream): Copy {
  const sizes = [0, 0, 0, 0].map(() => 1 + random.below([1, 4, 9, 21][random.below(4)] ?? 1)) as unknown as Four;
  const out = layout(random, sizes, false);
  const into = layout(random, sizes, true);
  const what = `any ${sizes.join(" x ")}, ${into.strides.join(", ")} to ${out.strides.join(", ")}`;
  return {
    what,
    sizes,
    inOffset: into.offset,
    inStrides: into.strides,
    outOffset: out.offset,
    outStrides: out.strides,
  };
}

function layout(random: RandomStream, sizes: Four, mayRepeat: boolean): { strides: Four; offset: number } {
  const order = [0, 1, 2, 3].map((axis) => ({ axis, key: random.uniform() })).sort((x, y) => x.key - y.key);
  const strides: [number, number, number, number] = [0, 0, 0, 0];
  let [extent, offset] = [1 + random.below(2), random.below(5)];
  for (const { axis } of order) {
    if (mayRepeat && random.below(6) === 0) continue;
    const size = sizes[axis] ?? 1;
    const back = random.below(5) === 0;
    strides[axis] = back ? -extent : extent;
    if (back) offset += (size - 1) * extent;
    extent = extent * size + random.below(2);
  }
  return { strides, offset };
}

/** The largest place that is reached, plus one. */
function reach(sizes: Four, strides: Four, offset: number): number {
  if (sizes.includes(0)) return offset;
  return 1 + strides.reduce((last, stride, axis) => last + Math.max(0, stride * ((sizes[axis] ?? 1) - 1)), offset);
}

function copyCase(random: RandomStream, copy: Copy, alpha: number, beta: number): Case {
  const { what, sizes, inStrides, outStrides, inOffset = 0, outOffset = 0 } = copy;
  const a = normals(random, reach(sizes, inStrides, inOffset));
  const out = normals(random, reach(sizes, outStrides, outOffset) + 3);
  /** For every place of out, the place of a that comes there, or -1. */
  const sources = new Int32Array(out.length).fill(-1);
  for (let i = 0; i < sizes[0]; i++) {
    for (let j = 0; j < sizes[1]; j++) {
      for (let k = 0; k < sizes[2]; k++) {
        const from = inOffset + i * inStrides[0] + j * inStrides[1] + k * inStrides[2];
        const to = outOffset + i * outStrides[0] + j * outStrides[1] + k * outStrides[2];
        for (let l = 0; l < sizes[3]; l++) sources[to + l * outStrides[3]] = from + l * inStrides[3];
      }
    }
  }
  // What is not to be read is NaN.
  if (beta === 0) sources.forEach((source, place) => (out[place] = source < 0 ? (out[place] ?? 0) : NaN));
  const places = sample(random, out.length, CHECKED);
  const [n0, n1, n2, n3] = sizes;
  const [inStride0, inStride1, inStride2, inStride3] = inStrides;
  const [outStride0, outStride1, outStride2, outStride3] = outStrides;
  const params = {
    ...{ n0, n1, n2, n3, alpha: Math.fround(alpha), beta: Math.fround(beta) },
    ...{ inOffset, inStride0, inStride1, inStride2, inStride3 },
    ...{ outOffset, outStride0, outStride1, outStride2, outStride3 },
  };
  return {
    name: `${what}, ${alpha} a + ${beta} out`,
    buffers: { a, out },
    launches: [launch(stridedCopy, params, ["a", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(places.length, (index) => {
        const place = places[index] ?? 0;
        const source = sources[place] ?? -1;
        if (source < 0) return errorOf(actual[place], out[place] ?? NaN, 0);
        const first = params.alpha * (a[source] ?? NaN);
        const second = beta === 0 ? 0 : params.beta * (out[place] ?? NaN);
        return errorOf(actual[place], first + second, Math.abs(first) + Math.abs(second));
      });
    },
  };
}

export const stridedCopyRow: Row = {
  kernel: stridedCopy as unknown as KernelSchema,
  measure: "the sum of the two terms' magnitudes; what is not reached is exact",
  tolerance: 4e-7,
  reason:
    "three roundings of one unit in the last place (2^-23) each: WGSL may round either way, wasm rounds to nearest.",
  unit: "GB/s",
  *cases(random) {
    for (const copy of COPIES) {
      for (const [alpha, beta] of FACTORS) yield copyCase(random, copy, alpha, beta);
    }
    for (let i = 0; i < 40; i++) {
      const [alpha, beta] = FACTORS[i % FACTORS.length] ?? FACTORS[0];
      yield copyCase(random, anyCopy(random), alpha, beta);
    }
  },
  large(level, random): LargeCase | undefined {
    const side = 256 * 2 ** level + 3;
    const sizes: Four = [1, 1, side, side];
    const copy: Copy = {
      what: `${side} x ${side} turned`,
      sizes,
      inStrides: [0, 0, side, 1],
      outStrides: [0, 0, 1, side],
    };
    return level > 1 ? undefined : { ...copyCase(random, copy, 1, 0), work: (8 * side * side) / 1e9 };
  },
};
