/**
 * The grid of tiles that a matrix is cut into: which tiles are stored, where their edges are, in which order a job
 * goes through them, and which shard each belongs to. Pure arithmetic.
 */
import { WidefieldError } from "../../errors.ts";
import type { Range } from "../../linalg/range.ts";

/** Row i and column j of the grid. */
export interface Tile {
  readonly i: number;
  readonly j: number;
}

/** Part `index` of `count`: 0 <= index < count. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

export interface Grid {
  readonly rows: number;
  readonly columns: number;
  /** Rows and columns of a tile; the last ones of the matrix may be smaller. */
  readonly tile: number;
  readonly symmetric: boolean;
}

export function tileRows(grid: Grid): number {
  return Math.ceil(grid.rows / grid.tile);
}

export function tileColumns(grid: Grid): number {
  return Math.ceil(grid.columns / grid.tile);
}

/** Of a symmetric matrix only the lower triangle of tiles is stored, the diagonal included. */
export function isStored(grid: Grid, { i, j }: Tile): boolean {
  return i < tileRows(grid) && j < tileColumns(grid) && (!grid.symmetric || j <= i);
}

export function rowRange(grid: Grid, i: number): Range {
  return { begin: i * grid.tile, end: Math.min(grid.rows, (i + 1) * grid.tile) };
}

export function columnRange(grid: Grid, j: number): Range {
  return { begin: j * grid.tile, end: Math.min(grid.columns, (j + 1) * grid.tile) };
}

/** Stored tiles: of a symmetric matrix those at and below the diagonal. */
export function tileCount(grid: Grid): number {
  const [down, across] = [tileRows(grid), tileColumns(grid)];
  return grid.symmetric ? (down * (down + 1)) / 2 : down * across;
}

/** More tiles than this are no use to anybody, and a list of them fills the memory. */
const MOST_TILES = 1e7;

/**
 * All stored tiles in snake order: along one row of the grid from left to right, along the next from right to left, so
 * that a tile shares its row block or its column block with the one before it. Throws E_CONFIG for more than 10^7.
 */
export function snakeOrder(grid: Grid): Tile[] {
  const count = tileCount(grid);
  if (count > MOST_TILES) {
    throw new WidefieldError(
      "E_CONFIG",
      `tiles of ${grid.tile} x ${grid.tile} would be ${count} in number, and ${MOST_TILES} are the most: take larger ones`,
    );
  }
  const tiles: Tile[] = [];
  for (let i = 0; i < tileRows(grid); i++) {
    const width = grid.symmetric ? i + 1 : tileColumns(grid);
    for (let at = 0; at < width; at++) tiles.push({ i, j: i % 2 === 0 ? at : width - 1 - at });
  }
  return tiles;
}

/** The tiles of one shard: a run of the snake, so that blocks are reused within it; sizes differ by one at most. */
export function shardTiles(grid: Grid, shard: Shard): Tile[] {
  const all = snakeOrder(grid);
  const edge = (index: number) => Math.floor((index * all.length) / shard.count);
  return all.slice(edge(shard.index), edge(shard.index + 1));
}

/** Entries of a tile that have to be computed: of a symmetric matrix's diagonal tile only j <= i. */
export function pairsOf(grid: Grid, { i, j }: Tile): number {
  const rows = length(rowRange(grid, i));
  const columns = length(columnRange(grid, j));
  return grid.symmetric && i === j ? (rows * (rows + 1)) / 2 : rows * columns;
}

export function length(range: Range): number {
  return range.end - range.begin;
}
