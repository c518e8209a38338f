/**
 * Householder tridiagonalisation A = Q T Q' of a symmetric matrix in panels (schemas and layout:
 * `sdk/engine/kernels/eigen.ts`; LAPACK working note 2). Column j of a panel that began at p:
 *
 *     column     a_j -= V W(j,:)' + W V(j,:)'              the panel's effect on it so far
 *                v, tau, beta with (I - tau v v') a_j = beta e_{j+1}
 *     product    y = A v, A as it was at p                 half of all the work, bound by memory
 *     column     w = tau (y - V W'v - W V'v),  w -= tau (w'v) v / 2
 *     update     A -= V W' + W V', after the panel         the other half, in the micro-kernel
 *
 * V and W stand interleaved (v_0 w_0 v_1 w_1 ...) in strips of four rows as `left`, and as w_0 v_0 w_1 v_1 ... in
 * `right`: then both rank-32 updates are one micro-kernel call of depth 64, and a row of `right` is what multiplies
 * `left` in the column's update. The product reads the lower triangle only: a strip of it adds to its own four rows
 * and, transposed, to all above. Each item of 64 rows has its own vector of partial sums, added up in their order, so
 * that results do not depend on the threads. Entries of A are at most 1 or so: the caller scales.
 */
import { buffer } from "../dispatch";
import { TridiagonalColumnParams, TridiagonalProductParams, TridiagonalUpdateParams } from "../generated/kernels";
import { micro64 } from "../gemm/micro64";
import { paddedRows, stripAt } from "./tiles";

/** The same numbers as in the schemas. */
export const PANEL: i32 = 32;
const ITEM_ROWS: i32 = 64;
const DEPTH: i32 = 2 * PANEL;

/**
 * Below this sum of squares a column counts as zero. Its squares would lose digits to underflow and the reflection its
 * orthogonality; what is neglected is 1e-140 of the matrix.
 */
const NEGLIGIBLE: f64 = 1e-280;

export function tridiagonalColumn(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TridiagonalColumnParams>(params);
  const panel = <i32>p.panel;
  const column = <i32>p.column;
  const n = <i32>p.n;
  if (column > panel) finish(n, panel, column - 1, buffers, scratch);
  if (column < panel + PANEL && column < n) reflect(n, panel, column, buffers, scratch);
}

/** w of column j, from the product's partial sums; appends v and w to the panel. */
function finish(n: i32, panel: i32, j: i32, buffers: usize, w: usize): void {
  const padded = paddedRows(n);
  const top = (j + 1) & ~3;
  if (top >= padded) return;
  const vector = buffer(buffers, 1);
  const left = buffer(buffers, 3);
  const right = buffer(buffers, 4);
  const done = (j - panel) << 1;
  const dots = vector + at(padded);
  const tau = load<f64>(factorAt(buffer(buffers, 7), panel, j - panel, j - panel));
  sumPartials(padded, top, buffer(buffers, 2), w);
  let sum = f64x2.splat(0);
  for (let row = top; row < padded; row += 4) {
    const strip = left + stripAt(row, DEPTH);
    const to = w + at(row);
    let low = v128.load(to);
    let high = v128.load(to, 16);
    for (let q = 0; q < done; q++) {
      const factor = v128.load64_splat(dots + at(q ^ 1)); // v's factor is w'v, and w's is v'v
      const from = strip + (<usize>q << 5);
      low = f64x2.sub(low, f64x2.mul(v128.load(from), factor));
      high = f64x2.sub(high, f64x2.mul(v128.load(from, 16), factor));
    }
    low = f64x2.mul(low, f64x2.splat(tau));
    high = f64x2.mul(high, f64x2.splat(tau));
    v128.store(to, low);
    v128.store(to, high, 16);
    const v = vector + at(row);
    sum = f64x2.add(sum, f64x2.add(f64x2.mul(low, v128.load(v)), f64x2.mul(high, v128.load(v, 16))));
  }
  for (let row = top; row <= j; row++) store<f64>(w + at(row), 0);
  const along = f64x2.splat(-0.5 * tau * (f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1)));
  for (let row = top; row < padded; row += 4) {
    const place = stripAt(row, DEPTH) + (<usize>done << 5);
    for (let half: usize = 0; half < 32; half += 16) {
      const v = v128.load(vector + at(row) + half);
      const corrected = f64x2.add(v128.load(w + at(row) + half), f64x2.mul(along, v));
      v128.store(left + place + half, v);
      v128.store(left + place + half, corrected, 32);
      v128.store(right + place + half, corrected);
      v128.store(right + place + half, v, 32);
    }
  }
}

/** The items' vectors of partial sums, added up. */
function sumPartials(padded: i32, top: i32, partials: usize, sum: usize): void {
  memory.fill(sum + at(top), 0, at(padded - top));
  for (let item = top / ITEM_ROWS; item * ITEM_ROWS < padded; item++) {
    const from = partials + at(item * padded);
    const last = at(min((item + 1) * ITEM_ROWS, padded));
    for (let row = at(top); row < last; row += 16) {
      v128.store(sum + row, f64x2.add(v128.load(sum + row), v128.load(from + row)));
    }
  }
}

/** Brings column j up to date, makes its reflection, and the column of the block reflector's factor for it. */
function reflect(n: i32, panel: i32, j: i32, buffers: usize, x: usize): void {
  const padded = paddedRows(n);
  const vector = buffer(buffers, 1);
  const top = j & ~3;
  updateColumn(padded, panel, j, buffers, x);
  store<f64>(buffer(buffers, 5) + at(j), load<f64>(x + at(j)));
  const alpha = j + 1 < n ? load<f64>(x + at(j + 1)) : 0;
  for (let row = top; row < min(j + 2, padded); row++) store<f64>(x + at(row), 0);
  let squares = f64x2.splat(0);
  for (let row = top; row < padded; row += 2) {
    const two = v128.load(x + at(row));
    squares = f64x2.add(squares, f64x2.mul(two, two));
  }
  const square = f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1);
  let tau: f64 = 0;
  let beta = alpha;
  let scale: f64 = 0;
  if (square > NEGLIGIBLE) {
    beta = -copysign<f64>(sqrt<f64>(alpha * alpha + square), alpha);
    tau = (beta - alpha) / beta;
    scale = 1 / (alpha - beta);
  }
  if (j + 1 < n) store<f64>(buffer(buffers, 6) + at(j), beta);
  const column = buffer(buffers, 0) + (<usize>j << 5);
  for (let row = panel; row < top; row += 4) {
    v128.store(column + stripAt(row, padded), f64x2.splat(0));
    v128.store(column + stripAt(row, padded), f64x2.splat(0), 16);
  }
  for (let row = top; row < padded; row += 2) {
    v128.store(vector + at(row), f64x2.mul(v128.load(x + at(row)), f64x2.splat(scale)));
  }
  if (tau != 0) store<f64>(vector + at(j + 1), 1);
  for (let row = top; row < padded; row += 4) {
    v128.store(column + stripAt(row, padded), v128.load(vector + at(row)));
    v128.store(column + stripAt(row, padded), v128.load(vector + at(row), 16), 16);
  }
  panelProducts(padded, top, (j - panel) << 1, buffer(buffers, 3), vector, x);
  extendFactor(buffer(buffers, 7), panel, j - panel, tau, vector + at(padded));
}

/** x = column j of A, less what the panel's reflections so far do to it. */
function updateColumn(padded: i32, panel: i32, j: i32, buffers: usize, x: usize): void {
  const column = buffer(buffers, 0) + (<usize>j << 5);
  const left = buffer(buffers, 3);
  const factors = buffer(buffers, 4) + stripAt(j & ~3, DEPTH) + at(j & 3);
  const done = <usize>(j - panel) << 6;
  for (let row = j & ~3; row < padded; row += 4) {
    const from = column + stripAt(row, padded);
    let low = v128.load(from);
    let high = v128.load(from, 16);
    const strip = left + stripAt(row, DEPTH);
    for (let q: usize = 0; q < done; q += 32) {
      const factor = v128.load64_splat(factors + q);
      low = f64x2.sub(low, f64x2.mul(v128.load(strip + q), factor));
      high = f64x2.sub(high, f64x2.mul(v128.load(strip + q, 16), factor));
    }
    v128.store(x + at(row), low);
    v128.store(x + at(row), high, 16);
  }
}

/** The products of v with the panel's first `done` columns, behind v. `sums` is workspace. */
function panelProducts(padded: i32, top: i32, done: i32, left: usize, vector: usize, sums: usize): void {
  memory.fill(sums, 0, <usize>done << 4);
  for (let row = top; row < padded; row += 4) {
    const low = v128.load(vector + at(row));
    const high = v128.load(vector + at(row), 16);
    let strip = left + stripAt(row, DEPTH);
    let to = sums;
    for (let q = 0; q < done; q++) {
      const term = f64x2.add(f64x2.mul(v128.load(strip), low), f64x2.mul(v128.load(strip, 16), high));
      v128.store(to, f64x2.add(v128.load(to), term));
      strip += 32;
      to += 16;
    }
  }
  for (let q = 0; q < done; q++) {
    const two = v128.load(sums + (<usize>q << 4));
    store<f64>(vector + at(padded + q), f64x2.extract_lane(two, 0) + f64x2.extract_lane(two, 1));
  }
}

/**
 * Column i of the upper triangular F with H_0 H_1 ... = I - V F V' (LAPACK's dlarft): tau on the diagonal and
 * -tau F V'v above it; `dots` holds V'v at even places.
 */
function extendFactor(factors: usize, panel: i32, i: i32, tau: f64, dots: usize): void {
  for (let s = 0; s < PANEL; s++) {
    let sum: f64 = 0;
    for (let q = s; q < i; q++) sum += load<f64>(factorAt(factors, panel, s, q)) * load<f64>(dots + at(q << 1));
    store<f64>(factorAt(factors, panel, s, i), s == i ? tau : -tau * sum);
  }
}

export function tridiagonalProduct(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TridiagonalProductParams>(params);
  const padded = paddedRows(<i32>p.n);
  const top = (<i32>p.column + 1) & ~3;
  const last = (padded - 1) / ITEM_ROWS;
  const vector = buffer(buffers, 1);
  for (let item = begin; item < end; item++) {
    const block = last - item; // the largest first
    const y = buffer(buffers, 2) + at(block * padded);
    const rowEnd = min((block + 1) * ITEM_ROWS, padded);
    memory.fill(y + at(top), 0, at(rowEnd - top));
    for (let row = max(top, block * ITEM_ROWS); row < rowEnd; row += 4) {
      multiplyStrip(buffer(buffers, 0) + stripAt(row, padded), top, row, vector, y);
    }
  }
}

/** With R = row..row+3: y(R) += A(R, :) v, and y(c) += A(R, c)' v(R) for columns c from `top` to `row`. */
function multiplyStrip(strip: usize, top: i32, row: i32, vector: usize, y: usize): void {
  const v0 = v128.load(vector + at(row));
  const v1 = v128.load(vector + at(row), 16);
  let sum0 = f64x2.splat(0);
  let sum1 = f64x2.splat(0);
  let a = strip + (<usize>top << 5);
  const last = at(row);
  for (let c = at(top); c < last; c += 16) {
    const a00 = v128.load(a);
    const a10 = v128.load(a, 16);
    const a01 = v128.load(a, 32);
    const a11 = v128.load(a, 48);
    const x0 = v128.load64_splat(vector + c);
    const x1 = v128.load64_splat(vector + c, 8);
    sum0 = f64x2.add(sum0, f64x2.add(f64x2.mul(a00, x0), f64x2.mul(a01, x1)));
    sum1 = f64x2.add(sum1, f64x2.add(f64x2.mul(a10, x0), f64x2.mul(a11, x1)));
    const h0 = f64x2.add(f64x2.mul(a00, v0), f64x2.mul(a10, v1));
    const h1 = f64x2.add(f64x2.mul(a01, v0), f64x2.mul(a11, v1));
    const across = f64x2.add(v128.shuffle<f64>(h0, h1, 0, 2), v128.shuffle<f64>(h0, h1, 1, 3));
    v128.store(y + c, f64x2.add(v128.load(y + c), across));
    a += 64;
  }
  for (let c = row; c < row + 4; c++) {
    const x = v128.load64_splat(vector + at(c));
    sum0 = f64x2.add(sum0, f64x2.mul(v128.load(a), x));
    sum1 = f64x2.add(sum1, f64x2.mul(v128.load(a, 16), x));
    a += 32;
  }
  const to = y + at(row);
  v128.store(to, f64x2.add(v128.load(to), sum0));
  v128.store(to, f64x2.add(v128.load(to, 16), sum1), 16);
}

export function tridiagonalUpdate(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<TridiagonalUpdateParams>(params);
  const padded = paddedRows(<i32>p.n);
  const first = <i32>p.first;
  const a = buffer(buffers, 0);
  const left = buffer(buffers, 1);
  const right = buffer(buffers, 2);
  const last = (padded - first - 1) / ITEM_ROWS;
  for (let item = begin; item < end; item++) {
    const rowBegin = first + (last - item) * ITEM_ROWS;
    const rowEnd = min(rowBegin + ITEM_ROWS, padded);
    for (let column = first; column < rowEnd; column += 4) {
      const s = right + stripAt(column, DEPTH);
      for (let row = max(rowBegin, column); row < rowEnd; row += 4) {
        const block = a + stripAt(row, padded) + (<usize>column << 5);
        micro64(DEPTH, left + stripAt(row, DEPTH), s, block);
        if (row == column) mirror(block);
      }
    }
  }
}

/** Makes a 4 x 4 block ([column][row]) on the diagonal symmetric: rounding differs on its two sides. */
function mirror(block: usize): void {
  for (let column: usize = 0; column < 4; column++) {
    for (let row = column + 1; row < 4; row++) {
      store<f64>(block + (row << 5) + (column << 3), load<f64>(block + (column << 5) + (row << 3)));
    }
  }
}

/** The address of entry (row, column) of the factor of the block reflector that begins at column `panel`. */
// @ts-ignore: decorator
@inline
function factorAt(factors: usize, panel: i32, row: i32, column: i32): usize {
  return factors + at((panel + (row & ~3)) * PANEL + (column << 2) + (row & 3));
}

/** The byte offset of double `index`. */
// @ts-ignore: decorator
@inline
function at(index: i32): usize {
  return <usize>index << 3;
}
