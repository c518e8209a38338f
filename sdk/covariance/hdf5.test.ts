/** Matrices in HDF5 files, written here by the library that reads them: the shapes, gaps and orders of cnn-gp's. */
import { mkdtemp, open, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import h5wasm, { type Dataset } from "h5wasm/node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { importHdf5, isHdf5, unreadable } from "./hdf5.node.ts";
import { importNpy } from "./import.ts";
import { nodeFiles } from "../platform/files.node.ts";
import type { Files } from "../platform/files.ts";
import { npyHeader } from "../numpy/npy.ts";
import { KernelStore } from "./store/store.ts";

const memoryBytes = 1 << 26;
let files: Files;
let folder: string;
let count = 0;
beforeAll(async () => {
  files = await nodeFiles();
  folder = await mkdtemp(join(tmpdir(), "widefield-hdf5-"));
  await h5wasm.ready;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const saying = (message: RegExp) => expect.stringMatching(message) as string;

interface Written {
  readonly values: Float32Array | Float64Array;
  readonly shape: number[];
  readonly chunks?: number[];
}

/** A file with these datasets; a name with a slash stands in a group. */
function written(datasets: Readonly<Record<string, Written>>): string {
  const path = `${folder}/${count++}.h5`;
  const file = new h5wasm.File(path, "w");
  for (const [name, { values, shape, chunks }] of Object.entries(datasets)) {
    const dtype = values instanceof Float32Array ? "<f" : "<d";
    const [key = "", group] = name.split("/").reverse();
    const parent = group === undefined ? file : file.create_group(group);
    parent.create_dataset({ name: key, data: values, shape, dtype, ...(chunks === undefined ? {} : { chunks }) });
  }
  file.close();
  return path;
}

/** What the library says of a matrix that it packed with gzip. */
function packed(compression: number): Pick<Dataset, "dtype" | "filters"> {
  const file = new h5wasm.File(`${folder}/${count++}.h5`, "w");
  const data = Float32Array.of(1, 2, 2, 1);
  const made = file.create_dataset({ name: "Kxx", data, shape: [2, 2], chunks: [2, 2], compression });
  const { dtype, filters } = made;
  file.close();
  return { dtype, filters };
}

const random = mulberry32(freshSeed());
const matrix = (rows: number, columns: number) => Float32Array.from({ length: rows * columns }, () => random() + 0.5);

function symmetric(n: number): Float32Array {
  const values = matrix(n, n);
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) values[j * n + i] = values[i * n + j] ?? NaN;
  return values;
}

/** What a worker of cnn-gp leaves: NaN wherever `kept` says no, block by block. */
function gappy(values: Float32Array, n: number, batch: number, kept: (i: number, j: number) => boolean): Float32Array {
  return values.map((value, at) => {
    const [i, j] = [Math.floor(Math.floor(at / n) / batch), Math.floor((at % n) / batch)];
    return kept(i, j) ? value : NaN;
  });
}

async function imported(path: string, options: { dataset?: string; merge?: string[]; tile?: number } = {}) {
  const to = `${folder}/${count++}.zarr`;
  const result = await importHdf5(files, path, to, { memoryBytes, tile: 7, ...options });
  const { rows, columns } = result.store.grid;
  const values = await result.store.readBlock({ begin: 0, end: rows }, { begin: 0, end: columns });
  return { ...result, values };
}

describe("Kxx of cnn-gp", () => {
  it("with blocks on one side of the diagonal only is the whole symmetric matrix, whatever the sizes", async () => {
    const size = fc.integer({ min: 1, max: 30 });
    await fc.assert(
      fc.asyncProperty(size, size, fc.integer({ min: 1, max: 16 }), fc.boolean(), async (n, batch, tile, upper) => {
        const whole = symmetric(n);
        const values = gappy(whole, n, batch, (i, j) => (upper ? i <= j : i >= j));
        const chunk = Math.min(batch, n);
        const path = written({ Kxx: { values, shape: [1, n, n], chunks: [1, chunk, chunk] } });
        const result = await imported(path, { tile });
        expect(result.values).toEqual(whole);
        expect(result.store.manifest).toMatchObject({
          symmetric: true,
          kind: "imported",
          precision: "f32",
          arch: null,
        });
        expect(result.mirrored).toBe(values.reduce((sum, value) => sum + Number(Number.isNaN(value)), 0));
      }),
      { numRuns: 20 },
    );
  });

  it("takes the entry at or below the diagonal where both sides differ by rounding", async () => {
    const n = 20;
    const whole = symmetric(n);
    const noisy = whole.map((value, at) => (at % n > Math.floor(at / n) ? Math.fround(value * (1 + 3e-7)) : value));
    expect(noisy).not.toEqual(whole);
    const result = await imported(written({ Kxx: { values: noisy, shape: [1, n, n] } }));
    expect(result.store.manifest.symmetric).toBe(true);
    expect(result.values).toEqual(whole);
  });

  it("with entries that nobody has written is refused, counted, with the first one's place", async () => {
    const n = 12;
    const values = gappy(symmetric(n), n, 4, (i, j) => i <= j && !(i === 1 && j === 2));
    await expect(imported(written({ Kxx: { values, shape: [1, n, n] } }))).rejects.toMatchObject({
      code: "E_DATA",
      message: saying(/16 entries are NaN on both sides.*first at row 8, column 4/),
      details: { missing: 16, row: 8, column: 4 },
    });
  });

  it("is put together from the files of several workers", async () => {
    const n = 17;
    const whole = symmetric(n);
    const worker = (which: number) => {
      const values = gappy(whole, n, 5, (i, j) => i <= j && (i * 4 + j) % 3 === which);
      return written({ Kxx: { values, shape: [1, n, n] } });
    };
    const [first = "", ...others] = [0, 1, 2].map(worker);
    const result = await imported(first, { merge: others });
    expect(result.values).toEqual(whole);
    await expect(imported(first, { merge: others.slice(1) })).rejects.toMatchObject({ code: "E_DATA" });
    const other = written({ Kxx: { values: symmetric(9), shape: [1, 9, 9] } });
    await expect(imported(first, { merge: [other] })).rejects.toMatchObject({
      code: "E_SHAPE",
      message: saying(/9 x 9.*17 x 17/),
    });
  });

  it("that is not symmetric cannot lend its entries to its mirror image", async () => {
    const n = 10;
    const values = matrix(n, n);
    const whole = await imported(written({ Kxx: { values, shape: [n, n] } }));
    expect(whole.store.manifest.symmetric).toBe(false);
    expect(whole.values).toEqual(values);
    values[3] = NaN;
    await expect(imported(written({ Kxx: { values, shape: [n, n] } }))).rejects.toMatchObject({
      code: "E_DATA",
      message: saying(/1 entries are NaN on one side.*not symmetric/),
    });
  });
});

describe("Kxvx and Kxtx of cnn-gp", () => {
  it("square ones are never symmetric: what they lack on one side of the diagonal is refused, not mirrored", async () => {
    const values = matrix(12, 12).map((value, at) => (at % 12 > Math.floor(at / 12) ? NaN : value));
    await expect(imported(written({ Kxtx: { values, shape: [1, 12, 12] } }))).rejects.toThrow(
      /66 entries are NaN, the first/,
    );
  });

  it("are turned, so that training images stand in the rows as in our own; other datasets are not", async () => {
    const [rows, columns] = [11, 23];
    const values = matrix(rows, columns);
    const turned = Float32Array.from(values, (_, at) => values[(at % rows) * columns + Math.floor(at / rows)] ?? NaN);
    for (const name of ["Kxvx", "Kxtx", "K"]) {
      const result = await imported(written({ [name]: { values, shape: [1, rows, columns], chunks: [1, 4, 4] } }));
      expect(result).toMatchObject({ dataset: name, transposed: name !== "K" });
      expect(result.values).toEqual(name === "K" ? values : turned);
    }
  });

  it("with NaN anywhere are refused", async () => {
    const values = matrix(6, 9);
    values.fill(NaN, 21, 24);
    await expect(imported(written({ Kxtx: { values, shape: [1, 6, 9] } }))).rejects.toMatchObject({
      code: "E_DATA",
      // As they stand in the file.
      details: { missing: 3, row: 2, column: 3 },
    });
  });

  it("of one file are told from each other", async () => {
    const values = matrix(5, 5);
    const path = written({ Kxvx: { values, shape: [1, 5, 5] }, Kxtx: { values, shape: [1, 5, 5] } });
    const to = `${folder}/${count++}.zarr`;
    await importHdf5(files, path, to, { memoryBytes, dataset: "Kxvx" });
    await importHdf5(files, path, to, { memoryBytes, dataset: "Kxvx" });
    await expect(importHdf5(files, path, to, { memoryBytes, dataset: "Kxtx" })).rejects.toMatchObject({
      code: "E_MISMATCH",
    });
  });
});

describe("an HDF5 file", () => {
  it("of float64 gives the store that the same .npy gives, exponent included", async () => {
    const n = 9;
    const values = Float64Array.from(symmetric(n), (value) => value * 2 ** 400);
    const npy = `${folder}/${count++}.npy`;
    await writeFile(npy, Buffer.concat([npyHeader("float64", n, n), new Uint8Array(values.buffer)]));
    const plain = await importNpy(files, npy, `${folder}/${count++}.zarr`, { memoryBytes, tile: 7 });
    const { store, values: own } = await imported(written({ "group/K": { values, shape: [n, n] } }));
    expect(store.manifest).toMatchObject({ symmetric: true, exponent: plain.store.manifest.exponent });
    expect(own).toEqual(await plain.store.readBlock({ begin: 0, end: n }, { begin: 0, end: n }));
  });

  it("with several matrices asks which, and knows its datasets by their names", async () => {
    const shape = [1, 3, 3];
    const path = written({ Kxx: { values: symmetric(3), shape }, Kxtx: { values: matrix(3, 3), shape } });
    await expect(imported(path)).rejects.toMatchObject({
      code: "E_CONFIG",
      message: saying(/--dataset, of Kxtx, Kxx/),
    });
    await expect(imported(path, { dataset: "Kxy" })).rejects.toMatchObject({
      code: "E_DATA",
      message: saying(/no dataset Kxy; it has Kxtx, Kxx/),
    });
    expect((await imported(path, { dataset: "/Kxx" })).dataset).toBe("Kxx");
  });

  it("without a matrix, or with one of another shape or type, is refused with the reason", async () => {
    const line = written({ Kv_diag: { values: matrix(1, 8), shape: [8] } });
    await expect(imported(line)).rejects.toMatchObject({
      code: "E_DATA",
      message: saying(/it holds no matrix; the file has Kv_diag \(8\)$/),
    });
    await expect(imported(line, { dataset: "Kv_diag" })).rejects.toMatchObject({
      message: saying(/its shape is \(8\)/),
    });
    const diagonal = { values: matrix(1, 4), shape: [4] };
    const layers = written({ Kxx: { values: matrix(2, 16), shape: [2, 4, 4] }, Kdiag: diagonal });
    await expect(imported(layers, { dataset: "Kxx" })).rejects.toMatchObject({
      message: saying(/its shape is \(2, 4, 4\), not .*; the file has Kdiag \(4\), Kxx \(2, 4, 4\)$/),
    });
    const path = `${folder}/${count++}.h5`;
    const file = new h5wasm.File(path, "w");
    file.create_dataset({ name: "Kxx", data: Int32Array.of(1, 2, 2, 1), shape: [2, 2] });
    file.close();
    await expect(imported(path)).rejects.toMatchObject({ message: saying(/type "<i", not float32 or float64/) });
  });

  it("in a form that is not read here is refused with what to do; gzip and shuffled bytes are read", () => {
    const filter = (id: number) => ({ id, name: "", cd_values: [] });
    expect(unreadable({ dtype: "<f", filters: [] })).toBeUndefined();
    expect(unreadable({ dtype: "<d", filters: [filter(2), filter(1), filter(3)] })).toBeUndefined();
    expect(unreadable({ dtype: "<f", filters: [filter(2), filter(32000)] })).toMatch(/packed with lzf.*"gzip"/);
    expect(unreadable({ dtype: "<f", filters: [filter(999)] })).toMatch(/packed with filter 999/);
    expect(unreadable({ dtype: ">f", filters: [] })).toMatch(/big-endian.*little-endian .*"<f4"/);
    expect(unreadable({ dtype: ">d", filters: [] })).toMatch(/little-endian .*"<f8"/);
    const { dtype, filters } = packed(4);
    expect(filters.map(({ id }) => id)).toEqual([1]);
    expect(unreadable({ dtype, filters })).toBeUndefined();
  });

  it("with an infinite value is refused with its place", async () => {
    const values = symmetric(8);
    values[5 * 8 + 2] = Infinity;
    await expect(imported(written({ Kxx: { values, shape: [8, 8] } }))).rejects.toMatchObject({
      code: "E_DATA",
      message: saying(/row 5, column 2 is Infinity/),
    });
  });

  it("that is cut short, missing, or something else is refused without the library's own output", async () => {
    const path = written({ Kxx: { values: symmetric(60), shape: [60, 60] } });
    expect(await isHdf5(files, path)).toBe(true);
    await truncate(path, 6000);
    await expect(imported(path)).rejects.toMatchObject({
      code: "E_DATA",
      message: saying(/HDF5 cannot read it: truncated file: [^\n]*$/),
    });
    await expect(imported(`${folder}/none.h5`)).rejects.toMatchObject({ code: "E_IO" });
    const text = `${folder}/text.h5`;
    await writeFile(text, "no HDF5 at all");
    expect(await isHdf5(files, text)).toBe(false);
    await expect(imported(text)).rejects.toMatchObject({ code: "E_DATA", message: saying(/HDF5 cannot read it/) });
  });

  it("may stand beyond 4 GiB in its file", async () => {
    const values = matrix(4, 6);
    const content = await files.read(written({ K: { values, shape: [4, 6] } }));
    const far = `${folder}/far.h5`;
    const file = await open(far, "w");
    // A user block of 8 GiB, which takes no room on the disk.
    await file.write(content ?? new Uint8Array(), 0, undefined, 2 ** 33);
    await file.close();
    const library = await import("h5wasm/node");
    const read = new library.File(far, "r");
    expect((read.get("K") as InstanceType<typeof library.Dataset>).value).toEqual(values);
    read.close();
    await truncate(far, 0);
  });

  it("is resumed where the import was stopped", async () => {
    const n = 40;
    const whole = symmetric(n);
    const path = written({ Kxx: { values: gappy(whole, n, 6, (i, j) => i <= j), shape: [1, n, n] } });
    const to = `${folder}/${count++}.zarr`;
    const controller = new AbortController();
    const stopped = importHdf5(files, path, to, {
      memoryBytes,
      tile: 8,
      signal: controller.signal,
      onProgress: ({ tilesDone }) => {
        if (tilesDone > 2) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: "E_ABORTED" });
    const { job } = await importHdf5(files, path, to, { memoryBytes, tile: 8 });
    expect(job.tilesReused).toBeGreaterThan(0);
    const store = await KernelStore.open(files, to);
    expect(await store.readBlock({ begin: 0, end: n }, { begin: 0, end: n })).toEqual(whole);
  });
});
