/**
 * A Cholesky factor A + shift I = L L^T and what can be done with it: solves with many right-hand sides, half solves, the
 * log-determinant, the diagonal of the inverse, and a larger factor when rows are appended. It owns memory of the engine,
 * or files, until it is disposed.
 */
import { WidefieldError } from "../errors.ts";
import { crc32c } from "../platform/crc32c.ts";
import type { Files } from "../platform/files.ts";
import { attempt, checkOf, setup, type RunOptions, type Setup } from "./attempt.ts";
import { FactorFolder, type FactorIdentity } from "./factor-folder.ts";
import type { FactorTiles } from "./factor-tiles.ts";
import { failureOf, notPositiveDefinite } from "./jitter.ts";
import { type CholeskyPlan, RHS_BYTES } from "./plan.ts";
import { pack, stripIndex, unpack } from "./right-hand-sides.ts";
import { sourceRows, type SymmetricSource, type Values } from "./source.ts";
import { requireGoing, Substitution } from "./substitution.ts";
import { STRIP } from "./tiling.ts";

export interface FactorFacts {
  /** What was added to the diagonal, and the same relative to the mean diagonal. */
  readonly absolute: number;
  readonly relative: number;
  readonly meanDiagonal: number;
  readonly pivots: Float64Array;
  readonly seconds: number;
  readonly gflops: number;
  readonly plan: CholeskyPlan;
  readonly options: RunOptions;
  /** What A is; see `FactorKey`. */
  readonly matrix: FactorIdentity;
}

export interface SolveProgress {
  /** Of all right-hand sides (of a factor that is saved: of its columns), 0 to 1. */
  readonly fraction: number;
}

export interface FactorSolveOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: SolveProgress) => void) | undefined;
}

export class CholeskyFactor {
  readonly n: number;
  /** What was added to the diagonal, in units of A's entries. */
  readonly shift: number;
  /** The same, relative to the mean diagonal of A. */
  readonly jitterUsed: number;
  /** Mean of A's diagonal, before the jitter. */
  readonly meanDiagonal: number;
  /** Natural logarithm of the determinant of the factorised matrix (shift included). */
  readonly logDeterminant: number;
  /** The smallest square of L's diagonal, in units of A, and its row. */
  readonly smallestPivot: number;
  readonly smallestPivotIndex: number;
  /** Time of the factorisation that succeeded, without reading the source. */
  readonly seconds: number;
  /** Operations over `seconds`, in 10^9 a second; 0 for a factor that was found finished. */
  readonly gflops: number;
  /** Where its tiles are. */
  readonly plan: CholeskyPlan;
  private readonly tiles: FactorTiles;
  private readonly substitution: Substitution;
  private readonly pivots: Float64Array;
  private readonly options: RunOptions;
  private readonly matrix: FactorIdentity;
  private disposed = false;

  constructor(tiles: FactorTiles, facts: FactorFacts) {
    this.tiles = tiles;
    this.substitution = new Substitution(tiles, () => this.requireOpen());
    this.n = tiles.tiling.n;
    this.shift = facts.absolute;
    this.jitterUsed = facts.relative;
    this.meanDiagonal = facts.meanDiagonal;
    this.pivots = facts.pivots;
    this.seconds = facts.seconds;
    this.gflops = facts.gflops;
    this.plan = facts.plan;
    this.options = facts.options;
    this.matrix = facts.matrix;
    this.logDeterminant = sumOfLogarithms(facts.pivots);
    this.smallestPivotIndex = facts.pivots.reduce(
      (best, pivot, index) => (pivot < (facts.pivots[best] ?? Number.NaN) ? index : best),
      0,
    );
    this.smallestPivot = facts.pivots[this.smallestPivotIndex] ?? Number.NaN;
  }

  /**
   * X with (A + shift I) X = B. `rhs`: row-major n x m, any m >= 1; the result has the same shape. A factor on disk is
   * read twice for all right-hand sides that fit in memory together.
   *
   * Throws E_SHAPE for a length that is not a multiple of n, E_DATA for entries that are not finite (named), E_ABORTED,
   * E_CORRUPT for a damaged file, E_CLOSED after `dispose`.
   */
  solve(rhs: Values, options: FactorSolveOptions = {}): Promise<Float64Array> {
    return this.substitute(rhs, true, options);
  }

  /**
   * Y with L Y = B, shapes and errors as in `solve`. The squared norm of a column of Y is b^T A^-1 b: the variance that a
   * Gaussian process takes off its prior.
   */
  forward(rhs: Values, options: FactorSolveOptions = {}): Promise<Float64Array> {
    return this.substitute(rhs, false, options);
  }

  /**
   * The diagonal of (A + shift I)^-1, n values: the squared norms of the columns of L^-1. Costs as much as the
   * factorisation. Leave-one-out predictions need it (Rasmussen & Williams 2006, eq. 5.12).
   */
  async inverseDiagonal({ signal, onProgress }: FactorSolveOptions = {}): Promise<Float64Array> {
    const { n } = this;
    const { tile, padded } = this.tiles.tiling;
    const result = new Float64Array(n);
    const width = Math.min(n, Math.max(STRIP, this.chunkColumns()));
    for (let first = 0; first < n; first += width) {
      const last = Math.min(n, first + width);
      await this.substitution.lend(last - first, signal, async (rhs) => {
        const units = rhs.values();
        units.fill(0);
        for (let c = first; c < last; c++) units[stripIndex(c, c - first, padded)] = 1;
        // Zeros above a unit vector's one stay zeros: its solve begins at its own block.
        await this.substitution.forward(rhs, Math.floor(first / tile), signal);
        const solved = rhs.values();
        for (let c = first; c < last; c++) {
          let sum = 0;
          for (let row = c; row < n; row++) sum += (solved[stripIndex(row, c - first, padded)] ?? Number.NaN) ** 2;
          result[c] = sum;
        }
      });
      // The work left is that of the smaller triangle.
      onProgress?.({ fraction: 1 - ((n - last) / n) ** 3 });
    }
    return result;
  }

  /**
   * The factor of a larger matrix, whose leading n x n block is this one's: new training points without factorising
   * anew. `source` is the whole larger matrix, of which only rows from about n on (from the last whole tile) are read;
   * the same shift is added. With k new rows it costs about n^2 k operations. This factor stays as it is.
   *
   * Bit for bit what a factorisation of the larger matrix with this factor's tiles would give. Throws what `cholesky`
   * throws; E_SHAPE for a source with fewer rows, E_MISMATCH for one whose leading rows have another diagonal,
   * or for an engine that rounds differently.
   */
  async extend(source: SymmetricSource, options: RunOptions = {}): Promise<CholeskyFactor> {
    this.requireOpen();
    const { tile } = this.tiles.tiling;
    const n = sourceRows(source);
    if (n < this.n)
      throw new WidefieldError("E_SHAPE", `a factor of ${this.n} rows is extended to more rows, not to ${n}`);
    // This factor stays, in the same memory.
    const held = this.tiles.heldBytes;
    const budget = this.options.memoryBytes;
    const memoryBytes = options.memoryBytes ?? (budget === undefined ? undefined : Math.max(1, budget - held));
    const run = { ...options, memoryBytes, tile };
    const facts = await setup(this.tiles.backend, source, run);
    this.requireExtension(facts);
    const { plan, meanDiagonal, matrix } = facts;
    const relative = this.shift / meanDiagonal;
    const shift = { absolute: this.shift, relative };
    const old = { rows: Math.floor(this.n / tile), tiles: this.tiles, pivots: this.pivots };
    const { tiles, pivots, seconds, gflops, failure } = await attempt(facts, shift, old);
    if (failure === undefined) {
      const made = {
        meanDiagonal,
        pivots,
        seconds,
        gflops,
        plan,
        matrix,
        options: { ...run, memoryBytes: options.memoryBytes ?? budget },
      };
      return new CholeskyFactor(tiles, { ...shift, ...made });
    }
    try {
      const told = { jitter: relative, meanDiagonal, exponent: source.exponent ?? 0, lambda: undefined };
      const known = await failureOf(tiles, failure, { ...told, pivots, check: checkOf(options.signal) });
      throw notPositiveDefinite(known, known.bound, "unknown");
    } finally {
      tiles.dispose();
    }
  }

  /** Throws E_MISMATCH. */
  private requireExtension({ diagonal, matrix, tiling }: Setup): void {
    const leading = diagonal.slice(0, this.n);
    const rows = tiling.n;
    if (crc32c(new Uint8Array(leading.buffer)) !== this.matrix.diagonal) {
      throw new WidefieldError(
        "E_MISMATCH",
        `the leading ${this.n} rows of this ${rows} x ${rows} matrix are not those of the factor: their diagonals differ`,
        { details: { n: this.n, rows } },
      );
    }
    if (matrix.arithmetic !== this.matrix.arithmetic) {
      throw new WidefieldError(
        "E_MISMATCH",
        `this factor was computed with ${this.matrix.arithmetic} arithmetic, and this engine's is ${matrix.arithmetic}: ` +
          `extend it in a runtime like the first, or factorise anew`,
      );
    }
  }

  /** Keeps the factor in a folder, for `openFactor`. Throws E_MISMATCH where another one is there, E_LOCKED, E_IO. */
  async save(
    { files, folder }: { readonly files: Files; readonly folder: string },
    { signal, onProgress }: FactorSolveOptions = {},
  ): Promise<void> {
    this.requireOpen();
    const { tiling } = this.tiles;
    const key = { ...this.matrix, n: this.n, tile: tiling.tile, shift: this.shift };
    const target = await FactorFolder.open(files, folder, key, { keep: true });
    let finished = target.state?.complete === true;
    try {
      if (finished) return;
      for (let j = 0; j < tiling.blocks; j++) {
        requireGoing(signal);
        await this.copyColumn(j, target);
        onProgress?.({ fraction: (j + 1) / tiling.blocks });
      }
      target.pivots.set(this.pivots);
      const { meanDiagonal, seconds } = this;
      await target.save({ finishedColumns: tiling.blocks, complete: true, meanDiagonal, seconds });
      finished = true;
    } finally {
      await target.storage.close();
      await target.end(finished);
    }
  }

  /** Releases the factor's memory, and files that are not kept. Idempotent. */
  dispose(): void {
    this.disposed = true;
    this.tiles.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private requireOpen(): void {
    if (this.disposed) throw new WidefieldError("E_CLOSED", "this Cholesky factor has been disposed");
  }

  private async copyColumn(j: number, { storage }: FactorFolder): Promise<void> {
    const { tiling } = this.tiles;
    const rows = { begin: j, end: tiling.blocks };
    const column: Uint8Array[] = [];
    await this.tiles.each(j, rows, (_, bytes) => column.push(bytes.slice()));
    await storage.write(j, rows, (i) => column[i - j] ?? new Uint8Array());
  }

  /** Right-hand sides that are under way at once. Where each pass is over a file, as many as fit in place of the panel. */
  private chunkColumns(): number {
    const bytes = this.tiles.resident ? RHS_BYTES : Math.min(8 * RHS_BYTES, this.plan.panelBytes);
    return STRIP * Math.max(1, Math.floor(bytes / (this.tiles.tiling.padded * STRIP * 8)));
  }

  private async substitute(
    rhs: Values,
    both: boolean,
    { signal, onProgress }: FactorSolveOptions,
  ): Promise<Float64Array> {
    this.requireOpen();
    const { n } = this;
    const { padded } = this.tiles.tiling;
    const m = rhs.length / n;
    if (!Number.isInteger(m) || m === 0) {
      throw new WidefieldError(
        "E_SHAPE",
        `right-hand sides of a ${n} x ${n} matrix must be ${n} x m numbers, row by row, m >= 1; ${rhs.length} were given`,
        { details: { n, length: rhs.length } },
      );
    }
    const result = new Float64Array(rhs.length);
    const chunk = this.chunkColumns();
    for (let first = 0; first < m; first += chunk) {
      const last = Math.min(first + chunk, m);
      await this.substitution.lend(last - first, signal, async (packed) => {
        pack(packed.values(), rhs, { n, m, padded }, first, last);
        await this.substitution.forward(packed, 0, signal);
        if (both) await this.substitution.backward(packed, signal);
        unpack(packed.values(), result, { n, m, padded }, first, last);
      });
      onProgress?.({ fraction: last / m });
    }
    return result;
  }
}

/** Pairwise, so that 50,000 terms of either sign lose nothing. */
function sumOfLogarithms(values: Float64Array): number {
  if (values.length <= 8) return values.reduce((sum, value) => sum + Math.log(value), 0);
  const half = values.length >> 1;
  return sumOfLogarithms(values.subarray(0, half)) + sumOfLogarithms(values.subarray(half));
}
