/**
 * What a .npy file (`numpy/npy.ts`) must be to hold a matrix: little-endian float32 or float64, C order, two dimensions.
 */
import { npyRefusal, readArrayHeader, requireWhole } from "../../numpy/npy.ts";
import type { ReadableFile } from "../../platform/files.ts";

export interface NpyHeader {
  readonly dtype: "float32" | "float64";
  readonly rows: number;
  readonly columns: number;
  /** Where the values begin in the file. */
  readonly offset: number;
}

/** Reads a header of any version. Throws E_DATA, saying what is wrong and how to save the matrix instead. */
export async function readNpyHeader(path: string, file: ReadableFile): Promise<NpyHeader> {
  const header = await readArrayHeader(path, file);
  const { descr, fortran, shape, offset } = header;
  const dtype = descr === "<f4" ? "float32" : descr === "<f8" ? "float64" : undefined;
  if (dtype === undefined) {
    throw npyRefusal(path, `its values are ${descr ?? "records"}, not '<f4' or '<f8'; save it with .astype("<f8")`);
  }
  const [rows = 0, columns = 0] = shape;
  if (shape.length !== 2 || rows === 0 || columns === 0)
    throw npyRefusal(path, `its shape is (${shape.join(", ")}), not a matrix`);
  if (fortran) throw npyRefusal(path, "it is stored in Fortran order; save numpy.ascontiguousarray(K)");
  requireWhole(path, header, dtype === "float32" ? 4 : 8, file.bytes);
  return { dtype, rows, columns, offset };
}
