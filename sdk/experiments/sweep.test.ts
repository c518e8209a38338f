/** Sweeps: their folder, what stops and resumes, and what they refuse. */
import { readFile, readdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { freshFolder } from "../../test/kernel-job-fixtures.ts";
import { digitsProblem } from "../../test/regression-problem.ts";
import { freshSeed } from "../../test/seed.ts";
import { conv, dense, flatten, relu, serial } from "../arch/arch.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import type { Files } from "../platform/files.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { runKrr } from "./krr.ts";
import { sweepKernels } from "./sweep-kernels.ts";
import { cellsOf, runKrrSweep, type KrrSweep } from "./sweep-krr.ts";
import { bestOfSweep, type SweepRow } from "./sweep-row.ts";

const seed = freshSeed();
const openArch = () => Promise.reject(new WidefieldError("E_CONFIG", "no such architecture"));
const options = { problem: "digits", lambdas: [0.01, 1], constants: [0.5, 2], openArch };

let engine: Engine;
let files: Files;
let base: Pick<KrrSweep, "problem" | "levels" | "kernels" | "train" | "test" | "open">;
let opened: number[] = [];
beforeAll(async () => {
  engine = await wasmEngine();
  files = await nodeFiles();
  base = {
    ...{ problem: "digits-hf", levels: [0, 3], train: "0:60", test: "200:240" },
    kernels: await sweepKernels("ntk2,poly2", options),
    open: async (level) => {
      opened.push(level);
      return digitsProblem(seed + level);
    },
  };
});
afterAll(() => engine.close());

function sweep(path: string, changes: Partial<KrrSweep> = {}) {
  opened = [];
  return runKrrSweep({ engine, files, path, ...base, ...changes });
}

const place = async () => `${await freshFolder()}/sweep`;
/** What does not depend on the clock. */
const timeless = (rows: readonly SweepRow[]) =>
  rows.map(({ seconds, ...row }) => ({ ...row, timed: Object.keys(seconds) }));
const CELLS = [0, 3].flatMap((level) => ["ntk2", "poly2-c0.5", "poly2-c2"].map((name) => `level-0${level}.${name}`));

describe("a sweep", () => {
  it("records the regression of every cell, opening each level once", async () => {
    const path = await place();
    const { rows } = await sweep(path);
    expect(rows.map(({ cell }) => cell)).toEqual(CELLS);
    expect(opened).toEqual([0, 3]);
    const problem = digitsProblem(seed + 3);
    const alone = await runKrr({
      ...{ engine, problem, lambdas: [0.01, 1], kernel: { name: "poly", degree: 2, constant: 0.5 } },
      ...{ train: [{ start: 0, end: 60 }], test: [{ start: 200, end: 240 }] },
    });
    const { train, test } = alone.rows[1] ?? {};
    expect(rows[4]).toMatchObject({
      line: "poly2",
      level: 3,
      status: "done",
      fits: [{ lambda: 0.01 }, { train, test }],
    });
    const csv = (await readFile(`${path}/results.csv`, "utf8")).trimEnd().split("\n");
    expect(csv).toHaveLength(1 + 2 * CELLS.length);
    expect(csv[1]).toMatch(/^level-00\.ntk2,0,ntk2,0\.01,/);
    const json = (await readFile(`${path}/results.jsonl`, "utf8")).trimEnd().split("\n");
    expect(json.map((line) => JSON.parse(line) as unknown)).toEqual(rows);
  });

  it("stopped between cells keeps those that are done, and ends with the rows of one that was not stopped", async () => {
    const path = await place();
    const controller = new AbortController();
    const stopped = sweep(path, {
      signal: controller.signal,
      onCells: (_, done) => {
        if (done === 2) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({
      code: "E_ABORTED",
      message: expect.stringMatching(/stopped with 2 of 6 fits finished; the same command goes on$/) as string,
    });
    expect((await readdir(`${path}/cells`)).sort()).toEqual(["level-00.ntk2.json", "level-00.poly2-c0.5.json"]);
    const [rest, whole] = [await sweep(path), await sweep(await place())];
    expect(timeless(rest.rows)).toEqual(timeless(whole.rows));
    await sweep(path);
    expect(opened).toEqual([]);
  });

  it("in shards that share a folder has the rows of a whole one; with its kernels kept, too", async () => {
    const path = await place();
    for (const index of [1, 0]) await sweep(path, { shard: { index, count: 2 }, keepKernels: true });
    const [{ rows }, whole] = [await sweep(path), await sweep(await place())];
    expect(timeless(rows)).toEqual(timeless(whole.rows));
    expect(await readdir(`${path}/kernels/level-03.ntk2`)).toEqual(["kxt.zarr", "kxx.zarr"]);
  });

  it("refuses the folder of another grid, with what differs, and that of something else", async () => {
    const path = await place();
    const one = { levels: [0], kernels: base.kernels.slice(0, 1) };
    await sweep(path, one);
    const before = await readFile(`${path}/results.jsonl`, "utf8");
    const refused = sweep(path, {
      ...one,
      train: "0:61",
      kernels: await sweepKernels("ntk2", { ...options, lambdas: [0.01, 3] }),
    });
    await expect(refused).rejects.toMatchObject({
      code: "E_MISMATCH",
      details: { differences: ["grid.kernels[0].lambdas[1]: 1 -> 3", "grid.train: 0:60 -> 0:61"] },
    });
    expect(await readFile(`${path}/results.jsonl`, "utf8")).toBe(before);
    const other = await freshFolder();
    await writeFile(`${other}/notes.txt`, "mine");
    await expect(sweep(other, one)).rejects.toMatchObject({ code: "E_MISMATCH" });
    expect(await readdir(other)).toEqual(["notes.txt"]);
  });

  it("refuses to go on with other data, and with test images that it was fitted to", async () => {
    const path = await place();
    const first = new AbortController();
    const one = (_: unknown, done: number) => {
      if (done === 1) first.abort();
    };
    await expect(sweep(path, { signal: first.signal, onCells: one })).rejects.toMatchObject({ code: "E_ABORTED" });
    await expect(sweep(path, { open: async () => digitsProblem(seed + 9) })).rejects.toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringContaining("level 0 was computed with other data") as string,
    });
    await expect(sweep(await place(), { test: "50:90" })).rejects.toMatchObject({ code: "E_RANGE" });
    await expect(sweep(await place(), { levels: [] })).rejects.toMatchObject({ code: "E_CONFIG" });
  });

  it("names a damaged record, and says what to do", async () => {
    const path = await place();
    const one = { levels: [0], kernels: base.kernels.slice(0, 1) };
    await sweep(path, one);
    await writeFile(`${path}/cells/level-00.ntk2.json`, '{"cell": "level-00.ntk2"');
    await expect(sweep(path, one)).rejects.toMatchObject({
      code: "E_CORRUPT",
      message: expect.stringMatching(/level-00\.ntk2\.json is damaged: .*; remove it, and the same command/) as string,
    });
  });

  it("finds damage that leaves valid JSON, in rows without a checksum too where the grid tells", async () => {
    const path = await place();
    const one = { levels: [0], kernels: base.kernels.slice(1, 2) };
    const { rows } = await sweep(path, one);
    const file = `${path}/cells/level-00.poly2-c0.5.json`;
    const intact = JSON.parse(await readFile(file, "utf8")) as SweepRow & { crc32c?: string };
    expect(intact.crc32c).toMatch(/^[0-9a-f]{8}$/);
    expect(Object.keys(rows[0] ?? {})).not.toContain("crc32c");
    const { crc32c, ...plain } = intact;
    const [first, ...others] = plain.fits;
    if (first === undefined || first.test === null) throw new Error("the first ridge was solved with");
    const { squaredError } = first.test;
    const damages: object[] = [
      { ...plain, fits: [{ ...first, test: { ...first.test, squaredError: squaredError / 8 } }, ...others], crc32c },
      { ...plain, level: 3 },
      { ...plain, model: { name: "poly", degree: 2, constant: 0.25 } },
      { ...plain, fits: [{ ...first, lambda: 0.011 }, ...others] },
      { ...plain, fits: others },
    ];
    for (const damage of damages) {
      await writeFile(file, JSON.stringify(damage));
      await expect(sweep(path, one)).rejects.toMatchObject({
        code: "E_CORRUPT",
        message: expect.stringMatching(/is damaged: .*; remove it, and the same command computes that cell/) as string,
      });
    }
    await writeFile(file, JSON.stringify(plain));
    expect((await sweep(path, one)).rows).toEqual(rows);
  });

  it("records ridges that are too small for a kernel, and goes on", async () => {
    const kernels = await sweepKernels("poly1", { ...options, lambdas: [-1e6, 1] });
    const { rows } = await sweep(await place(), { levels: [0], kernels });
    expect(rows[0]).toMatchObject({
      status: "done",
      fits: [{ lambda: -1e6, train: null, test: null }, { reason: null }],
    });
    const hopeless = await sweepKernels("poly1", { ...options, lambdas: [-1e6] });
    const failed = await sweep(await place(), { levels: [0], kernels: hopeless });
    expect(failed.rows.map(({ status }) => status)).toEqual(["failed", "failed"]);
    expect(failed.rows[0]?.reason).toMatch(/not positive definite/);
    expect(bestOfSweep(failed.rows)).toEqual([]);
  });
});

describe("a mistake in a sweep's command", () => {
  const begun = async (path: string) => (await readdir(path).catch(() => [])).length > 0;

  it.each<[string, Partial<KrrSweep>, string]>([
    ["a level that the noise does not have", { levels: [0, 99] }, "E_CONFIG"],
    ["levels of a problem without noise", { problem: "digits" }, "E_CONFIG"],
    ["a level given twice", { levels: [0, 0] }, "E_CONFIG"],
    ["a range that is none", { train: "0:sixty" }, "E_RANGE"],
    ["images that are not there", { test: "200:99999999" }, "E_RANGE"],
    ["test images among the training images", { test: "50:90" }, "E_RANGE"],
    ["a tolerance that is none", { tolerance: NaN }, "E_CONFIG"],
  ])("leaves nothing that the corrected command would stumble over: %s", async (_, changes, code) => {
    const path = await place();
    await expect(sweep(path, changes)).rejects.toMatchObject({ code });
    expect(await begun(path)).toBe(false);
  });

  it("leaves nothing either where a kernel cannot take the images, or a parameter", async () => {
    const path = await place();
    const [{ lambdas }] = base.kernels as [KrrSweep["kernels"][number]];
    const flat = { name: "arch", arch: serial(flatten(), conv({ filter: 3 }), relu()), kind: "nngp" } as const;
    const kernels = [
      { name: "flat", line: "flat", kernel: flat, lambdas },
      { name: "poly", line: "poly", kernel: { name: "poly", degree: 2, constant: NaN } as const, lambdas },
    ];
    for (const kernel of kernels) {
      await expect(sweep(path, { kernels: [kernel] })).rejects.toBeInstanceOf(WidefieldError);
      expect(await begun(path)).toBe(false);
    }
  });

  it("lets two kernels of one name not overwrite each other", async () => {
    const path = await place();
    const [one] = base.kernels as [KrrSweep["kernels"][number]];
    const two = [one, { ...one, kernel: { name: "rf2" } as const }];
    await expect(sweep(path, { kernels: two })).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringContaining("two kernels of the sweep are named ntk2") as string,
    });
    expect(await begun(path)).toBe(false);
  });
});

describe("conjugate gradients in a sweep", () => {
  it("that did not arrive are not recorded, and the others are; the tolerance is the grid's", async () => {
    const path = await place();
    const [steep, plain] = await sweepKernels("poly3,ntk2", { ...options, constants: [0], lambdas: [1e-13] });
    if (steep === undefined || plain === undefined) throw new Error("two kernels were asked for");
    const changes: Partial<KrrSweep> = {
      ...{ levels: [0], method: "multi-shift-cg", tolerance: 1e-15, precision: "f64" },
      kernels: [steep, { ...plain, lambdas: [1e6] }],
    };
    const loose = { ...changes, tolerance: 1e-6 };
    await expect(sweep(path, { ...changes, kernels: [{ ...plain, lambdas: [1e-13] }] })).rejects.toMatchObject({
      code: "E_NOT_CONVERGED",
      message: expect.stringMatching(/1 of 1 fits did not converge and were left out/) as string,
    });
    expect(await readdir(`${path}/cells`)).toEqual([]);
    await expect(sweep(path, { ...loose, kernels: [{ ...plain, lambdas: [1e-13] }] })).rejects.toMatchObject({
      details: { differences: ["grid.tolerance: 1e-15 -> 0.000001"] },
    });
    const other = await place();
    const { rows } = await sweep(other, { ...loose, kernels: [{ ...plain, lambdas: [1e6] }] });
    expect(rows.map(({ method }) => method)).toEqual(["multi-shift-cg"]);
  });
});

describe("the best of a sweep", () => {
  it("is the least test error over ridges and cells of a line, at each level", async () => {
    const { rows } = await sweep(await place());
    const best = bestOfSweep(rows);
    expect(best.map(({ line, level }) => `${line} ${level}`)).toEqual(["ntk2 0", "ntk2 3", "poly2 0", "poly2 3"]);
    const errors = rows
      .filter(({ line, level }) => line === "poly2" && level === 3)
      .flatMap(({ fits }) => fits.map(({ test }) => test?.squaredError ?? NaN));
    expect(errors).toHaveLength(4);
    expect(best[3]?.squaredError).toBe(Math.min(...errors));
  });
});

describe("the kernels of a sweep", () => {
  it("are named with their parameters, and have the paper's ridges unless others are given", async () => {
    const kernels = await sweepKernels("rf2,ntk3,poly3", { problem: "fmnist-hf", openArch });
    expect(kernels.map(({ name }) => name).slice(0, 4)).toEqual(["rf2", "ntk3", "poly3-c0.125", "poly3-c0.1984"]);
    expect(kernels).toHaveLength(12);
    expect(kernels.map(({ lambdas }) => lambdas[0])).toEqual([0.1, 1e-4, ...Array.from({ length: 10 }, () => 0.1)]);
    expect(kernels[1]?.kernel).toMatchObject({ name: "arch", kind: "ntk" });
    expect(cellsOf({ levels: [7, 12], kernels }).map(({ name }) => name)).toContain("level-12.poly3-c8");
    const [net] = await sweepKernels("nets/my net.json:ntk", {
      ...options,
      openArch: async () => (kernels[1]?.kernel.name === "arch" ? kernels[1].kernel.arch : openArch()),
    });
    expect(net).toMatchObject({ name: "my_net-ntk", line: "my_net ntk" });
  });

  it("have names of their own, with all digits of a constant where four do not tell them apart", async () => {
    const close = await sweepKernels("poly2", { ...options, constants: [0.5, 0.50001, 2] });
    expect(close.map(({ name }) => name)).toEqual(["poly2-c0.5", "poly2-c0.50001", "poly2-c2"]);
    const network = serial(flatten(), dense());
    const opened = { ...options, openArch: async () => network };
    for (const names of ["a/net.json:ntk,b/net.json:ntk", "net:ntk,./Net.json:ntk"])
      await expect(sweepKernels(names, opened)).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(sweepKernels("poly2", { ...options, constants: [0.5, 0.5] })).rejects.toMatchObject({
      message: expect.stringContaining("poly2-c0.5") as string,
    });
    await expect(sweepKernels("poly2", { ...options, constants: [-1] })).rejects.toMatchObject({ code: "E_CONFIG" });
  });

  it.each([
    ["ntk2x", "ntk2"],
    ["rbf", "rbf:28"],
    ["laplac:3", "laplace:28"],
  ])("that are not there have a nearest one: %s", async (name, nearest) => {
    await expect(sweepKernels(name, options)).rejects.toThrow(`did you mean "${nearest}"?`);
  });

  it.each(["", "ntk9", "poly0", "poly", "ntk2,rf2,ntk2", "myrtle5"])("refuse %j", async (names) => {
    await expect(sweepKernels(names, options)).rejects.toMatchObject({ code: "E_CONFIG" });
  });
});
