/**
 * How fast the linear algebra is: one method on one size at a time, against the peak of the instruction set, measured on
 * the same threads just before and after. The matrix is a `LineKernel`. Operations are those of the textbook algorithm
 * on an n x n matrix (Golub and Van Loan, Matrix Computations), whatever the implementation does:
 *
 *     cholesky      n^3 / 3                      the factorisation, without reading the matrix
 *     solve         2 n^2 m                      m right-hand sides with a finished factor
 *     inverse       n^3 / 3                      the diagonal of the inverse, from L^-1, with a finished factor
 *     extend        (n^3 - (n - k)^3) / 3        the last k = n / 8 rows (at least 1) appended to a finished factor
 *     eigh          9 n^3                        all eigenvalues and eigenvectors
 *     eigenvalues   4 n^3 / 3                    the tridiagonal form; the iteration on it is of lower order
 *     cg            2 n^2 an iteration           one right-hand side to a relative residual of 1e-8, no preconditioner
 *     product       2 n^2 m                      the lower triangle in float32 tiles times m float64 vectors
 *
 * Products are limited by memory, not by arithmetic: they also have GB/s (of tile bytes), and `product` the share of what
 * a plain float32 sum over as many bytes reaches on the same threads, in turns with it.
 */
import type { Backend } from "../engine/backend.ts";
import { float64Backend, type Engine } from "../engine/engine.ts";
import { measurePeak } from "../engine/peak.ts";
import { WidefieldError } from "../errors.ts";
import {
  type BenchMethod,
  type BenchSample,
  factorPlace,
  type LinalgBench,
  openWorkload,
  requireMemory,
  triangleBytes,
  type Workload,
} from "./bench-workloads.ts";

export interface LinalgBenchRow {
  readonly method: BenchMethod;
  readonly n: number;
  /** Right-hand sides, or vectors of a product; undefined where the method has none to choose. */
  readonly vectors: number | undefined;
  /** Where the factor lay, for methods that have one. */
  readonly where: "memory" | "buffers" | "scratch" | undefined;
  /** The median of the samples. */
  readonly seconds: number;
  readonly samples: readonly number[];
  /** Floating-point operations of a sample. */
  readonly operations: number;
  readonly gflops: number;
  /** Of float64 multiply-adds on all threads at once. */
  readonly peakGflops: number;
  /** gflops / peakGflops */
  readonly shareOfPeak: number;
  /** Of the tiles' bytes. */
  readonly gigabytesPerSecond: number | undefined;
  /** Of the rate of a plain sum over as many bytes. */
  readonly shareOfSum: number | undefined;
  readonly iterations: number | undefined;
  /** The most that the engine's buffers held at once, as far as a clock of 5 ms sees. */
  readonly engineBytes: number;
  /** n (n + 1) / 2 numbers, in float64, or in float32 for methods that read them so. */
  readonly triangleBytes: number;
  readonly adapter: string;
  readonly threads: number;
}

export interface LinalgBenchHooks {
  readonly signal?: AbortSignal | undefined;
  /** Samples done so far, of how many, with the fraction of the one under way. */
  readonly onProgress?: ((done: number, of: number) => void) | undefined;
}

const REPEATS = 3;
/** Seconds of samples after which no further one is begun, unless their number was asked for. */
const PATIENCE = 20;
/** A run of this size comes first, so that no sample pays for compiling. */
const WARM_ROWS = 384;
const SAMPLING = 5;

/**
 * Measures one method on one size. Throws E_MEMORY where it does not fit the engine's memory, E_ABORTED, and what the
 * method throws.
 */
export async function benchLinalg(
  engine: Engine,
  bench: LinalgBench,
  hooks: LinalgBenchHooks = {},
): Promise<LinalgBenchRow> {
  const { method, n } = bench;
  const { signal, onProgress } = hooks;
  const backend = await float64Backend(engine);
  await requireMemory(engine, bench);
  const before = await measurePeak(backend, "f64");
  const warm = await openWorkload(engine, { ...bench, n: Math.min(n, WARM_ROWS) }, { signal });
  try {
    await warm.run(() => undefined);
  } finally {
    await warm.dispose();
  }
  const repeats = bench.repeats ?? REPEATS;
  const samples: BenchSample[] = [];
  const held = new HeldBytes(backend);
  let workload: Workload | undefined;
  try {
    workload = await openWorkload(engine, bench, { signal, onHeld: () => held.look() });
    const begun = performance.now();
    while (samples.length < repeats) {
      if (signal?.aborted === true) throw new WidefieldError("E_ABORTED", "the benchmark was stopped");
      const done = samples.length;
      onProgress?.(done, repeats);
      samples.push(await workload.run((fraction) => onProgress?.(done + fraction, repeats)));
      if (bench.repeats === undefined && performance.now() - begun > 1000 * PATIENCE) break;
    }
  } finally {
    held.stop();
    await workload?.dispose();
  }
  const peak = Math.max(before, await measurePeak(backend, "f64"));
  const seconds = median(samples.map((sample) => sample.seconds));
  const { operations, bytes, iterations } = workload.facts();
  const shares = samples.flatMap(({ shareOfSum }) => (shareOfSum === undefined ? [] : [shareOfSum]));
  return {
    method,
    n,
    vectors: workload.vectors,
    where: workload.factorised ? await factorPlace(engine, n) : undefined,
    seconds,
    samples: samples.map((sample) => sample.seconds),
    operations,
    gflops: operations / seconds / 1e9,
    peakGflops: peak / 1e9,
    shareOfPeak: operations / seconds / peak,
    gigabytesPerSecond: bytes === undefined ? undefined : bytes / seconds / 1e9,
    shareOfSum: shares.length === 0 ? undefined : median(shares),
    iterations,
    engineBytes: held.most - (workload.yardstickBytes ?? 0),
    triangleBytes: triangleBytes(method, n),
    adapter: backend.info.adapter,
    threads: backend.info.threads,
  };
}

/** Looks at what a backend holds while its threads work: this thread has nothing else to do then. */
class HeldBytes {
  most = 0;
  private readonly backend: Backend;
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(backend: Backend) {
    this.backend = backend;
    this.timer = setInterval(() => this.look(), SAMPLING);
  }

  look(): void {
    this.most = Math.max(this.most, this.backend.stats().bytes);
  }

  stop(): void {
    clearInterval(this.timer);
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return ((sorted[(sorted.length - 1) >> 1] ?? NaN) + (sorted[sorted.length >> 1] ?? NaN)) / 2;
}
