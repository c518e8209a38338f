/**
 * Where a factorisation's tiles live and how wide its panels are, decided by sizes alone, before anything is allocated.
 *
 *     memory    the triangle in the engine's memory: one panel
 *     buffers   panels in the engine's memory (4 GiB at most), the finished triangle in ordinary buffers
 *     scratch   panels in the engine's memory, the finished triangle in a file
 *
 * A panel is as many columns of tiles as fit. Before it is factorised, all finished columns stream past it once, so that
 * the triangle is read about n / (3 w) times for panels of w columns: n = 50,000 streams 8 GB in 4 GiB.
 */
import { fixedBytes } from "../engine/wasm/layout.ts";
import { WidefieldError } from "../errors.ts";
import type { Range } from "./range.ts";
import { Tiling } from "./tiling.ts";

export interface CholeskyPlan {
  readonly where: "memory" | "buffers" | "scratch";
  /** Bytes of the engine's memory for the panel that is being factorised. */
  readonly panelBytes: number;
  /** Of each of the two windows through which finished columns stream; 0 in memory. */
  readonly streamBytes: number;
  /** Rows and columns of the first panel; later ones are shorter and may be wider. */
  readonly panelColumns: number;
  readonly panels: number;
  /** At the peak of the factorisation, all in all; out of core with what the runtime itself takes. */
  readonly memoryBytes: number;
  /** In files: the factor and its checksums. */
  readonly scratchBytes: number;
}

export interface PlanOptions {
  /** The budget. */
  readonly memoryBytes: number;
  readonly threads: number;
  /** What WebAssembly addresses; default 4 GiB. */
  readonly wasmBytes?: number | undefined;
  /** Side of the blocks that the source is read in; default 512. */
  readonly blockSize?: number | undefined;
  readonly tile?: number | undefined;
  /** Whether finished columns may stand in ordinary buffers: not where they go to a file in any case. Default true. */
  readonly buffers?: boolean | undefined;
}

export const WASM_BYTES = 2 ** 32 - 65536;
/** Right-hand sides that are under way at once, at most, while the factor is in the engine's memory. */
export const RHS_BYTES = 64 * 2 ** 20;
/** Streams are at least one column of tiles, and otherwise up to this: long enough to hide the reading of the next one. */
const STREAM_BYTES = 48 * 2 ** 20;
/**
 * Node itself, with everything loaded and an engine open: 98 MiB before work (measured with Node 20, two threads). Beside
 * the other parts of the plan, peaks of factorisations were 83 to 101 MiB, and up to 133 with 200 right-hand sides: blocks
 * and pieces of files that wait for the garbage collector. The rest is for sources that hold more than a block.
 */
export const RUNTIME_BYTES = 144 * 2 ** 20;
/** Pieces of files that are under way. */
const FILE_BYTES = 16 * 2 ** 20;

/** What the allocator loses at each buffer, and buffers of a few words. */
const SLOT_BYTES = 4096;

/** Throws E_MEMORY, with what is needed, where the budget holds neither the matrix nor one column of tiles out of core. */
export function choleskyPlan(n: number, options: PlanOptions): CholeskyPlan {
  const { memoryBytes, threads, wasmBytes = WASM_BYTES, blockSize = 512 } = options;
  const tiling = new Tiling(n, options.tile);
  const triangle = tiling.totalBytes;
  const block = Math.min(blockSize, n) ** 2 * 8;
  // The diagonal and the pivots; for the panel and each stream, where its columns are; which columns are finished.
  const vectors = 2 * tiling.padded * 8 + 4 * tiling.blocks * 4 + SLOT_BYTES;
  const engine = fixedBytes(threads) + 2 * block + vectors;
  const inCore = triangle + engine + 2 * block;
  const addressable = triangle + engine + Math.min(RHS_BYTES, triangle) <= wasmBytes;
  if (inCore <= memoryBytes && addressable) {
    return {
      where: "memory",
      panelBytes: triangle,
      streamBytes: 0,
      panelColumns: n,
      panels: 1,
      memoryBytes: inCore,
      scratchBytes: 0,
    };
  }
  const column = tiling.columnBytes(0, { begin: 0, end: tiling.blocks });
  const always = RUNTIME_BYTES + engine + 2 * block + FILE_BYTES;
  // A panel of one column, and two that stream past it.
  const outOfCore = always + 3 * column;
  if (wasmBytes < engine + 3 * column) {
    throw new WidefieldError(
      "E_MEMORY",
      `factorising a ${n} x ${n} matrix takes three columns of tiles (${mib(column)} each) in the engine's memory, which ` +
        `has ${mib(wasmBytes)}: open the engine with more (WebAssembly addresses 4 GiB)`,
      { details: { n, neededBytes: outOfCore, memoryBytes } },
    );
  }
  if (memoryBytes < outOfCore) {
    const needed = addressable ? Math.min(inCore, outOfCore) : outOfCore;
    const parts =
      needed === inCore
        ? `the matrix itself (${mib(triangle)})`
        : `one column of tiles (${mib(column)}), two more that stream past it, and ${mib(RUNTIME_BYTES)} for the runtime`;
    throw new WidefieldError(
      "E_MEMORY",
      `factorising a ${n} x ${n} matrix takes at least ${mib(needed)}: ${parts}, and working space; the budget is ` +
        mib(memoryBytes),
      { details: { n, neededBytes: needed, memoryBytes } },
    );
  }
  const room = Math.min(memoryBytes - always, wasmBytes - engine);
  const streamBytes = Math.max(column, whole(Math.min(STREAM_BYTES, memoryBytes / 16, (room - column) / 2)));
  const beside = always + 2 * streamBytes;
  const address = wasmBytes - engine - 2 * streamBytes;
  const panelOf = (bytes: number) => whole(Math.min(triangle, bytes, address));
  const inBuffers = panelOf(memoryBytes - beside - triangle);
  const roomy = inBuffers >= Math.max(column, Math.min(triangle / 8, address / 2));
  const where = options.buffers !== false && roomy ? "buffers" : "scratch";
  const panelBytes = where === "buffers" ? inBuffers : panelOf(memoryBytes - beside);
  const panels = panelRanges(tiling, panelBytes);
  return {
    where,
    panelBytes,
    streamBytes,
    panelColumns: Math.min(n, (panels[0]?.end ?? 0) * tiling.tile),
    panels: panels.length,
    memoryBytes: beside + panelBytes + (where === "buffers" ? triangle : 0),
    scratchBytes: where === "scratch" ? triangle + 4 * tiling.tiles : 0,
  };
}

/** The panels' columns of tiles, from column `first` on: each as wide as fits. */
export function panelRanges(tiling: Tiling, panelBytes: number, first = 0): Range[] {
  const ranges: Range[] = [];
  for (let begin = first; begin < tiling.blocks;) {
    const rows = { begin, end: tiling.blocks };
    let end = begin;
    for (let bytes = 0; end < tiling.blocks; end++) {
      bytes += tiling.columnBytes(end, rows);
      if (bytes > panelBytes) break;
    }
    ranges.push({ begin, end: Math.max(end, begin + 1) });
    begin = Math.max(end, begin + 1);
  }
  return ranges;
}

/** Buffers are multiples of 64 bytes, as columns of tiles are. */
function whole(bytes: number): number {
  return Math.floor(bytes / 64) * 64;
}

/** For messages: rounded up. */
export function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
