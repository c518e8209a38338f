/**
 * erf on half squared distances D (and NTKs T) of four pairs (Williams 1997, eq. 11): K' = scale asin(c), with
 * c = K / (S S') and S^2 = V + offset. With a = V / S^2 the cosine of a pixel with itself, b that of the other, and
 * m = s s' / (S S'), whose square is a b,
 *
 *     D' = scale ((asin a - asin m) / 2 - (asin m - asin b) / 2 + (asin m - asin c)),    T' = T scale / (S S' cos C)
 *
 *     sin(A - M) = a (a - b) / (a cos M + m cos A),   sin(M - B) = b (a - b) / (m cos B + b cos M),
 *     sin(M - C) = (m - c) (m + c) / (m cos C + c cos M),   m - c = d / (S S'),   d = n - K = D - (s - s')^2 / 2
 *
 * Nothing cancels where pixels are close, however small their variances are beside the offset. Where pixels are far
 * apart, (asin a + asin b) / 2 - asin c is as good. Equal pixels have a = b = m and d = 0, so that D' is exactly 0.
 * Exchanging the images changes the sign of a - b and nothing else: the same to the bit.
 */
import { arcsine } from "../covariance/angles";
import { Step } from "../covariance/step";
import { LANES_PIXEL_BYTES } from "../covariance/table";
import { gapOf, normOf } from "./bend";
import { ROW_PIXEL_BYTES } from "./run";

/** Keeps 0 / 0 away; below it float32 loses bits. */
const SMALLEST: f32 = 1e-37;

export function erfRow(
  step: Step, constants: usize, from: usize, to: usize, count: u32, x: usize, y: usize, unit: usize, ntk: u32,
): void {
  const offset = f32x4.splat(step.bias);
  const scale = f32x4.splat(step.factor);
  const half = f32x4.splat(0.5);
  const one = f32x4.splat(1);
  const two = f32x4.splat(2);
  const smallest = f32x4.splat(SMALLEST);
  for (; count; count--) {
    const sigma = v128.load32_splat(x);
    const sigma2 = v128.load(y);
    const n = normOf(x, y);
    const d = gapOf(v128.load(from), x, y, f32x4.add(n, n));
    // V and S^2 of both, 1 / (S S').
    const v = f32x4.mul(f32x4.add(sigma, sigma), sigma);
    const v2 = f32x4.mul(f32x4.add(sigma2, sigma2), sigma2);
    const large = f32x4.pmax(smallest, f32x4.add(v, offset));
    const large2 = f32x4.pmax(smallest, f32x4.add(v2, offset));
    const r = f32x4.div(one, f32x4.mul(f32x4.sqrt(large), f32x4.sqrt(large2)));
    const ur = f32x4.mul(offset, r);
    const m = f32x4.pmin(one, f32x4.mul(n, r));
    const c = f32x4.mul(f32x4.sub(n, d), r);
    const a = f32x4.div(v, large);
    const b = f32x4.div(v2, large2);
    const ua = f32x4.div(offset, large);
    const ub = f32x4.div(offset, large2);
    // 1 - m = (S S' - n) / (S S') = offset (V + V' + offset) / (S S' (S S' + n))
    const um = f32x4.div(
      f32x4.mul(ur, f32x4.add(f32x4.mul(f32x4.add(v, v2), r), ur)), f32x4.add(one, m),
    );
    const uc = f32x4.add(um, f32x4.mul(d, r)); // 1 - c
    const vc = f32x4.add(um, f32x4.mul(f32x4.sub(f32x4.add(n, n), d), r)); // 1 + c
    const cosM = f32x4.sqrt(f32x4.mul(um, f32x4.add(one, m)));
    const cosC = f32x4.sqrt(f32x4.mul(uc, vc));
    const apart = f32x4.mul(
      f32x4.mul(f32x4.mul(two, f32x4.sub(sigma, sigma2)), f32x4.add(sigma, sigma2)), f32x4.mul(r, ur),
    ); // a - b
    const first = angleOf(f32x4.mul(a, apart), turned(a, cosM, m, ua), constants);
    const second = angleOf(f32x4.mul(b, apart), turned(b, cosM, m, ub), constants);
    const below = f32x4.add(f32x4.mul(m, cosC), f32x4.mul(c, cosM));
    const bent = angleOf(f32x4.mul(f32x4.mul(d, r), f32x4.add(m, c)), below, constants);
    const near = f32x4.add(f32x4.mul(half, f32x4.sub(first, second)), bent);
    const own = f32x4.add(arcsine(a, ua, constants), arcsine(b, ub, constants));
    const far = f32x4.sub(f32x4.mul(half, own), arcsine(c, f32x4.pmin(uc, vc), constants));
    const close = v128.and(
      f32x4.le(d, f32x4.mul(half, n)), f32x4.ge(f32x4.mul(f32x4.splat(4), f32x4.pmin(a, b)), f32x4.pmax(a, b)),
    );
    let value = f32x4.mul(scale, v128.bitselect(near, far, close));
    if (step.accumulate) value = f32x4.add(v128.load(to), value);
    v128.store(to, value);
    if (ntk) {
      let slope = f32x4.mul(f32x4.mul(v128.load(from, 16), scale), f32x4.div(r, f32x4.pmax(smallest, cosC)));
      if (step.accumulate) slope = f32x4.add(v128.load(to, 16), slope);
      v128.store(to, slope, 16);
    }
    from += unit;
    to += unit;
    x += ROW_PIXEL_BYTES;
    y += LANES_PIXEL_BYTES;
  }
}

/** a cos M + m cos A, with 1 - a = `rest`. */
// @ts-ignore: decorator
@inline
function turned(a: v128, cosM: v128, m: v128, rest: v128): v128 {
  const cosA = f32x4.sqrt(f32x4.mul(rest, f32x4.add(f32x4.splat(1), a)));
  return f32x4.add(f32x4.mul(a, cosM), f32x4.mul(m, cosA));
}

/** asin(above / below), of angles below 60 degrees; what stands in lanes of larger ones is not used. */
function angleOf(above: v128, below: v128, constants: usize): v128 {
  const sine = f32x4.div(above, f32x4.pmax(f32x4.splat(SMALLEST), below));
  const rest = f32x4.pmax(f32x4.splat(0), f32x4.sub(f32x4.splat(1), f32x4.abs(sine)));
  return arcsine(sine, rest, constants);
}
