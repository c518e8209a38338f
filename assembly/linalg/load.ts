/**
 * Filling a tiled triangle (schemas: `sdk/engine/kernels/linalg.ts`; layout: `tiles.ts`): row-major blocks of the
 * matrix, in float32 or float64 and of any place and size, are scattered into the tiles; then the diagonal is set.
 */
import { buffer } from "../dispatch";
import { TileDiagonalParams, TileLoadParams } from "../generated/kernels";
import { entryAt, extent, paddedRows, tileAt } from "./tiles";

/** Items: rows of the block. */
export function tileLoad(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TileLoadParams>(params);
  const n = <i32>p.n;
  const tile = <i32>p.tile;
  const width: usize = p.wide ? 8 : 4;
  const table = buffer(buffers, 1);
  const tiles = buffer(buffers, 2);
  for (let item = begin; item < end; item++) {
    const row = <i32>p.row + item;
    const i = row / tile;
    const last = min(<i32>(p.column + p.columns), row + 1);
    let from = buffer(buffers, 0) + <usize>item * <usize>p.columns * width;
    let column = <i32>p.column;
    while (column < last) {
      const j = column / tile;
      const border = min(last, (j + 1) * tile);
      let to = tileAt(table, tiles, tile, i, j) + entryAt(row - i * tile, column - j * tile, extent(n, tile, j));
      for (; column < border; column++) {
        store<f64>(to, width == 8 ? load<f64>(from) : <f64>load<f32>(from));
        from += width;
        to += 32;
      }
    }
  }
}

/** Items: fours of rows from p.begin on. The first one also clears the padding below these columns. */
export function tileDiagonal(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TileDiagonalParams>(params);
  const n = <i32>p.n;
  const tile = <i32>p.tile;
  const diagonal = buffer(buffers, 0);
  const table = buffer(buffers, 1);
  const tiles = buffer(buffers, 2);
  if (begin == 0) clearPadding(n, tile, <i32>p.begin, min(<i32>p.end, n), table, tiles);
  const last = min(<i32>p.begin + (end << 2), <i32>p.end);
  for (let row = <i32>p.begin + (begin << 2); row < last; row++) {
    const i = row / tile;
    const within = row - i * tile;
    const value = row < n ? load<f64>(diagonal + (<usize>row << 3)) : 1;
    store<f64>(tileAt(table, tiles, tile, i, i) + entryAt(within, within, extent(n, tile, i)), value);
    // Of padding rows, the entries between the matrix and the diagonal.
    for (let column = n; column < row; column++) {
      store<f64>(tileAt(table, tiles, tile, i, i) + entryAt(within, column - i * tile, extent(n, tile, i)), 0);
    }
  }
}

/** The rows behind n, in the columns [begin, end) before it. */
function clearPadding(n: i32, tile: i32, begin: i32, end: i32, table: usize, tiles: usize): void {
  for (let row = n; row < paddedRows(n); row++) {
    const i = row / tile;
    for (let column = begin; column < end; column++) {
      const j = column / tile;
      const at = entryAt(row - i * tile, column - j * tile, extent(n, tile, j));
      store<f64>(tileAt(table, tiles, tile, i, j) + at, 0);
    }
  }
}
