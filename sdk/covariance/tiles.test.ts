/** Tiles of programs: what they keep, what they need, what they refuse. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { imageSet } from "../../test/engines.ts";
import { digitLike, mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { openWasm } from "../../test/wasm.ts";
import { compile, conv, dense, flatten, relu, serial } from "../arch/arch.ts";
import { imageBlock } from "../arch/image-set.ts";
import type { Shape } from "../arch/layer.ts";
import type { Backend } from "../engine/backend.ts";
import { smallestBudget } from "./memory.ts";
import { ProgramTiles, type ImageBlock, type Precision } from "./tiles.ts";

const shape = [1, 10, 9] as const;
const arch = serial(conv({ filter: 3, biasVariance: 1 }), relu(), conv({ filter: 3 }), relu(), flatten(), dense());
const random = mulberry32(freshSeed());
const set = imageSet(
  Array.from({ length: 60 }, () => digitLike(random, 10, 9)),
  shape,
);

let backend: Backend;
beforeAll(async () => {
  backend = await openWasm({ variant: "threads", threads: 2 });
});
afterAll(() => backend.close());

function tilesOf(memoryBytes: number, precision: Precision = "f32"): ProgramTiles {
  const rows = imageBlock(set, "X");
  return new ProgramTiles({ backend, program: compile(arch, shape), rows, columns: rows, precision, memoryBytes });
}

describe("tables of images", () => {
  it("are kept in a quarter of the budget, and computed again when they are not: the values are the same", async () => {
    for (const precision of ["f32", "f64"] as const) {
      const [ample, tight] = [tilesOf(2 ** 30, precision), tilesOf(2 ** 16, precision)];
      let most = 0;
      for (let turn = 0; turn < 30; turn++) {
        const [i, j] = [Math.floor(random() * 6), Math.floor(random() * 6)];
        const place = [10 * i, 10 * i + 10, 10 * j, 10 * j + 10, i === j] as const;
        const before = backend.stats().bytes;
        expect(await tight.compute(...place)).toEqual(await ample.compute(...place));
        most = Math.max(most, backend.stats().bytes - before);
      }
      expect(most).toBeGreaterThan(0);
      ample.dispose();
      tight.dispose();
      expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
    }
  });

  it("and everything else stay within what was planned", async () => {
    for (const memoryBytes of [2 ** 16, 2 ** 20, 2 ** 24]) {
      const tiles = tilesOf(memoryBytes);
      const scratch = tiles.peakBytes(0, 0, 0); // the threads' own, which no slot is
      for (let i = 0; i < 4; i++) {
        for (let j = 0; j <= i; j++) {
          await tiles.compute(15 * i, 15 * i + 15, 15 * j, 15 * j + 15, i === j);
          expect(backend.stats().bytes).toBeLessThanOrEqual(tiles.peakBytes(15, 15, memoryBytes) - scratch + 4096);
        }
      }
      tiles.dispose();
    }
  });
});

describe("the smallest budget", () => {
  it("is enough, and a byte less is not", () => {
    const tiles = tilesOf(2 ** 30);
    for (const tile of [1, 16, 60]) {
      const least = smallestBudget((budget) => 1e6 + tiles.peakBytes(tile, tile, budget));
      expect(1e6 + tiles.peakBytes(tile, tile, least)).toBeLessThanOrEqual(least);
      expect(1e6 + tiles.peakBytes(tile, tile, least - 1)).toBeGreaterThan(least - 1);
    }
    tiles.dispose();
  });
});

describe("maps that are too large for a thread's scratch", () => {
  it("stand in memory that the plan counts and that is given back", async () => {
    const large = [1, 300, 310] as const;
    const images = new Float32Array(2 * 93_000).map(() => random());
    const rows = imageBlock({ images, shape: large }, "X");
    const settings = { backend, program: compile(arch, large), rows, columns: rows, memoryBytes: 2 ** 29 } as const;
    const [single, double] = [
      new ProgramTiles({ ...settings, precision: "f32" }),
      new ProgramTiles({ ...settings, precision: "f64" }),
    ];
    const actual = await single.compute(0, 2, 0, 2, true);
    expect(backend.stats().bytes).toBeGreaterThan(2 * 16 * 93_000);
    expect(backend.stats().bytes).toBeLessThan(single.peakBytes(2, 2, 2 ** 29));
    const expected = await double.compute(0, 2, 0, 2, true);
    for (const [at, value] of actual.entries()) expect(Math.abs(value / (expected[at] ?? 0) - 1)).toBeLessThan(1e-6);
    single.dispose();
    double.dispose();
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });
});

describe("what tiles refuse", () => {
  it("images of another size than the program's", () => {
    const other = imageBlock({ images: new Float32Array(91), shape: [91] }, "X");
    const make = () =>
      new ProgramTiles({
        backend,
        program: compile(arch, shape),
        rows: other,
        columns: other,
        precision: "f32",
        memoryBytes: 2 ** 30,
      });
    expect(make).toThrow(/images of 91 numbers, but the program takes 90/);
    expect(backend.stats()).toMatchObject({ slots: 0 });
  });

  it("memory that is not there, and gives back what it had got: small images fit afterwards", async () => {
    const tight = await openWasm({ variant: "single", threads: 1, memoryBytes: 2 ** 24 });
    const large = [1, 1500, 1400] as const;
    const images = new Float32Array(2_100_000);
    const side = imageBlock({ images, shape: large }, "X");
    const make = (rows: ImageBlock, size: Shape) =>
      new ProgramTiles({
        backend: tight,
        program: compile(arch, size),
        rows,
        columns: rows,
        precision: "f32",
        memoryBytes: 2 ** 30,
      });
    expect(() => make(side, large)).toThrow(/maps of 1 pairs at a time need \d+ bytes.*smaller images/);
    expect(tight.stats()).toMatchObject({ slots: 0, bytes: 0 });
    const many = imageBlock({ images: new Float32Array(90 * 20_000).fill(1), shape }, "X");
    const tiles = make(many, shape);
    const before = tight.stats();
    await expect(tiles.variances(0, 20_000)).rejects.toMatchObject({ code: "E_MEMORY" });
    expect(tight.stats()).toMatchObject({ slots: before.slots, bytes: before.bytes });
    expect(await tiles.variances(0, 3)).toHaveLength(3);
    tiles.dispose();
    expect(tight.stats()).toMatchObject({ slots: 0, bytes: 0 });
    await tight.close();
  });

  it("kernels outside of float32's range, with the pair's place", async () => {
    const images = new Float32Array(180).fill(1);
    images.fill(1e25, 90);
    const rows = imageBlock({ images, shape }, "X");
    const tiles = new ProgramTiles({
      backend,
      program: compile(arch, shape),
      rows,
      columns: rows,
      precision: "f32",
      memoryBytes: 2 ** 30,
    });
    await expect(tiles.compute(0, 2, 0, 2, true)).rejects.toMatchObject({
      code: "E_OVERFLOW",
      message: expect.stringMatching(/images 1 and [01] .*scale the pixels or the variances down/) as string,
    });
    tiles.dispose();
    tiles.dispose();
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });
});
