/**
 * Each row of a row-major float32 matrix to one number (schema: `sdk/engine/kernels/reduce.ts`). A row is one work
 * item, so results do not depend on threads.
 *
 * A sum is a fixed tree over the columns, and its error grows with the tree's depth:
 *   - leaves of LEAF = 128 columns (the last one filled up with zeros): 16 interleaved running sums (column mod 16) of
 *     8 terms each, as four vectors s0..s3, joined as (s0 + s1) + (s2 + s3), and its lanes as (l0 + l2) + (l1 + l3);
 *   - leaves are joined pairwise, as a binary counter carries: ((0 1)(2 3))((4 5)(6 7)) ..., what is left over at the
 *     end from the smallest subtree up.
 *
 * NaN: a NaN in a row makes its sum, max and min NaN, and the first NaN is its argmax, as in NumPy. -0 and +0 are equal
 * to argmax, which names the first largest. An empty row has sum 0, max -infinity, min +infinity and argmax 0.
 */
import { buffer } from "./dispatch";
import { ReduceParams } from "./generated/kernels";

/** `ReduceOperation` of the schema. */
const SUM: u32 = 0;
const MAX: u32 = 1;
const MIN: u32 = 2;

const LEAF: i32 = 128;
const LEAF_BYTES: usize = 512;

export function reduce(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<ReduceParams>(params);
  const columns = <i32>p.columns;
  const operation = p.operation;
  const out = buffer(buffers, 1);
  for (let row = begin; row < end; row++) {
    const a = buffer(buffers, 0) + (<usize>row * <usize>columns << 2);
    let value: f32;
    if (operation == SUM) value = sum(a, columns, scratch);
    else if (operation == MAX) value = largest(a, columns);
    else if (operation == MIN) value = smallest(a, columns);
    else value = <f32>argmax(a, columns);
    store<f32>(out + (<usize>row << 2), value);
  }
}

/** The stack of subtrees lives in scratch, behind the padded last leaf: at most 32 floats. */
function sum(a: usize, columns: i32, scratch: usize): f32 {
  const stack = scratch + LEAF_BYTES;
  const leaves = columns / LEAF;
  const rest = columns - leaves * LEAF;
  let depth: usize = 0;
  for (let leaf = 0; leaf < leaves + i32(rest > 0); leaf++) {
    let total: f32;
    if (leaf < leaves) total = leafSum(a + <usize>leaf * LEAF_BYTES);
    else {
      memory.fill(scratch, 0, LEAF_BYTES);
      memory.copy(scratch, a + <usize>leaf * LEAF_BYTES, <usize>rest << 2);
      total = leafSum(scratch);
    }
    for (let carry = leaf; carry & 1; carry >>= 1) total = load<f32>(stack + (--depth << 2)) + total;
    store<f32>(stack + (depth++ << 2), total);
  }
  if (depth == 0) return 0;
  let total = load<f32>(stack + (--depth << 2));
  while (depth > 0) total = load<f32>(stack + (--depth << 2)) + total;
  return total;
}

function leafSum(a: usize): f32 {
  let s0 = v128.load(a);
  let s1 = v128.load(a, 16);
  let s2 = v128.load(a, 32);
  let s3 = v128.load(a, 48);
  for (let at = a + 64; at < a + LEAF_BYTES; at += 64) {
    s0 = f32x4.add(s0, v128.load(at));
    s1 = f32x4.add(s1, v128.load(at, 16));
    s2 = f32x4.add(s2, v128.load(at, 32));
    s3 = f32x4.add(s3, v128.load(at, 48));
  }
  const joined = f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3));
  const even = f32x4.extract_lane(joined, 0) + f32x4.extract_lane(joined, 2);
  return even + (f32x4.extract_lane(joined, 1) + f32x4.extract_lane(joined, 3));
}

/** The largest of a row; NaN where it holds one, -infinity where it is empty. */
export function largest(a: usize, columns: i32): f32 {
  let lanes = f32x4.splat(-Infinity);
  let j = 0;
  for (; j + 4 <= columns; j += 4) lanes = f32x4.max(lanes, v128.load(a + (<usize>j << 2)));
  let value = max(
    max(f32x4.extract_lane(lanes, 0), f32x4.extract_lane(lanes, 1)),
    max(f32x4.extract_lane(lanes, 2), f32x4.extract_lane(lanes, 3)),
  );
  for (; j < columns; j++) value = max(value, load<f32>(a + (<usize>j << 2)));
  return value;
}

function smallest(a: usize, columns: i32): f32 {
  let lanes = f32x4.splat(Infinity);
  let j = 0;
  for (; j + 4 <= columns; j += 4) lanes = f32x4.min(lanes, v128.load(a + (<usize>j << 2)));
  let value = min(
    min(f32x4.extract_lane(lanes, 0), f32x4.extract_lane(lanes, 1)),
    min(f32x4.extract_lane(lanes, 2), f32x4.extract_lane(lanes, 3)),
  );
  for (; j < columns; j++) value = min(value, load<f32>(a + (<usize>j << 2)));
  return value;
}

/** Two passes: the largest value, vectorised, then its first place. */
function argmax(a: usize, columns: i32): i32 {
  const value = largest(a, columns);
  for (let j = 0; j < columns; j++) {
    const entry = load<f32>(a + (<usize>j << 2));
    if (entry == value || entry != entry) return j;
  }
  return 0;
}
