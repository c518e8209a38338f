/**
 * What softmax and the losses of class scores share: the sum of e^(x - m) over a row, with m its largest entry. A row's
 * largest term is 1; leaving it out and adding it in a `log1p` keeps the relative accuracy of a small rest.
 */
import { exponential } from "../elementwise/exponential";
import { firstLanes, loadPart, push, storePart, sumLanes, total } from "../pairwise";

/** Floats that one vector of running sums takes, 16 in a lane, before it is joined with others pairwise. */
export const LEAF: i32 = 64;

/**
 * The sum of e^(x - most) over `count` entries but the one at place `without` (-1: over all). Where `out` is not 0, the
 * terms are stored there, all of them; it may be the row itself. A NaN or infinite `most` makes the sum NaN.
 */
export function sumOfExps(row: usize, count: i32, most: f32, without: i32, out: usize, stack: usize): f32 {
  const shift = f32x4.splat(most);
  const left = i32x4.splat(without);
  let places = i32x4(0, 1, 2, 3);
  let leaves = 0;
  for (let k = 0; k < count; k += LEAF) {
    const end = min(k + LEAF, count);
    let sum = f32x4.splat(0);
    let j = k;
    for (; j + 4 <= end; j += 4) {
      const offset = <usize>j << 2;
      const term = exponential(f32x4.sub(v128.load(row + offset), shift));
      if (out) v128.store(out + offset, term);
      sum = f32x4.add(sum, v128.andnot(term, i32x4.eq(places, left)));
      places = i32x4.add(places, i32x4.splat(4));
    }
    if (j < end) {
      const offset = <usize>j << 2;
      const term = exponential(f32x4.sub(loadPart(row + offset, end - j), shift));
      if (out) storePart(out + offset, end - j, term);
      sum = f32x4.add(sum, v128.and(v128.andnot(term, i32x4.eq(places, left)), firstLanes(end - j)));
    }
    push(stack, leaves, sum);
    leaves++;
  }
  return sumLanes(total(stack, leaves));
}

/** The first place of `value` in a row; `count` where it is not there. */
export function placeOf(row: usize, count: i32, value: f32): i32 {
  const wanted = f32x4.splat(value);
  let j = 0;
  while (j + 4 <= count && !v128.any_true(f32x4.eq(v128.load(row + (<usize>j << 2)), wanted))) j += 4;
  while (j < count && load<f32>(row + (<usize>j << 2)) != value) j++;
  return j;
}
