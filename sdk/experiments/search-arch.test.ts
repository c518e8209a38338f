/** The drawn architectures' kernels against the recursion as the search defines it, in a plain float64 loop. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { kernel } from "../arch/kernel.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";
import { drawnArch, drawArchitecture, type Drawn, type DrawnConv } from "./search-draw.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(() => engine.close());

/** A map of covariances, [height][width]. */
type Map2 = readonly (readonly number[])[];
/** What is known of two images: their variances and their covariance, pixel by pixel. */
type State = readonly [xx: Map2, yy: Map2, xy: Map2];

const pairwise = (a: Map2, b: Map2, f: (a: number, b: number) => number): Map2 =>
  a.map((row, i) => row.map((value, j) => f(value, b[i]?.[j] ?? NaN)));

/** weightVariance times the sum over the filter, plus biasVariance; SAME padding as TensorFlow's. */
function convolved(map: Map2, { filter, stride, padding }: DrawnConv, weights: number, bias: number): Map2 {
  const axis = (n: number) => {
    if (padding === "valid") return { out: Math.floor((n - filter) / stride) + 1, front: 0 };
    const out = Math.ceil(n / stride);
    return { out, front: Math.floor(Math.max(0, (out - 1) * stride + filter - n) / 2) };
  };
  const [rows, columns] = [axis(map.length), axis(map[0]?.length ?? 0)];
  return Array.from({ length: rows.out }, (_, i) =>
    Array.from({ length: columns.out }, (_, j) => {
      let sum = 0;
      for (let a = 0; a < filter; a++)
        for (let b = 0; b < filter; b++) sum += map[i * stride + a - rows.front]?.[j * stride + b - columns.front] ?? 0;
      return weights * sum + bias;
    }),
  );
}

/** Two times the arc-cosine kernel of order 1; Williams' kernel of erf. */
function activated(k: number, kx: number, ky: number, nonlinearity: Drawn["nonlinearity"]): number {
  if (nonlinearity === "erf") return (2 / Math.PI) * Math.asin((2 * k) / Math.sqrt((1 + 2 * kx) * (1 + 2 * ky)));
  const norm = Math.sqrt(kx * ky);
  const angle = Math.acos(Math.max(-1, Math.min(1, k / norm)));
  return (norm / Math.PI) * (Math.sin(angle) + (Math.PI - angle) * Math.cos(angle));
}

function reference(x: Map2, y: Map2, drawn: Drawn): number {
  const { weightVariance, biasVariance, convs, nonlinearity, skipEvery } = drawn;
  const product = (a: number, b: number) => a * b;
  let state: State = [pairwise(x, x, product), pairwise(y, y, product), pairwise(x, y, product)];
  let remembered = state;
  convs.forEach((conv, i) => {
    if (i > 0 && skipEvery !== null && i % skipEvery === 0) {
      const [xx, yy, xy] = remembered;
      const add = (a: number, b: number) => a + b;
      state = [pairwise(state[0], xx, add), pairwise(state[1], yy, add), pairwise(state[2], xy, add)];
      remembered = state;
    }
    const [xx, yy, xy] = state.map((map) => convolved(map, conv, weightVariance, biasVariance)) as unknown as State;
    const of = (k: Map2, kx: Map2, ky: Map2) =>
      k.map((row, r) => row.map((v, c) => activated(v, kx[r]?.[c] ?? NaN, ky[r]?.[c] ?? NaN, nonlinearity)));
    state = [of(xx, xx, xx), of(yy, yy, yy), of(xy, xx, yy)];
  });
  const pixels = state[2].flat();
  return (weightVariance * pixels.reduce((sum, value) => sum + value, 0)) / pixels.length + biasVariance;
}

describe("the kernel of a drawn architecture", () => {
  // Residual with erf and relu, with skips over one and two layers; strided; valid; with filters of different sizes.
  it.each([
    [1, "script"],
    [36, "script"],
    [53, "script"],
    [54, "script"],
    [58, "script"],
    [60, "script"],
    [12, "paper"],
    [28, "paper"],
    [1234, "paper"],
  ] as const)("of seed %d (%s) is the search's recursion", async (seed, rule) => {
    const [height, width] = [14, 13];
    const random = new RandomStream(Date.now(), "images");
    const images = Float64Array.from({ length: 2 * height * width }, () => random.uniform());
    const image = (n: number): Map2 =>
      Array.from({ length: height }, (_, i) =>
        Array.from({ length: width }, (_, j) => images[(n * height + i) * width + j] ?? NaN),
      );
    const drawn = drawArchitecture(seed, rule);
    const set = { images, shape: { channels: 1, height, width } };
    const { values, exponent } = await kernel(engine, drawnArch(drawn), set, undefined, { precision: "f64" });
    const [x, y] = [image(0), image(1)];
    const expected = reference(x, y, drawn);
    expect(Math.abs((values[1] ?? NaN) * 2 ** exponent - expected)).toBeLessThan(1e-12 * expected);
  });
});
