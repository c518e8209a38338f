/**
 * A factor in a folder: while it is made, so that a factorisation that was killed goes on at the last finished columns, and
 * afterwards, where it is to be kept.
 *
 *     factor.json            of which matrix, how far (written last, atomically: what it says is on the disk)
 *     tiles.f64              the tiles, column by column, as they lie in memory (`assembly/linalg/tiles.ts`)
 *     tiles.f64.crc32c       their checksums
 *     pivots.f64             squares of the factor's diagonal, n doubles
 */
import * as z from "zod";
import { WidefieldError } from "../errors.ts";
import { replaceFile, type Files, type ScratchFile } from "../platform/files.ts";
import { lockFile, type Lock } from "../platform/lock.ts";
import { FileStorage } from "./tile-storage.ts";
import { Tiling } from "./tiling.ts";

/** What tells a matrix from others. */
export interface MatrixIdentity {
  /** The source's; without one, nothing is taken over from an earlier run. */
  readonly identity?: string | undefined;
  /** CRC-32C of its diagonal. */
  readonly diagonal: number;
}

/** What a factor is of. Two runs with the same one compute the same bits. */
export interface FactorKey extends MatrixIdentity {
  readonly n: number;
  readonly tile: number;
  /** Added to the diagonal. */
  readonly shift: number;
  /** The build that computed it: fused products round differently. */
  readonly adapter: string;
}

export interface FactorState {
  readonly finishedColumns: number;
  readonly complete: boolean;
  /** Mean of the matrix's diagonal, before the shift. */
  readonly meanDiagonal: number;
  /** Spent on it by all runs. */
  readonly seconds: number;
}

const FORMAT = "widefield Cholesky factor, version 1";
const STATE = "factor.json";
const TILES = "tiles.f64";
const PIVOTS = "pivots.f64";
const LOCK = ".factor.lock";

const schema = z.object({
  format: z.literal(FORMAT),
  n: z.int().positive(),
  tile: z.int().positive(),
  identity: z.string().optional(),
  diagonal: z.int(),
  shift: z.number(),
  adapter: z.string(),
  finishedColumns: z.int().nonnegative(),
  complete: z.boolean(),
  meanDiagonal: z.number(),
  seconds: z.number(),
});
type Stored = z.infer<typeof schema>;

export interface FolderOptions {
  /** The factor stays there; a folder with another finished one is refused. Otherwise it is overwritten. */
  readonly keep: boolean;
  readonly log?: ((line: string) => void) | undefined;
}

export class FactorFolder {
  readonly storage: FileStorage;
  /** What was found there. */
  readonly state: FactorState | undefined;
  /** Squares of the factor's diagonal, as far as it is finished. */
  readonly pivots: Float64Array<ArrayBuffer>;
  private readonly files: Files;
  private readonly folder: string;
  private readonly key: FactorKey;
  private readonly keep: boolean;
  private readonly pivotFile: ScratchFile;
  private lock: Lock | undefined;
  private savedColumns: number;
  private forgotten = false;

  /**
   * Opens or makes the folder for a factorisation, and locks it. Throws E_MISMATCH (see `keep`), E_LOCKED where another
   * process works on it, E_CORRUPT where its state cannot be read, E_IO.
   */
  static async open(files: Files, folder: string, key: FactorKey, options: FolderOptions): Promise<FactorFolder> {
    await files.makeFolder(folder);
    const lock = await lockFile(files, `${folder}/${LOCK}`, {
      name: "this factor",
      advice: "wait for it, or choose another folder",
    });
    try {
      const state = usable(await readState(files, folder, options.keep), key, folder, options.keep);
      if (state !== undefined && state.finishedColumns > 0 && !state.complete)
        options.log?.(`${folder} holds ${state.finishedColumns} finished columns of tiles: going on from there`);
      // What is not finished must not look so, should this run end before it saves anything.
      if (state === undefined) await files.remove(`${folder}/${STATE}`);
      return new FactorFolder(files, folder, key, {
        keep: options.keep,
        lock,
        state,
        ...(await opened(files, folder, key, state)),
      });
    } catch (thrown) {
      await lock.release();
      throw thrown;
    }
  }

  private constructor(
    files: Files,
    folder: string,
    key: FactorKey,
    found: {
      keep: boolean;
      lock: Lock | undefined;
      state: FactorState | undefined;
      storage: FileStorage;
      pivotFile: ScratchFile;
      pivots: Float64Array<ArrayBuffer>;
    },
  ) {
    this.files = files;
    this.folder = folder;
    this.key = key;
    this.keep = found.keep;
    this.lock = found.lock;
    this.state = found.state;
    this.storage = found.storage;
    this.pivotFile = found.pivotFile;
    this.pivots = found.pivots;
    this.savedColumns = found.state?.finishedColumns ?? 0;
  }

  /** Puts on the disk how far it is; the columns have been written to the storage. */
  async save(state: FactorState): Promise<void> {
    const { n, tile } = this.key;
    await this.storage.sync();
    const [begin, end] = [this.savedColumns * tile, Math.min(n, state.finishedColumns * tile)];
    await this.pivotFile.write(new Uint8Array(this.pivots.buffer, begin * 8, (end - begin) * 8), begin * 8);
    await this.pivotFile.sync();
    const stored: Stored = { format: FORMAT, ...this.key, ...state };
    const bytes = new TextEncoder().encode(`${JSON.stringify(stored, undefined, 2)}\n`);
    await replaceFile(this.files, `${this.folder}/${STATE}`, bytes);
    this.savedColumns = state.finishedColumns;
  }

  /** Removes what has been saved: it led to a pivot that is not positive. The storage can still be read. */
  async forget(): Promise<void> {
    this.forgotten = true;
    await removeFactor(this.files, this.folder);
  }

  /**
   * Ends the work here. A finished factor's tiles can still be read from the storage; one that is not kept has its files
   * removed at once, before anything can go wrong: the system frees them when the storage is closed.
   */
  async end(finished: boolean): Promise<void> {
    const useful = !this.forgotten && (finished ? this.keep : this.key.identity !== undefined);
    await this.pivotFile.close();
    if (!useful) await removeFactor(this.files, this.folder);
    await this.lock?.release();
    this.lock = undefined;
    // A folder that somebody else has put something into stays.
    if (!useful) await this.files.removeFolder(this.folder).catch(() => undefined);
  }
}

async function removeFactor(files: Files, folder: string): Promise<void> {
  for (const name of [STATE, PIVOTS, ...FileStorage.names(TILES)]) await files.remove(`${folder}/${name}`);
}

async function opened(
  files: Files,
  folder: string,
  { n, tile }: Pick<FactorKey, "n" | "tile">,
  state: FactorState | undefined,
): Promise<{ storage: FileStorage; pivotFile: ScratchFile; pivots: Float64Array<ArrayBuffer> }> {
  const finished = state?.finishedColumns ?? 0;
  const storage = await FileStorage.open(files, `${folder}/${TILES}`, new Tiling(n, tile), finished);
  const pivots = new Float64Array(n);
  try {
    const pivotFile = await files.openScratch(`${folder}/${PIVOTS}`);
    try {
      await pivotFile.read(new Uint8Array(pivots.buffer, 0, Math.min(n, finished * tile) * 8), 0);
    } catch (thrown) {
      await pivotFile.close();
      throw thrown;
    }
    return { storage, pivotFile, pivots };
  } catch (thrown) {
    await storage.close();
    throw thrown;
  }
}

/**
 * A finished factor that was kept in a folder. Throws E_DATA where there is none or it is not finished, E_CORRUPT, E_IO.
 */
export async function keptFactor(
  files: Files,
  folder: string,
): Promise<{ key: FactorKey; state: FactorState; storage: FileStorage; pivots: Float64Array<ArrayBuffer> }> {
  const stored = await readState(files, folder, true);
  if (stored?.complete !== true) {
    const why = stored === undefined ? "it has no factor.json" : "the one there is not finished: run its command again";
    throw new WidefieldError("E_DATA", `${folder} holds no Cholesky factor: ${why}`, { details: { folder } });
  }
  const { storage, pivotFile, pivots } = await opened(files, folder, stored, stored);
  await pivotFile.close();
  return { key: stored, state: stored, storage, pivots };
}

/** Of scratch, what cannot be read is as good as nothing. */
async function readState(files: Files, folder: string, keep: boolean): Promise<Stored | undefined> {
  const bytes = await files.read(`${folder}/${STATE}`);
  if (bytes === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    if (!keep) return undefined;
    throw new WidefieldError("E_CORRUPT", `${folder}/${STATE} is damaged: remove the folder and factorise again`, {
      cause,
      details: { folder },
    });
  }
}

/** What a run with this key can go on from. */
function usable(stored: Stored | undefined, key: FactorKey, folder: string, keep: boolean): FactorState | undefined {
  if (stored === undefined) return undefined;
  const names = ["n", "tile", "identity", "diagonal", "shift", "adapter"] as const;
  const differing = names.filter((name) => stored[name] !== key[name]);
  if (differing.length === 0 && key.identity !== undefined) return stored;
  // What is unfinished and not wanted any more: of the same matrix, with another jitter, say.
  if (!keep || !stored.complete) return undefined;
  const why =
    differing.length === 0
      ? "nothing says that it is of the same matrix"
      : differing.map((name) => `${name} ${stored[name] ?? "none"}, not ${key[name] ?? "none"}`).join("; ");
  throw new WidefieldError(
    "E_MISMATCH",
    `${folder} holds the factor of another matrix (${why}): choose another folder, or remove it`,
    { details: { folder, differing } },
  );
}
