/**
 * Philox 4x32-10: the words of a random stream, those of `sdk/engine/rng.ts`, which has its source and what the counter and
 * the key hold. Four blocks at a time, one in each lane: 200 operations for sixteen words.
 */

const MULTIPLIER_0: u32 = 0xd2511f53;
const MULTIPLIER_1: u32 = 0xcd9e8d57;
/** The golden ratio and sqrt(3) - 1, in units of 2^-32. */
const WEYL_0: u32 = 0x9e3779b9;
const WEYL_1: u32 = 0xbb67ae85;
const ROUNDS: i32 = 10;

/** Blocks that are made at a time, and words of a block. */
export const BLOCKS: u32 = 4;
export const WORDS: u32 = 4;

/** Writes the sixteen words of blocks `block` to `block` + 3 to `to`, in the stream's order. */
export function philox(
  block: u32, indexLow: u32, indexHigh: u32, stream: u32, seedLow: u32, seedHigh: u32, to: usize,
): void {
  let c0 = i32x4.add(i32x4.splat(block), i32x4(0, 1, 2, 3));
  let c1 = i32x4.splat(indexLow);
  let c2 = i32x4.splat(indexHigh);
  let c3 = i32x4.splat(stream);
  let k0 = seedLow;
  let k1 = seedHigh;
  const multiplier0 = i32x4.splat(MULTIPLIER_0);
  const multiplier1 = i32x4.splat(MULTIPLIER_1);
  for (let round = 0; round < ROUNDS; round++) {
    const left0 = i64x2.extmul_low_i32x4_u(c0, multiplier0);
    const right0 = i64x2.extmul_high_i32x4_u(c0, multiplier0);
    const left1 = i64x2.extmul_low_i32x4_u(c2, multiplier1);
    const right1 = i64x2.extmul_high_i32x4_u(c2, multiplier1);
    c0 = v128.xor(v128.xor(high(left1, right1), c1), i32x4.splat(k0));
    c1 = low(left1, right1);
    c2 = v128.xor(v128.xor(high(left0, right0), c3), i32x4.splat(k1));
    c3 = low(left0, right0);
    k0 += WEYL_0;
    k1 += WEYL_1;
  }
  // From a word in each vector to a block in each.
  const even = v128.shuffle<i32>(c0, c1, 0, 4, 1, 5);
  const odd = v128.shuffle<i32>(c2, c3, 0, 4, 1, 5);
  const evenHigh = v128.shuffle<i32>(c0, c1, 2, 6, 3, 7);
  const oddHigh = v128.shuffle<i32>(c2, c3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(even, odd, 0, 2));
  v128.store(to, v128.shuffle<i64>(even, odd, 1, 3), 16);
  v128.store(to, v128.shuffle<i64>(evenHigh, oddHigh, 0, 2), 32);
  v128.store(to, v128.shuffle<i64>(evenHigh, oddHigh, 1, 3), 48);
}

/** The low and the high halves of four 64-bit products. */
// @ts-ignore: decorator
@inline
function low(left: v128, right: v128): v128 {
  return v128.shuffle<i32>(left, right, 0, 2, 4, 6);
}

// @ts-ignore: decorator
@inline
function high(left: v128, right: v128): v128 {
  return v128.shuffle<i32>(left, right, 1, 3, 5, 7);
}
