/** Stored kernels of real programs, and the GP experiment on them. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, gpuEngine, wasmEngine } from "../../test/engines.ts";
import { contentOf, failing, freshFolder } from "../../test/kernel-job-fixtures.ts";
import { openWasm } from "../../test/wasm.ts";
import { conv, dense, flatten, relu, serial } from "../arch/arch.ts";
import { kernel } from "../arch/kernel.ts";
import { nngp } from "../arch/kernel-spec.ts";
import type { Files } from "../platform/files.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { KernelStore } from "../covariance/store/store.ts";
import { digits } from "../data/digits.ts";
import { parseRanges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import { runGp, type GpExperiment } from "./gp.ts";
import { storeKernel, type StoredKernelJob } from "./stored-kernel.ts";

const dataset = digits({ size: 12, seed: Date.now(), trainCount: 300, testCount: 100 });
const ranges = (text: string) => parseRanges(text, dataset.count);
const arch = serial(
  conv({ filter: 5, weightVariance: 40, biasVariance: 1 }),
  relu(),
  conv({ filter: 3, stride: 2, weightVariance: 2 }),
  relu(),
  flatten(),
  dense({ weightVariance: 2, biasVariance: 0.1 }),
);

let engine: Engine;
let files: Files;
beforeAll(async () => {
  engine = await wasmEngine();
  files = await nodeFiles();
});
afterAll(() => engine.close());

async function store(folder: string, name: string, changes: Partial<StoredKernelJob> = {}) {
  const rows = ranges("0:90");
  return storeKernel({
    engine,
    dataset,
    kernel: nngp(arch),
    rows,
    files,
    path: `${folder}/${name}`,
    tile: 20,
    ...changes,
  });
}

/** A store's tiles, in hexadecimal. */
async function tiles(folder: string, name: string): Promise<Record<string, string>> {
  const content = [...(await contentOf(`${folder}/${name}`))].filter(([file]) => file.startsWith("c/"));
  return Object.fromEntries(content.map(([file, bytes]) => [file, bytes.toString("hex")]));
}

const whole = { begin: 0, end: 90 };

describe("a stored kernel, bit for bit", () => {
  it("is the one in memory, for every tile size and on every number of threads", async () => {
    const folder = await freshFolder();
    const single = await wasmEngine({ variant: "single", threads: 1 });
    const { values } = await kernel(engine, arch, dataset.select("0:90"));
    for (const tile of [16, 64, 100, 256]) {
      for (const each of [engine, single]) {
        const made = await store(folder, `${tile}-${each.info.threads}.zarr`, { tile, engine: each });
        expect(await made.store.readBlock(whole, whole), `tile ${tile}`).toEqual(values);
      }
    }
    await single.close();
  });

  it("is the same in 1, 2 and 3 shards", async () => {
    const folder = await freshFolder();
    await store(folder, "1.zarr");
    for (const count of [2, 3]) {
      for (let index = count - 1; index >= 0; index--)
        await store(folder, `${count}.zarr`, { shard: { index, count } });
      expect(await tiles(folder, `${count}.zarr`)).toEqual(await tiles(folder, "1.zarr"));
    }
  });

  it("is the same after tiles were lost or damaged, and after it was stopped", async () => {
    const folder = await freshFolder();
    await store(folder, "K.zarr");
    const expected = await tiles(folder, "K.zarr");
    const names = Object.keys(expected);
    for (let turn = 0; turn < 5; turn++) {
      const [lost, damaged] = [0, 1].map(() => names[Math.floor(Math.random() * names.length)] ?? "");
      const file = `${folder}/K.zarr/${damaged ?? ""}`;
      const bytes = await readFile(file);
      const place = Math.floor(Math.random() * bytes.length);
      bytes[place] = (bytes[place] ?? 0) ^ (1 << Math.floor(Math.random() * 8));
      await writeFile(file, bytes);
      await rm(`${folder}/K.zarr/${lost ?? ""}`);
      const { result } = await store(folder, "K.zarr");
      expect(result.tilesRepaired).toBe(lost === damaged ? 0 : 1);
      expect(result.tilesReused).toBe(names.length - (lost === damaged ? 1 : 2));
      expect(await tiles(folder, "K.zarr")).toEqual(expected);
    }
    const controller = new AbortController();
    const stopped = store(folder, "S.zarr", {
      signal: controller.signal,
      onProgress: ({ tilesDone }) => {
        if (tilesDone > 3) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: "E_ABORTED" });
    await store(folder, "S.zarr");
    expect(await tiles(folder, "S.zarr")).toEqual(expected);
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("is the same on a GPU for every tile size, and is not mixed with another backend's", async () => {
    const folder = await freshFolder();
    const gpu = await gpuEngine();
    const [a, b] = [
      await store(folder, "a.zarr", { engine: gpu }),
      await store(folder, "b.zarr", { engine: gpu, tile: 64 }),
    ];
    expect(await a.store.readBlock(whole, whole)).toEqual(await b.store.readBlock(whole, whole));
    await expect(store(folder, "a.zarr")).rejects.toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringMatching(/backend: webgpu -> wasm/) as string,
    });
    await gpu.close();
  });

  it("survives a full disk: a clear message, and the same bytes once there is room", async () => {
    const folder = await freshFolder();
    await store(folder, "K.zarr");
    let writes = 0;
    const full = failing(files, (operation, path) =>
      operation === "write" && path.includes("/c/") && ++writes > 6 ? "ENOSPC" : undefined,
    );
    await expect(store(folder, "F.zarr", { files: full })).rejects.toMatchObject({
      code: "E_IO",
      message: expect.stringMatching(/F\.zarr.*ENOSPC/) as string,
    });
    const { result } = await store(folder, "F.zarr");
    expect(result.tilesReused).toBeGreaterThan(0);
    expect(result.tilesRepaired).toBe(0);
    expect(await tiles(folder, "F.zarr")).toEqual(await tiles(folder, "K.zarr"));
  });
});

describe("the GP experiment", () => {
  const base = () => ({
    engine,
    dataset,
    arch,
    train: ranges("0:90"),
    validation: ranges("100:130"),
    test: ranges("300:340"),
  });
  const run = (changes: Partial<GpExperiment> = {}) => runGp({ ...base(), jitter: 1e-4, variance: true, ...changes });

  it("gives the same from memory, from a folder, and from the leading part of larger stores", async () => {
    const folder = await freshFolder();
    const direct = await run();
    const stored = await run({ folder: { files, path: folder } });
    const again = await run({ folder: { files, path: folder } });
    expect(again.kernel.pairs).toBe(0);
    const rows = ranges("0:150");
    const kxx = (await store(folder, "large-kxx.zarr", { rows })).store;
    const kxv = (await store(folder, "large-kxv.zarr", { rows, columns: ranges("100:160") })).store;
    const kxt = (await store(folder, "large-kxt.zarr", { rows, columns: ranges("300:400") })).store;
    const leading = await run({ stores: { kxx, kxv, kxt } });
    // Transposed: test images in the rows.
    const ktx = (await store(folder, "large-ktx.zarr", { rows: ranges("300:400"), columns: rows })).store;
    const turned = await run({ stores: { kxx, kxv, kxt: ktx } });
    for (const result of [stored, again, leading, turned]) {
      expect(result.error).toEqual(direct.error);
      expect(result.predictions).toEqual(direct.predictions);
      expect(result.scores).toEqual(direct.scores);
    }
    expect(leading.kernel.pairs).toBe(0);
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("refuses stores of another architecture, data set or images, line by line", async () => {
    const folder = await freshFolder();
    const { store: kxx } = await store(folder, "K.zarr");
    const other = serial(conv({ filter: 5, weightVariance: 41, biasVariance: 1 }), relu(), flatten());
    const refused = (message: RegExp) => ({ code: "E_MISMATCH", message: expect.stringMatching(message) as string });
    await expect(run({ arch: other, stores: { kxx } })).rejects.toMatchObject(
      refused(/arch\.layers\[0\]\.weightVariance: 40 -> 41[^]*arch\.layers\[2\]/),
    );
    const others = digits({ size: 12, seed: 77, trainCount: 300, testCount: 101 });
    await expect(run({ dataset: others, stores: { kxx } })).rejects.toMatchObject(refused(/dataset\.sha256: /));
    for (const train of ["1:90", "0:91", "0:50,60:70"])
      await expect(run({ train: ranges(train), stores: { kxx } })).rejects.toMatchObject(refused(/not a leading part/));
    await expect(run({ stores: { kxt: kxx } })).rejects.toMatchObject(
      refused(/columns 0:90; 300:340 is not a leading part/),
    );
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });

  it("refuses stores with tiles missing, and says how to make them", async () => {
    const folder = await freshFolder();
    const { store: kxx } = await store(folder, "K.zarr");
    await rm(`${folder}/K.zarr/c/1/0`);
    await expect(run({ stores: { kxx } })).rejects.toMatchObject({
      code: "E_DATA",
      message: expect.stringMatching(/tile \(1, 0\) is missing.*it resumes/) as string,
    });
    expect(await KernelStore.open(files, `${folder}/K.zarr`)).toBeInstanceOf(KernelStore);
  });

  it("calibrates on validation: scores of every image sum to 1, none without a validation set", async () => {
    const { scores, temperature } = await run();
    expect(temperature).toBeGreaterThan(0);
    for (const table of [scores.validation, scores.test]) {
      for (let row = 0; row < (table?.length ?? 0); row += 10)
        expect(table?.subarray(row, row + 10).reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 12);
    }
    const without = await run({ validation: undefined });
    expect(without.temperature).toBeUndefined();
    expect(without.scores).toEqual({});
    expect(Object.keys(without.error)).toEqual(["train", "test"]);
  });

  it("warns where a set overlaps the training images", async () => {
    const log: string[] = [];
    const backend = await openWasm({ variant: "single", threads: 1 });
    await run({
      engine: engineOf(backend, 2 ** 30, (line) => log.push(line)),
      test: ranges("80:95"),
      validation: undefined,
    });
    expect(log).toEqual([
      expect.stringMatching(/^warning: test overlaps train in 80:90/),
      expect.stringMatching(/^solve: cholesky for n = 90/),
    ]);
    await backend.close();
  });

  it("in float64 is the float32 result, nearly", async () => {
    const [single, double] = [await run(), await run({ precision: "f64" })];
    const means = (result: typeof single) => result.predictions.test?.mean ?? new Float64Array();
    const worst = Math.max(...means(single).map((mean, at) => Math.abs(mean - (means(double)[at] ?? NaN))));
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThan(1e-2);
  });

  it("stops when asked to, and releases what it held", async () => {
    const controller = new AbortController();
    const stopped = run({ tile: 16, signal: controller.signal, onProgress: () => controller.abort() });
    await expect(stopped).rejects.toMatchObject({ code: "E_ABORTED" });
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
  });
});
