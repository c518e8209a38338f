/**
 * Normal numbers of a random stream, times a scale (schema: `sdk/engine/kernels/random-normal.ts`). A work item is a Philox
 * block: four words, two Box-Muller pairs, four numbers. Bit for bit what `sdk/engine/rng.ts` makes: the same operations in
 * the same order, in float64 with the two pairs in the lanes of a vector, rounded to float32 at the end.
 */
import { buffer } from "./dispatch";
import { RandomNormalParams } from "./generated/kernels";
import { philox, BLOCKS } from "./philox";

const TWO_32: f64 = 4294967296;
const LN2: f64 = 0.6931471805599453;
const SQRT2: f64 = 1.4142135623730951;
const TWO_PI: f64 = 6.283185307179586;

export function randomNormal(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<RandomNormalParams>(params);
  const out = buffer(buffers, 0);
  const count = <i32>p.count;
  const scale = f32x4.splat(p.scale);
  for (let block = begin; block < end; block++) {
    const place = <u32>(block - begin) % BLOCKS;
    if (place == 0) philox(block, p.indexLow, p.indexHigh, p.stream, p.seedLow, p.seedHigh, scratch);
    const to = out + (<usize>block << 4);
    const words = scratch + (<usize>place << 4);
    const numbers = f32x4.mul(normals(v128.load(words)), scale);
    if (block * 4 + 4 <= count) v128.store(to, numbers);
    else {
      v128.store(words, numbers);
      memory.copy(to, words, <usize>(count - block * 4) << 2);
    }
  }
}

/** The four numbers of a block's words, in float32. */
function normals(words: v128): v128 {
  const first = f64x2.convert_low_i32x4_u(v128.shuffle<i32>(words, words, 0, 2, 0, 2));
  const second = f64x2.convert_low_i32x4_u(v128.shuffle<i32>(words, words, 1, 3, 1, 3));
  const u = f64x2.div(f64x2.add(first, f64x2.splat(1)), f64x2.splat(TWO_32));
  const radius = f64x2.sqrt(f64x2.mul(f64x2.splat(-2), logarithm(u)));
  return boxMuller(radius, f64x2.div(second, f64x2.splat(TWO_32)));
}

/** `portableLog` of two numbers. */
// @ts-ignore: decorator
@inline
function logarithm(x: v128): v128 {
  const one = f64x2.splat(1);
  const raised = i64x2.shr_u(x, 52);
  let mantissa = v128.or(v128.and(x, i64x2.splat(0x000fffffffffffff)), i64x2.splat(0x3ff0000000000000));
  const large = f64x2.gt(mantissa, f64x2.splat(SQRT2));
  mantissa = v128.bitselect(f64x2.mul(mantissa, f64x2.splat(0.5)), mantissa, large);
  // `large` is -1 where the mantissa was halved.
  const exponents = i64x2.sub(i64x2.sub(raised, i64x2.splat(1023)), large);
  const exponent = f64x2.convert_low_i32x4_s(v128.shuffle<i32>(exponents, exponents, 0, 2, 0, 2));
  const s = f64x2.div(f64x2.sub(mantissa, one), f64x2.add(mantissa, one));
  const z = f64x2.mul(s, s);
  let series = f64x2.splat(1.0 / 21);
  series = f64x2.add(f64x2.mul(series, z), f64x2.splat(1.0 / 19));
  series = f64x2.add(f64x2.mul(series, z), f64x2.splat(1.0 / 17));
  series = f64x2.add(f64x2.mul(series, z), f64x2.splat(1.0 / 15));
  series = f64x2.add(f64x2.mul(series, z), f64x2.splat(1.0 / 13));
  series = f64x2.add(f64x2.mul(series, z), f64x2.splat(1.0 / 11));
  series = f64x2.add(f64x2.mul(series, z), f64x2.splat(1.0 / 9));
  series = f64x2.add(f64x2.mul(series, z), f64x2.splat(1.0 / 7));
  series = f64x2.add(f64x2.mul(series, z), f64x2.splat(1.0 / 5));
  series = f64x2.add(f64x2.mul(series, z), f64x2.splat(1.0 / 3));
  series = f64x2.add(f64x2.mul(series, z), one);
  const tail = f64x2.mul(f64x2.mul(f64x2.splat(2), s), series);
  return f64x2.add(f64x2.mul(exponent, f64x2.splat(LN2)), tail);
}

/** (r0 cos t0, r0 sin t0, r1 cos t1, r1 sin t1) in float32, for angles in turns: `sinCosTurns` of two numbers. */
// @ts-ignore: decorator
@inline
function boxMuller(radius: v128, turns: v128): v128 {
  const one = f64x2.splat(1);
  const quarter = f64x2.floor(f64x2.add(f64x2.mul(turns, f64x2.splat(4)), f64x2.splat(0.5)));
  const x = f64x2.mul(f64x2.sub(turns, f64x2.mul(quarter, f64x2.splat(0.25))), f64x2.splat(TWO_PI));
  const z = f64x2.mul(x, x);
  let sin = one;
  let cos = f64x2.sub(one, f64x2.div(z, f64x2.splat(306)));
  for (let n: f64 = 16; n >= 2; n -= 2) {
    sin = f64x2.sub(one, f64x2.div(f64x2.mul(sin, z), f64x2.splat(n * (n + 1))));
    cos = f64x2.sub(one, f64x2.div(f64x2.mul(cos, z), f64x2.splat((n - 1) * n)));
  }
  sin = f64x2.mul(sin, x);
  // A quarter turn swaps sine and cosine; signs follow the quadrant.
  const quadrant = i64x2.extend_low_i32x4_s(i32x4.trunc_sat_f64x2_s_zero(quarter));
  const swap = i64x2.neg(v128.and(quadrant, i64x2.splat(1)));
  const two = i64x2.splat(2);
  const sinSign = i64x2.shl(v128.and(quadrant, two), 62);
  const cosSign = i64x2.shl(v128.and(i64x2.add(quadrant, i64x2.splat(1)), two), 62);
  const sines = v128.xor(v128.bitselect(cos, sin, swap), sinSign);
  const cosines = v128.xor(v128.bitselect(sin, cos, swap), cosSign);
  const evens = f32x4.demote_f64x2_zero(f64x2.mul(radius, cosines));
  const odds = f32x4.demote_f64x2_zero(f64x2.mul(radius, sines));
  return v128.shuffle<f32>(evens, odds, 0, 4, 1, 5);
}
