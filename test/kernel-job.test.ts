/** Kernel jobs: the matrix does not depend on how it is cut, work that is done is not done again, failures are clean. */
import { readFile, rm, writeFile } from "node:fs/promises";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { type KernelProgress, planMemory, runKernelJob } from "../sdk/covariance/job.ts";
import type { Files } from "../sdk/platform/files.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { KernelStore } from "../sdk/covariance/store/store.ts";
import { verify } from "../sdk/covariance/store/verify.ts";
import {
  type Operation,
  type TileSource,
  contentOf,
  failing,
  freshFolder,
  hashSource,
  specOf,
} from "./kernel-job-fixtures.ts";
import { hashValue } from "./kernel-job-source.ts";

const memoryBytes = 1 << 24;
let files: Files;
beforeAll(async () => {
  files = await nodeFiles();
});

async function matrixOf(store: KernelStore): Promise<Float32Array> {
  return store.readBlock({ begin: 0, end: store.grid.rows }, { begin: 0, end: store.grid.columns });
}

describe("the matrix", () => {
  it("is bitwise the same for every tile size and sharding, and exactly symmetric", async () => {
    const folder = await freshFolder();
    let number = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 33 }),
        fc.integer({ min: 1, max: 4 }),
        fc.boolean(),
        async (rows, otherColumns, tile, count, symmetric) => {
          const columns = symmetric ? rows : otherColumns;
          const path = `${folder}/${number++}.zarr`;
          const spec = specOf(rows, columns, tile, { symmetric });
          const shards = Array.from({ length: count }, async (_, index) => {
            const store = await KernelStore.create(files, path, spec);
            await runKernelJob({ store, source: hashSource(symmetric), shard: { index, count }, memoryBytes });
          });
          await Promise.all(shards);
          const store = await KernelStore.open(files, path);
          const expected = Float32Array.from({ length: rows * columns }, (_, at) =>
            hashValue(Math.floor(at / columns), at % columns, symmetric),
          );
          expect(await matrixOf(store)).toEqual(expected);
          expect(
            [...(await contentOf(path)).keys()].filter((name) => !/^(c\/\d+\/\d+|zarr\.json)$/.test(name)),
          ).toEqual([]);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe("a job", () => {
  it("computes what is missing or damaged, nothing else", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    const spec = specOf(20, 20, 4, { symmetric: true });
    const store = await KernelStore.create(files, path, spec);
    expect(await runKernelJob({ store, source: hashSource(true), memoryBytes })).toMatchObject({
      tilesDone: 15,
      tilesTotal: 15,
      tilesReused: 0,
      tilesRepaired: 0,
      pairsDone: 210,
      pairsTotal: 210,
    });
    const whole = await contentOf(path);
    await rm(`${path}/c/4/0`);
    await writeFile(`${path}/c/3/3`, Buffer.alloc(68));
    await writeFile(`${path}/c/2/1`, (await readFile(`${path}/c/2/1`)).subarray(0, 5));
    const source = hashSource(true);
    expect(await runKernelJob({ store, source, memoryBytes })).toMatchObject({
      tilesDone: 15,
      tilesReused: 12,
      tilesRepaired: 2,
      pairsTotal: 16 + 10 + 16,
    });
    expect(source.calls.sort()).toEqual(["12:16,12:16", "16:20,0:4", "8:12,4:8"]);
    expect(await contentOf(path)).toEqual(whole);
    const idle: TileSource = { ...hashSource(true), prepare: () => Promise.reject(new Error("not needed")) };
    expect(await runKernelJob({ store, source: idle, memoryBytes })).toMatchObject({ tilesReused: 15, pairsTotal: 0 });
  });

  it("removes temporaries that killed processes left for its tiles, and those of other shards stay", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    const store = await KernelStore.create(files, path, specOf(8, 4, 4));
    await runKernelJob({ store, source: hashSource(false), memoryBytes });
    const left = (file: string, host: string, pid: number) => `${path}/${file}.~${host}~${pid}~5~abc123.tmp`;
    const dead = 2 ** 22 + 1;
    await writeFile(left("c/0/0", "elsewhere", 7), "x");
    await writeFile(left("c/1/0", files.self.host, dead), "x");
    await writeFile(left("zarr.json", files.self.host, dead), "x");
    await writeFile(left("zarr.json", "elsewhere", 7), "x");
    await runKernelJob({ store, source: hashSource(false), shard: { index: 0, count: 2 }, memoryBytes });
    const temporaries = [...(await contentOf(path)).keys()].filter((name) => name.endsWith(".tmp"));
    expect(temporaries.sort()).toEqual([
      `c/1/0.~${files.self.host}~${dead}~5~abc123.tmp`,
      "zarr.json.~elsewhere~7~5~abc123.tmp",
    ]);
  });

  it("computes the next tile while it writes the last, and keeps the writes within its plan", async () => {
    const store = await KernelStore.create(files, `${await freshFolder()}/K.zarr`, specOf(24, 4, 4));
    let [writing, most, overlapped] = [0, 0, 0];
    const slow: Files = {
      ...files,
      create: async (path) => {
        if (!path.includes("/c/")) return files.create(path);
        most = Math.max(most, ++writing);
        await new Promise((resolve) => setTimeout(resolve, 20));
        return files.create(path);
      },
      rename: async (from, to) => {
        if (to.includes("/c/")) writing--;
        return files.rename(from, to);
      },
    };
    const inner = hashSource(false, 1);
    const source: TileSource = {
      ...inner,
      computeTile: (...tile) => {
        if (writing > 0) overlapped++;
        return inner.computeTile(...tile);
      },
    };
    const enoughForTwo = planMemory(store.grid, source, Infinity).peakBytes - 2 * 68;
    const slowStore = await KernelStore.open(slow, store.path);
    const { peakBytes } = await runKernelJob({ store: slowStore, source, memoryBytes: enoughForTwo });
    expect(most).toBe(2);
    expect(overlapped).toBeGreaterThan(0);
    expect(peakBytes).toBe(enoughForTwo);
  });

  it("reports progress that only grows, up to all of it", async () => {
    const store = await KernelStore.create(
      files,
      `${await freshFolder()}/K.zarr`,
      specOf(9, 9, 4, { symmetric: true }),
    );
    const seen: KernelProgress[] = [];
    const checked: string[] = [];
    await runKernelJob({
      store,
      source: hashSource(true),
      memoryBytes,
      onProgress: (progress) => seen.push(progress),
      onCheck: (done, total) => checked.push(`${done}/${total}`),
    });
    expect(checked).toEqual(["1/6", "2/6", "3/6", "4/6", "5/6", "6/6"]);
    expect(seen.map((progress) => progress.tilesDone)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(seen[0]).toMatchObject({ pairsDone: 0, pairsTotal: 45, etaSeconds: undefined });
    expect(seen.at(-1)).toMatchObject({ pairsDone: 45, tilesTotal: 6, etaSeconds: 0 });
  });

  it("stops on request after the tiles under way, and goes on from there", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    const store = await KernelStore.create(files, path, specOf(20, 20, 4));
    const controller = new AbortController();
    const stopped = runKernelJob({
      store,
      source: hashSource(false),
      memoryBytes,
      signal: controller.signal,
      onProgress: ({ tilesDone }) => {
        if (tilesDone === 5) controller.abort();
      },
    });
    const error = await stopped.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "E_ABORTED", details: { tilesTotal: 25 } });
    const remaining = (error as { details: { tilesRemaining: number } }).details.tilesRemaining;
    expect((await verify(store)).missing).toHaveLength(remaining);
    expect(remaining).toBeGreaterThan(0);
    expect(await runKernelJob({ store, source: hashSource(false), memoryBytes })).toMatchObject({
      tilesReused: 25 - remaining,
    });
    await expect(
      runKernelJob({ store, source: hashSource(false), memoryBytes, signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: "E_ABORTED" });
  });

  it("passes on what its source throws, when the tiles before it are on disk", async () => {
    const store = await KernelStore.create(files, `${await freshFolder()}/K.zarr`, specOf(20, 4, 4));
    const inner = hashSource(false);
    const source: TileSource = {
      ...inner,
      computeTile: (...tile) =>
        tile[0] === 12 ? Promise.reject(new Error("device lost")) : inner.computeTile(...tile),
    };
    await expect(runKernelJob({ store, source, memoryBytes })).rejects.toThrow("device lost");
    expect((await verify(store)).complete).toBe(3);
    expect(await runKernelJob({ store, source: inner, memoryBytes })).toMatchObject({ tilesReused: 3 });
  });

  it("refuses a value that is not finite, with its row and column", async () => {
    const store = await KernelStore.create(files, `${await freshFolder()}/K.zarr`, specOf(6, 6, 4));
    const source: TileSource = {
      peakBytes: () => 0,
      computeTile: async (i0, i1, j0, j1) => new Float32Array((i1 - i0) * (j1 - j0)).fill(i0 === 4 ? NaN : 1),
    };
    await expect(runKernelJob({ store, source, memoryBytes })).rejects.toMatchObject({
      code: "E_OVERFLOW",
      message: expect.stringMatching(/row 4 and column \d is NaN/) as string,
    });
  });

  it("refuses shards that cannot be", async () => {
    const store = await KernelStore.create(files, `${await freshFolder()}/K.zarr`, specOf(6, 6, 4));
    for (const shard of [
      { index: 2, count: 2 },
      { index: -1, count: 2 },
      { index: 0, count: 0 },
      { index: 0.5, count: 2 },
    ]) {
      await expect(runKernelJob({ store, source: hashSource(false), shard, memoryBytes })).rejects.toMatchObject({
        code: "E_CONFIG",
      });
    }
  });
});

describe("the memory budget", () => {
  it("too small for one tile is refused before anything runs, with the smallest that works", async () => {
    const store = await KernelStore.create(files, `${await freshFolder()}/K.zarr`, specOf(1000, 1000, 256));
    const source = hashSource(false);
    const run = (budget: number) => runKernelJob({ store, source, memoryBytes: budget });
    const error = await run(300_000).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "E_MEMORY", details: { largestTile: 128 } });
    expect(String(error)).toMatch(/256 x 256 tile needs \d+ bytes.*--memory 771KiB.*--tile 128/);
    const { neededBytes } = (error as { details: { neededBytes: number } }).details;
    expect(planMemory(store.grid, source, neededBytes)).toEqual({ writesAtOnce: 1, peakBytes: neededBytes });
    expect(() => planMemory(store.grid, source, neededBytes - 1)).toThrow(/E_MEMORY|bytes/);
    expect(planMemory(store.grid, source, 2 ** 30).writesAtOnce).toBe(4);
    expect(source.calls).toEqual([]);
  });
});

describe("a disk that refuses", () => {
  it.each<[Operation, string, RegExp]>([
    ["write", "ENOSPC", /the disk is full; free some space and run the same command again/],
    ["sync", "EDQUOT", /quota/],
    ["create", "EACCES", /permission denied/],
    ["rename", "EROFS", /read-only/],
    ["makeFolder", "ENOSPC", /the disk is full/],
  ])(
    "at %s (%s) stops the job with E_IO, keeps what is done and leaves no litter",
    async (operation, code, message) => {
      const path = `${await freshFolder()}/K.zarr`;
      const spec = specOf(20, 20, 4, { symmetric: true });
      let tiles = 0;
      let full = true;
      const disk = failing(files, (asked, at) =>
        full && asked === operation && at.includes("/c/4") && (operation === "makeFolder" || tiles++ > 1)
          ? code
          : undefined,
      );
      const store = await KernelStore.create(disk, path, spec);
      const failed = runKernelJob({ store, source: hashSource(true), memoryBytes });
      await expect(failed).rejects.toMatchObject({
        code: "E_IO",
        message: expect.stringMatching(message) as string,
        details: { systemCode: code, path: expect.stringContaining(path) as string },
      });
      const names = [...(await contentOf(path)).keys()];
      expect(names.filter((name) => !/^(c\/\d\/\d|zarr\.json)$/.test(name))).toEqual([]);
      const { damaged, complete } = await verify(store);
      expect(damaged).toEqual([]);
      full = false;
      expect(await runKernelJob({ store, source: hashSource(true), memoryBytes })).toMatchObject({
        tilesReused: complete,
        tilesDone: 15,
      });
    },
  );

  it("does not keep a finished store from being used", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    const store = await KernelStore.create(files, path, specOf(8, 8, 4));
    await runKernelJob({ store, source: hashSource(false), memoryBytes });
    const readOnly = await KernelStore.create(
      failing(files, (operation) => (operation === "read" || operation === "makeFolder" ? undefined : "EROFS")),
      path,
      specOf(8, 8, 4),
    );
    expect(await runKernelJob({ store: readOnly, source: hashSource(false), memoryBytes })).toMatchObject({
      tilesReused: 4,
    });
    await rm(`${path}/c/1/1`);
    await expect(runKernelJob({ store: readOnly, source: hashSource(false), memoryBytes })).rejects.toMatchObject({
      code: "E_IO",
    });
  });
});
