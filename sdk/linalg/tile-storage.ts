/**
 * Where tiles of a triangle are that the engine's memory does not hold: in ordinary buffers, or in a file. Both keep them
 * column by column, as `Tiling` says; whole runs of a column go in and out.
 *
 * In the file every tile has a checksum (CRC-32C, in a second file), which is verified whenever it is read: a solution
 * computed from a damaged factor would look like any other.
 */
import { WidefieldError } from "../errors.ts";
import { crc32c } from "../platform/crc32c.ts";
import type { Files, ScratchFile } from "../platform/files.ts";
import type { Range } from "./range.ts";
import type { Tiling } from "./tiling.ts";

export interface TileStorage {
  readonly tiling: Tiling;
  /** Hands out the tiles (i, j), i in `rows`, one after the other; the bytes are valid during the call only. */
  read(j: number, rows: Range, take: (i: number, bytes: Uint8Array) => void): Promise<void>;
  /** Takes the tiles (i, j), i in `rows`, from the views that `give` returns. */
  write(j: number, rows: Range, give: (i: number) => Uint8Array): Promise<void>;
  /** Releases what it holds; the file stays. Idempotent. */
  close(): Promise<void>;
}

/** Tiles of one column that go through a buffer at once: about 4 MiB. */
const RUN_BYTES = 4 * 2 ** 20;

/** In ordinary memory, which other than WebAssembly's may be larger than 4 GiB. */
export class BufferStorage implements TileStorage {
  readonly tiling: Tiling;
  private readonly columns = new Map<number, Uint8Array>();

  constructor(tiling: Tiling) {
    this.tiling = tiling;
  }

  async read(j: number, rows: Range, take: (i: number, bytes: Uint8Array) => void): Promise<void> {
    const column = this.columns.get(j);
    if (column === undefined) throw new Error(`column ${j} of tiles was never written`);
    for (let i = rows.begin; i < rows.end; i++) take(i, this.tileOf(column, i, j));
  }

  async write(j: number, rows: Range, give: (i: number) => Uint8Array): Promise<void> {
    const { tiling } = this;
    const column = this.columns.get(j) ?? allocate(tiling.columnBytes(j, { begin: 0, end: tiling.blocks }));
    this.columns.set(j, column);
    for (let i = rows.begin; i < rows.end; i++) this.tileOf(column, i, j).set(give(i));
  }

  async close(): Promise<void> {
    this.columns.clear();
  }

  private tileOf(column: Uint8Array, i: number, j: number): Uint8Array {
    const begin = this.tiling.offset(i, j) - this.tiling.offset(j, j);
    return column.subarray(begin, begin + this.tiling.tileBytes(i, j));
  }
}

function allocate(bytes: number): Uint8Array {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new WidefieldError(
      "E_MEMORY",
      `the machine has no memory left for ${Math.ceil(bytes / 2 ** 20)} MiB more of a factor: give a smaller memory ` +
        `budget, so that it goes to scratch files instead`,
      { cause },
    );
  }
}

/** In a file, with a second one for the checksums. */
export class FileStorage implements TileStorage {
  readonly tiling: Tiling;
  private readonly path: string;
  private readonly data: ScratchFile;
  private readonly sums: ScratchFile;
  private readonly checksums: Uint32Array<ArrayBuffer>;
  private closed: Promise<void> | undefined;

  private constructor(tiling: Tiling, path: string, data: ScratchFile, sums: ScratchFile) {
    this.tiling = tiling;
    this.path = path;
    this.data = data;
    this.sums = sums;
    this.checksums = new Uint32Array(tiling.tiles);
  }

  /** Names of the files that stand for `path`. */
  static names(path: string): [string, string] {
    return [path, `${path}.crc32c`];
  }

  /**
   * Opens the files, or makes them; the checksums of the columns before `finished` are read. Throws E_CORRUPT where the
   * files do not hold those columns, E_IO.
   */
  static async open(files: Files, path: string, tiling: Tiling, finished: number): Promise<FileStorage> {
    const [data, sums] = FileStorage.names(path);
    const known = finished >= tiling.blocks ? tiling.tiles : tiling.number(finished, finished);
    await requireBytes(files, data, tiling.bytes({ begin: 0, end: finished }));
    await requireBytes(files, sums, known * 4);
    const dataFile = await files.openScratch(data);
    try {
      const sumsFile = await files.openScratch(sums);
      const storage = new FileStorage(tiling, path, dataFile, sumsFile);
      try {
        await sumsFile.read(new Uint8Array(storage.checksums.buffer, 0, known * 4), 0);
        return storage;
      } catch (thrown) {
        await sumsFile.close();
        throw thrown;
      }
    } catch (thrown) {
      await dataFile.close();
      throw thrown;
    }
  }

  async read(j: number, rows: Range, take: (i: number, bytes: Uint8Array) => void): Promise<void> {
    for (const run of this.runs(j, rows)) {
      const buffer = new Uint8Array(this.runBytes(j, run));
      await this.data.read(buffer, this.tiling.offset(run.begin, j));
      this.eachTile(j, run, buffer, (i, bytes) => {
        const [stored, actual] = [this.checksums[this.tiling.number(i, j)], crc32c(bytes)];
        if (stored !== actual) {
          throw new WidefieldError(
            "E_CORRUPT",
            `tile (${i}, ${j}) of the factor in ${this.path} is not what was written (its CRC-32C is ${hex(actual)} and ` +
              `should be ${hex(stored)}): remove the folder and factorise again`,
            { details: { path: this.path, i, j } },
          );
        }
        take(i, bytes);
      });
    }
  }

  async write(j: number, rows: Range, give: (i: number) => Uint8Array): Promise<void> {
    for (const run of this.runs(j, rows)) {
      const buffer = new Uint8Array(this.runBytes(j, run));
      this.eachTile(j, run, buffer, (i, bytes) => {
        bytes.set(give(i));
        this.checksums[this.tiling.number(i, j)] = crc32c(bytes);
      });
      await this.data.write(buffer, this.tiling.offset(run.begin, j));
    }
    const first = this.tiling.number(rows.begin, j) * 4;
    const sums = new Uint8Array(this.checksums.buffer, first, (rows.end - rows.begin) * 4);
    await this.sums.write(sums, first);
  }

  /** Returns when everything written would survive a power cut. */
  async sync(): Promise<void> {
    await this.data.sync();
    await this.sums.sync();
  }

  close(): Promise<void> {
    this.closed ??= Promise.all([this.data.close(), this.sums.close()]).then(() => undefined);
    return this.closed;
  }

  private *runs(j: number, { begin, end }: Range): Generator<Range> {
    const most = Math.max(1, Math.floor(RUN_BYTES / this.tiling.tileBytes(j, j)));
    for (let i = begin; i < end; i += most) yield { begin: i, end: Math.min(end, i + most) };
  }

  private runBytes(j: number, run: Range): number {
    return this.tiling.columnBytes(j, run);
  }

  private eachTile(j: number, run: Range, buffer: Uint8Array, use: (i: number, bytes: Uint8Array) => void): void {
    let at = 0;
    for (let i = run.begin; i < run.end; i++) {
      const bytes = this.tiling.tileBytes(i, j);
      use(i, buffer.subarray(at, at + bytes));
      at += bytes;
    }
  }
}

/** Throws E_CORRUPT for a file that is shorter, or not there. */
export async function requireBytes(files: Files, path: string, neededBytes: number): Promise<void> {
  if (neededBytes === 0) return;
  const bytes = await files.size(path);
  if (bytes !== undefined && bytes >= neededBytes) return;
  const what = bytes === undefined ? "is missing" : `has ${bytes} bytes, not the ${neededBytes} that were written`;
  throw new WidefieldError("E_CORRUPT", `${path} ${what}: remove the folder and factorise again`, {
    details: { path, bytes, neededBytes },
  });
}

function hex(crc: number | undefined): string {
  return (crc ?? 0).toString(16).padStart(8, "0");
}
