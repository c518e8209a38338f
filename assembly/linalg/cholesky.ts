/**
 * Cholesky factorisation A = L L' of a tiled lower triangle, in place, left-looking, a window of columns at a time
 * (schemas: `sdk/engine/kernels/linalg.ts`; layout: `tiles.ts`):
 *
 *     A(i,j) -= sum over k < j of L(i,k) L(j,k)'       choleskyUpdate: columns k of other windows
 *                                                      choleskyFactor: columns k of this window, and then
 *     L(j,j) = potrf(A(j,j)),  L(i,j) = A(i,j) L(j,j)^-T
 *
 * In a window a tile is brought up to date in one go, so it stays in a core's cache (128 KiB) while the tiles of L
 * stream by, and inside a command a column may begin before the one before it is through: choleskyFactor is a task graph
 * in a single command. Its items are the tiles, column after column; a thread takes the next one and sleeps only where a tile
 * that it reads is still in another thread's hands. Such a tile was taken earlier, so the earliest unfinished one never
 * waits: there is no deadlock, whatever the number of threads.
 *
 * Each entry's sum runs over the tiles k in order, inside a tile over the columns in order: results depend on the tile
 * size, and neither on the threads nor on the windows. Cost: n^3 / 3 multiplications and additions, of which all but
 * the 4 x 4 blocks on tiles' diagonals go through the micro-kernel.
 */
import { buffer } from "../dispatch";
import { CholeskyFactorParams, CholeskyUpdateParams } from "../generated/kernels";
import { SPINS } from "../generated/layout";
import { micro64 } from "../gemm/micro64";
import { invertDiagonal, solveFour, solveStrip, updateStrip } from "./strips";
import { extent, stepAt, stripAt, tileAt, tileCount } from "./tiles";

/** Nanoseconds after which a waiting thread looks whether a pivot has failed. */
const PATIENCE: i64 = 1_000_000;

export function choleskyUpdate(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<CholeskyUpdateParams>(params);
  const n = <i32>p.n;
  const tile = <i32>p.tile;
  const leftTable = buffer(buffers, 2);
  const left = buffer(buffers, 3);
  for (let item = begin; item < end; item++) {
    const place = tileOfItem(item, <i32>p.first, <i32>p.rowBegin, tileCount(n, tile));
    const i = row(place);
    const j = column(place);
    const to = tileAt(buffer(buffers, 0), buffer(buffers, 1), tile, i, j);
    for (let k = <i32>p.leftBegin; k < <i32>p.leftEnd; k++) {
      updateTile(n, tile, i, j, tileAt(leftTable, left, tile, i, k), tileAt(leftTable, left, tile, j, k), to);
    }
  }
}

export function choleskyFactor(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<CholeskyFactorParams>(params);
  const n = <i32>p.n;
  const tile = <i32>p.tile;
  const table = buffer(buffers, 0);
  const tiles = buffer(buffers, 1);
  const status = buffer(buffers, 3);
  const finished = buffer(buffers, 4);
  for (let item = begin; item < end; item++) {
    const place = tileOfItem(item, <i32>p.first, <i32>p.rowBegin, tileCount(n, tile));
    const i = row(place);
    const j = column(place);
    const to = tileAt(table, tiles, tile, i, j);
    for (let k = <i32>p.windowBegin; k < j; k++) {
      if (!awaitTile(finished, i, k, status)) return;
      if (!awaitTile(finished, j, k, status)) return;
      updateTile(n, tile, i, j, tileAt(table, tiles, tile, i, k), tileAt(table, tiles, tile, j, k), to);
    }
    if (i == j) {
      if (!factorDiagonal(n, tile, j, to, buffer(buffers, 2), status, scratch)) return;
    } else {
      if (!awaitTile(finished, j, j, status)) return;
      const l = tileAt(table, tiles, tile, j, j);
      invertDiagonal(l, tile, scratch);
      const rows = extent(n, tile, i);
      for (let r = 0; r < rows; r += 4) solveStrip(l, scratch, tile, to + stripAt(r, tile));
    }
    publish(finished, i, j);
  }
}

/** Items run down the columns from `first` on; a tile's place in one number. */
function tileOfItem(item: i32, first: i32, rowBegin: i32, count: i32): i32 {
  let j = first;
  let below = count - max(j, rowBegin);
  while (item >= below) {
    item -= below;
    j++;
    below = count - max(j, rowBegin);
  }
  return ((max(j, rowBegin) + item) << 16) | j;
}

// @ts-ignore: decorator
@inline
function row(place: i32): i32 {
  return place >> 16;
}

// @ts-ignore: decorator
@inline
function column(place: i32): i32 {
  return place & 0xffff;
}

/** Returns when column j of tile row i is finished; false if a pivot has failed, after which it may never be. */
function awaitTile(finished: usize, i: i32, j: i32, status: usize): bool {
  const at = finished + (<usize>i << 2);
  if (!ASC_FEATURE_THREADS) return load<u32>(status) == 0;
  let spin = 0;
  while (true) {
    const columns = atomic.load<u32>(at);
    if (columns > <u32>j) return true;
    if (atomic.load<u32>(status) != 0) return false;
    if (spin++ > SPINS) atomic.wait<i32>(at, <i32>columns, PATIENCE);
  }
}

/** In order: tile (i, j) has waited for (i, j - 1). The counts must start at windowBegin, or where rows are finished, above. */
function publish(finished: usize, i: i32, j: i32): void {
  if (!ASC_FEATURE_THREADS) return;
  const at = finished + (<usize>i << 2);
  atomic.store<u32>(at, <u32>(j + 1));
  atomic.notify(at, -1);
}

/** A(i,j) -= L(i,k) L(j,k)'; of a diagonal tile, the lower triangle and a little more. */
function updateTile(n: i32, tile: i32, i: i32, j: i32, left: usize, right: usize, to: usize): void {
  const rows = extent(n, tile, i);
  const columns = extent(n, tile, j);
  for (let r = 0; r < rows; r += 4) {
    const wanted = i == j ? r + 4 : columns;
    updateStrip(left + stripAt(r, tile), right, to + stripAt(r, columns), wanted, tile);
  }
}

/**
 * Left-looking inside the tile, too: columns of 4, each brought up to date by the micro-kernel and then solved. False if
 * a pivot is not positive.
 */
function factorDiagonal(
  n: i32,
  tile: i32,
  k: i32,
  l: usize,
  pivots: usize,
  status: usize,
  inverse: usize,
): bool {
  const rows = extent(n, tile, k);
  for (let column = 0; column < rows; column += 4) {
    const strip = l + stripAt(column, rows);
    for (let row = column; row < rows; row += 4) {
      const v = l + stripAt(row, rows);
      micro64(column, v, strip, v + stepAt(column));
    }
    const block = strip + stepAt(column);
    const first = k * tile + column;
    const done = factorFour(block, pivots + (<usize>first << 3));
    if (done < 4) {
      store<u32>(status, <u32>(first + done), 4);
      if (ASC_FEATURE_THREADS) atomic.store<u32>(status, 1);
      else store<u32>(status, 1);
      return false;
    }
    for (let c: usize = 0; c < 4; c++) store<f64>(inverse + (c << 3), 1 / load<f64>(block + c * 40));
    for (let row = column + 4; row < rows; row += 4) {
      solveFour(l + stripAt(row, rows) + stepAt(column), block, inverse);
    }
  }
  return true;
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
