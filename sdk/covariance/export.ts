/** Kernels as .npy files: a store's whole matrix, true values, row block by row block, or a diagonal. */
import { WidefieldError } from "../errors.ts";
import { discard, type Files, isAbandoned, isTemporary, replaceFile, temporaryName } from "../platform/files.ts";
import { rowRange, tileRows } from "./store/grid.ts";
import { npyHeader } from "../numpy/npy.ts";
import type { KernelStore } from "./store/store.ts";

export interface ExportOptions {
  /** float64 by default; float32 throws E_OVERFLOW for a value outside of its range. */
  readonly dtype?: "float32" | "float64" | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((rowsDone: number, rowsTotal: number) => void) | undefined;
}

/**
 * Writes stored * 2^exponent, symmetric matrices in full. Holds one row of tiles at a time (8 bytes an entry). The file
 * appears under its name when it is whole. Throws E_DATA or E_CORRUPT for missing or damaged tiles, E_IO, E_OVERFLOW.
 */
export async function exportNpy(store: KernelStore, path: string, options: ExportOptions = {}): Promise<void> {
  const { dtype = "float64", signal, onProgress } = options;
  const { files, grid } = store;
  await removeAbandoned(store, path);
  const temporary = temporaryName(path, files.self);
  const file = await files.create(temporary);
  try {
    try {
      await file.write(npyHeader(dtype, grid.rows, grid.columns));
      for (let i = 0; i < tileRows(grid); i++) {
        if (signal?.aborted === true) throw new WidefieldError("E_ABORTED", `${path}: stopped; nothing was written`);
        const rows = rowRange(grid, i);
        const band = await store.readBlock(rows, { begin: 0, end: grid.columns }, "f64");
        const values = dtype === "float64" ? band : toFloat32(band, rows.begin, grid.columns, store.path);
        await file.write(new Uint8Array(values.buffer));
        onProgress?.(rows.end, grid.rows);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(temporary, path);
  } catch (error) {
    await discard(files, temporary);
    throw error;
  }
}

/** Writes K(x, x) of some images, true values, as a .npy vector of float64. Throws E_IO. */
export async function exportDiagonal(files: Files, path: string, diagonal: Float64Array): Promise<void> {
  const header = npyHeader("float64", diagonal.length);
  const bytes = new Uint8Array(header.length + diagonal.byteLength);
  bytes.set(header);
  new Float64Array(bytes.buffer, header.length).set(diagonal);
  await replaceFile(files, path, bytes);
}

function toFloat32(band: Float64Array, firstRow: number, columns: number, path: string): Float32Array<ArrayBuffer> {
  const values = new Float32Array(band);
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return values;
  throw new WidefieldError(
    "E_OVERFLOW",
    `${path}: row ${firstRow + Math.floor(at / columns)}, column ${at % columns} is ${band[at] ?? NaN}, which leaves ` +
      `float32's range; export in float64`,
    { details: { path } },
  );
}

/** What an export that was killed left beside this file. */
async function removeAbandoned({ files }: KernelStore, path: string): Promise<void> {
  const cut = path.lastIndexOf("/") + 1;
  const [folder, name] = [path.slice(0, cut), path.slice(cut)];
  for (const other of await files.list(folder === "" ? "." : folder)) {
    if (!other.startsWith(`${name}.`) || !isTemporary(other)) continue;
    if (await isAbandoned(files, other)) await discard(files, folder + other);
  }
}
