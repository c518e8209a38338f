/**
 * Kernel matrices as jobs: fills a store tile by tile from a source, in bounded memory, stoppable and killable at any
 * moment, with any number of shards at work at once. How a tile is computed is the source's affair.
 *
 * A job first checks every tile of its shard that is on disk, checksums included: a damaged tile counts as missing and
 * is computed again. That costs one read of what is there (about 600 MB/s), always less than computing it.
 */
import { WidefieldError } from "../errors.ts";
import { smallestBudget } from "./memory.ts";
import { chunkBytes } from "./store/chunk.ts";
import { isTemporary, isAbandoned } from "../platform/files.ts";
import { type Grid, type Shard, type Tile, columnRange, pairsOf, rowRange, shardTiles } from "./store/grid.ts";
import type { Lock } from "../platform/lock.ts";
import { lockShard } from "./store/lock.ts";
import type { KernelStore } from "./store/store.ts";
import { type VerifyResult, verifyTiles } from "./store/verify.ts";

/** Computes tiles. Calls come one at a time, in an order in which a tile shares rows or columns with the last one. */
export interface TileSource {
  /**
   * Most bytes that the source holds while it computes tiles of at most this size, on the host and the device: images,
   * tables, scratch. The arrays that it has handed out are not its own. Caches may grow with the job's budget,
   * `memoryBytes`, by a part of every byte.
   */
  peakBytes(tileRows: number, tileColumns: number, memoryBytes: number): number;
  /** Called once, before the first tile, and only if there is a tile to compute. */
  prepare?(): Promise<void>;
  /** Called when all tiles of the job are on disk: what was kept beside them can go. */
  finished?(): Promise<void>;
  /**
   * Kernel values * 2^-exponent of rows [rowBegin, rowEnd) and columns [colBegin, colEnd), row-major: a new array,
   * which the job keeps. `diagonal`: of a symmetric matrix's square tile only entries with column <= row are used.
   * A value must depend on its row and column alone, bitwise, never on the tile that it is computed in.
   */
  computeTile(
    rowBegin: number,
    rowEnd: number,
    colBegin: number,
    colEnd: number,
    diagonal: boolean,
  ): Promise<Float32Array>;
}

export interface KernelProgress {
  /** Tiles of this shard that are on disk, those found there included. */
  readonly tilesDone: number;
  readonly tilesTotal: number;
  /** Entries that this run has computed, and all that it has to; a symmetric matrix's count once. */
  readonly pairsDone: number;
  readonly pairsTotal: number;
  /** Since the first tile was begun. */
  readonly seconds: number;
  readonly pairsPerSecond: number;
  /** Undefined until the first tile is done. */
  readonly etaSeconds: number | undefined;
}

export interface KernelJob {
  readonly store: KernelStore;
  readonly source: TileSource;
  readonly shard?: Shard | undefined;
  /** Budget in bytes for source and tiles together. */
  readonly memoryBytes: number;
  /** Stops after the tiles that are under way. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: KernelProgress) => void) | undefined;
  /** While the tiles on disk are checked, before the first is computed. */
  readonly onCheck?: ((tilesDone: number, tilesTotal: number) => void) | undefined;
}

export interface KernelJobResult extends KernelProgress {
  /** Tiles that were on disk and sound before. */
  readonly tilesReused: number;
  /** Tiles that were on disk and damaged; they are sound now. */
  readonly tilesRepaired: number;
  /** Planned peak, see `planMemory`. */
  readonly peakBytes: number;
}

/** Tiles being written while the next is computed: enough to hide a slow fsync now and then. */
const MOST_WRITES_AT_ONCE = 4;

export interface MemoryPlan {
  readonly writesAtOnce: number;
  /** Most bytes the job will hold at a time: source, computed tiles, chunks being written. */
  readonly peakBytes: number;
}

/**
 * What a job on this grid holds at most: the source's own, the tile being computed and the one before it, and a chunk
 * per write under way. Throws E_MEMORY, with the smallest budget and the largest tile that work, before anything runs.
 */
export function planMemory(grid: Grid, source: TileSource, memoryBytes: number): MemoryPlan {
  for (let writesAtOnce = MOST_WRITES_AT_ONCE; writesAtOnce >= 1; writesAtOnce--) {
    const peakBytes = peakBytesOf(grid, source, writesAtOnce, memoryBytes);
    if (peakBytes <= memoryBytes) return { writesAtOnce, peakBytes };
  }
  const smallest = smallestBudget((budget) => peakBytesOf(grid, source, 1, budget));
  const tile = largestTile(grid, source, memoryBytes);
  throw new WidefieldError(
    "E_MEMORY",
    `one ${grid.tile} x ${grid.tile} tile needs ${smallest} bytes of memory, the budget is ${memoryBytes}: ` +
      `give at least --memory ${Math.ceil(smallest / 1024)}KiB` +
      (tile === undefined ? "" : `, or make the store anew with --tile ${tile}`),
    { details: { neededBytes: smallest, memoryBytes, largestTile: tile } },
  );
}

function peakBytesOf(grid: Grid, source: TileSource, writesAtOnce: number, memoryBytes: number): number {
  const rows = Math.min(grid.tile, grid.rows);
  const columns = Math.min(grid.tile, grid.columns);
  return source.peakBytes(rows, columns, memoryBytes) + 2 * 4 * rows * columns + writesAtOnce * chunkBytes(grid);
}

/** By halving, down to 16 x 16; undefined where not even that fits. */
function largestTile(grid: Grid, source: TileSource, memoryBytes: number): number | undefined {
  for (let tile = grid.tile >> 1; tile >= 16; tile >>= 1) {
    if (peakBytesOf({ ...grid, tile }, source, 1, memoryBytes) <= memoryBytes) return tile;
  }
  return undefined;
}

/**
 * Computes the tiles of a shard that are not yet there. Throws E_MEMORY before it starts, E_LOCKED where another
 * process works on the shard, E_ABORTED when stopped, E_IO when the disk refuses, E_OVERFLOW for values that are not
 * finite, and what the source throws. After any of them, and after SIGKILL, the same call resumes.
 */
export async function runKernelJob(job: KernelJob): Promise<KernelJobResult> {
  const { store, signal } = job;
  const shard = checkedShard(job.shard ?? { index: 0, count: 1 });
  const plan = planMemory(store.grid, job.source, job.memoryBytes);
  const tiles = shardTiles(store.grid, shard);
  let lock: Lock;
  try {
    lock = await lockShard(store.files, store.path, shard);
  } catch (error) {
    // A finished store on a read-only disk is a finished store.
    if (!(error instanceof WidefieldError && error.code === "E_IO")) throw error;
    const found = await verifyTiles(store, tiles, { signal, onProgress: job.onCheck });
    if (found.complete < tiles.length) throw error;
    return resultOf(found, await computeTiles(job, plan, [], tiles.length), plan);
  }
  try {
    await removeLeftovers(store, tiles);
    const found = await verifyTiles(store, tiles, { signal, onProgress: job.onCheck });
    const wanted = new Set([...found.missing, ...found.damaged].map(({ i, j }) => `${i}/${j}`));
    const pending = tiles.filter(({ i, j }) => wanted.has(`${i}/${j}`));
    const progress = await computeTiles(job, plan, pending, tiles.length);
    await job.source.finished?.();
    return resultOf(found, progress, plan);
  } finally {
    // The lock of a process that ended is taken over anyway: failing to remove it is no reason to hide the outcome.
    await lock.release().catch(() => undefined);
  }
}

function resultOf(found: VerifyResult, progress: KernelProgress, plan: MemoryPlan): KernelJobResult {
  return { ...progress, tilesReused: found.complete, tilesRepaired: found.damaged.length, peakBytes: plan.peakBytes };
}

function checkedShard(shard: Shard): Shard {
  const { index, count } = shard;
  if (Number.isInteger(index) && Number.isInteger(count) && 0 <= index && index < count) return shard;
  throw new WidefieldError("E_CONFIG", `shard ${index}/${count}: --shard i/n needs whole numbers 0 <= i < n`);
}

/**
 * Removes what killed processes left. Temporaries of this shard's tiles are nobody's while its lock is ours; one beside
 * the manifest or a lock may be another's, and goes when its process is known to be dead.
 */
async function removeLeftovers(store: KernelStore, tiles: readonly Tile[]): Promise<void> {
  const { files, path } = store;
  for (const name of await files.list(path)) {
    if (isTemporary(name) && (await isAbandoned(files, name))) await files.remove(`${path}/${name}`);
  }
  const ours = new Set(tiles.map(({ i, j }) => `${i}/${j}`));
  for (const i of new Set(tiles.map((tile) => tile.i))) {
    for (const name of await files.list(`${path}/c/${i}`)) {
      if (!isTemporary(name) || !ours.has(`${i}/${Number.parseInt(name, 10)}`)) continue;
      await files.remove(`${path}/c/${i}/${name}`);
    }
  }
}

async function computeTiles(
  { store, source, signal, onProgress }: KernelJob,
  plan: MemoryPlan,
  pending: readonly Tile[],
  tilesTotal: number,
): Promise<KernelProgress> {
  const { grid } = store;
  const pairsTotal = pending.reduce((sum, tile) => sum + pairsOf(grid, tile), 0);
  let tilesWritten = 0;
  let pairsDone = 0;
  let begun = performance.now();
  const progress = (): KernelProgress => {
    const seconds = (performance.now() - begun) / 1000;
    const pairsPerSecond = pairsDone === 0 ? 0 : pairsDone / seconds;
    return {
      tilesDone: tilesTotal - pending.length + tilesWritten,
      tilesTotal,
      pairsDone,
      pairsTotal,
      seconds,
      pairsPerSecond,
      etaSeconds: pairsDone === 0 ? undefined : (pairsTotal - pairsDone) / pairsPerSecond,
    };
  };
  if (pending.length === 0) return progress();
  await source.prepare?.();
  begun = performance.now();
  onProgress?.(progress());

  const writes = new WriteQueue(store, plan.writesAtOnce, (tile) => {
    tilesWritten++;
    pairsDone += pairsOf(grid, tile);
    onProgress?.(progress());
  });
  const stopping = () => signal?.aborted === true || writes.failed;
  let next = stopping() ? undefined : compute(grid, source, pending[0]);
  try {
    for (let at = 0; next !== undefined; at++) {
      const tile = pending[at] as Tile;
      const values = await next;
      // The next tile is under way before this one is encoded and written: the source never waits for the disk.
      next = stopping() ? undefined : compute(grid, source, pending[at + 1]);
      next?.catch(() => undefined);
      await writes.add(tile, values);
    }
  } finally {
    // Whatever failed: the source is at rest and no write is under way when this returns.
    await next?.catch(() => undefined);
    await writes.settle();
  }
  writes.throwFailure();
  if (tilesWritten < pending.length) throw aborted(store, tilesTotal, pending.length - tilesWritten);
  return progress();
}

function compute(grid: Grid, source: TileSource, tile: Tile | undefined): Promise<Float32Array> | undefined {
  if (tile === undefined) return undefined;
  const rows = rowRange(grid, tile.i);
  const columns = columnRange(grid, tile.j);
  const diagonal = grid.symmetric && tile.i === tile.j;
  return source.computeTile(rows.begin, rows.end, columns.begin, columns.end, diagonal);
}

/** Writes under way, no more than a given number, each with a chunk buffer that is used again. */
class WriteQueue {
  readonly #store: KernelStore;
  readonly #written: (tile: Tile) => void;
  readonly #free: Uint8Array<ArrayBuffer>[];
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(store: KernelStore, limit: number, written: (tile: Tile) => void) {
    this.#store = store;
    this.#written = written;
    this.#free = Array.from({ length: limit }, () => new Uint8Array(chunkBytes(store.grid)));
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** Returns when the write is under way; waits for an earlier one if too many are. */
  async add(tile: Tile, values: Float32Array): Promise<void> {
    while (this.#free.length === 0 && !this.failed) await Promise.race(this.#running);
    if (this.failed) return;
    const buffer = this.#free.pop();
    if (buffer === undefined) return;
    const write = this.#store
      .writeTile(tile, values, buffer)
      .then(() => this.#written(tile))
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#free.push(buffer);
        this.#running.delete(write);
      });
    this.#running.add(write);
  }

  async settle(): Promise<void> {
    await Promise.all(this.#running);
  }

  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

function aborted(store: KernelStore, tilesTotal: number, tilesRemaining: number): WidefieldError {
  return new WidefieldError(
    "E_ABORTED",
    `${store.path}: stopped with ${tilesTotal - tilesRemaining} of ${tilesTotal} tiles on disk; the same command goes on`,
    { details: { path: store.path, tilesTotal, tilesRemaining } },
  );
}
