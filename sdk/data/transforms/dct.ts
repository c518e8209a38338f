/**
 * The orthonormal two-dimensional DCT-II and its inverse, of planes of any height and width, in float64.
 *
 *     F[k, l] = c_k(h) c_l(w) sum over r, s of x[r, s] cos(pi (2r + 1) k / 2h) cos(pi (2s + 1) l / 2w)
 *
 * with c_0(n) = sqrt(1 / n) and c_k(n) = sqrt(2 / n) else: an orthogonal map, so the inverse is its transpose and norms
 * stay (Parseval). F[0, 0] is the plane's sum over sqrt(hw). It is SciPy's `dctn(x, norm="ortho")`.
 *
 * Images here are 28 or 32 pixels wide, where two products with the cosine basis, h w (h + w) multiplications, are as fast
 * as a fast transform. The cosines are the portable ones: the same bits in every JavaScript engine.
 */
import { sinCosTurns } from "../../engine/portable.ts";

/** Transforms planes of one size. Keeps a plane of working memory: not for two callers at once. */
export class Dct2 {
  readonly height: number;
  readonly width: number;
  readonly #columns: Basis;
  readonly #rows: Basis;
  /** [width, height] after the first of two passes. */
  readonly #halfway: Float64Array;

  constructor(height: number, width: number) {
    this.height = height;
    this.width = width;
    this.#rows = basis(width);
    this.#columns = height === width ? this.#rows : basis(height);
    this.#halfway = new Float64Array(height * width);
  }

  /** Replaces the plane at plane[offset ..], row-major, by its spectrum, whose entry (k, l) belongs to frequency k down and l across. */
  forward(plane: Float64Array, offset = 0): void {
    const { height, width } = this;
    productTransposed(plane, offset, height, width, this.#rows.forward, this.#halfway, 0);
    productTransposed(this.#halfway, 0, width, height, this.#columns.forward, plane, offset);
  }

  /** Replaces the spectrum at spectrum[offset ..] by its plane. */
  inverse(spectrum: Float64Array, offset = 0): void {
    const { height, width } = this;
    productTransposed(spectrum, offset, height, width, this.#rows.inverse, this.#halfway, 0);
    productTransposed(this.#halfway, 0, width, height, this.#columns.inverse, spectrum, offset);
  }
}

interface Basis {
  /** [n, n], a row for each frequency. */
  readonly forward: Float64Array;
  /** Its transpose. */
  readonly inverse: Float64Array;
}

function basis(n: number): Basis {
  const forward = new Float64Array(n * n);
  const inverse = new Float64Array(n * n);
  const angle = { sin: 0, cos: 0 };
  for (let k = 0; k < n; k++) {
    const scale = Math.sqrt((k === 0 ? 1 : 2) / n);
    for (let r = 0; r < n; r++) {
      // Reduced to one turn in whole numbers, before the division rounds.
      sinCosTurns((((2 * r + 1) * k) % (4 * n)) / (4 * n), angle);
      forward[k * n + r] = inverse[r * n + k] = scale * angle.cos;
    }
  }
  return { forward, inverse };
}

/** out[k, r] = sum over s of a[r, s] b[k, s]: a [rows, width], b [width, width], out [width, rows], which turns the plane. */
function productTransposed(
  a: Float64Array,
  at: number,
  rows: number,
  width: number,
  b: Float64Array,
  out: Float64Array,
  to: number,
): void {
  for (let k = 0; k < width; k++) {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let s = 0, i = at + r * width, j = k * width; s < width; s++, i++, j++)
        sum += (a[i] as number) * (b[j] as number);
      out[to + k * rows + r] = sum;
    }
  }
}
