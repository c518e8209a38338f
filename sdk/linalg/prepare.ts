/**
 * From a symmetric matrix, in whatever form it comes, to something that solves with it: the method is chosen
 * (`solve-plan.ts`), what all shifts have in common is computed once, and each shift then gets its `Solver`. The front
 * door (`solve.ts`) and Gaussian processes stand on this.
 */
import { type Engine, parseBytes } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { cholesky, type CholeskyOptions, type CholeskyProgress } from "./cholesky.ts";
import { gathered, requireSymmetric, squareSide, type DenseMatrix } from "./dense.ts";
import { eigh } from "./eigh.ts";
import { nextJitter } from "./jitter.ts";
import type { KrylovOptions, KrylovProgress } from "./krylov.ts";
import { denseOperator, operatorRows, type LinearOperator } from "./operator.ts";
import { pivotedCholesky } from "./pivoted-cholesky.ts";
import { diagonalOf, type Preconditioner } from "./preconditioner.ts";
import { CG_RANK, chooseMethod, methodPlan, requireMethod, type SolveChoice, type SolveMethod } from "./solve-plan.ts";
import { cgSolver, choleskySolver, eighSolver, eigenvalueNoise, type Decomposition, type Solver } from "./solver.ts";
import { denseSymmetric, sourceRows, type SymmetricSource, type Values } from "./source.ts";
import { tileOperator } from "./tile-operator.ts";

/** An array as `kernel` returns it, blocks from anywhere, or something that multiplies. */
export type SolveMatrix = DenseMatrix | SymmetricSource | LinearOperator;

export type SolveProgress =
  | ({ readonly method: "cholesky" } & CholeskyProgress)
  | ({ readonly method: "cg"; readonly phase: "iterate" } & KrylovProgress)
  | { readonly method: "eigh"; readonly phase: "decompose"; readonly fraction: number; readonly seconds: number };

export interface PrepareOptions extends Pick<
  KrylovOptions,
  "tolerance" | "absoluteTolerance" | "maxIterations" | "stagnationWindow" | "signal"
> {
  /** Default "auto": see `chooseMethod`. */
  readonly method?: "auto" | SolveMethod | undefined;
  /**
   * Bytes, or text such as "2GB", that may be held at once beside the matrix and the right-hand sides; default: the
   * engine's budget.
   */
  readonly memory?: number | string | undefined;
  /** Where a factor's tiles go that memory does not hold; with `keep` the factor stays there. */
  readonly scratch?: CholeskyOptions["scratch"];
  /**
   * For conjugate gradients. Default: a pivoted Cholesky factor of rank 100, where the matrix shows its entries and lambda
   * is above rounding (1e-12 of the mean diagonal); "none": none.
   */
  readonly preconditioner?: Preconditioner | "none" | undefined;
  /** Largest |a_ij - a_ji| over the largest entry of an array; default 1e-6 in float32, 1e-12 in float64. */
  readonly symmetryTolerance?: number | undefined;
  readonly onProgress?: ((progress: SolveProgress) => void) | undefined;
}

/** What is to be done, as far as the choice of a method depends on it. */
export interface Workload {
  readonly rhs: number;
  readonly lambdas: number;
}

/** A matrix in one of three forms; whatever they give is to be multiplied by 2^exponent. */
export interface MatrixForm {
  readonly n: number;
  readonly exponent: number;
  /** Undefined for an operator. */
  readonly source?: SymmetricSource | undefined;
  /** The array behind the source, if there is one. */
  readonly dense?: Values | undefined;
  readonly operator?: LinearOperator | undefined;
}

export type Shift =
  /** In units of the matrix's entries, without its power of two. */
  | { readonly lambda: number }
  /** Relative to the mean diagonal; "auto": the first of 0, 1e-10, 1e-9, ... that is enough. Not for operators. */
  | { readonly jitter: number | "auto"; readonly explain?: boolean | undefined };

export interface Prepared {
  readonly choice: SolveChoice;
  readonly n: number;
  /** What conjugate gradients multiply by; undefined with the other methods. */
  readonly operator: LinearOperator | undefined;
  /** A + shift I, ready to be solved with. Throws what the method throws. */
  shifted(shift: Shift): Promise<Solver>;
  /** Solvers that were made are disposed by themselves, before. */
  dispose(): Promise<void>;
}

const SYMMETRY_TOLERANCE = { f32: 1e-6, f64: 1e-12 } as const;

/** Checks a matrix. Throws E_SHAPE, E_DATA (an entry that is not finite, or the worst pair that is not symmetric), E_CONFIG. */
export function formOf(matrix: SolveMatrix, symmetryTolerance?: number): MatrixForm {
  if (typeof matrix !== "object" || (matrix as unknown) === null) throw notAMatrix();
  const { exponent = 0 } = matrix;
  if (!Number.isSafeInteger(exponent))
    throw new WidefieldError("E_CONFIG", `a matrix's exponent is a whole number, not ${exponent}`);
  if ("values" in matrix) {
    const { values } = matrix;
    if (!(values instanceof Float32Array || values instanceof Float64Array)) throw notAMatrix();
    const n = squareSide(matrix);
    const tolerance = symmetryTolerance ?? SYMMETRY_TOLERANCE[values instanceof Float32Array ? "f32" : "f64"];
    if (!(tolerance >= 0 && Number.isFinite(tolerance)))
      throw new WidefieldError(
        "E_CONFIG",
        `symmetryTolerance must be a finite number that is not negative, not ${tolerance}`,
      );
    const { asymmetry } = requireSymmetric(values, n, tolerance);
    const dense = asymmetry === 0 ? values : mirrored(values, n);
    return { n, exponent, source: denseSymmetric(dense, n), dense };
  }
  if ("block" in matrix) return { n: sourceRows(matrix), exponent, source: matrix };
  if (!("apply" in matrix)) throw notAMatrix();
  return { n: operatorRows(matrix), exponent, operator: matrix };
}

function notAMatrix(): WidefieldError {
  return new WidefieldError(
    "E_CONFIG",
    "K is an array ({ values, rows, columns }, its values a Float32Array or Float64Array), a source (kernelSource makes " +
      "one of a kernel matrix or store), or an operator",
  );
}

/** All methods read the lower triangle, some of them from above. */
function mirrored(values: Values, n: number): Values {
  const copy = values.slice();
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) copy[j * n + i] = copy[i * n + j] as number;
  return copy;
}

/**
 * Chooses a method, says why in the engine's log where it was free to, and does what all shifts share. Throws what
 * `chooseMethod`, `requireMethod`, `eigh` and reading throw.
 */
export async function prepare(
  engine: Engine,
  form: MatrixForm,
  workload: Workload,
  options: PrepareOptions = {},
): Promise<Prepared> {
  const { method = "auto", scratch } = options;
  if (!["auto", "cholesky", "cg", "eigh"].includes(method))
    throw new WidefieldError("E_CONFIG", `method is one of auto, cholesky, cg and eigh, not ${JSON.stringify(method)}`);
  if (typeof options.preconditioner === "object" && (method === "cholesky" || method === "eigh"))
    throw new WidefieldError("E_CONFIG", `a preconditioner is for conjugate gradients, not for ${method}`);
  await requireScratchPlace(scratch);
  const memoryBytes = options.memory === undefined ? engine.memoryBytes : parseBytes(options.memory);
  const facts = {
    n: form.n,
    ...workload,
    entries: form.source !== undefined,
    memoryBytes,
    scratchBytes: await scratchRoom(scratch),
    threads: engine.threads,
  };
  const choice = method === "auto" ? chooseMethod(facts) : requireMethod(method, facts);
  if (method === "auto") engine.log(`solve: ${choice.reason}`);
  const source = form.source && withExponent(form.source, form.exponent);
  if (source !== undefined && choice.method === "cholesky")
    return preparedCholesky(engine, source, choice, { ...options, memoryBytes });
  if (source !== undefined && choice.method === "eigh")
    return preparedEigh(engine, source, form.dense, choice, options);
  const left = memoryBytes - methodPlan("cg", facts).memoryBytes;
  return preparedCg(engine, form, choice, left, options);
}

/** The source of a form knows the form's power of two: failures are told in the matrix's own units. */
function withExponent(source: SymmetricSource, exponent: number): SymmetricSource {
  const { n, blockSize, identity } = source;
  return { n, blockSize, identity, exponent, block: (...range) => source.block(...range) };
}

/** Throws E_IO where neither a scratch folder nor the folder that it would be in is there: before hours of work. */
export async function requireScratchPlace(scratch: PrepareOptions["scratch"]): Promise<void> {
  if (scratch === undefined) return;
  const { files, folder } = scratch;
  const parent = parentOf(folder);
  if ((await files.size(folder)) !== undefined || (await files.size(parent)) !== undefined) return;
  throw new WidefieldError("E_IO", `the scratch folder ${folder} cannot be made: there is no folder ${parent}`, {
    details: { path: folder },
  });
}

function parentOf(folder: string): string {
  return folder.replace(/[^/]*\/*$/, "") || ".";
}

/** Bytes free for a scratch folder, which need not be there yet; Infinity where that cannot be told. */
export async function scratchRoom(scratch: PrepareOptions["scratch"]): Promise<number | undefined> {
  if (scratch === undefined) return undefined;
  const { files, folder } = scratch;
  return (await files.freeBytes(folder)) ?? (await files.freeBytes(parentOf(folder))) ?? Infinity;
}

function preparedCholesky(
  engine: Engine,
  source: SymmetricSource,
  choice: SolveChoice,
  { memoryBytes, scratch, signal, onProgress }: PrepareOptions & { readonly memoryBytes: number },
): Prepared {
  return {
    choice,
    n: source.n,
    operator: undefined,
    async shifted(shift) {
      const factor = await cholesky(engine, source, {
        ...shift,
        memoryBytes,
        scratch,
        signal,
        log: engine.log,
        onProgress: onProgress && ((progress) => onProgress({ method: "cholesky", ...progress })),
      });
      return choleskySolver(factor);
    },
    dispose: async () => undefined,
  };
}

async function preparedEigh(
  engine: Engine,
  source: SymmetricSource,
  dense: Values | undefined,
  choice: SolveChoice,
  { signal, onProgress }: PrepareOptions,
): Promise<Prepared> {
  const { n } = source;
  const matrix = dense ?? (await gathered(source));
  throwIfAborted(signal);
  const meanDiagonal = meanOf(Float64Array.from({ length: n }, (_, i) => matrix[i * n + i] as number));
  const begun = performance.now();
  const { vectors, ...eigen } = await eigh(engine, matrix, {
    signal,
    onProgress:
      onProgress && (({ fraction, seconds }) => onProgress({ method: "eigh", phase: "decompose", fraction, seconds })),
  });
  if (vectors === undefined) throw new Error("eigh gave no vectors");
  const seconds = (performance.now() - begun) / 1000;
  const { exponent = 0 } = source;
  const decomposition: Decomposition = { eigen: { ...eigen, vectors }, meanDiagonal, seconds, exponent };
  return {
    choice,
    n,
    operator: undefined,
    shifted: async (shift) => eighSolver(decomposition, eighShift(decomposition, shift)),
    dispose: async () => undefined,
  };
}

function eighShift({ eigen, meanDiagonal }: Decomposition, shift: Shift): number {
  if ("lambda" in shift) return shift.lambda;
  if (shift.jitter !== "auto") return shift.jitter * meanDiagonal;
  const needed = eigenvalueNoise(eigen.values) - (eigen.values[0] ?? NaN);
  if (needed < 0) return 0;
  return (nextJitter(0, needed / meanDiagonal) ?? 0) * meanDiagonal;
}

async function preparedCg(
  engine: Engine,
  form: MatrixForm,
  choice: SolveChoice,
  memoryBytes: number,
  options: PrepareOptions,
): Promise<Prepared> {
  const { preconditioner, onProgress, signal, tolerance, absoluteTolerance, maxIterations, stagnationWindow } = options;
  const { operator, dispose } = await operatorOf(engine, form, memoryBytes);
  const krylov = {
    ...{ signal, tolerance, absoluteTolerance, maxIterations, stagnationWindow },
    onProgress:
      onProgress && ((progress: KrylovProgress) => onProgress({ method: "cg", phase: "iterate", ...progress })),
  };
  let mean: Promise<number> | undefined;
  const meanDiagonal = () => (mean ??= diagonalOf(operator).then(meanOf));
  return {
    choice,
    n: form.n,
    operator,
    async shifted(shift) {
      if ("jitter" in shift && shift.jitter === "auto")
        throw new WidefieldError(
          "E_CONFIG",
          'conjugate gradients cannot tell how much jitter is enough: give a number, or "noise", or lambda',
        );
      const relative = "jitter" in shift ? Number(shift.jitter) : undefined;
      const lambda = "lambda" in shift ? shift.lambda : (relative ?? NaN) * (await meanDiagonal());
      return cgSolver({
        operator,
        shift: lambda,
        relativeShift: relative ?? (operator.entries === undefined ? undefined : lambda / (await meanDiagonal())),
        preconditioner:
          preconditioner === "none"
            ? undefined
            : (preconditioner ?? (await defaultPreconditioner(operator, lambda, meanDiagonal, signal))),
        options: krylov,
        // The operator is shared by all shifts.
        dispose: async () => undefined,
      });
    },
    dispose,
  };
}

/** A ridge below this part of the mean diagonal is no ground to stand on: dividing by it would amplify rounding errors. */
const LEAST_RIDGE = 2 ** -40;

/**
 * Undefined where the matrix shows no entries, where there is no ridge for a preconditioner of low rank to rest on, and
 * where A alone is indefinite: A + lambda I may still be positive definite.
 */
async function defaultPreconditioner(
  operator: LinearOperator,
  lambda: number,
  meanDiagonal: () => Promise<number>,
  signal: AbortSignal | undefined,
): Promise<Preconditioner | undefined> {
  const { n, entries } = operator;
  if (entries === undefined || !(lambda > LEAST_RIDGE * (await meanDiagonal()))) return undefined;
  const interruptible: LinearOperator = {
    n,
    apply: (x, vectors) => operator.apply(x, vectors, signal),
    entries: (rows, columns) => {
      throwIfAborted(signal);
      return entries(rows, columns);
    },
  };
  try {
    return await pivotedCholesky(interruptible, { lambda, rank: CG_RANK });
  } catch (thrown) {
    if (thrown instanceof WidefieldError && thrown.code === "E_NOT_POSITIVE_DEFINITE") return undefined;
    throw thrown;
  }
}

/** A form as something that multiplies, without its power of two; its tiles take up to `memoryBytes`. */
export async function operatorOf(
  engine: Engine,
  { n, source, dense, operator }: MatrixForm,
  memoryBytes: number,
): Promise<{ readonly operator: LinearOperator; readonly dispose: () => Promise<void> }> {
  const plain = (made: LinearOperator) => ({ operator: made, dispose: async () => undefined });
  if (operator !== undefined) {
    const { entries } = operator;
    return plain({
      n,
      apply: (x, vectors, signal) => operator.apply(x, vectors, signal),
      entries: entries && ((rows, columns) => entries.call(operator, rows, columns)),
    });
  }
  if (source === undefined) throw new Error("a matrix has a source, or is an operator");
  if (dense instanceof Float64Array) return plain(denseOperator(dense, n));
  const sample = dense ?? (await source.block(0, 1, 0, 1));
  if (sample instanceof Float64Array) {
    if (8 * n * n > memoryBytes)
      throw new WidefieldError(
        "E_MEMORY",
        `products need this ${n} x ${n} float64 matrix whole in memory: round its blocks to float32, which are streamed, or ` +
          "factorise it (cholesky)",
        { details: { neededBytes: 8 * n * n, memoryBytes } },
      );
    return plain(denseOperator(await gathered(source), n));
  }
  const { maxBufferBytes } = (await engine.cpu()).info;
  const tiles = await tileOperator(
    engine,
    {
      n,
      blockSize: source.blockSize,
      block: (rowBegin, rowEnd, columnBegin, columnEnd) => source.block(rowBegin, rowEnd, columnBegin, columnEnd),
    },
    { memoryBytes: Math.max(0, Math.min(memoryBytes, maxBufferBytes / 2)) },
  );
  return { operator: tiles, dispose: () => tiles.dispose() };
}

function meanOf(diagonal: Float64Array): number {
  // Divided before they are added: a sum of entries near the end of the range may leave it.
  return diagonal.reduce((sum, value) => sum + value / diagonal.length, 0);
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WidefieldError("E_ABORTED", "the solve was stopped", { cause: signal.reason });
}
