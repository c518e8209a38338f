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
import { crc32c } from "../platform/crc32c.ts";
import { isAbandoned, replaceFile, type Files, type ScratchFile } from "../platform/files.ts";
import { lockFile, type Lock } from "../platform/lock.ts";
import { mib } from "./plan.ts";
import { FileStorage, requireBytes } from "./tile-storage.ts";
import { Tiling } from "./tiling.ts";

/** What tells a matrix, and the arithmetic that factorises it, from others. */
export interface FactorIdentity {
  /** The source's; without one, nothing is taken over from an earlier run. */
  readonly identity?: string | undefined;
  /** CRC-32C of its diagonal. */
  readonly diagonal: number;
  /** Of the build that computes: fused products round differently. */
  readonly arithmetic: string;
}

/** What a factor is of. Two runs with the same one compute the same bits. */
export interface FactorKey extends FactorIdentity {
  readonly n: number;
  readonly tile: number;
  /** Added to the diagonal. */
  readonly shift: number;
  /** Smaller ones have been tried before this one, and failed: another search need not begin anew. Tells nothing apart. */
  readonly searched?: boolean | undefined;
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
  searched: z.boolean().optional(),
  arithmetic: z.string(),
  finishedColumns: z.int().nonnegative(),
  complete: z.boolean(),
  meanDiagonal: z.number(),
  seconds: z.number(),
  /** Whether the folder is to go with the factor: it was made for it. */
  made: z.boolean(),
  /** CRC-32C of the finished pivots. */
  pivots: z.int(),
});
type Stored = z.infer<typeof schema>;

export interface FolderOptions {
  /** The factor stays there. A folder in which another one was kept is refused in any case. */
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
  /** CRC-32C of the pivots of the saved columns. */
  private pivotSum: number;
  private forgotten = false;
  /** The folder was not there before the factor. */
  private readonly made: boolean;

  /**
   * Opens or makes the folder for a factorisation, and locks it. Throws E_MISMATCH (another factor was kept there), E_LOCKED where another
   * process works on it, E_CORRUPT for a damaged one, E_IO, also where the disk has no room for all of the factor.
   */
  static async open(files: Files, folder: string, key: FactorKey, options: FolderOptions): Promise<FactorFolder> {
    const existed = (await files.size(folder)) !== undefined;
    await files.makeFolder(folder);
    try {
      const lock = await lockFile(files, `${folder}/${LOCK}`, {
        name: "this factor",
        advice: "wait for it, or choose another folder",
      });
      try {
        return await FactorFolder.openLocked(files, folder, key, lock, existed, options);
      } catch (thrown) {
        await lock.release();
        throw thrown;
      }
    } catch (thrown) {
      if (!existed) await removeIfEmpty(files, folder);
      throw thrown;
    }
  }

  private static async openLocked(
    files: Files,
    folder: string,
    key: FactorKey,
    lock: Lock,
    existed: boolean,
    { keep, log }: FolderOptions,
  ): Promise<FactorFolder> {
    // A process that is killed while it writes its state or its lock leaves a temporary file.
    for (const name of await files.list(folder))
      if (await isAbandoned(files, name)) await files.remove(`${folder}/${name}`);
    const found = await readState(files, folder, keep);
    const made = found?.made ?? !existed;
    const state = usable(found, key, folder);
    if (state !== undefined && state.finishedColumns > 0 && !state.complete)
      log?.(`${folder} holds ${state.finishedColumns} finished columns of tiles: going on from there`);
    // Removed, not written over: a factor that is being read from these files, unlinked by now, must not change.
    if (state === undefined) await removeFactor(files, folder);
    if (state?.complete !== true) await requireRoom(files, folder, key);
    try {
      return new FactorFolder(files, folder, key, {
        keep,
        lock,
        state,
        made,
        ...(await opened(files, folder, key, state)),
      });
    } catch (thrown) {
      if (state === undefined) await removeFactor(files, folder).catch(() => undefined);
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
      state: Stored | undefined;
      made: boolean;
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
    this.made = found.made;
    this.storage = found.storage;
    this.pivotFile = found.pivotFile;
    this.pivots = found.pivots;
    this.savedColumns = found.state?.finishedColumns ?? 0;
    this.pivotSum = found.state?.pivots ?? 0;
  }

  /** Puts on the disk how far it is, where anybody will ask; the columns have been written to the storage. */
  async save(state: FactorState): Promise<void> {
    if (state.complete ? !this.keep : this.key.identity === undefined) return;
    const { n, tile } = this.key;
    await this.storage.sync();
    const [begin, end] = [this.savedColumns * tile, Math.min(n, state.finishedColumns * tile)];
    const pivots = new Uint8Array(this.pivots.buffer, begin * 8, (end - begin) * 8);
    await this.pivotFile.write(pivots, begin * 8);
    await this.pivotFile.sync();
    const pivotSum = crc32c(pivots, this.pivotSum);
    const stored: Stored = { format: FORMAT, ...this.key, ...state, made: this.made, pivots: pivotSum };
    await replaceFile(this.files, `${this.folder}/${STATE}`, encodeState(stored));
    this.savedColumns = state.finishedColumns;
    this.pivotSum = pivotSum;
  }

  /** Removes what has been saved: it led to a pivot that is not positive. The storage can still be read. */
  async forget(): Promise<void> {
    this.forgotten = true;
    await removeFactor(this.files, this.folder);
  }

  /**
   * Ends the work here. A finished factor's tiles can still be read from the storage; one that is not kept has its files
   * removed at once, before anything can go wrong: the system frees them when the storage is closed. One that was found
   * finished stays: somebody kept it.
   */
  async end(finished: boolean): Promise<void> {
    const kept = this.keep || this.state?.complete === true;
    const useful = !this.forgotten && (finished ? kept : this.savedColumns > 0);
    try {
      await this.pivotFile.close();
      if (!useful) await removeFactor(this.files, this.folder);
    } finally {
      await this.lock?.release();
      this.lock = undefined;
    }
    if (!useful && this.made) await removeIfEmpty(this.files, this.folder);
  }
}

/** A folder that somebody has put something into stays. */
async function removeIfEmpty(files: Files, folder: string): Promise<void> {
  await files.removeFolder(folder).catch(() => undefined);
}

/** Throws E_IO where the disk will be full before the factor is finished. */
async function requireRoom(files: Files, folder: string, { n, tile }: FactorKey): Promise<void> {
  const bytes = new Tiling(n, tile).totalBytes;
  const missing = Math.max(0, bytes - ((await files.size(`${folder}/${TILES}`)) ?? 0));
  const free = await files.freeBytes(folder);
  if (free === undefined || free >= missing) return;
  throw new WidefieldError(
    "E_IO",
    `the disk of ${folder} has ${mib(free)} left, and the factor of a ${n} x ${n} matrix needs ${mib(missing)} more: ` +
      `free some space, or choose another folder`,
    { details: { folder, freeBytes: free, neededBytes: missing } },
  );
}

async function removeFactor(files: Files, folder: string): Promise<void> {
  for (const name of [STATE, PIVOTS, ...FileStorage.names(TILES)]) await files.remove(`${folder}/${name}`);
}

async function opened(
  files: Files,
  folder: string,
  { n, tile }: Pick<FactorKey, "n" | "tile">,
  state: Stored | undefined,
): Promise<{ storage: FileStorage; pivotFile: ScratchFile; pivots: Float64Array<ArrayBuffer> }> {
  const finished = state?.finishedColumns ?? 0;
  const storage = await FileStorage.open(files, `${folder}/${TILES}`, new Tiling(n, tile), finished);
  const pivots = new Float64Array(n);
  try {
    const path = `${folder}/${PIVOTS}`;
    const known = new Uint8Array(pivots.buffer, 0, Math.min(n, finished * tile) * 8);
    if (state !== undefined) await requireBytes(files, path, known.length);
    const pivotFile = await files.openScratch(path);
    try {
      await pivotFile.read(known, 0);
      if (state !== undefined && crc32c(known) !== state.pivots) {
        throw new WidefieldError(
          "E_CORRUPT",
          `${path} is not what was written (its CRC-32C is wrong): remove the folder and factorise again`,
          { details: { path } },
        );
      }
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

/** With a checksum of its own: one wrong digit of the shift would look like any other number. */
function encodeState(stored: Stored): Uint8Array {
  const content = { ...stored, checksum: crc32c(new TextEncoder().encode(JSON.stringify(stored))) };
  return new TextEncoder().encode(`${JSON.stringify(content, undefined, 2)}\n`);
}

function decodeState(bytes: Uint8Array): Stored {
  const { checksum, ...stored } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  if (crc32c(new TextEncoder().encode(JSON.stringify(stored))) !== checksum) throw new Error("its CRC-32C is wrong");
  return schema.parse(stored);
}

/**
 * The shift that a search for the jitter of this matrix came to, in a run that was killed or that kept its factor; all
 * smaller ones had failed.
 */
export async function searchedShift(
  files: Files,
  folder: string,
  key: Omit<FactorKey, "shift">,
): Promise<number | undefined> {
  const stored = await readState(files, folder, false);
  if (stored?.searched !== true || key.identity === undefined) return undefined;
  return differences(stored, { ...key, shift: stored.shift }).length === 0 ? stored.shift : undefined;
}

/** Of scratch, what cannot be read is as good as nothing. */
async function readState(files: Files, folder: string, keep: boolean): Promise<Stored | undefined> {
  const bytes = await files.read(`${folder}/${STATE}`);
  if (bytes === undefined) return undefined;
  try {
    return decodeState(bytes);
  } catch (cause) {
    if (!keep) return undefined;
    throw new WidefieldError("E_CORRUPT", `${folder}/${STATE} is damaged: remove the folder and factorise again`, {
      cause,
      details: { folder },
    });
  }
}

/** What a run with this key can go on from. */
function usable(stored: Stored | undefined, key: FactorKey, folder: string): Stored | undefined {
  if (stored === undefined) return undefined;
  const differing = differences(stored, key);
  if (differing.length === 0 && key.identity !== undefined) return stored;
  // What is unfinished and not wanted any more: of the same matrix, with another jitter, say. Finished ones were kept.
  if (!stored.complete) return undefined;
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

function differences(
  stored: Stored,
  key: FactorKey,
): ("n" | "tile" | "identity" | "diagonal" | "shift" | "arithmetic")[] {
  const names = ["n", "tile", "identity", "diagonal", "shift", "arithmetic"] as const;
  return names.filter((name) => stored[name] !== key[name]);
}
