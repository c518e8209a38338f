/**
 * How a tiled lower triangle and right-hand sides lie in memory.
 *
 * Everything is made of **strips of four**: a strip of depth d is d x 4 doubles, four neighbours side by side, one step
 * after the other. A tile of r rows and c columns is r / 4 strips of depth c (rows 0..3 with their c columns, then rows
 * 4..7, ...), and a right-hand side is a strip of depth n: four of its columns, row after row.
 *
 *     tile:   strip 0: [col 0: rows 0 1 2 3] [col 1: rows 0 1 2 3] ...    strip 1: [col 0: rows 4 5 6 7] ...
 *     rhs:    strip 0: [row 0: columns 0 1 2 3] [row 1: columns 0 1 2 3] ...
 *
 * This is the layout that a BLIS-style micro-kernel packs its operands into, and here the matrix simply stays in it: a
 * solved panel is both operands of the update without a copy, the 4 x 4 block that a micro-kernel call changes is 128
 * contiguous bytes, and solving X L' = A for four rows of a panel is the same operation as solving L X = B for four
 * right-hand sides. It costs no memory beyond the triangle, and tiles go to a file and come back as they are.
 *
 * Rows are padded to a multiple of 4 with the identity. Above the diagonal, diagonal tiles hold nothing.
 */

/** n, padded. */
// @ts-ignore: decorator
@inline
export function paddedRows(n: i32): i32 {
  return (n + 3) & ~3;
}

/** Rows of tiles. */
// @ts-ignore: decorator
@inline
export function tileCount(n: i32, tile: i32): i32 {
  return (n + tile - 1) / tile;
}

/** Rows (or columns: the grid is square) of the tiles with index i. */
// @ts-ignore: decorator
@inline
export function extent(n: i32, tile: i32, i: i32): i32 {
  return min(tile, paddedRows(n) - i * tile);
}

/** The address of tile (i, j), i >= j, in a window: table[j] may be negative, modulo 2^32, as addresses are. */
// @ts-ignore: decorator
@inline
export function tileAt(table: usize, tiles: usize, tile: i32, i: i32, j: i32): usize {
  return tiles + <usize>load<u32>(table + (<usize>j << 2)) + <usize>(i - j) * <usize>(tile * tile) * 8;
}

/** The byte offset of strip `row` / 4 (a multiple of 4) in a tile, or in a set of right-hand sides, of depth `depth`. */
// @ts-ignore: decorator
@inline
export function stripAt(row: i32, depth: i32): usize {
  return (<usize>row * <usize>depth) << 3;
}

/** The byte offset of step p in a strip. */
// @ts-ignore: decorator
@inline
export function stepAt(p: i32): usize {
  return <usize>p << 5;
}

/** The byte offset of entry (row, column) in a tile with `columns` columns. */
// @ts-ignore: decorator
@inline
export function entryAt(row: i32, column: i32, columns: i32): usize {
  return stripAt(row & ~3, columns) + stepAt(column) + (<usize>(row & 3) << 3);
}
