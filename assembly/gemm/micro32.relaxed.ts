/** The float32 micro-kernel with relaxed SIMD's fused multiply-add. See `micro32.ts`. */
import { storeRow } from "./micro32";

export function microRelaxed32(
  depth: i32,
  a: usize,
  b: usize,
  alpha: f32,
  c: usize,
  stride: usize,
  overwrite: bool,
): void {
  let left0 = f32x4.splat(0);
  let right0 = f32x4.splat(0);
  let left1 = f32x4.splat(0);
  let right1 = f32x4.splat(0);
  let left2 = f32x4.splat(0);
  let right2 = f32x4.splat(0);
  let left3 = f32x4.splat(0);
  let right3 = f32x4.splat(0);
  const end = b + (<usize>depth << 5);
  do {
    const left = v128.load(b);
    const right = v128.load(b, 16);
    const a0 = v128.load32_splat(a);
    left0 = v128.relaxed_madd<f32>(a0, left, left0);
    right0 = v128.relaxed_madd<f32>(a0, right, right0);
    const a1 = v128.load32_splat(a, 4);
    left1 = v128.relaxed_madd<f32>(a1, left, left1);
    right1 = v128.relaxed_madd<f32>(a1, right, right1);
    const a2 = v128.load32_splat(a, 8);
    left2 = v128.relaxed_madd<f32>(a2, left, left2);
    right2 = v128.relaxed_madd<f32>(a2, right, right2);
    const a3 = v128.load32_splat(a, 12);
    left3 = v128.relaxed_madd<f32>(a3, left, left3);
    right3 = v128.relaxed_madd<f32>(a3, right, right3);
    a += 16;
    b += 32;
  } while (b < end);
  const scale = f32x4.splat(alpha);
  storeRow(c, scale, left0, right0, overwrite);
  storeRow(c + stride, scale, left1, right1, overwrite);
  storeRow(c + 2 * stride, scale, left2, right2, overwrite);
  storeRow(c + 3 * stride, scale, left3, right3, overwrite);
}
