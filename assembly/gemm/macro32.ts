/**
 * The macro-kernel: a block of C from packed panels of A and B (see `pack32.ts`), one micro-kernel call for each 4 x 8
 * of it. A panel of B stays in L1 while all of A streams past from L2.
 */
import { MICRO_COLUMNS, MICRO_ROWS, micro32 } from "./micro32";

/**
 * C (+)= alpha A B, `rows` x `columns`; `depth` >= 1; `stride`: bytes between rows of C; `overwrite`: C is not read;
 * `edge`: room for one micro-tile.
 */
export function multiplyPacked(
  rows: i32,
  columns: i32,
  depth: i32,
  packedA: usize,
  packedB: usize,
  alpha: f32,
  c: usize,
  stride: usize,
  overwrite: bool,
  edge: usize,
): void {
  for (let j = 0; j < columns; j += MICRO_COLUMNS) {
    const b = packedB + (<usize>j * depth << 2);
    const width = min(MICRO_COLUMNS, columns - j);
    for (let i = 0; i < rows; i += MICRO_ROWS) {
      const a = packedA + (<usize>i * depth << 2);
      const height = min(MICRO_ROWS, rows - i);
      const to = c + <usize>i * stride + (<usize>j << 2);
      if (height == MICRO_ROWS && width == MICRO_COLUMNS) micro32(depth, a, b, alpha, to, stride, overwrite);
      else {
        micro32(depth, a, b, alpha, edge, MICRO_COLUMNS << 2, true);
        mergeEdge(edge, to, stride, height, width, overwrite);
      }
    }
  }
}

/** The part of a micro-tile that lies inside C. */
function mergeEdge(tile: usize, c: usize, stride: usize, height: i32, width: i32, overwrite: bool): void {
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      const to = c + (<usize>j << 2);
      const value = load<f32>(tile + (<usize>(i * MICRO_COLUMNS + j) << 2));
      store<f32>(to, overwrite ? value : load<f32>(to) + value);
    }
    c += stride;
  }
}
