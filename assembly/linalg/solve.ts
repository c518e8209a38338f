/**
 * L X = B and L' X = B for many right-hand sides, in place, on a window of a tiled triangle (schema: `triangularSolve`
 * in `sdk/engine/kernels/linalg.ts`; layout: `tiles.ts`):
 *
 *     B(i) -= L(i,b-1) X(b-1) for i >= b, and X(b) = L(b,b)^-1 B(b) by the item that updated B(b)
 *
 * Transposed, the blocks are taken from the last to the first. One step reads one column (transposed: one row) of tiles,
 * each tile once for 32 right-hand sides. A work item is one block i and 8 strips of right-hand sides.
 */
import { buffer } from "../dispatch";
import { TriangularSolveParams } from "../generated/kernels";
import { invertDiagonal, solveStrip, solveStripTransposed, transposeTile, updateStrip } from "./strips";
import { extent, paddedRows, stepAt, stripAt, tileAt } from "./tiles";

/** The same number as in the schema. */
const SOLVE_ITEM_STRIPS: i32 = 8;

export function triangularSolve(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TriangularSolveParams>(params);
  const n = <i32>p.n;
  const tile = <i32>p.tile;
  const strips = <i32>p.strips;
  const groups = (strips + SOLVE_ITEM_STRIPS - 1) / SOLVE_ITEM_STRIPS;
  for (let item = begin; item < end; item++) {
    // Neighbouring items share the tile and differ in the right-hand sides.
    const distance = item / groups;
    const first = (item % groups) * SOLVE_ITEM_STRIPS;
    const count = min(SOLVE_ITEM_STRIPS, strips - first);
    const rhs = buffer(buffers, 2) + stripAt(first << 2, paddedRows(n));
    const transpose = p.transpose != 0;
    const block = <i32>p.block;
    const target = transpose ? block - distance : block + distance;
    if (p.update != 0) {
      const source = transpose ? block + 1 : block - 1;
      updateBlock(n, tile, target, source, buffers, rhs, count, scratch);
    }
    if (distance == 0 && p.solve != 0) solveBlock(n, tile, target, transpose, buffers, rhs, count, scratch);
  }
}

/** B(target) -= L(target, source) X(source), or with L(source, target)' where the target comes first. */
function updateBlock(
  n: i32,
  tile: i32,
  target: i32,
  source: i32,
  buffers: usize,
  rhs: usize,
  count: i32,
  scratch: usize,
): void {
  const rows = extent(n, tile, target);
  const depth = extent(n, tile, source);
  let l = tileAt(buffer(buffers, 0), buffer(buffers, 1), tile, max(target, source), min(target, source));
  if (target < source) {
    transposeTile(l, depth, rows, scratch);
    l = scratch;
  }
  const strip = stripAt(4, paddedRows(n));
  for (let s = 0; s < count; s++) {
    updateStrip(rhs + stepAt(source * tile), l, rhs + stepAt(target * tile), rows, depth);
    rhs += strip;
  }
}

function solveBlock(
  n: i32,
  tile: i32,
  i: i32,
  transpose: bool,
  buffers: usize,
  rhs: usize,
  count: i32,
  scratch: usize,
): void {
  const rows = extent(n, tile, i);
  const l = tileAt(buffer(buffers, 0), buffer(buffers, 1), tile, i, i);
  const inverse = scratch;
  const transposed = scratch + (<usize>rows << 3);
  invertDiagonal(l, rows, inverse);
  if (transpose) transposeTile(l, rows, rows, transposed);
  const strip = stripAt(4, paddedRows(n));
  let x = rhs + stepAt(i * tile);
  for (let s = 0; s < count; s++) {
    if (transpose) solveStripTransposed(transposed, inverse, rows, x);
    else solveStrip(l, inverse, rows, x);
    x += strip;
  }
}
