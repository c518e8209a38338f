/** Finite random-feature models, against their features drawn and multiplied one by one in float64. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, gpuEngine, wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import { openWasm } from "../../test/wasm.ts";
import { closedTiles, type ClosedTileOptions } from "../arch/closed-tiles.ts";
import { digits } from "../data/digits.ts";
import { parseRanges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";
import { storeKernel } from "../experiments/stored-kernel.ts";
import { nodeFiles } from "../platform/files.node.ts";
import type { FiniteFeatures } from "./closed-kernel.ts";
import { FeatureSums, type Checkpoint } from "./feature-sums.ts";
import { BLOCK, FiniteFeatureTiles, type FeatureProgress } from "./finite-features.ts";

const seed = freshSeed();
const random = new RandomStream(seed, "finite features");
let wasm: Engine;
let gpu: Engine;
let folder: string;

beforeAll(async () => {
  wasm = await wasmEngine();
  gpu = await gpuEngine();
  folder = await mkdtemp(join(tmpdir(), "widefield-features-"));
});
afterAll(async () => {
  await wasm.close();
  await gpu.close();
  await rm(folder, { recursive: true });
});

const floats = 13;

function inputs(count: number): Float32Array<ArrayBuffer> {
  return random.fillNormal(new Float32Array(count * floats));
}

/** 1 + sum over features of relu(x.w / sqrt(d)) relu(z.w / sqrt(d)), in float64, from the same stream. */
function reference({ width, seed: drawn }: FiniteFeatures, x: Float32Array, z: Float32Array): Float64Array {
  const features = (set: Float32Array, weights: Float64Array): Float64Array =>
    Float64Array.from({ length: set.length / floats }, (_, i) => {
      let sum = 0;
      for (let c = 0; c < floats; c++) sum += (set[i * floats + c] ?? NaN) * (weights[c] ?? NaN);
      return Math.max(0, sum / Math.sqrt(floats));
    });
  const [rows, columns] = [x.length / floats, z.length / floats];
  const sums = new Float64Array(rows * columns).fill(1);
  for (let feature = 0; feature < width; feature++) {
    if (feature % BLOCK === 0) stream = new RandomStream(drawn, "random features", feature / BLOCK);
    const weights = stream.fillNormal(new Float64Array(floats));
    const [left, right] = [features(x, weights), features(z, weights)];
    for (let at = 0; at < sums.length; at++)
      sums[at] = (sums[at] ?? NaN) + (left[Math.floor(at / columns)] ?? NaN) * (right[at % columns] ?? NaN);
  }
  return sums;
}
let stream = new RandomStream(0, "none yet");

async function tilesOf(
  engine: Engine,
  kernel: FiniteFeatures,
  x: Float32Array,
  z?: Float32Array,
  options: ClosedTileOptions = {},
): Promise<FiniteFeatureTiles> {
  const X = { images: x, shape: [floats] } as const;
  const Z = z === undefined ? X : ({ images: z, shape: [floats] } as const);
  const { tiles } = await closedTiles(engine, kernel, X, Z, "f32", options);
  if (!(tiles instanceof FiniteFeatureTiles)) throw new Error("rf has tiles of its own");
  return tiles;
}

function worst(actual: ArrayLike<number>, expected: Float64Array): number {
  return expected.reduce((most, value, i) => Math.max(most, Math.abs((actual[i] ?? NaN) / value - 1)), 0);
}

describe("a finite random-feature model", () => {
  it.each([1, 5, BLOCK - 1, BLOCK + 3])("of width %d is the sum over its features", async (width) => {
    const kernel = { name: "rf", width, seed: random.below(1000) } as const;
    const [x, z] = [inputs(9), inputs(6)];
    const expected = reference(kernel, x, z);
    for (const engine of [wasm, gpu]) {
      const tiles = await tilesOf(engine, kernel, x, z);
      expect(worst(await tiles.compute(0, 9, 0, 6, false), expected)).toBeLessThan(1e-5);
      const own = reference(kernel, x, x).filter((_, at) => at % 10 === 0);
      expect(worst(await tiles.variances(0, 9), own)).toBeLessThan(1e-5);
      expect(engine.backend.stats()).toMatchObject({ slots: 0 });
    }
  });

  it("has an error that does not grow with its width", async () => {
    const x = inputs(5);
    const [few, many] = [BLOCK, 20 * BLOCK];
    const errors: number[] = [];
    for (const width of [few, many]) {
      const kernel = { name: "rf", width, seed: 3 } as const;
      const tiles = await tilesOf(wasm, kernel, x);
      errors.push(worst(await tiles.compute(0, 5, 0, 5, true), reference(kernel, x, x)));
    }
    expect(errors[1]).toBeLessThan(Math.max(3e-7, errors[0] ?? NaN));
  });

  it("has values that depend neither on the tile nor on the memory that panels are cut to", async () => {
    const count = 1100; // two chunks
    const x = inputs(count);
    const kernel = { name: "rf", width: 300, seed: 1 } as const;
    const large = await tilesOf(wasm, kernel, x);
    const small = await tilesOf(wasm, kernel, x, undefined, { memoryBytes: 1 });
    for (const [rowBegin, rowEnd, columnBegin, columnEnd] of [
      [1020, 1030, 0, 40],
      [1090, 1100, 1000, 1050],
      [0, 7, 0, 7],
    ] as const) {
      const place = [rowBegin, rowEnd, columnBegin, columnEnd, rowBegin === columnBegin] as const;
      expect(await small.compute(...place)).toEqual(await large.compute(...place));
    }
    const square = await large.compute(1080, 1100, 1080, 1100, true);
    expect(square).toEqual(square.map((_, at) => square[(at % 20) * 20 + Math.floor(at / 20)] ?? NaN));
  });

  it("goes on at the block where it was stopped, and ends with the same bits", async () => {
    const x = inputs(8);
    const kernel = { name: "rf", width: 5 * BLOCK + 17, seed: 2 } as const;
    const expected = await (await tilesOf(wasm, kernel, x)).compute(0, 8, 0, 8, true);
    const checkpoint = { files: await nodeFiles(), path: join(folder, "stopped") };
    const controller = new AbortController();
    const stopped = await tilesOf(wasm, kernel, x, undefined, {
      checkpoint,
      signal: controller.signal,
      onFeatures: ({ blocksDone }) => {
        if (blocksDone === 3) controller.abort();
      },
    });
    await expect(stopped.compute(0, 8, 0, 8, true)).rejects.toMatchObject({
      code: "E_ABORTED",
      message: "stopped after 3 of 6 blocks; the same command goes on",
    });
    const seen: number[] = [];
    const resumed = await tilesOf(wasm, kernel, x, undefined, {
      checkpoint,
      onFeatures: ({ blocksDone }) => seen.push(blocksDone),
    });
    expect(await resumed.compute(0, 8, 0, 8, true)).toEqual(expected);
    expect(seen).toEqual([3, 4, 5, 6]);
    await resumed.finished();
    expect(await readdir(folder)).not.toContain("stopped");
  });

  it("is stored like any kernel: stopped among its blocks, it goes on there, and leaves nothing beside its store", async () => {
    const dataset = digits();
    const rows = parseRanges("0:21", dataset.count);
    const kernel = { name: "rf", width: 3 * BLOCK, seed: 5 } as const;
    const [files, path] = [await nodeFiles(), join(folder, "K.zarr")];
    const job = { engine: wasm, dataset, kernel, rows, files, path, tile: 16 };
    const controller = new AbortController();
    const { signal } = controller;
    const onFeatures = ({ blocksDone }: { blocksDone: number }): void => {
      if (blocksDone === 2) controller.abort();
    };
    await expect(storeKernel({ ...job, signal, onFeatures })).rejects.toMatchObject({ code: "E_ABORTED" });
    const seen: number[] = [];
    const { store } = await storeKernel({ ...job, onFeatures: ({ blocksDone }) => seen.push(blocksDone) });
    expect(seen).toEqual([2, 3]);
    const stored = await store.readBlock({ begin: 0, end: 21 }, { begin: 0, end: 21 }, "f32");
    const X = dataset.select(rows);
    const { tiles } = await closedTiles(wasm, kernel, X, X, "f32");
    expect(stored).toEqual(await tiles.compute(0, 21, 0, 21, true));
    expect((await readdir(folder)).filter((name) => name.startsWith("K.zarr"))).toEqual(["K.zarr"]);
  });

  it("begins anew where what was kept is damaged, cut off, or of another model", async () => {
    const x = inputs(4);
    const kernel = { name: "rf", width: 2 * BLOCK, seed: 2 } as const;
    const checkpoint = { files: await nodeFiles(), path: join(folder, "damaged") };
    const begun = async (model: FiniteFeatures): Promise<number | undefined> => {
      const seen: number[] = [];
      const options = { checkpoint, onFeatures: ({ blocksDone }: { blocksDone: number }) => seen.push(blocksDone) };
      const values = await (await tilesOf(wasm, model, x, undefined, options)).compute(0, 4, 0, 4, true);
      expect(values).toEqual(await (await tilesOf(wasm, model, x)).compute(0, 4, 0, 4, true));
      return seen[0];
    };
    expect(await begun(kernel)).toBe(0);
    expect(await begun(kernel)).toBe(undefined); // all blocks are there
    expect(await begun({ ...kernel, seed: 4 })).toBe(0);
    const [name = ""] = await readdir(checkpoint.path);
    const file = join(checkpoint.path, name);
    const bytes = await readFile(file);
    const flipped = Uint8Array.from(bytes);
    flipped[bytes.length - 30] = (flipped[bytes.length - 30] ?? 0) ^ 4;
    await writeFile(file, flipped);
    expect(await begun({ ...kernel, seed: 4 })).toBe(0);
    await writeFile(file, bytes.subarray(0, bytes.length - 1));
    expect(await begun({ ...kernel, seed: 4 })).toBe(0);
  });

  it("leaves what was kept before where the disk refuses the next", async () => {
    const files = await nodeFiles();
    const sums = new FeatureSums({ begin: 0, end: 2 }, { begin: 0, end: 2 });
    sums.add(Float32Array.of(1, 2, 3, 4), 0, 0, 2);
    sums.blocks = 1;
    const path = join(folder, "full");
    await sums.save({ files, path }, "one");
    sums.blocks = 2;
    const refusing: Checkpoint = {
      files: Object.create(files, { rename: { value: () => Promise.reject(new Error("no")) } }) as typeof files,
      path,
    };
    await expect(sums.save(refusing, "one")).rejects.toThrow("no");
    expect(await readdir(path)).toHaveLength(1);
    const again = new FeatureSums({ begin: 0, end: 2 }, { begin: 0, end: 2 });
    expect(await again.load({ files, path }, "one")).toBe(true);
    expect([again.blocks, again.at(0, 1), again.at(1, 0)]).toEqual([1, 2, 3]);
    expect(await again.load({ files, path }, "another")).toBe(false);
  });

  it("computes its diagonal from its features alone, and stops between two blocks of them", async () => {
    const backend = await openWasm({ variant: "single", threads: 1 });
    const kernel = { name: "rf", width: 3 * BLOCK, seed: 2 } as const;
    const [x, controller] = [inputs(1030), new AbortController()];
    const seen: number[] = [];
    const onFeatures = ({ blocksDone }: FeatureProgress): void => {
      seen.push(blocksDone);
      // A product of two chunks has 4 MiB: none is made.
      expect(backend.stats().bytes).toBeLessThan(4 * 1024 * (2 * BLOCK + floats) + 4 * BLOCK * floats + 1000);
      if (blocksDone === 2) controller.abort();
    };
    const tiles = await tilesOf(engineOf(backend), kernel, x, undefined, { signal: controller.signal, onFeatures });
    await expect(tiles.variances(0, 1030)).rejects.toThrow("stopped after 2 of 3 blocks; nothing was kept");
    expect(seen).toEqual([0, 1, 2]);
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
    await backend.close();
  });

  it("has no float64, and gives back all memory when it is stopped", async () => {
    const X = { images: inputs(3), shape: [floats] } as const;
    const kernel = { name: "rf", width: 7, seed: 0 } as const;
    await expect(closedTiles(wasm, kernel, X, X, "f64")).rejects.toMatchObject({ code: "E_CONFIG" });
    const backend = await openWasm({ variant: "single", threads: 1 });
    const tiles = await tilesOf(engineOf(backend), kernel, X.images, undefined, { signal: AbortSignal.abort() });
    await expect(tiles.compute(0, 3, 0, 3, true)).rejects.toThrow("stopped after 0 of 1 blocks; nothing was kept");
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
    await backend.close();
  });
});
