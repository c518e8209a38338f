/**
 * The folder of a convergence experiment: a manifest that says whose it is, and for every width the sums over all
 * draws so far. Draw i is the same network whoever makes it, so a run that was stopped goes on with the next draw and
 * ends with the same bytes; so does one that asks for more draws, or for more widths.
 *
 *     manifest.json      what every number in the folder depends on
 *     width-30.state     one line of JSON, then float64 sums of products, the sum of |f|^4, the float32 outputs shown
 */
import * as z from "zod";
import { crc32c } from "../platform/crc32c.ts";
import { createFile, isAbandoned, readSettled, replaceFile, type Files } from "../platform/files.ts";
import { lockShard } from "../covariance/store/lock.ts";
import type { Lock } from "../platform/lock.ts";
import { differences, type Json } from "../covariance/store/manifest.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import type { CovarianceSums } from "../learn/empirical-covariance.ts";

export const CONVERGE_FORMAT = 1;

/** Everything that the sums depend on, as JSON: two runs may share a folder when these are equal. */
export interface ConvergeIdentity extends Readonly<Record<string, Json>> {
  readonly dataset: { readonly sha256: string };
}

/** All draws of one width so far. */
export interface WidthState {
  readonly sums: CovarianceSums;
  /** Outputs for the input that is shown, one a draw. */
  readonly shown: Float32Array;
  /** Spent on these draws, in all runs together. */
  readonly seconds: number;
}

const manifestSchema = z.object({ identity: z.record(z.string(), z.json()) });
const headerSchema = z.object({
  channels: z.int(),
  inputs: z.int(),
  draws: z.int().nonnegative(),
  seconds: z.number(),
  crc32c: z.string(),
});

export class ConvergeFolder {
  readonly path: string;
  private readonly files: Files;
  private readonly lock: Lock;

  private constructor(files: Files, path: string, lock: Lock) {
    this.files = files;
    this.path = path;
    this.lock = lock;
  }

  /**
   * Makes the folder, or opens it where it was begun, for this process alone. Throws E_MISMATCH, line by line, where it
   * belongs to another experiment, E_LOCKED where another process works in it, E_CORRUPT for a damaged manifest, E_IO.
   */
  static async open(files: Files, path: string, identity: ConvergeIdentity, recorded: Json): Promise<ConvergeFolder> {
    await files.makeFolder(path);
    const text = `${JSON.stringify({ identity, recorded, created: new Date().toISOString() }, null, 2)}\n`;
    const name = `${path}/manifest.json`;
    if (!(await createFile(files, name, new TextEncoder().encode(text)))) {
      const lines = differences(await readIdentity(files, name), identity);
      if (lines.length > 0) {
        throw new WidefieldError(
          "E_MISMATCH",
          `${path} holds another experiment (stored -> asked for):\n${lines.map((line) => `  ${line}`).join("\n")}\n` +
            `Choose another folder for the new one, or remove the old one.`,
          { details: { path, differences: lines } },
        );
      }
    }
    const lock = await lockFolder(files, path);
    try {
      for (const entry of await files.list(path))
        if (await isAbandoned(files, entry)) await files.remove(`${path}/${entry}`);
    } catch (thrown) {
      await lock.release();
      throw thrown;
    }
    return new ConvergeFolder(files, path, lock);
  }

  /** The draws of a width so far, if any. Throws E_CORRUPT for a file that is not what was written. */
  async load(channels: number, inputs: number): Promise<WidthState | undefined> {
    const path = this.statePath(channels);
    const bytes = await this.files.read(path);
    return bytes === undefined ? undefined : decodeState(path, bytes, channels, inputs);
  }

  /** Replaces the width's file atomically. */
  async save(channels: number, inputs: number, state: WidthState): Promise<void> {
    await replaceFile(this.files, this.statePath(channels), encodeState(channels, inputs, state));
  }

  /** Lets other processes in. */
  async close(): Promise<void> {
    await this.lock.release();
  }

  private statePath(channels: number): string {
    return `${this.path}/width-${channels}.state`;
  }
}

async function lockFolder(files: Files, path: string): Promise<Lock> {
  try {
    return await lockShard(files, path, { index: 0, count: 1 });
  } catch (cause) {
    if (!(cause instanceof WidefieldError && cause.code === "E_LOCKED" && "pid" in cause.details)) throw cause;
    const { pid, host } = cause.details;
    throw new WidefieldError(
      "E_LOCKED",
      `process ${String(pid)} on ${String(host)} is working in ${path}: wait for it, or choose another folder`,
      { cause, details: cause.details },
    );
  }
}

async function readIdentity(files: Files, name: string): Promise<Record<string, Json>> {
  const bytes = (await readSettled(files, name)) ?? new Uint8Array();
  try {
    return manifestSchema.parse(JSON.parse(new TextDecoder().decode(bytes))).identity;
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
    throw corrupt(name, reason, "or choose another folder", cause);
  }
}

function encodeState(channels: number, inputs: number, { sums, shown, seconds }: WidthState): Uint8Array {
  const { draws, products, fourth } = sums;
  const numbers = new Float64Array(products.length + 1);
  numbers.set(products);
  numbers[products.length] = fourth;
  const body = new Uint8Array(numbers.byteLength + shown.byteLength);
  body.set(new Uint8Array(numbers.buffer));
  body.set(new Uint8Array(shown.buffer, shown.byteOffset, shown.byteLength), numbers.byteLength);
  const checksum = crc32c(body).toString(16).padStart(8, "0");
  const head = new TextEncoder().encode(
    `${JSON.stringify({ format: CONVERGE_FORMAT, channels, inputs, draws, seconds, crc32c: checksum })}\n`,
  );
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

function decodeState(path: string, bytes: Uint8Array, channels: number, inputs: number): WidthState {
  const end = bytes.indexOf(0x0a);
  let header: z.infer<typeof headerSchema>;
  try {
    header = headerSchema.parse(JSON.parse(new TextDecoder().decode(bytes.subarray(0, Math.max(end, 0)))));
  } catch (cause) {
    throw corrupt(path, "its first line is not its header", AGAIN, cause);
  }
  // Copied: what follows the header line is not aligned.
  const body = bytes.slice(end + 1);
  const triangle = (inputs * (inputs + 1)) / 2;
  const split = 8 * (triangle + 1);
  if (header.channels !== channels || header.inputs !== inputs || body.length !== split + 4 * header.draws)
    throw corrupt(path, `${body.length} bytes are not ${header.draws} draws of ${inputs} inputs`, AGAIN);
  if (crc32c(body).toString(16).padStart(8, "0") !== header.crc32c)
    throw corrupt(path, "its checksum does not fit", AGAIN);
  const numbers = new Float64Array(body.buffer, 0, triangle + 1);
  return {
    sums: { draws: header.draws, products: numbers.slice(0, triangle), fourth: numbers[triangle] ?? NaN },
    shown: new Float32Array(body.buffer, split, header.draws).slice(),
    seconds: header.seconds,
  };
}

const AGAIN = "or remove it: what it held is computed again";

function corrupt(path: string, reason: string, advice: string, cause?: unknown): WidefieldError {
  return new WidefieldError("E_CORRUPT", `${path} is damaged: ${reason}. Restore it from a copy, ${advice}`, {
    cause,
    details: { path },
  });
}
