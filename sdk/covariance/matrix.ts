/**
 * A kernel matrix that can be read, wherever it is: in memory, or on disk as a `KernelStore`. Values are stored divided
 * by 2^exponent.
 */
import { WidefieldError } from "../errors.ts";
import { smallestBudget } from "./memory.ts";
import type { Range } from "../linalg/range.ts";
import { type Grid, columnRange, pairsOf, rowRange, snakeOrder } from "./store/grid.ts";
import type { KernelStore } from "./store/store.ts";
import type { KernelTiles } from "./kernel-tiles.ts";
import type { Precision } from "./tiles.ts";

export type Values = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

export interface KernelMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly symmetric: boolean;
  /** kernel = stored value * 2^exponent. */
  readonly exponent: number;
  /** Root mean square of the values' relative errors, rounding and arithmetic together. */
  readonly relativeError: number;
  /** Where it lies on disk, if it does: its leading part, in tiles that are best read whole. */
  readonly store?: KernelStore | undefined;
  /** Stored values, row-major. */
  read(rows: Range, columns: Range): Promise<Values>;
}

/**
 * Measured against float64 on MNIST (ConvNet GP, 64 x 64 pairs): 1.7e-7 on wasm; the same program on GPUs has no more.
 */
export const FLOAT32_KERNEL_ERROR = 2e-7;

/** Rounding a float64 kernel to float32: half an ulp at most, about 0.3 of 2^-24 on average. */
const FLOAT32_ROUNDING = 2e-8;

/** Row-major in one array. */
export class MemoryMatrix implements KernelMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly symmetric: boolean;
  readonly exponent: number;
  readonly relativeError: number;
  readonly values: Values;

  constructor(values: Values, facts: { rows: number; columns: number; symmetric: boolean; exponent: number }) {
    this.values = values;
    this.rows = facts.rows;
    this.columns = facts.columns;
    this.symmetric = facts.symmetric;
    this.exponent = facts.exponent;
    this.relativeError = values instanceof Float32Array ? FLOAT32_KERNEL_ERROR : 0;
  }

  async read(rows: Range, columns: Range): Promise<Values> {
    const width = columns.end - columns.begin;
    const floats = (rows.end - rows.begin) * width;
    const block = this.values instanceof Float32Array ? new Float32Array(floats) : new Float64Array(floats);
    for (let row = rows.begin; row < rows.end; row++) {
      const at = row * this.columns;
      block.set(this.values.subarray(at + columns.begin, at + columns.end), (row - rows.begin) * width);
    }
    return block;
  }
}

/** The first rows and columns of a store. */
export function storedMatrix(store: KernelStore, rows: number, columns: number): KernelMatrix {
  return {
    rows,
    columns,
    symmetric: store.manifest.symmetric && rows === columns,
    exponent: store.manifest.exponent,
    // Where an imported matrix was computed, nobody knows: most likely in float32.
    relativeError:
      store.manifest.precision === "f64" && store.manifest.kind !== "imported"
        ? FLOAT32_ROUNDING
        : FLOAT32_KERNEL_ERROR,
    store,
    read: (rowRange, columnRange) => store.readBlock(rowRange, columnRange, "f32"),
  };
}

/** The matrix with rows and columns exchanged. */
export function transposed(matrix: KernelMatrix): KernelMatrix {
  return {
    rows: matrix.columns,
    columns: matrix.rows,
    symmetric: matrix.symmetric,
    exponent: matrix.exponent,
    relativeError: matrix.relativeError,
    read: async (rows, columns) => {
      const block = await matrix.read(columns, rows);
      const [height, width] = [rows.end - rows.begin, columns.end - columns.begin];
      const out = block instanceof Float32Array ? new Float32Array(block.length) : new Float64Array(block.length);
      for (let row = 0; row < height; row++)
        for (let column = 0; column < width; column++)
          out[row * width + column] = block[column * height + row] ?? Number.NaN;
      return out;
    },
  };
}

export interface MatrixProgress {
  readonly pairsDone: number;
  readonly pairsTotal: number;
  readonly seconds: number;
}

export interface MatrixJob {
  readonly tiles: KernelTiles;
  readonly rows: number;
  readonly columns: number;
  readonly symmetric: boolean;
  readonly exponent: number;
  readonly precision: Precision;
  readonly tile: number;
  readonly memoryBytes: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: MatrixProgress) => void) | undefined;
}

/** Its chunk is 256 MiB; larger ones gain nothing, and 2 GiB is more than a file system call takes. */
const LARGEST_TILE = 8192;

/** Throws E_CONFIG for a tile size that is none. */
export function requireTile(tile: number): void {
  if (Number.isSafeInteger(tile) && tile >= 1 && tile <= LARGEST_TILE) return;
  throw new WidefieldError(
    "E_CONFIG",
    `a tile has a whole number of rows and columns, at least 1, not ${tile} (and at most ${LARGEST_TILE})`,
  );
}

/** Computes a whole matrix in memory, the first where tiles hold several: see `computeMatrices`. */
export async function computeMatrix(job: MatrixJob): Promise<MemoryMatrix> {
  const [matrix] = await computeMatrices(job);
  if (matrix === undefined) throw new Error("tiles have an output");
  return matrix;
}

/**
 * Computes whole matrices in memory, tile by tile: as many as the tiles have outputs. Throws E_MEMORY before it starts
 * where they do not fit the budget, E_CONFIG for a tile size that is none, E_ABORTED when stopped.
 */
export async function computeMatrices(job: MatrixJob): Promise<MemoryMatrix[]> {
  const { rows, columns, symmetric, tiles, precision, signal, onProgress } = job;
  requireTile(job.tile);
  const bytes = tiles.outputs * rows * columns * (precision === "f64" ? 8 : 4);
  const [tileRows, tileColumns] = [Math.min(job.tile, rows), Math.min(job.tile, columns)];
  const needed = smallestBudget(
    (budget) => bytes + tiles.peakBytes(tileRows, tileColumns, Math.max(0, budget - bytes)),
  );
  if (needed > job.memoryBytes) {
    throw new WidefieldError(
      "E_MEMORY",
      `a kernel matrix of ${rows} x ${columns} needs ${Math.ceil(needed / 2 ** 20)} MiB of memory, the budget is ` +
        `${Math.floor(job.memoryBytes / 2 ** 20)} MiB: keep it on disk as a store, or raise the budget`,
      { details: { neededBytes: needed, memoryBytes: job.memoryBytes } },
    );
  }
  const matrices = Array.from({ length: tiles.outputs }, () => allocateMatrix(rows, columns, precision));
  const grid: Grid = { rows, columns, tile: job.tile, symmetric };
  const order = snakeOrder(grid);
  const pairsTotal = order.reduce((sum, tile) => sum + pairsOf(grid, tile), 0);
  const begun = performance.now();
  let pairsDone = 0;
  for (const tile of order) {
    if (signal?.aborted === true) {
      throw new WidefieldError("E_ABORTED", `stopped after ${pairsDone} of ${pairsTotal} pairs; nothing was kept`);
    }
    const row = rowRange(grid, tile.i);
    const column = columnRange(grid, tile.j);
    const diagonal = symmetric && tile.i === tile.j;
    const blocks = await tiles.compute(row.begin, row.end, column.begin, column.end, diagonal);
    matrices.forEach((values, output) => {
      const block = blocks.subarray(
        (output * blocks.length) / tiles.outputs,
        ((output + 1) * blocks.length) / tiles.outputs,
      );
      place(values, columns, block, row, column);
      if (symmetric && !diagonal) placeMirrored(values, columns, block, row, column);
    });
    pairsDone += pairsOf(grid, tile);
    onProgress?.({ pairsDone, pairsTotal, seconds: (performance.now() - begun) / 1000 });
  }
  return matrices.map((values) => new MemoryMatrix(values, { rows, columns, symmetric, exponent: job.exponent }));
}

/** Runtimes refuse arrays beyond a size of their own, whatever the machine has. */
function allocateMatrix(rows: number, columns: number, precision: Precision): Values {
  try {
    return precision === "f64" ? new Float64Array(rows * columns) : new Float32Array(rows * columns);
  } catch (cause) {
    throw new WidefieldError(
      "E_MEMORY",
      `no array of ${rows} x ${columns} numbers can be had here: keep the kernel matrix on disk as a store`,
      { cause },
    );
  }
}

function place(values: Values, pitch: number, block: Values, rows: Range, columns: Range): void {
  const width = columns.end - columns.begin;
  for (let row = rows.begin; row < rows.end; row++) {
    const at = (row - rows.begin) * width;
    values.set(block.subarray(at, at + width), row * pitch + columns.begin);
  }
}

function placeMirrored(values: Values, pitch: number, block: Values, rows: Range, columns: Range): void {
  const width = columns.end - columns.begin;
  for (let column = columns.begin; column < columns.end; column++) {
    for (let row = rows.begin; row < rows.end; row++) {
      values[column * pitch + row] = block[(row - rows.begin) * width + column - columns.begin] ?? Number.NaN;
    }
  }
}
