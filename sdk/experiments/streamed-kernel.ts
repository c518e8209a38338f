/** Kernels whose rows are computed when they are read, and kept by nobody: for predictions, which read them once. */
import type { KernelSpec } from "../arch/kernel-spec.ts";
import { specTiles } from "../arch/spec-tiles.ts";
import type { FeatureProgress } from "../covariance/finite-features.ts";
import { FLOAT32_KERNEL_ERROR, requireTile, type KernelMatrix, type MatrixProgress } from "../covariance/matrix.ts";
import { smallestBudget } from "../covariance/memory.ts";
import type { Precision } from "../covariance/tiles.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Ranges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { selectImages } from "./stored-kernel.ts";

/** A kernel, and what it holds while it is read. */
export interface HeldKernel {
  readonly matrix: KernelMatrix;
  release(): void;
}

export interface StreamedKernel extends HeldKernel {
  /** The smallest budget with which blocks of `readRows` rows are computed, images included. */
  readonly neededBytes: number;
}

export interface StreamedJob {
  readonly engine: Engine;
  readonly dataset: Dataset;
  readonly kernel: KernelSpec;
  readonly rows: Ranges;
  readonly columns: Ranges;
  readonly precision: Precision;
  /** Rows and columns of a tile; default: by the kernel. */
  readonly tile?: number | undefined;
  /** Rows that are read at a time, at most. */
  readonly readRows: number;
  /** What may be held while it is read. */
  readonly memoryBytes: number;
  /** In messages: "Kxt". */
  readonly label: string;
  readonly signal?: AbortSignal | undefined;
  readonly onFeatures?: ((progress: FeatureProgress) => void) | undefined;
  /** After each block: seconds and pairs of this one, and of all. */
  readonly onBlock?:
    ((block: { readonly pairs: number; readonly seconds: number }, all: MatrixProgress) => void) | undefined;
}

/** Throws what `specTiles` throws, and E_CONFIG for a tile size that is none; reading throws E_ABORTED and E_OVERFLOW. */
export async function streamedKernel(job: StreamedJob): Promise<StreamedKernel> {
  const { engine, dataset, kernel, precision, memoryBytes, label, signal, onFeatures, onBlock } = job;
  const [rowImages, columnImages] = [job.rows, job.columns].map((each) => selectImages(dataset, each, precision));
  if (rowImages === undefined || columnImages === undefined) throw new Error("two ranges are two selections");
  if (job.tile !== undefined) requireTile(job.tile);
  const options = { memoryBytes, signal, onFeatures };
  const made = await specTiles(engine, kernel, rowImages, columnImages, precision, options);
  const { tiles, rows, columns, exponent } = made;
  const size = job.tile ?? made.tile;
  let pairsDone = 0;
  let seconds = 0;
  const matrix: KernelMatrix = {
    rows,
    columns,
    symmetric: false,
    exponent,
    relativeError: precision === "f64" ? 0 : FLOAT32_KERNEL_ERROR,
    read: async (rowRange, columnRange) => {
      const begun = performance.now();
      const width = columnRange.end - columnRange.begin;
      const length = (rowRange.end - rowRange.begin) * width;
      const block = precision === "f64" ? new Float64Array(length) : new Float32Array(length);
      for (let row = rowRange.begin; row < rowRange.end; row += size) {
        for (let column = columnRange.begin; column < columnRange.end; column += size) {
          if (signal?.aborted === true)
            throw new WidefieldError("E_ABORTED", `stopped in ${label}; nothing of it was kept`);
          const [rowEnd, columnEnd] = [Math.min(row + size, rowRange.end), Math.min(column + size, columnRange.end)];
          const tile = await tiles.compute(row, rowEnd, column, columnEnd, false);
          const tileWidth = columnEnd - column;
          for (let i = 0; i < rowEnd - row; i++) {
            const line = tile.subarray(i * tileWidth, (i + 1) * tileWidth);
            block.set(line, (row + i - rowRange.begin) * width + column - columnRange.begin);
          }
        }
      }
      const taken = (performance.now() - begun) / 1000;
      pairsDone += length;
      seconds += taken;
      onBlock?.({ pairs: length, seconds: taken }, { pairsDone, pairsTotal: rows * columns, seconds });
      return block;
    },
  };
  const [height, across] = [Math.min(size, job.readRows, rows), Math.min(size, columns)];
  return {
    matrix,
    neededBytes: smallestBudget((budget) => tiles.peakBytes(height, across, Math.max(0, budget))),
    release: () => tiles.dispose(),
  };
}
