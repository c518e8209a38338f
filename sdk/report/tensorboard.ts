/**
 * TensorBoard's event files, written by hand: records (TFRecord framing) of Event messages (protocol buffers).
 *
 *     record     length (8 bytes), masked CRC-32C of these, data, masked CRC-32C of the data; little-endian
 *     Event      wall_time = 1 (double), step = 2 (int64), file_version = 3 (string), summary = 5, session_log = 7
 *     Summary    value = 1, repeated: tag = 1 (string), simple_value = 2 (float) or histo = 5
 *     histo      min, max, num, sum, sum_squares = 1 .. 5 (double), bucket_limit = 6, bucket = 7 (packed doubles)
 *
 * Sources: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto.
 *
 * Everything is at the step that training has come to, in batches, evaluations after an epoch too: TensorBoard has one
 * order of events, and a run that goes on from a checkpoint tells it to forget what comes after that step.
 */
import { WidefieldError } from "../errors.ts";
import type { Histogram } from "../learn/histogram.ts";
import type { EpochRecord, Scores } from "../learn/training-state.ts";
import { crc32c } from "../platform/crc32c.ts";
import type { Files, WritableFile } from "../platform/files.ts";

export interface TensorBoardOptions {
  /** Batches of the checkpoint that the run goes on from: what was written of later ones is void. */
  readonly resumedAt?: number | undefined;
  /** Seconds since 1970. */
  readonly clock?: (() => number) | undefined;
}

const NAME = /^events\.out\.tfevents\.(?<seconds>\d{10})\./;

/** Writes one event file. Calls are to be awaited one after the other. */
export class TensorBoard {
  /** Of the file. */
  readonly path: string;
  private readonly clock: () => number;
  private file: WritableFile | undefined;

  private constructor(path: string, file: WritableFile, clock: () => number) {
    this.path = path;
    this.file = file;
    this.clock = clock;
  }

  /**
   * Begins an event file in a run's folder, which has to be there. Its name comes behind those that are there already:
   * TensorBoard reads a folder's files in the order of their names. Throws E_IO.
   */
  static async open(files: Files, folder: string, options: TensorBoardOptions = {}): Promise<TensorBoard> {
    const { resumedAt, clock = () => Date.now() / 1000 } = options;
    const earlier = (await files.list(folder)).map((name) => Number(NAME.exec(name)?.groups?.["seconds"] ?? -1));
    const seconds = Math.max(Math.floor(clock()), ...earlier.map((second) => second + 1));
    const host = files.self.host.replaceAll(/[^\w-]/g, "_");
    const name = `events.out.tfevents.${String(seconds).padStart(10, "0")}.${host}.${files.self.pid}.widefield`;
    const path = `${folder}/${name}`;
    const board = new TensorBoard(path, await files.create(path), clock);
    try {
      await board.write(0, text(3, "brain.Event:2"));
      if (resumedAt !== undefined) await board.write(resumedAt + 1, message(7, varintField(1, SESSION_START)));
    } catch (thrown) {
      await board.close();
      throw thrown;
    }
    return board;
  }

  /** Numbers by their tags. Throws E_IO, E_CLOSED. */
  async scalars(step: number, values: Readonly<Record<string, number>>): Promise<void> {
    const summary = Object.entries(values).map(([tag, value]) => message(1, text(1, tag), float(2, value)));
    await this.write(step, message(5, ...summary));
  }

  /** Histograms by their tags. Throws E_IO, E_CLOSED. */
  async histograms(step: number, values: ReadonlyMap<string, Histogram>): Promise<void> {
    const summary = [...values].map(([tag, value]) => message(1, text(1, tag), message(5, ...histogramFields(value))));
    await this.write(step, message(5, ...summary));
  }

  /** What an epoch came to, and makes sure that it is on the disk. Throws E_IO, E_CLOSED. */
  async epoch(record: EpochRecord): Promise<void> {
    await this.scalars(record.step, epochScalars(record));
    await this.file?.sync();
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const file = this.file;
    this.file = undefined;
    await file?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async write(step: number, ...what: readonly Uint8Array[]): Promise<void> {
    if (this.file === undefined) throw new WidefieldError("E_CLOSED", `${this.path} is closed`);
    const event = joined([double(1, this.clock()), varintField(2, step), ...what]);
    await this.file.write(recordOf(event));
  }
}

/**
 * Tags and numbers of an epoch. Those of batches are "train/loss" and so on, those of an epoch's running means
 * "train/epoch_loss"; accuracies are in percent. The names are those of the published code of feasible target propagation.
 */
export function epochScalars({ epoch, rate, training, validation, test }: EpochRecord): Record<string, number> {
  return {
    epoch,
    learning_rate: rate,
    ...scoreScalars("train/epoch_", training),
    ...(validation === undefined ? {} : scoreScalars("val/", validation)),
    ...(test === undefined ? {} : scoreScalars("test/", test)),
  };
}

/** Tags and numbers of a set's scores, or of one batch's ("train/"). */
export function scoreScalars(
  prefix: string,
  { loss, accuracy, top5 }: Pick<Scores, "loss" | "accuracy" | "top5">,
): Record<string, number> {
  return {
    [`${prefix}loss`]: loss,
    ...(accuracy === undefined ? {} : { [`${prefix}top1_accuracy`]: 100 * accuracy }),
    ...(top5 === undefined ? {} : { [`${prefix}top5_accuracy`]: 100 * top5 }),
  };
}

/** SessionLog.START: the events before it whose steps are not below its own are to be forgotten. */
const SESSION_START = 1;

/** Rotated and shifted, so that the checksum of data that holds checksums is none of a special kind. */
function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function recordOf(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(8 + 4 + data.length + 4);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, masked(crc32c(record.subarray(0, 8))), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, masked(crc32c(data)), true);
  return record;
}

function histogramFields(histogram: Histogram): Uint8Array[] {
  const { limits, counts } = histogram.buckets();
  const { min, max, count, sum, sumOfSquares } = histogram;
  return [
    ...[min, max, count, sum, sumOfSquares].map((value, at) => double(at + 1, value)),
    bytesField(6, doubles(limits)),
    bytesField(7, doubles(counts)),
  ];
}

/** Kinds of fields, as the lowest three bits of their key say it. */
const [VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES] = [0, 1, 2, 5];

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Seven bits a byte, the lowest first, for whole numbers from 0 to 2^53 - 1. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

function key(field: number, kind: number): Uint8Array {
  return varint(field * 8 + kind);
}

function varintField(field: number, value: number): Uint8Array {
  return joined([key(field, VARINT), varint(value)]);
}

function bytesField(field: number, bytes: Uint8Array): Uint8Array {
  return joined([key(field, LENGTH), varint(bytes.length), bytes]);
}

function message(field: number, ...content: readonly Uint8Array[]): Uint8Array {
  return bytesField(field, joined(content));
}

function text(field: number, value: string): Uint8Array {
  return bytesField(field, new TextEncoder().encode(value));
}

function double(field: number, value: number): Uint8Array {
  return joined([key(field, EIGHT_BYTES), doubles([value])]);
}

function float(field: number, value: number): Uint8Array {
  return joined([key(field, FOUR_BYTES), new Uint8Array(Float32Array.of(value).buffer)]);
}

function doubles(values: readonly number[]): Uint8Array {
  return new Uint8Array(Float64Array.from(values).buffer);
}
