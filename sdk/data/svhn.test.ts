/** MATLAB files, and SVHN's folder, from files made here. */
import fc from "fast-check";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matlabFile, type MatlabArray } from "../../test/matlab-files.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { wasmEngine } from "../../test/engines.ts";
import { memorySource, readMatlab } from "./matlab.ts";
import { openProblem } from "./problems.ts";
import { loadDataset } from "./registry.ts";
import { verifyDataset } from "./verify.ts";

const seed = freshSeed();
const random = mulberry32(seed);

async function variablesOf(content: Uint8Array) {
  const all: Record<string, { shape: readonly number[]; type: string | undefined; numbers: number[] }> = {};
  for await (const variable of readMatlab(memorySource(content), "file.mat")) {
    const { name, shape, type } = variable;
    all[name] = { shape, type, numbers: type === undefined ? [] : [...(await variable.numbers())] };
  }
  return all;
}

describe("a MATLAB file of level 5", () => {
  it("gives back what was written, compressed or not, in either byte order", async () => {
    const styles = fc.record({ little: fc.boolean(), compressed: fc.boolean() });
    const values = fc.array(fc.nat(255), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(
        styles,
        values,
        fc.array(fc.double({ noNaN: true }), { maxLength: 9 }),
        async (style, bytes, reals) => {
          const arrays: MatlabArray[] = [
            { name: "a", shape: [1, bytes.length], type: "uint8", values: bytes },
            { name: "a_longer_name", shape: [reals.length, 1], type: "double", values: reals },
            { name: "cells", shape: [2, 2], type: "cell", values: [] },
            { name: "stored", shape: [bytes.length, 1], type: "double as uint8", values: bytes },
          ];
          expect(await variablesOf(matlabFile(arrays, style))).toEqual({
            a: { shape: [1, bytes.length], type: "uint8", numbers: bytes },
            a_longer_name: { shape: [reals.length, 1], type: "float64", numbers: reals },
            cells: { shape: [2, 2], type: undefined, numbers: [] },
            stored: { shape: [bytes.length, 1], type: "uint8", numbers: bytes },
          });
        },
      ),
      { seed, numRuns: 25 },
    );
  });

  it("that is cut short or damaged anywhere is refused, never read wrongly", async () => {
    const values = Uint8Array.from({ length: 3000 }, () => 256 * random());
    const whole = matlabFile([{ name: "X", shape: [3000, 1], type: "uint8", values }]);
    for (let trial = 0; trial < 25; trial++) {
      const cut = whole.subarray(0, Math.floor(whole.length * random()));
      if (cut.length === 128) continue; // a file without variables
      await expect(variablesOf(cut)).rejects.toMatchObject({ code: "E_DATA" });
      const flipped = whole.slice();
      const at = 136 + Math.floor((whole.length - 136) * random());
      flipped[at] = (flipped[at] ?? 0) ^ (1 << Math.floor(8 * random()));
      await expect(variablesOf(flipped)).rejects.toMatchObject({ code: "E_DATA" });
    }
  });

  it("of another version or format is refused with what it is", async () => {
    const text = (start: string) => Uint8Array.from({ length: 200 }, (_, i) => start.charCodeAt(i) || 32);
    await expect(variablesOf(text("MATLAB 7.3 MAT-file"))).rejects.toThrow("version 7.3, which is HDF5");
    await expect(variablesOf(text("\x89PNG"))).rejects.toThrow("not that of a MATLAB file of level 5");
    await expect(variablesOf(new Uint8Array(5))).rejects.toThrow("5 bytes, fewer than the header's 128");
  });
});

/** Images of n x 3 x 32 x 32, as SVHN stores them. */
function digits(images: Uint8Array, labels: readonly number[]): Uint8Array<ArrayBuffer> {
  const n = labels.length;
  const values = new Uint8Array(images.length);
  for (let i = 0; i < n; i++)
    for (let channel = 0; channel < 3; channel++)
      for (let row = 0; row < 32; row++)
        for (let column = 0; column < 32; column++)
          values[row + 32 * (column + 32 * (channel + 3 * i))] =
            images[((i * 3 + channel) * 32 + row) * 32 + column] ?? 0;
  return matlabFile([
    { name: "X", shape: [32, 32, 3, n], type: "uint8", values },
    { name: "y", shape: [n, 1], type: "double as uint8", values: labels },
  ]);
}

function randomImages(count: number): Uint8Array {
  return Uint8Array.from({ length: count * 3072 }, () => 256 * random());
}

describe("a folder of SVHN", () => {
  const parts = { train: randomImages(3), extra: randomImages(4), test: randomImages(2) };
  const content = {
    "train_32x32.mat": digits(parts.train, [1, 10, 9]),
    "extra_32x32.mat": digits(parts.extra, [10, 2, 3, 4]),
    "test_32x32.mat": digits(parts.test, [5, 10]),
  };
  const memory = (files: Record<string, Uint8Array | undefined>) => ({
    dataDir: "data",
    readFile: (path: string) => Promise.resolve(files[path.replace("data/", "")]),
  });
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "svhn-"));
    for (const [name, bytes] of Object.entries(content)) await writeFile(join(folder, name), bytes);
  });
  afterAll(async () => rm(folder, { recursive: true }));

  it("trains on train and extra, tests on test, with 10 as the digit 0", async () => {
    const dataset = await loadDataset("svhn", memory(content));
    expect(dataset).toMatchObject({ trainCount: 7, testCount: 2, classes: 10 });
    expect(dataset.shape).toEqual({ channels: 3, height: 32, width: 32 });
    expect([...dataset.labels]).toEqual([1, 0, 9, 0, 2, 3, 4, 5, 0]);
    const all = [...parts.train, ...parts.extra, ...parts.test];
    expect(dataset.select("0:9").images).toEqual(Float32Array.from(all, (byte) => byte / 255));
  });

  it("is the same read from a disk in pieces, and verified there", async () => {
    const files = await nodeFiles();
    const fromDisk = await loadDataset("svhn", { dataDir: folder, files, readFile: () => expect.unreachable() });
    expect(await fromDisk.sha256()).toBe(await (await loadDataset("svhn", memory(content))).sha256());
    const report = await verifyDataset("svhn", { dataDir: folder, files, readFile: () => expect.unreachable() });
    expect(report.files.map(({ name, records, published }) => [name, records?.count, published])).toEqual([
      ["train_32x32.mat", 3, "different"],
      ["extra_32x32.mat", 4, "different"],
      ["test_32x32.mat", 2, "different"],
    ]);
    expect((await verifyDataset("svhn", memory(content))).files).toEqual(
      report.files.map((file) => ({ ...file, path: file.path.replace(folder, "data") })),
    );
  });

  it("as a problem is read in pieces too", async () => {
    const engine = await wasmEngine();
    try {
      const options = { engine, dataDir: folder, files: await nodeFiles(), readFile: () => expect.unreachable() };
      const { dataset } = await openProblem("svhn", options);
      expect(await dataset.sha256()).toBe(await (await loadDataset("svhn", memory(content))).sha256());
    } finally {
      await engine.close();
    }
  });

  it("without extra is taken, which is said; without another file it is refused", async () => {
    const lines: string[] = [];
    const small = { ...content, "extra_32x32.mat": undefined };
    const dataset = await loadDataset("svhn", { ...memory(small), log: (line) => lines.push(line) });
    expect(dataset.trainCount).toBe(3);
    expect(lines).toEqual([expect.stringContaining("has no extra_32x32.mat: the 3 images of train_32x32.mat")]);
    await expect(loadDataset("svhn", memory({}))).rejects.toThrow(/2 files are missing in data; .*data fetch svhn/);
  });

  it("with wrong labels, sizes or variables is refused with the place", async () => {
    const refusal = (test: Uint8Array) =>
      expect(loadDataset("svhn", memory({ ...content, "test_32x32.mat": test }))).rejects;
    await refusal(digits(parts.test, [5, 0])).toThrow("data/test_32x32.mat: image 1 has label 0; labels are 1 to 10");
    const X: MatlabArray = { name: "X", shape: [32, 32, 3, 2], type: "uint8", values: parts.test };
    await refusal(matlabFile([X])).toThrow("it has no variable y");
    await refusal(matlabFile([X, { name: "y", shape: [1, 1], type: "uint8", values: [3] }])).toThrow(
      "2 images and 1 labels",
    );
    const small: MatlabArray = { name: "X", shape: [16, 32, 3, 4], type: "uint8", values: parts.test };
    await refusal(matlabFile([small])).toThrow("X is 16 x 32 x 3 x 4 of uint8, not 32 x 32 x 3 x n of uint8");
    await refusal(matlabFile([])).toThrow("it has no variable X");
  });
});
