/**
 * What a GP experiment would take, without running it: pairs, operations, tiles, memory, disk and time. Sizes are worked
 * out; rates are measured on a few tiles and a small factorisation on the engine at hand, or assumed for another machine.
 */
import { nngp } from "../arch/kernel-spec.ts";
import { compile } from "../arch/arch.ts";
import { DEFAULT_TILE, specTiles } from "../arch/spec-tiles.ts";
import { shapeOf } from "../arch/image-set.ts";
import { programCost, type ProgramCost } from "../covariance/cost.ts";
import { MemoryMatrix, requireTile } from "../covariance/matrix.ts";
import { chunkBytes } from "../covariance/store/chunk.ts";
import { type Grid, tileCount } from "../covariance/store/grid.ts";
import { indicesOf } from "../data/ranges.ts";
import { WidefieldError } from "../errors.ts";
import { PREDICT_ROWS, Posterior } from "../learn/posterior.ts";
import type { SolveMethod } from "../linalg/solve-plan.ts";
import { platform } from "../platform/platform.ts";
import { type GpExperiment, refuseMixture } from "./gp.ts";
import { type GpMemory, planGpSolver, sizesOf, leastFactorBytes } from "./gp-memory.ts";
import { selectImages } from "./stored-kernel.ts";

export interface GpPlanOptions {
  /** Pairs a second of a machine that is not at hand; nothing is measured for the kernels then. */
  readonly assumePairsPerSecond?: number | undefined;
  /** 10^9 operations a second of the factorisation there; by default this machine's, measured. */
  readonly assumeGflops?: number | undefined;
}

export interface KernelPlan {
  /** "Kxx", "Kxv", "Kxt". */
  readonly label: string;
  readonly rows: number;
  readonly columns: number;
  readonly tiles: number;
  /** Entries that have to be computed; of a symmetric matrix half. */
  readonly pairs: number;
  readonly operations: number;
  /** As one array in memory, as `precision` has it. Cross kernels are never held whole. */
  readonly memoryBytes: number;
  /** As a store: tiles of float32 with their checksums. */
  readonly diskBytes: number;
  readonly seconds: number;
}

export interface SolverPlan {
  readonly method: SolveMethod;
  readonly reason: string;
  /** Of a factor that memory does not hold. */
  readonly scratchBytes: number;
}

export interface GpPlan {
  readonly images: { readonly train: number; readonly validation: number; readonly test: number };
  readonly perPair: ProgramCost;
  readonly kernels: readonly KernelPlan[];
  /** A Cholesky factorisation in memory at the rate below. */
  readonly factor: {
    readonly rows: number;
    readonly operations: number;
    /** The triangle in float64. */
    readonly bytes: number;
    readonly seconds: number;
  };
  /** How the system would be solved here, in this budget, with kernels in memory and in a folder; undefined: it does not fit. */
  readonly solver: { readonly inMemory: SolverPlan | undefined; readonly stored: SolverPlan | undefined };
  readonly predictions: { readonly operations: number; readonly seconds: number };
  readonly total: {
    readonly tiles: number;
    readonly pairs: number;
    readonly operations: number;
    readonly seconds: number;
  };
  readonly rates: {
    readonly pairsPerSecond: number;
    readonly gflops: number;
    readonly pairsPerSecondMeasured: boolean;
    readonly gflopsMeasured: boolean;
  };
  /** Kernels in memory, and kernels in a folder (`--store`). */
  readonly memory: { readonly inMemory: GpMemory; readonly stored: GpMemory };
  readonly diskBytes: number;
  /** The engine's. */
  readonly budgetBytes: number;
  /** Undefined where the runtime does not tell. */
  readonly machineBytes: number | undefined;
  readonly fits: {
    /** Within the budget. */
    readonly inMemory: boolean;
    readonly stored: boolean;
    /** In the machine's memory, whatever the budget. */
    readonly machine: boolean;
    readonly machineStored: boolean;
  };
}

/** Seconds that the calibration of kernels may take, without compiling and warming up. */
const CALIBRATION_SECONDS = 1.5;
/** Rows of the matrix that the calibration factorises: about 3 GFLOP. */
const CALIBRATION_ROWS = 2048;

/** Takes about two seconds. Throws what compiling the architecture and opening its program on the backend throw. */
export async function planGp(experiment: GpExperiment, options: GpPlanOptions = {}): Promise<GpPlan> {
  for (const [name, rate] of Object.entries(options)) {
    if (rate !== undefined && !(rate > 0 && Number.isFinite(rate)))
      throw new WidefieldError("E_CONFIG", `${name} is a rate above 0, not ${String(rate)}`);
  }
  const { engine, dataset, arch, stores } = experiment;
  requireTile(experiment.tile ?? DEFAULT_TILE);
  refuseMixture(experiment);
  const images = sizesOf(experiment);
  const { train: n } = images;
  const perPair = programCost(compile(arch, shapeOf(dataset.shape)));
  const pairsPerSecond = options.assumePairsPerSecond ?? (await kernelRate(experiment));
  const {
    gflops: measured,
    predictGflops,
    varianceGflops,
  } = await solveRates(
    experiment,
    Math.min(n, options.assumeGflops === undefined ? CALIBRATION_ROWS : CALIBRATION_ROWS / 4),
  );
  const gflops = options.assumeGflops ?? measured;

  const precisionBytes = experiment.precision === "f64" ? 8 : 4;
  const tile = experiment.tile ?? DEFAULT_TILE;
  const kernel = (label: string, columns: number, given: boolean): KernelPlan[] => {
    if (columns === 0 || given) return [];
    const grid: Grid = { rows: n, columns, tile, symmetric: label === "Kxx" };
    const tiles = tileCount(grid);
    const pairs = grid.symmetric ? (n * (n + 1)) / 2 : n * columns;
    return [
      {
        label,
        rows: n,
        columns,
        tiles,
        pairs,
        operations: pairs * perPair.operations,
        memoryBytes: n * columns * precisionBytes,
        diskBytes: tiles * chunkBytes(grid),
        seconds: pairs / pairsPerSecond,
      },
    ];
  };
  const kernels = [
    ...kernel("Kxx", n, stores?.kxx !== undefined),
    ...kernel("Kxv", images.validation, stores?.kxv !== undefined),
    ...kernel("Kxt", images.test, stores?.kxt !== undefined),
  ];
  const operations = n ** 3 / 3;
  const factor = { rows: n, operations, bytes: 4 * n * (n + 1), seconds: operations / gflops / 1e9 };
  const others = images.validation + images.test;
  const products = 2 * n * dataset.classes * (others + n);
  const halfSolves = experiment.variance === true ? n ** 2 * others : 0;
  const predictions = {
    operations: products + halfSolves,
    seconds: products / predictGflops / 1e9 + halfSolves / varianceGflops / 1e9,
  };

  const inMemory = await planGpSolver({ ...experiment, folder: undefined }, { ...images, stored: false });
  const stored = await planGpSolver(experiment, { ...images, stored: true });
  const machineBytes = platform().memoryBytes;
  const budgetBytes = engine.memoryBytes;
  const within = ({ peakBytes }: GpMemory, limit: number | undefined) => limit === undefined || peakBytes <= limit;
  const total = <T>(items: readonly T[], pick: (item: T) => number) => items.reduce((sum, each) => sum + pick(each), 0);
  return {
    images: { train: n, validation: images.validation, test: images.test },
    perPair,
    kernels,
    factor,
    predictions,
    total: {
      tiles: total(kernels, ({ tiles }) => tiles),
      pairs: total(kernels, ({ pairs }) => pairs),
      operations: total(kernels, (each) => each.operations) + factor.operations + predictions.operations,
      seconds: total(kernels, ({ seconds }) => seconds) + factor.seconds + predictions.seconds,
    },
    rates: {
      pairsPerSecond,
      gflops,
      pairsPerSecondMeasured: options.assumePairsPerSecond === undefined,
      gflopsMeasured: options.assumeGflops === undefined,
    },
    solver: { inMemory: solverOf(inMemory), stored: solverOf(stored) },
    memory: { inMemory: inMemory.memory, stored: stored.memory },
    diskBytes: total(kernels, ({ diskBytes }) => diskBytes),
    budgetBytes,
    machineBytes,
    fits: {
      inMemory: inMemory.budget !== undefined,
      stored: stored.budget !== undefined,
      machine: within(inMemory.memory, machineBytes),
      machineStored: within(stored.memory, machineBytes),
    },
  };
}

function solverOf({ budget }: Awaited<ReturnType<typeof planGpSolver>>): SolverPlan | undefined {
  if (budget === undefined) return undefined;
  const { method, reason, scratchBytes } = budget.choice;
  return { method, reason, scratchBytes };
}

/** Pairs a second of the architecture on the engine: one tile again and again, as large as the time allows. */
async function kernelRate(experiment: GpExperiment): Promise<number> {
  const { engine, dataset, arch, train } = experiment;
  const precision = experiment.precision ?? "f32";
  let most = Math.min(experiment.tile ?? DEFAULT_TILE, Math.max(1, indicesOf(train).length >> 1));
  const few = Array.from(indicesOf(train).subarray(0, 2 * most), (index) => ({ start: index, end: index + 1 }));
  const images = selectImages(dataset, few, precision);
  const { tiles, rows } = await specTiles(engine, nngp(arch), images, images, precision);
  // Rows against other columns, as almost all tiles are; of a single image, against itself.
  const apart = Math.min(most, rows - 1);
  const seconds = async (side: number) => {
    const begun = performance.now();
    await tiles.compute(0, side, apart, apart + Math.min(side, rows - apart), false);
    return (performance.now() - begun) / 1000;
  };
  try {
    while (most > 1 && tiles.peakBytes(most, most, engine.memoryBytes) > engine.memoryBytes) most >>= 1;
    let side = Math.min(most, 16);
    // Pipelines and tables are made once, and machine code is not at its best before it has run a while.
    await seconds(side);
    for (
      let each = await seconds(side);
      side < most && 4 * each < CALIBRATION_SECONDS / 4;
      each = await seconds(side)
    ) {
      side = Math.min(most, 2 * side);
      await seconds(side);
    }
    const columns = Math.min(side, rows - apart);
    const rates: number[] = [];
    for (let spent = 0; spent < CALIBRATION_SECONDS || rates.length < 3;) {
      const each = await seconds(side);
      spent += each;
      rates.push((side * columns) / Math.max(each, 1e-9));
    }
    return median(rates);
  } finally {
    tiles.dispose();
  }
}

interface SolveRates {
  readonly gflops: number;
  /** Of products of cross kernels and weights, and of the half solves behind variances. */
  readonly predictGflops: number;
  readonly varianceGflops: number;
}

/** From a factorisation and predictions of a matrix of at most `most` rows; of 2048, rates are near those of larger ones. */
async function solveRates({ engine, dataset }: GpExperiment, most: number): Promise<SolveRates> {
  // The kernel, its blocks, and what the factorisation takes.
  let n = most;
  while (n > 1 && 12 * n * n + leastFactorBytes(n, engine.threads, undefined) > engine.memoryBytes) n >>= 1;
  const values = new Float32Array(n * n).fill(0.5);
  for (let i = 0; i < n; i++) values[i * n + i] = 1;
  const kxx = new MemoryMatrix(values, { rows: n, columns: n, symmetric: true, exponent: 0 });
  const labels = new Int32Array(n);
  const rates: number[] = [];
  const { classes } = dataset;
  for (let turn = 0; turn < 2; turn++) {
    using model = await Posterior.fit(engine, kxx, labels, { jitter: 0, classes, solver: "cholesky" });
    rates.push(model.solver.gflops);
  }
  using model = await Posterior.fit(engine, kxx, labels, { jitter: 0, classes, solver: "cholesky" });
  const rows = Math.min(n, PREDICT_ROWS);
  const few = new MemoryMatrix(values.subarray(0, rows * n), { rows, columns: n, symmetric: false, exponent: 0 });
  const timed = async (diagonal?: Float64Array) => {
    const begun = performance.now();
    await model.predict(few, diagonal);
    return (performance.now() - begun) / 1000;
  };
  await timed();
  const plain = await timed();
  const both = await timed(new Float64Array(rows).fill(1));
  return {
    gflops: median([...rates, model.solver.gflops]),
    predictGflops: (2 * n * rows * classes) / Math.max(plain, 1e-6) / 1e9,
    varianceGflops: (n ** 2 * rows) / Math.max(both - plain, 1e-6) / 1e9,
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
