import { readFile, writeFile } from "node:fs/promises";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { contentOf, failing, freshFolder, hashSource, specOf } from "../../test/kernel-job-fixtures.ts";
import { hashValue } from "../../test/kernel-job-source.ts";
import { runKernelJob } from "./job.ts";
import { exportNpy } from "./export.ts";
import type { Files } from "../platform/files.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { importNpy } from "./import.ts";
import { npyHeader } from "../numpy/npy.ts";
import { KernelStore } from "./store/store.ts";

const memoryBytes = 1 << 24;
let files: Files;
beforeAll(async () => {
  files = await nodeFiles();
});

async function computed(path: string, rows: number, columns: number, tile: number, symmetric: boolean, exponent = 0) {
  const store = await KernelStore.create(files, path, specOf(rows, columns, tile, { symmetric, exponent }));
  await runKernelJob({ store, source: hashSource(symmetric), memoryBytes });
  return store;
}

async function writeNpy(path: string, values: Float32Array | Float64Array, rows: number, columns: number) {
  const dtype = values instanceof Float32Array ? "float32" : "float64";
  await writeFile(path, Buffer.concat([npyHeader(dtype, rows, columns), new Uint8Array(values.buffer)]));
}

async function imported(from: string, to: string, tile = 4): Promise<KernelStore> {
  return (await importNpy(files, from, to, { tile, memoryBytes })).store;
}

const whole = (store: KernelStore) =>
  store.readBlock({ begin: 0, end: store.grid.rows }, { begin: 0, end: store.grid.columns }, "f64");

describe("an exported .npy file", () => {
  it("has the header that NumPy writes, and the whole matrix in float64 little-endian", async () => {
    const folder = await freshFolder();
    const store = await computed(`${folder}/K.zarr`, 7, 7, 4, true, -3);
    await exportNpy(store, `${folder}/K.npy`);
    const bytes = await readFile(`${folder}/K.npy`);
    expect(bytes.subarray(0, 10)).toEqual(Buffer.from("\x93NUMPY\x01\x00\x76\x00", "latin1"));
    expect(bytes.toString("latin1", 10, 128).trimEnd()).toBe(
      "{'descr': '<f8', 'fortran_order': False, 'shape': (7, 7), }",
    );
    const values = new Float64Array(bytes.buffer.slice(bytes.byteOffset + 128, bytes.byteOffset + bytes.length));
    expect([...values]).toEqual(Array.from({ length: 49 }, (_, at) => hashValue(Math.floor(at / 7), at % 7, true) / 8));
    expect((await files.list(folder)).sort()).toEqual(["K.npy", "K.zarr"]);
  });

  it("comes back as the same store, whatever the shape and tile", async () => {
    const folder = await freshFolder();
    let number = 0;
    const size = fc.integer({ min: 1, max: 20 });
    await fc.assert(
      fc.asyncProperty(size, size, size, size, fc.boolean(), async (rows, others, tile, otherTile, symmetric) => {
        const name = `${folder}/${number++}`;
        const store = await computed(`${name}.zarr`, rows, symmetric ? rows : others, tile, symmetric);
        await exportNpy(store, `${name}.npy`, { dtype: number % 2 === 0 ? "float64" : "float32" });
        const back = await imported(`${name}.npy`, `${name}-back.zarr`, otherTile);
        expect(await whole(back)).toEqual(await whole(store));
        expect(back.manifest).toMatchObject({ kind: "imported", exponent: 0, arch: null, backend: "import" });
        if (symmetric) expect(back.manifest.symmetric).toBe(true);
      }),
      { numRuns: 25 },
    );
  });

  it("in float32 refuses a value out of range, and a failed export leaves nothing", async () => {
    const folder = await freshFolder();
    const store = await computed(`${folder}/K.zarr`, 5, 5, 4, false, 128);
    await expect(exportNpy(store, `${folder}/K.npy`, { dtype: "float32" })).rejects.toMatchObject({
      code: "E_OVERFLOW",
    });
    const full = await KernelStore.open(
      failing(files, (operation) => (operation === "write" ? "ENOSPC" : undefined)),
      `${folder}/K.zarr`,
    );
    await expect(exportNpy(full, `${folder}/K.npy`)).rejects.toMatchObject({
      code: "E_IO",
      message: expect.stringContaining(`cannot write ${folder}/K.npy: the disk is full`) as string,
    });
    await writeFile(`${folder}/K.zarr/c/1/1`, "");
    await expect(exportNpy(store, `${folder}/K.npy`)).rejects.toMatchObject({ code: "E_CORRUPT" });
    await expect(exportNpy(store, `${folder}/no/K.npy`)).rejects.toMatchObject({ code: "E_IO" });
    expect(await files.list(folder)).toEqual(["K.zarr"]);
  });
});

describe("an imported matrix", () => {
  it("is stored as symmetric only if every entry equals its mirror image", async () => {
    const folder = await freshFolder();
    const n = 11;
    const values = Float64Array.from({ length: n * n }, (_, at) => hashValue(Math.floor(at / n), at % n, true));
    for (const [row, column] of [
      [10, 0],
      [0, 10],
      [5, 4],
    ] as const) {
      const other = values.slice();
      other[row * n + column] = (other[row * n + column] ?? 0) * (1 + 2 ** -52);
      await writeNpy(`${folder}/A.npy`, other, n, n);
      const store = await imported(`${folder}/A.npy`, `${folder}/${row}-${column}.zarr`);
      expect(store.manifest.symmetric).toBe(false);
    }
  });

  it.each<[string, number[]]>([
    ["huge", [1e73, 3e72, 0, 2e60]],
    ["tiny", [1e-50, 3e-60, 0, -2e-44]],
    ["subnormal", [5e-324, 3e-320, 0, 1e-310]],
    ["near float64's end", [1.7e308, 1, 0, -1e300]],
    ["just above float32's largest", [3.4028236e38, 1, 2, 3]],
  ])("of %s values keeps float32's relative accuracy by its exponent", async (_name, numbers) => {
    const folder = await freshFolder();
    await writeNpy(`${folder}/A.npy`, Float64Array.from(numbers), 2, 2);
    const store = await imported(`${folder}/A.npy`, `${folder}/A.zarr`);
    expect(store.manifest.exponent).not.toBe(0);
    const back = await whole(store);
    const largest = Math.max(...numbers.map(Math.abs));
    numbers.forEach((value, at) => {
      // Below 2^-252 of the largest value, accuracy is relative to that one.
      const scale = Math.max(Math.abs(value), largest * 2 ** -252);
      expect(Math.abs((back[at] ?? NaN) - value)).toBeLessThanOrEqual(scale * 2 ** -24);
    });
  });

  it("of float32 values is exact, subnormal ones included", async () => {
    const folder = await freshFolder();
    const values = Float32Array.of(1e-45, 3.4028235e38, -0.1, 0, 5, 6);
    await writeNpy(`${folder}/A.npy`, values, 2, 3);
    const store = await imported(`${folder}/A.npy`, `${folder}/A.zarr`);
    expect(store.manifest).toMatchObject({ exponent: 0, precision: "f32", symmetric: false });
    expect([...(await whole(store))]).toEqual([...values]);
  });

  it("resumes, and another file under the same name is refused", async () => {
    const folder = await freshFolder();
    const values = Float64Array.from({ length: 30 }, (_, at) => at + 1);
    await writeNpy(`${folder}/A.npy`, values, 5, 6);
    const options = { tile: 2, memoryBytes };
    expect((await importNpy(files, `${folder}/A.npy`, `${folder}/A.zarr`, options)).job.tilesReused).toBe(0);
    expect((await importNpy(files, `${folder}/A.npy`, `${folder}/A.zarr`, options)).job.tilesReused).toBe(9);
    values[0] = 7;
    await writeNpy(`${folder}/A.npy`, values, 5, 6);
    await expect(importNpy(files, `${folder}/A.npy`, `${folder}/A.zarr`, options)).rejects.toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringContaining("dataset.sha256: ") as string,
    });
  });

  const header = (text: string) => {
    const padded = `${text.padEnd(117)}\n`;
    return Buffer.concat([Buffer.from("\x93NUMPY\x01\x00\x76\x00", "latin1"), Buffer.from(padded, "latin1")]);
  };
  const data = Buffer.alloc(6 * 8);
  it.each<[string, Buffer, RegExp]>([
    [
      "Fortran order",
      Buffer.concat([header("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }"), data]),
      /Fortran order.*ascontiguousarray/,
    ],
    [
      "big-endian values",
      Buffer.concat([header("{'descr': '>f8', 'fortran_order': False, 'shape': (2, 3), }"), data]),
      /values are >f8/,
    ],
    [
      "integers",
      Buffer.concat([header("{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }"), data]),
      /astype/,
    ],
    [
      "records",
      Buffer.concat([header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2, 3), }"), data]),
      /records/,
    ],
    [
      "three dimensions",
      Buffer.concat([header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 3), }"), data]),
      /not a matrix/,
    ],
    [
      "one dimension",
      Buffer.concat([header("{'descr': '<f8', 'fortran_order': False, 'shape': (6,), }"), data]),
      /not a matrix/,
    ],
    ["no rows", header("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 3), }"), /not a matrix/],
    [
      "a value missing",
      Buffer.concat([header("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }"), data.subarray(8)]),
      /has 48 bytes, the file has 40 .*truncated/,
    ],
    [
      "a value too many",
      Buffer.concat([header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), }"), data]),
      /something follows/,
    ],
    ["half a header", header("").subarray(0, 60), /ends at byte 60, within its header/],
    ["nothing in it", Buffer.alloc(0), /0 bytes/],
    ["text in it", Buffer.from("1.0, 2.0\n3.0, 4.0\n"), /does not begin/],
  ])("with %s is refused, and nothing is created", async (_name, bytes, message) => {
    const folder = await freshFolder();
    await writeFile(`${folder}/A.npy`, bytes);
    await expect(imported(`${folder}/A.npy`, `${folder}/A.zarr`)).rejects.toMatchObject({
      code: "E_DATA",
      message: expect.stringMatching(message) as string,
    });
    expect(await files.list(folder)).toEqual(["A.npy"]);
  });

  it("with NaN or infinity is refused with the row and column", async () => {
    const folder = await freshFolder();
    for (const value of [NaN, Infinity, -Infinity]) {
      await writeNpy(`${folder}/A.npy`, Float32Array.of(1, 2, 3, 4, value, 6), 2, 3);
      await expect(imported(`${folder}/A.npy`, `${folder}/A.zarr`)).rejects.toMatchObject({
        code: "E_DATA",
        message: expect.stringContaining(`row 1, column 1 is ${value}`) as string,
      });
    }
  });

  it("that is not there is E_IO", async () => {
    const folder = await freshFolder();
    await expect(imported(`${folder}/A.npy`, `${folder}/A.zarr`)).rejects.toThrow(/A.npy: no such file/);
    expect((await contentOf(folder)).size).toBe(0);
  });
});
