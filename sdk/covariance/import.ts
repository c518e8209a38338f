/**
 * A matrix from a file as a kernel store. It is a job like any other, its source the file: it resumes, and keeps to its
 * memory. One look at the whole file comes first (`survey.ts`): at its values, its symmetry, and at what it lacks.
 *
 * Where the values come from is a `MatrixFile` (`matrix-file.ts`, `hdf5.node.ts`).
 */
import { type KernelJobResult, type KernelProgress, type TileSource, runKernelJob } from "./job.ts";
import { fillGaps, type MatrixFile, npyMatrix, transposedBlock, transposedFile } from "./matrix-file.ts";
import type { Files } from "../platform/files.ts";
import type { KernelSpec } from "./store/manifest.ts";
import { readNpyHeader } from "./store/npy.ts";
import { KernelStore } from "./store/store.ts";
import { survey, type Survey } from "./survey.ts";

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
  /** Entries above or below the diagonal that were taken from their mirror image. */
  readonly mirrored: number;
}

const FLOAT32_MAX = (2 - 2 ** -23) * 2 ** 127;
const FLOAT32_SMALLEST_NORMAL = 2 ** -126;

/**
 * Imports a C-order float32 or float64 matrix into the store at `to`. A square matrix that is exactly symmetric is
 * stored as such. float64 values are rounded to float32; where they leave its range, a power of two is taken out.
 * Memory: 16 MiB for the look at the file, then the job within its budget.
 *
 * Throws E_DATA for a file that is truncated, of another type or order, or holds a value that is not finite (with its
 * row and column); otherwise what creating a store and running a job throw.
 */
export async function importNpy(files: Files, from: string, to: string, options: ImportOptions): Promise<ImportResult> {
  const file = await files.open(from);
  try {
    return await importMatrix(files, npyMatrix(files, from, file, await readNpyHeader(from, file)), to, options);
  } finally {
    await file.close();
  }
}

/** Imports any matrix in a file, or its transpose. Throws what `survey`, creating a store and running a job throw. */
export async function importMatrix(
  files: Files,
  matrix: MatrixFile,
  to: string,
  options: ImportOptions,
  transposed = false,
): Promise<ImportResult> {
  const { tile = 256, memoryBytes, signal, onProgress } = options;
  // As it stands in the file, so that complaints give its rows and columns.
  const found = await survey(matrix, signal);
  const stored = transposed ? transposedFile(matrix) : matrix;
  const { path, rows, columns } = stored;
  const exponent = exponentFor(matrix, found);
  const spec: KernelSpec = {
    kind: "imported",
    symmetric: found.symmetric,
    exponent,
    tile,
    precision: matrix.dtype === "float32" ? "f32" : "f64",
    backend: "import",
    arch: null,
    dataset: { name: path.slice(path.lastIndexOf("/") + 1), sha256: await matrix.sha256() },
    rows: [[0, rows]],
    columns: [[0, columns]],
    adapter: "",
    threads: 1,
    seeds: {},
  };
  const store = await KernelStore.create(files, to, spec);
  const job = await runKernelJob({ store, source: tilesOf(stored, exponent), memoryBytes, signal, onProgress });
  return { store, job, mirrored: found.mirrored };
}

/**
 * 0 where float32 holds every value to full accuracy. Else the exponent that brings the largest value to [1, 2), or
 * further up if small ones would leave float32's normal range below; ones more than 2^252 below the largest do.
 */
function exponentFor({ dtype }: MatrixFile, { largest, smallest }: Survey): number {
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

function tilesOf(matrix: MatrixFile, exponent: number): TileSource {
  const half = Math.trunc(exponent / 2);
  const [first, second] = [2 ** -half, 2 ** (half - exponent)];
  return {
    peakBytes: (rows, columns) =>
      matrix.heldBytes +
      matrix.blockBytes(rows, columns) +
      (matrix.gaps ? matrix.blockBytes(columns, rows) + rows * columns * 8 : 0),
    computeTile: async (rowBegin, rowEnd, colBegin, colEnd) => {
      const block = await matrix.block(rowBegin, rowEnd, colBegin, colEnd);
      if (matrix.gaps && matrix.rows === matrix.columns)
        await fillGaps(block, async () =>
          transposedBlock(await matrix.block(colBegin, colEnd, rowBegin, rowEnd), colEnd - colBegin, rowEnd - rowBegin),
        );
      const tile = new Float32Array(block.length);
      for (let at = 0; at < tile.length; at++) tile[at] = (block[at] as number) * first * second;
      return tile;
    },
  };
}
