/** Plans of GP experiments against the experiments themselves, and against sizes counted by hand. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, wasmEngine } from "../../test/engines.ts";
import { freshFolder } from "../../test/kernel-job-fixtures.ts";
import { openWasm } from "../../test/wasm.ts";
import { conv, dense, flatten, relu, serial } from "../arch/arch.ts";
import { preset } from "../arch/presets.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { digits } from "../data/digits.ts";
import { parseRanges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import type { WidefieldError } from "../errors.ts";
import { gpMemory, triangleBytes } from "./gp-memory.ts";
import { planGp } from "./gp-plan.ts";
import { runGp, type GpExperiment } from "./gp.ts";

const dataset = digits({ size: 12, seed: Date.now(), trainCount: 900, testCount: 300 });
const ranges = (text: string) => parseRanges(text, dataset.count);
const arch = serial(conv({ filter: 5, weightVariance: 40, biasVariance: 1 }), relu(), flatten(), dense());

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(() => engine.close());

const base = (changes: Partial<GpExperiment> = {}): GpExperiment => ({
  engine,
  dataset,
  arch,
  train: ranges("0:300"),
  validation: ranges("400:430"),
  test: ranges("900:990"),
  tile: 64,
  ...changes,
});
const assumed = { assumePairsPerSecond: 1e6, assumeGflops: 10 };

describe("a plan", () => {
  it("counts the pairs, tiles and bytes that the run then computes and writes", async () => {
    const files = await nodeFiles();
    const folder = { files, path: await freshFolder() };
    const plan = await planGp(base({ folder }), assumed);
    expect(plan.total.pairs).toBe((300 * 301) / 2 + 300 * (30 + 90));
    expect(plan.kernels.map(({ label, tiles }) => [label, tiles])).toEqual([
      ["Kxx", 15],
      ["Kxv", 5],
      ["Kxt", 10],
    ]);
    expect(await files.list(folder.path)).toEqual([]);
    const result = await runGp(base({ folder }));
    expect(result.kernel.pairs).toBe(plan.total.pairs);
    let bytes = 0;
    for (const name of ["kxx", "kxv", "kxt"]) {
      for (const i of await files.list(`${folder.path}/${name}.zarr/c`)) {
        for (const j of await files.list(`${folder.path}/${name}.zarr/c/${i}`))
          bytes += (await files.size(`${folder.path}/${name}.zarr/c/${i}/${j}`)) ?? 0;
      }
    }
    expect(bytes).toBe(plan.diskBytes);
  });

  it("takes the rates that it is told to assume, and measures the others", async () => {
    const plan = await planGp(base(), assumed);
    expect(plan.kernels[0]?.seconds).toBeCloseTo(45150 / 1e6, 12);
    expect(plan.factor.seconds).toBeCloseTo(300 ** 3 / 3 / 1e10, 12);
    expect(plan.rates).toMatchObject({ pairsPerSecondMeasured: false, gflopsMeasured: false });
    const measured = await planGp(base({ train: ranges("0:40") }));
    expect(measured.rates).toMatchObject({ pairsPerSecondMeasured: true, gflopsMeasured: true });
    expect(measured.rates.pairsPerSecond).toBeGreaterThan(0);
    expect(measured.total.seconds).toBeGreaterThan(0);
    expect(await engine.stats()).toMatchObject({ buffers: 0, bytes: 0 });
    for (const rate of [0, -1, NaN, Infinity])
      await expect(planGp(base(), { assumePairsPerSecond: rate })).rejects.toMatchObject({ code: "E_CONFIG" });
  });

  it("works for single images, for float64, and without other sets", async () => {
    for (const changes of [
      { train: ranges("0:1") },
      { train: ranges("0:2"), precision: "f64" },
      { validation: undefined, test: undefined, variance: true },
    ] satisfies Partial<GpExperiment>[]) {
      const { total, fits } = await planGp(base(changes));
      expect(total.seconds).toBeGreaterThan(0);
      expect(fits).toMatchObject({ inMemory: true, stored: true, factor: true });
    }
  });

  it("of the paper's full size says what it takes: 10 GB of kernel, 10 GB of factor, which WebAssembly cannot address", async () => {
    const mnist = digits({ seed: 1 });
    const parse = (text: string) => parseRanges(text, mnist.count);
    const full = { dataset: mnist, arch: preset("convnet-gp"), tile: undefined };
    const sets = { train: parse("5000:55000"), validation: parse("55000:60000,0:5000"), test: parse("60000:70000") };
    const plan = await planGp({ ...base(full), ...sets }, assumed);
    expect(plan.total.pairs).toBe((50000 * 50001) / 2 + 50000 * 20000);
    expect(plan.kernels[0]?.memoryBytes).toBe(1e10);
    expect(plan.factor.bytes / 1e10).toBeCloseTo(1, 1);
    expect(plan.fits.factor).toBe(false);
    expect(plan.fits).toMatchObject({ inMemory: false, stored: false });
    expect(plan.memory.inMemory.peakBytes).toBeGreaterThan(2e10);
    expect(plan.memory.stored.peakBytes).toBeLessThan(1.1e10);
    const double = await planGp({ ...base(full), ...sets, precision: "f64" }, assumed);
    expect(double.kernels[0]?.memoryBytes).toBe(2e10);
    await expect(runGp({ ...base(full), ...sets })).rejects.toMatchObject({
      code: "E_MEMORY",
      message: expect.stringMatching(
        /4096 MiB that WebAssembly addresses.*at most 3[12]\d\d\d training images/,
      ) as string,
    });
  });
});

describe("the triangle of a factor", () => {
  it("has the bytes that the factorisation allocates", async () => {
    const { Tiling } = await import("../linalg/tiling.ts");
    const { Window } = await import("../linalg/window.ts");
    const backend = await engine.cpu();
    for (const n of [1, 3, 64, 65, 130, 777, 1024, 1500]) {
      const before = backend.stats().bytes;
      const tiling = new Tiling(n);
      const window = new Window(backend, tiling, tiling.totalBytes, "a triangle");
      const taken = backend.stats().bytes - before;
      window.free();
      expect(taken - triangleBytes(n)).toBeGreaterThanOrEqual(0);
      // The tile table, in whole cache lines.
      expect(taken - triangleBytes(n)).toBeLessThan(4 * (n / 64 + 1) + 128);
    }
  });
});

describe("an experiment in too little memory", () => {
  const refusal = async (changes: Partial<GpExperiment>, memoryBytes: number): Promise<WidefieldError> => {
    const backend = await openWasm({ variant: "single", threads: 1 });
    try {
      return await runGp(base({ ...changes, engine: engineOf(backend, memoryBytes) })).then(
        () => expect.fail("it was not refused"),
        (error: unknown) => error as WidefieldError,
      );
    } finally {
      await backend.close();
    }
  };
  const run = async (changes: Partial<GpExperiment>, memoryBytes: number) => {
    const backend = await openWasm({ variant: "single", threads: 1 });
    try {
      return await runGp(base({ ...changes, engine: engineOf(backend, memoryBytes) }));
    } finally {
      await backend.close();
    }
  };

  it("is refused before it starts, with the least that works, which works", async () => {
    const train = ranges("0:800");
    const error = await refusal({ train }, 2 ** 24);
    expect(error.code).toBe("E_MEMORY");
    expect(error.message).toMatch(/Cholesky: \d+ MiB \(Kxx 3 MiB, .*factor \d+ MiB/);
    const [, least = "", most = ""] = /--memory (\d+)KiB[^]*at most (\d+) training images/.exec(error.message) ?? [];
    const expected = await run({ train }, 2 ** 30);
    expect((await run({ train }, Number(least) * 1024)).predictions).toEqual(expected.predictions);
    expect((await refusal({ train }, (Number(least) - 1) * 1024)).code).toBe("E_MEMORY");
    expect((await run({ train: ranges(`0:${most}`) }, 2 ** 24)).error.train).toBe(0);
    expect((await refusal({ train: ranges(`0:${Number(most) + 1}`) }, 2 ** 24)).code).toBe("E_MEMORY");
  });

  it("is sent to the disk where its kernels in memory are what does not fit", async () => {
    const files = await nodeFiles();
    const folder = { files, path: await freshFolder() };
    const train = ranges("0:900");
    const [inMemory, stored] = [await gpMemory(base({ train })), await gpMemory(base({ train, folder }))];
    expect(stored.peakBytes).toBeLessThan(inMemory.peakBytes);
    const between = Math.floor((stored.peakBytes + inMemory.peakBytes) / 2);
    expect((await refusal({ train }, between)).message).toMatch(/--store DIR, which fits/);
    expect((await run({ train, folder }, between)).error.train).toBe(0);
  });
});
