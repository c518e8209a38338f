/** The float64 micro-kernel in plain SIMD: every product is rounded before it is added. See `micro64.ts`. */
export function microSimd64(depth: i32, v: usize, s: usize, c: usize): void {
  let low0 = f64x2.splat(0);
  let high0 = f64x2.splat(0);
  let low1 = f64x2.splat(0);
  let high1 = f64x2.splat(0);
  let low2 = f64x2.splat(0);
  let high2 = f64x2.splat(0);
  let low3 = f64x2.splat(0);
  let high3 = f64x2.splat(0);
  const end = s + (<usize>depth << 5);
  while (s < end) {
    const low = v128.load(v);
    const high = v128.load(v, 16);
    const s0 = v128.load64_splat(s);
    low0 = f64x2.add(low0, f64x2.mul(s0, low));
    high0 = f64x2.add(high0, f64x2.mul(s0, high));
    const s1 = v128.load64_splat(s, 8);
    low1 = f64x2.add(low1, f64x2.mul(s1, low));
    high1 = f64x2.add(high1, f64x2.mul(s1, high));
    const s2 = v128.load64_splat(s, 16);
    low2 = f64x2.add(low2, f64x2.mul(s2, low));
    high2 = f64x2.add(high2, f64x2.mul(s2, high));
    const s3 = v128.load64_splat(s, 24);
    low3 = f64x2.add(low3, f64x2.mul(s3, low));
    high3 = f64x2.add(high3, f64x2.mul(s3, high));
    v += 32;
    s += 32;
  }
  v128.store(c, f64x2.sub(v128.load(c), low0));
  v128.store(c, f64x2.sub(v128.load(c, 16), high0), 16);
  v128.store(c, f64x2.sub(v128.load(c, 32), low1), 32);
  v128.store(c, f64x2.sub(v128.load(c, 48), high1), 48);
  v128.store(c, f64x2.sub(v128.load(c, 64), low2), 64);
  v128.store(c, f64x2.sub(v128.load(c, 80), high2), 80);
  v128.store(c, f64x2.sub(v128.load(c, 96), low3), 96);
  v128.store(c, f64x2.sub(v128.load(c, 112), high3), 112);
}
