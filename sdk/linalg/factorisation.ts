/**
 * One run of a tiled Cholesky factorisation, panel by panel (`plan.ts`): read a panel of the matrix, subtract what all
 * finished columns contribute, which stream past it, and finish it; its columns are written behind, while the next ones
 * are computed. A matrix that memory holds is one panel, with nothing to stream. The arithmetic is in
 * `assembly/linalg/cholesky.ts`; files and progress are the business of `attempt.ts`, jitter of `cholesky.ts`.
 *
 * The tiles' values depend neither on the panels nor on where tiles are kept, bit for bit. So a run can begin with finished
 * columns (of one that was killed) or with finished rows (of a smaller matrix that this one extends).
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { choleskyFactor, choleskyUpdate, tileDiagonal, tileLoad } from "../engine/kernels/index.ts";
import { FactorTiles, type Part } from "./factor-tiles.ts";
import { panelRanges } from "./plan.ts";
import type { Range } from "./range.ts";
import { lowerBlocks, lowerEntries, type SymmetricSource } from "./source.ts";
import type { TileStorage } from "./tile-storage.ts";
import type { Tiling } from "./tiling.ts";
import { viewOf, Window } from "./window.ts";

export interface PivotFailure {
  readonly index: number;
  readonly value: number;
}

export interface FactorisationJob {
  readonly backend: Backend;
  readonly tiling: Tiling;
  readonly source: SymmetricSource;
  /** To stand in place of the source's: with the jitter. */
  readonly diagonal: Float64Array;
  readonly panelBytes: number;
  readonly streamBytes: number;
  /** Where finished columns go; needed for more than one panel. */
  readonly storage: TileStorage | undefined;
  /** Columns of tiles that the storage holds already. */
  readonly finishedColumns: number;
  /** Rows of tiles that another factor holds already; only rows from there on are read from the source. */
  readonly old: { readonly rows: number; readonly tiles: FactorTiles } | undefined;
  /** Squares of L's diagonal, n of them: those of finished rows or columns are given, the others are filled in. */
  readonly pivots: Float64Array;
  /** Share of the matrix's entries that have been read. */
  onRead(fraction: number): void;
  /** Multiplications and additions that have been done since the last call. */
  onFlops(flops: number): void;
  /**
   * Columns of tiles, from the first on, that have been written to the storage, with their pivots in `pivots`; and whether
   * they end a panel.
   */
  onStored(columns: number, panelEnds: boolean): Promise<void>;
  /** Throws to stop. */
  check(): void;
}

/** Work between two looks at the status, the abort signal and the clock: about a tenth of a second, at least. */
const CHUNK_FLOPS = 3e9;
/** Tiles a thread in such a piece of work, so that waiting for the slowest at its end does not count. */
const CHUNK_TILES = 50;

export class Factorisation {
  /** All that is finished so far. */
  readonly tiles: FactorTiles;
  private readonly job: FactorisationJob;
  private readonly window: Window;
  private readonly diagonal: Slot;
  private readonly pivots: Slot;
  private readonly status: Slot;
  private readonly finished: Slot;
  /** From here on rows are computed. */
  private readonly rowBegin: number;
  /** Writing behind; a failure waits here for the next look. */
  private written: Promise<void> = Promise.resolve();
  private writeFailed = false;
  private failed = false;
  private entriesRead = 0;
  private readonly entries: number;

  /** Allocates the panel; throws E_MEMORY. */
  constructor(job: FactorisationJob) {
    const { backend, tiling, storage, streamBytes } = job;
    this.job = job;
    this.rowBegin = job.old?.rows ?? 0;
    this.entries = this.panels().reduce((sum, panel) => {
      const { rows, columns } = this.sourceArea(panel);
      return sum + lowerEntries(job.source, rows, columns);
    }, 0);
    const label = `${Math.ceil(job.panelBytes / 2 ** 20)} MiB of a ${tiling.n} x ${tiling.n} matrix in float64`;
    // Of a run that goes on, what is left may be less than a panel.
    const largest = Math.max(0, ...this.panels().map((panel) => this.panelBytes(panel)));
    this.window = new Window(backend, tiling, largest, label);
    const slots: Slot[] = [];
    try {
      for (const [bytes, name] of [
        [tiling.n * 8, "diagonal"],
        [tiling.padded * 8, "pivots"],
        [8, "factorisation status"],
        [tiling.blocks * 4, "finished columns"],
      ] as const)
        slots.push(backend.allocate(bytes, name));
    } catch (thrown) {
      this.window.free();
      for (const slot of slots) backend.free(slot);
      throw thrown;
    }
    [this.diagonal, this.pivots, this.status, this.finished] = slots as [Slot, Slot, Slot, Slot];
    this.tiles = new FactorTiles(backend, tiling, { window: this.window, storage, streamBytes });
  }

  /** Undefined when every pivot was positive; then `tiles` is the factor. */
  async run(): Promise<PivotFailure | undefined> {
    const { backend, diagonal, pivots } = this.job;
    backend.write(this.diagonal, 0, diagonal);
    backend.write(this.pivots, 0, pivots);
    backend.write(this.status, 0, new Uint32Array(2));
    try {
      for (const panel of this.panels()) {
        await this.fill(panel);
        await this.subtractFinished(panel);
        const failure = await this.finish(panel);
        await this.written;
        if (failure !== undefined) return failure;
      }
      return undefined;
    } finally {
      // Commands and writes under way still use what is released below and by the caller.
      await this.written.catch(() => undefined);
      await backend.finish().catch(() => undefined);
      for (const slot of [this.diagonal, this.pivots, this.status, this.finished]) backend.free(slot);
      // After a failure the panel is still needed, to explain it.
      if (!this.failed && !this.tiles.resident && this.job.storage !== undefined) this.window.free();
    }
  }

  private panelBytes(panel: Range): number {
    const { tiling } = this.job;
    return tiling.bytes(panel, { begin: panel.begin, end: tiling.blocks });
  }

  private panels(): Range[] {
    const { tiling, panelBytes, finishedColumns } = this.job;
    return panelRanges(tiling, panelBytes, finishedColumns);
  }

  /** Rows and columns of the source that a panel takes. */
  private sourceArea(panel: Range): { rows: Range; columns: Range } {
    const { n, tile } = this.job.tiling;
    const begin = Math.max(panel.begin, this.rowBegin) * tile;
    return { rows: { begin, end: n }, columns: { begin: panel.begin * tile, end: Math.min(n, panel.end * tile) } };
  }

  /** Covers the panel with the window, and fills it with the matrix or, in rows that are finished, with the old factor. */
  private async fill(panel: Range): Promise<void> {
    const { backend, tiling, source, old } = this.job;
    const { n, tile, blocks } = tiling;
    const { table, tiles } = this.window;
    this.window.cover(panel, { begin: panel.begin, end: blocks });
    await this.load(source, panel);
    backend.dispatch(
      tileDiagonal,
      { tile, n, begin: panel.begin * tile, end: Math.min(panel.end * tile, tiling.padded) },
      [this.diagonal, table, tiles],
    );
    await backend.finish();
    if (old === undefined) return;
    for (let j = panel.begin; j < Math.min(panel.end, old.rows); j++) {
      this.job.check();
      await old.tiles.each(j, { begin: j, end: old.rows }, (i, bytes) => {
        this.window.view(i, j).set(bytes);
      });
    }
  }

  /** Two blocks at a time: one is read while the threads scatter the other. */
  private async load(source: SymmetricSource, panel: Range): Promise<void> {
    const { backend, tiling } = this.job;
    const { n, tile } = tiling;
    const area = this.sourceArea(panel);
    const staging: { slot: Slot; bytes: number; free: Promise<void> }[] = [];
    let turn = 0;
    try {
      for await (const { row, column, rows, columns, values } of lowerBlocks(source, area.rows, area.columns)) {
        this.job.check();
        const place = turn++ % 2;
        let stage = staging[place];
        await stage?.free;
        if (stage === undefined || stage.bytes < values.byteLength) {
          if (stage !== undefined) backend.free(stage.slot);
          const slot = backend.allocate(values.byteLength, "a block of the matrix");
          stage = staging[place] = { slot, bytes: values.byteLength, free: Promise.resolve() };
        }
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        viewOf(backend, stage.slot, 0, bytes.length).set(bytes);
        const wide = values instanceof Float64Array ? 1 : 0;
        const params = { tile, n, row, column, rows, columns, wide };
        backend.dispatch(tileLoad, params, [stage.slot, this.window.table, this.window.tiles]);
        stage.free = backend.finish();
        stage.free.catch(() => undefined); // the next turn but one waits for it
        this.entriesRead += rows * columns;
        this.job.onRead(this.entriesRead / this.entries);
      }
    } finally {
      for (const { slot } of staging) backend.free(slot);
    }
  }

  private async subtractFinished(panel: Range): Promise<void> {
    const { backend, tiling } = this.job;
    const { n, tile } = tiling;
    const { table, tiles } = this.window;
    const rowBegin = Math.max(panel.begin, this.rowBegin);
    const target = { tile, n, first: panel.begin, end: panel.end, rowBegin };
    // A multiplication and an addition for each entry of the panel and each finished column.
    const perColumn = 2 * tile * this.panelEntries(panel, rowBegin);
    const finished = { begin: 0, end: panel.begin };
    const hooks = {
      check: () => {
        this.job.check();
      },
      onDone: ({ columns }: Part) => {
        this.job.onFlops((columns.end - columns.begin) * perColumn);
      },
    };
    const stream = this.tiles.columns(finished, hooks, panel.begin);
    for await (const left of stream) {
      this.job.check();
      const params = { ...target, leftBegin: left.columns.begin, leftEnd: left.columns.end };
      backend.dispatch(choleskyUpdate, params, [table, tiles, left.table, left.tiles]);
    }
  }

  private panelEntries(panel: Range, rowBegin: number): number {
    return this.job.tiling.bytes(panel, { begin: rowBegin, end: this.job.tiling.blocks }) / 8;
  }

  /**
   * Finishes the panel's columns, some at a time. The next ones are appended before the last are waited for, so the
   * threads never run dry.
   */
  private async finish(panel: Range): Promise<PivotFailure | undefined> {
    const { backend, tiling } = this.job;
    const { n, tile, blocks } = tiling;
    const finished = new Uint32Array(blocks).map((_, i) => (i < this.rowBegin ? 0x7fffffff : panel.begin));
    backend.write(this.finished, 0, finished);
    let pending: { readonly columns: Range; readonly failure: Promise<PivotFailure | undefined> } | undefined;
    const settle = async (): Promise<PivotFailure | undefined> => {
      if (pending === undefined) return undefined;
      const failure = await pending.failure;
      this.failed ||= failure !== undefined;
      if (failure !== undefined) return failure;
      this.job.onFlops(this.chunkFlops(pending.columns, panel));
      this.writeBehind(pending.columns, panel);
      return undefined;
    };
    const { table, tiles } = this.window;
    for (const columns of this.chunks(panel)) {
      const params = { tile, n, first: columns.begin, end: columns.end, rowBegin: this.rowBegin };
      const buffers = [table, tiles, this.pivots, this.status, this.finished];
      backend.dispatch(choleskyFactor, { ...params, windowBegin: panel.begin }, buffers);
      const next = { columns, failure: this.outcome(columns) };
      // Should waiting for the columns before them throw, nobody waits for these any more.
      next.failure.catch(() => undefined);
      const failure = await settle();
      if (failure !== undefined) return failure;
      this.job.check();
      // A disk that is full says so now, not when the panel has been computed.
      if (this.writeFailed) await this.written;
      pending = next;
    }
    return settle();
  }

  private *chunks(panel: Range): Generator<Range> {
    const { tiling, backend } = this.job;
    for (let begin = panel.begin; begin < panel.end;) {
      const task = 2 * tiling.tile ** 3 * (begin - panel.begin);
      const least = Math.max(CHUNK_FLOPS, CHUNK_TILES * backend.info.threads * task);
      let end = begin + 1;
      while (end < panel.end && this.chunkFlops({ begin, end }, panel) < least) end++;
      yield { begin, end };
      begin = end;
    }
  }

  /** Of columns of a panel, without what the panels before contribute. */
  private chunkFlops(columns: Range, panel: Range): number {
    const { tiling } = this.job;
    const all = tiling.flops(columns, this.rowBegin);
    let before = 0;
    for (let j = columns.begin; j < columns.end; j++)
      before += 2 * panel.begin * tiling.tile * this.panelEntries({ begin: j, end: j + 1 }, Math.max(j, this.rowBegin));
    return Math.max(0, all - before);
  }

  /** Waits for what has been appended; on the way, copies the pivots of these columns. */
  private async outcome(columns: Range): Promise<PivotFailure | undefined> {
    const { backend, tiling, pivots } = this.job;
    const [begin, end] = [columns.begin * tiling.tile, Math.min(tiling.n, columns.end * tiling.tile)];
    const [status, found] = await Promise.all([
      backend.read(this.status, 0, 8),
      backend.read(this.pivots, begin * 8, (end - begin) * 8),
    ]);
    pivots.set(new Float64Array(found), begin);
    const [failed = 0, index = 0] = new Uint32Array(status);
    return failed === 0 ? undefined : { index, value: pivots[index] ?? Number.NaN };
  }

  private writeBehind(columns: Range, panel: Range): void {
    const { storage, tiling } = this.job;
    if (storage === undefined) return;
    this.written = this.written.then(async () => {
      for (let j = columns.begin; j < columns.end; j++)
        await storage.write(j, { begin: j, end: tiling.blocks }, (i) => this.window.view(i, j));
      await this.job.onStored(columns.end, columns.end === panel.end);
    });
    this.written.catch(() => (this.writeFailed = true));
  }

  /** Releases everything, the finished tiles' memory included. */
  dispose(): void {
    this.window.free();
  }
}
