/**
 * The Cholesky factorisation of a symmetric matrix in float64, as large as memory or a scratch disk, for as much jitter as
 * it takes or as the caller allows. Here are its policy and errors; one attempt is in `attempt.ts`, how it goes through
 * the matrix in `factorisation.ts`, its arithmetic in `assembly/linalg/cholesky.ts`.
 */
import { WidefieldError } from "../errors.ts";
import type { Files } from "../platform/files.ts";
import {
  attempt,
  checkOf,
  earlierShift,
  placeOf,
  resident,
  setup,
  type RunOptions,
  type Setup,
  type Trial,
} from "./attempt.ts";
import { CholeskyFactor } from "./factor.ts";
import { keptFactor } from "./factor-folder.ts";
import { FactorTiles } from "./factor-tiles.ts";
import { jitterOf, failureOf, nextJitter, notPositiveDefinite, type Failure } from "./jitter.ts";
import { sourceRows, type SymmetricSource } from "./source.ts";
import type { LinalgTarget } from "./target.ts";

export type { CholeskyProgress, Scratch } from "./attempt.ts";
export type { LinalgTarget } from "./target.ts";

export interface CholeskyOptions extends RunOptions {
  /**
   * Added to the diagonal, relative to its mean; default 0. "auto" tries 0 and then 1e-10, 1e-9, ... 1 until every pivot
   * is positive and too large to be a rounding error of its own diagonal entry, reading the source again each time.
   */
  readonly jitter?: number | "auto" | undefined;
  /** Added to the diagonal, in units of the matrix's entries, in place of a jitter. */
  readonly lambda?: number | undefined;
  /**
   * Whether a failure looks for the jitter that would have passed, by factorising with one decade after another (those
   * below a bound that the failed pivot proves are left out): as long as a factorisation that passes, or a few. Default:
   * up to 8192 rows; the bound itself is always told.
   */
  readonly explain?: boolean | undefined;
}

/** Above this, factorising again to find the jitter takes minutes, for which nobody has asked. */
const EXPLAINED_ROWS = 8192;

/**
 * Factorises the n x n matrix of `source`, of which only the lower triangle is read: A + shift I = L L^T. Memory: the
 * triangle, n (n + tile) / 2 doubles, and a little more; where the budget does not hold that, tiles go to ordinary buffers
 * or to scratch files (`plan.ts`), and the budget is kept. With a scratch folder and a source that has an identity, a
 * factorisation that was killed goes on at the columns that were finished.
 *
 * The result is the same, bit for bit, for any number of threads, any budget and any block size of the source, and
 * entries may have any scale: no threshold is absolute.
 *
 * Throws E_SHAPE (no rows, blocks of a wrong size), E_DATA (an entry that is not finite, named), E_CONFIG (a jitter that
 * cannot be meant), E_MEMORY (a budget below one column of tiles), E_IO, E_LOCKED, E_MISMATCH (scratch), E_ABORTED, and
 * E_NOT_POSITIVE_DEFINITE, whose details are `pivot` (its index), `value`, `smallestBefore`, `smallestBeforeIndex`,
 * `jitter` (tried), `jitterBound` (no smaller one can pass; `shiftBound`: in units of the matrix) and, where it was looked
 * for, `jitterNeeded` (the first decade that passed; undefined if none up to 1 did).
 */
export async function cholesky(
  target: LinalgTarget,
  source: SymmetricSource,
  options: CholeskyOptions = {},
): Promise<CholeskyFactor> {
  const n = sourceRows(source);
  const { lambda, explain = n <= EXPLAINED_ROWS } = options;
  const jitter = requireJitter(options);
  const facts = await setup(target, source, options);
  const auto = jitter === "auto";
  const firstJitter = auto ? jitterOf((await earlierShift(facts)) ?? 0, facts.meanDiagonal) : jitter;
  const shift = lambda ?? firstJitter * facts.meanDiagonal;
  const relative = lambda === undefined ? firstJitter : lambda === 0 ? 0 : lambda / facts.meanDiagonal;
  const first = await factorise(facts, { absolute: shift, relative, lambda, careful: auto, searched: auto });
  if (first instanceof CholeskyFactor) return first;
  let last = first;
  if (auto || explain) {
    for (
      let next = nextJitter(last.jitter, last.bound);
      next !== undefined;
      next = nextJitter(last.jitter, last.bound)
    ) {
      const trial = { absolute: next * facts.meanDiagonal, relative: next, careful: true };
      const outcome = await factorise(facts, { ...trial, searched: auto, probe: !auto });
      if (outcome instanceof CholeskyFactor) {
        if (auto) return outcome;
        outcome.dispose();
        throw notPositiveDefinite(first, last.bound, next);
      }
      last = outcome;
    }
  }
  throw notPositiveDefinite(first, last.bound, explain || auto ? undefined : "unknown");
}

function requireJitter({ jitter = 0, lambda }: CholeskyOptions): number | "auto" {
  const valid = (value: number) => value >= 0 && Number.isFinite(value);
  if (lambda !== undefined && jitter !== 0)
    throw new WidefieldError("E_CONFIG", "jitter and lambda are two ways to say one thing: give one of them");
  if (lambda !== undefined && !valid(lambda))
    throw new WidefieldError("E_CONFIG", `lambda must be a finite number that is not negative; got ${lambda}`);
  if (jitter !== "auto" && !valid(jitter))
    throw new WidefieldError(
      "E_CONFIG",
      `jitter must be a finite number that is not negative, or "auto"; got ${jitter}`,
    );
  return jitter;
}

/** Reads and factorises once. */
async function factorise(facts: Setup, trial: Trial): Promise<CholeskyFactor | Failure> {
  const { plan, meanDiagonal, matrix, options } = facts;
  const { n } = facts.tiling;
  const { tiles, pivots, seconds, gflops, failure, noise } = await attempt(facts, trial);
  const { absolute, relative: jitter, lambda } = trial;
  const known = { jitter, meanDiagonal, exponent: facts.source.exponent ?? 0, lambda };
  if (failure === undefined) {
    if (noise === undefined) {
      const shift = { absolute, relative: jitter };
      return new CholeskyFactor(tiles, { ...shift, meanDiagonal, pivots, seconds, gflops, plan, options, matrix });
    }
    tiles.dispose();
    return { n, ...noise, ...known, smallestBefore: undefined, bound: jitter };
  }
  try {
    return await failureOf(tiles, failure, { ...known, pivots, check: checkOf(options.signal) });
  } finally {
    tiles.dispose();
  }
}

/**
 * A factor that was kept in a folder (`scratch.keep`, `factor.save`), for new right-hand sides; in the engine's memory
 * where that holds it, else streamed from the folder by every solve.
 *
 * Throws E_DATA where there is none or it is not finished, E_CORRUPT for one that is damaged, E_MEMORY, E_IO.
 */
export async function openFactor(
  target: LinalgTarget,
  { files, folder }: { readonly files: Files; readonly folder: string },
  options: Pick<RunOptions, "memoryBytes" | "signal" | "log"> = {},
): Promise<CholeskyFactor> {
  const { key, state, storage, pivots } = await keptFactor(files, folder);
  try {
    const run = { ...options, tile: key.tile, scratch: { files, folder, keep: true } };
    const { backend, tiling, plan, memoryBytes } = await placeOf(target, { n: key.n }, run);
    const { streamBytes } = plan;
    const tiles = await resident(
      new FactorTiles(backend, tiling, { storage, streamBytes }),
      plan,
      checkOf(options.signal),
    );
    const { meanDiagonal, seconds } = state;
    const shift = { absolute: key.shift, relative: key.shift / meanDiagonal };
    const matrix = { identity: key.identity, diagonal: key.diagonal, arithmetic: key.arithmetic };
    const facts = { meanDiagonal, pivots, seconds, gflops: 0, plan, matrix, options: { ...options, memoryBytes } };
    return new CholeskyFactor(tiles, { ...shift, ...facts });
  } catch (thrown) {
    await storage.close();
    throw thrown;
  }
}
