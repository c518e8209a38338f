/** The files are read by protobufjs, from the messages' published definitions, and by a checksum a bit at a time. */
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import protobuf from "protobufjs";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { diskOf } from "../../test/full-disk.ts";
import { freshSeed } from "../../test/seed.ts";
import { RandomStream } from "../engine/rng.ts";
import { Histogram } from "../learn/histogram.ts";
import type { EpochRecord } from "../learn/training-state.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { TensorBoard } from "./tensorboard.ts";

const seed = freshSeed();
const files = await nodeFiles();

const Event = protobuf
  .parse(
    `syntax = "proto3";
     message Event {
       double wall_time = 1;
       int64 step = 2;
       oneof what { string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }
     }
     message SessionLog { enum SessionStatus { STATUS_UNSPECIFIED = 0; START = 1; STOP = 2; } SessionStatus status = 1; }
     message Summary {
       message Value { string tag = 1; oneof value { float simple_value = 2; HistogramProto histo = 5; } }
       repeated Value value = 1;
     }
     message HistogramProto {
       double min = 1; double max = 2; double num = 3; double sum = 4; double sum_squares = 5;
       repeated double bucket_limit = 6 [packed = true];
       repeated double bucket = 7 [packed = true];
     }`,
    { keepCase: true },
  )
  .root.lookupType("Event");

interface Value {
  readonly tag: string;
  readonly simple_value?: number;
  readonly histo?: Readonly<Record<"min" | "max" | "num" | "sum" | "sum_squares", number>> & {
    readonly bucket_limit: readonly number[];
    readonly bucket: readonly number[];
  };
}
interface ReadEvent {
  readonly wall_time: number;
  readonly step: number;
  readonly file_version?: string;
  readonly session_log?: { readonly status: string };
  readonly summary?: { readonly value: readonly Value[] };
}

function maskedChecksum(bytes: Uint8Array): number {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  crc ^= 0xffffffffn;
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);
}

async function eventsOf(path: string): Promise<ReadEvent[]> {
  const bytes = await readFile(path);
  const events: ReadEvent[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).toBe(maskedChecksum(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(maskedChecksum(data));
    const options = { longs: Number, enums: String };
    // A zero is as good as a field that is not there.
    events.push({ step: 0, ...Event.toObject(Event.decode(data), options) } as unknown as ReadEvent);
    at += 16 + length;
  }
  return events;
}

async function freshFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "widefield-tensorboard-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

describe("an event file", () => {
  beforeAll(() => {
    // Where the test's own checksum is wrong, it proves nothing: RFC 3720's value for 32 zeros, unmasked by hand.
    const crc = 0x8a9136aa;
    expect(maskedChecksum(new Uint8Array(32))).toBe((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  });

  it("says its version, then holds scalars with tags, steps and times", async () => {
    let now = 1_700_000_000.25;
    const board = await TensorBoard.open(files, await freshFolder(), { clock: () => now++ });
    const values = { "train/loss": 0, "odd ö/NaN": Number.NaN, tiny: 1e-30, much: -Infinity };
    await board.scalars(0, values);
    await board.scalars(2 ** 40 + 3, { "train/loss": 1 / 3 });
    await board.close();
    expect(await eventsOf(board.path)).toEqual([
      { wall_time: 1_700_000_001.25, step: 0, file_version: "brain.Event:2" },
      {
        wall_time: 1_700_000_002.25,
        step: 0,
        summary: { value: Object.entries(values).map(([tag, value]) => ({ tag, simple_value: Math.fround(value) })) },
      },
      {
        wall_time: 1_700_000_003.25,
        step: 2 ** 40 + 3,
        summary: { value: [{ tag: "train/loss", simple_value: Math.fround(1 / 3) }] },
      },
    ]);
    await expect(board.scalars(1, {})).rejects.toMatchObject({ code: "E_CLOSED" });
  });

  it("holds histograms: every sum, and buckets that count all numbers", async () => {
    const values = new RandomStream(seed, "histogram").fillNormal(new Float32Array(1009));
    const histogram = new Histogram().add(values);
    const board = await TensorBoard.open(files, await freshFolder());
    await board.histograms(
      7,
      new Map([
        ["train/step_input/layers.2", histogram],
        ["none", new Histogram()],
      ]),
    );
    await board.close();
    const [, event] = await eventsOf(board.path);
    expect(event?.step).toBe(7);
    const [read, none] = event?.summary?.value ?? [];
    expect(read?.tag).toBe("train/step_input/layers.2");
    const { histo } = read ?? {};
    expect(histo).toMatchObject({ num: 1009, min: Math.min(...values), max: Math.max(...values) });
    expect(histo?.sum).toBe(values.reduce((sum, value) => sum + value, 0));
    expect(histo?.sum_squares).toBe(values.reduce((sum, value) => sum + value * value, 0));
    expect(histo?.bucket_limit).toHaveLength(histo?.bucket.length ?? -1);
    expect(histo?.bucket.reduce((sum, count) => sum + count, 0)).toBe(1009);
    histo?.bucket_limit.forEach((limit, at) => {
      const below = histo.bucket_limit[at - 1] ?? -Infinity;
      expect(histo.bucket[at]).toBe(values.filter((value) => value >= below && value < limit).length);
    });
    expect(none?.histo).toEqual({ bucket_limit: [Number.MAX_VALUE], bucket: [0] });
  });

  it("holds an epoch: losses, accuracies in percent, at the step that it came to", async () => {
    const board = await TensorBoard.open(files, await freshFolder());
    const record: EpochRecord = {
      ...{ epoch: 2, step: 80, rate: 0.5, seconds: 1, examplesPerSecond: 9 },
      training: { loss: 2, accuracy: 0.25, count: 40 },
      test: { loss: 3, accuracy: 0.5, top5: 0.75, count: 8 },
    };
    await board.epoch(record);
    await board.close();
    const event = (await eventsOf(board.path))[1];
    expect(event?.step).toBe(80);
    expect(
      Object.fromEntries((event?.summary?.value ?? []).map(({ tag, simple_value }) => [tag, simple_value])),
    ).toEqual({
      epoch: 2,
      learning_rate: 0.5,
      "train/epoch_loss": 2,
      "train/epoch_top1_accuracy": 25,
      "test/loss": 3,
      "test/top1_accuracy": 50,
      "test/top5_accuracy": 75,
    });
  });

  it("of a run that goes on is a new file behind the old ones, and voids what came after the checkpoint", async () => {
    const folder = await freshFolder();
    const paths: string[] = [];
    // The same second, and a clock that was set back.
    for (const now of [1_700_000_000, 1_700_000_000, 1_600_000_000]) {
      const resumedAt = paths.length === 0 ? undefined : 40;
      await using board = await TensorBoard.open(files, folder, { clock: () => now, resumedAt });
      paths.push(board.path);
    }
    expect((await readdir(folder)).sort().map((name) => join(folder, name))).toEqual(paths);
    const [version, start] = await eventsOf(paths[2] ?? "");
    expect(version?.file_version).toBe("brain.Event:2");
    expect(start).toEqual({ wall_time: 1_600_000_000, step: 41, session_log: { status: "START" } });
    expect(await eventsOf(paths[0] ?? "")).toHaveLength(1);
  });

  it("that the disk has no room for says so", async () => {
    const disk = diskOf(files);
    const board = await TensorBoard.open(disk.files, await freshFolder());
    disk.fullAt = disk.operations;
    await expect(board.scalars(1, { loss: 1 })).rejects.toMatchObject({ code: "E_IO" });
    await board.close();
  });
});
