/**
 * Sums of vectors in a fixed tree, whose error grows with its depth: terms are joined pairwise, as a binary counter
 * carries, ((0 1)(2 3))((4 5)(6 7)) ..., and what is left over at the end from the smallest subtree up. The stack holds
 * the subtrees that wait for a partner, one for each bit of the number of terms so far: STACK_BYTES are enough for 2^32.
 */
export const STACK_BYTES: usize = 512;

/** Adds `value` to a sum of `count` terms. */
// @ts-ignore: decorator
@inline
export function push(stack: usize, count: i32, value: v128): void {
  let top = stack + (<usize>popcnt<i32>(count) << 4);
  for (let carry = count; carry & 1; carry >>= 1) {
    top -= 16;
    value = f32x4.add(v128.load(top), value);
  }
  v128.store(top, value);
}

/** The sum of `count` terms, lane by lane. */
export function total(stack: usize, count: i32): v128 {
  let top = stack + (<usize>popcnt<i32>(count) << 4);
  if (top == stack) return f32x4.splat(0);
  top -= 16;
  let sum = v128.load(top);
  while (top > stack) {
    top -= 16;
    sum = f32x4.add(v128.load(top), sum);
  }
  return sum;
}

/** (l0 + l2) + (l1 + l3) */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  const even = f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 2);
  return even + (f32x4.extract_lane(v, 1) + f32x4.extract_lane(v, 3));
}

/** The first `count` = 1, 2 or 3 floats at an address, and zeros: nothing behind them is read. */
// @ts-ignore: decorator
@inline
export function loadPart(at: usize, count: i32): v128 {
  if (count == 1) return v128.load32_zero(at);
  const two = v128.load64_zero(at);
  return count == 2 ? two : v128.load32_lane(at + 8, two, 2);
}

/** Stores the first `count` = 1, 2 or 3 lanes. */
// @ts-ignore: decorator
@inline
export function storePart(at: usize, count: i32, value: v128): void {
  if (count == 1) {
    v128.store32_lane(at, value, 0);
    return;
  }
  v128.store64_lane(at, value, 0);
  if (count == 3) v128.store32_lane(at + 8, value, 2);
}

/** All bits of the first `count` lanes. */
// @ts-ignore: decorator
@inline
export function firstLanes(count: i32): v128 {
  return i32x4.gt_s(i32x4.splat(count), i32x4(0, 1, 2, 3));
}
