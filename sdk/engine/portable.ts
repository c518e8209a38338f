/**
 * log, sin and cos from operations that IEEE 754 rounds exactly (+, -, *, / in float64), so that they give the same
 * bits in every JavaScript engine and in WebAssembly. Math.log, Math.sin and Math.cos do not: ECMAScript leaves their
 * last bits to the engine, and V8 has changed them between versions. Random numbers and generated data go through
 * these; anything that need not be reproduced to the bit may use Math.
 */

const bits = new DataView(new ArrayBuffer(8));

/** The power of two of the number that `mantissaOf` saw. */
export interface Octave {
  exponent: number;
}

/** A positive, normal, finite x (not checked) is m 2^e with m in (sqrt(1/2), sqrt(2)]: m, and e into `out`. */
export function mantissaOf(x: number, out: Octave): number {
  bits.setFloat64(0, x);
  const high = bits.getUint32(0);
  bits.setUint32(0, (high & 0x000fffff) | 0x3ff00000);
  const mantissa = bits.getFloat64(0);
  const large = mantissa > Math.SQRT2;
  out.exponent = (high >>> 20) - (large ? 1022 : 1023);
  return large ? 0.5 * mantissa : mantissa;
}

const octave: Octave = { exponent: 0 };

/**
 * Natural logarithm of a positive, normal, finite x (not checked), to about 2 ulp.
 *
 * With x = m 2^e, log m = 2 artanh(s) with s = (m - 1) / (m + 1), |s| < 0.1716. The series is cut where its next term,
 * s^23 / 23, is below 2^-62.
 */
export function portableLog(x: number): number {
  const mantissa = mantissaOf(x, octave);
  const s = (mantissa - 1) / (mantissa + 1);
  const z = s * s;
  let series = 1 / 21;
  for (let odd = 19; odd >= 1; odd -= 2) series = series * z + 1 / odd;
  return octave.exponent * Math.LN2 + 2 * s * series;
}

export interface SinCos {
  sin: number;
  cos: number;
}

/**
 * Sine and cosine of `turns` whole turns (1 = 2 pi), for |turns| < 2^50, to about 1 ulp of 1, written to `out`.
 *
 * Turns reduce exactly: t = q/4 + r with |r| <= 1/8, so |2 pi r| <= pi/4, where Taylor's series to x^17 and x^18 leave
 * less than 2^-60.
 */
export function sinCosTurns(turns: number, out: SinCos): void {
  const quarter = Math.floor(turns * 4 + 0.5);
  const x = (turns - quarter * 0.25) * (2 * Math.PI);
  const z = x * x;
  let sin = 1;
  for (let n = 16; n >= 2; n -= 2) sin = 1 - (sin * z) / (n * (n + 1));
  sin *= x;
  let cos = 1;
  for (let n = 17; n >= 1; n -= 2) cos = 1 - (cos * z) / (n * (n + 1));
  switch (((quarter % 4) + 4) % 4) {
    case 0:
      out.sin = sin;
      out.cos = cos;
      break;
    case 1:
      out.sin = cos;
      out.cos = -sin;
      break;
    case 2:
      out.sin = -sin;
      out.cos = -cos;
      break;
    default:
      out.sin = -cos;
      out.cos = sin;
  }
}
