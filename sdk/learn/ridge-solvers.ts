/**
 * (A + shift I) X = B for a grid of shifts, of either sign, by one of three methods. A shift that leaves the matrix
 * indefinite, or singular to working precision, is told apart from everything else that may go wrong, so that the rest
 * of a grid need not be lost with it. Shifts and solutions are in units of the stored entries.
 */
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { cholesky, type CholeskyOptions } from "../linalg/cholesky.ts";
import { gathered } from "../linalg/dense.ts";
import { eigh } from "../linalg/eigh.ts";
import { multiShiftCg } from "../linalg/multi-shift-cg.ts";
import type { LinearOperator } from "../linalg/operator.ts";
import { operatorOf } from "../linalg/prepare.ts";
import { columnsAt, eigenvalueNoise, requireConverged } from "../linalg/solver.ts";
import { denseSymmetric, readDiagonal, type SymmetricSource, type Values } from "../linalg/source.ts";
import { ridgePath } from "../linalg/spectral.ts";
import { axpy, scaleByPower } from "../linalg/vectors.ts";
import type { KrrMethod } from "./krr-plan.ts";

export interface RidgeSystem {
  readonly engine: Engine;
  readonly source: SymmetricSource;
  /** The array behind the source, where there is one. */
  readonly dense?: Values | undefined;
  /** Row-major, [n, outputs]. */
  readonly targets: Float64Array;
  readonly shifts: readonly number[];
  readonly tolerance: number;
  readonly memoryBytes: number;
  readonly scratch?: CholeskyOptions["scratch"];
  /** Whether shifts that cannot be solved with are left out; otherwise the first ends everything. */
  readonly skip: boolean;
  readonly signal?: AbortSignal | undefined;
  /** `done` in shifts. */
  readonly onProgress?: ((label: string, done: number, detail?: string) => void) | undefined;
}

export interface RidgeSolution {
  /** Row-major, [n, outputs]. */
  readonly x: Float64Array;
  /** Of conjugate gradients: products in all, and the largest residual of an output. */
  readonly iterations?: number;
  readonly relativeResidual?: number;
}

/** Why a ridge has no solution: K + lambda I is not positive definite, or conjugate gradients did not arrive. */
export type RidgeRefusal = "not positive definite" | "not converged";

/** Why a shift has no solution. */
export class Indefinite {
  readonly kind: RidgeRefusal;
  /** "its smallest eigenvalue is -0.12" or "pivot 31 came out as -1.2e-9". */
  readonly reason: string;
  /** A shift that would have passed, and one below which none can; undefined where that is not known. */
  readonly passes: number | undefined;
  readonly bound: number | undefined;
  readonly cause: unknown;
  /** The evidence: an eigenvalue, or a pivot. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(facts: {
    kind?: RidgeRefusal;
    reason: string;
    passes?: number | undefined;
    bound?: number | undefined;
    cause?: unknown;
    details?: Readonly<Record<string, unknown>>;
  }) {
    this.kind = facts.kind ?? "not positive definite";
    this.reason = facts.reason;
    this.passes = finite(facts.passes);
    this.bound = finite(facts.bound);
    this.cause = facts.cause;
    this.details = facts.details ?? {};
  }
}

/** A matrix of zeros has no scale to advise by. */
function finite(value: number | undefined): number | undefined {
  return value !== undefined && Number.isFinite(value) ? value : undefined;
}

/** A stored value in the kernel's units, as text: a power of two beside it where that leaves float64's range. */
function inUnits(value: number, exponent = 0): string {
  const scaled = scaleByPower(Float64Array.of(value), exponent)[0] as number;
  const fits = Number.isFinite(scaled) && (scaled !== 0 || value === 0);
  return fits ? scaled.toExponential(3) : `${value.toExponential(3)} x 2^${exponent}`;
}

/** The same as a number; undefined out of float64's range. */
function numberInUnits(value: number, exponent = 0): number | undefined {
  return finite(scaleByPower(Float64Array.of(value), exponent)[0]);
}

export type RidgeOutcome = RidgeSolution | Indefinite;

/**
 * A solution or a refusal for each shift, in the order given. Unless `skip`, ends at the first refusal, with undefined
 * for what was not tried. Throws what the methods throw for other reasons.
 */
export function solveRidges(method: KrrMethod, system: RidgeSystem): Promise<(RidgeOutcome | undefined)[]> {
  if (method === "cholesky") return byCholesky(system);
  return method === "eigh" ? byEigenvectors(system) : byConjugateGradients(system);
}

async function byCholesky(given: RidgeSystem): Promise<(RidgeOutcome | undefined)[]> {
  const system = { ...given, ...(await readOnce(given)) };
  const { shifts, skip, onProgress } = system;
  const diagonal = await readDiagonal(system.source);
  const outcomes: (RidgeOutcome | undefined)[] = shifts.map(() => undefined);
  // The smallest first: it is the one that fails, and then proves that others below its bound would.
  const order = [...shifts.keys()].sort((a, b) => (shifts[a] as number) - (shifts[b] as number));
  let refused: Indefinite | undefined;
  for (const [done, index] of order.entries()) {
    const shift = shifts[index] as number;
    const known: Indefinite | undefined = refused;
    const hopeless = known !== undefined && shift < (known.bound ?? -Infinity);
    const outcome: RidgeOutcome = hopeless
      ? new Indefinite({ reason: "a smaller lambda's failure has proved it", bound: known.bound, cause: known.cause })
      : await oneCholesky(system, shift, diagonal, done);
    outcomes[index] = outcome;
    if (outcome instanceof Indefinite) {
      if (!skip) return outcomes;
      refused = outcome;
    }
    onProgress?.("Cholesky", done + 1);
  }
  return outcomes;
}

/** Every factorisation reads the matrix: from a store, which has a checksum to verify each time, but once where memory holds it. */
async function readOnce({
  source,
  dense,
  shifts,
  memoryBytes,
}: RidgeSystem): Promise<Pick<RidgeSystem, "source" | "memoryBytes">> {
  const { n, exponent, identity } = source;
  if (dense !== undefined || shifts.length === 1 || 4 * n * n > READ_ONCE_SHARE * memoryBytes)
    return { source, memoryBytes };
  const values = await gathered(source);
  return { source: { ...denseSymmetric(values, n), exponent, identity }, memoryBytes: memoryBytes - values.byteLength };
}

/** Of the budget, for a copy of the matrix beside the factor. */
const READ_ONCE_SHARE = 1 / 4;

async function oneCholesky(
  system: RidgeSystem,
  shift: number,
  diagonal: Float64Array,
  done: number,
): Promise<RidgeOutcome> {
  const { engine, source, targets, memoryBytes, scratch, skip, signal, onProgress } = system;
  // Failures are told in the kernel's units here, which may leave float64's range.
  const shifted = { ...(shift < 0 ? withShift(source, shift) : source), exponent: 0 };
  const meanDiagonal = diagonal.reduce((sum, value) => sum + value / diagonal.length, 0) + Math.min(0, shift);
  try {
    const factor = await cholesky(engine, shifted, {
      ...{ memoryBytes, scratch, signal, log: engine.log },
      lambda: Math.max(0, shift),
      ...(skip || shift < 0 ? { explain: false } : {}),
      onProgress: ({ phase, fraction, gflops }) => {
        if (phase === "factor") onProgress?.("Cholesky", done + fraction, `${gflops.toFixed(1)} GFLOP/s`);
      },
    });
    try {
      const { smallestPivot: pivot, smallestPivotIndex: index } = factor;
      // Rounding alone could have made a pivot of this size out of its diagonal entry: two equal rows have one.
      const noise = 8 * Math.sqrt(source.n) * 2 ** -53 * Math.abs((diagonal[index] as number) + shift);
      if (pivot > noise) return { x: await factor.solve(targets, { signal }) };
      return new Indefinite({
        reason: `pivot ${index} is ${inUnits(pivot, source.exponent)}, which rounding could have made of 0`,
        // What the pivots' noise adds up to, with the room that estimates need.
        passes: shift + 16 * Math.sqrt(source.n) * source.n * 2 ** -53 * meanDiagonal,
        details: { pivot: index, value: numberInUnits(pivot, source.exponent) },
      });
    } finally {
      factor.dispose();
    }
  } catch (thrown) {
    if (!(thrown instanceof WidefieldError && thrown.code === "E_NOT_POSITIVE_DEFINITE")) throw thrown;
    const { pivot, value, jitterNeeded, jitterBound } = thrown.details as Readonly<
      Record<"pivot" | "value" | "jitterNeeded" | "jitterBound", number | undefined>
    >;
    const base = Math.min(0, shift);
    // Decades of a matrix with a negative ridge would say little about the matrix itself: that is asked instead.
    const plain = base < 0 && !skip ? await oneCholesky(system, 0, diagonal, done) : undefined;
    const found = jitterNeeded === undefined ? undefined : base + jitterNeeded * meanDiagonal;
    return new Indefinite({
      reason: `pivot ${pivot ?? NaN} came out as ${inUnits(value ?? NaN, source.exponent)}`,
      passes: plain === undefined ? found : plain instanceof Indefinite ? plain.passes : 0,
      bound: jitterBound === undefined ? undefined : base + jitterBound * meanDiagonal,
      cause: thrown,
      details: { pivot, value: numberInUnits(value ?? NaN, source.exponent) },
    });
  }
}

/** A source with something added to its diagonal, which must not be rounded to float32. */
function withShift(source: SymmetricSource, shift: number): SymmetricSource {
  const { n, blockSize, exponent, identity } = source;
  return {
    n,
    blockSize,
    exponent,
    identity: identity === undefined ? undefined : `${identity} ${shift}`,
    async block(rowBegin, rowEnd, columnBegin, columnEnd) {
      const values = Float64Array.from(await source.block(rowBegin, rowEnd, columnBegin, columnEnd));
      const width = columnEnd - columnBegin;
      for (let i = Math.max(rowBegin, columnBegin); i < Math.min(rowEnd, columnEnd); i++) {
        const at = (i - rowBegin) * width + i - columnBegin;
        values[at] = (values[at] as number) + shift;
      }
      return values;
    },
  };
}

async function byEigenvectors(system: RidgeSystem): Promise<(RidgeOutcome | undefined)[]> {
  const { engine, source, targets, shifts, skip, signal, onProgress } = system;
  const matrix = system.dense ?? (await gathered(source));
  const eigen = await eigh(engine, matrix, {
    signal,
    onProgress: ({ fraction }) => onProgress?.("eigenvectors", 0.9 * fraction * shifts.length),
  });
  const smallest = eigen.values[0] as number;
  const needed = 2 * eigenvalueNoise(eigen.values) - smallest;
  const outcomes: (RidgeOutcome | undefined)[] = shifts.map((shift) =>
    shift > needed
      ? undefined
      : new Indefinite({
          reason: `its smallest eigenvalue is ${inUnits(smallest + shift, source.exponent)}`,
          // Above `needed` everything passes: the next number of three digits is.
          passes: needed,
          bound: -smallest,
          details: { value: numberInUnits(smallest + shift, source.exponent) },
        }),
  );
  if (!skip && outcomes.some((outcome) => outcome !== undefined)) return outcomes;
  const good = shifts.flatMap((shift, index) => (outcomes[index] === undefined ? [{ shift, index }] : []));
  if (good.length === 0) return outcomes;
  // The path takes ridges that are not negative: a negative one goes to the eigenvalues. One that was refused may be so
  // large that nothing would be left of them.
  const base = good.reduce((least, { shift }) => Math.min(least, shift), 0);
  const moved = base === 0 ? eigen : { ...eigen, values: eigen.values.map((value) => value + base) };
  const ridges = good.map(({ shift }) => shift - base);
  const path = await ridgePath(moved, targets, ridges, { signal });
  path.forEach(({ x }, at) => (outcomes[(good[at] as { index: number }).index] = { x }));
  onProgress?.("eigenvectors", shifts.length);
  return outcomes;
}

async function byConjugateGradients(system: RidgeSystem): Promise<(RidgeOutcome | undefined)[]> {
  const { engine, source, dense, targets, shifts, skip, signal, tolerance } = system;
  const { n } = source;
  const outputs = targets.length / n;
  // Failures are told in units of the stored entries here: `krr.ts` says what they are in the kernel's.
  const form = { n, exponent: 0, source, dense };
  const { operator, dispose } = await operatorOf(engine, form, system.memoryBytes);
  const outcomes: (RidgeOutcome | undefined)[] = shifts.map(() => undefined);
  const found = shifts.map(() => ({ x: new Float64Array(targets.length), iterations: 0, relativeResidual: 0 }));
  let left = [...shifts.keys()];
  try {
    for (let output = 0; output < outputs && left.length > 0;) {
      const progress = (residual: number) => {
        const part = Math.min(1, Math.max(0, Math.log(residual) / Math.log(tolerance)));
        const detail = `output ${output + 1} of ${outputs}, residual ${residual.toExponential(1)}`;
        system.onProgress?.("cg", (shifts.length * (output + part)) / outputs, detail);
      };
      try {
        // Of those that are left: one that was refused may be so large that the matrix would vanish beside it.
        const base = left.reduce((least, index) => Math.min(least, shifts[index] as number), 0);
        const moved = base === 0 ? operator : shiftedOperator(operator, base);
        const ridges = left.map((index) => (shifts[index] as number) - base);
        const options = {
          tolerance,
          signal,
          onProgress: ({ residual }: { readonly residual: number }) => progress(residual),
        };
        const result = await multiShiftCg(moved, columnsAt(targets, n, output, 1), ridges, options);
        const worst = result.solutions.reduce((most, { relativeResidual }) => Math.max(most, relativeResidual), 0);
        requireConverged(result, worst, tolerance);
        result.solutions.forEach(({ x, iterations, relativeResidual }, at) => {
          const into = found[left[at] as number] as (typeof found)[number];
          x.forEach((value, i) => (into.x[i * outputs + output] = value));
          into.iterations += iterations;
          into.relativeResidual = Math.max(into.relativeResidual, relativeResidual);
        });
        output++;
      } catch (thrown) {
        const indefinite = thrown instanceof WidefieldError && thrown.code === "E_NOT_POSITIVE_DEFINITE";
        const slow = thrown instanceof WidefieldError && thrown.code === "E_NOT_CONVERGED";
        if (!indefinite && !slow) throw thrown;
        // The smallest of the grid is the one that fails; the others go on without it.
        const worst = left.reduce((a, b) => ((shifts[b] as number) < (shifts[a] as number) ? b : a));
        outcomes[worst] = new Indefinite({
          kind: slow ? "not converged" : "not positive definite",
          reason: `output ${output}: ${thrown.message}`,
          cause: thrown,
          details: thrown.details,
        });
        if (!skip) return outcomes;
        left = left.filter((index) => index !== worst);
      }
    }
  } finally {
    await dispose();
  }
  for (const index of left) outcomes[index] = found[index];
  return outcomes;
}

/** A + shift I. */
function shiftedOperator(operator: LinearOperator, shift: number): LinearOperator {
  return {
    n: operator.n,
    async apply(x, vectors, signal) {
      const product = Float64Array.from(await operator.apply(x, vectors, signal));
      axpy(shift, x, product);
      return product;
    },
  };
}
