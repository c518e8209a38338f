/** The float32 micro-kernel in plain SIMD: every product is rounded before it is added. See `micro32.ts`. */
import { storeRow } from "./micro32";

export function microSimd32(
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
    left0 = f32x4.add(left0, f32x4.mul(a0, left));
    right0 = f32x4.add(right0, f32x4.mul(a0, right));
    const a1 = v128.load32_splat(a, 4);
    left1 = f32x4.add(left1, f32x4.mul(a1, left));
    right1 = f32x4.add(right1, f32x4.mul(a1, right));
    const a2 = v128.load32_splat(a, 8);
    left2 = f32x4.add(left2, f32x4.mul(a2, left));
    right2 = f32x4.add(right2, f32x4.mul(a2, right));
    const a3 = v128.load32_splat(a, 12);
    left3 = f32x4.add(left3, f32x4.mul(a3, left));
    right3 = f32x4.add(right3, f32x4.mul(a3, right));
    a += 16;
    b += 32;
  } while (b < end);
  const scale = f32x4.splat(alpha);
  storeRow(c, scale, left0, right0, overwrite);
  storeRow(c + stride, scale, left1, right1, overwrite);
  storeRow(c + 2 * stride, scale, left2, right2, overwrite);
  storeRow(c + 3 * stride, scale, left3, right3, overwrite);
}
