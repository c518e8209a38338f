/**
 * A .npy matrix as a kernel store. It is a job like any other, its source the file: it resumes, and keeps to its
 * memory. Two looks at the file come first: at its values (finite? which exponent?) and at its symmetry.
 */
import { WidefieldError } from "../errors.ts";
import { type KernelJobResult, type KernelProgress, type TileSource, runKernelJob } from "./job.ts";
import type { Files, ReadableFile } from "./store/files.ts";
import type { KernelSpec } from "./store/manifest.ts";
import { type NpyHeader, readNpyHeader } from "./store/npy.ts";
import { forEachAtOnce } from "./store/at-once.ts";
import { KernelStore } from "./store/store.ts";

export interface ImportOptions {
  /** 256 by default. */
  readonly tile?: number | undefined;
  readonly memoryBytes: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: KernelProgress) => void) | undefined;
}

export interface ImportResult {
  readonly store: KernelStore;
  readonly job: KernelJobResult;
}

const FLOAT32_MAX = (2 - 2 ** -23) * 2 ** 127;
const FLOAT32_SMALLEST_NORMAL = 2 ** -126;
/** Values looked at in one turn: 8 MiB of float64. */
const SCAN_VALUES = 1 << 20;
/** Rows and columns compared with their mirror image in one turn: runs of 8 KiB, two blocks of 8 MiB. */
const MIRROR_BLOCK = 1024;
/** Rows of a block that are read at a time: a read of a few KiB is mostly waiting. */
const READS_AT_ONCE = 16;

/**
 * Imports a C-order float32 or float64 matrix into the store at `to`. A square matrix that is exactly symmetric is
 * stored as such. float64 values are rounded to float32; where they leave its range, a power of two is taken out.
 * Memory: 24 MiB for the two looks, then the job within its budget.
 *
 * Throws E_DATA for a file that is truncated, of another type or order, or holds a value that is not finite (with its
 * row and column); otherwise what creating a store and running a job throw.
 */
export async function importNpy(files: Files, from: string, to: string, options: ImportOptions): Promise<ImportResult> {
  const { tile = 256, memoryBytes, signal, onProgress } = options;
  const file = await files.open(from);
  try {
    const header = await readNpyHeader(from, file);
    const matrix = new NpyMatrix(from, file, header);
    const exponent = await chooseExponent(matrix, signal);
    const spec: KernelSpec = {
      kind: "imported",
      symmetric: header.rows === header.columns && (await isSymmetric(matrix, signal)),
      exponent,
      tile,
      precision: header.dtype === "float32" ? "f32" : "f64",
      backend: "import",
      arch: null,
      dataset: { name: from.slice(from.lastIndexOf("/") + 1), sha256: await files.sha256(from) },
      rows: [[0, header.rows]],
      columns: [[0, header.columns]],
      adapter: "",
      threads: 1,
      seeds: {},
    };
    const store = await KernelStore.create(files, to, spec);
    const job = await runKernelJob({ store, source: tilesOf(matrix, exponent), memoryBytes, signal, onProgress });
    return { store, job };
  } finally {
    await file.close();
  }
}

/** Random access to the values of an open .npy file, as float64. */
class NpyMatrix {
  readonly path: string;
  readonly header: NpyHeader;
  readonly #file: ReadableFile;

  constructor(path: string, file: ReadableFile, header: NpyHeader) {
    this.path = path;
    this.#file = file;
    this.header = header;
  }

  /** `count` values from the `first` on, row-major. */
  async values(first: number, count: number): Promise<Float32Array | Float64Array> {
    const { dtype, offset } = this.header;
    const values = dtype === "float32" ? new Float32Array(count) : new Float64Array(count);
    const bytes = new Uint8Array(values.buffer);
    await this.#file.read(bytes, offset + first * values.BYTES_PER_ELEMENT);
    return values;
  }

  /** Rows [rowBegin, rowEnd), columns [colBegin, colEnd). */
  async block(rowBegin: number, rowEnd: number, colBegin: number, colEnd: number): Promise<Float64Array> {
    const width = colEnd - colBegin;
    const block = new Float64Array((rowEnd - rowBegin) * width);
    const rows = Array.from({ length: rowEnd - rowBegin }, (_, row) => row);
    await forEachAtOnce(rows, READS_AT_ONCE, async (row) => {
      block.set(await this.values((rowBegin + row) * this.header.columns + colBegin, width), row * width);
    });
    return block;
  }
}

/**
 * 0 where float32 holds every value to full accuracy. Else the exponent that brings the largest value to [1, 2), or
 * further up if small ones would leave float32's normal range below; ones more than 2^252 below the largest do.
 */
async function chooseExponent(matrix: NpyMatrix, signal: AbortSignal | undefined): Promise<number> {
  const { rows, columns, dtype } = matrix.header;
  let largest = 0;
  let smallest = Infinity;
  for (let first = 0; first < rows * columns; first += SCAN_VALUES) {
    requireGoing(matrix.path, signal);
    const values = await matrix.values(first, Math.min(SCAN_VALUES, rows * columns - first));
    for (let at = 0; at < values.length; at++) {
      const size = Math.abs(values[at] as number);
      if (!(size < Infinity)) throw notFinite(matrix, first + at, values[at] as number);
      if (size > largest) largest = size;
      if (size < smallest && size > 0) smallest = size;
    }
  }
  // As float64 rounds to float32: the last half unit above the largest float32 is already infinite.
  if (dtype === "float32" || (Math.fround(largest) <= FLOAT32_MAX && smallest >= FLOAT32_SMALLEST_NORMAL)) return 0;
  const top = exponentOf(largest);
  const missing = -126 - (exponentOf(smallest) - top);
  return top - Math.min(126, Math.max(0, missing));
}

/** e with 2^e <= x < 2^(e+1), for normal and subnormal x. */
function exponentOf(x: number): number {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, x);
  const biased = (bits.getUint16(0) >> 4) & 0x7ff;
  return biased === 0 ? exponentOf(x * 2 ** 60) - 60 : biased - 1023;
}

/** Compares every value with its mirror image, block by block; most matrices that are not symmetric differ at once. */
async function isSymmetric(matrix: NpyMatrix, signal: AbortSignal | undefined): Promise<boolean> {
  const n = matrix.header.rows;
  const end = (begin: number) => Math.min(n, begin + MIRROR_BLOCK);
  for (let i = 0; i < n; i += MIRROR_BLOCK) {
    for (let j = 0; j <= i; j += MIRROR_BLOCK) {
      requireGoing(matrix.path, signal);
      const below = await matrix.block(i, end(i), j, end(j));
      const above = i === j ? below : await matrix.block(j, end(j), i, end(i));
      if (!isTranspose(below, above, end(i) - i, end(j) - j)) return false;
    }
  }
  return true;
}

function isTranspose(a: Float64Array, b: Float64Array, rows: number, columns: number): boolean {
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (a[row * columns + column] !== b[column * rows + row]) return false;
    }
  }
  return true;
}

function tilesOf(matrix: NpyMatrix, exponent: number): TileSource {
  const half = Math.trunc(exponent / 2);
  const [first, second] = [2 ** -half, 2 ** (half - exponent)];
  return {
    peakBytes: (rows, columns) => rows * columns * 8 + READS_AT_ONCE * columns * 8,
    computeTile: async (rowBegin, rowEnd, colBegin, colEnd) => {
      const block = await matrix.block(rowBegin, rowEnd, colBegin, colEnd);
      const tile = new Float32Array(block.length);
      for (let at = 0; at < tile.length; at++) tile[at] = (block[at] as number) * first * second;
      return tile;
    },
  };
}

function notFinite(matrix: NpyMatrix, at: number, value: number): WidefieldError {
  const { columns } = matrix.header;
  const [row, column] = [Math.floor(at / columns), at % columns];
  return new WidefieldError("E_DATA", `${matrix.path} cannot be imported: row ${row}, column ${column} is ${value}`, {
    details: { path: matrix.path, row, column },
  });
}

function requireGoing(path: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WidefieldError("E_ABORTED", `${path}: import stopped; the same command goes on`);
}
