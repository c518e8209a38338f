/** The float64 micro-kernel with relaxed SIMD's fused multiply-add. See `micro64.ts`. */
export function microRelaxed64(depth: i32, v: usize, s: usize, c: usize): void {
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
    low0 = v128.relaxed_madd<f64>(s0, low, low0);
    high0 = v128.relaxed_madd<f64>(s0, high, high0);
    const s1 = v128.load64_splat(s, 8);
    low1 = v128.relaxed_madd<f64>(s1, low, low1);
    high1 = v128.relaxed_madd<f64>(s1, high, high1);
    const s2 = v128.load64_splat(s, 16);
    low2 = v128.relaxed_madd<f64>(s2, low, low2);
    high2 = v128.relaxed_madd<f64>(s2, high, high2);
    const s3 = v128.load64_splat(s, 24);
    low3 = v128.relaxed_madd<f64>(s3, low, low3);
    high3 = v128.relaxed_madd<f64>(s3, high, high3);
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
