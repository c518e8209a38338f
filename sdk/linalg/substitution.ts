/**
 * Substitution with the tiles of a Cholesky factor, L X = B and L^T X = B, on right-hand sides that are packed in the
 * engine's memory (`right-hand-sides.ts`), in place. The tiles pass by in windows, one command a block of each.
 */
import type { Slot } from "../engine/backend.ts";
import { triangularSolve } from "../engine/kernels/index.ts";
import { WidefieldError } from "../errors.ts";
import type { FactorTiles, StreamHooks } from "./factor-tiles.ts";
import { packedLength } from "./right-hand-sides.ts";
import { STRIP } from "./tiling.ts";
import { viewOf } from "./window.ts";

export interface PackedRightHandSides {
  readonly slot: Slot;
  /** Right-hand sides in fours. */
  readonly strips: number;
  /** The engine's own bytes; see `Backend.view`. */
  values(): Float64Array;
}

interface Pace extends StreamHooks {
  /** A step that touches so many tiles has been appended. */
  done(tiles: number): Promise<void>;
}

/** A few tenths of a second. */
const PACE_FLOPS = 8e9;

export class Substitution {
  private readonly tiles: FactorTiles;
  /** Throws E_CLOSED once the factor has given its memory up. */
  private readonly requireOpen: () => void;

  constructor(tiles: FactorTiles, requireOpen: () => void) {
    this.tiles = tiles;
    this.requireOpen = requireOpen;
  }

  /** Lends the engine's memory for so many right-hand sides; when `work` is through, so are its commands. */
  async lend(
    columns: number,
    signal: AbortSignal | undefined,
    work: (rhs: PackedRightHandSides) => Promise<void>,
  ): Promise<void> {
    this.requireOpen();
    requireGoing(signal);
    const { backend, tiling } = this.tiles;
    const length = packedLength(columns, tiling.padded);
    const slot = backend.allocate(length * 8, "right-hand sides");
    const values = (): Float64Array => {
      const { buffer, byteOffset } = viewOf(backend, slot, 0, length * 8);
      return new Float64Array(buffer, byteOffset, length);
    };
    try {
      await work({ slot, strips: length / (tiling.padded * STRIP), values });
    } finally {
      backend.free(slot);
    }
  }

  /** L X = B from block `first` on; the blocks before it are zero. */
  async forward({ slot, strips }: PackedRightHandSides, first: number, signal: AbortSignal | undefined): Promise<void> {
    const { backend, tiling } = this.tiles;
    const { n, tile, blocks } = tiling;
    const pace = this.pace(strips, signal);
    for await (const window of this.tiles.columns({ begin: first, end: blocks }, pace)) {
      const step = async (block: number, update: number, solve: number): Promise<void> => {
        // Right before the command: memory that has been given up may be somebody else's by now.
        this.requireOpen();
        const params = { tile, n, block, transpose: 0, update, solve, strips };
        backend.dispatch(triangularSolve, params, [window.table, window.tiles, slot]);
        await pace.done(blocks - block);
      };
      const [begin, end] = [Math.max(first, window.columns.begin), window.columns.end];
      for (let block = begin; block < end; block++) await step(block, block > begin ? 1 : 0, 1);
      if (end < blocks) await step(end, 1, 0);
    }
    await backend.finish();
  }

  /** L^T X = B. */
  async backward({ slot, strips }: PackedRightHandSides, signal: AbortSignal | undefined): Promise<void> {
    const { backend, tiling } = this.tiles;
    const { n, tile } = tiling;
    const pace = this.pace(strips, signal);
    for await (const window of this.tiles.rowsUpwards(pace)) {
      const step = async (block: number, update: number, solve: number): Promise<void> => {
        // Right before the command: memory that has been given up may be somebody else's by now.
        this.requireOpen();
        const params = { tile, n, block, transpose: 1, update, solve, strips };
        backend.dispatch(triangularSolve, params, [window.table, window.tiles, slot]);
        await pace.done(block + 1);
      };
      const { begin, end } = window.rows;
      for (let block = end - 1; block >= begin; block--) await step(block, block < end - 1 ? 1 : 0, 1);
      if (begin > 0) await step(begin - 1, 1, 0);
    }
    await backend.finish();
  }

  /** Looks at the signal between tiles, and lets the queue run dry now and then, so that stopping is soon. */
  private pace(strips: number, signal: AbortSignal | undefined): Pace {
    const { backend, tiling } = this.tiles;
    const tileFlops = 2 * tiling.tile ** 2 * STRIP * strips;
    let appended = 0;
    const check = (): void => {
      this.requireOpen();
      requireGoing(signal);
    };
    return {
      check,
      done: async (tiles) => {
        appended += tiles * tileFlops;
        if (appended < PACE_FLOPS) return;
        appended = 0;
        await backend.finish();
        check();
      },
    };
  }
}

/** Throws E_ABORTED. */
export function requireGoing(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WidefieldError("E_ABORTED", "the solve was stopped", { cause: signal.reason });
}
