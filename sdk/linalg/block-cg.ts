/**
 * Conjugate gradients for many right-hand sides at once: one pass over the matrix serves all of them, and each is solved
 * in the space that all have searched.
 *
 * The residuals R = W Delta are kept with W orthonormal (in the preconditioner's inner product): the variant of O'Leary's
 * method (Linear Algebra Appl. 29, 1980) that Dubrulle (ETNA 12, 2001) found stable. Right-hand sides that depend on each
 * other, at the start or because a combination of them is solved earlier than the rest, make R lose rank; the
 * factorisation notices, and the block goes on with fewer directions. With P the search directions:
 *
 *     Q = A P,   G = P' Q,   X += P G^-1 Delta,   W - Q G^-1 = W+ zeta,   Delta+ = zeta Delta,   P+ = M^-1 W+ + P zeta'
 */
import { KEPT, requirePreconditioner } from "./cg.ts";
import { requireNumber, System, type KrylovOptions, type KrylovStop } from "./krylov.ts";
import type { LinearOperator } from "./operator.ts";
import type { Preconditioner } from "./preconditioner.ts";
import type { Values } from "./source.ts";
import { axpy, combine, dot, smallCholesky, smallSolve } from "./vectors.ts";

export interface BlockCgOptions extends KrylovOptions {
  /** Added to the diagonal; default 0. */
  readonly lambda?: number | undefined;
  readonly preconditioner?: Preconditioner | undefined;
}

export interface BlockCgResult {
  /** Row-major n x m. */
  readonly x: Float64Array;
  /** False only where `stop` is "iterations": some columns are then above the tolerance. */
  readonly converged: boolean;
  readonly stop: KrylovStop;
  /** Passes over the matrix, but for those that check the answer. */
  readonly iterations: number;
  /** For each column, computed from x. */
  readonly residualNorms: Float64Array;
  readonly relativeResiduals: Float64Array;
  /** Directions of the block in each iteration: at most m, and fewer where right-hand sides depend on each other. */
  readonly ranks: readonly number[];
  /** Largest relative residual of a column: at the start, and as the recurrence has it after each iteration. */
  readonly history: readonly number[];
}

/** Columns whose independent part is this small beside the largest count as dependent: 256 units in the last place. */
const DEPENDENT = 2 ** -45;

/**
 * X with (A + lambda I) X = B for row-major n x m right-hand sides. Errors as in `cg`; a column converges when its own
 * residual is small beside its own right-hand side.
 */
export async function blockCg(
  operator: LinearOperator,
  rhs: Values,
  options: BlockCgOptions = {},
): Promise<BlockCgResult> {
  const { lambda: given = 0, preconditioner } = options;
  requireNumber("lambda", given);
  const system = new System(operator, rhs, options);
  requirePreconditioner(preconditioner, system.n);
  const lambda = system.scaleLambda(given);
  const targets = system.targets();
  const x = new Float64Array(system.rhs.length);
  const ranks: number[] = [];
  let r: Float64Array = system.rhs.slice();
  let norms: Float64Array = system.norms(r);
  let before = Infinity;
  let aims: Float64Array = targets;
  system.note(system.relative(norms));
  while (!within(norms, targets) && system.iteration < system.settings.maxIterations) {
    const now = system.relative(norms.map((norm, v) => (norm > (targets[v] as number) ? norm : 0)));
    if (now > KEPT * before) {
      const reached = Math.min(now, before);
      throw system.stagnation("starting again from the true residual gained nothing: it is rounding error", reached);
    }
    before = now;
    await cycle(system, x, r, lambda, preconditioner, aims, ranks);
    r = await system.residual(x, lambda);
    norms = system.norms(r);
    aims = targets.map((target) => target / 2);
    system.forgetBest();
  }
  const stop = system.stopOf(norms);
  const scales = system.norms(system.rhs);
  return {
    x: system.answer(x),
    converged: stop !== "iterations",
    stop,
    iterations: system.iteration,
    residualNorms: system.unscaled(norms),
    relativeResiduals: norms.map((norm, v) => (norm === 0 ? 0 : norm / (scales[v] as number))),
    ranks,
    history: system.history,
  };
}

function within(norms: Float64Array, targets: Float64Array): boolean {
  return norms.every((norm, v) => norm <= (targets[v] as number));
}

async function cycle(
  system: System,
  x: Float64Array,
  r: Float64Array,
  lambda: number,
  preconditioner: Preconditioner | undefined,
  aims: Float64Array,
  ranks: number[],
): Promise<void> {
  const { n, vectors: m } = system;
  const lengths = system.norms(r);
  // Columns of any scale count alike when the rank is found.
  lengths.forEach((length, v) => {
    if (length > 0) for (let i = v * n; i < (v + 1) * n; i++) r[i] = (r[i] as number) / length;
  });
  let basis = await orthonormalise(system, r, preconditioner);
  let delta: Float64Array = basis.coefficients.map((value, at) => value * (lengths[at % m] as number));
  let p: Float64Array = basis.z.slice();
  while (basis.rank > 0 && system.iteration < system.settings.maxIterations) {
    const k = basis.rank;
    ranks.push(k);
    const q = await system.multiply(p, lambda);
    system.iteration++;
    const inverse = invertCurvature(system, p, q, k);
    axpy(1, combine(p, n, product(inverse, delta, k, k, m), m), x);
    const c = combine(q, n, inverse, k);
    for (let i = 0; i < c.length; i++) c[i] = (basis.w[i] as number) - (c[i] as number);
    basis = await orthonormalise(system, c, preconditioner);
    const zeta = basis.coefficients;
    delta = product(zeta, delta, basis.rank, k, m);
    const residuals = combine(basis.w, n, delta, m);
    const norms = system.norms(residuals);
    if (system.note(system.relative(norms))) await system.examine(x, lambda, residuals);
    if (within(norms, aims)) return;
    const turned = combine(p, n, transposed(zeta, basis.rank, k), basis.rank);
    axpy(1, basis.z, turned);
    p = turned;
  }
}

/** (P' Q)^-1, k x k. Throws E_NOT_POSITIVE_DEFINITE where the matrix is not positive along some combination of P. */
function invertCurvature(system: System, p: Float64Array, q: Float64Array, k: number): Float64Array {
  const { n } = system;
  const g = new Float64Array(k * k);
  for (let i = 0; i < k; i++) {
    const [pi, qi] = [p.subarray(i * n, (i + 1) * n), q.subarray(i * n, (i + 1) * n)];
    system.requirePositive(dot(pi, qi), pi, qi);
    for (let j = 0; j <= i; j++) {
      const [pj, qj] = [p.subarray(j * n, (j + 1) * n), q.subarray(j * n, (j + 1) * n)];
      g[i * k + j] = (dot(pi, qj) + dot(pj, qi)) / 2;
    }
  }
  const factor = smallCholesky(g, k, 0);
  if (!(factor instanceof Float64Array)) {
    // The direction along which the pivot is the curvature: P c with c = (-G11^-1 g, 1).
    const { index, value } = factor;
    const leading = new Float64Array(index * index);
    for (let i = 0; i < index; i++) leading.set(g.subarray(i * k, i * k + index), i * index);
    const c = g.slice(index * k, index * k + index).map((entry) => -entry);
    smallSolve(smallCholesky(leading, index, 0) as Float64Array, index, c);
    const full = new Float64Array(k);
    full.set(c);
    full[index] = 1;
    system.requirePositive(Math.min(value, 0), combine(p, n, full, 1), combine(q, n, full, 1));
    throw new Error("a pivot that is not positive has a direction of no curvature");
  }
  const inverse = new Float64Array(k * k);
  for (let i = 0; i < k; i++) {
    const column = inverse.subarray(i * k, (i + 1) * k);
    column[i] = 1;
    smallSolve(factor, k, column);
  }
  return inverse;
}

interface Basis {
  /** `rank` vectors of length n, and M^-1 times them; W' M^-1 W = I. */
  readonly w: Float64Array;
  readonly z: Float64Array;
  /** rank x k, row-major: C = W coefficients. */
  readonly coefficients: Float64Array;
  readonly rank: number;
  /** Length of the shortest column when its turn came, over that of the longest. */
  readonly independence: number;
}

/** Columns that lost less than this have z = M^-1 w to twelve digits, without another application of M. */
const INDEPENDENT = 1e-4;

/** C = W coefficients for a block C of k vectors, of any rank. Twice is enough: after the second pass W is orthonormal. */
async function orthonormalise(
  system: System,
  c: Float64Array,
  preconditioner: Preconditioner | undefined,
): Promise<Basis> {
  const apply = (block: Float64Array) => system.precondition(preconditioner, block);
  const first = gramSchmidt(system, c, await apply(c));
  if (first.rank === 0) return first;
  const again = preconditioner !== undefined && first.independence > INDEPENDENT ? first.z : await apply(first.w);
  const second = gramSchmidt(system, first.w, again);
  const k = c.length / system.n;
  return { ...second, coefficients: product(second.coefficients, first.coefficients, second.rank, first.rank, k) };
}

/** Modified Gram-Schmidt in the inner product of M^-1, largest remaining column first. `mc` is M^-1 C. */
function gramSchmidt(system: System, c: Float64Array, mc: Float64Array): Basis {
  const { n } = system;
  const k = c.length / n;
  const same = c === mc;
  const left = Array.from({ length: k }, (_, index) => {
    const own = c.slice(index * n, (index + 1) * n);
    return { index, c: own, mc: same ? own : mc.slice(index * n, (index + 1) * n) };
  });
  const w = new Float64Array(k * n);
  const z = new Float64Array(k * n);
  const coefficients = new Float64Array(k * k);
  let rank = 0;
  let largest = 0;
  let smallest = Infinity;
  while (left.length > 0) {
    const squares = left.map((column) => dot(column.c, column.mc));
    const most = squares.reduce((best, square, at) => (square > (squares[best] as number) ? at : best), 0);
    const square = squares[most] as number;
    if (rank === 0) {
      largest = square;
      if (!(square >= 0 && square < Infinity)) throw system.badPreconditioner(square);
    }
    if (!(square > DEPENDENT ** 2 * largest)) break;
    const [chosen] = left.splice(most, 1);
    if (chosen === undefined) break;
    const norm = Math.sqrt(square);
    smallest = Math.min(smallest, square);
    const at = rank * n;
    w.set(
      chosen.c.map((value) => value / norm),
      at,
    );
    z.set(
      chosen.mc.map((value) => value / norm),
      at,
    );
    const [wr, zr] = [w.subarray(at, at + n), z.subarray(at, at + n)];
    coefficients[rank * k + chosen.index] = norm;
    for (const column of left) {
      const along = dot(zr, column.c);
      coefficients[rank * k + column.index] = along;
      axpy(-along, wr, column.c);
      if (!same) axpy(-along, zr, column.mc);
    }
    rank++;
  }
  return {
    w: w.slice(0, rank * n),
    z: z.slice(0, rank * n),
    coefficients: coefficients.slice(0, rank * k),
    rank,
    independence: rank === 0 ? 1 : Math.sqrt(smallest / largest),
  };
}

/** A B for small row-major matrices, rows x inner and inner x columns. */
function product(a: Float64Array, b: Float64Array, rows: number, inner: number, columns: number): Float64Array {
  const c = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    const row = c.subarray(i * columns, (i + 1) * columns);
    for (let k = 0; k < inner; k++) axpy(a[i * inner + k] as number, b.subarray(k * columns, (k + 1) * columns), row);
  }
  return c;
}

function transposed(a: Float64Array, rows: number, columns: number): Float64Array {
  return new Float64Array(a.length).map((_, at) => a[(at % rows) * columns + Math.floor(at / rows)] as number);
}
