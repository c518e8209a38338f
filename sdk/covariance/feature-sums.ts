/**
 * Sums over blocks of features, in float64, and the file in which they survive a stop.
 *
 * A file holds a header, the sums, and a CRC-32C of both; it is written beside its name and renamed, so that it is whole
 * whenever it is there. One that is damaged, or of other sums, counts for nothing: it is computed again.
 *
 *     "widefield sums 1\n" | u32 bytes of the header | header (JSON) | sums, row by row (float64) | u32 CRC-32C
 */
import { crc32c } from "../platform/crc32c.ts";
import { discard, temporaryName, type Files } from "../platform/files.ts";

/** Where sums are kept while they are made. */
export interface Checkpoint {
  readonly files: Files;
  /** A folder, made when there is something to keep. */
  readonly path: string;
  /** Between two writes; default 60. */
  readonly seconds?: number | undefined;
}

export interface Range {
  readonly begin: number;
  readonly end: number;
}

const MAGIC = new TextEncoder().encode("widefield sums 1\n");

export class FeatureSums {
  readonly rows: Range;
  readonly columns: Range;
  /** Blocks that have been added. */
  blocks = 0;
  /** One array a row: arrays of many gigabytes are more than some runtimes give. */
  private readonly sums: readonly Float64Array<ArrayBuffer>[];

  constructor(rows: Range, columns: Range) {
    this.rows = rows;
    this.columns = columns;
    const width = columns.end - columns.begin;
    this.sums = Array.from({ length: rows.end - rows.begin }, () => new Float64Array(width));
  }

  /** Adds a tile, row-major, from (row, column) on. */
  add(tile: Float32Array, row: number, column: number, width: number): void {
    const height = tile.length / width;
    for (let i = 0; i < height; i++) {
      const sums = this.sums[row - this.rows.begin + i];
      if (sums === undefined) throw new Error(`row ${row + i} is not among the sums`);
      const at = column - this.columns.begin;
      for (let j = 0; j < width; j++) sums[at + j] = (sums[at + j] ?? NaN) + (tile[i * width + j] ?? NaN);
    }
  }

  at(row: number, column: number): number {
    return this.sums[row - this.rows.begin]?.[column - this.columns.begin] ?? NaN;
  }

  /** `identity` says what is summed; only sums of the same come back. */
  async save({ files, path }: Checkpoint, identity: string): Promise<void> {
    await files.makeFolder(path);
    const name = fileName(path, this.rows);
    const temporary = temporaryName(name, files.self);
    const file = await files.create(temporary);
    try {
      try {
        let crc = 0;
        for (const bytes of this.pieces(this.header(identity))) {
          crc = crc32c(bytes, crc);
          await file.write(bytes);
        }
        await file.write(word(crc));
        await file.sync();
      } finally {
        await file.close();
      }
      await files.rename(temporary, name);
    } catch (error) {
      await discard(files, temporary);
      throw error;
    }
  }

  /** Takes up what was saved; false where nothing was, or nothing of these sums that is sound. */
  async load({ files, path }: Checkpoint, identity: string): Promise<boolean> {
    const name = fileName(path, this.rows);
    const bytes = await files.size(name);
    const wanted = this.header(identity).length + this.sums.length * (this.columns.end - this.columns.begin) * 8 + 4;
    if (bytes !== wanted) return false;
    const file = await files.open(name);
    try {
      const header = new Uint8Array(this.header(identity).length);
      const crc = new Uint8Array(4);
      await file.read(header, 0);
      await file.read(crc, bytes - 4);
      let [at, sum] = [header.length, crc32c(header)];
      for (const row of this.sums) {
        const into = new Uint8Array(row.buffer);
        await file.read(into, at);
        sum = crc32c(into, sum);
        at += into.length;
      }
      // The number of blocks has a fixed length, so that the header of any state of these sums is as long.
      const text = new TextDecoder().decode(header);
      this.blocks = Number(/"blocks": *(\d+)/.exec(text)?.[1] ?? "0");
      const same = new TextDecoder().decode(this.header(identity)) === text;
      if (same && word(sum).every((byte, i) => byte === crc[i])) return true;
    } finally {
      await file.close();
    }
    this.blocks = 0;
    for (const row of this.sums) row.fill(0);
    return false;
  }

  private header(identity: string): Uint8Array<ArrayBuffer> {
    const { rows, columns } = this;
    const facts = JSON.stringify({ identity, rows: [rows.begin, rows.end], columns: [columns.begin, columns.end] });
    const json = new TextEncoder().encode(`${facts.slice(0, -1)},"blocks":${String(this.blocks).padStart(16)}}`);
    const header = new Uint8Array(MAGIC.length + 4 + json.length);
    header.set(MAGIC);
    header.set(word(json.length), MAGIC.length);
    header.set(json, MAGIC.length + 4);
    return header;
  }

  private *pieces(header: Uint8Array): Generator<Uint8Array> {
    yield header;
    for (const row of this.sums) yield new Uint8Array(row.buffer);
  }
}

function fileName(path: string, rows: Range): string {
  return `${path}/sums-${rows.begin}-${rows.end}.bin`;
}

function word(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** Removes what `save` has left of rows, or with none named the folder and all that is in it. */
export async function removeSums({ files, path }: Checkpoint, rows?: Range): Promise<void> {
  if (rows !== undefined) {
    await files.remove(fileName(path, rows));
    return;
  }
  for (const name of await files.list(path)) if (name.startsWith("sums-")) await files.remove(`${path}/${name}`);
  await files.removeFolder(path);
}
