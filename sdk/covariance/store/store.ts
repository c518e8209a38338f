/**
 * A kernel matrix on disk: a folder that is a Zarr v3 array (Python's `zarr.open` reads it), one chunk a tile,
 * float32, lower triangle only where the matrix is symmetric.
 *
 *     K.zarr/zarr.json     shape, codecs, and the manifest among the attributes
 *     K.zarr/c/i/j         tile (i, j): float32, little-endian, row-major, then its CRC-32C
 *     K.zarr/.shard-...    locks of running jobs
 *
 * Every byte that is read passes its checksum first: zarrita strips a crc32c without looking, so the store that it
 * reads from looks. Every file appears by a rename or a link, whole or not at all.
 */
import * as zarr from "zarrita";
import { WidefieldError } from "../../errors.ts";
import { forEachAtOnce } from "./at-once.ts";
import { type NonFinite, chunkBytes, chunkKey, damageOf, encodeChunk } from "./chunk.ts";
import type { Range } from "../../linalg/range.ts";
import { type Files, createFile, isTemporary, readSettled, replaceFile } from "../../platform/files.ts";
import { type Grid, type Tile, columnRange, isStored, length, rowRange } from "./grid.ts";
import {
  type KernelRequest,
  type KernelSpec,
  type Manifest,
  countOf,
  isLeadingPart,
  manifestOf,
  rangesText,
  requireSameJob,
  requireSameKernel,
} from "./manifest.ts";
import { decodeMetadata, encodeMetadata, gridOf } from "./metadata.ts";

/** What stands on disk for a tile. */
export type TileState =
  | { readonly state: "complete" }
  | { readonly state: "missing" }
  | { readonly state: "damaged"; readonly reason: string };

const READS_AT_ONCE = 4;

export class KernelStore {
  readonly files: Files;
  /** The folder. */
  readonly path: string;
  readonly manifest: Manifest;
  readonly grid: Grid;
  readonly #array: zarr.Array<"float32", zarr.AsyncReadable>;
  readonly #folders = new Map<string, Promise<void>>();

  private constructor(
    files: Files,
    path: string,
    manifest: Manifest,
    array: zarr.Array<"float32", zarr.AsyncReadable>,
  ) {
    this.files = files;
    this.path = path;
    this.manifest = manifest;
    this.grid = gridOf(manifest);
    this.#array = array;
  }

  /**
   * Creates the store, or opens the one that is there already if it holds the same job. Any number of processes may
   * do this at once: one writes the manifest, the others compare theirs with it.
   *
   * Throws E_MISMATCH with a line per difference for another job's store or another folder, E_CORRUPT for a damaged
   * one, E_IO where the file system refuses; the parent folder has to exist.
   */
  static async create(files: Files, path: string, spec: KernelSpec): Promise<KernelStore> {
    const manifest = manifestOf(spec);
    await files.makeFolder(path);
    // In this order: whoever wrote a tile had written the manifest before.
    const names = (await files.list(path)).filter((name) => !name.startsWith(".") && !isTemporary(name));
    if ((await files.size(`${path}/zarr.json`)) === undefined) {
      if (names.includes("c")) throw orphaned(path);
      if (names.length > 0) throw occupied(path, names);
      await createFile(files, `${path}/zarr.json`, await encodeMetadata(manifest));
    }
    const store = await KernelStore.open(files, path);
    requireSameJob(path, store.manifest, manifest);
    return store;
  }

  /** Throws E_DATA where there is no store, E_CORRUPT for a damaged one, E_MISMATCH for something else's. */
  static async open(files: Files, path: string): Promise<KernelStore> {
    const manifest = await readManifest(files, path);
    const location = zarr.root(new CheckedChunks(files, path, gridOf(manifest)));
    const array = await zarr.open.v3(location, { kind: "array" });
    if (!array.is("float32")) throw new Error(`${path}: not float32 behind a checked zarr.json`);
    return new KernelStore(files, path, manifest, array);
  }

  /** The file of a tile. */
  tilePath(tile: Tile): string {
    return `${this.path}/${chunkKey(tile)}`;
  }

  /** Reads a tile's file and checks its length and checksum. */
  async inspectTile(tile: Tile): Promise<TileState> {
    const bytes = await this.files.read(this.tilePath(tile));
    if (bytes === undefined) return { state: "missing" };
    const reason = damageOf(this.grid, bytes);
    return reason === undefined ? { state: "complete" } : { state: "damaged", reason };
  }

  /**
   * The stored values of a tile (kernel * 2^-exponent), row-major, without padding. Throws E_CORRUPT for a damaged
   * tile, E_DATA for one that has not been computed, E_RANGE for one that is not stored.
   */
  async readTile(tile: Tile): Promise<Float32Array> {
    const padded = await this.#readPadded(tile);
    const rows = length(rowRange(this.grid, tile.i));
    const columns = length(columnRange(this.grid, tile.j));
    if (columns === this.grid.tile) return padded.subarray(0, rows * columns);
    const values = new Float32Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      const at = row * this.grid.tile;
      values.set(padded.subarray(at, at + columns), row * columns);
    }
    return values;
  }

  async #readPadded(tile: Tile): Promise<Float32Array> {
    if (!isStored(this.grid, tile)) {
      throw new WidefieldError("E_RANGE", `${this.path} stores no tile (${tile.i}, ${tile.j})`);
    }
    return (await this.#array.getChunk([tile.i, tile.j])).data;
  }

  /**
   * Writes a tile: values row-major, without padding. `buffer`, of `chunkBytes(grid)`, is reused if given. Throws
   * E_OVERFLOW for a value that is not finite; whatever fails, the tile's old file stays and nothing is left behind.
   */
  async writeTile(tile: Tile, values: Float32Array, buffer = new Uint8Array(chunkBytes(this.grid))): Promise<void> {
    const bad = encodeChunk(this.grid, tile, values, buffer);
    if (bad !== undefined) throw this.#overflow(tile, bad);
    await this.#folder(`${this.path}/c`);
    await this.#folder(`${this.path}/c/${tile.i}`);
    await replaceFile(this.files, this.tilePath(tile), buffer);
  }

  #folder(path: string): Promise<void> {
    const known = this.#folders.get(path);
    if (known !== undefined) return known;
    const made = this.files.makeFolder(path);
    this.#folders.set(path, made);
    made.catch(() => this.#folders.delete(path));
    return made;
  }

  #overflow(tile: Tile, bad: NonFinite): WidefieldError {
    const row = rowRange(this.grid, tile.i).begin + bad.row;
    const column = columnRange(this.grid, tile.j).begin + bad.column;
    return new WidefieldError(
      "E_OVERFLOW",
      `${this.path}: the kernel of row ${row} and column ${column} is ${bad.value}; it leaves float32's range, or its ` +
        `images hold values that are not finite`,
      { details: { path: this.path, row, column } },
    );
  }

  /**
   * A block of the matrix, row-major, assembled from the tiles it touches (each is read once); of a symmetric matrix
   * the upper triangle is mirrored. "f32": the stored values, kernel * 2^-exponent. "f64": the kernel itself.
   *
   * Throws what `readTile` throws, E_RANGE outside of the matrix, E_OVERFLOW where 2^exponent leaves float64's range.
   */
  readBlock(rows: Range, columns: Range, precision?: "f32"): Promise<Float32Array<ArrayBuffer>>;
  readBlock(rows: Range, columns: Range, precision: "f64"): Promise<Float64Array<ArrayBuffer>>;
  async readBlock(
    rows: Range,
    columns: Range,
    precision: "f32" | "f64" = "f32",
  ): Promise<Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>> {
    requireRange(this.path, "rows", rows, this.grid.rows);
    requireRange(this.path, "columns", columns, this.grid.columns);
    const cells = length(rows) * length(columns);
    const block = precision === "f32" ? new Float32Array(cells) : new Float64Array(cells);
    const tiles = this.#tilesOf(rows, columns);
    await forEachAtOnce(tiles, READS_AT_ONCE, async (tile) => {
      const values = await this.#readPadded(tile);
      this.#copy(tile, values, false, block, rows, columns);
      if (this.grid.symmetric && tile.i !== tile.j) this.#copy(tile, values, true, block, rows, columns);
    });
    if (block instanceof Float64Array) scale(block, this.manifest.exponent, this.path);
    return block;
  }

  /** The stored tiles that a block touches, each once. */
  #tilesOf(rows: Range, columns: Range): Tile[] {
    const tiles = new Map<string, Tile>();
    const { tile: size } = this.grid;
    for (let i = Math.floor(rows.begin / size); i * size < rows.end; i++) {
      for (let j = Math.floor(columns.begin / size); j * size < columns.end; j++) {
        const tile = this.grid.symmetric && j > i ? { i: j, j: i } : { i, j };
        tiles.set(chunkKey(tile), tile);
      }
    }
    return [...tiles.values()];
  }

  /** Copies the part of a tile, or of its mirror image, that lies in the block. */
  #copy(
    tile: Tile,
    values: Float32Array,
    mirror: boolean,
    block: Float32Array | Float64Array,
    rows: Range,
    columns: Range,
  ): void {
    const { tile: pitch } = this.grid;
    const tileRows = mirror ? columnRange(this.grid, tile.j) : rowRange(this.grid, tile.i);
    const tileColumns = mirror ? rowRange(this.grid, tile.i) : columnRange(this.grid, tile.j);
    const [rowBegin, rowEnd] = [Math.max(rows.begin, tileRows.begin), Math.min(rows.end, tileRows.end)];
    const [begin, end] = [Math.max(columns.begin, tileColumns.begin), Math.min(columns.end, tileColumns.end)];
    if (begin >= end) return;
    const [rowStep, columnStep] = mirror ? [1, pitch] : [pitch, 1];
    for (let row = rowBegin; row < rowEnd; row++) {
      const from = (row - tileRows.begin) * rowStep + (begin - tileColumns.begin) * columnStep;
      const to = (row - rows.begin) * length(columns) + begin - columns.begin;
      if (!mirror) block.set(values.subarray(from, from + end - begin), to);
      else for (let k = 0; k < end - begin; k++) block[to + k] = values[from + k * columnStep] as number;
    }
  }

  /**
   * How many of the first rows and columns are the ones asked for: a store of N images serves its first n, however it
   * was cut and wherever it was computed. Throws E_MISMATCH, line by line, for another kernel, or where the indices are
   * not the leading ones. What is left out of `asked` is not compared (an imported matrix knows no architecture).
   */
  leadingPart(asked: KernelRequest): { readonly rows: number; readonly columns: number } {
    requireSameKernel(this.path, this.manifest, asked);
    for (const name of ["rows", "columns"] as const) {
      if (isLeadingPart(asked[name], this.manifest[name])) continue;
      throw new WidefieldError(
        "E_MISMATCH",
        `${this.path} holds the ${name} ${rangesText(this.manifest[name])}; ${rangesText(asked[name])} is not a leading ` +
          `part of them`,
        { details: { path: this.path } },
      );
    }
    return { rows: countOf(asked.rows), columns: countOf(asked.columns) };
  }
}

/** The plain folder as zarrita reads it, but for chunks that are missing or damaged: those throw. */
class CheckedChunks implements zarr.AsyncReadable {
  readonly #files: Files;
  readonly #path: string;
  readonly #grid: Grid;

  constructor(files: Files, path: string, grid: Grid) {
    this.#files = files;
    this.#path = path;
    this.#grid = grid;
  }

  async get(key: `/${string}`): Promise<Uint8Array | undefined> {
    const file = `${this.#path}${key}`;
    const bytes = await this.#files.read(file);
    const place = /^\/c\/(\d+)\/(\d+)$/.exec(key);
    if (place === null) return bytes;
    const tile = `tile (${place[1] ?? ""}, ${place[2] ?? ""})`;
    if (bytes === undefined) {
      throw new WidefieldError(
        "E_DATA",
        `${this.#path} is not complete: ${tile} is missing (${file}); run the job that makes it again, it resumes`,
        { details: { path: file } },
      );
    }
    const reason = damageOf(this.#grid, bytes);
    if (reason === undefined) return bytes;
    throw new WidefieldError(
      "E_CORRUPT",
      `${file}: ${tile} is damaged (${reason}); run the job that makes it again, it computes damaged tiles anew`,
      { details: { path: file, reason } },
    );
  }
}

async function readManifest(files: Files, path: string): Promise<Manifest> {
  const bytes = await readSettled(files, `${path}/zarr.json`);
  if (bytes === undefined) {
    throw new WidefieldError("E_DATA", `${path} is not a kernel store: it has no zarr.json; check the path`, {
      details: { path },
    });
  }
  return decodeMetadata(path, bytes);
}

function orphaned(path: string): WidefieldError {
  return new WidefieldError(
    "E_CORRUPT",
    `${path} holds tiles but no zarr.json, so nothing says what they are; restore zarr.json, or remove the folder`,
    { details: { path } },
  );
}

function occupied(path: string, names: readonly string[]): WidefieldError {
  return new WidefieldError(
    "E_MISMATCH",
    `${path} is a folder with other things in it (${names.slice(0, 3).join(", ")}); choose a new name for the store`,
    { details: { path } },
  );
}

function requireRange(path: string, name: string, range: Range, count: number): void {
  const { begin, end } = range;
  if (Number.isInteger(begin) && Number.isInteger(end) && begin >= 0 && begin <= end && end <= count) return;
  throw new WidefieldError("E_RANGE", `${path} has ${name} 0:${count}; ${begin}:${end} is outside`, {
    details: { path },
  });
}

/** Multiplies by 2^exponent in two exact steps: 2^1100 itself is not a float64, a small value times it may be. */
function scale(values: Float64Array, exponent: number, path: string): void {
  if (exponent === 0) return;
  const half = Math.trunc(exponent / 2);
  const [first, second] = [2 ** half, 2 ** (exponent - half)];
  for (let at = 0; at < values.length; at++) {
    const value = (values[at] as number) * first * second;
    if (value - value !== 0) {
      throw new WidefieldError(
        "E_OVERFLOW",
        `${path}: ${values[at] as number} * 2^${exponent} leaves float64's range; use the stored values and the exponent`,
        { details: { path } },
      );
    }
    values[at] = value;
  }
}
