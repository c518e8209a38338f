/**
 * Eigenvalues of a symmetric tridiagonal matrix by implicit QL or QR sweeps with Wilkinson's shift, and the rotations
 * of those sweeps applied to Z (schema: `eigenSweeps` in `sdk/engine/kernels/eigen.ts`; Golub and Van Loan 8.3.3; which
 * end is iterated on, and when an entry counts as zero, as in LAPACK's dsteqr, which keeps graded matrices accurate).
 *
 *     item 0         the next batch of up to 64 sweeps, n steps each, on the two diagonals alone
 *     other items    the batch before it, on four rows of Z: 6 n operations a step, which is nearly all work
 *
 * Rows of Z never meet, so a thread takes four of them (in L1 or L2) through a whole batch. Sweeps go in pairs: the
 * second follows the first by one column, and each column is loaded and stored once for both.
 *
 *     batch    count, then for each pair { begin, end, direction } of its steps; behind BATCH_HEAD, for each pair n
 *              slots { c1, s1, c2, s2 }: the rotations of columns k and k + 1. A step that only one of the two sweeps
 *              takes is the identity for the other.
 *     Z        strips of four rows: column c's four entries at c x 32
 */
import { buffer } from "../dispatch";
import { EigenSweepsParams } from "../generated/kernels";
import { paddedRows, stepAt, stripAt } from "./tiles";

/** The same numbers as in the schema. */
const SWEEP_PAIRS: i32 = 32;
const BATCH_HEAD: usize = 1024;

/** dsteqr's: sweeps that an eigenvalue may take, on average. Two is usual. */
const MAX_SWEEPS: i32 = 30;
/** 2^-106: the unit roundoff, squared. */
const EPSILON2: f64 = 1.232595164407831e-32;
const SMALLEST: f64 = 2.2250738585072014e-308;

/** Where the iteration stands, between batches. */
@unmanaged class State {
  done: i32;
  failed: i32;
  /** The first row behind the blocks that were begun. */
  next: i32;
  /** The end of the present block that is iterated on, its other end, and the way between them; 0: no block. */
  active: i32;
  far: i32;
  direction: i32;
  sweeps: i32;
}

export function eigenSweeps(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<EigenSweepsParams>(params);
  const n = <i32>p.n;
  const bytes = BATCH_HEAD + stepAt(SWEEP_PAIRS * n);
  const present = buffer(buffers, 3) + <usize>(p.turn & 1) * bytes;
  const before = buffer(buffers, 3) + <usize>((p.turn & 1) ^ 1) * bytes;
  for (let item = begin; item < end; item++) {
    if (item == 0) {
      const state = changetype<State>(buffer(buffers, 2));
      produce(n, buffer(buffers, 0), buffer(buffers, 1), state, present);
      continue;
    }
    const row = (item - 1) << 2;
    const padded = paddedRows(n);
    const strip = buffer(buffers, 4) + stripAt(row, padded);
    if (p.turn == 0) {
      memory.fill(strip, 0, stripAt(4, padded));
      for (let q = 0; q < 4; q++) store<f64>(strip + stepAt(row + q) + at(q), 1);
    } else applyBatch(n, strip, before);
  }
}

/** Sweeps until the batch is full or every eigenvalue is found. */
function produce(n: i32, d: usize, e: usize, state: State, batch: usize): void {
  let pairs = 0;
  let open = false; // the last pair has room for a second sweep
  store<i32>(batch, 0);
  while (state.done == 0) {
    if (state.direction == 0 && !beginBlock(n, d, e, state)) {
      state.done = 1;
      break;
    }
    const way = state.direction;
    const l = state.active;
    // The nearest place at which the block falls apart; entry k of e joins rows k and k + 1.
    let m = l;
    while (m != state.far && !negligible(d, e, way > 0 ? m : m - 1)) m += way;
    if (m != state.far) store<f64>(e + at(way > 0 ? m : m - 1), 0);
    if (m == l) {
      state.active += way;
      if (l == state.far) state.direction = 0;
      continue;
    }
    if (state.sweeps == MAX_SWEEPS * n) {
      state.failed = 1;
      state.done = 1;
      break;
    }
    const low = min(l, m);
    const high = max(l, m);
    const second = open && joinable(batch, pairs - 1, low, high, way);
    if (!second && pairs == SWEEP_PAIRS) break;
    if (!second) pairs++;
    const slots = batch + BATCH_HEAD + stepAt((pairs - 1) * n);
    if (second) joinPair(batch, pairs - 1, low, high, slots);
    else beginPair(batch, pairs - 1, low, high, way, slots);
    sweep(d, e, l, m, way, slots + (second ? 16 : 0));
    open = !second;
    state.sweeps++;
    store<i32>(batch, pairs);
  }
}

/** Finds the next block of more than one row, and begins at the end with the smaller entry. */
function beginBlock(n: i32, d: usize, e: usize, state: State): bool {
  while (state.next < n) {
    const first = state.next;
    let last = first;
    while (last < n - 1 && !negligible(d, e, last)) last++;
    if (last < n - 1) store<f64>(e + at(last), 0);
    state.next = last + 1;
    if (last == first) continue;
    const down = abs(load<f64>(d + at(last))) < abs(load<f64>(d + at(first)));
    state.active = down ? last : first;
    state.far = down ? first : last;
    state.direction = down ? -1 : 1;
    return true;
  }
  return false;
}

// @ts-ignore: decorator
@inline
function negligible(d: usize, e: usize, k: i32): bool {
  const off = load<f64>(e + at(k));
  return off * off <= EPSILON2 * abs(load<f64>(d + at(k))) * abs(load<f64>(d + at(k + 1))) + SMALLEST;
}

/**
 * One sweep that drives the entry of e next to row l towards zero: QL from m down to l < m (way 1), or QR from m up to
 * l > m (way -1); the two differ in their direction only. Rotations go to `slots`, two doubles in each 32 bytes.
 */
function sweep(d: usize, e: usize, l: i32, m: i32, way: i32, slots: usize): void {
  const side = way > 0 ? 0 : -1; // e's entry between rows i and i + way is i + side
  const dl = load<f64>(d + at(l));
  const el = load<f64>(e + at(l + side));
  const half = (load<f64>(d + at(l + way)) - dl) / (2 * el);
  let g = load<f64>(d + at(m)) - dl + el / (half + copysign<f64>(hypotenuse(half, 1), half));
  let c: f64 = 1;
  let s: f64 = 1;
  let shift: f64 = 0;
  for (let i = m - way; ; i -= way) {
    const inner = load<f64>(e + at(i + side));
    const f = s * inner;
    const b = c * inner;
    const r = hypotenuse(f, g);
    if (r == 0) {
      c = 1;
      s = 0;
    } else {
      c = g / r;
      s = f / r;
    }
    if (i != m - way) store<f64>(e + at(i + way + side), r);
    const outer = load<f64>(d + at(i + way)) - shift;
    const turned = (load<f64>(d + at(i)) - outer) * s + 2 * c * b;
    shift = s * turned;
    store<f64>(d + at(i + way), outer + shift);
    g = c * turned - b;
    const slot = slots + stepAt(i + side);
    store<f64>(slot, c);
    store<f64>(slot, s, 8);
    if (i == l) break;
  }
  store<f64>(d + at(l), dl - shift);
  store<f64>(e + at(l + side), g);
}

/** sqrt(a^2 + b^2). Entries are at most about n; squares of the smallest would be lost. */
// @ts-ignore: decorator
@inline
function hypotenuse(a: f64, b: f64): f64 {
  const larger = max(abs(a), abs(b));
  if (larger > 1e-140 && larger < 1e140) return sqrt<f64>(a * a + b * b);
  if (larger == 0) return 0;
  const ratio = min(abs(a), abs(b)) / larger;
  return larger * sqrt<f64>(1 + ratio * ratio);
}

/** The address of a pair's { begin, end, direction }. */
// @ts-ignore: decorator
@inline
function pairAt(batch: usize, pair: i32): usize {
  return batch + 16 + (<usize>pair << 4);
}

/** Whether a sweep of steps [low, high) runs the way of the pair's first, and about where that did. */
function joinable(batch: usize, pair: i32, low: i32, high: i32, way: i32): bool {
  const head = pairAt(batch, pair);
  const begin = load<i32>(head);
  const end = load<i32>(head, 4);
  return load<i32>(head, 8) == way && max(end, high) - min(begin, low) <= end - begin + high - low;
}

function beginPair(batch: usize, pair: i32, low: i32, high: i32, way: i32, slots: usize): void {
  const head = pairAt(batch, pair);
  store<i32>(head, low);
  store<i32>(head, high, 4);
  store<i32>(head, way, 8);
  fillIdentity(slots + 16, low, high);
}

function joinPair(batch: usize, pair: i32, low: i32, high: i32, slots: usize): void {
  const head = pairAt(batch, pair);
  const begin = load<i32>(head);
  const end = load<i32>(head, 4);
  store<i32>(head, min(begin, low));
  store<i32>(head, max(end, high), 4);
  // Between the two ranges, where they do not meet, neither has a rotation.
  fillIdentity(slots, low, begin);
  fillIdentity(slots, end, high);
  fillIdentity(slots + 16, end, low);
  fillIdentity(slots + 16, high, begin);
}

function fillIdentity(slots: usize, begin: i32, end: i32): void {
  for (let k = begin; k < end; k++) {
    store<f64>(slots + stepAt(k), 1);
    store<f64>(slots + stepAt(k), 0, 8);
  }
}

function applyBatch(n: i32, z: usize, batch: usize): void {
  const pairs = load<i32>(batch);
  for (let pair = 0; pair < pairs; pair++) {
    const head = pairAt(batch, pair);
    const begin = load<i32>(head);
    const end = load<i32>(head, 4);
    const slots = batch + BATCH_HEAD + stepAt(pair * n);
    // QL runs from the last step to the first.
    if (load<i32>(head, 8) > 0) applyPair(z + stepAt(end), -32, slots + stepAt(end - 1), end - begin);
    else applyPair(z + stepAt(begin), 32, slots + stepAt(begin), end - begin);
  }
}

/**
 * Two sweeps over columns z, z + way, z + 2 way, ...: a rotation makes (c x + s y, c y - s x) of the column x carried
 * along and the next column y.
 */
function applyPair(z: usize, way: isize, slot: usize, steps: i32): void {
  let y0 = v128.load(z + <usize>way);
  let y1 = v128.load(z + <usize>way, 16);
  let x0 = v128.load(z);
  let x1 = v128.load(z, 16);
  let c = v128.load64_splat(slot);
  let s = v128.load64_splat(slot, 8);
  // What the second sweep carries: at first, the first column that the first one has left behind.
  let w0 = f64x2.add(f64x2.mul(c, x0), f64x2.mul(s, y0));
  let w1 = f64x2.add(f64x2.mul(c, x1), f64x2.mul(s, y1));
  x0 = f64x2.sub(f64x2.mul(c, y0), f64x2.mul(s, x0));
  x1 = f64x2.sub(f64x2.mul(c, y1), f64x2.mul(s, x1));
  for (let step = 1; step < steps; step++) {
    const next = z + <usize>(way << 1);
    y0 = v128.load(next);
    y1 = v128.load(next, 16);
    const c2 = v128.load64_splat(slot, 16);
    const s2 = v128.load64_splat(slot, 24);
    slot += <usize>way;
    c = v128.load64_splat(slot);
    s = v128.load64_splat(slot, 8);
    const left0 = f64x2.add(f64x2.mul(c, x0), f64x2.mul(s, y0));
    const left1 = f64x2.add(f64x2.mul(c, x1), f64x2.mul(s, y1));
    x0 = f64x2.sub(f64x2.mul(c, y0), f64x2.mul(s, x0));
    x1 = f64x2.sub(f64x2.mul(c, y1), f64x2.mul(s, x1));
    v128.store(z, f64x2.add(f64x2.mul(c2, w0), f64x2.mul(s2, left0)));
    v128.store(z, f64x2.add(f64x2.mul(c2, w1), f64x2.mul(s2, left1)), 16);
    w0 = f64x2.sub(f64x2.mul(c2, left0), f64x2.mul(s2, w0));
    w1 = f64x2.sub(f64x2.mul(c2, left1), f64x2.mul(s2, w1));
    z += <usize>way;
  }
  const c2 = v128.load64_splat(slot, 16);
  const s2 = v128.load64_splat(slot, 24);
  v128.store(z, f64x2.add(f64x2.mul(c2, w0), f64x2.mul(s2, x0)));
  v128.store(z, f64x2.add(f64x2.mul(c2, w1), f64x2.mul(s2, x1)), 16);
  v128.store(z + <usize>way, f64x2.sub(f64x2.mul(c2, x0), f64x2.mul(s2, w0)));
  v128.store(z + <usize>way, f64x2.sub(f64x2.mul(c2, x1), f64x2.mul(s2, w1)), 16);
}

/** The byte offset of double `index`. */
// @ts-ignore: decorator
@inline
function at(index: i32): usize {
  return <usize>index << 3;
}
