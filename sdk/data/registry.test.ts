import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { gzip, idxFile, inMemory, randomBytes, tinyFolder } from "../../test/idx-files.ts";
import { readFileFromDisk } from "./files.ts";
import { parseIdxImages, unpackIdx } from "./idx.ts";
import { DATASETS, findDataset, loadDataset } from "./registry.ts";
import { verifyDataset } from "./verify.ts";

const failsWith = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "WidefieldError", code, message: expect.stringMatching(message) as string }) as Error;

async function load(name: string, files: ReadonlyMap<string, Uint8Array>) {
  return loadDataset(name, { dataDir: "data", readFile: inMemory(files) });
}

/** A tiny folder with some files replaced, or taken away where undefined. */
function changed(changes: Readonly<Record<string, Uint8Array | undefined>>): Map<string, Uint8Array> {
  const files = tinyFolder(1, 9, 5);
  for (const [name, bytes] of Object.entries(changes)) {
    if (bytes === undefined) files.delete(`data/${name}`);
    else files.set(`data/${name}`, bytes);
  }
  return files;
}

describe("datasets by name", () => {
  it("are mnist, fmnist, notmnist, cifar10, cifar100, svhn, digits and npy, whatever the case", () => {
    expect(DATASETS.map(({ name }) => name)).toEqual([
      "mnist",
      "fmnist",
      "notmnist",
      "cifar10",
      "cifar100",
      "svhn",
      "digits",
      "npy",
    ]);
    expect(findDataset("MNIST").name).toBe("mnist");
  });

  it.each([
    ["mnits", "mnist"],
    ["nmist", "mnist"],
    ["fminst", "fmnist"],
    ["notminst", "notmnist"],
    ["digit", "digits"],
  ])("refuse %j with the list and the nearest, %j", (name, nearest) => {
    expect(() => findDataset(name)).toThrow(
      failsWith(
        "E_CONFIG",
        new RegExp(
          `"${name}" \\(there are mnist, fmnist, notmnist, cifar10, cifar100, svhn, digits, npy\\); .*"${nearest}"`,
        ),
      ),
    );
  });

  it("refuse a name that is like none without a guess", () => {
    expect(() => findDataset("imagenet-21k")).toThrow(failsWith("E_CONFIG", /there are mnist, .*npy\)$/));
  });

  it("make the digits of a seed without any files", async () => {
    const one = await loadDataset("digits", { seed: 7 });
    expect(one.select("0:1").images).not.toEqual((await loadDataset("digits")).select("0:1").images);
  });
});

describe("a folder of IDX files", () => {
  it("gives training and test images in one index space, packed or not", async () => {
    const files = tinyFolder(1, 9, 5);
    const data = await load("mnist", files);
    expect(data).toMatchObject({ name: "mnist", trainCount: 9, testCount: 5, classes: 10, imageFloats: 12 });
    expect(data.shape).toEqual({ channels: 1, height: 4, width: 3 });
    const path = "data/t10k-images-idx3-ubyte.gz";
    const test = parseIdxImages(await unpackIdx(files.get(path) ?? new Uint8Array(), path), path);
    const { images, labels } = data.select("9:14");
    images.forEach((value, i) => expect(value).toBe(Math.fround((test.pixels[i] ?? NaN) / 255)));
    expect([...labels]).toEqual([...(files.get("data/t10k-labels-idx1-ubyte") ?? [])].slice(8));
    expect([...data.labels.subarray(0, 9)]).toEqual([...(files.get("data/train-labels-idx1-ubyte") ?? [])].slice(8));
  });

  it("has the same SHA-256 whether its files are packed or not, and another for other content", async () => {
    const packed = tinyFolder(1, 9, 5);
    const plain = new Map<string, Uint8Array>();
    for (const [path, bytes] of packed) plain.set(path.replace(/\.gz$/, ""), await unpackIdx(bytes, path));
    const digest = await (await load("mnist", packed)).sha256();
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    expect(await (await load("mnist", plain)).sha256()).toBe(digest);
    expect(await (await load("mnist", tinyFolder(2, 9, 5))).sha256()).not.toBe(digest);
    expect(await (await load("mnist", tinyFolder(1, 9, 4))).sha256()).not.toBe(digest);
  });

  it("may end in slashes", async () => {
    const readFile = inMemory(tinyFolder(1, 9, 5));
    expect((await loadDataset("mnist", { dataDir: "data//", readFile })).count).toBe(14);
  });

  it("must be given for a dataset of files, with a way to read it", async () => {
    await expect(loadDataset("mnist")).rejects.toThrow(failsWith("E_CONFIG", /--data-dir.*data fetch mnist/));
    await expect(loadDataset("notmnist")).rejects.toThrow(failsWith("E_CONFIG", /--data-dir, or dataDir\); "digits"/));
    await expect(loadDataset("mnist", { dataDir: "data" })).rejects.toThrow(failsWith("E_CONFIG", /readFile/));
  });

  it("that lacks files is refused with what was looked for where", async () => {
    await expect(load("mnist", changed({ "t10k-labels-idx1-ubyte": undefined }))).rejects.toThrow(
      failsWith(
        "E_DATA",
        /^mnist: a file is missing in data; looked for data\/t10k-labels-idx1-ubyte, data\/t10k-labels-idx1-ubyte\.gz; `widefield data fetch mnist` downloads it$/,
      ),
    );
    await expect(load("fmnist", new Map())).rejects.toThrow(failsWith("E_DATA", /4 files are missing in data/));
  });

  it("may lack the training files of notMNIST only, and both of them", async () => {
    const images = { "train-images-idx3-ubyte.gz": undefined };
    const both = { ...images, "train-labels-idx1-ubyte": undefined };
    const data = await load("notmnist", changed(both));
    expect(data).toMatchObject({ trainCount: 0, testCount: 5, count: 5 });
    expect(data.select(":").indices.length).toBe(5);
    await expect(load("notmnist", changed(images))).rejects.toThrow(
      failsWith("E_DATA", /looked for data\/train-images/),
    );
    await expect(load("mnist", changed(both))).rejects.toThrow(failsWith("E_DATA", /2 files are missing/));
  });

  it("with different counts of images and labels is refused with both", async () => {
    const labels = { "train-labels-idx1-ubyte": idxFile([8], randomBytes(1, "labels", 8, 10)) };
    await expect(load("mnist", changed(labels))).rejects.toThrow(
      failsWith("E_DATA", /train-images-idx3-ubyte\.gz has 9 images, and data\/train-labels-idx1-ubyte has 8 labels/),
    );
  });

  it("with a label beyond the classes is refused with file, index and label", async () => {
    const labels = { "train-labels-idx1-ubyte": idxFile([9], [0, 1, 2, 3, 10, 5, 6, 7, 8]) };
    await expect(load("mnist", changed(labels))).rejects.toThrow(
      failsWith("E_DATA", /^data\/train-labels-idx1-ubyte: label 4 is 10, not in 0\.\.9/),
    );
  });

  it("with training and test images of different sizes is refused with both", async () => {
    const images = { "t10k-images-idx3-ubyte.gz": gzip(idxFile([5, 3, 4], randomBytes(1, "images", 60))) };
    await expect(load("mnist", changed(images))).rejects.toThrow(failsWith("E_DATA", /images of 4 x 3, .* of 3 x 4/));
  });

  it("with a damaged file is refused by that file's name", async () => {
    const packed = tinyFolder(1, 9, 5).get("data/train-images-idx3-ubyte.gz") ?? new Uint8Array();
    const cut = { "train-images-idx3-ubyte.gz": packed.subarray(0, packed.length - 9) };
    await expect(load("mnist", changed(cut))).rejects.toThrow(
      failsWith("E_DATA", /^data\/train-images-idx3-ubyte\.gz: /),
    );
    const page = { "train-images-idx3-ubyte.gz": new TextEncoder().encode("<!doctype html>") };
    await expect(load("mnist", changed(page))).rejects.toThrow(failsWith("E_DATA", /named \.gz but is not gzip/));
  });

  it("is verified to its last pixel: counts, labels by class, pixel range, digests", async () => {
    const files = tinyFolder(1, 9, 5);
    const options = { dataDir: "data", readFile: inMemory(files) };
    const report = await verifyDataset("mnist", options);
    const labels = [...(files.get("data/train-labels-idx1-ubyte") ?? [])].slice(8);
    expect(report.train.labels).toEqual(Array.from({ length: 10 }, (_, c) => labels.filter((l) => l === c).length));
    const { images } = (await loadDataset("mnist", options)).selectFloat64("0:9");
    expect(report.train).toMatchObject({ count: 9, pixels: { min: Math.min(...images), max: Math.max(...images) } });
    expect(report.test.count).toBe(5);
    expect(report.sha256).toBe(await (await loadDataset("mnist", options)).sha256());
    expect(report.files.map(({ bytes, published }) => [bytes, published])).toEqual([
      [16 + 108, "different"],
      [8 + 9, "different"],
      [16 + 60, "different"],
      [8 + 5, "different"],
    ]);
    expect((await verifyDataset("fmnist", options)).files.every(({ published }) => published === "unknown")).toBe(true);
  });
});

describe("files on a disk", () => {
  it("are read, are undefined where there are none, and are refused where they cannot be read", async () => {
    const folder = await mkdtemp(join(tmpdir(), "widefield-data-"));
    try {
      for (const [path, bytes] of tinyFolder(3, 4, 2)) {
        await mkdir(join(folder, "data"), { recursive: true });
        await writeFile(join(folder, path), bytes);
      }
      const data = await loadDataset("mnist", { dataDir: join(folder, "data"), readFile: readFileFromDisk });
      expect(data.count).toBe(6);
      expect(await readFileFromDisk(join(folder, "nothing"))).toBeUndefined();
      expect(await readFileFromDisk(join(folder, "data/t10k-labels-idx1-ubyte/below-a-file"))).toBeUndefined();
      await expect(readFileFromDisk(folder)).rejects.toThrow(failsWith("E_IO", /it is a folder/));
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

const shared = new URL("../../../shared/data/", import.meta.url).pathname;

describe.runIf(existsSync(join(shared, "mnist")))("MNIST itself", () => {
  it("has the label counts, first labels and digests that were published", async () => {
    const options = { dataDir: join(shared, "mnist"), readFile: readFileFromDisk };
    const report = await verifyDataset("mnist", options);
    expect(report.train).toMatchObject({
      count: 60_000,
      labels: [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
      pixels: { min: 0, max: 1 },
    });
    expect(report.test).toMatchObject({
      count: 10_000,
      labels: [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
      pixels: { min: 0, max: 1 },
    });
    expect(report.files.map(({ published }) => published)).toEqual(["same", "same", "same", "same"]);
    const data = await loadDataset("mnist", options);
    expect([...data.select("0:1,60000:60001").labels]).toEqual([5, 7]);
  });
});
