/**
 * Matrices in files, read by blocks: `.npy` (HDF5 is in `hdf5.node.ts`, which needs a library), and what can be made of
 * such a matrix: its transpose, and one matrix out of several files that each hold a part.
 */
import { WidefieldError } from "../errors.ts";
import { forEachAtOnce } from "./store/at-once.ts";
import type { Files, ReadableFile } from "../platform/files.ts";
import type { NpyHeader } from "./store/npy.ts";

export interface MatrixFile {
  /** As messages name it: the file, and what stands in it where there is more than one thing. */
  readonly path: string;
  readonly rows: number;
  readonly columns: number;
  readonly dtype: "float32" | "float64";
  /** Side of the square blocks in which it is best read; a block takes 8 MiB or less. */
  readonly blockSize: number;
  /**
   * True: NaN stands for an entry that nobody has computed, which a symmetric matrix may have on one side of its
   * diagonal. The matrix is symmetric if both sides agree up to rounding; what is at or below the diagonal is taken.
   */
  readonly gaps: boolean;
  /** True: a kernel between two sets of inputs, which is not symmetric even where it is square. */
  readonly cross?: boolean;
  /** Rows [rowBegin, rowEnd) and columns [columnBegin, columnEnd), row-major. */
  block(rowBegin: number, rowEnd: number, columnBegin: number, columnEnd: number): Promise<Float64Array>;
  /** Bytes held as long as the file is open. */
  readonly heldBytes: number;
  /** Bytes held while reading a block of this size, the result included. */
  blockBytes(rows: number, columns: number): number;
  /** What tells this matrix from others. */
  sha256(): Promise<string>;
}

/** Rows of a block that are read at a time: a read of a few KiB is mostly waiting. */
const READS_AT_ONCE = 16;

/** The matrix of an open .npy file. */
export function npyMatrix(files: Files, path: string, file: ReadableFile, header: NpyHeader): MatrixFile {
  const { rows, columns, dtype, offset } = header;
  const scalar = dtype === "float32" ? 4 : 8;
  const line = async (first: number, count: number): Promise<Float32Array | Float64Array> => {
    const values = dtype === "float32" ? new Float32Array(count) : new Float64Array(count);
    await file.read(new Uint8Array(values.buffer), offset + first * scalar);
    return values;
  };
  return {
    path,
    rows,
    columns,
    dtype,
    blockSize: 1024,
    gaps: false,
    heldBytes: 0,
    sha256: () => files.sha256(path),
    blockBytes: (height, width) => height * width * 8 + READS_AT_ONCE * width * 8,
    async block(rowBegin, rowEnd, columnBegin, columnEnd) {
      const width = columnEnd - columnBegin;
      const block = new Float64Array((rowEnd - rowBegin) * width);
      const lines = Array.from({ length: rowEnd - rowBegin }, (_, row) => row);
      await forEachAtOnce(lines, READS_AT_ONCE, async (row) => {
        block.set(await line((rowBegin + row) * columns + columnBegin, width), row * width);
      });
      return block;
    },
  };
}

/** Rows and columns exchanged. */
export function transposedFile(matrix: MatrixFile): MatrixFile {
  return {
    ...matrix,
    rows: matrix.columns,
    columns: matrix.rows,
    blockBytes: (height, width) => matrix.blockBytes(width, height) + height * width * 8,
    async block(rowBegin, rowEnd, columnBegin, columnEnd) {
      const block = await matrix.block(columnBegin, columnEnd, rowBegin, rowEnd);
      return transposedBlock(block, columnEnd - columnBegin, rowEnd - rowBegin);
    },
  };
}

export function transposedBlock(block: Float64Array, rows: number, columns: number): Float64Array {
  const out = new Float64Array(block.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) out[column * rows + row] = block[row * columns + column] as number;
  return out;
}

/** One matrix from several with gaps: an entry is the first file's that has it. Throws E_SHAPE for unequal sizes. */
export function mergedFiles(parts: readonly [MatrixFile, ...MatrixFile[]]): MatrixFile {
  const [first, ...others] = parts;
  for (const { path, rows, columns } of others) {
    if (rows === first.rows && columns === first.columns) continue;
    throw new WidefieldError(
      "E_SHAPE",
      `${path} is ${rows} x ${columns}, and ${first.path} is ${first.rows} x ${first.columns}: they are not parts of ` +
        `one matrix`,
    );
  }
  if (others.length === 0) return first;
  return {
    ...first,
    dtype: parts.every(({ dtype }) => dtype === "float32") ? "float32" : "float64",
    blockBytes: (rows, columns) =>
      Math.max(...parts.map((part) => part.blockBytes(rows, columns))) + rows * columns * 8,
    async sha256() {
      const digests: string[] = [];
      for (const part of parts) digests.push(await part.sha256());
      return digestOf(digests);
    },
    async block(rowBegin, rowEnd, columnBegin, columnEnd) {
      const block = await first.block(rowBegin, rowEnd, columnBegin, columnEnd);
      for (const other of others) await fillGaps(block, () => other.block(rowBegin, rowEnd, columnBegin, columnEnd));
      return block;
    },
  };
}

/** Replaces NaN in a block by what stands at the same place in another, which is made only if there is any. */
export async function fillGaps(block: Float64Array, other: () => Promise<Float64Array>): Promise<void> {
  if (!block.some((value) => Number.isNaN(value))) return;
  const values = await other();
  for (let at = 0; at < block.length; at++) if (Number.isNaN(block[at])) block[at] = values[at] as number;
}

/** SHA-256 of some digests and names, in hexadecimal. */
export async function digestOf(lines: readonly string[]): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(lines.join("\n")));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
