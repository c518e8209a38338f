/** The nonlinearities that give angles, in float32 on wasm, pixel by pixel: how accurate they are, and where exact. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { imageSet, wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import { erf, flatten, serial, step, type Arch } from "../arch/arch.ts";
import { kernel } from "../arch/kernel.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";

let wasm: Engine;
beforeAll(async () => {
  wasm = await wasmEngine();
});
afterAll(() => wasm.close());

const random = new RandomStream(freshSeed(), "angles");
const shape = [2, 1, 1] as const;

/** Vectors of random lengths at random angles, half of them within 2^-20 .. 1 of the first one's or its opposite's. */
function vectors(count: number): Float32Array[] {
  return Array.from({ length: count }, (_, index) => {
    const near = 2 ** (-20 * random.uniform32()) * (random.uniform32() < 0.5 ? 1 : -1);
    const angle = index % 2 === 0 ? 2 * Math.PI * random.uniform32() : near + Math.PI * random.below(2);
    const length = 2 ** (4 * random.uniform32() - 2);
    return Float32Array.of(length * Math.cos(angle), length * Math.sin(angle));
  });
}

/** Kernels between two sets in float32, and in float64 of the same float32 numbers. */
async function both(arch: Arch, xs: Float32Array[], ys: Float32Array[]) {
  const [X, Y] = [imageSet(xs, shape), imageSet(ys, shape)];
  const single = await kernel(wasm, arch, X, Y);
  const double = await kernel(wasm, arch, X, Y, { precision: "f64" });
  return { single: single.values, double: double.values };
}

/** 1 - |cos| of the angle between two vectors, without cancellation: 2 sin^2(t / 2). */
function distance(x: Float32Array, y: Float32Array): number {
  const [a = 0, b = 0] = x;
  const [c = 0, d = 0] = y;
  const t = Math.atan2(Math.abs(a * d - b * c), Math.abs(a * c + b * d));
  return 2 * Math.sin(t / 2) ** 2;
}

describe("erf", () => {
  it("is relatively accurate from orthogonal vectors to equal ones", async () => {
    const [xs, ys] = [vectors(200), vectors(200)];
    const { single, double } = await both(serial(erf(), flatten()), xs, ys);
    let worst = 0;
    double.forEach((expected, at) => {
      const [x, y] = [xs[Math.floor(at / 200)], ys[at % 200]];
      if (x === undefined || y === undefined) throw new Error("an index is off");
      // The two products of k may cancel, which is the input's doing: their rounding is not counted.
      const cancelled = Math.hypot(...x) * Math.hypot(...y) * 2 ** -24;
      const slack =
        expected === 0 ? Infinity : cancelled / Math.abs((x[0] ?? 0) * (y[0] ?? 0) + (x[1] ?? 0) * (y[1] ?? 0));
      worst = Math.max(worst, Math.abs((single[at] ?? NaN) / expected - 1) - 2 * slack);
    });
    expect(worst).toBeLessThan(5e-7);
  });
});

describe("the step", () => {
  it("is off by no more than float32's cosine makes of it, and by 1.6e-4 where vectors nearly agree", async () => {
    const [xs, ys] = [vectors(200), vectors(200)];
    const { single, double } = await both(serial(step(), flatten()), xs, ys);
    double.forEach((expected, at) => {
      const [x, y] = [xs[Math.floor(at / 200)], ys[at % 200]];
      if (x === undefined || y === undefined) throw new Error("an index is off");
      const u = distance(x, y);
      const bound = u < 1e-6 ? 2.3e-4 : 3e-7 + 4e-7 / (2 * Math.PI * Math.sqrt(2 * u));
      expect(Math.abs((single[at] ?? NaN) - expected), `u = ${u}`).toBeLessThan(bound);
    });
  });

  it("of vectors that agree is exactly 1/2, of opposite ones 0, and 0 where one is 0", async () => {
    const xs = vectors(100);
    const { single } = await both(
      serial(step(), flatten()),
      xs,
      xs.flatMap((x) => [x.slice(), x.map((value) => -value), new Float32Array(2), x.map((value) => 4 * value)]),
    );
    for (let i = 0; i < 100; i++)
      expect([...single.subarray(400 * i + 4 * i, 400 * i + 4 * i + 4)]).toEqual([0.5, 0, 0, 0.5]);
  });
});
