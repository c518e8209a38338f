/** CIFAR-10's binary and Python versions, from batches made here. */
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { pickledBatch, type PickleStyle } from "../../test/pickle-files.ts";
import { loadDataset } from "./registry.ts";
import { verifyDataset } from "./verify.ts";

const random = mulberry32(freshSeed());

/** `count` records of random pixels, labelled 0, 1, .. 9, 0, .. */
function batch(count: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: count * 3073 }, (_, at) =>
    at % 3073 === 0 ? (at / 3073) % 10 : Math.floor(256 * random()),
  );
}

function folder(files: Record<string, Uint8Array>) {
  return { dataDir: "data", readFile: (path: string) => Promise.resolve(files[path.replace("data/", "")]) };
}

describe("a folder of CIFAR batches", () => {
  const [one, two, test] = [batch(13), batch(5), batch(7)];
  const files = { "data_batch_1.bin": one, "data_batch_2.bin.gz": gzipSync(two), "test_batch.bin": test };

  it("is one dataset, its training batches in order and its test images behind them, packed or not", async () => {
    const dataset = await loadDataset("cifar10", folder(files));
    expect(dataset).toMatchObject({
      count: 25,
      trainCount: 18,
      classes: 10,
      shape: { channels: 3, height: 32, width: 32 },
    });
    expect([...dataset.labels.subarray(10, 20)]).toEqual([0, 1, 2, 0, 1, 2, 3, 4, 0, 1]);
    const at = (file: Uint8Array, record: number) =>
      Float32Array.from(file.subarray(record * 3073 + 1, (record + 1) * 3073), (byte) => byte / 255);
    const { images } = dataset.select("12:14,24:25");
    expect(images.subarray(0, 3072)).toEqual(at(one, 12));
    expect(images.subarray(3072, 6144)).toEqual(at(two, 0));
    expect(images.subarray(6144)).toEqual(at(test, 6));
    const report = await verifyDataset("cifar10", folder(files));
    expect(report.files.map(({ name, bytes }) => [name, bytes])).toEqual([
      ["data_batch_1.bin", 13 * 3073],
      ["data_batch_2.bin", 5 * 3073],
      ["test_batch.bin", 7 * 3073],
    ]);
  });

  it("is not as published where a batch has more or fewer than its 10,000 records", async () => {
    const blank = (count: number) => new Uint8Array(3073 * count);
    const counts = { "data_batch_1.bin": 10_000, "data_batch_2.bin": 9_999, "test_batch.bin": 10_001 };
    const whole = Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, blank(count)]));
    const report = await verifyDataset("cifar10", folder(whole));
    expect(report.files.map(({ published, records }) => [published, records])).toEqual([
      // As many records as published, but not those.
      ["different", { count: 10_000, published: 10_000 }],
      ["different", { count: 9_999, published: 10_000 }],
      ["different", { count: 10_001, published: 10_000 }],
    ]);
  });

  it("without its first batch, or without test images, is refused with what is missing", async () => {
    await expect(loadDataset("cifar10", folder({ "test_batch.bin": test }))).rejects.toThrow(
      /a file is missing in data; looked for data\/data_batch_1\.bin, data\/data_batch_1\.bin\.gz/,
    );
    await expect(loadDataset("cifar10", folder({ "data_batch_1.bin": one }))).rejects.toThrow(
      /looked for data\/test_batch/,
    );
    await expect(loadDataset("cifar10", {})).rejects.toThrow(/give the folder/);
    await expect(loadDataset("cifar10", folder({}))).rejects.toThrow(
      /test_batch\.bin\.gz, and for the Python version's data_batch_1 and test_batch;/,
    );
  });

  it("with a batch lost between others is refused", async () => {
    const gap = { ...files, "data_batch_4.bin": two };
    await expect(loadDataset("cifar10", folder(gap))).rejects.toThrow(
      /data_batch_3\.bin is missing in data, but data_batch_4\.bin is there/,
    );
  });

  it("with a file that is cut short, or has a wrong label, is refused with the place", async () => {
    const short = { ...files, "test_batch.bin": test.subarray(0, 7000) };
    await expect(loadDataset("cifar10", folder(short))).rejects.toThrow(
      /test_batch\.bin: 7000 bytes are no whole number of CIFAR records of 3073 bytes \(2 take 6146, 3 take 9219; .*30730000/,
    );
    const wrong = Uint8Array.from(one);
    wrong[3 * 3073] = 10;
    await expect(loadDataset("cifar10", folder({ ...files, "data_batch_1.bin": wrong }))).rejects.toThrow(
      /data_batch_1\.bin: record 3 has label 10; labels are 0 to 9/,
    );
  });
});

describe("a folder of CIFAR's Python version", () => {
  /** The same records as a pickle. */
  function pickled(binary: Uint8Array, style: PickleStyle): Uint8Array<ArrayBuffer> {
    const records = Array.from({ length: binary.length / 3073 }, (_, i) => binary.subarray(i * 3073, (i + 1) * 3073));
    const pixels = Uint8Array.from(records.flatMap((record) => [...record.subarray(1)]));
    return pickledBatch(style, { labels: records.map((record) => record[0] ?? NaN), pixels });
  }
  const [one, two, test] = [batch(3), batch(2), batch(4)];
  const binary = { "data_batch_1.bin": one, "data_batch_2.bin": two, "test_batch.bin": test };
  const python = {
    data_batch_1: pickled(one, "python2"),
    "data_batch_2.gz": gzipSync(pickled(two, "protocol4")),
    test_batch: pickled(test, "protocol2"),
  };

  it("is the same dataset as the binary version's, to the digest", async () => {
    const [a, b] = await Promise.all([binary, python].map((files) => loadDataset("cifar10", folder(files))));
    expect(await b?.sha256()).toBe(await a?.sha256());
    expect(b?.select("0:9")).toEqual(a?.select("0:9"));
    const report = await verifyDataset("cifar10", folder(python));
    expect(report.files.map(({ name, records, published }) => [name, records?.count, published])).toEqual([
      ["data_batch_1", 3, "different"],
      ["data_batch_2", 2, "different"],
      ["test_batch", 4, "different"],
    ]);
    expect(report.notes).toEqual([]);
  });

  it("beside the binary version is left alone, and the caller told", async () => {
    const lines: string[] = [];
    const both = { ...python, ...binary, "test_batch.bin": batch(5) };
    const dataset = await loadDataset("cifar10", { ...folder(both), log: (line) => lines.push(line) });
    expect(dataset.testCount).toBe(5);
    expect(lines).toEqual([expect.stringMatching(/both the binary and the Python version; the binary one .* is read/)]);
    expect((await verifyDataset("cifar10", folder(both))).notes).toEqual(lines);
  });

  it("with missing or damaged batches is refused with the file", async () => {
    await expect(loadDataset("cifar10", folder({ test_batch: python.test_batch }))).rejects.toThrow(
      /looked for data\/data_batch_1, data\/data_batch_1\.gz; `widefield data fetch cifar10` downloads it/,
    );
    await expect(loadDataset("cifar10", folder({ ...python, data_batch_4: one }))).rejects.toThrow(
      /data_batch_3 is missing in data, but data_batch_4 is there/,
    );
    const evil = new TextEncoder().encode("\u0002cposix\nsystem\n.");
    const bytes = Uint8Array.of(0x80, ...evil);
    await expect(loadDataset("cifar10", folder({ ...python, test_batch: bytes }))).rejects.toThrow(
      /data\/test_batch: the pickle is refused at byte 2: it asks for the global "posix\.system"/,
    );
  });
});

describe("a folder of CIFAR-100", () => {
  /** Records of a coarse label, a fine one and random pixels. */
  const records = (fine: readonly number[]) =>
    Uint8Array.from(
      fine.flatMap((label) => [label % 20, label, ...Array.from({ length: 3072 }, () => 256 * random())]),
    );
  const pickled = (binary: Uint8Array) => {
    const rows = Array.from({ length: binary.length / 3074 }, (_, i) => binary.subarray(i * 3074, (i + 1) * 3074));
    const labels = rows.map((row) => row[1] ?? NaN);
    const pixels = Uint8Array.from(rows.flatMap((row) => [...row.subarray(2)]));
    return pickledBatch("python2", { labels, coarse: rows.map((row) => row[0] ?? NaN), pixels });
  };
  const [train, test] = [records([99, 0, 57]), records([20, 98])];

  it("has the fine labels, from the binary version and from Python's, to the digest", async () => {
    const binary = await loadDataset("cifar100", folder({ "train.bin": train, "test.bin": test }));
    expect(binary).toMatchObject({ classes: 100, trainCount: 3, testCount: 2 });
    expect([...binary.labels]).toEqual([99, 0, 57, 20, 98]);
    expect(binary.select("3:4").images).toEqual(Float32Array.from(test.subarray(2, 3074), (byte) => byte / 255));
    const python = await loadDataset("cifar100", folder({ train: pickled(train), "test.gz": gzipSync(pickled(test)) }));
    expect(await python.sha256()).toBe(await binary.sha256());
    const report = await verifyDataset("cifar100", folder({ "train.bin": train, "test.bin": test }));
    expect(report.files.map(({ name, records: found }) => [name, found?.count, found?.published])).toEqual([
      ["train.bin", 3, 50_000],
      ["test.bin", 2, 10_000],
    ]);
  });

  it("with a label of no class, or with CIFAR-10's batches in its place, is refused", async () => {
    await expect(loadDataset("cifar100", folder({ "train.bin": records([3, 100]), "test.bin": test }))).rejects.toThrow(
      "train.bin: record 1 has label 100; labels are 0 to 99",
    );
    await expect(loadDataset("cifar100", folder({ "train.bin": batch(5), "test.bin": test }))).rejects.toThrow(
      "no whole number of CIFAR records of 3074 bytes",
    );
    const ten = pickledBatch("python2", { labels: [1], pixels: new Uint8Array(3072) });
    await expect(loadDataset("cifar100", folder({ train: ten, test: ten }))).rejects.toThrow("is it of CIFAR-10?");
    await expect(loadDataset("cifar10", folder({ data_batch_1: pickled(train), test_batch: ten }))).rejects.toThrow(
      "is it of CIFAR-100?",
    );
  });
});
