/**
 * The few float64 operations on vectors that Krylov methods do besides products with the matrix, on the calling thread:
 * for n = 50,000 they take microseconds where a product takes a second.
 */

/** x' y, in four running sums: faster, and its error grows with n / 4. */
export function dot(x: Float64Array, y: Float64Array): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 4 <= x.length; i += 4) {
    s0 += (x[i] as number) * (y[i] as number);
    s1 += (x[i + 1] as number) * (y[i + 1] as number);
    s2 += (x[i + 2] as number) * (y[i + 2] as number);
    s3 += (x[i + 3] as number) * (y[i + 3] as number);
  }
  for (; i < x.length; i++) s0 += (x[i] as number) * (y[i] as number);
  return s0 + s1 + (s2 + s3);
}

/** The length of x, also where its square leaves float64's range. */
export function euclidean(x: Float64Array): number {
  const square = dot(x, x);
  if (square > 1e-280 && square < Infinity) return Math.sqrt(square);
  const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (largest === 0 || largest === Infinity) return largest;
  const scaled = x.map((value) => value / largest);
  return largest * Math.sqrt(dot(scaled, scaled));
}

/** y += factor x. */
export function axpy(factor: number, x: Float64Array, y: Float64Array): void {
  for (let i = 0; i < x.length; i++) y[i] = (y[i] as number) + factor * (x[i] as number);
}

/** 2^exponent x values, a new array; in steps, since 2^exponent itself may leave float64's range. */
export function scaleByPower(values: Float64Array, exponent: number): Float64Array {
  let scaled = values.slice();
  for (let left = exponent; left !== 0;) {
    const step = Math.max(-1000, Math.min(1000, left));
    const factor = 2 ** step;
    scaled = scaled.map((value) => value * factor);
    left -= step;
  }
  return scaled;
}

/** X C for a block X of r vectors of length n and an r x m matrix C, row-major: a block of m vectors. */
export function combine(x: Float64Array, n: number, c: Float64Array, m: number): Float64Array {
  const r = n === 0 ? 0 : x.length / n;
  const y = new Float64Array(n * m);
  for (let v = 0; v < m; v++) {
    const column = y.subarray(v * n, (v + 1) * n);
    for (let k = 0; k < r; k++) {
      const factor = c[k * m + v] as number;
      if (factor !== 0) axpy(factor, x.subarray(k * n, (k + 1) * n), column);
    }
  }
  return y;
}

/**
 * The lower Cholesky factor of a small symmetric k x k matrix (row-major, lower triangle read), or the index and value
 * of the first pivot that is not above `floor`.
 */
export function smallCholesky(
  a: Float64Array,
  k: number,
  floor: number,
): Float64Array | { readonly index: number; readonly value: number } {
  const l = new Float64Array(k * k);
  for (let j = 0; j < k; j++) {
    for (let i = j; i < k; i++) {
      const sum = (a[i * k + j] as number) - dot(l.subarray(i * k, i * k + j), l.subarray(j * k, j * k + j));
      if (i > j) l[i * k + j] = sum / (l[j * k + j] as number);
      else if (sum > floor) l[j * k + j] = Math.sqrt(sum);
      else return { index: j, value: sum };
    }
  }
  return l;
}

/** L L' x = b in place, for one vector. */
export function smallSolve(l: Float64Array, k: number, b: Float64Array): void {
  for (let i = 0; i < k; i++) {
    const sum = (b[i] as number) - dot(l.subarray(i * k, i * k + i), b.subarray(0, i));
    b[i] = sum / (l[i * k + i] as number);
  }
  for (let i = k - 1; i >= 0; i--) {
    const value = (b[i] as number) / (l[i * k + i] as number);
    b[i] = value;
    for (let j = 0; j < i; j++) b[j] = (b[j] as number) - (l[i * k + j] as number) * value;
  }
}
