/**
 * Filling a tiled triangle (schemas: `sdk/engine/kernels/linalg.ts`; layout: `tiles.ts`): row-major blocks of the
 * matrix, in float32 or float64 and of any place and size, are scattered into the tiles; then the diagonal is set.
 */
import { buffer } from "../dispatch";
import { TileDiagonalParams, TileLoadParams } from "../generated/kernels";
import { entryAt, extent, tileAt } from "./tiles";

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
      let to = tileAt(table, tiles, i, j) + entryAt(row - i * tile, column - j * tile, extent(n, tile, j));
      for (; column < border; column++) {
        store<f64>(to, width == 8 ? load<f64>(from) : <f64>load<f32>(from));
        from += width;
        to += 32;
      }
    }
  }
}

/** Items: fours of rows. The last one also clears the padding left of the diagonal. */
export function tileDiagonal(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TileDiagonalParams>(params);
  const n = <i32>p.n;
  const tile = <i32>p.tile;
  const diagonal = buffer(buffers, 0);
  const table = buffer(buffers, 1);
  const tiles = buffer(buffers, 2);
  for (let row = begin << 2; row < end << 2; row++) {
    const i = row / tile;
    if (row >= n) {
      for (let column = 0; column < row; column++) {
        const j = column / tile;
        const at = entryAt(row - i * tile, column - j * tile, extent(n, tile, j));
        store<f64>(tileAt(table, tiles, i, j) + at, 0);
      }
    }
    const within = row - i * tile;
    const value = row < n ? load<f64>(diagonal + (<usize>row << 3)) : 1;
    store<f64>(tileAt(table, tiles, i, i) + entryAt(within, within, extent(n, tile, i)), value);
  }
}
