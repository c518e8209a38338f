/**
 * Cholesky factorisation A = L L' of a tiled lower triangle, in place, right-looking (schemas:
 * `sdk/engine/kernels/linalg.ts`; layout: `tiles.ts`). For each step k:
 *
 *     diagonal   L(k,k) = potrf(A(k,k))                                    one item
 *     panel      L(i,k) = A(i,k) L(k,k)^-T                   i > k         items: 32 rows
 *     update     A(i,j) -= L(i,k) L(j,k)'                    i >= j > k    items: tiles
 *
 * The update's first tile is the next diagonal tile, factorised by the same item while other threads update the rest.
 * Each entry's sum runs over the tiles k in order, inside a tile over the columns in order: results depend on the tile
 * size and not on the threads. Cost: n^3 / 3 multiplications and additions, of which all but the 4 x 4 blocks on
 * tiles' diagonals go through the micro-kernel.
 */
import { buffer } from "../dispatch";
import { CholeskyDiagonalParams, CholeskyPanelParams, CholeskyUpdateParams } from "../generated/kernels";
import { micro64 } from "../gemm/micro64";
import { invertDiagonal, solveFour, solveStrip, updateStrip } from "./strips";
import { extent, stepAt, stripAt, tileAt, tileCount } from "./tiles";

/** The same number as in the schema. */
const PANEL_ITEM_ROWS: i32 = 32;

export function choleskyDiagonal(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<CholeskyDiagonalParams>(params);
  if (failed(buffer(buffers, 3))) return;
  factorDiagonal(<i32>p.n, <i32>p.tile, <i32>p.step, buffers, scratch);
}

export function choleskyPanel(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<CholeskyPanelParams>(params);
  if (failed(buffer(buffers, 2))) return;
  const n = <i32>p.n;
  const tile = <i32>p.tile;
  const k = <i32>p.step;
  const table = buffer(buffers, 0);
  const tiles = buffer(buffers, 1);
  const l = tileAt(table, tiles, k, k);
  invertDiagonal(l, tile, scratch);
  const first = (k + 1) * tile;
  const last = min(first + end * PANEL_ITEM_ROWS, n);
  for (let row = first + begin * PANEL_ITEM_ROWS; row < last; row += 4) {
    const i = row / tile;
    solveStrip(l, scratch, tile, tileAt(table, tiles, i, k) + stripAt(row - i * tile, tile));
  }
}

export function choleskyUpdate(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<CholeskyUpdateParams>(params);
  if (failed(buffer(buffers, 3))) return;
  const n = <i32>p.n;
  const tile = <i32>p.tile;
  const k = <i32>p.step;
  for (let item = begin; item < end; item++) {
    // Items run down the columns of the trailing triangle, so that neighbours share L(j,k).
    let j = k + 1;
    let below = tileCount(n, tile) - j;
    let index = item;
    while (index >= below) {
      index -= below--;
      j++;
    }
    updateTile(n, tile, k, j + index, j, buffers);
    if (item == 0) factorDiagonal(n, tile, k + 1, buffers, scratch);
  }
}

function updateTile(n: i32, tile: i32, k: i32, i: i32, j: i32, buffers: usize): void {
  const table = buffer(buffers, 0);
  const tiles = buffer(buffers, 1);
  const rows = extent(n, tile, i);
  const columns = extent(n, tile, j);
  const left = tileAt(table, tiles, i, k);
  const right = tileAt(table, tiles, j, k);
  const to = tileAt(table, tiles, i, j);
  for (let row = 0; row < rows; row += 4) {
    const wanted = i == j ? row + 4 : columns;
    updateStrip(left + stripAt(row, tile), right, to + stripAt(row, columns), wanted, tile);
  }
}

/** Left-looking inside the tile: columns of 4, each brought up to date by the micro-kernel and then solved. */
function factorDiagonal(n: i32, tile: i32, k: i32, buffers: usize, inverse: usize): void {
  const l = tileAt(buffer(buffers, 0), buffer(buffers, 1), k, k);
  const rows = extent(n, tile, k);
  for (let column = 0; column < rows; column += 4) {
    const strip = l + stripAt(column, rows);
    for (let row = column; row < rows; row += 4) {
      const v = l + stripAt(row, rows);
      micro64(column, v, strip, v + stepAt(column));
    }
    const block = strip + stepAt(column);
    const first = k * tile + column;
    const done = factorFour(block, buffer(buffers, 2) + (<usize>first << 3));
    if (done < 4) {
      const status = buffer(buffers, 3);
      store<u32>(status, <u32>(first + done), 4);
      store<u32>(status, 1);
      return;
    }
    for (let c: usize = 0; c < 4; c++) store<f64>(inverse + (c << 3), 1 / load<f64>(block + c * 40));
    for (let row = column + 4; row < rows; row += 4) {
      solveFour(l + stripAt(row, rows) + stepAt(column), block, inverse);
    }
  }
}

/** Factorises a 4 x 4 block ([column][row]). Returns how many pivots were positive and finite. */
function factorFour(block: usize, pivots: usize): i32 {
  for (let c = 0; c < 4; c++) {
    const column = block + stepAt(c);
    for (let p = 0; p < c; p++) {
      const before = block + stepAt(p);
      const factor = load<f64>(before + (<usize>c << 3));
      for (let r = c; r < 4; r++) {
        const at = <usize>r << 3;
        store<f64>(column + at, load<f64>(column + at) - factor * load<f64>(before + at));
      }
    }
    const pivot = load<f64>(column + (<usize>c << 3));
    store<f64>(pivots + (<usize>c << 3), pivot);
    if (!(pivot > 0 && pivot < Infinity)) return c;
    const root = Math.sqrt(pivot);
    store<f64>(column + (<usize>c << 3), root);
    for (let r = c + 1; r < 4; r++) {
      const at = column + (<usize>r << 3);
      store<f64>(at, load<f64>(at) / root);
    }
  }
  return 4;
}

// @ts-ignore: decorator
@inline
function failed(status: usize): bool {
  return load<u32>(status) != 0;
}
