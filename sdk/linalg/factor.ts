/**
 * A Cholesky factor A + shift I = L L^T and what can be done with it: solves with many right-hand sides, half solves, the
 * log-determinant, the diagonal of the inverse, and a larger factor when rows are appended. It owns memory of the engine,
 * or files, until it is disposed.
 */
import { triangularSolve } from "../engine/kernels/index.ts";
import type { Slot } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import type { Files } from "../platform/files.ts";
import { arithmeticOf, attempt, setup, type RunOptions } from "./attempt.ts";
import { FactorFolder, type MatrixIdentity } from "./factor-folder.ts";
import type { FactorTiles } from "./factor-tiles.ts";
import { notPositiveDefinite } from "./jitter.ts";
import { type CholeskyPlan, RHS_BYTES } from "./plan.ts";
import { pack, stripIndex, unpack } from "./right-hand-sides.ts";
import { sourceRows, type SymmetricSource, type Values } from "./source.ts";
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
  readonly matrix: MatrixIdentity;
}

export interface SolveProgress {
  /** Of all right-hand sides, 0 to 1. */
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
  private readonly pivots: Float64Array;
  private readonly options: RunOptions;
  private readonly matrix: MatrixIdentity;
  private disposed = false;

  constructor(tiles: FactorTiles, facts: FactorFacts) {
    this.tiles = tiles;
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
    // Zeros above a unit vector's one stay zeros: its solve begins at its own block.
    const width = Math.max(tile, Math.floor(this.chunkColumns() / tile) * tile);
    for (let first = 0; first < n; first += width) {
      const last = Math.min(n, first + width);
      const units = new Float64Array(Math.ceil((last - first) / STRIP) * STRIP * padded);
      for (let c = first; c < last; c++) units[stripIndex(c, c - first, padded)] = 1;
      const solved = await this.withRightHandSides(units, signal, async (slot, strips) => {
        await this.forwardSteps(slot, strips, Math.floor(first / tile), signal);
      });
      for (let c = first; c < last; c++) {
        let sum = 0;
        for (let row = first; row < n; row++) sum += (solved[stripIndex(row, c - first, padded)] ?? Number.NaN) ** 2;
        result[c] = sum;
      }
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
   * throws; E_SHAPE for a source with fewer rows.
   */
  async extend(source: SymmetricSource, options: RunOptions = {}): Promise<CholeskyFactor> {
    this.requireOpen();
    const { tile } = this.tiles.tiling;
    const n = sourceRows(source);
    if (n < this.n)
      throw new WidefieldError("E_SHAPE", `a factor of ${this.n} rows is extended to more rows, not to ${n}`);
    const budget = options.memoryBytes ?? this.options.memoryBytes;
    const run = { ...options, memoryBytes: budget, tile };
    const facts = await setup(this.tiles.backend, source, run);
    const relative = this.shift / facts.meanDiagonal;
    const old = { rows: Math.floor(this.n / tile), tiles: this.tiles, pivots: this.pivots };
    const shift = { absolute: this.shift, relative };
    const { tiles, pivots, seconds, gflops, failure } = await attempt(facts, shift, old);
    const { plan, meanDiagonal } = facts;
    if (failure === undefined)
      return new CholeskyFactor(tiles, {
        ...shift,
        meanDiagonal,
        pivots,
        seconds,
        gflops,
        plan,
        options: run,
        matrix: facts.matrix,
      });
    tiles.dispose();
    const known = { n, ...failure, jitter: relative, meanDiagonal, smallestBefore: undefined, bound: relative };
    throw notPositiveDefinite(known, relative, "unknown");
  }

  /** Keeps the factor in a folder, for `openFactor`. Throws E_MISMATCH where another one is there, E_LOCKED, E_IO. */
  async save({ files, folder }: { readonly files: Files; readonly folder: string }): Promise<void> {
    this.requireOpen();
    const { tiling, backend } = this.tiles;
    const key = { ...this.matrix, n: this.n, tile: tiling.tile, shift: this.shift, adapter: arithmeticOf(backend) };
    const target = await FactorFolder.open(files, folder, key, { keep: true });
    let finished = target.state?.complete === true;
    try {
      if (finished) return;
      for (let j = 0; j < tiling.blocks; j++) await this.copyColumn(j, target);
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
    for (let i = j; i < tiling.blocks; i++) {
      const tile = new Uint8Array((await this.tiles.readTile(i, j)).buffer);
      await storage.write(j, { begin: i, end: i + 1 }, () => tile);
    }
  }

  /**
   * Right-hand sides that are under way at once. Where each of them costs a pass over a file, as many as the budget holds
   * in place of the panel: packed, in the engine's memory, and on their way back.
   */
  private chunkColumns(): number {
    const bytes = this.tiles.resident ? RHS_BYTES : this.plan.panelBytes / 4;
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
      const packed = pack(rhs, { n, m, padded }, first, last);
      const solved = await this.withRightHandSides(packed, signal, async (slot, strips) => {
        await this.forwardSteps(slot, strips, 0, signal);
        if (both) await this.backwardSteps(slot, strips, signal);
      });
      unpack(solved, result, { n, m, padded }, first, last);
      onProgress?.({ fraction: last / m });
    }
    return result;
  }

  /** Takes packed right-hand sides to the engine, lets `work` change them there, and brings them back. */
  private async withRightHandSides(
    packed: Float64Array,
    signal: AbortSignal | undefined,
    work: (slot: Slot, strips: number) => Promise<void>,
  ): Promise<Float64Array> {
    this.requireOpen();
    requireGoing(signal);
    const { backend, tiling } = this.tiles;
    const slot = backend.allocate(packed.byteLength, "right-hand sides");
    try {
      backend.write(slot, 0, packed);
      await work(slot, packed.length / (tiling.padded * STRIP));
      return new Float64Array(await backend.read(slot, 0, packed.byteLength));
    } finally {
      backend.free(slot);
    }
  }

  /** L X = B from block `first` on; the blocks before it are zero. */
  private async forwardSteps(rhs: Slot, strips: number, first: number, signal: AbortSignal | undefined): Promise<void> {
    const { backend, tiling } = this.tiles;
    const { n, tile, blocks } = tiling;
    for await (const window of this.tiles.columns({ begin: first, end: blocks })) {
      requireGoing(signal);
      const step = (block: number, update: number, solve: number): void => {
        const params = { tile, n, block, transpose: 0, update, solve, strips };
        backend.dispatch(triangularSolve, params, [window.table, window.tiles, rhs]);
      };
      const [begin, end] = [Math.max(first, window.columns.begin), window.columns.end];
      for (let block = begin; block < end; block++) step(block, block > begin ? 1 : 0, 1);
      if (end < blocks) step(end, 1, 0);
    }
  }

  /** L^T X = B. */
  private async backwardSteps(rhs: Slot, strips: number, signal: AbortSignal | undefined): Promise<void> {
    const { backend, tiling } = this.tiles;
    const { n, tile } = tiling;
    for await (const window of this.tiles.rowsUpwards()) {
      requireGoing(signal);
      const step = (block: number, update: number, solve: number): void => {
        const params = { tile, n, block, transpose: 1, update, solve, strips };
        backend.dispatch(triangularSolve, params, [window.table, window.tiles, rhs]);
      };
      const { begin, end } = window.rows;
      for (let block = end - 1; block >= begin; block--) step(block, block < end - 1 ? 1 : 0, 1);
      if (begin > 0) step(begin - 1, 1, 0);
    }
  }
}

function requireGoing(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WidefieldError("E_ABORTED", "the solve was stopped", { cause: signal.reason });
}

/** Pairwise, so that 50,000 terms of either sign lose nothing. */
function sumOfLogarithms(values: Float64Array): number {
  if (values.length <= 8) return values.reduce((sum, value) => sum + Math.log(value), 0);
  const half = values.length >> 1;
  return sumOfLogarithms(values.subarray(0, half)) + sumOfLogarithms(values.subarray(half));
}
