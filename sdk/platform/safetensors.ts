/**
 * Safetensors: named arrays in one file, as PyTorch, JAX and the rest of the field read them
 * (https://github.com/huggingface/safetensors, "Format").
 *
 *     8 bytes       length of the header, little-endian
 *     header        JSON: { NAME: { dtype, shape, data_offsets: [begin, end) }, "__metadata__": { text: text } }, and spaces
 *     payload       the arrays' bytes, little-endian, row-major, without gaps; data_offsets count from here
 *
 * The one dtype here is F32. What is written carries the payload's CRC-32C in the metadata ("crc32c", eight hexadecimal
 * digits), which is verified where it is there. The machine is taken to be little-endian, as WebAssembly is.
 */
import * as z from "zod";
import { messageOf, WidefieldError } from "../errors.ts";
import { crc32c } from "./crc32c.ts";
import { replaceFile, type Files } from "./files.ts";

/** An array of any rank ([] is a scalar), row-major. */
export interface NamedArray {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface Safetensors {
  readonly tensors: ReadonlyMap<string, NamedArray>;
  /** Of "__metadata__", without the checksum. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Whether the file carried a checksum of its payload (and it was right). */
  readonly verified: boolean;
}

/** Tells a file's bytes from others. */
export interface FileSeal {
  readonly bytes: number;
  /** CRC-32C of the whole file. */
  readonly crc32c: number;
}

const METADATA = "__metadata__";
const CHECKSUM = "crc32c";
const LENGTH_BYTES = 8;
/** Of a header; the reference implementation's. */
const MOST_HEADER_BYTES = 100_000_000;
/** Of the format, beside F32. */
const OTHER_DTYPES = new Set(
  "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F4 F6_E2M3 F6_E3M2 I16 U16 F16 BF16 I32 U32 F64 I64 U64 C64".split(" "),
);

const entrySchema = z.strictObject({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});
const metadataSchema = z.record(z.string(), z.string());

/** Where an array lies in the payload. */
interface Entry {
  readonly name: string;
  readonly shape: readonly number[];
  /** In bytes. */
  readonly begin: number;
  readonly end: number;
}

interface Header {
  /** In the payload's order, without gaps. */
  readonly entries: readonly Entry[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly checksum: number | undefined;
}

/** The file's pieces in order: its header, then each array's own bytes, which are not copied. */
export function safetensorsPieces(
  tensors: Iterable<NamedArray>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  const header = new Map<string, unknown>();
  const payload: Uint8Array[] = [];
  let end = 0;
  let sum = 0;
  for (const { name, shape, data } of tensors) {
    if (header.has(name) || name === METADATA) throw new Error(`safetensors: the name ${name} is taken`);
    if (sizeOf(shape) !== data.length)
      throw new Error(`safetensors: ${name} has ${data.length} numbers, and the shape [${shape.join(", ")}]`);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    header.set(name, { dtype: "F32", shape, data_offsets: [end, end + bytes.length] });
    end += bytes.length;
    sum = crc32c(bytes, sum);
    payload.push(bytes);
  }
  header.set(METADATA, { ...metadata, [CHECKSUM]: sum.toString(16).padStart(8, "0") });
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  // Spaces up to a multiple of eight: readers that map the file find the numbers aligned.
  const head = new Uint8Array(LENGTH_BYTES + 8 * Math.ceil(text.length / 8)).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(head.length - LENGTH_BYTES), true);
  head.set(text, LENGTH_BYTES);
  return [head, ...payload];
}

/**
 * What a whole file holds: arrays as views of `bytes`, where these are aligned. `path` is for messages.
 *
 * @throws WidefieldError E_CORRUPT for bytes that are not what the format says or whose checksum is wrong, E_DATA for
 *   numbers other than F32
 */
export function decodeSafetensors(bytes: Uint8Array, path: string): Safetensors {
  const headerBytes = headerLength(bytes.subarray(0, LENGTH_BYTES), bytes.length, path);
  const begin = LENGTH_BYTES + headerBytes;
  const header = parseHeader(bytes.subarray(LENGTH_BYTES, begin), bytes.length - begin, path);
  const payload = bytes.subarray(begin);
  requireChecksum(header, crc32c(payload), path);
  const tensors = new Map<string, NamedArray>();
  for (const { name, shape, begin: from, end } of header.entries) {
    const part = payload.subarray(from, end);
    // Not slice(): that of a Buffer copies nothing.
    const { buffer, byteOffset } = part.byteOffset % 4 === 0 ? part : new Uint8Array(part);
    tensors.set(name, { name, shape, data: new Float32Array(buffer, byteOffset, part.length / 4) });
  }
  return { tensors, metadata: header.metadata, verified: header.checksum !== undefined };
}

/** Writes a file, whole or not at all; takes no memory beside the arrays' own. Throws E_IO. */
export async function writeSafetensors(
  files: Files,
  path: string,
  tensors: Iterable<NamedArray>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<FileSeal> {
  const pieces = safetensorsPieces(tensors, metadata);
  await replaceFile(files, path, pieces);
  return {
    bytes: pieces.reduce((sum, piece) => sum + piece.length, 0),
    crc32c: pieces.reduce((sum, piece) => crc32c(piece, sum), 0),
  };
}

/**
 * Reads a file, each array into memory of its own: no more memory than the arrays take.
 *
 * @throws WidefieldError as `decodeSafetensors`, and E_IO where it cannot be read or is not there
 */
export async function readSafetensors(files: Files, path: string): Promise<Safetensors & { readonly seal: FileSeal }> {
  const file = await files.open(path);
  try {
    const length = new Uint8Array(Math.min(LENGTH_BYTES, file.bytes));
    await file.read(length, 0);
    const text = new Uint8Array(headerLength(length, file.bytes, path));
    await file.read(text, LENGTH_BYTES);
    const begin = LENGTH_BYTES + text.length;
    const header = parseHeader(text, file.bytes - begin, path);
    const tensors = new Map<string, NamedArray>();
    let [payloadSum, fileSum] = [0, crc32c(text, crc32c(length))];
    for (const { name, shape, begin: from, end } of header.entries) {
      const bytes = new Uint8Array(end - from);
      await file.read(bytes, begin + from);
      payloadSum = crc32c(bytes, payloadSum);
      fileSum = crc32c(bytes, fileSum);
      tensors.set(name, { name, shape, data: new Float32Array(bytes.buffer) });
    }
    requireChecksum(header, payloadSum, path);
    const seal = { bytes: file.bytes, crc32c: fileSum };
    return { tensors, metadata: header.metadata, verified: header.checksum !== undefined, seal };
  } finally {
    await file.close();
  }
}

function headerLength(field: Uint8Array, fileBytes: number, path: string): number {
  if (field.length < LENGTH_BYTES) throw corrupt(path, `it has ${fileBytes} bytes, and 8 are the least`);
  const length = Number(new DataView(field.buffer, field.byteOffset).getBigUint64(0, true));
  if (length > MOST_HEADER_BYTES)
    throw corrupt(path, `its header would have ${length} bytes, more than the format's ${MOST_HEADER_BYTES}`);
  if (LENGTH_BYTES + length > fileBytes)
    throw corrupt(path, `it has ${fileBytes} bytes, and ${LENGTH_BYTES + length} with its header: it is truncated`);
  return length;
}

function parseHeader(bytes: Uint8Array, payloadBytes: number, path: string): Header {
  if (bytes[0] !== 0x7b) throw corrupt(path, "its header does not begin with {");
  const found = parseJson(bytes, path);
  let metadata: Record<string, string> = {};
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(found)) {
    if (name === METADATA) metadata = parsed(metadataSchema, value, METADATA, path);
    else entries.push(entryOf(name, value, path));
  }
  // An empty array lies where another one begins.
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== at)
      throw corrupt(path, `tensor ${name} begins at byte ${begin} of the payload, where ${at} is expected`);
    at = end;
  }
  if (at !== payloadBytes) {
    const why = at > payloadBytes ? "it is truncated" : "something was appended";
    throw corrupt(path, `its tensors take ${at} bytes, and ${payloadBytes} follow the header: ${why}`);
  }
  const { [CHECKSUM]: digits, ...rest } = metadata;
  if (digits !== undefined && !/^[0-9a-f]{8}$/.test(digits)) throw corrupt(path, `its crc32c reads "${digits}"`);
  return { entries, metadata: rest, checksum: digits === undefined ? undefined : Number.parseInt(digits, 16) };
}

function parseJson(bytes: Uint8Array, path: string): Record<string, unknown> {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(path, `its header is not JSON (${messageOf(cause)})`, { cause });
  }
  const twice = repeatedKey(text);
  if (twice !== undefined) throw corrupt(path, `its header names ${twice} twice`);
  // The first character is a brace.
  return value as Record<string, unknown>;
}

/** The first key that an object of a valid JSON text has twice: `JSON.parse` would keep the last one and say nothing. */
function repeatedKey(json: string): string | undefined {
  const open: Set<string>[] = [];
  // A key is a string before a colon; strings are matched whole, so that what they hold counts for nothing.
  for (const [token, key] of json.matchAll(/("(?:[^"\\]|\\.)*")\s*:|"(?:[^"\\]|\\.)*"|[{}]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (key !== undefined) {
      const name = JSON.parse(key) as string;
      const names = open.at(-1);
      if (names?.has(name) === true) return name;
      names?.add(name);
    }
  }
  return undefined;
}

function entryOf(name: string, value: unknown, path: string): Entry {
  const {
    dtype,
    shape,
    data_offsets: [begin, end],
  } = parsed(entrySchema, value, `tensor ${name}`, path);
  if (OTHER_DTYPES.has(dtype)) {
    throw new WidefieldError("E_DATA", `${path}: tensor ${name} is ${dtype}, and only F32 is read: convert it first`, {
      details: { path, tensor: name, dtype },
    });
  }
  if (dtype !== "F32")
    throw corrupt(path, `tensor ${name} has a dtype "${dtype}" that the format does not know`, { name });
  const bytes = 4 * sizeOf(shape);
  if (end - begin !== bytes) {
    const held = `bytes ${begin} to ${end}, and [${shape.join(", ")}] takes ${bytes}`;
    throw corrupt(path, `tensor ${name} has ${held}`, { name });
  }
  return { name, shape, begin, end };
}

function parsed<T>(schema: z.ZodType<T>, value: unknown, what: string, path: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw corrupt(path, `${what} in its header: ${z.prettifyError(result.error)}`, { cause: result.error });
}

function requireChecksum({ checksum }: Header, actual: number, path: string): void {
  if (checksum === undefined || checksum === actual) return;
  const hex = (sum: number): string => sum.toString(16).padStart(8, "0");
  throw corrupt(path, `its payload has the CRC-32C ${hex(actual)} and should have ${hex(checksum)}`);
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, side) => product * side, 1);
}

function corrupt(path: string, why: string, { name, cause }: { name?: string; cause?: unknown } = {}): WidefieldError {
  return new WidefieldError("E_CORRUPT", `${path} is damaged or no safetensors file: ${why}; write or copy it again`, {
    ...(cause === undefined ? {} : { cause }),
    details: { path, ...(name === undefined ? {} : { tensor: name }) },
  });
}
