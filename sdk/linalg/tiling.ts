/**
 * How a symmetric n x n matrix is cut into tiles, and where those stand in a window of the engine's memory, in a file, or
 * in any row of bytes: columns of tiles one after the other, in each the tiles from the diagonal down. What is inside a
 * tile is described in `assembly/linalg/tiles.ts`.
 */
import type { Range } from "./range.ts";
import { tileRows } from "../engine/kernels/linalg.ts";

/** Rows are padded to a multiple of it, and right-hand sides are taken four at a time. */
export const STRIP = 4;

/**
 * Rows of a tile. Measured rates are level from 64 to 256; small tiles keep more threads busy and waste less memory
 * (tile / n of the triangle), large ones need fewer commands and fewer reads from a disk.
 */
export function tileSize(n: number): number {
  return n < 1024 ? 64 : 128;
}

export class Tiling {
  readonly n: number;
  readonly tile: number;
  /** n, padded to a multiple of 4. */
  readonly padded: number;
  /** Rows of tiles. */
  readonly blocks: number;

  /** `tile`: a multiple of 4. */
  constructor(n: number, tile = tileSize(n)) {
    this.n = n;
    this.tile = tile;
    this.padded = Math.ceil(n / STRIP) * STRIP;
    this.blocks = tileRows(n, tile);
  }

  /** Rows of the tiles with index i. */
  extent(i: number): number {
    return Math.min(this.tile, this.padded - i * this.tile);
  }

  tileBytes(i: number, j: number): number {
    return this.extent(i) * this.extent(j) * 8;
  }

  /** Bytes of the tiles of column j in the rows [max(j, begin), end). */
  columnBytes(j: number, { begin, end }: Range): number {
    const [first, last] = [Math.max(j, begin), Math.min(end, this.blocks)];
    const rows = Math.min(last * this.tile, this.padded) - first * this.tile;
    return Math.max(0, rows) * this.extent(j) * 8;
  }

  /** Bytes of the columns [begin, end) in some rows (default: all). */
  bytes(columns: Range, rows: Range = { begin: 0, end: this.blocks }): number {
    let bytes = 0;
    for (let j = columns.begin; j < columns.end; j++) bytes += this.columnBytes(j, rows);
    return bytes;
  }

  /** Of the whole triangle. */
  get totalBytes(): number {
    return this.bytes({ begin: 0, end: this.blocks });
  }

  /** Of the whole triangle. */
  get tiles(): number {
    return (this.blocks * (this.blocks + 1)) / 2;
  }

  /** Tiles before tile (i, j), column by column. */
  number(i: number, j: number): number {
    return j * this.blocks - (j * (j - 1)) / 2 + i - j;
  }

  /** Byte offset of tile (i, j) among all tiles, column by column. */
  offset(i: number, j: number): number {
    // Of the columns before j only the last rows' tiles are not whole.
    const whole = this.number(i, j) * this.tile ** 2 * 8;
    const missing = this.tile - this.extent(this.blocks - 1);
    const ragged = j * missing * this.tile * 8;
    return whole - ragged;
  }

  /** Multiplications and additions of the columns [begin, end) of a factorisation, for rows from `rowBegin` on. */
  flops(columns: Range, rowBegin = 0): number {
    let flops = 0;
    for (let j = columns.begin; j < columns.end; j++) flops += this.columnFlops(j, rowBegin);
    return flops;
  }

  private columnFlops(j: number, rowBegin: number): number {
    const [size, before] = [this.extent(j), j * this.tile];
    const below = this.padded - Math.max((j + 1) * this.tile, rowBegin * this.tile);
    const diagonal = j >= rowBegin ? size ** 3 / 3 + size * (size + 1) * before : 0;
    return diagonal + Math.max(0, below) * size * (size + 2 * before);
  }
}
