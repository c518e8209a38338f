/**
 * What computes tiles of kernel matrices, whichever kernel it is: an architecture's, by its covariance program, or one
 * in closed form. Jobs, matrices and experiments know no more of a kernel than this.
 */
import type { TileSource } from "./job.ts";
import type { Values } from "./matrix.ts";

export interface KernelTiles extends TileSource {
  /** Matrices that come out of one computation: 2 where NNGP and NTK are computed together, else 1. */
  readonly outputs: number;
  /**
   * One tile, row-major, [outputs, rows, columns]; float64 where the kernel is computed in it. With `diagonal` the rows
   * and columns are of one set, in a tile on the diagonal of a symmetric matrix: its entries are computed once and
   * mirrored, and those of an image with itself are exact. Throws E_OVERFLOW for values that are not finite.
   */
  compute(rowBegin: number, rowEnd: number, columnBegin: number, columnEnd: number, diagonal: boolean): Promise<Values>;
  /** K(x, x) of the row images [begin, end), in the units of the tiles, [outputs, images]. */
  variances(begin: number, end: number): Promise<Float64Array>;
  dispose(): void;
}

/** A source of tiles for matrices of a size: kernel = value * 2^exponent. */
export interface SizedTiles {
  readonly tiles: KernelTiles;
  readonly exponent: number;
  readonly rows: number;
  readonly columns: number;
  /** Rows and columns of a tile where nobody says otherwise: one that takes seconds, not minutes. */
  readonly tile: number;
}

export interface TileBudget {
  /** What may be held while tiles are computed; tables are kept in a part of it. Default: the engine's budget. */
  readonly memoryBytes?: number | undefined;
  /** True: the whole matrix is held in that as well. */
  readonly whole?: boolean | undefined;
}
