/**
 * A kernel matrix of any size that needs no data and next to no time: the covariance exp(-|x - x'|) of points on a line,
 * drawn from a seed and in order, plus noise. Entries are float32, as in a kernel store.
 *
 * Points are 1/100 apart on average, so the largest eigenvalue stays below about 200 and with the noise the condition
 * below about 2000, whatever n: conjugate gradients come to 1e-8 in at most some 400 iterations. It has no
 * `identity`: a factorisation that went on where a killed one stopped would look fast.
 */
import type { KernelMatrix } from "../covariance/matrix.ts";
import type { Range } from "../linalg/range.ts";
import { RandomStream } from "../engine/rng.ts";
import type { SymmetricSource } from "../linalg/source.ts";

const SPACING = 0.01;
const NOISE = 0.1;
/** Rows that share an origin; exp of their distance from it stays near 1. */
const CHUNK = 512;

/** The lower triangle of the n x n matrix: entries above the diagonal are left 0. */
export class LineKernel implements SymmetricSource, KernelMatrix {
  readonly n: number;
  readonly rows: number;
  readonly columns: number;
  readonly symmetric = true;
  readonly exponent = 0;
  readonly relativeError = 0;
  private readonly points: Float64Array;

  /** The first rows of a larger one of the same seed are this one. */
  constructor(n: number, seed: number) {
    this.n = this.rows = this.columns = n;
    const random = new RandomStream(seed, "line kernel");
    let at = 0;
    this.points = new Float64Array(n).map(() => (at += 2 * SPACING * random.uniform32()));
  }

  async read(rows: Range, columns: Range): Promise<Float32Array<ArrayBuffer>> {
    return this.block(rows.begin, rows.end, columns.begin, columns.end);
  }

  /**
   * For i >= j, exp(-(x_i - x_j)) = exp(-(x_i - o)) exp(x_j - o), with the same o for all rows of a chunk of the matrix:
   * one product an entry, and the same bits in whatever block it is asked for.
   */
  block(rowBegin: number, rowEnd: number, columnBegin: number, columnEnd: number): Float32Array<ArrayBuffer> {
    const { points } = this;
    const width = columnEnd - columnBegin;
    const block = new Float32Array((rowEnd - rowBegin) * width);
    for (let row = rowBegin; row < rowEnd;) {
      const origin = points[row - (row % CHUNK)] as number;
      const chunkEnd = Math.min(rowEnd, row - (row % CHUNK) + CHUNK);
      const right = points.slice(columnBegin, Math.min(columnEnd, chunkEnd)).map((x) => Math.exp(x - origin));
      for (; row < chunkEnd; row++) {
        const left = Math.exp(origin - (points[row] as number));
        const at = (row - rowBegin) * width;
        const end = Math.min(columnEnd, row) - columnBegin;
        for (let j = 0; j < end; j++) block[at + j] = left * (right[j] as number);
        if (row >= columnBegin && row < columnEnd) block[at + row - columnBegin] = 1 + NOISE;
      }
    }
    return block;
  }

  /** The whole matrix, row-major, in float64. */
  dense(): Float64Array {
    const { n } = this;
    const dense = new Float64Array(n * n);
    for (let begin = 0; begin < n; begin += CHUNK) {
      const end = Math.min(n, begin + CHUNK);
      const block = this.block(begin, end, 0, end);
      for (let i = begin; i < end; i++) {
        for (let j = 0; j <= i; j++) dense[i * n + j] = dense[j * n + i] = block[(i - begin) * end + j] as number;
      }
    }
    return dense;
  }
}
