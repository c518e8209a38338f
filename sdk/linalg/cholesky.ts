/**
 * The Cholesky factorisation of a symmetric matrix in float64, for as much jitter as it takes or as the caller allows.
 * How it is computed is in `assembly/linalg/cholesky.ts`; here are its policy, progress and errors.
 */
import type { Backend } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import type { Files } from "../platform/files.ts";
import { CholeskyFactor } from "./factor.ts";
import { nextJitter, noisePivot, shiftLowerBound } from "./jitter.ts";
import { sourceRows, type SymmetricSource } from "./source.ts";
import { Triangle, type PivotFailure } from "./triangle.ts";

export interface CholeskyProgress {
  readonly phase: "read" | "factor";
  /** Of this phase, 0 to 1. */
  readonly fraction: number;
  /** Since the phase began, and until it ends at the present rate. */
  readonly seconds: number;
  readonly secondsLeft: number;
  /** Rate so far; 0 while reading. */
  readonly gflops: number;
  /** What this attempt adds to the diagonal, relative to its mean. */
  readonly jitter: number;
}

export interface CholeskyOptions {
  /**
   * Added to the diagonal, relative to its mean; default 0. "auto" tries 0 and then 1e-10, 1e-9, ... 1 until every pivot
   * is positive and too large to be a rounding error of its own diagonal entry, reading the source again each time.
   */
  readonly jitter?: number | "auto" | undefined;
  /** Added to the diagonal as it is, in units of the source's entries, instead of jitter. */
  readonly lambda?: number | undefined;
  /** Bytes that everything together may take; default: what the engine may. */
  readonly memoryBytes?: number | undefined;
  /** Where tiles go that memory does not hold; with `keep` the finished factor stays there. */
  readonly scratch?:
    { readonly files: Files; readonly folder: string; readonly keep?: boolean | undefined } | undefined;
  /**
   * Whether a failure looks for the jitter that would have passed, by factorising with one decade after another (those
   * below a bound that the failed pivot proves are left out): as long as a factorisation that passes, or a few. Default true.
   */
  readonly explain?: boolean | undefined;
  readonly onProgress?: ((progress: CholeskyProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An engine, or its float64 backend. */
export type LinalgTarget = Backend | { cpu(): Promise<Backend> };

/** A failed attempt, with what is known about the jitter it would have taken. */
interface Failure extends PivotFailure {
  readonly jitter: number;
  readonly smallestBefore: PivotFailure | undefined;
  /** No smaller jitter can pass: relative to the mean diagonal. */
  readonly bound: number;
}

/** Work between two looks at the status, the abort signal and the clock: about a tenth of a second. */
const CHUNK_FLOPS = 3e9;

/**
 * Factorises the n x n matrix of `source`, of which only the lower triangle is read: A + jitter x mean diagonal x I =
 * L L^T. Memory: the triangle, n (n + tile) / 2 doubles, and one block of the source.
 *
 * The result is the same, bit for bit, for any number of threads and any block size of the source, and entries may have
 * any scale: no threshold is absolute.
 *
 * Throws E_SHAPE (no rows, blocks of a wrong size), E_DATA (an entry that is not finite, named), E_CONFIG (a jitter that
 * cannot be meant), E_MEMORY, E_ABORTED, and E_NOT_POSITIVE_DEFINITE, whose details are `pivot` (its index), `value`,
 * `smallestBefore`, `smallestBeforeIndex`, `jitter` (tried), `jitterBound` (no smaller one can pass) and, unless
 * `explain` is false, `jitterNeeded` (the first decade that passed; undefined if none up to 1 did).
 */
export async function cholesky(
  target: LinalgTarget,
  source: SymmetricSource,
  options: CholeskyOptions = {},
): Promise<CholeskyFactor> {
  const n = sourceRows(source);
  const { jitter = 0, explain = true, lambda } = options;
  if (lambda !== undefined && !(lambda >= 0 && Number.isFinite(lambda)))
    throw new WidefieldError("E_CONFIG", `lambda must be a finite number that is not negative, not ${lambda}`);
  if (jitter !== "auto" && !(jitter >= 0 && Number.isFinite(jitter)))
    throw new WidefieldError(
      "E_CONFIG",
      `jitter must be a finite number that is not negative, or "auto"; got ${jitter}`,
    );
  const backend = "cpu" in target ? await target.cpu() : target;
  if (backend.info.backend !== "wasm")
    throw new WidefieldError("E_CONFIG", `float64 work needs the wasm backend, not ${backend.info.backend}`);
  const triangle = new Triangle(backend, n);
  try {
    const first = await attempt(triangle, source, jitter === "auto" ? 0 : jitter, options, jitter === "auto");
    if (first instanceof CholeskyFactor) return first;
    let last = first;
    if (lambda !== undefined) throw notPositiveDefinite(n, first, last.bound, "unknown");
    if (jitter === "auto" || explain) {
      for (let next = following(last); next !== undefined; next = following(last)) {
        const outcome = await attempt(triangle, source, next, options, true);
        if (outcome instanceof CholeskyFactor) {
          if (jitter === "auto") return outcome;
          throw notPositiveDefinite(n, first, last.bound, next);
        }
        last = outcome;
      }
    }
    throw notPositiveDefinite(n, first, last.bound, explain || jitter === "auto" ? undefined : "unknown");
  } catch (thrown) {
    triangle.free();
    throw thrown;
  }
}

function following({ jitter, bound }: Failure): number | undefined {
  return nextJitter(jitter, bound);
}

/** Reads and factorises once. With `careful`, pivots that rounding could have made count as failed. */
async function attempt(
  triangle: Triangle,
  source: SymmetricSource,
  jitter: number,
  options: CholeskyOptions,
  careful: boolean,
): Promise<CholeskyFactor | Failure> {
  const diagonal = await read(triangle, source, jitter, options);
  // Divided before they are added: a sum of entries near the end of the range may leave it.
  const meanDiagonal = diagonal.reduce((sum, value) => sum + value / triangle.n, 0);
  const shift = options.lambda ?? jitter * meanDiagonal;
  const shifted = diagonal.map((value) => value + shift);
  triangle.setDiagonal(shifted);
  const started = performance.now();
  const failed = await factorise(triangle, jitter, options);
  const seconds = (performance.now() - started) / 1000;
  const pivots = await triangle.readPivots(failed === undefined ? triangle.n : failed.index);
  const noise = careful && failed === undefined ? noisePivot(pivots, shifted) : undefined;
  if (failed === undefined && noise === undefined)
    return new CholeskyFactor(triangle, { jitterUsed: jitter, meanDiagonal, shift, pivots, seconds });
  if (failed === undefined) return { ...(noise as PivotFailure), jitter, smallestBefore: undefined, bound: jitter };
  return {
    ...failed,
    jitter,
    smallestBefore: smallest(pivots),
    bound: meanDiagonal > 0 ? jitter + (await shiftLowerBound(triangle, failed)) / meanDiagonal : Infinity,
  };
}

function smallest(pivots: Float64Array): PivotFailure | undefined {
  let index = 0;
  pivots.forEach((pivot, i) => {
    if (pivot < (pivots[index] ?? Number.NaN)) index = i;
  });
  const value = pivots[index];
  return value === undefined ? undefined : { index, value };
}

async function read(
  triangle: Triangle,
  source: SymmetricSource,
  jitter: number,
  { onProgress, signal }: CholeskyOptions,
): Promise<Float64Array> {
  const started = performance.now();
  throwIfAborted(signal);
  return triangle.fill(source, (fraction) => {
    throwIfAborted(signal);
    const seconds = (performance.now() - started) / 1000;
    const secondsLeft = (seconds * (1 - fraction)) / fraction;
    onProgress?.({ phase: "read", fraction, seconds, secondsLeft, gflops: 0, jitter });
  });
}

/**
 * Runs the factorisation in chunks of the queue. The next chunk is appended before the last one is waited for, so
 * the threads never run dry.
 */
async function factorise(
  triangle: Triangle,
  jitter: number,
  { onProgress, signal }: CholeskyOptions,
): Promise<PivotFailure | undefined> {
  const total = triangle.n ** 3 / 3;
  const started = performance.now();
  let done = 0;
  let chunk = 0;
  let pending: { readonly failure: Promise<PivotFailure | undefined>; readonly flops: number } | undefined;

  const settle = async (): Promise<PivotFailure | undefined> => {
    if (pending === undefined) return undefined;
    const failure = await pending.failure;
    if (failure !== undefined) return failure;
    done += pending.flops;
    const seconds = (performance.now() - started) / 1000;
    const fraction = Math.min(1, done / total);
    const secondsLeft = (seconds * (1 - fraction)) / fraction;
    onProgress?.({ phase: "factor", fraction, seconds, secondsLeft, gflops: done / seconds / 1e9, jitter });
    return undefined;
  };

  for (let step = 0; step < triangle.blocks; step++) {
    triangle.appendStep(step);
    chunk += triangle.stepFlops(step);
    if (chunk < CHUNK_FLOPS && step < triangle.blocks - 1) continue;
    const next = { failure: triangle.failure(), flops: chunk };
    // Should waiting for the chunk before it throw, nobody waits for this one any more.
    next.failure.catch(() => undefined);
    const failure = await settle();
    if (failure !== undefined || signal?.aborted === true) {
      await next.failure;
      throwIfAborted(signal);
      return failure;
    }
    pending = next;
    chunk = 0;
  }
  return settle();
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WidefieldError("E_ABORTED", "the factorisation was stopped", { cause: signal.reason });
}

function notPositiveDefinite(
  n: number,
  { index, value, jitter, smallestBefore }: Failure,
  bound: number,
  needed: number | undefined | "unknown",
): WidefieldError {
  const before =
    smallestBefore === undefined
      ? ""
      : ` (the smallest before it was ${smallestBefore.value.toExponential(3)}, at ${smallestBefore.index})`;
  const advice =
    needed === "unknown"
      ? Number.isFinite(bound)
        ? `it needs a jitter of at least ${bound.toExponential(1)} times the mean diagonal`
        : "its mean diagonal is not positive"
      : needed === undefined
        ? "no jitter up to the mean diagonal itself makes it so: this is not the covariance of anything"
        : `a jitter of ${needed.toExponential(0)} times the mean diagonal would have passed`;
  return new WidefieldError(
    "E_NOT_POSITIVE_DEFINITE",
    `the ${n} x ${n} matrix with jitter ${jitter} is not positive definite: pivot ${index} came out as ` +
      `${value.toExponential(3)}${before}; ${advice}`,
    {
      details: {
        pivot: index,
        value,
        smallestBefore: smallestBefore?.value,
        smallestBeforeIndex: smallestBefore?.index,
        jitter,
        jitterBound: bound,
        jitterNeeded: needed === "unknown" ? undefined : needed,
      },
    },
  );
}
