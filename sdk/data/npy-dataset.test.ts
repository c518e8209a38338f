/** Datasets of one's own .npy arrays, written here as NumPy writes them. */
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { inMemory } from "../../test/idx-files.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { fromArrays } from "./dataset.ts";
import { npyDataset } from "./npy-dataset.ts";
import { loadDataset } from "./registry.ts";
import { verifyDataset } from "./verify.ts";

const random = mulberry32(freshSeed());
const size = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1);

/** A .npy file of version 1. */
function npy(descr: string, shape: readonly number[], values: ArrayBufferView, order = "False"): Uint8Array {
  const tuple = `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
  const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${tuple}, }`.padEnd(117) + "\n";
  const prefix = [0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, text.length, 0];
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return Buffer.concat([Uint8Array.from(prefix), new TextEncoder().encode(text), bytes]);
}

const bytes = (...shape: number[]) =>
  npy(
    "|u1",
    shape,
    Uint8Array.from({ length: size(shape) }, () => Math.floor(256 * random())),
  );
const floats = (...shape: number[]) => npy("<f4", shape, Float32Array.from({ length: size(shape) }, random));
const doubles = (...shape: number[]) => npy("<f8", shape, Float64Array.from({ length: size(shape) }, random));
const labels = (...numbers: number[]) => npy("<i8", [numbers.length], BigInt64Array.from(numbers, BigInt));

describe("npyDataset", () => {
  it.each([
    ["(n, d)", [5, 7], undefined, { channels: 1, height: 1, width: 7 }],
    ["(n, d) with a shape", [5, 24], { channels: 2, height: 3, width: 4 }, { channels: 2, height: 3, width: 4 }],
    ["(n, h, w)", [5, 3, 2], undefined, { channels: 1, height: 3, width: 2 }],
    ["(n, c, h, w)", [5, 3, 4, 6], undefined, { channels: 3, height: 4, width: 6 }],
    ["one channel", [5, 1, 2, 2], undefined, { channels: 1, height: 2, width: 2 }],
  ])("takes images of %s", async (_name, sizes, shape, expected) => {
    const [trainImages, trainLabels] = [floats(...sizes), labels(0, 3, 1, 1, 2)];
    const dataset = await npyDataset({ trainImages, trainLabels, ...(shape && { shape }) });
    expect(dataset).toMatchObject({ name: "npy", shape: expected, classes: 4, trainCount: 5, testCount: 0 });
  });

  it("is, for bytes and float32, the dataset of the same arrays, to the digest", async () => {
    for (const type of [Uint8Array, Float32Array]) {
      const images = new type(Array.from({ length: 6 * 12 }, () => Math.floor(256 * random())));
      const numbers = [2, 0, 1, 1, 0, 2];
      const descr = type === Uint8Array ? "|u1" : "<f4";
      const part = (from: number, to: number) => npy(descr, [to - from, 4, 3], images.subarray(from * 12, to * 12));
      const dataset = await npyDataset({
        trainImages: part(0, 4),
        trainLabels: labels(...numbers.slice(0, 4)),
        testImages: part(4, 6),
        testLabels: labels(...numbers.slice(4)),
      });
      const same = fromArrays({ shape: { channels: 1, height: 4, width: 3 }, images, labels: numbers, trainCount: 4 });
      expect(dataset.select("0:6")).toEqual(same.select("0:6"));
      expect(await dataset.sha256()).toBe(await same.sha256());
    }
  });

  it("keeps float64 pixels to the last bit, and rounds them once for float32", async () => {
    const values = Float64Array.from({ length: 12 }, random);
    const arrays = { trainImages: npy("<f8", [2, 2, 2], values.subarray(0, 8)), trainLabels: labels(0, 1) };
    const test = { testImages: npy("<f8", [1, 2, 2], values.subarray(8)), testLabels: labels(1) };
    const dataset = await npyDataset({ ...arrays, ...test });
    expect(dataset.selectFloat64("0:3").images).toEqual(values);
    expect(dataset.select("1:3").images).toEqual(Float32Array.from(values.subarray(4)));
    const changed = values.slice();
    changed[11] = (values[11] ?? 0) * (1 + 2 ** -52);
    const other = { ...test, testImages: npy("<f8", [1, 2, 2], changed.subarray(8)) };
    expect(await (await npyDataset({ ...arrays, ...other })).sha256()).not.toBe(await dataset.sha256());
  });

  it.each([
    ["|i1", Int8Array],
    ["|u1", Uint8Array],
    ["<i2", Int16Array],
    ["<u2", Uint16Array],
    ["<i4", Int32Array],
    ["<u4", Uint32Array],
    [">i4", Int32Array],
    [">u2", Uint16Array],
  ] as const)("takes labels of %s, also as a column", async (descr, type) => {
    const values = type.from([1, 0, 100]);
    const view = Buffer.from(new Uint8Array(values.buffer));
    if (descr === ">i4") view.swap32();
    if (descr === ">u2") view.swap16();
    for (const shape of [[3], [3, 1]]) {
      const dataset = await npyDataset({ trainImages: bytes(3, 2, 2), trainLabels: npy(descr, shape, view) });
      expect([...dataset.labels]).toEqual([1, 0, 100]);
      expect(dataset.classes).toBe(101);
    }
  });

  it("reads arrays that begin at any byte of memory", async () => {
    for (let shift = 0; shift < 8; shift++) {
      const file = doubles(2, 3);
      const memory = Buffer.alloc(file.length + shift);
      memory.set(file, shift);
      const [a, b] = await Promise.all(
        [file, memory.subarray(shift)].map((trainImages) => npyDataset({ trainImages, trainLabels: labels(0, 1) })),
      );
      expect(a?.selectFloat64("0:2")).toEqual(b?.selectFloat64("0:2"));
    }
  });

  const good = () => ({ trainImages: bytes(3, 4, 4), trainLabels: labels(0, 1, 2) });
  it.each([
    ["channels last", { trainImages: bytes(3, 8, 8, 3) }, "E_DATA", /channels last.*transpose\(0, 3, 1, 2\)/],
    ["one dimension", { trainImages: bytes(3) }, "E_DATA", /shape is \(3\), and images are/],
    ["five dimensions", { trainImages: bytes(3, 1, 1, 2, 2) }, "E_DATA", /images are/],
    ["no images", { trainImages: bytes(0, 4, 4) }, "E_DATA", /shape is \(0, 4, 4\)/],
    ["int64 pixels", { trainImages: npy("<i8", [3, 1], new BigInt64Array(3)) }, "E_DATA", /<i8.*astype/],
    ["big-endian pixels", { trainImages: npy(">f4", [3, 1], new Float32Array(3)) }, "E_DATA", />f4.*astype/],
    ["Fortran order", { trainImages: npy("|u1", [3, 2], new Uint8Array(6), "True") }, "E_DATA", /ascontiguousarray/],
    ["a pixel missing", { trainImages: bytes(3, 4, 4).subarray(0, -1) }, "E_DATA", /48 bytes, .* 47 .*truncated/],
    [
      "a pixel too many",
      { trainImages: Buffer.concat([bytes(3, 4, 4), Buffer.alloc(1)]) },
      "E_DATA",
      /something follows/,
    ],
    ["NaN", { trainImages: npy("<f4", [3, 1, 2], Float32Array.of(1, 2, 3, NaN, 5, 6)) }, "E_DATA", /image 1, pixel 1/],
    ["text", { trainImages: new TextEncoder().encode("1.0, 2.0, 3.0") }, "E_DATA", /does not begin/],
    ["two labels", { trainLabels: labels(0, 1) }, "E_SHAPE", /3 images, .* 2 labels/],
    ["float labels", { trainLabels: npy("<f8", [3], new Float64Array(3)) }, "E_DATA", /<f8, not integers.*astype/],
    ["one-hot labels", { trainLabels: npy("|u1", [3, 10], new Uint8Array(30)) }, "E_DATA", /labels are \(n,\)/],
    ["a negative label", { trainLabels: labels(0, -1, 2) }, "E_DATA", /label 1 is -1/],
    ["a huge label", { trainLabels: labels(0, 1, 2 ** 40) }, "E_DATA", /label 2 is 1099511627776/],
    ["test images alone", { testImages: bytes(1, 4, 4) }, "E_CONFIG", /both testImages and testLabels/],
    ["other test sizes", { testImages: bytes(1, 4, 5), testLabels: labels(0) }, "E_SHAPE", /4 x 4 uint8.* 4 x 5 uint8/],
    ["other test types", { testImages: floats(1, 4, 4), testLabels: labels(0) }, "E_SHAPE", /uint8, .* float32/],
    ["another shape", { shape: { channels: 1, height: 2, width: 8 } }, "E_SHAPE", /4 x 4, not 2 x 8/],
    ["a path alone", { trainImages: "x.npy" }, "E_CONFIG", /x\.npy is a path: give readFile/],
    ["too few classes", { classes: 2 }, "E_DATA", /label 2 is 2, and there are 2 classes/],
  ])("refuses %s", async (_name, change, code, message) => {
    await expect(npyDataset({ ...good(), ...change })).rejects.toMatchObject({
      name: "WidefieldError",
      code,
      message: expect.stringMatching(message) as string,
    });
  });
});

describe("--data npy", () => {
  const files = new Map<string, Uint8Array>([
    ["data/train-images.npy", bytes(4, 3, 5, 5)],
    ["data/train-labels.npy.gz", gzipSync(labels(0, 1, 0, 1))],
    ["data/test-images.npy", bytes(2, 3, 5, 5)],
    ["data/test-labels.npy", labels(1, 2)],
  ]);
  const without = (...names: string[]) =>
    inMemory(new Map([...files].filter(([path]) => !names.some((name) => path.startsWith(`data/${name}`)))));
  const load = (readFile: ReturnType<typeof inMemory>) => loadDataset("npy", { dataDir: "data", readFile });

  it("reads a folder of arrays, test images or none", async () => {
    const shape = { channels: 3, height: 5, width: 5 };
    expect(await load(without())).toMatchObject({ shape, classes: 3, trainCount: 4, testCount: 2 });
    expect(await load(without("test"))).toMatchObject({ shape, classes: 2, trainCount: 4, testCount: 0 });
    const report = await verifyDataset("npy", { dataDir: "data", readFile: without() });
    expect(report).toMatchObject({ name: "npy", shape, train: { count: 4, labels: [2, 2, 0] }, test: { count: 2 } });
    expect(report.files.map(({ published }) => published)).toEqual(Array(4).fill("unknown"));
  });

  it("says which files are missing", async () => {
    await expect(load(without("train"))).rejects.toThrow(
      /2 files are missing in data; looked for data\/train-images\.npy/,
    );
    await expect(load(without("test-labels"))).rejects.toThrow(/a file is missing .* data\/test-labels\.npy/);
    await expect(loadDataset("npy", { readFile: without() })).rejects.toMatchObject({ code: "E_CONFIG" });
  });
});
