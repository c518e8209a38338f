/**
 * The finished tiles of a factor L, wherever they are: in a window of the engine's memory, in a storage, or in both; and
 * streams of windows over them, for work that reads them in some order. A stream fills one window while the engine works
 * on the other.
 */
import type { Backend } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import type { Range } from "./range.ts";
import { BufferStorage, type TileStorage } from "./tile-storage.ts";
import type { Tiling } from "./tiling.ts";
import { Window } from "./window.ts";

/** Columns and rows that a window covers at once. */
export interface Part {
  readonly columns: Range;
  readonly rows: Range;
}

export interface StreamHooks {
  /** Throws to stop; called between tiles' columns. */
  readonly check: () => void;
  /** A part has been dealt with: the commands on it have run. */
  readonly onDone?: ((part: Part) => void) | undefined;
}

export class FactorTiles {
  readonly backend: Backend;
  readonly tiling: Tiling;
  /** Of each window of a stream. */
  readonly streamBytes: number;
  private readonly window: Window | undefined;
  private readonly storage: TileStorage | undefined;
  private disposed = false;

  constructor(
    backend: Backend,
    tiling: Tiling,
    places: { window?: Window | undefined; storage?: TileStorage | undefined; streamBytes: number },
  ) {
    this.backend = backend;
    this.tiling = tiling;
    this.window = places.window;
    this.storage = places.storage;
    this.streamBytes = places.streamBytes;
  }

  /** Bytes of memory that it takes, the engine's or other. */
  get heldBytes(): number {
    return this.resident || this.storage instanceof BufferStorage ? this.tiling.totalBytes : 0;
  }

  private requireOpen(): void {
    if (this.disposed) throw new WidefieldError("E_CLOSED", "this Cholesky factor has been disposed");
  }

  /** Whether the engine's memory holds all of them. */
  get resident(): boolean {
    const { window, tiling } = this;
    return window?.columns.begin === 0 && window.columns.end === tiling.blocks;
  }

  /** Hands out finished tiles (i, j), i in `rows`; the bytes are valid during the call only. */
  async each(j: number, rows: Range, take: (i: number, bytes: Uint8Array) => void): Promise<void> {
    const { window, storage } = this;
    this.requireOpen();
    if (window?.holds(rows.begin, j) === true) for (let i = rows.begin; i < rows.end; i++) take(i, window.view(i, j));
    else if (storage !== undefined) {
      try {
        await storage.read(j, rows, take);
      } catch (thrown) {
        this.requireOpen(); // whose files are closed
        throw thrown;
      }
    } else throw new Error(`column ${j} of a factor is nowhere`);
  }

  /** A copy of tile (i, j): entry (r, c) at ((r >> 2) * columns + c) * 4 + (r & 3). */
  async readTile(i: number, j: number): Promise<Float64Array> {
    const copy = new Float64Array(this.tiling.tileBytes(i, j) / 8);
    await this.each(j, { begin: i, end: i + 1 }, (_, bytes) => new Uint8Array(copy.buffer).set(bytes));
    return copy;
  }

  /**
   * Windows over columns [begin, end) from their diagonals down, or where `rowBegin` is given, from there down; one
   * window in all where memory holds everything.
   */
  columns(columns: Range, hooks: StreamHooks, rowBegin?: number): AsyncGenerator<Window> {
    const { tiling } = this;
    const parts: Part[] = [];
    for (let begin = columns.begin; begin < columns.end;) {
      const rows = { begin: rowBegin ?? begin, end: tiling.blocks };
      let end = begin + 1;
      while (end < columns.end && tiling.bytes({ begin, end: end + 1 }, rows) <= this.streamBytes) end++;
      parts.push({ columns: { begin, end }, rows });
      begin = end;
    }
    return this.stream(parts, hooks);
  }

  /** Windows over all rows, from the last to the first, each from the first column to the diagonal. */
  rowsUpwards(hooks: StreamHooks): AsyncGenerator<Window> {
    const { tiling } = this;
    const parts: Part[] = [];
    for (let end = tiling.blocks; end > 0;) {
      let begin = end - 1;
      const columns = { begin: 0, end };
      while (begin > 0 && tiling.bytes(columns, { begin: begin - 1, end }) <= this.streamBytes) begin--;
      parts.push({ columns, rows: { begin, end } });
      end = begin;
    }
    return this.stream(parts, hooks);
  }

  private async *stream(parts: readonly Part[], { check, onDone }: StreamHooks): AsyncGenerator<Window> {
    const { backend, tiling, window } = this;
    if (parts.length === 0) return;
    if (this.resident && window !== undefined) {
      this.requireOpen();
      yield window;
      return;
    }
    const largest = Math.max(0, ...parts.map(({ columns, rows }) => tiling.bytes(columns, rows)));
    const windows: Window[] = [];
    /** Of the commands on each part: they have run, and its window may be filled again. */
    const fences: Promise<void>[] = [];
    let filling: Promise<Window> | undefined;
    try {
      for (let turn = 0; turn < Math.min(2, parts.length); turn++)
        windows.push(new Window(backend, tiling, largest, "a stream of tiles"));
      const fill = (turn: number): Promise<Window> | undefined => {
        const [part, target] = [parts[turn], windows[turn % 2]];
        if (part === undefined || target === undefined) return undefined;
        const filled = this.fill(target, part, check);
        filled.catch(() => undefined); // it is awaited a turn later
        return filled;
      };
      filling = fill(0);
      for (const [turn, part] of parts.entries()) {
        const filled = await filling;
        filling = undefined;
        if (filled === undefined) return;
        // The other window is free once the commands of the turn before have run; this turn's are appended meanwhile.
        yield filled;
        const fence = backend.finish();
        fences.push(fence.then(() => onDone?.(part)));
        fences.at(-1)?.catch(() => undefined);
        if (turn > 0) await fences[turn - 1];
        filling = fill(turn + 1);
      }
      await fences.at(-1);
    } finally {
      await filling?.catch(() => undefined);
      // Windows are freed behind the commands that read them.
      for (const each of windows) each.free();
    }
  }

  private async fill(window: Window, { columns, rows }: Part, check: () => void): Promise<Window> {
    window.cover(columns, rows);
    for (let j = columns.begin; j < columns.end; j++) {
      check();
      const some = { begin: Math.max(j, rows.begin), end: rows.end };
      await this.each(j, some, (i, bytes) => {
        window.view(i, j).set(bytes);
      });
    }
    return window;
  }

  /** The same tiles in the engine's memory, all of them; these here are released. Throws E_MEMORY. */
  async loaded(check: () => void): Promise<FactorTiles> {
    if (this.resident) return this;
    const { backend, tiling } = this;
    const all = { begin: 0, end: tiling.blocks };
    const window = new Window(backend, tiling, tiling.totalBytes, "a Cholesky factor");
    try {
      await this.fill(window, { columns: all, rows: all }, check);
    } catch (thrown) {
      window.free();
      throw thrown;
    }
    this.dispose();
    return new FactorTiles(backend, tiling, { window, streamBytes: this.streamBytes });
  }

  /** Releases memory and files. Idempotent. */
  dispose(): void {
    this.disposed = true;
    this.window?.free();
    // Nothing is lost if closing fails: what had to be kept has been synced.
    this.storage?.close().catch(() => undefined);
  }
}
