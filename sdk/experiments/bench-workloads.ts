/**
 * What `bench-linalg.ts` measures: for each method, what is made ready, the part that is timed, and what it counts. The
 * memory that arrays need is checked here, before a runtime refuses them in its own words.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { float64Backend, type Engine } from "../engine/engine.ts";
import { reduce } from "../engine/kernels/index.ts";
import { ReduceOperation } from "../engine/kernels/reduce.ts";
import { RandomStream } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";
import { cg } from "../linalg/cg.ts";
import { cholesky, type CholeskyOptions } from "../linalg/cholesky.ts";
import { eigh } from "../linalg/eigh.ts";
import { choleskyPlan } from "../linalg/plan.ts";
import { tileOperator, type TileOperator } from "../linalg/tile-operator.ts";
import type { Files } from "../platform/files.ts";
import { LineKernel } from "./bench-matrix.ts";

export const BENCH_METHODS = [
  "cholesky",
  "solve",
  "inverse",
  "extend",
  "eigh",
  "eigenvalues",
  "cg",
  "product",
] as const;
export type BenchMethod = (typeof BENCH_METHODS)[number];

export interface LinalgBench {
  readonly method: BenchMethod;
  /** Rows of the matrix. */
  readonly n: number;
  /** Right-hand sides of `solve`, vectors of `product`; default 1. Other methods have none to choose. */
  readonly vectors?: number | undefined;
  /** Default: 3, and no further one after 20 seconds of them. */
  readonly repeats?: number | undefined;
  /** Where a factor's tiles go that memory does not hold. */
  readonly scratch?: { readonly files: Files; readonly folder: string } | undefined;
}

export interface BenchSample {
  readonly seconds: number;
  /** Of a product: the time of a plain sum over as many bytes, over its own. */
  readonly shareOfSum: number | undefined;
}

export interface Workload {
  readonly vectors: number | undefined;
  /** Whether it has a Cholesky factor. */
  readonly factorised: boolean;
  /** Of the engine's memory, what is only there to compare with. */
  readonly yardstickBytes?: number;
  run(onFraction: (fraction: number) => void): Promise<BenchSample>;
  /** Of a sample, once one has run. */
  facts(): { readonly operations: number; readonly bytes?: number; readonly iterations?: number };
  dispose(): Promise<void>;
}

export interface WorkloadHooks {
  readonly signal?: AbortSignal | undefined;
  /** Called where a workload holds what it needs. */
  readonly onHeld?: (() => void) | undefined;
}

/** Relative residual that conjugate gradients go down to. */
const TOLERANCE = 1e-8;
/** Work shorter than this is repeated within a sample. */
const SHORT_SECONDS = 0.02;
const FLOATS_A_ROW = 1024;
/** A plain sum over more bytes goes over these again: more than any cache holds. */
const SUM_BYTES = 256 * 2 ** 20;

/** Bytes of the lower triangle as a method stores it. */
export function triangleBytes(method: BenchMethod, n: number): number {
  return (n * (n + 1) * (readsFloat32(method) ? 4 : 8)) / 2;
}

function readsFloat32(method: BenchMethod): boolean {
  return method === "cg" || method === "product";
}

/** Makes everything ready that is not timed. */
export async function openWorkload(engine: Engine, bench: LinalgBench, hooks: WorkloadHooks = {}): Promise<Workload> {
  switch (bench.method) {
    case "cholesky":
    case "extend":
      return Promise.resolve(factorisation(engine, bench, hooks));
    case "solve":
    case "inverse":
      return withFactor(engine, bench, hooks);
    case "eigh":
    case "eigenvalues":
      return Promise.resolve(eigenproblem(engine, bench, hooks));
    case "cg":
    case "product":
      return withTiles(engine, bench, hooks);
  }
}

function factorisation(engine: Engine, { method, n, scratch }: LinalgBench, hooks: WorkloadHooks): Workload {
  const kernel = new LineKernel(n, engine.seed);
  const added = Math.max(1, Math.floor(n / 8));
  const options = (onFraction: (fraction: number) => void): CholeskyOptions => ({
    ...(scratch === undefined ? {} : { scratch }),
    signal: hooks.signal,
    onProgress: ({ phase, fraction }) => {
      if (phase === "factor") onFraction(fraction);
    },
  });
  return {
    vectors: undefined,
    factorised: true,
    async run(onFraction) {
      if (method === "cholesky") {
        using factor = await cholesky(engine, kernel, options(onFraction));
        hooks.onHeld?.();
        return { seconds: factor.seconds, shareOfSum: undefined };
      }
      if (added === n) throw new WidefieldError("E_SHAPE", "a matrix of one row cannot be one that was extended");
      const smaller = new LineKernel(n - added, engine.seed);
      using factor = await cholesky(
        engine,
        smaller,
        options(() => undefined),
      );
      const begun = performance.now();
      using grown = await factor.extend(kernel, options(onFraction));
      const seconds = (performance.now() - begun) / 1000;
      if (grown.n !== n) throw new Error(`extend gave a factor of ${grown.n} rows, not ${n}`);
      hooks.onHeld?.();
      return { seconds, shareOfSum: undefined };
    },
    facts: () => ({ operations: (n ** 3 - (method === "extend" ? (n - added) ** 3 : 0)) / 3 }),
    dispose: () => Promise.resolve(),
  };
}

async function withFactor(
  engine: Engine,
  { method, n, vectors = 1, scratch }: LinalgBench,
  { signal, onHeld }: WorkloadHooks,
): Promise<Workload> {
  const options = { ...(scratch === undefined ? {} : { scratch }), signal };
  const rhs = new Float64Array(method === "solve" ? n * vectors : 0);
  new RandomStream(engine.seed, "right-hand sides").fillNormal(rhs);
  const factor = await cholesky(engine, new LineKernel(n, engine.seed), options);
  onHeld?.();
  return {
    vectors: method === "solve" ? vectors : undefined,
    factorised: true,
    run: async () => ({
      seconds: await secondsOf(() => (method === "solve" ? factor.solve(rhs) : factor.inverseDiagonal())),
      shareOfSum: undefined,
    }),
    facts: () => ({ operations: method === "solve" ? 2 * n * n * vectors : n ** 3 / 3 }),
    dispose: () => {
      factor.dispose();
      return Promise.resolve();
    },
  };
}

function eigenproblem(engine: Engine, { method, n }: LinalgBench, { onHeld }: WorkloadHooks): Workload {
  const vectors = method === "eigh";
  const a = new LineKernel(n, engine.seed).dense();
  onHeld?.();
  return {
    vectors: undefined,
    factorised: false,
    run: async () => ({ seconds: await secondsOf(() => eigh(engine, a, { vectors })), shareOfSum: undefined }),
    facts: () => ({ operations: vectors ? 9 * n ** 3 : (4 * n ** 3) / 3 }),
    dispose: () => Promise.resolve(),
  };
}

async function withTiles(
  engine: Engine,
  { method, n, vectors = 1 }: LinalgBench,
  { signal, onHeld }: WorkloadHooks,
): Promise<Workload> {
  const backend = await float64Backend(engine);
  const columns = method === "product" ? vectors : 1;
  const block = new RandomStream(engine.seed, "vectors").fillNormal(new Float64Array(n * columns));
  const operator = await tileOperator(engine, new LineKernel(n, engine.seed), {
    memoryBytes: backend.info.maxBufferBytes,
  });
  try {
    await operator.apply(block, columns, signal); // tiles are read in the first product
    onHeld?.();
    if (method === "cg") return conjugateGradients(operator, block, signal);
    return products(operator, block, new PlainSum(backend, operator.totalBytes), signal);
  } catch (thrown) {
    await operator.dispose();
    throw thrown;
  }
}

function products(operator: TileOperator, block: Float64Array, sum: PlainSum, signal?: AbortSignal): Workload {
  const { n } = operator;
  const vectors = block.length / n;
  return {
    vectors,
    factorised: false,
    yardstickBytes: sum.bytes,
    async run() {
      const seconds = await secondsOf(async () => operator.apply(block, vectors, signal));
      return { seconds, shareOfSum: (await secondsOf(() => sum.run())) / seconds };
    },
    facts: () => ({ operations: 2 * n * n * vectors, bytes: operator.totalBytes }),
    dispose: () => {
      sum.dispose();
      return operator.dispose();
    },
  };
}

function conjugateGradients(operator: TileOperator, b: Float64Array, signal: AbortSignal | undefined): Workload {
  let iterations = 0;
  return {
    vectors: undefined,
    factorised: false,
    async run(onFraction) {
      let reached = 0;
      const seconds = await secondsOf(async () => {
        const onProgress = ({ residual }: { residual: number }): void => {
          // Residuals fall by a factor, more or less: their logarithm is the way that is behind.
          reached = Math.max(reached, Math.min(1, Math.log(residual) / Math.log(TOLERANCE)));
          onFraction(reached);
        };
        const result = await cg(operator, b, { tolerance: TOLERANCE, signal, onProgress });
        if (!result.converged)
          throw new WidefieldError("E_NOT_CONVERGED", `cg: residual ${result.relativeResidual} at its cap`);
        iterations = result.iterations;
      });
      return { seconds, shareOfSum: undefined };
    },
    facts: () => ({
      operations: 2 * operator.n ** 2 * iterations,
      bytes: operator.totalBytes * iterations,
      iterations,
    }),
    dispose: () => operator.dispose(),
  };
}

/** A float32 sum over so many bytes on all threads: what memory gives to those who do nothing with it. */
class PlainSum {
  /** Of the engine's memory. */
  readonly bytes: number;
  private readonly backend: Backend;
  private readonly tile: Slot;
  private readonly out: Slot;
  private readonly launches: number;
  private readonly params: { readonly rows: number; readonly columns: number; readonly operation: number };

  constructor(backend: Backend, bytes: number) {
    const rowBytes = 4 * FLOATS_A_ROW;
    const rows = Math.max(1, Math.round(Math.min(bytes, SUM_BYTES) / rowBytes));
    this.backend = backend;
    this.launches = Math.max(1, Math.round(bytes / (rows * rowBytes)));
    this.params = { rows, columns: FLOATS_A_ROW, operation: ReduceOperation.sum };
    this.bytes = rows * (rowBytes + 4);
    const ones = new Float32Array(rows * FLOATS_A_ROW).fill(1);
    this.out = backend.allocate(4 * rows, "sums");
    try {
      this.tile = backend.allocate(ones.byteLength, "numbers to sum");
    } catch (thrown) {
      backend.free(this.out);
      throw thrown;
    }
    backend.write(this.tile, 0, ones);
  }

  run(): Promise<void> {
    for (let launch = 0; launch < this.launches; launch++)
      this.backend.dispatch(reduce, this.params, [this.tile, this.out]);
    return this.backend.finish();
  }

  dispose(): void {
    this.backend.free(this.tile);
    this.backend.free(this.out);
  }
}

/** Of one run; short ones are repeated. */
async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  for (let runs = 1; ; runs++) {
    await work();
    const seconds = (performance.now() - begun) / 1000;
    if (seconds >= SHORT_SECONDS) return seconds / runs;
  }
}

function requireArrays({ memoryBytes }: Engine, bytes: number, what: string): void {
  if (bytes > memoryBytes) throw tooLarge(what, bytes, memoryBytes);
}

/** Throws E_MEMORY for a workload that cannot fit; what only shows on the way is left to the method. */
export async function requireMemory(engine: Engine, bench: LinalgBench): Promise<void> {
  const { method, n, vectors = 1, scratch } = bench;
  requireArrays(engine, 16 * n, `a kernel of ${n} points`);
  switch (method) {
    case "eigh":
    case "eigenvalues":
      // At once: the matrix, its copies in the engine, and with vectors Z, the vectors in strips, and those returned.
      requireArrays(engine, (method === "eigh" ? 48 : 24) * n * n, `the eigenproblem of a ${n} x ${n} matrix`);
      return;
    case "cg":
    case "product":
      requireArrays(engine, 32 * n * vectors, `${vectors} vectors of ${n} numbers and their products`);
      requireTiles(await float64Backend(engine), n);
      return;
    default:
      requireArrays(engine, 24 * n * vectors, `${vectors} right-hand sides of ${n} numbers`);
      if ((await factorPlace(engine, n)) === "scratch" && scratch === undefined)
        throw tooLarge(
          `a factor of ${n} rows, without a scratch folder,`,
          triangleBytes("cholesky", n),
          engine.memoryBytes,
        );
  }
}

/** Where a factorisation with this engine keeps its tiles. */
export async function factorPlace(engine: Engine, n: number): Promise<ReturnType<typeof choleskyPlan>["where"]> {
  const { memoryBytes } = engine;
  const { threads } = (await engine.cpu()).info;
  return choleskyPlan(n, { memoryBytes, threads }).where;
}

/** Tiles that do not stay in memory would be computed again in each product: that is not what is to be measured. */
function requireTiles({ info }: Backend, n: number): void {
  const bytes = 2 * n * (n + FLOATS_A_ROW);
  if (bytes > info.maxBufferBytes / 2)
    throw tooLarge(`a ${n} x ${n} matrix in float32 tiles, with room to work`, 2 * bytes, info.maxBufferBytes);
}

function tooLarge(what: string, bytes: number, limit: number): WidefieldError {
  const gibibytes = (count: number): string => `${(count / 2 ** 30).toPrecision(3)} GiB`;
  return new WidefieldError(
    "E_MEMORY",
    `${what} needs ${gibibytes(bytes)} of memory, and may have ${gibibytes(limit)}`,
    { details: { neededBytes: bytes, memoryBytes: limit } },
  );
}
