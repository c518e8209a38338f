/**
 * One factorisation with a given shift of the diagonal: where its tiles go, its files, its progress. Which shifts are
 * tried, and what is said when one fails, is in `cholesky.ts`.
 */
import type { Backend } from "../engine/backend.ts";
import { fixedBytes } from "../engine/wasm/layout.ts";
import { WidefieldError } from "../errors.ts";
import { crc32c } from "../platform/crc32c.ts";
import type { Files } from "../platform/files.ts";
import { Factorisation, type PivotFailure } from "./factorisation.ts";
import { FactorFolder, type FactorKey, type FactorIdentity, searchedShift } from "./factor-folder.ts";
import { FactorTiles } from "./factor-tiles.ts";
import { noisePivot } from "./jitter.ts";
import { choleskyPlan, mib, type CholeskyPlan, WASM_BYTES } from "./plan.ts";
import { readDiagonal, type SymmetricSource } from "./source.ts";
import { wasmOf, type LinalgTarget } from "./target.ts";
import { BufferStorage, type TileStorage } from "./tile-storage.ts";
import { Tiling } from "./tiling.ts";

export interface CholeskyProgress {
  readonly phase: "read" | "factor";
  /** Of all reading, or of all arithmetic, 0 to 1: out of core the two phases take turns. */
  readonly fraction: number;
  /** Spent in this phase, and until it ends at the present rate. */
  readonly seconds: number;
  readonly secondsLeft: number;
  /** Rate so far; 0 while reading. */
  readonly gflops: number;
  /** What this attempt adds to the diagonal, relative to its mean. */
  readonly jitter: number;
}

export interface Scratch {
  readonly files: Files;
  /** Its parent must exist. */
  readonly folder: string;
  /** The finished factor stays there, for `openFactor`, and for the next run with a matrix of the same identity. */
  readonly keep?: boolean | undefined;
}

export interface RunOptions {
  /**
   * Budget in bytes for all that the factorisation holds; default: what the engine may take. Tiles that it has no room
   * for go to ordinary buffers (WebAssembly has 4 GiB, the machine may have more) or to scratch files.
   */
  readonly memoryBytes?: number | undefined;
  readonly scratch?: Scratch | undefined;
  readonly onProgress?: ((progress: CholeskyProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly log?: ((line: string) => void) | undefined;
  /** For tests: tiles of another size than `tileSize`'s, and a plan of one's own. */
  readonly tile?: number | undefined;
  readonly plan?: CholeskyPlan | undefined;
}

/** Inside a panel, seconds of work that a SIGKILL may cost at most, beside the columns that were under way. */
const SAVE_SECONDS = 20;

/** What all attempts on a matrix have in common. */
export interface Setup extends Place {
  readonly source: SymmetricSource;
  /** The source's, n values, and its mean. */
  readonly diagonal: Float64Array;
  readonly meanDiagonal: number;
  readonly matrix: FactorIdentity;
  readonly options: RunOptions;
}

/** Where a factorisation will take place. */
export interface Place {
  readonly backend: Backend;
  readonly tiling: Tiling;
  readonly plan: CholeskyPlan;
  /** The budget. */
  readonly memoryBytes: number;
}

/** Throws E_MEMORY where not even one column of tiles fits, or where tiles have to leave memory and have nowhere to go. */
export async function placeOf(
  target: LinalgTarget,
  { n, blockSize }: Pick<SymmetricSource, "n" | "blockSize">,
  options: RunOptions,
): Promise<Place> {
  const backend = await wasmOf(target);
  const { threads, maxBufferBytes } = backend.info;
  const wasmBytes = Math.min(WASM_BYTES, fixedBytes(threads) + maxBufferBytes - backend.stats().bytes);
  const memoryBytes = options.memoryBytes ?? ("cpu" in target ? target.memoryBytes : undefined) ?? wasmBytes;
  const { tile } = options;
  const plan =
    options.plan ??
    choleskyPlan(n, { memoryBytes, threads, wasmBytes, blockSize, tile, buffers: options.scratch?.keep !== true });
  if (plan.where === "scratch" && options.scratch === undefined) {
    throw new WidefieldError(
      "E_MEMORY",
      `the factor of a ${n} x ${n} matrix takes ${mib(plan.scratchBytes)}, more than the budget of ${mib(memoryBytes)} ` +
        `holds: give it a scratch folder (scratch, --scratch DIR) on a disk with that much room, or a larger budget`,
      { details: { n, neededBytes: plan.scratchBytes, memoryBytes } },
    );
  }
  return { backend, tiling: new Tiling(n, tile), plan, memoryBytes };
}

/** Decides on the place, and reads the diagonal. Throws what `placeOf` and `readDiagonal` throw. */
export async function setup(target: LinalgTarget, source: SymmetricSource, options: RunOptions): Promise<Setup> {
  checkOf(options.signal)();
  const place = await placeOf(target, source, options);
  const diagonal = await readDiagonal(source);
  // Divided before they are added: a sum of entries near the end of the range may leave it.
  const meanDiagonal = diagonal.reduce((sum, value) => sum + value / source.n, 0);
  const bytes = new Uint8Array(diagonal.buffer, diagonal.byteOffset, diagonal.byteLength);
  const matrix = { identity: source.identity, diagonal: crc32c(bytes), arithmetic: arithmeticOf(place.backend) };
  // What the factor does later (`extend`) keeps the same budget, whether it was given or the engine's.
  const { memoryBytes } = place;
  return { ...place, source, diagonal, meanDiagonal, matrix, options: { ...options, memoryBytes } };
}

/** Fused products round differently, so builds with and without them compute different bits. */
export function arithmeticOf(backend: Backend): string {
  return backend.info.adapter === "relaxed" ? "fused" : "plain";
}

export interface Attempt {
  /** The caller's to dispose. */
  readonly tiles: FactorTiles;
  readonly pivots: Float64Array;
  /** Without reading the source. */
  readonly seconds: number;
  readonly gflops: number;
  /** Undefined: `tiles` is the factor. Otherwise `tiles` holds the rows before the pivot's. */
  readonly failure: PivotFailure | undefined;
  /** A pivot that rounding could have made, where the trial is careful: `tiles` is a factor, but not kept. */
  readonly noise: PivotFailure | undefined;
}

/** What is added to the diagonal, absolutely and relative to its mean. */
export interface Shift {
  readonly absolute: number;
  readonly relative: number;
}

export interface Trial extends Shift {
  /** Where it was given in place of a jitter. */
  readonly lambda?: number | undefined;
  /** Pivots that rounding could have made count as failed. */
  readonly careful?: boolean;
  /** It is part of a search: all smaller shifts have failed. */
  readonly searched?: boolean;
  /** It is tried to know whether it passes; the factor is not wanted. */
  readonly probe?: boolean;
}

/** `old`: rows of tiles that another factor, with the same shift, has finished. */
export async function attempt(
  facts: Setup,
  trial: Trial,
  old?: { readonly rows: number; readonly tiles: FactorTiles; readonly pivots: Float64Array },
): Promise<Attempt> {
  const { backend, source, tiling, plan, meanDiagonal, options } = facts;
  const { n } = tiling;
  const { absolute: shift, relative } = trial;
  const check = checkOf(options.signal);
  const folder = await openFolder(facts, trial);
  const finishedColumns = folder?.state?.finishedColumns ?? 0;
  const diagonal = facts.diagonal.map((value) => value + shift);
  const noiseIn = (found: Float64Array) => (trial.careful === true ? noisePivot(found, diagonal) : undefined);
  const pivots = folder?.pivots ?? new Float64Array(n);
  if (old !== undefined) pivots.set(old.pivots.subarray(0, old.rows * tiling.tile));
  const storage: TileStorage | undefined =
    folder?.storage ?? (plan.where === "buffers" ? new BufferStorage(tiling) : undefined);
  const { streamBytes } = plan;
  if (folder?.state?.complete === true) {
    options.log?.(`the factor was found in ${options.scratch?.folder ?? "its folder"}`);
    await folder.end(true).catch(async (thrown: unknown) => {
      await storage?.close();
      throw thrown;
    });
    const tiles = await resident(new FactorTiles(backend, tiling, { storage, streamBytes }), plan, check);
    return { tiles, pivots, seconds: folder.state.seconds, gflops: 0, failure: undefined, noise: noiseIn(pivots) };
  }
  const flops = tiling.flops({ begin: finishedColumns, end: tiling.blocks }, old?.rows);
  const clock = new Clock(flops, relative, options.onProgress);
  const before = folder?.state?.seconds ?? 0;
  let stored = finishedColumns;
  let saved = performance.now();
  const state = (complete: boolean) => ({
    finishedColumns: stored,
    complete,
    meanDiagonal,
    seconds: before + clock.seconds,
  });
  let run: Factorisation | undefined;
  let failure: PivotFailure | undefined;
  let noise: PivotFailure | undefined;
  try {
    run = new Factorisation({
      backend,
      tiling,
      source,
      diagonal,
      panelBytes: plan.panelBytes,
      // One panel may have finished columns before it, too: of a run that was killed.
      streamBytes: Math.max(streamBytes, tiling.columnBytes(0, { begin: 0, end: tiling.blocks })),
      storage,
      finishedColumns,
      old,
      pivots,
      onRead: (fraction) => {
        clock.read(fraction);
      },
      onFlops: (flops) => {
        clock.factored(flops);
      },
      onStored: async (columns, panelEnds) => {
        stored = columns;
        // The last panel's end is the factor's, which is saved below.
        if (columns === tiling.blocks || (!panelEnds && performance.now() - saved < SAVE_SECONDS * 1000)) return;
        await folder?.save(state(false));
        saved = performance.now();
      },
      check,
    });
    failure = await run.run();
    noise = failure === undefined ? noiseIn(pivots) : undefined;
    const passed = failure === undefined && noise === undefined;
    if (passed) await folder?.save(state(true));
    else await folder?.forget();
    await folder?.end(passed);
  } catch (thrown) {
    // What is finished is kept for the next run, unless the disk itself refuses; what is told is the first refusal.
    if (stored > finishedColumns) await folder?.save(state(false)).catch(() => undefined);
    run?.dispose();
    await storage?.close().catch(() => undefined);
    await folder?.end(false).catch(() => undefined);
    throw thrown;
  }
  const tiles = failure === undefined ? await resident(run.tiles, plan, check) : run.tiles;
  return { tiles, pivots, seconds: clock.seconds, gflops: clock.gflops, failure, noise };
}

/** Throws E_ABORTED once the signal says so. */
export function checkOf(signal: AbortSignal | undefined): () => void {
  return () => {
    if (signal?.aborted === true)
      throw new WidefieldError("E_ABORTED", "the factorisation was stopped", { cause: signal.reason });
  };
}

async function openFolder(
  facts: Setup,
  { absolute: shift, searched, probe }: Trial,
): Promise<FactorFolder | undefined> {
  const { plan, options } = facts;
  const { scratch } = options;
  const keep = scratch?.keep === true && probe !== true;
  if (scratch === undefined || (plan.where !== "scratch" && !keep)) return undefined;
  return FactorFolder.open(
    scratch.files,
    scratch.folder,
    { ...keyOf(facts), shift, searched },
    { keep, log: options.log },
  );
}

function keyOf({ tiling: { n, tile }, matrix }: Setup): Omit<FactorKey, "shift"> {
  return { ...matrix, n, tile };
}

/** The shift that an earlier search for the jitter of this matrix came to, from its folder; undefined if there is none. */
export async function earlierShift(facts: Setup): Promise<number | undefined> {
  const { scratch } = facts.options;
  return scratch === undefined ? undefined : searchedShift(scratch.files, scratch.folder, keyOf(facts));
}

/**
 * Brings a factor into the engine's memory where the plan has room for all of it: solves are many, reading is once. When
 * that fails, nothing is left of the tiles.
 */
export async function resident(tiles: FactorTiles, plan: CholeskyPlan, check: () => void): Promise<FactorTiles> {
  if (plan.where !== "memory") return tiles;
  try {
    return await tiles.loaded(check);
  } catch (thrown) {
    tiles.dispose();
    throw thrown;
  }
}

/** Time and rates, of reading and of arithmetic apart. */
class Clock {
  seconds = 0;
  private readSeconds = 0;
  private flops = 0;
  private mark = performance.now();
  private readonly total: number;
  private readonly jitter: number;
  private readonly onProgress: RunOptions["onProgress"];

  constructor(total: number, jitter: number, onProgress: RunOptions["onProgress"]) {
    this.total = total;
    this.jitter = jitter;
    this.onProgress = onProgress;
  }

  get gflops(): number {
    return this.flops / this.seconds / 1e9;
  }

  read(fraction: number): void {
    this.readSeconds += this.lap();
    this.report("read", fraction, this.readSeconds, 0);
  }

  factored(flops: number): void {
    this.flops += flops;
    this.seconds += this.lap();
    this.report("factor", this.total > 0 ? Math.min(1, this.flops / this.total) : 1, this.seconds, this.gflops);
  }

  private report(phase: CholeskyProgress["phase"], fraction: number, seconds: number, gflops: number): void {
    const secondsLeft = (seconds * (1 - fraction)) / fraction;
    this.onProgress?.({ phase, fraction, seconds, secondsLeft, gflops, jitter: this.jitter });
  }

  private lap(): number {
    const now = performance.now();
    const seconds = (now - this.mark) / 1000;
    this.mark = now;
    return seconds;
  }
}
