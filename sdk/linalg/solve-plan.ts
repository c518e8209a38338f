/**
 * Which method solves a symmetric positive definite system, and why: worked out from its sizes before anything is
 * computed, by the operations that each method takes and the rates at which they run. Nothing is measured here, so the
 * same sizes always get the same method.
 */
import { eigenSizes } from "../engine/kernels/eigen.ts";
import { fixedBytes } from "../engine/wasm/layout.ts";
import { WidefieldError } from "../errors.ts";
import { choleskyPlan } from "./plan.ts";

export type SolveMethod = "cholesky" | "cg" | "eigh";

export interface SolveFacts {
  /** Rows of the matrix. */
  readonly n: number;
  /** Right-hand sides. */
  readonly rhs: number;
  readonly lambdas: number;
  /** Whether the matrix shows its entries, or only multiplies. */
  readonly entries: boolean;
  /** What may be held at once beside the matrix and the right-hand sides. */
  readonly memoryBytes: number;
  /** Free on the disk of the scratch folder; undefined without such a folder. */
  readonly scratchBytes: number | undefined;
  readonly threads: number;
}

export interface MethodPlan {
  readonly method: SolveMethod;
  /** Undefined for conjugate gradients: nobody knows how many iterations they take. */
  readonly seconds: number | undefined;
  /** At its peak, beside the matrix and the right-hand sides: the least that it takes, or what it takes in the budget. */
  readonly memoryBytes: number;
  readonly scratchBytes: number;
  /** Why it cannot be; undefined where it can. */
  readonly obstacle: string | undefined;
}

export interface SolveChoice extends MethodPlan {
  /** Why this method, in words. */
  readonly reason: string;
}

/**
 * Operations a second and thread, on two threads of a Zen 5 under plain SIMD: Cholesky of 2048 rows, 32.8 GFLOP/s
 * (`widefield gp --plan`), and `npm run bench -- eigh 784`, 0.42 s or 10.3 GFLOP/s. Beside other jobs both halve; what is
 * compared is their ratio.
 */
const CHOLESKY_RATE = 16e9;
const EIGH_RATE = 5e9;
/** Both substitutions with ten right-hand sides: `npm run bench -- cholesky 4096`, 8.4 GFLOP/s on two threads. */
const SUBSTITUTION_RATE = 4.2e9;
/** Out of core it has to reach 70 % of the rate in memory. */
const SCRATCH_SHARE = 0.7;
/** Products with eigenvectors are plain loops on one thread. */
const LOOP_RATE = 1e9;

/** Operations: Golub and Van Loan, Matrix Computations, 4.2 and 8.3 (tridiagonal form, QL, back-transformation). */
const choleskyFlops = (n: number) => n ** 3 / 3;
const eighFlops = (n: number) => 9 * n ** 3;
/** One product of the matrix, or of its eigenvectors, or both substitutions. */
const productFlops = (n: number, rhs: number) => 2 * n * n * rhs;

/** Seconds of one product with a matrix in memory, to compute residuals with. */
export function productSeconds(n: number, rhs: number): number {
  return productFlops(n, rhs) / LOOP_RATE;
}

/** Columns that block conjugate gradients carry at once: the work between them grows with its square. */
export const CG_COLUMNS = 32;
/** Largest rank of the preconditioner that kernel matrices get; its vectors are kept twice, and made once more. */
export const CG_RANK = 100;
/** A tile of at most so many rows on its way in, at both ends, mirrored, and the next one. */
const TILE_SIDE = 1024;
const TILE_COPIES = 4;

/**
 * The method with the shortest expected time among those that fit; conjugate gradients, whose time nobody knows, where
 * nothing else is possible or fits. Throws E_MEMORY where nothing fits, with every method's obstacle.
 */
export function chooseMethod(facts: SolveFacts): SolveChoice {
  const [cholesky, eigh, cg] = [choleskyMethod(facts), eighMethod(facts), cgMethod(facts)];
  const possible = [cholesky, eigh].filter(({ obstacle }) => obstacle === undefined);
  const best = possible.reduce<MethodPlan | undefined>(
    (quickest, each) => (quickest === undefined || timeOf(each) < timeOf(quickest) ? each : quickest),
    undefined,
  );
  const size = `n = ${facts.n}, ${counted(facts.lambdas, "lambda")}, ${counted(facts.rhs, "right-hand side")}`;
  if (best !== undefined) {
    const others = [cholesky, eigh].filter((each) => each !== best).map(comparison);
    return { ...best, reason: `${best.method} for ${size}: ${placeOf(best)} (${others.join("; ")})` };
  }
  const obstacles = [cholesky, eigh].map(({ method, obstacle }) => `${method} ${obstacle ?? ""}`).join("; ");
  if (cg.obstacle === undefined) return { ...cg, reason: `cg for ${size}: ${obstacles}` };
  throw new WidefieldError("E_MEMORY", `no method solves ${size} in this memory: ${obstacles}; cg ${cg.obstacle}`, {
    details: {
      neededBytes: Math.min(cholesky.memoryBytes, eigh.memoryBytes, cg.memoryBytes),
      memoryBytes: facts.memoryBytes,
    },
  });
}

/** What a method takes. Throws E_CONFIG where the matrix does not allow it, E_MEMORY where memory does not. */
export function requireMethod(method: SolveMethod, facts: SolveFacts): SolveChoice {
  const plan = methodPlan(method, facts);
  if (plan.obstacle === undefined) return { ...plan, reason: `${method}, as asked for` };
  if (!facts.entries && method !== "cg")
    throw new WidefieldError("E_CONFIG", `${method} ${plan.obstacle}: give it as an array or a source, or use cg`);
  throw new WidefieldError("E_MEMORY", `${method} ${plan.obstacle}`, {
    details: { neededBytes: plan.memoryBytes, memoryBytes: facts.memoryBytes, scratchBytes: plan.scratchBytes },
  });
}

export function methodPlan(method: SolveMethod, facts: SolveFacts): MethodPlan {
  return method === "cholesky" ? choleskyMethod(facts) : method === "eigh" ? eighMethod(facts) : cgMethod(facts);
}

function choleskyMethod({ n, rhs, lambdas, entries, memoryBytes, scratchBytes, threads }: SolveFacts): MethodPlan {
  const method = "cholesky";
  const nothing = { method, seconds: undefined, scratchBytes: 0 } as const;
  if (!entries) return { ...nothing, memoryBytes: 0, obstacle: NO_ENTRIES };
  const plan = planOrRefusal(n, memoryBytes, threads);
  if (plan instanceof WidefieldError) {
    const needed = Number(plan.details["neededBytes"] ?? Infinity);
    return { ...nothing, memoryBytes: needed, obstacle: `does not fit: ${plan.message}` };
  }
  const rate = threads * CHOLESKY_RATE * (plan.where === "scratch" ? SCRATCH_SHARE : 1);
  const each = choleskyFlops(n) / rate + productFlops(n, rhs) / (threads * SUBSTITUTION_RATE);
  const found = {
    method,
    seconds: lambdas * each,
    memoryBytes: plan.memoryBytes,
    scratchBytes: plan.scratchBytes,
  } as const;
  if (plan.where !== "scratch" || plan.scratchBytes <= (scratchBytes ?? 0)) return { ...found, obstacle: undefined };
  const room = scratchBytes === undefined ? "no scratch folder was given" : `${mib(scratchBytes)} are free`;
  return { ...found, obstacle: `needs ${mib(plan.scratchBytes)} on disk for what memory does not hold, and ${room}` };
}

function planOrRefusal(n: number, memoryBytes: number, threads: number) {
  try {
    return choleskyPlan(n, { memoryBytes, threads });
  } catch (thrown) {
    if (thrown instanceof WidefieldError && thrown.code === "E_MEMORY") return thrown;
    throw thrown;
  }
}

/** What WebAssembly addresses. */
const WASM_BYTES = 2 ** 32 - 65536;

function eighMethod({ n, rhs, lambdas, entries, memoryBytes, threads }: SolveFacts): MethodPlan {
  const method = "eigh";
  if (!entries) return { method, seconds: undefined, memoryBytes: 0, scratchBytes: 0, obstacle: NO_ENTRIES };
  const side = 8 * (n + 4) ** 2;
  // The matrix, the iteration's vectors and the finished ones, at their peak.
  const wasm = fixedBytes(threads) + 3 * side + 8 * (eigenSizes.factors(n) + eigenSizes.rotations(n));
  // The matrix whole, in strips, and the vectors in strips and whole: not all at once, but a collector may be late.
  const bytes = wasm + 4 * side;
  const seconds = eighFlops(n) / (threads * EIGH_RATE) + ((lambdas + 1) * productFlops(n, rhs)) / LOOP_RATE;
  const obstacle =
    wasm > WASM_BYTES
      ? `does not fit: its ${mib(wasm)} have to fit the 4096 MiB that WebAssembly addresses`
      : bytes > memoryBytes
        ? `does not fit: it takes ${mib(bytes)}, and the budget is ${mib(memoryBytes)}`
        : undefined;
  return { method, seconds, memoryBytes: bytes, scratchBytes: 0, obstacle };
}

function cgMethod({ n, rhs, lambdas, memoryBytes, threads }: SolveFacts): MethodPlan {
  // A block's residuals, directions, products and copies; two vectors for each further lambda; the answers.
  const vectors = 16 * Math.min(rhs, CG_COLUMNS) + 4 * lambdas + rhs + 3 * Math.min(n, CG_RANK);
  const bytes = fixedBytes(threads) + 8 * n * vectors + TILE_COPIES * 4 * Math.min(n, TILE_SIDE) ** 2;
  const obstacle =
    bytes > memoryBytes ? `does not fit: it takes ${mib(bytes)}, and the budget is ${mib(memoryBytes)}` : undefined;
  return { method: "cg", seconds: undefined, memoryBytes: bytes, scratchBytes: 0, obstacle };
}

const NO_ENTRIES = "needs the matrix's entries, and this matrix only has products";

function timeOf({ seconds }: MethodPlan): number {
  return seconds ?? Infinity;
}

function placeOf({ seconds, scratchBytes }: MethodPlan): string {
  return `about ${duration(seconds ?? 0)}${scratchBytes > 0 ? `, with ${mib(scratchBytes)} on disk` : ""}`;
}

function comparison(plan: MethodPlan): string {
  return plan.obstacle === undefined ? `${plan.method}: ${placeOf(plan)}` : `${plan.method} ${plan.obstacle}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function duration(seconds: number): string {
  return seconds < 0.1 ? "0.1 s or less" : `${Number(seconds.toPrecision(2))} s`;
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
