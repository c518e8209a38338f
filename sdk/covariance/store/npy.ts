/**
 * NumPy's .npy format (NEP 1): magic, version, and a header that is a Python dictionary's text; then the values. Only
 * what a matrix needs: little-endian float32 or float64, C order, two dimensions, or one for a diagonal.
 */
import { WidefieldError } from "../../errors.ts";
import type { ReadableFile } from "../../platform/files.ts";

export interface NpyHeader {
  readonly dtype: "float32" | "float64";
  readonly rows: number;
  readonly columns: number;
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

/** Reads a header of any version. Throws E_DATA, saying what is wrong and how to save the matrix instead. */
export async function readNpyHeader(path: string, file: ReadableFile): Promise<NpyHeader> {
  const prefix = new Uint8Array(12);
  if (file.bytes < prefix.length) throw refused(path, `it has ${file.bytes} bytes, less than a header`);
  await file.read(prefix, 0);
  if (String.fromCharCode(...prefix.subarray(0, 6)) !== MAGIC)
    throw refused(path, "it does not begin as a .npy file does");
  const view = new DataView(prefix.buffer);
  const version = view.getUint8(6);
  const [start, size] = version === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const offset = start + size;
  if (version < 1 || version > 3 || size > 65536)
    throw refused(path, `its header has version ${version}, ${size} bytes`);
  if (offset > file.bytes) throw refused(path, `it ends at byte ${file.bytes}, within its header`);
  const bytes = new Uint8Array(size);
  await file.read(bytes, start);
  return { ...parseDictionary(path, new TextDecoder().decode(bytes), file.bytes - offset), offset };
}

function parseDictionary(path: string, text: string, dataBytes: number): Omit<NpyHeader, "offset"> {
  const descr = /'descr':\s*'([^']*)'/.exec(text)?.[1];
  const fortran = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
  const shape = /'shape':\s*\(([\d,\s]*)\)/.exec(text)?.[1];
  if (fortran === undefined || shape === undefined) throw refused(path, `its header cannot be read: ${text.trim()}`);
  const dtype = descr === "<f4" ? "float32" : descr === "<f8" ? "float64" : undefined;
  if (dtype === undefined) {
    throw refused(path, `its values are ${descr ?? "records"}, not '<f4' or '<f8'; save it with .astype("<f8")`);
  }
  const sizes = shape.split(",").filter((size) => size.trim() !== "");
  const [rows = 0, columns = 0] = sizes.map(Number);
  if (sizes.length !== 2 || rows === 0 || columns === 0) throw refused(path, `its shape is (${shape}), not a matrix`);
  if (fortran === "True") throw refused(path, "it is stored in Fortran order; save numpy.ascontiguousarray(K)");
  const expected = rows * columns * (dtype === "float32" ? 4 : 8);
  if (dataBytes !== expected) {
    throw refused(
      path,
      `a ${rows} x ${columns} matrix of ${dtype} has ${expected} bytes, the file has ${dataBytes} behind its header: ` +
        (dataBytes < expected ? "it is truncated" : "something follows the matrix"),
    );
  }
  return { dtype, rows, columns };
}

function refused(path: string, reason: string): WidefieldError {
  return new WidefieldError("E_DATA", `${path} cannot be imported: ${reason}`, { details: { path } });
}
