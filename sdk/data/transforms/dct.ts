/**
 * The orthonormal two-dimensional DCT-II and its inverse, of planes of any height and width, in float64.
 *
 *     F[k, l] = c_k(h) c_l(w) sum over r, s of x[r, s] cos(pi (2r + 1) k / 2h) cos(pi (2s + 1) l / 2w)
 *
 * with c_0(n) = sqrt(1 / n) and c_k(n) = sqrt(2 / n) else: an orthogonal map, so the inverse is its transpose and norms
 * stay (Parseval). F[0, 0] is the plane's sum over sqrt(hw). It is SciPy's `dctn(x, norm="ortho")`.
 *
 * Images here are 28 or 32 pixels wide, where products with the cosine basis are as fast as a fast transform. Of that
 * basis even rows are symmetric and odd rows antisymmetric, so a line is folded in the middle first: x_s + x_(n-1-s) for
 * the even frequencies, x_s - x_(n-1-s) for the odd ones, h w (h + w) / 2 multiplications a plane. The cosines are the
 * portable ones: the same bits in every JavaScript engine.
 */
import { sinCosTurns } from "../../engine/portable.ts";

/** Transforms planes of one size. Keeps a plane of working memory: not for two callers at once. */
export class Dct2 {
  readonly height: number;
  readonly width: number;
  readonly #vertical: Lines;
  readonly #horizontal: Lines;
  /** The plane turned, [width, height], between the two passes. */
  readonly #turned: Float64Array;

  constructor(height: number, width: number) {
    this.height = height;
    this.width = width;
    this.#horizontal = new Lines(width);
    this.#vertical = height === width ? this.#horizontal : new Lines(height);
    this.#turned = new Float64Array(height * width);
  }

  /** Replaces the plane at plane[offset ..], row-major, by its spectrum, whose entry (k, l) belongs to frequency k down and l across. */
  forward(plane: Float64Array, offset = 0): void {
    const { height, width } = this;
    for (let row = 0; row < height; row++)
      this.#horizontal.forward(plane, offset + row * width, this.#turned, row, height);
    for (let column = 0; column < width; column++)
      this.#vertical.forward(this.#turned, column * height, plane, offset + column, width);
  }

  /** Replaces the spectrum at spectrum[offset ..] by its plane. */
  inverse(spectrum: Float64Array, offset = 0): void {
    const { height, width } = this;
    for (let row = 0; row < height; row++)
      this.#horizontal.inverse(spectrum, offset + row * width, this.#turned, row, height);
    for (let column = 0; column < width; column++)
      this.#vertical.inverse(this.#turned, column * height, spectrum, offset + column, width);
  }
}

/** Transforms of single lines of n numbers that lie one after the other, to places a stride apart. */
class Lines {
  readonly #n: number;
  /** [n, half]: c_k cos(pi (2s + 1) k / 2n) for the first half of the line, the middle of an odd line included. */
  readonly #basis: Float64Array;
  /** [half, n]: for each place the even frequencies' entries, of which there are half, then the odd ones'. */
  readonly #transposed: Float64Array;
  readonly #half: number;
  readonly #even: Float64Array;
  readonly #odd: Float64Array;

  constructor(n: number) {
    const half = Math.ceil(n / 2);
    this.#n = n;
    this.#half = half;
    this.#basis = new Float64Array(n * half);
    this.#transposed = new Float64Array(half * n);
    this.#even = new Float64Array(half);
    this.#odd = new Float64Array(half);
    const angle = { sin: 0, cos: 0 };
    for (let k = 0; k < n; k++) {
      const scale = Math.sqrt((k === 0 ? 1 : 2) / n);
      for (let s = 0; s < half; s++) {
        // Reduced to one turn in whole numbers, before the division rounds.
        sinCosTurns((((2 * s + 1) * k) % (4 * n)) / (4 * n), angle);
        this.#basis[k * half + s] = scale * angle.cos;
        this.#transposed[s * n + (k % 2) * half + (k >> 1)] = scale * angle.cos;
      }
    }
  }

  forward(line: Float64Array, at: number, out: Float64Array, to: number, stride: number): void {
    const n = this.#n;
    const half = this.#half;
    const basis = this.#basis;
    const even = this.#even;
    const odd = this.#odd;
    for (let s = 0; s < half; s++) {
      const left = line[at + s] as number;
      const right = line[at + n - 1 - s] as number;
      even[s] = left + right;
      odd[s] = left - right;
    }
    // The middle of an odd line is its own mirror image.
    if (n % 2 === 1) even[half - 1] = line[at + half - 1] as number;
    for (let k = 0; k < n; k++) {
      const folded = k % 2 === 0 ? even : odd;
      let sum = 0;
      for (let s = 0, i = k * half; s < half; s++, i++) sum += (folded[s] as number) * (basis[i] as number);
      out[to + k * stride] = sum;
    }
  }

  inverse(line: Float64Array, at: number, out: Float64Array, to: number, stride: number): void {
    const n = this.#n;
    const half = this.#half;
    const transposed = this.#transposed;
    const even = this.#even;
    const odd = this.#odd;
    for (let k = 0; k < n; k += 2) even[k >> 1] = line[at + k] as number;
    for (let k = 1; k < n; k += 2) odd[k >> 1] = line[at + k] as number;
    for (let s = 0; s < half; s++) {
      let symmetric = 0;
      let antisymmetric = 0;
      let i = s * n;
      for (let k = 0; k < half; k++, i++) symmetric += (even[k] as number) * (transposed[i] as number);
      for (let k = 0; k < n - half; k++, i++) antisymmetric += (odd[k] as number) * (transposed[i] as number);
      out[to + (n - 1 - s) * stride] = symmetric - antisymmetric;
      out[to + s * stride] = symmetric + antisymmetric;
    }
  }
}
