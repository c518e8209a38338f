/**
 * The three operations that factorisations and solves are made of, on strips of four (see `tiles.ts`). All of their work
 * beyond 4 x 4 blocks is done by the micro-kernel.
 */
import { micro64 } from "../gemm/micro64";
import { entryAt, stepAt, stripAt } from "./tiles";

/** C -= V S' for one strip C of `rows` steps: V a strip of `depth` steps, S rows / 4 strips of that depth. */
export function updateStrip(v: usize, s: usize, c: usize, rows: i32, depth: i32): void {
  const strip = stripAt(4, depth);
  for (let row = 0; row < rows; row += 4) {
    micro64(depth, v, s, c);
    s += strip;
    c += 128;
  }
}

/** Solves L X = B in place for a strip X of `rows` steps, with a diagonal tile L and the inverses of its diagonal. */
export function solveStrip(l: usize, inverse: usize, rows: i32, x: usize): void {
  for (let row = 0; row < rows; row += 4) {
    const strip = l + stripAt(row, rows);
    micro64(row, x, strip, x + stepAt(row));
    solveFour(x + stepAt(row), strip + stepAt(row), inverse + (<usize>row << 3));
  }
}

/** Solves L' X = B in place for a strip X, with L transposed by `transposeTile`. */
export function solveStripTransposed(transposed: usize, inverse: usize, rows: i32, x: usize): void {
  for (let row = rows - 4; row >= 0; row -= 4) {
    const strip = transposed + stripAt(row, rows);
    const next = stepAt(row + 4);
    micro64(rows - row - 4, x + next, strip + next, x + stepAt(row));
    solveFourTransposed(x + stepAt(row), strip + stepAt(row), inverse + (<usize>row << 3));
  }
}

/** One over the diagonal of a diagonal tile: four divisions a block, off the critical path of the substitution. */
export function invertDiagonal(l: usize, rows: i32, inverse: usize): void {
  for (let row = 0; row < rows; row++) {
    store<f64>(inverse + (<usize>row << 3), 1 / load<f64>(l + entryAt(row, row, rows)));
  }
}

/** The tile of `rows` x `columns` at `from`, transposed, to columns / 4 strips of depth `rows`: 4 x 4 in registers. */
export function transposeTile(from: usize, rows: i32, columns: i32, to: usize): void {
  for (let row = 0; row < rows; row += 4) {
    let source = from + stripAt(row, columns);
    for (let column = 0; column < columns; column += 4) {
      const target = to + stripAt(column, rows) + stepAt(row);
      for (let half: usize = 0; half < 32; half += 16) {
        const c0 = v128.load(source + half);
        const c1 = v128.load(source + half, 32);
        const c2 = v128.load(source + half, 64);
        const c3 = v128.load(source + half, 96);
        const at = target + (half << 2);
        v128.store(at, v128.shuffle<f64>(c0, c1, 0, 2));
        v128.store(at, v128.shuffle<f64>(c2, c3, 0, 2), 16);
        v128.store(at, v128.shuffle<f64>(c0, c1, 1, 3), 32);
        v128.store(at, v128.shuffle<f64>(c2, c3, 1, 3), 48);
      }
      source += 128;
    }
  }
}

/** Forward substitution with a 4 x 4 lower block ([column][row]) on four steps of a strip. */
export function solveFour(x: usize, l: usize, inverse: usize): void {
  for (let half: usize = 0; half < 32; half += 16) {
    const at = x + half;
    const x0 = f64x2.mul(v128.load(at), v128.load64_splat(inverse));
    let x1 = f64x2.sub(v128.load(at, 32), f64x2.mul(v128.load64_splat(l, 8), x0));
    let x2 = f64x2.sub(v128.load(at, 64), f64x2.mul(v128.load64_splat(l, 16), x0));
    let x3 = f64x2.sub(v128.load(at, 96), f64x2.mul(v128.load64_splat(l, 24), x0));
    x1 = f64x2.mul(x1, v128.load64_splat(inverse, 8));
    x2 = f64x2.sub(x2, f64x2.mul(v128.load64_splat(l, 48), x1));
    x3 = f64x2.sub(x3, f64x2.mul(v128.load64_splat(l, 56), x1));
    x2 = f64x2.mul(x2, v128.load64_splat(inverse, 16));
    x3 = f64x2.sub(x3, f64x2.mul(v128.load64_splat(l, 88), x2));
    x3 = f64x2.mul(x3, v128.load64_splat(inverse, 24));
    v128.store(at, x0);
    v128.store(at, x1, 32);
    v128.store(at, x2, 64);
    v128.store(at, x3, 96);
  }
}

/** Backward substitution with the same block, stored transposed ([row][column]). */
function solveFourTransposed(x: usize, l: usize, inverse: usize): void {
  for (let half: usize = 0; half < 32; half += 16) {
    const at = x + half;
    const x3 = f64x2.mul(v128.load(at, 96), v128.load64_splat(inverse, 24));
    let x2 = f64x2.sub(v128.load(at, 64), f64x2.mul(v128.load64_splat(l, 112), x3));
    let x1 = f64x2.sub(v128.load(at, 32), f64x2.mul(v128.load64_splat(l, 104), x3));
    let x0 = f64x2.sub(v128.load(at), f64x2.mul(v128.load64_splat(l, 96), x3));
    x2 = f64x2.mul(x2, v128.load64_splat(inverse, 16));
    x1 = f64x2.sub(x1, f64x2.mul(v128.load64_splat(l, 72), x2));
    x0 = f64x2.sub(x0, f64x2.mul(v128.load64_splat(l, 64), x2));
    x1 = f64x2.mul(x1, v128.load64_splat(inverse, 8));
    x0 = f64x2.sub(x0, f64x2.mul(v128.load64_splat(l, 32), x1));
    x0 = f64x2.mul(x0, v128.load64_splat(inverse));
    v128.store(at, x0);
    v128.store(at, x1, 32);
    v128.store(at, x2, 64);
    v128.store(at, x3, 96);
  }
}
