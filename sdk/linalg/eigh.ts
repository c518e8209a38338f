/**
 * Eigenvalues and eigenvectors of a symmetric matrix in float64. How they are computed is in `assembly/linalg/`
 * (`tridiagonal.ts`, `sweeps.ts`, `backtransform.ts`), the layout and the order of the commands in
 * `sdk/engine/kernels/eigen.ts`; here are the input's checks, its scale, and the conversions.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import {
  BACK_STRIPS,
  eigenBack,
  eigenSizes,
  eigenSweeps,
  paddedRows,
  PANEL,
  STATE_WORDS,
  tridiagonalColumn,
  tridiagonalProduct,
  tridiagonalUpdate,
} from "../engine/kernels/eigen.ts";
import { WidefieldError } from "../errors.ts";
import { wasmOf, type LinalgTarget } from "./target.ts";
import { requireSymmetric } from "./dense.ts";
import type { Values } from "./source.ts";

export interface EighProgress {
  /** Reduction to tridiagonal form, its eigenvalues (and vectors), and the vectors of the matrix itself. */
  readonly phase: "tridiagonal" | "iteration" | "vectors";
  /** Estimated part of all the work that is done, in [0, 1]. */
  readonly fraction: number;
  readonly seconds: number;
  readonly secondsLeft: number;
}

export interface EighOptions {
  /** Whether eigenvectors are computed; default true. Without them it takes about a quarter of the time. */
  readonly vectors?: boolean | undefined;
  /** How many eigenpairs to return, from the largest eigenvalue down; default: all. */
  readonly largest?: number | undefined;
  /** Called some ten to a thousand times. */
  readonly onProgress?: ((progress: EighProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Eigen {
  /** Rows of the matrix. */
  readonly n: number;
  /** k eigenvalues, ascending. */
  readonly values: Float64Array;
  /** n x k, row-major: column j is the unit eigenvector of values[j], of either sign. Absent with `vectors: false`. */
  readonly vectors?: Float64Array;
}

/** Largest |a_ij - a_ji| that passes as rounding, relative to the largest entry: float32's, as kernels are computed in. */
const ASYMMETRY = 1e-6;
/** Batches of sweeps between two looks at the iteration's state. */
const TURNS = 4;
/** Work of the back-transformation between two looks at the signal: about a tenth of a second. */
const CHUNK_FLOPS = 3e9;
/** Entries that are brought into the engine's memory, or back, at a time: 4 MiB of copies instead of another matrix. */
const PIECE = 2 ** 19;

/** Bytes of the engine's memory that `eigh` takes for n rows: three matrices, or one without vectors, and a few vectors. */
export function eighBytes(n: number, { vectors = true, largest = n }: EighOptions = {}): number {
  const padded = paddedRows(n);
  const { vector, partials, panel, factors, rotations } = eigenSizes;
  const matrices = vectors ? padded * (2 * padded + 4 * Math.ceil(largest / 4)) : padded * padded + 1;
  const rest = vector(n) + partials(n) + 2 * panel(n) + factors(n) + rotations(n) + STATE_WORDS + 3 * n;
  return 8 * (matrices + rest);
}

/**
 * A = V diag(values) V^T for a symmetric matrix A, row-major, n x n: all eigenpairs or the `largest` k. Entries are read
 * below the diagonal; those above it only have to agree to 1e-6 of the largest entry.
 *
 * Householder tridiagonalisation in panels, implicit QL and QR iteration, back-transformation by block reflectors (Golub
 * and Van Loan, Matrix Computations, 4th edition, 8.3; LAPACK working note 2; Schreiber and Van Loan 1989). It is
 * backward stable: eigenvalues are off by a small multiple of 2^-53 |A|, whatever their own size, and so are |A V - V L|
 * and |V^T V - I| (relative to |A| and 1). The same bits come out for any number of threads, and for A times a power of
 * two the same vectors. Memory: `eighBytes`, all of it taken before the work begins; about 9 n^3 operations.
 *
 * Throws E_SHAPE (empty, not square), E_DATA (an entry that is not finite, or the worst pair that is not symmetric,
 * named), E_CONFIG (a `largest` that is not 1 .. n), E_MEMORY, E_ABORTED.
 */
export async function eigh(target: LinalgTarget, a: Values, options: EighOptions = {}): Promise<Eigen> {
  const n = sideOf(a);
  const { vectors = true, largest: k = n, signal } = options;
  if (!Number.isSafeInteger(k) || k < 1 || k > n)
    throw new WidefieldError("E_CONFIG", `largest must be a whole number from 1 to ${n}, the matrix's rows; got ${k}`);
  const exponent = exponentOf(requireSymmetric(a, n, ASYMMETRY).largest);
  const backend = await wasmOf(target);
  requireRoom(backend, n, k, vectors);
  throwIfAborted(signal);
  const work = new Work(backend, n, vectors ? k : 0, options);
  try {
    fill(backend, work.matrix, a, n, -exponent);
    await tridiagonalise(work);
    await iterate(work);
    const found = new Float64Array(await backend.read(work.diagonal, 0, n * 8));
    const order = Uint32Array.from(found.keys()).sort((i, j) => (found[i] ?? NaN) - (found[j] ?? NaN));
    const chosen = order.subarray(n - k);
    const values = Float64Array.from(chosen, (index) => scaled(found[index] ?? NaN, exponent));
    return vectors ? { n, values, vectors: await backTransform(work, chosen) } : { n, values };
  } finally {
    work.free();
  }
}

function requireRoom(backend: Backend, n: number, largest: number, vectors: boolean): void {
  const needed = eighBytes(n, { vectors, largest });
  const [all, used] = [backend.info.maxBufferBytes, backend.stats().bytes];
  if (needed <= all - used) return;
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  throw new WidefieldError(
    "E_MEMORY",
    `the eigenproblem of ${n} rows${vectors ? ` with ${largest} vectors` : ""} needs ${mib(needed)}, and of the wasm ` +
      `backend's ${mib(all)} ${mib(used)} are in use: raise the memory option (at most 4 GiB), ask for fewer vectors, or ` +
      "use a method that needs none (cg, cholesky)",
    { details: { requested: needed, used, limit: all } },
  );
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WidefieldError("E_ABORTED", "the eigenproblem was stopped", { cause: signal.reason });
}

/** The memory of one decomposition, taken at once, and how far it has come. */
class Work {
  readonly backend: Backend;
  readonly n: number;
  /** Eigenvectors that are wanted. */
  readonly k: number;
  readonly matrix: Slot;
  readonly diagonal: Slot;
  readonly offDiagonal: Slot;
  readonly factors: Slot;
  readonly vector: Slot;
  readonly partials: Slot;
  readonly left: Slot;
  readonly right: Slot;
  readonly state: Slot;
  readonly rotations: Slot;
  readonly z: Slot;
  readonly x: Slot;
  readonly order: Slot;
  private readonly slots: Slot[] = [];
  private readonly options: EighOptions;
  private readonly began = performance.now();

  constructor(backend: Backend, n: number, k: number, options: EighOptions) {
    this.backend = backend;
    this.n = n;
    this.k = k;
    this.options = options;
    const padded = paddedRows(n);
    const strips = Math.ceil(k / 4);
    const allocate = (doubles: number, label: string): Slot => {
      const slot = backend.allocate(doubles * 8, label);
      this.slots.push(slot);
      return slot;
    };
    try {
      this.matrix = allocate(padded * padded, `a ${n} x ${n} matrix in float64`);
      this.z = allocate(k > 0 ? padded * padded : 1, `the eigenvectors of a tridiagonal ${n} x ${n} matrix`);
      this.x = allocate(4 * strips * padded, `${k} eigenvectors of ${n} entries`);
      this.order = allocate(2 * strips, "order of the eigenvectors");
      this.diagonal = allocate(n, "diagonal");
      this.offDiagonal = allocate(n, "off-diagonal");
      this.factors = allocate(eigenSizes.factors(n), "block reflectors");
      this.vector = allocate(eigenSizes.vector(n), "a reflection");
      this.partials = allocate(eigenSizes.partials(n), "partial sums");
      this.left = allocate(eigenSizes.panel(n), "a panel");
      this.right = allocate(eigenSizes.panel(n), "a panel, exchanged");
      this.state = allocate(STATE_WORDS / 2, "where the iteration stands");
      this.rotations = allocate(eigenSizes.rotations(n), "rotations");
    } catch (thrown) {
      this.free();
      throw thrown;
    }
  }

  free(): void {
    for (const slot of this.slots) this.backend.free(slot);
  }

  /** After each piece of work, once it has ended: throws E_ABORTED, or tells how far the phase and the whole have come. */
  note(phase: EighProgress["phase"], part: number): void {
    throwIfAborted(this.options.signal);
    const { n, k } = this;
    // Shares of the time, as measured at n = 1536: 20 %, 57 %, and 23 % for all vectors.
    const weights = { tridiagonal: 20, iteration: k > 0 ? 57 : 2, vectors: (23 * k) / n };
    const before = { tridiagonal: 0, iteration: weights.tridiagonal, vectors: weights.tridiagonal + weights.iteration };
    const all = before.vectors + weights.vectors;
    const fraction = Math.min(1, (before[phase] + part * weights[phase]) / all);
    const seconds = (performance.now() - this.began) / 1000;
    this.options.onProgress?.({ phase, fraction, seconds, secondsLeft: (seconds * (1 - fraction)) / fraction });
  }
}

function sideOf(a: Values): number {
  const n = Math.round(Math.sqrt(a.length));
  if (a.length > 0 && n * n === a.length) return n;
  throw new WidefieldError(
    "E_SHAPE",
    a.length === 0
      ? "an empty matrix has no eigenvalues: it needs at least one row"
      : `eigh takes a square matrix, row-major, and ${a.length} entries are no square number`,
    { details: { length: a.length } },
  );
}

/** The power of two that brings entries up to `largest` to about 1; 0 for a zero matrix. */
function exponentOf(largest: number): number {
  return largest === 0 ? 0 : Math.floor(Math.log2(largest));
}

/** x 2^exponent, in two steps: 2^1074 is no float64. */
function scaled(x: number, exponent: number): number {
  const half = Math.trunc(exponent / 2);
  return x * 2 ** half * 2 ** (exponent - half);
}

/** Writes the lower triangle times 2^exponent in strips of four rows, with the blocks on the diagonal made whole. */
function fill(backend: Backend, matrix: Slot, a: Values, n: number, exponent: number): void {
  const padded = paddedRows(n);
  const rows = Math.max(4, Math.floor(PIECE / padded) & ~3);
  const half = Math.trunc(exponent / 2);
  const [first, second] = [2 ** half, 2 ** (exponent - half)];
  for (let begin = 0; begin < padded; begin += rows) {
    const out = new Float64Array(Math.min(rows, padded - begin) * padded);
    for (let row = begin; row < Math.min(begin + rows, n); row++) {
      const to = ((row - begin) >> 2) * padded * 4 + (row & 3);
      for (let column = 0; column < Math.min((row & ~3) + 4, n); column++) {
        const entry = column <= row ? a[row * n + column] : a[column * n + row];
        out[to + column * 4] = (entry ?? NaN) * first * second;
      }
    }
    backend.write(matrix, begin * padded * 8, out);
  }
}

async function tridiagonalise(work: Work): Promise<void> {
  const { backend, n, matrix, vector, partials, left, right } = work;
  backend.write(work.factors, 0, new Float64Array(eigenSizes.factors(n)));
  const buffers = [matrix, vector, partials, left, right, work.diagonal, work.offDiagonal, work.factors];
  for (let panel = 0; panel < n; panel += PANEL) {
    const end = Math.min(panel + PANEL, n);
    for (let column = panel; column < end; column++) {
      backend.dispatch(tridiagonalColumn, { n, panel, column }, buffers);
      backend.dispatch(tridiagonalProduct, { n, column }, [matrix, vector, partials]);
    }
    if (end < n) {
      backend.dispatch(tridiagonalColumn, { n, panel, column: end }, buffers);
      backend.dispatch(tridiagonalUpdate, { n, first: end }, [matrix, left, right]);
    }
    await backend.finish();
    work.note("tridiagonal", 1 - ((n - end) / n) ** 3);
  }
}

async function iterate(work: Work): Promise<void> {
  const { backend, n } = work;
  backend.write(work.state, 0, new Uint32Array(STATE_WORDS));
  const buffers = [work.diagonal, work.offDiagonal, work.state, work.rotations, work.z];
  let turn = 0;
  const sweep = (): void => {
    backend.dispatch(eigenSweeps, { n, turn: turn++, vectors: work.k > 0 ? 1 : 0 }, buffers);
  };
  for (let done = 0; done === 0;) {
    for (let count = 0; count < TURNS; count++) sweep();
    const words = new Int32Array(await backend.read(work.state, 0, STATE_WORDS * 4));
    const [ended = 1, failed = 0, next = n, active = 0, far = 0, direction = 0] = words;
    if (failed === 1) {
      throw new WidefieldError(
        "E_NOT_CONVERGED",
        `the QL iteration for the eigenvalues of a matrix of ${n} rows did not converge: please report it`,
        { details: { n } },
      );
    }
    done = ended;
    const left = n - next + (direction === 0 ? 0 : Math.abs(far - active) + 1);
    work.note("iteration", 1 - (left / n) ** 2);
  }
  sweep(); // applies the last batch, if that has not happened yet
  await backend.finish();
}

/** The chosen eigenvectors, as the columns of a row-major matrix. */
async function backTransform(work: Work, chosen: Uint32Array): Promise<Float64Array> {
  const { backend, n, k, x } = work;
  const padded = paddedRows(n);
  const count = Math.ceil(k / 4);
  // The last strip is filled up with vectors that are not kept.
  backend.write(
    work.order,
    0,
    Uint32Array.from({ length: count * 4 }, (_, j) => chosen[Math.min(j, k - 1)] ?? 0),
  );
  const vectors = new Float64Array(n * k);
  const items = Math.max(backend.info.threads, Math.floor(CHUNK_FLOPS / (16 * n * n * BACK_STRIPS)));
  for (let first = 0; first < count; first += items * BACK_STRIPS) {
    const strips = Math.min(items * BACK_STRIPS, count - first);
    backend.dispatch(eigenBack, { n, first, strips }, [work.matrix, work.factors, work.z, work.order, x]);
    await backend.finish();
    const some = Math.max(1, Math.floor(PIECE / (4 * padded)));
    for (let begin = first; begin < first + strips; begin += some) {
      const end = Math.min(begin + some, first + strips);
      const packed = new Float64Array(await backend.read(x, begin * padded * 32, (end - begin) * padded * 32));
      for (let i = 0; i < n; i++)
        for (let j = 4 * begin; j < Math.min(4 * end, k); j++)
          vectors[i * k + j] = packed[(((j >> 2) - begin) * padded + i) * 4 + (j & 3)] ?? NaN;
    }
    work.note("vectors", (first + strips) / count);
  }
  return vectors;
}
