/**
 * A tile as bytes: Zarr's codecs `bytes` (little-endian) and `crc32c`. A chunk always has the full tile's size; what
 * sticks out over the matrix's edge holds the fill value. The machine is taken to be little-endian, as WebAssembly is.
 */
import { crc32c } from "../../platform/crc32c.ts";
import { type Grid, type Tile, columnRange, length, rowRange } from "./grid.ts";

const CHECKSUM_BYTES = 4;
/** The fill value by its bits: JavaScript may write any NaN for `NaN`, and equal tiles must be equal bytes. */
const QUIET_NAN = 0x7fc00000;

export function chunkBytes(grid: Grid): number {
  return grid.tile * grid.tile * 4 + CHECKSUM_BYTES;
}

/** The file of a tile below the store's folder (chunk key encoding "default", separator "/"). */
export function chunkKey({ i, j }: Tile): string {
  return `c/${i}/${j}`;
}

/** A value that no kernel can have, by its place in the tile. */
export interface NonFinite {
  readonly row: number;
  readonly column: number;
  readonly value: number;
}

/**
 * Fills `into` (chunkBytes long) with the tile's chunk; `values` is row-major, without padding. On a symmetric matrix's
 * diagonal the lower half is mirrored, whatever the upper one holds. Returns the first value that is not finite, if
 * there is one; then the chunk must not be written.
 */
export function encodeChunk(grid: Grid, tile: Tile, values: Float32Array, into: Uint8Array): NonFinite | undefined {
  const rows = length(rowRange(grid, tile.i));
  const columns = length(columnRange(grid, tile.j));
  const cells = grid.tile * grid.tile;
  if (values.length !== rows * columns) {
    throw new Error(`tile (${tile.i}, ${tile.j}): ${values.length} values for ${rows} x ${columns}`);
  }
  const out = new Float32Array(into.buffer, into.byteOffset, cells);
  if (rows * columns < cells) new Uint32Array(into.buffer, into.byteOffset, cells).fill(QUIET_NAN);
  for (let row = 0; row < rows; row++) out.set(values.subarray(row * columns, (row + 1) * columns), row * grid.tile);
  if (grid.symmetric && tile.i === tile.j) mirrorLower(out, rows, grid.tile);
  const bad = firstNonFinite(out, rows, columns, grid.tile);
  const data = into.subarray(0, cells * 4);
  new DataView(into.buffer, into.byteOffset).setUint32(cells * 4, crc32c(data), true);
  return bad;
}

function mirrorLower(square: Float32Array, size: number, pitch: number): void {
  for (let row = 1; row < size; row++) {
    for (let column = 0; column < row; column++) {
      square[column * pitch + row] = square[row * pitch + column] as number;
    }
  }
}

function firstNonFinite(values: Float32Array, rows: number, columns: number, pitch: number): NonFinite | undefined {
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const value = values[row * pitch + column] as number;
      // x - x is 0 for finite x, NaN for the rest.
      if (value - value !== 0) return { row, column, value };
    }
  }
  return undefined;
}

/** What is wrong with a chunk's bytes, or undefined. */
export function damageOf(grid: Grid, bytes: Uint8Array): string | undefined {
  const expected = chunkBytes(grid);
  if (bytes.length !== expected) return `${bytes.length} bytes instead of ${expected}`;
  const stored = new DataView(bytes.buffer, bytes.byteOffset).getUint32(expected - CHECKSUM_BYTES, true);
  const actual = crc32c(bytes.subarray(0, expected - CHECKSUM_BYTES));
  if (stored === actual) return undefined;
  return `checksum ${hexadecimal(actual)} instead of ${hexadecimal(stored)}`;
}

function hexadecimal(word: number): string {
  return word.toString(16).padStart(8, "0");
}
