/**
 * Where a factorisation's tiles live and how wide its panels are, decided by sizes alone, before anything is allocated.
 *
 *     memory    the triangle in the engine's memory: one panel
 *     buffers   panels in the engine's memory (4 GiB at most), the finished triangle in ordinary buffers
 *     scratch   panels in the engine's memory, the finished triangle in a file
 *
 * A panel is as many columns of tiles as fit. Before it is factorised, all finished columns stream past it once, so that
 * the triangle is read about n / (3 w) times for panels of w columns: 2 x 25 GB for n = 50,000 in 4 GiB.
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
}

export const WASM_BYTES = 2 ** 32 - 65536;
/** Right-hand sides that are under way at once, at most, while the factor is in the engine's memory. */
export const RHS_BYTES = 64 * 2 ** 20;
/** Streams are at least one column of tiles, and otherwise this: a command of some tenths of a second. */
const STREAM_BYTES = 48 * 2 ** 20;
/** Node with the engine loaded, its compiler's code and the garbage between two collections: 102 MiB before work. */
export const RUNTIME_BYTES = 144 * 2 ** 20;
/** Pieces of files that are under way. */
const FILE_BYTES = 16 * 2 ** 20;

/**
 * Throws E_MEMORY, with what is needed, where the budget does not hold one column of tiles and what goes with it.
 */
export function choleskyPlan(n: number, options: PlanOptions): CholeskyPlan {
  const { memoryBytes, threads, wasmBytes = WASM_BYTES, blockSize = 512 } = options;
  const tiling = new Tiling(n, options.tile);
  const triangle = tiling.totalBytes;
  const block = Math.min(blockSize, n) ** 2 * 8;
  const engine = fixedBytes(threads) + block;
  const inCore = triangle + engine + 2 * block;
  if (inCore <= memoryBytes && triangle + engine + Math.min(RHS_BYTES, triangle) <= wasmBytes) {
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
  const streamBytes = Math.max(column, Math.min(STREAM_BYTES, memoryBytes / 16));
  const beside = RUNTIME_BYTES + engine + 2 * block + 2 * streamBytes + FILE_BYTES;
  const address = wasmBytes - engine - 2 * streamBytes;
  const panelOf = (bytes: number) => Math.min(triangle, Math.floor(bytes / 64) * 64, address);
  const inBuffers = panelOf(memoryBytes - beside - triangle);
  const where = inBuffers >= Math.min(triangle / 8, address / 2) && inBuffers >= column ? "buffers" : "scratch";
  const panelBytes = where === "buffers" ? inBuffers : panelOf(memoryBytes - beside);
  if (panelBytes < column) {
    const needed = beside + column;
    const why = needed > memoryBytes ? "" : " within the 4 GiB that WebAssembly addresses";
    throw new WidefieldError(
      "E_MEMORY",
      `factorising a ${n} x ${n} matrix takes at least ${mib(needed)}${why}: one column of tiles (${mib(column)}), two ` +
        `more that stream past it, and ${mib(RUNTIME_BYTES)} for the runtime itself; the budget is ${mib(memoryBytes)}`,
      { details: { n, neededBytes: needed, memoryBytes } },
    );
  }
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

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
