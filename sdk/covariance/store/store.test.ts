import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import * as zarr from "zarrita";
import { contentOf, failing, freshFolder, specOf } from "../../../test/kernel-job-fixtures.ts";
import { hashValue } from "../../../test/kernel-job-source.ts";
import { crc32c } from "../../platform/crc32c.ts";
import type { Files } from "../../platform/files.ts";
import { nodeFiles } from "../../platform/files.node.ts";
import { columnRange, rowRange, snakeOrder } from "./grid.ts";
import type { IndexRanges } from "./manifest.ts";
import { KernelStore } from "./store.ts";
import { verify } from "./verify.ts";

let files: Files;
beforeAll(async () => {
  files = await nodeFiles();
});

async function filled(path: string, rows: number, columns: number, tile: number, symmetric = false, exponent = 0) {
  const store = await KernelStore.create(files, path, specOf(rows, columns, tile, { symmetric, exponent }));
  for (const place of snakeOrder(store.grid)) {
    const [across, down] = [columnRange(store.grid, place.j), rowRange(store.grid, place.i)];
    const values: number[] = [];
    for (let row = down.begin; row < down.end; row++) {
      for (let column = across.begin; column < across.end; column++) values.push(hashValue(row, column, symmetric));
    }
    await store.writeTile(place, Float32Array.from(values));
  }
  return store;
}

describe("a kernel store", () => {
  it("is a Zarr v3 array of float32 in which a chunk is a tile", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    await filled(path, 7, 5, 4);
    const json = JSON.parse(await readFile(`${path}/zarr.json`, "utf8")) as Record<string, unknown>;
    expect(json).toMatchObject({
      zarr_format: 3,
      node_type: "array",
      shape: [7, 5],
      data_type: "float32",
      chunk_grid: { name: "regular", configuration: { chunk_shape: [4, 4] } },
      chunk_key_encoding: { name: "default", configuration: { separator: "/" } },
      codecs: [{ name: "bytes", configuration: { endian: "little" } }, { name: "crc32c" }],
      fill_value: "NaN",
      attributes: { widefield: { format: 1, symmetric: false, kind: "nngp", tile: 4, exponent: 0 } },
    });
    expect([...(await contentOf(path)).keys()].sort()).toEqual(["c/0/0", "c/0/1", "c/1/0", "c/1/1", "zarr.json"]);
  });

  it("is read whole by zarrita alone from the plain folder", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    await filled(path, 7, 5, 4);
    const plain = { get: async (key: string) => readFile(path + key).catch(() => undefined) };
    const array = await zarr.open.v3(plain, { kind: "array" });
    const all = await zarr.get(array, null);
    expect(all.shape).toEqual([7, 5]);
    expect([...(all.data as Float32Array)]).toEqual(
      Array.from({ length: 35 }, (_, at) => hashValue(Math.floor(at / 5), at % 5, false)),
    );
  });

  it("pads chunks at the edge with the fill value and ends each with its CRC-32C", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    await filled(path, 7, 5, 4);
    const bytes = new Uint8Array(await readFile(`${path}/c/1/1`));
    expect(bytes).toHaveLength(4 * 4 * 4 + 4);
    const words = new Uint32Array(bytes.buffer);
    expect(words[16]).toBe(crc32c(bytes.subarray(0, 64)));
    expect([...words.subarray(1, 4)]).toEqual([0x7fc00000, 0x7fc00000, 0x7fc00000]);
    expect([...words.subarray(12, 16)]).toEqual(new Array(4).fill(0x7fc00000));
  });

  it("gives any block of the matrix, mirrored where it is symmetric", async () => {
    const folder = await freshFolder();
    const range = (count: number) =>
      fc.tuple(fc.nat(count), fc.nat(count)).map(([a, b]) => ({ begin: Math.min(a, b), end: Math.max(a, b) }));
    let number = 0;
    for (const [rows, columns, tile, symmetric] of [
      [13, 13, 4, true],
      [11, 11, 16, true],
      [9, 14, 5, false],
      [1, 1, 1, true],
    ] as const) {
      const store = await filled(`${folder}/${number++}.zarr`, rows, columns, tile, symmetric);
      await fc.assert(
        fc.asyncProperty(range(rows), range(columns), async (down, across) => {
          const expected: number[] = [];
          for (let row = down.begin; row < down.end; row++) {
            for (let column = across.begin; column < across.end; column++) {
              expected.push(hashValue(row, column, symmetric));
            }
          }
          expect([...(await store.readBlock(down, across))]).toEqual(expected);
          expect([...(await store.readBlock(down, across, "f64"))]).toEqual(expected);
        }),
        { numRuns: 30 },
      );
    }
  });

  it("applies the exponent in float64, and says so where float64 is left", async () => {
    const folder = await freshFolder();
    const all = { begin: 0, end: 3 };
    for (const exponent of [-200, 7, 1020]) {
      const store = await filled(`${folder}/${exponent}.zarr`, 3, 3, 2, false, exponent);
      const [stored, kernel] = [await store.readBlock(all, all), await store.readBlock(all, all, "f64")];
      expect([...kernel]).toEqual(Array.from(stored, (value) => value * 2 ** exponent));
    }
    const store = await filled(`${folder}/huge.zarr`, 3, 3, 2, false, 1030);
    await expect(store.readBlock(all, all, "f64")).rejects.toMatchObject({ code: "E_OVERFLOW" });
    // 2^1030 is no float64, but 2^-9 * 2^1030 is.
    const small = await KernelStore.create(files, `${folder}/small.zarr`, specOf(1, 1, 1, { exponent: 1030 }));
    await small.writeTile({ i: 0, j: 0 }, Float32Array.of(2 ** -9));
    expect(await small.readBlock({ begin: 0, end: 1 }, { begin: 0, end: 1 }, "f64")).toEqual(
      Float64Array.of(2 ** 1021),
    );
  });

  it("refuses blocks outside of the matrix and tiles that it does not store", async () => {
    const store = await filled(`${await freshFolder()}/K.zarr`, 5, 5, 4, true);
    await expect(store.readBlock({ begin: 0, end: 6 }, { begin: 0, end: 5 })).rejects.toMatchObject({
      code: "E_RANGE",
    });
    await expect(store.readTile({ i: 0, j: 1 })).rejects.toMatchObject({ code: "E_RANGE" });
    expect(await store.readTile({ i: 1, j: 0 })).toHaveLength(4);
  });

  it("serves its leading part, of the same kernel and images only", async () => {
    const rows: IndexRanges = [
      [5, 10],
      [0, 5],
    ];
    const spec = specOf(10, 6, 4, { rows, columns: [[20, 26]] });
    const { arch, dataset } = spec;
    const store = await KernelStore.create(files, `${await freshFolder()}/K.zarr`, spec);
    const leading = { rows: rows.slice(0, 1), columns: [[20, 23]] satisfies IndexRanges };
    expect(store.leadingPart({ ...leading, kind: "nngp", arch, dataset })).toEqual({ rows: 5, columns: 3 });
    expect(store.leadingPart({ ...leading, rows })).toEqual({ rows: 10, columns: 3 });
    expect(() => store.leadingPart({ ...leading, rows: [[0, 5]] })).toThrow(/rows 5:10,0:5; 0:5 is not a leading part/);
    expect(() => store.leadingPart({ ...leading, arch: { layers: [] }, kind: "ntk" })).toThrow(
      /kind: nngp -> ntk\n {2}arch.layers\[0\]: \{.*\} -> \(absent\)/,
    );
    const other = { name: "other", sha256: "cd".repeat(32) };
    expect(() => store.leadingPart({ ...leading, dataset: other })).toThrow(/dataset.sha256: (ab)+ -> (cd)+/);
  });

  it("refuses a value that is not finite, with its row and column, and writes nothing", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    const store = await KernelStore.create(files, path, specOf(5, 5, 4));
    for (const value of [NaN, Infinity, -Infinity]) {
      const tile = store.writeTile({ i: 1, j: 0 }, Float32Array.of(1, 2, value, 3));
      await expect(tile).rejects.toMatchObject({ code: "E_OVERFLOW", details: { row: 4, column: 2 } });
    }
    expect([...(await contentOf(path)).keys()]).toEqual(["zarr.json"]);
  });
});

describe("damage", () => {
  it("of any byte of a tile is found at every read, and named", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    const store = await filled(path, 5, 5, 4, true);
    const sound = await readFile(`${path}/c/1/0`);
    await fc.assert(
      fc.asyncProperty(fc.nat(sound.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Buffer.from(sound);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        await writeFile(`${path}/c/1/0`, bytes);
        const refused = {
          code: "E_CORRUPT",
          message: expect.stringMatching(/c\/1\/0: tile \(1, 0\) is damaged/) as string,
        };
        await expect(store.readTile({ i: 1, j: 0 })).rejects.toMatchObject(refused);
        await expect(store.readBlock({ begin: 0, end: 1 }, { begin: 4, end: 5 })).rejects.toMatchObject(refused);
      }),
      { numRuns: 40 },
    );
  });

  it("is listed by verify, missing tiles apart", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    const store = await filled(path, 9, 9, 4, true);
    expect(await verify(store)).toEqual({ tiles: 6, complete: 6, missing: [], damaged: [] });
    await rm(`${path}/c/2/1`);
    await writeFile(`${path}/c/1/1`, (await readFile(`${path}/c/1/1`)).subarray(0, 10));
    await writeFile(`${path}/c/0/0`, new Uint8Array(68));
    const result = await verify(store);
    expect(result.missing).toEqual([{ i: 2, j: 1 }]);
    expect(result.damaged).toEqual([
      { i: 0, j: 0, file: `${path}/c/0/0`, reason: expect.stringMatching(/^checksum /) as string },
      { i: 1, j: 1, file: `${path}/c/1/1`, reason: "10 bytes instead of 68" },
    ]);
    await expect(store.readTile({ i: 2, j: 1 })).rejects.toMatchObject({
      code: "E_DATA",
      message: expect.stringMatching(/tile \(2, 1\) is missing.*resumes/) as string,
    });
  });

  it("of zarr.json is E_CORRUPT, whichever character it hits", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    await filled(path, 5, 5, 4, true);
    const sound = await readFile(`${path}/zarr.json`, "utf8");
    const manifest = sound.slice(sound.indexOf('"format"'));
    for (const [from, to] of [
      ['"exponent": 0', '"exponent": 1'],
      ["2.79", "2.78"],
      ['"NaN"', "0"],
      ["5", "6"],
      ["]", ""],
      ['"little"', '"big"'],
    ] as const) {
      expect(sound).toContain(from);
      await writeFile(`${path}/zarr.json`, sound.replace(from, to));
      await expect(KernelStore.open(files, path), from).rejects.toMatchObject({ code: "E_CORRUPT" });
    }
    await writeFile(`${path}/zarr.json`, sound.slice(0, -manifest.length));
    await expect(KernelStore.open(files, path)).rejects.toThrow(/zarr.json is damaged: it is not JSON/);
  });
});

describe("a folder that is no kernel store", () => {
  it("is refused with what it is", async () => {
    const folder = await freshFolder();
    await expect(KernelStore.open(files, folder)).rejects.toMatchObject({ code: "E_DATA" });
    await writeFile(`${folder}/zarr.json`, JSON.stringify({ zarr_format: 3, node_type: "array", attributes: {} }));
    await expect(KernelStore.open(files, folder)).rejects.toMatchObject({ code: "E_MISMATCH" });
    await writeFile(`${folder}/zarr.json`, JSON.stringify({ attributes: { widefield: { format: 99 } } }));
    await expect(KernelStore.open(files, folder)).rejects.toThrow(/format 99.*reads format 1/);
  });

  it("is not taken over when it holds other things, or tiles without a manifest", async () => {
    const folder = await freshFolder();
    await writeFile(`${folder}/thesis.tex`, "");
    await expect(KernelStore.create(files, folder, specOf(2, 2, 2))).rejects.toMatchObject({ code: "E_MISMATCH" });
    const path = `${folder}/K.zarr`;
    await filled(path, 5, 5, 4);
    await rm(`${path}/zarr.json`);
    await expect(KernelStore.create(files, path, specOf(5, 5, 4))).rejects.toMatchObject({ code: "E_CORRUPT" });
  });

  it("cannot be made where the file system refuses: the path and the reason are named", async () => {
    const folder = await freshFolder();
    const spec = specOf(2, 2, 2);
    await expect(KernelStore.create(files, `${folder}/no/K.zarr`, spec)).rejects.toMatchObject({
      code: "E_IO",
      message: expect.stringMatching(/no\/K.zarr: no such file or folder; .*parent folder first \(ENOENT\)/) as string,
    });
    await writeFile(`${folder}/file`, "");
    await expect(KernelStore.create(files, `${folder}/file/K.zarr`, spec)).rejects.toThrow(/is a file, not a folder/);
    await expect(KernelStore.create(files, `${folder}/file`, spec)).rejects.toThrow(/is a file, not a folder/);
    const readOnly = failing(files, (operation) => (operation === "read" ? undefined : "EROFS"));
    await expect(KernelStore.create(readOnly, `${folder}/K.zarr`, spec)).rejects.toThrow(/mounted read-only/);
    await mkdir(`${folder}/L.zarr`);
    const full = failing(files, (operation) => (operation === "write" ? "ENOSPC" : undefined));
    await expect(KernelStore.create(full, `${folder}/L.zarr`, spec)).rejects.toThrow(/the disk is full/);
    expect([...(await contentOf(`${folder}/L.zarr`)).keys()]).toEqual([]);
  });
});

describe("creating a store", () => {
  it("from many places at once leaves one manifest, and every one opens it", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    const specs = Array.from({ length: 8 }, (_, threads) => specOf(5, 5, 4, { threads }));
    const stores = await Promise.all(specs.map((spec) => KernelStore.create(files, path, spec)));
    expect(new Set(stores.map((store) => store.manifest.threads)).size).toBe(1);
    expect([...(await contentOf(path)).keys()]).toEqual(["zarr.json"]);
  });

  it("over another job's is refused with the difference", async () => {
    const path = `${await freshFolder()}/K.zarr`;
    await KernelStore.create(files, path, specOf(5, 5, 4));
    const other = specOf(5, 5, 4, { arch: { layers: [{ layer: "dense", weightVariance: 2.8, biasVariance: 7.86 }] } });
    await expect(KernelStore.create(files, path, other)).rejects.toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringContaining("arch.layers[0].weightVariance: 2.79 -> 2.8") as string,
    });
  });
});
