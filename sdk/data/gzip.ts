/**
 * Unpacking gzip in any runtime, and telling what is wrong with a file that cannot be. The compression is the
 * runtime's own (DecompressionStream); what is ours is to notice damage, which runtimes report with the same
 * unspecific TypeError or, for bytes after the end, not at all.
 */
import { messageOf, WidefieldError } from "../errors.ts";

/** Content, not name: servers unpack .gz files on the way, and people rename files. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes.length >= 2 && bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/** Carries what came out before the stream broke, for callers who can say how much is missing. */
export class GzipError extends WidefieldError {
  readonly unpacked: Uint8Array;
  /** What the runtime, or the comparison of sizes, has to say. */
  readonly problem: string;

  constructor(path: string, problem: string, unpacked: Uint8Array, cause?: unknown) {
    const message = `${path}: the gzip data is damaged or cut short (${problem}); fetch the file again`;
    super("E_DATA", message, { cause, details: { path, unpackedBytes: unpacked.length } });
    this.problem = problem;
    this.unpacked = unpacked;
  }
}

/**
 * Unpacks one gzip member.
 *
 * @param path for messages
 * @throws GzipError (E_DATA) when the data is truncated, fails its checksum, or is followed by other bytes
 */
export async function gunzip(bytes: Uint8Array, path: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  try {
    // A Blob would copy; the stream takes the bytes as they are. Its element type wants unshared memory.
    const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start(controller) {
        controller.enqueue(unshared(bytes));
        controller.close();
      },
    });
    const reader = source.pipeThrough(new DecompressionStream("gzip")).getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value);
  } catch (error) {
    throw new GzipError(path, messageOf(error), concatenate(chunks), error);
  }
  const unpacked = concatenate(chunks);
  // The last word of a gzip member is its unpacked size modulo 2^32; bytes after the member, which Node ignores or
  // unpacks too, show up as a difference here.
  const size = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(bytes.length - 4, true);
  if (size !== unpacked.length % 2 ** 32) {
    throw new GzipError(path, `it unpacks to ${unpacked.length} bytes, and its end says ${size}`, unpacked);
  }
  return unpacked;
}

function unshared(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
    : bytes.slice();
}

function concatenate(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}
