/**
 * erf on half squared distances D (and NTKs T) of four pairs. With S^2 = V + offset, V = 2 sigma^2, k = K(x, y), and
 * c_x the cosine of a pixel with itself,
 *
 *     e = S S' - k = D + offset - (S - S')^2 / 2,   1 - c = e / S S',   1 - c_x = offset / S^2
 *
 *     D' = scale ((asin c_x - asin c) + (asin c_y - asin c)) / 2,    T' = T scale / sqrt(e (2 S S' - e))
 *
 * Each difference comes without cancellation from c_x - c, by the sine of a difference of angles, wherever that is less
 * than 1/2 and c is not negative; elsewhere the angles themselves are far enough apart. Equal pixels have e = offset and
 * c = c_x, so that D' is exactly 0. e is at least offset: (V + o)(V' + o) >= (sqrt(V V') + o)^2;
 * and S S' is at least offset, where rounding must not say otherwise: blank pixels have c_x = 0, and not less.
 */
import { arcsine } from "../covariance/angles";
import { Step } from "../covariance/step";
import { LANES_PIXEL_BYTES } from "../covariance/table";
import { ROW_PIXEL_BYTES } from "./run";

export function erfRow(
  step: Step, constants: usize, from: usize, to: usize, count: u32, x: usize, y: usize, unit: usize, ntk: u32,
): void {
  const offset = f32x4.splat(step.bias);
  const scale = f32x4.splat(step.factor);
  const half = f32x4.splat(0.5);
  const two = f32x4.splat(2);
  for (; count; count--) {
    const s = deviation(v128.load32_splat(x), offset);
    const s2 = deviation(v128.load(y), offset);
    const n = f32x4.pmax(offset, f32x4.mul(s, s2));
    const double = f32x4.add(n, n);
    const h = f32x4.sub(s, s2);
    let e = f32x4.sub(f32x4.add(v128.load(from), offset), f32x4.mul(half, f32x4.mul(h, h)));
    e = f32x4.pmax(offset, f32x4.pmin(f32x4.sub(double, offset), e));
    const away = f32x4.pmin(two, f32x4.div(e, n));
    const mine = difference(f32x4.div(offset, f32x4.pmax(offset, f32x4.mul(s, s))), away, constants);
    const other = difference(f32x4.div(offset, f32x4.pmax(offset, f32x4.mul(s2, s2))), away, constants);
    let value = f32x4.mul(half, f32x4.mul(scale, f32x4.add(mine, other)));
    if (step.accumulate) value = f32x4.add(v128.load(to), value);
    v128.store(to, value);
    if (ntk) {
      let slope = f32x4.div(
        f32x4.mul(scale, v128.load(from, 16)), f32x4.sqrt(f32x4.mul(e, f32x4.sub(double, e))),
      );
      if (step.accumulate) slope = f32x4.add(v128.load(to, 16), slope);
      v128.store(to, slope, 16);
    }
    from += unit;
    to += unit;
    x += ROW_PIXEL_BYTES;
    y += LANES_PIXEL_BYTES;
  }
}

/** S of a sigma. */
function deviation(sigma: v128, offset: v128): v128 {
  return f32x4.sqrt(f32x4.add(f32x4.mul(f32x4.add(sigma, sigma), sigma), offset));
}

/** asin(1 - own) - asin(1 - away), own <= 1. */
function difference(own: v128, away: v128, constants: usize): v128 {
  const one = f32x4.splat(1);
  const two = f32x4.splat(2);
  const zero = f32x4.splat(0);
  const a = f32x4.sub(one, own);
  const b = f32x4.sub(one, away);
  const gap = f32x4.sub(away, own);
  const below = f32x4.mul(a, f32x4.sqrt(f32x4.mul(away, f32x4.sub(two, away))));
  const above = f32x4.mul(b, f32x4.sqrt(f32x4.mul(own, f32x4.sub(two, own))));
  const sine = f32x4.div(f32x4.mul(gap, f32x4.add(a, b)), f32x4.add(below, above));
  const near = arcsine(sine, f32x4.sub(one, f32x4.abs(sine)), constants);
  const far = f32x4.sub(arcsine(a, own, constants), arcsine(b, f32x4.pmin(f32x4.sub(two, away), away), constants));
  const isNear = v128.and(f32x4.lt(f32x4.abs(gap), f32x4.splat(0.5)), f32x4.ge(b, zero));
  const value = v128.bitselect(near, far, isNear);
  return v128.and(value, f32x4.ne(gap, zero));
}
