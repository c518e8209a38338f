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
import { WidefieldError } from "../errors.ts";
import { choleskyPlan } from "../linalg/plan.ts";
import { gpMemory, leastFactorBytes } from "./gp-memory.ts";
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
      expect(fits).toMatchObject({ inMemory: true, stored: true });
    }
  });

  it("of the paper's full size says what it takes: 10 GB of kernel, 10 GB of factor", async () => {
    const mnist = digits({ seed: 1 });
    const parse = (text: string) => parseRanges(text, mnist.count);
    const full = { dataset: mnist, arch: preset("convnet-gp"), tile: undefined };
    const sets = { train: parse("5000:55000"), validation: parse("55000:60000,0:5000"), test: parse("60000:70000") };
    const plan = await planGp({ ...base(full), ...sets }, assumed);
    expect(plan.total.pairs).toBe((50000 * 50001) / 2 + 50000 * 20000);
    expect(plan.kernels[0]?.memoryBytes).toBe(1e10);
    expect(plan.factor.bytes / 1e10).toBeCloseTo(1, 1);
    expect(plan.fits.inMemory).toBe(false);
    expect(plan.solver.inMemory).toBeUndefined();
    expect(plan.memory.stored.peakBytes).toBeLessThan(1.1e10);
    const exact = await planGp({ ...base(full), ...sets, solver: "cholesky" }, assumed);
    expect(exact.memory.inMemory.peakBytes).toBeGreaterThan(2e10);
    const double = await planGp({ ...base(full), ...sets, precision: "f64" }, assumed);
    expect(double.kernels[0]?.memoryBytes).toBe(2e10);
    await expect(runGp({ ...base(full), ...sets })).rejects.toMatchObject({
      code: "E_MEMORY",
      message: expect.stringMatching(/needs \d+ MiB of memory, the budget is 1024 MiB/) as string,
    });
  });
});

describe("the least that a factorisation takes", () => {
  it("is what its plan accepts, and a byte less is not", () => {
    for (const n of [1, 3, 64, 65, 130, 777, 1024, 5000]) {
      for (const scratchBytes of [undefined, Infinity]) {
        const memoryBytes = leastFactorBytes(n, 2, scratchBytes);
        const plan = choleskyPlan(n, { memoryBytes, threads: 2 });
        expect(plan.memoryBytes).toBeLessThanOrEqual(memoryBytes);
        if (scratchBytes === undefined) expect(plan.where).not.toBe("scratch");
        const less = () => choleskyPlan(n, { memoryBytes: memoryBytes - 1, threads: 2 });
        if (scratchBytes === Infinity) expect(less).toThrow(WidefieldError);
      }
      expect(leastFactorBytes(n, 2, Infinity)).toBeLessThanOrEqual(leastFactorBytes(n, 2, undefined));
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

  it.each(["cholesky", "eigh", "cg"] as const)(
    "is refused before it starts, with the least that works, which works: %s",
    async (solver) => {
      const train = ranges("0:800");
      const error = await refusal({ train, solver }, 2 ** 23);
      expect(error.code).toBe("E_MEMORY");
      const parts = {
        cholesky: /Cholesky: .*factor/,
        eigh: /eigenvectors: .*decomposition/,
        cg: /conjugate gradients: .*tiles/,
      };
      expect(error.message).toMatch(/\(Kxx 3 MiB, /);
      expect(error.message).toMatch(parts[solver]);
      const [, least = ""] = /--memory (\d+)KiB/.exec(error.message) ?? [];
      const expected = await run({ train, solver }, 2 ** 30);
      expect((await run({ train, solver }, Number(least) * 1024)).predictions).toEqual(expected.predictions);
      const again = await refusal({ train, solver }, (Number(least) - 1) * 1024);
      expect(again.code).toBe("E_MEMORY");
      const fewer = await refusal({ train: ranges("0:400"), solver }, 2 ** 23);
      const budget = 1024 * Number(/--memory (\d+)KiB/.exec(fewer.message)?.[1]);
      const [, most = ""] =
        /at most (\d+) training images/.exec((await refusal({ train, solver }, budget)).message) ?? [];
      expect((await run({ train: ranges(`0:${most}`), solver }, budget)).error.train).toBe(0);
      const more = await refusal({ train: ranges(`0:${Number(most) + 1}`), solver }, budget);
      expect(more.code).toBe("E_MEMORY");
    },
  );

  it("falls back to conjugate gradients, where nothing else fits, and says so", async () => {
    const larger = digits({ size: 12, seed: Date.now(), trainCount: 2400, testCount: 50 });
    const sets = { dataset: larger, train: parseRanges("0:2400", 2450), test: parseRanges("2400:2450", 2450) };
    const experiment = { ...sets, validation: undefined, tile: 256 };
    const backend = await openWasm({ variant: "single", threads: 1 });
    const [direct, iterative] = await Promise.all(
      (["cholesky", "cg"] as const).map((method) =>
        gpMemory(base({ ...experiment, engine: engineOf(backend) }), undefined, method),
      ),
    );
    await backend.close();
    if (direct === undefined || iterative === undefined) throw new Error("two were asked for");
    expect(iterative.peakBytes).toBeLessThan(direct.peakBytes);
    const exact = await run(experiment, direct.peakBytes);
    expect(exact.solve).toMatchObject({ solver: "cholesky" });
    const close = await run(experiment, direct.peakBytes - 1);
    expect(close.solve).toMatchObject({
      solver: "cg",
      reason: expect.stringMatching(/cholesky does not fit/) as string,
    });
    expect(close.logMarginalLikelihood).toBeUndefined();
    expect(close.error).toEqual(exact.error);
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
