/** Re-reading a whole store: which tiles are missing, which are damaged, which are as they were written. */
import { WidefieldError } from "../../errors.ts";
import { type Tile, snakeOrder } from "./grid.ts";
import { forEachAtOnce } from "./at-once.ts";
import type { KernelStore } from "./store.ts";

export interface DamagedTile extends Tile {
  readonly file: string;
  readonly reason: string;
}

export interface VerifyResult {
  readonly tiles: number;
  readonly complete: number;
  readonly missing: readonly Tile[];
  readonly damaged: readonly DamagedTile[];
}

export interface VerifyOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Reads every tile and checks its length and its checksum. Lists are in the order of the grid's rows. */
export async function verify(store: KernelStore, options: VerifyOptions = {}): Promise<VerifyResult> {
  return verifyTiles(store, snakeOrder(store.grid), options);
}

/** The same for some of the tiles; throws E_ABORTED on request. */
export async function verifyTiles(
  store: KernelStore,
  tiles: readonly Tile[],
  { signal, onProgress }: VerifyOptions = {},
): Promise<VerifyResult> {
  const missing: Tile[] = [];
  const damaged: DamagedTile[] = [];
  let done = 0;
  await forEachAtOnce(tiles, 4, async (tile) => {
    if (signal?.aborted === true) throw new WidefieldError("E_ABORTED", `${store.path}: stopped while checking tiles`);
    const found = await store.inspectTile(tile);
    if (found.state === "missing") missing.push(tile);
    if (found.state === "damaged") damaged.push({ ...tile, file: store.tilePath(tile), reason: found.reason });
    onProgress?.(++done, tiles.length);
  });
  missing.sort(byPlace);
  damaged.sort(byPlace);
  return { tiles: tiles.length, complete: tiles.length - missing.length - damaged.length, missing, damaged };
}

function byPlace(a: Tile, b: Tile): number {
  return a.i - b.i || a.j - b.j;
}
