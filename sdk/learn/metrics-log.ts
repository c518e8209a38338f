/**
 * The metrics of a run as JSON lines, `metrics.jsonl`, for whoever reads them while it trains or afterwards:
 *
 *     {"kind":"step","epoch":1,"step":200,"loss":1.93,...}      where asked for; the step counts batches from 1
 *     {"kind":"epoch","epoch":1,"step":625,"rate":0.00025,"training":{"loss":..,"accuracy":..,"count":..},...}
 *
 * A run that goes on from a checkpoint takes back what was written after it, and a line that a crash has cut off, so that
 * the file becomes that of a run which was never stopped, but for the seconds that its epochs took.
 */
import * as z from "zod";
import { messageOf, WidefieldError } from "../errors.ts";
import { replaceFile, type Files, type ScratchFile } from "../platform/files.ts";
import { epochSchema, jsonOf, numberSchema } from "./epoch-json.ts";
import type { EpochRecord } from "./training-state.ts";

/** One batch, or the batches since the line before. */
export interface StepMetrics {
  readonly epoch: number;
  /** Batches in all epochs, with this one. */
  readonly step: number;
  readonly rate: number;
  /** The mean, where it is of several batches. */
  readonly loss: number;
  readonly accuracy?: number | undefined;
  readonly top5?: number | undefined;
}

export interface Metrics {
  readonly epochs: readonly EpochRecord[];
  readonly steps: readonly StepMetrics[];
}

const stepSchema = z.strictObject({
  epoch: z.int().positive(),
  step: z.int().positive(),
  rate: numberSchema,
  loss: numberSchema,
  accuracy: numberSchema.optional(),
  top5: numberSchema.optional(),
});

const kindSchema = z.looseObject({ kind: z.enum(["step", "epoch"]) });

/** A line that was read: what it says, and its text. */
type Line = { readonly text: string } & (
  { readonly kind: "step"; readonly value: StepMetrics } | { readonly kind: "epoch"; readonly value: EpochRecord }
);

export class MetricsLog {
  readonly path: string;
  private readonly files: Files;
  private file: ScratchFile | undefined;
  /** Bytes of whole lines. */
  private written: number;
  /** A line was not written to its end: some of it may be there. */
  private torn = false;

  private constructor(files: Files, path: string, written: number) {
    this.files = files;
    this.path = path;
    this.written = written;
  }

  /**
   * Opens a log, or begins it. `history` has the epochs of the checkpoint that the run goes on from; what the log says of
   * later ones is removed, and where it does not have one of these (a process may end between the two) it is filled in.
   *
   * @throws WidefieldError E_CORRUPT for a log with a line that is none, E_IO
   */
  static async open(files: Files, path: string, history: readonly EpochRecord[] = []): Promise<MetricsLog> {
    const found = await readLines(files, path);
    const text = history.flatMap((record) => {
      const { epoch } = record;
      const lines = found.filter(({ value }) => value.epoch === epoch);
      const last = lines.find(({ kind }) => kind === "epoch")?.text ?? epochLine(record);
      return [...lines.filter(({ kind }) => kind === "step").map((line) => line.text), last];
    });
    const bytes = encode(text.join(""));
    await replaceFile(files, path, bytes);
    return new MetricsLog(files, path, bytes.length);
  }

  /** Throws E_IO, E_CLOSED. */
  async step({ epoch, step, rate, loss, accuracy, top5 }: StepMetrics): Promise<void> {
    await this.append(`${jsonOf({ kind: "step", epoch, step, rate, loss, accuracy, top5 })}\n`);
  }

  /** Throws E_IO, E_CLOSED; returns when the line is on the device. */
  async epoch(record: EpochRecord): Promise<void> {
    await this.append(epochLine(record));
    await this.file?.sync();
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const { file } = this;
    this.written = CLOSED;
    this.file = undefined;
    await file?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async append(line: string): Promise<void> {
    if (this.written === CLOSED) throw new WidefieldError("E_CLOSED", `${this.path} is closed`);
    if (this.torn) await this.mend();
    this.file ??= await this.files.openScratch(this.path);
    const bytes = encode(line);
    this.torn = true;
    await this.file.write(bytes, this.written);
    this.torn = false;
    this.written += bytes.length;
  }

  /** A shorter line would not cover all of one that was torn. */
  private async mend(): Promise<void> {
    await this.file?.close();
    this.file = undefined;
    const bytes = await this.files.read(this.path);
    await replaceFile(this.files, this.path, (bytes ?? new Uint8Array(0)).subarray(0, this.written));
    this.torn = false;
  }
}

const CLOSED = -1;

/**
 * What a log says; a last line that is cut off, by a crash or because it is being written, counts for nothing.
 *
 * @throws WidefieldError E_DATA where there is none, E_CORRUPT for a line that is none, E_IO
 */
export async function readMetrics(files: Files, path: string): Promise<Metrics> {
  if ((await files.size(path)) === undefined) {
    const message = `there is no ${path}: give the folder of a run that has trained for an epoch`;
    throw new WidefieldError("E_DATA", message, { details: { path } });
  }
  const lines = await readLines(files, path);
  return {
    epochs: lines.flatMap((line) => (line.kind === "epoch" ? [line.value] : [])),
    steps: lines.flatMap((line) => (line.kind === "step" ? [line.value] : [])),
  };
}

async function readLines(files: Files, path: string): Promise<Line[]> {
  const text = new TextDecoder().decode((await files.read(path)) ?? new Uint8Array(0));
  // Behind the last end of a line is nothing, or what a crash has left.
  return text
    .split("\n")
    .slice(0, -1)
    .map((line, index) => lineOf(line, index + 1, path));
}

function lineOf(line: string, number: number, path: string): Line {
  try {
    const { kind, ...value } = kindSchema.parse(JSON.parse(line));
    const text = `${line}\n`;
    return kind === "step"
      ? { kind, text, value: stepSchema.parse(value) }
      : { kind, text, value: epochSchema.parse(value) };
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
    throw new WidefieldError(
      "E_CORRUPT",
      `${path}, line ${number}, is no line of metrics: ${why}; mend that line or remove the file: a run that goes on ` +
        `writes its epochs again`,
      { cause, details: { path, line: number } },
    );
  }
}

/** Keys in the schema's order, whether the record was just made or comes out of a checkpoint. */
function epochLine(record: EpochRecord): string {
  return `${jsonOf({ kind: "epoch", ...epochSchema.parse(JSON.parse(jsonOf(record))) })}\n`;
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
