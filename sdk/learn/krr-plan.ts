/**
 * Which method fits a grid of ridges, and why: worked out from sizes before anything is computed, so that the same
 * problem always gets the same method. A factorisation for each lambda, one eigendecomposition for all, or conjugate
 * gradients whose products serve all; the last are bounded by the condition number, which the trace bounds.
 */
import { WidefieldError } from "../errors.ts";
import { settingsOf } from "../linalg/krylov.ts";
import { methodPlan, type SolveFacts } from "../linalg/solve-plan.ts";

export const KRR_METHODS = ["cholesky", "eigh", "multi-shift-cg"] as const;
export type KrrMethod = (typeof KRR_METHODS)[number];

export interface KrrFacts extends Pick<SolveFacts, "n" | "rhs" | "memoryBytes" | "scratchBytes" | "threads"> {
  /** In any unit that `trace` is in too. */
  readonly lambdas: readonly number[];
  /** Of the kernel matrix, which bounds its largest eigenvalue. */
  readonly trace: number;
  /** Conjugate gradients' relative residual. */
  readonly tolerance: number;
  /** Float64 matrices multiply on one thread. */
  readonly float64: boolean;
}

export interface KrrPlan {
  readonly method: KrrMethod;
  /** Expected; of conjugate gradients at most. */
  readonly seconds: number;
  /** Why it cannot be; undefined where it can. */
  readonly obstacle: string | undefined;
}

/**
 * Seconds of an eigendecomposition, on two threads of a Zen 5: 0.20 s for n = 512, 0.81 s for 1024, 4.3 s for 2048 and
 * 45 s for 5000. The cubic part runs at 12.5 GFLOP/s a thread; the QL iteration waits n^2 times.
 */
const EIGH_RATE = 12.5e9;
const EIGH_WAITS = 3e-7;
/** Products with eigenvectors, and vector updates, are plain loops on one thread. */
const LOOP_RATE = 1e9;
/** One vector with a float32 matrix larger than the cache, a thread: 6.6 GFLOP/s at n = 2048, in it. */
const PRODUCT_RATE = 4e9;

/**
 * The quickest method that fits, in words too. Throws E_MEMORY where none does, with every method's obstacle.
 */
export function chooseKrrMethod(facts: KrrFacts): { readonly method: KrrMethod; readonly reason: string } {
  const plans = KRR_METHODS.map((method) => krrMethodPlan(method, facts));
  const possible = plans.filter(({ obstacle }) => obstacle === undefined);
  const best = [...possible].sort((a, b) => a.seconds - b.seconds)[0];
  const count = facts.lambdas.length;
  const size = `n = ${facts.n}, ${count} ${count === 1 ? "lambda" : "lambdas"}, ${facts.rhs} ${facts.rhs === 1 ? "output" : "outputs"}`;
  if (best === undefined) {
    throw new WidefieldError(
      "E_MEMORY",
      `no method fits ${size} in this memory: ${plans.map(({ method, obstacle }) => `${method} ${obstacle ?? ""}`).join("; ")}`,
      { details: { memoryBytes: facts.memoryBytes } },
    );
  }
  const others = plans.filter((plan) => plan !== best).map(comparison);
  return { method: best.method, reason: `${comparison(best)} for ${size} (${others.join("; ")})` };
}

/** What a method takes, and whether it can be. */
export function krrMethodPlan(method: KrrMethod, facts: KrrFacts): KrrPlan {
  const { n, rhs, lambdas, threads } = facts;
  const solve = { ...facts, lambdas: lambdas.length, entries: true };
  const lambda = lambdas.reduce((least, value) => Math.min(least, value), Infinity);
  if (method === "cholesky") {
    const { seconds = Infinity, obstacle } = methodPlan("cholesky", solve);
    return { method, seconds, obstacle };
  }
  if (method === "eigh") {
    const { obstacle } = methodPlan("eigh", solve);
    const products = ((lambdas.length + 1) * 2 * n * n * rhs) / LOOP_RATE;
    return { method, seconds: (9 * n ** 3) / (threads * EIGH_RATE) + EIGH_WAITS * n * n + products, obstacle };
  }
  const { obstacle } = methodPlan("cg", solve);
  const iterations = cgIterations(facts.trace, lambda, facts.tolerance);
  const rate = facts.float64 ? LOOP_RATE : threads * PRODUCT_RATE;
  const each = (2 * n * n) / rate + (6 * n * lambdas.length) / LOOP_RATE;
  const { maxIterations } = settingsOf(n, {});
  return {
    method,
    seconds: rhs * iterations * each,
    obstacle:
      obstacle ??
      (iterations > maxIterations
        ? lambda > 0
          ? `may not converge: lambda ${lambda.toPrecision(3)} is too small for the ${maxIterations} iterations allowed`
          : `has no bound with lambda ${lambda.toPrecision(3)}`
        : undefined),
  };
}

/**
 * Iterations after which conjugate gradients have arrived in exact arithmetic. In the norm of the matrix an error is at
 * most 2 exp(-2 i / sqrt(condition)) of the first (Golub and Van Loan, Matrix Computations, 11.3.4); residuals, which the
 * tolerance is of, may be sqrt(condition) times that. Infinity without a ridge.
 */
function cgIterations(trace: number, lambda: number, tolerance: number): number {
  if (!(lambda > 0)) return Infinity;
  const root = Math.sqrt((trace + lambda) / lambda);
  return Math.ceil((root / 2) * Math.log((2 * root) / tolerance)) + 1;
}

function comparison({ method, seconds, obstacle }: KrrPlan): string {
  if (obstacle !== undefined) return `${method} ${obstacle}`;
  const time = seconds < 0.1 ? "0.1 s or less" : `${Number(seconds.toPrecision(2))} s`;
  return `${method}: ${method === "multi-shift-cg" ? "at most" : "about"} ${time}`;
}
