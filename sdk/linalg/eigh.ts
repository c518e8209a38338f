/**
 * Eigenvalues and eigenvectors of a symmetric matrix in float64. How they are computed is in `assembly/linalg/`
 * (`tridiagonal.ts`, `sweeps.ts`, `backtransform.ts`), the layout and the order of the commands in
 * `sdk/engine/kernels/eigen.ts`; here are the input's checks, its scale, and the conversions.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import {
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
import type { LinalgTarget } from "./cholesky.ts";
import { requireSymmetric } from "./dense.ts";
import type { Values } from "./source.ts";

export interface EighOptions {
  /** Whether eigenvectors are computed; default true. Without them it takes about a sixth of the time. */
  readonly vectors?: boolean | undefined;
  /** How many eigenpairs to return, from the largest eigenvalue down; default: all. */
  readonly largest?: number | undefined;
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

/**
 * A = V diag(values) V^T for a symmetric matrix A, row-major, n x n: all eigenpairs or the `largest` k. Entries are read
 * below the diagonal; those above it only have to agree to 1e-6 of the largest entry.
 *
 * Householder tridiagonalisation in panels, implicit QL and QR iteration, back-transformation by block reflectors (Golub
 * and Van Loan, Matrix Computations, 4th edition, 8.3; LAPACK working note 2; Schreiber and Van Loan 1989). It is
 * backward stable: eigenvalues are off by a small multiple of 2^-53 |A|, whatever their own size, and so are |A V - V L|
 * and |V^T V - I| (relative to |A| and 1). The same bits come out for any number of threads, and for A times a power of
 * two the same vectors. Memory: A, and with vectors another n x n and n x k doubles; about 9 n^3 operations.
 *
 * Throws E_SHAPE (empty, not square), E_DATA (an entry that is not finite, or the worst pair that is not symmetric,
 * named), E_CONFIG (a `largest` that is not 1 .. n), E_MEMORY.
 */
export async function eigh(target: LinalgTarget, a: Values, options: EighOptions = {}): Promise<Eigen> {
  const n = sideOf(a);
  const { vectors = true, largest: k = n } = options;
  if (!Number.isSafeInteger(k) || k < 1 || k > n)
    throw new WidefieldError("E_CONFIG", `largest must be a whole number from 1 to ${n}, the matrix's rows; got ${k}`);
  const exponent = exponentOf(requireSymmetric(a, n, ASYMMETRY).largest);
  const backend = "cpu" in target ? await target.cpu() : target;
  if (backend.info.backend !== "wasm")
    throw new WidefieldError("E_CONFIG", `float64 work needs the wasm backend, not ${backend.info.backend}`);
  const slots: Slot[] = [];
  const allocate = (doubles: number, label: string): Slot => {
    const slot = backend.allocate(doubles * 8, label);
    slots.push(slot);
    return slot;
  };
  try {
    const matrix = allocate(paddedRows(n) ** 2, `a ${n} x ${n} matrix in float64`);
    const z = allocate(vectors ? paddedRows(n) ** 2 : 1, `the eigenvectors of a ${n} x ${n} matrix`);
    const diagonals = { diagonal: allocate(n, "diagonal"), offDiagonal: allocate(n, "off-diagonal") };
    backend.write(matrix, 0, strips(a, n, -exponent));
    const factors = allocate(eigenSizes.factors(n), "block reflectors");
    await tridiagonalise(backend, n, { matrix, factors, ...diagonals });
    await iterate(backend, n, { z, ...diagonals }, vectors);
    const found = new Float64Array(await backend.read(diagonals.diagonal, 0, n * 8));
    const order = Uint32Array.from(found.keys()).sort((i, j) => (found[i] ?? NaN) - (found[j] ?? NaN));
    const chosen = order.subarray(n - k);
    const values = Float64Array.from(chosen, (index) => scaled(found[index] ?? NaN, exponent));
    if (!vectors) return { n, values };
    return { n, values, vectors: await backTransform(backend, n, chosen, { matrix, factors, z }) };
  } finally {
    for (const slot of slots) backend.free(slot);
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

/** The lower triangle in strips of four rows, with the blocks on the diagonal made whole. */
function strips(a: Values, n: number, exponent: number): Float64Array<ArrayBuffer> {
  const padded = paddedRows(n);
  const out = new Float64Array(padded * padded);
  const half = Math.trunc(exponent / 2);
  const [first, second] = [2 ** half, 2 ** (exponent - half)];
  for (let row = 0; row < n; row++) {
    const to = (row >> 2) * padded * 4 + (row & 3);
    for (let column = 0; column <= row; column++) out[to + column * 4] = (a[row * n + column] ?? NaN) * first * second;
    for (let column = row + 1; column < Math.min((row & ~3) + 4, n); column++)
      out[to + column * 4] = (a[column * n + row] ?? NaN) * first * second;
  }
  return out;
}

interface Diagonals {
  readonly diagonal: Slot;
  readonly offDiagonal: Slot;
}

async function tridiagonalise(
  backend: Backend,
  n: number,
  { matrix, factors, diagonal, offDiagonal }: Diagonals & { readonly matrix: Slot; readonly factors: Slot },
): Promise<void> {
  backend.write(factors, 0, new Float64Array(eigenSizes.factors(n)));
  const workspace: Slot[] = [];
  const allocate = (doubles: number, label: string): Slot => {
    const slot = backend.allocate(doubles * 8, label);
    workspace.push(slot);
    return slot;
  };
  try {
    const vector = allocate(eigenSizes.vector(n), "a reflection");
    const partials = allocate(eigenSizes.partials(n), "partial sums");
    const left = allocate(eigenSizes.panel(n), "a panel");
    const right = allocate(eigenSizes.panel(n), "a panel, exchanged");
    const buffers = [matrix, vector, partials, left, right, diagonal, offDiagonal, factors];
    for (let panel = 0; panel < n; panel += PANEL) {
      const end = Math.min(panel + PANEL, n);
      for (let column = panel; column < end; column++) {
        backend.dispatch(tridiagonalColumn, { n, panel, column }, buffers);
        backend.dispatch(tridiagonalProduct, { n, column }, [matrix, vector, partials]);
      }
      if (end === n) break;
      backend.dispatch(tridiagonalColumn, { n, panel, column: end }, buffers);
      backend.dispatch(tridiagonalUpdate, { n, first: end }, [matrix, left, right]);
      await backend.finish();
    }
    await backend.finish();
  } finally {
    for (const slot of workspace) backend.free(slot);
  }
}

async function iterate(
  backend: Backend,
  n: number,
  { z, diagonal, offDiagonal }: Diagonals & { readonly z: Slot },
  vectors: boolean,
): Promise<void> {
  const workspace: Slot[] = [];
  try {
    const state = backend.allocate(STATE_WORDS * 4, "where the iteration stands");
    workspace.push(state);
    const rotations = backend.allocate(eigenSizes.rotations(n) * 8, "rotations");
    workspace.push(rotations);
    backend.write(state, 0, new Uint32Array(STATE_WORDS));
    const buffers = [diagonal, offDiagonal, state, rotations, z];
    let turn = 0;
    const sweep = (): void => {
      backend.dispatch(eigenSweeps, { n, turn: turn++, vectors: vectors ? 1 : 0 }, buffers);
    };
    for (let done = 0; done === 0;) {
      for (let count = 0; count < TURNS; count++) sweep();
      const words = new Uint32Array(await backend.read(state, 0, STATE_WORDS * 4));
      done = words[0] ?? 1;
      if (words[1] === 1) throw new Error(`eigh: the QL iteration did not converge for a matrix of ${n} rows`);
    }
    sweep(); // applies the last batch, if that has not happened yet
    await backend.finish();
  } finally {
    for (const slot of workspace) backend.free(slot);
  }
}

/** The chosen eigenvectors, as the columns of a row-major matrix. */
async function backTransform(
  backend: Backend,
  n: number,
  chosen: Uint32Array,
  { matrix, factors, z }: { readonly matrix: Slot; readonly factors: Slot; readonly z: Slot },
): Promise<Float64Array> {
  const k = chosen.length;
  const padded = paddedRows(n);
  const count = Math.ceil(k / 4);
  // The last strip is filled up with vectors that are not kept.
  const places = Uint32Array.from({ length: count * 4 }, (_, j) => chosen[Math.min(j, k - 1)] ?? 0);
  const order = backend.allocate(places.byteLength, "order of the eigenvectors");
  let x: Slot | undefined;
  try {
    x = backend.allocate(count * padded * 32, `${k} eigenvectors of ${n} entries`);
    backend.write(order, 0, places);
    backend.dispatch(eigenBack, { n, strips: count }, [matrix, factors, z, order, x]);
    const packed = new Float64Array(await backend.read(x, 0, count * padded * 32));
    const vectors = new Float64Array(n * k);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < k; j++) vectors[i * k + j] = packed[((j >> 2) * padded + i) * 4 + (j & 3)] ?? NaN;
    return vectors;
  } finally {
    backend.free(order);
    if (x !== undefined) backend.free(x);
  }
}
