/**
 * A part of a tiled triangle in the engine's memory: some columns, in some rows (`sdk/engine/kernels/linalg.ts` says how
 * they lie there). One buffer that covers one part after another, so that its size is decided once.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import type { Range } from "./range.ts";
import type { Tiling } from "./tiling.ts";

/** See `Backend.view`. */
export function viewOf(backend: Backend, slot: Slot, byteOffset: number, bytes: number): Uint8Array {
  if (backend.view === undefined) throw new WidefieldError("E_CONFIG", "float64 work needs the wasm backend");
  return backend.view(slot, byteOffset, bytes);
}

export class Window {
  readonly backend: Backend;
  readonly tiling: Tiling;
  readonly capacity: number;
  readonly table: Slot;
  readonly tiles: Slot;
  columns: Range = { begin: 0, end: 0 };
  rows: Range = { begin: 0, end: 0 };
  /** Byte offset of the first tile of each covered column, from `columns.begin` on. */
  private offsets: number[] = [];
  private freed = false;

  /** Throws E_MEMORY. */
  constructor(backend: Backend, tiling: Tiling, capacity: number, label: string) {
    this.backend = backend;
    this.tiling = tiling;
    this.capacity = capacity;
    this.tiles = backend.allocate(capacity, label);
    try {
      this.table = backend.allocate(tiling.blocks * 4, "table of tiles");
    } catch (thrown) {
      backend.free(this.tiles);
      throw thrown;
    }
  }

  /** Stands for other tiles from now on, for the commands appended later; the bytes are whatever they were. */
  cover(columns: Range, rows: Range): void {
    const { tiling } = this;
    const table = new Int32Array(tiling.blocks);
    this.columns = columns;
    this.rows = rows;
    this.offsets = [];
    let offset = 0;
    for (let j = columns.begin; j < columns.end; j++) {
      this.offsets.push(offset);
      // Modulo 2^32: a column's first tile here may be far below its diagonal.
      table[j] = offset - (Math.max(j, rows.begin) - j) * tiling.tile ** 2 * 8;
      offset += tiling.columnBytes(j, rows);
    }
    if (offset > this.capacity) throw new Error(`a window of ${this.capacity} bytes cannot cover ${offset}`);
    this.backend.write(this.table, 0, table);
  }

  holds(i: number, j: number): boolean {
    const { columns, rows } = this;
    return !this.freed && j >= columns.begin && j < columns.end && i >= Math.max(j, rows.begin) && i < rows.end;
  }

  /** The bytes of a tile that it holds; see `Backend.view`. */
  view(i: number, j: number): Uint8Array {
    const first = this.offsets[j - this.columns.begin] ?? Number.NaN;
    const at = first + (i - Math.max(j, this.rows.begin)) * this.tiling.tile * this.tiling.extent(j) * 8;
    return viewOf(this.backend, this.tiles, at, this.tiling.tileBytes(i, j));
  }

  /** Releases the memory. Idempotent. */
  free(): void {
    if (this.freed) return;
    this.freed = true;
    this.backend.free(this.tiles);
    this.backend.free(this.table);
  }
}
