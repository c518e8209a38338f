/**
 * A symmetric matrix, or its Cholesky factor, as a tiled lower triangle in the memory of the wasm backend, with the
 * commands that fill and factorise it. The layout is described in `assembly/linalg/tiles.ts`, the commands in
 * `sdk/engine/kernels/linalg.ts`. Policy (jitter, errors, progress) is the business of `cholesky.ts`.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import {
  choleskyDiagonal,
  choleskyPanel,
  choleskyUpdate,
  tileDiagonal,
  tileLoad,
  triangularSolve,
} from "../engine/kernels/index.ts";
import { tileRows } from "../engine/kernels/linalg.ts";
import { lowerBlockCount, lowerBlocks, type SymmetricSource } from "./source.ts";

/** Right-hand sides in one strip; rows are padded to a multiple of it too. */
export const STRIP = 4;

/**
 * Rows of a tile. Measured rates are level from 64 to 256; small tiles keep more threads busy and waste less memory
 * (tile / n of the triangle), large ones need fewer commands and fewer reads from a disk.
 */
export function tileSize(n: number): number {
  return n < 1024 ? 64 : 128;
}

export interface PivotFailure {
  readonly index: number;
  readonly value: number;
}

export class Triangle {
  readonly backend: Backend;
  readonly n: number;
  readonly tile: number;
  /** n, padded to a multiple of 4. */
  readonly padded: number;
  /** Rows of tiles. */
  readonly blocks: number;
  /** Byte offsets of the tiles. */
  private readonly offsets: Uint32Array<ArrayBuffer>;
  private readonly table: Slot;
  private readonly tiles: Slot;
  private readonly pivots: Slot;
  private readonly status: Slot;
  private freed = false;

  /** Allocates n (n + tile) / 2 doubles and little more; throws E_MEMORY. */
  constructor(backend: Backend, n: number, tile = tileSize(n)) {
    this.backend = backend;
    this.n = n;
    this.tile = tile;
    this.padded = Math.ceil(n / STRIP) * STRIP;
    this.blocks = tileRows(n, tile);
    this.offsets = new Uint32Array((this.blocks * (this.blocks + 1)) / 2);
    let bytes = 0;
    for (let i = 0; i < this.blocks; i++) {
      for (let j = 0; j <= i; j++) {
        this.offsets[(i * (i + 1)) / 2 + j] = bytes;
        bytes += this.extent(i) * this.extent(j) * 8;
      }
    }
    // The large one first: it is the one that fails.
    this.tiles = backend.allocate(bytes, `the lower triangle of a ${n} x ${n} matrix in float64`);
    try {
      this.table = backend.allocate(this.offsets.byteLength, "tile table");
      this.pivots = backend.allocate(this.padded * 8, "pivots");
      this.status = backend.allocate(8, "factorisation status");
    } catch (thrown) {
      this.free();
      throw thrown;
    }
    backend.write(this.table, 0, this.offsets);
  }

  /** Rows of the tiles with index i. */
  extent(i: number): number {
    return Math.min(this.tile, this.padded - i * this.tile);
  }

  /** Copies the source's lower triangle in and returns its diagonal. `onBlock` is told what share has arrived. */
  async fill(source: SymmetricSource, onBlock: (fraction: number) => void): Promise<Float64Array> {
    const { backend, n, tile } = this;
    const diagonal = new Float64Array(n);
    const blocks = lowerBlockCount(source);
    let arrived = 0;
    let staging: { readonly slot: Slot; readonly bytes: number } | undefined;
    try {
      for await (const { row, column, rows, columns, values } of lowerBlocks(source)) {
        for (let i = Math.max(row, column); i < Math.min(row + rows, column + columns); i++)
          diagonal[i] = values[(i - row) * columns + i - column] ?? Number.NaN;
        if (staging === undefined || staging.bytes < values.byteLength) {
          if (staging !== undefined) backend.free(staging.slot);
          staging = { slot: backend.allocate(values.byteLength, "a block of the matrix"), bytes: values.byteLength };
        }
        backend.write(staging.slot, 0, values);
        const wide = values instanceof Float64Array ? 1 : 0;
        backend.dispatch(tileLoad, { tile, n, row, column, rows, columns, wide }, [
          staging.slot,
          this.table,
          this.tiles,
        ]);
        // Without this the next write would have to be staged once more, behind the commands that are under way.
        await backend.finish();
        onBlock(++arrived / blocks);
      }
    } finally {
      if (staging !== undefined) backend.free(staging.slot);
    }
    return diagonal;
  }

  /** Replaces the diagonal, and prepares the padding. */
  setDiagonal(diagonal: Float64Array): void {
    const { backend, n, tile } = this;
    const slot = backend.allocate(diagonal.byteLength, "diagonal");
    backend.write(slot, 0, diagonal);
    backend.dispatch(tileDiagonal, { tile, n }, [slot, this.table, this.tiles]);
    backend.free(slot);
    backend.write(this.status, 0, new Uint32Array(2));
  }

  /** Multiplications and additions of one step of the factorisation. */
  stepFlops(step: number): number {
    const size = this.extent(step);
    const below = this.padded - step * this.tile - size;
    return size ** 3 / 3 + size ** 2 * below + size * below * (below + 1);
  }

  /** Appends step `step` of the factorisation to the queue. */
  appendStep(step: number): void {
    const { backend, n, tile, table, tiles, pivots, status } = this;
    const params = { tile, n, step };
    if (step === 0) backend.dispatch(choleskyDiagonal, params, [table, tiles, pivots, status]);
    backend.dispatch(choleskyPanel, params, [table, tiles, status]);
    backend.dispatch(choleskyUpdate, params, [table, tiles, pivots, status]);
  }

  /** Waits for the steps appended so far; undefined while every pivot is positive. */
  async failure(): Promise<PivotFailure | undefined> {
    const [failed = 0, index = 0] = new Uint32Array(await this.backend.read(this.status, 0, 8));
    if (failed === 0) return undefined;
    const [value = Number.NaN] = new Float64Array(await this.backend.read(this.pivots, index * 8, 8));
    return { index, value };
  }

  /** The first `count` pivots: squares of the factor's diagonal. */
  async readPivots(count = this.n): Promise<Float64Array> {
    return new Float64Array(await this.backend.read(this.pivots, 0, count * 8));
  }

  /** Tile (i, j) as it lies in memory: entry (r, c) at ((r >> 2) * columns + c) * 4 + (r & 3). */
  async readTile(i: number, j: number): Promise<Float64Array> {
    const offset = this.offsets[(i * (i + 1)) / 2 + j] ?? Number.NaN;
    return new Float64Array(await this.backend.read(this.tiles, offset, this.extent(i) * this.extent(j) * 8));
  }

  /** Appends the solution of L X = B, or of L^T X = B, to the queue; `rhs` holds `strips` strips of `padded` x 4. */
  appendSolve(rhs: Slot, strips: number, transpose: boolean): void {
    const { backend, n, tile, table, tiles } = this;
    for (let step = 0; step < this.blocks; step++) {
      const params = { tile, n, step, strips, transpose: transpose ? 1 : 0 };
      backend.dispatch(triangularSolve, params, [table, tiles, rhs]);
    }
  }

  /** Releases the memory. Idempotent. */
  free(): void {
    if (this.freed) return;
    this.freed = true;
    const slots: readonly (Slot | undefined)[] = [this.tiles, this.table, this.pivots, this.status];
    for (const slot of slots) if (slot !== undefined) this.backend.free(slot);
  }
}
