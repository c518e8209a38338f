/**
 * NumPy's .npy format (NEP 1): magic, version, and a header that is a Python dictionary's text; then the values. What an
 * array's type and shape must be is the matter of who reads it.
 */
import { WidefieldError } from "../errors.ts";
import type { ReadableFile } from "../platform/files.ts";

export interface NpyArrayHeader {
  /** As NumPy has it: "<f8", "|u1"; undefined for records. */
  readonly descr: string | undefined;
  /** Fortran order: the first index runs fastest. */
  readonly fortran: boolean;
  readonly shape: readonly number[];
  /** Where the values begin in the file. */
  readonly offset: number;
}

const MAGIC = "\x93NUMPY";

/** A version 1.0 header; the values begin at a multiple of 64 bytes. */
export function npyHeader(dtype: "float32" | "float64", ...shape: readonly number[]): Uint8Array<ArrayBuffer> {
  const descr = dtype === "float32" ? "<f4" : "<f8";
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const before = MAGIC.length + 4;
  const total = Math.ceil((before + text.length + 1) / 64) * 64;
  const padded = `${text.padEnd(total - before - 1)}\n`;
  const header = new Uint8Array(total);
  header.set(Uint8Array.from(MAGIC, (letter) => letter.charCodeAt(0)));
  header[6] = 1;
  new DataView(header.buffer).setUint16(8, padded.length, true);
  header.set(new TextEncoder().encode(padded), before);
  return header;
}

/** Reads a header of any version. Throws E_DATA, saying what is wrong. */
export async function readArrayHeader(
  path: string,
  file: Pick<ReadableFile, "bytes" | "read">,
): Promise<NpyArrayHeader> {
  const prefix = new Uint8Array(12);
  if (file.bytes < prefix.length) throw npyRefusal(path, `it has ${file.bytes} bytes, less than a header`);
  await file.read(prefix, 0);
  if (String.fromCharCode(...prefix.subarray(0, 6)) !== MAGIC)
    throw npyRefusal(path, "it does not begin as a .npy file does");
  const view = new DataView(prefix.buffer);
  const version = view.getUint8(6);
  const [start, size] = version === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const offset = start + size;
  if (version < 1 || version > 3 || size > 65536)
    throw npyRefusal(path, `its header has version ${version}, ${size} bytes`);
  if (offset > file.bytes) throw npyRefusal(path, `it ends at byte ${file.bytes}, within its header`);
  const bytes = new Uint8Array(size);
  await file.read(bytes, start);
  return { ...parseDictionary(path, new TextDecoder().decode(bytes)), offset };
}

function parseDictionary(path: string, text: string): Omit<NpyArrayHeader, "offset"> {
  const descr = /'descr':\s*'([^']*)'/.exec(text)?.[1];
  const fortran = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
  const shape = /'shape':\s*\(([\d,\s]*)\)/.exec(text)?.[1];
  if (fortran === undefined || shape === undefined)
    throw npyRefusal(path, `its header cannot be read: ${text.trim().slice(0, 200)}`);
  const sizes = shape.split(",").filter((size) => size.trim() !== "");
  return { descr, fortran: fortran === "True", shape: sizes.map(Number) };
}

/** Throws E_DATA where the values, of `itemBytes` each, are fewer or more than the header says. */
export function requireWhole(path: string, header: NpyArrayHeader, itemBytes: number, fileBytes: number): void {
  const { shape, offset } = header;
  const dataBytes = fileBytes - offset;
  const expected = shape.reduce((product, size) => product * size, itemBytes);
  if (dataBytes === expected) return;
  const what = shape.length === 2 ? "matrix" : "array";
  throw npyRefusal(
    path,
    `a ${shape.join(" x ")} ${what} of ${header.descr ?? "records"} has ${expected} bytes, the file has ${dataBytes} ` +
      `behind its header: ${dataBytes < expected ? "it is truncated" : `something follows the ${what}`}`,
  );
}

export function npyRefusal(path: string, reason: string): WidefieldError {
  return new WidefieldError("E_DATA", `${path} cannot be imported: ${reason}`, { details: { path } });
}
