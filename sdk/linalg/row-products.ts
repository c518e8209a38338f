/**
 * Products of rows of float64 numbers on all threads, for statistics of data: X'X, summed over batches of rows, and X Y'.
 *
 * Both are what the Cholesky factorisation does to a tile before it is solved for, A(i, j) -= sum of L(i, k) L(j, k)'
 * over the columns k of another window (`choleskyUpdate` in `sdk/engine/kernels/linalg.ts`), so they run at its rate. The
 * tiles are those of a matrix whose first tile columns are the depth of the product, and whose rows there are never used:
 *
 *                k       j                              X'X: i, j both coordinates of X, k its rows
 *         rows i L(i,k)  A(i,j)                         X Y': j the rows of Y, i those of X, k their columns
 */
import type { Backend } from "../engine/backend.ts";
import { choleskyUpdate } from "../engine/kernels/index.ts";
import type { Range } from "./range.ts";
import { Tiling } from "./tiling.ts";
import { Window } from "./window.ts";

/** Rows of a tile: a multiple of 4, small, so that little is lost to padding. */
const TILE = 64;

/** Tile rows of so many entries. */
function tilesOf(entries: number): number {
  return Math.ceil(entries / TILE);
}

/** The doubles of a tile of a window, entry (row, column) at ((row >> 2) * columns + column) * 4 + (row & 3). Valid until the next await. */
function doublesOf(window: Window, i: number, j: number): Float64Array {
  const { buffer, byteOffset, byteLength } = window.view(i, j);
  return new Float64Array(buffer, byteOffset, byteLength / 8);
}

/**
 * Sums x x' over rows x that come in batches. Memory: half a square matrix and two batches.
 *
 *     for each batch: await sum.add(rows, count);   const gram = await sum.result();   sum.free();
 */
export class GramSum {
  readonly columns: number;
  /** Rows of a batch, at most. */
  readonly batch: number;
  private readonly backend: Backend;
  private readonly tiling: Tiling;
  private readonly depth: number;
  private readonly sums: Window;
  /** One is filled while the threads work on the other. */
  private readonly lefts: Window[] = [];
  private turn = 0;

  /** Throws E_MEMORY. */
  constructor(backend: Backend, columns: number, batch: number) {
    this.backend = backend;
    this.columns = columns;
    this.batch = batch;
    this.depth = tilesOf(batch);
    this.tiling = new Tiling(this.depth * TILE + columns, TILE);
    const { depth, tiling } = this;
    const rows: Range = { begin: depth, end: tiling.blocks };
    const depths: Range = { begin: 0, end: depth };
    this.sums = new Window(backend, tiling, tiling.bytes(rows, rows), `sums of products of ${columns} coordinates`);
    try {
      this.sums.cover(rows, rows);
      for (let side = 0; side < 2; side++) {
        const left = new Window(backend, tiling, tiling.bytes(depths, rows), `${batch} rows of ${columns} coordinates`);
        this.lefts.push(left);
        left.cover(depths, rows);
      }
    } catch (thrown) {
      this.free();
      throw thrown;
    }
    for (let j = rows.begin; j < rows.end; j++) for (let i = j; i < rows.end; i++) this.sums.view(i, j).fill(0);
  }

  /** Adds the first `count` rows of `rows` [count, columns], count at most `batch`. They may be changed once this has returned. */
  async add(rows: Float64Array, count: number): Promise<void> {
    const { backend, tiling, depth, sums } = this;
    const left = this.lefts[this.turn] as Window;
    this.turn = 1 - this.turn;
    const used = tilesOf(count);
    for (let k = 0; k < used; k++) {
      for (let i = depth; i < tiling.blocks; i++) {
        const tile = doublesOf(left, i, k);
        const first = (i - depth) * TILE;
        fillTransposed(tile, tiling.extent(i), rows, this.columns, first, k * TILE, count);
      }
    }
    await backend.finish();
    const params = {
      tile: TILE,
      n: tiling.n,
      first: depth,
      end: tiling.blocks,
      rowBegin: 0,
      leftBegin: 0,
      leftEnd: used,
    };
    backend.dispatch(choleskyUpdate, params, [sums.table, sums.tiles, left.table, left.tiles]);
  }

  /** The sum so far, [columns, columns], exactly symmetric. */
  async result(): Promise<Float64Array> {
    await this.backend.finish();
    const { columns, tiling, depth } = this;
    const out = new Float64Array(columns * columns);
    for (let j = depth; j < tiling.blocks; j++) {
      for (let i = j; i < tiling.blocks; i++) {
        const tile = doublesOf(this.sums, i, j);
        const width = tiling.extent(j);
        const [top, left] = [(i - depth) * TILE, (j - depth) * TILE];
        for (let row = top; row < Math.min(top + TILE, columns); row++) {
          for (let column = left; column < Math.min(left + width, row + 1); column++) {
            const r = row - top;
            // What was subtracted from zero.
            const sum = -(tile[((r >> 2) * width + column - left) * 4 + (r & 3)] as number);
            out[row * columns + column] = out[column * columns + row] = sum;
          }
        }
      }
    }
    return out;
  }

  /** Releases the memory. Idempotent. */
  free(): void {
    this.sums.free();
    for (const left of this.lefts) left.free();
  }
}

/** Tile rows: coordinates from `first` on; tile columns: rows of `rows` from `start` on; zeros behind either's end. */
function fillTransposed(
  tile: Float64Array,
  extent: number,
  rows: Float64Array,
  columns: number,
  first: number,
  start: number,
  count: number,
): void {
  for (let strip = 0; strip < extent; strip += 4) {
    for (let c = 0; c < TILE; c++) {
      const to = strip * TILE + c * 4;
      const from = (start + c) * columns + first + strip;
      const valid = start + c < count ? Math.min(4, columns - first - strip) : 0;
      for (let r = 0; r < 4; r++) tile[to + r] = r < valid ? (rows[from + r] as number) : 0;
    }
  }
}

/** Multiplies batches of rows by a fixed Y': X Y'. Memory: Y and a batch, padded to whole tiles, and a batch's result. */
export class RowProduct {
  /** Rows of Y. */
  readonly outputs: number;
  /** Columns of X and of Y. */
  readonly depth: number;
  /** Rows of X, at most. */
  readonly batch: number;
  private readonly backend: Backend;
  private readonly tiling: Tiling;
  /** Tile columns of the product's depth; behind them Y's tile rows begin, and at `xBegin` those of X. */
  private readonly yBegin: number;
  private readonly xBegin: number;
  private readonly factors: Window;
  private readonly products: Window;

  /** `y`: [outputs, depth], or a matrix of which `chosen` are the rows to take. Throws E_MEMORY. */
  constructor(backend: Backend, y: Float64Array, depth: number, batch: number, chosen?: Uint32Array) {
    this.backend = backend;
    this.outputs = chosen?.length ?? y.length / depth;
    this.depth = depth;
    this.batch = batch;
    this.yBegin = tilesOf(depth);
    this.xBegin = this.yBegin + tilesOf(this.outputs);
    this.tiling = new Tiling(this.xBegin * TILE + batch, TILE);
    const { tiling, yBegin, xBegin } = this;
    const depths: Range = { begin: 0, end: yBegin };
    const [outputs, rows, all]: Range[] = [
      { begin: yBegin, end: xBegin },
      { begin: xBegin, end: tiling.blocks },
      { begin: yBegin, end: tiling.blocks },
    ] as [Range, Range, Range];
    this.factors = new Window(backend, tiling, tiling.bytes(depths, all), `factors of depth ${depth}`);
    try {
      this.products = new Window(backend, tiling, tiling.bytes(outputs, rows), `products of ${batch} rows`);
    } catch (thrown) {
      this.factors.free();
      throw thrown;
    }
    this.factors.cover(depths, all);
    this.products.cover(outputs, rows);
    this.fill(yBegin, xBegin, y, this.outputs, chosen);
  }

  /** X Y', [count, outputs], for the first `count` rows of `x` [count, depth], count at most `batch`. */
  async times(x: Float64Array, count: number): Promise<Float64Array> {
    const { backend, tiling, yBegin, xBegin, products, factors, outputs } = this;
    const xEnd = xBegin + tilesOf(count);
    this.fill(xBegin, xEnd, x, count);
    for (let j = yBegin; j < xBegin; j++) for (let i = xBegin; i < xEnd; i++) products.view(i, j).fill(0);
    const params = {
      tile: TILE,
      n: Math.min(tiling.n, xEnd * TILE),
      first: yBegin,
      end: xBegin,
      rowBegin: xBegin,
      leftBegin: 0,
      leftEnd: yBegin,
    };
    backend.dispatch(choleskyUpdate, params, [products.table, products.tiles, factors.table, factors.tiles]);
    await backend.finish();
    const out = new Float64Array(count * outputs);
    for (let j = yBegin; j < xBegin; j++) {
      const left = (j - yBegin) * TILE;
      const columns = Math.min(TILE, outputs - left);
      for (let i = xBegin; i < xEnd; i++) {
        const tile = doublesOf(products, i, j);
        const top = (i - xBegin) * TILE;
        for (let r = 0; r < Math.min(TILE, count - top); r++)
          for (let c = 0; c < columns; c++)
            out[(top + r) * outputs + left + c] = -(tile[((r >> 2) * TILE + c) * 4 + (r & 3)] as number);
      }
    }
    return out;
  }

  /** Releases the memory. Idempotent. */
  free(): void {
    this.factors.free();
    this.products.free();
  }

  /** Writes rows [count, depth], or the `chosen` ones, to the tile rows [begin, end), with zeros behind them. */
  private fill(begin: number, end: number, rows: Float64Array, count: number, chosen?: Uint32Array): void {
    const { tiling, depth, yBegin, factors } = this;
    for (let k = 0; k < yBegin; k++) {
      const columns = Math.min(TILE, depth - k * TILE);
      for (let i = begin; i < end; i++) {
        const tile = doublesOf(factors, i, k);
        const first = (i - begin) * TILE;
        for (let r = 0; r < tiling.extent(i); r++) {
          const to = (r >> 2) * TILE * 4 + (r & 3);
          const row = first + r;
          const from = (chosen?.[row] ?? row) * depth + k * TILE;
          const valid = row < count ? columns : 0;
          for (let c = 0; c < TILE; c++) tile[to + c * 4] = c < valid ? (rows[from + c] as number) : 0;
        }
      }
    }
  }
}
