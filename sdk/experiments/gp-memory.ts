/**
 * What a GP experiment holds at its peak, phase by phase, worked out before it starts: the training kernel, what solves
 * with it, and the cross kernels together. Images stand in for themselves here: only their number counts.
 */
import { compile } from "../arch/arch.ts";
import { DEFAULT_TILE } from "../arch/spec-tiles.ts";
import { shapeOf } from "../arch/image-set.ts";
import { requireTile } from "../covariance/matrix.ts";
import { smallestBudget } from "../covariance/memory.ts";
import { chunkBytes } from "../covariance/store/chunk.ts";
import { type ImageBlock, ProgramTiles } from "../covariance/tiles.ts";
import type { Program } from "../covariance/program.ts";
import { countOf } from "../data/ranges.ts";
import { fixedBytes } from "../engine/wasm/layout.ts";
import { WidefieldError } from "../errors.ts";
import { PREDICT_ROWS, type PosteriorOptions } from "../learn/posterior.ts";
import { choleskyPlan } from "../linalg/plan.ts";
import { scratchRoom } from "../linalg/prepare.ts";
import { chooseMethod, methodPlan, type SolveChoice, type SolveFacts, type SolveMethod } from "../linalg/solve-plan.ts";
import type { GpExperiment } from "./gp.ts";
import { CROSS } from "./gp-kernels.ts";

export interface MemoryPhase {
  /** "Kxx", "Kxv", "Kxt", "Cholesky", "eigenvectors", "conjugate gradients", "predictions". */
  readonly phase: string;
  /** Bytes by what takes them, with a budget just large enough. */
  readonly parts: Readonly<Record<string, number>>;
  readonly bytes: number;
}

export interface GpMemory {
  readonly method: SolveMethod;
  readonly phases: readonly MemoryPhase[];
  /** The smallest budget that does. */
  readonly peakBytes: number;
  /** Held beside the solver while it works, and while it serves predictions, at most. */
  readonly besideBytes: number;
  /** Held in the last phase whatever the cross kernels and the solver are: what a prediction works with. */
  readonly predictBytes: number;
}

/** What there is to know about an experiment's size. */
export interface GpSizes {
  readonly train: number;
  readonly validation: number;
  readonly test: number;
  /** Kernels computed or kept on disk, in the experiment's folder or in stores of their own. */
  readonly stored: boolean;
}

/** How an experiment divides its memory. */
export interface GpBudget {
  readonly choice: SolveChoice;
  /** What the solver may take. */
  readonly solverBytes: number;
  /** What it holds, with all else that is not a cross kernel, while predictions are made. */
  readonly heldBytes: number;
}

/** Right-hand sides under way (64 MiB at most). */
const RHS_BYTES = 64 * 2 ** 20;

/** Tiles on the diagonal of a float32 triangle are whole. */
const TILE_SIDE = 1024;

const PHASES = { cholesky: "Cholesky", eigh: "eigenvectors", cg: "conjugate gradients" } as const;
const HOLDS = { cholesky: "factor", eigh: "decomposition", cg: "vectors and tiles" } as const;

type Parts = (memoryBytes: number) => Record<string, number>;

export function sizesOf({ train, validation, test, folder }: GpExperiment): GpSizes {
  const count = (ranges: GpExperiment["test"]) => (ranges === undefined ? 0 : countOf(ranges));
  return { train: countOf(train), validation: count(validation), test: count(test), stored: folder !== undefined };
}

/** Where a factor goes that memory does not hold: what the experiment says, or beside its kernels. */
export function scratchOf({ scratch, folder }: GpExperiment): PosteriorOptions["scratch"] {
  if (scratch !== undefined || folder === undefined) return scratch;
  return { files: folder.files, folder: `${folder.path}/scratch` };
}

/**
 * The smallest budget with which a factorisation of n rows works, with this much room on disk (undefined: no scratch
 * folder), to the byte.
 */
export function leastFactorBytes(n: number, threads: number, scratchBytes: number | undefined): number {
  const works = (memoryBytes: number): boolean => {
    try {
      const plan = choleskyPlan(n, { memoryBytes, threads });
      return plan.where !== "scratch" || plan.scratchBytes <= (scratchBytes ?? 0);
    } catch (thrown) {
      if (thrown instanceof WidefieldError && thrown.code === "E_MEMORY") return false;
      throw thrown;
    }
  };
  let enough = 2 ** 20;
  while (!works(enough) && enough < 2 ** 50) enough *= 2;
  let fails = 0;
  while (enough - fails > 1) {
    const middle = Math.floor((enough + fails) / 2);
    if (works(middle)) enough = middle;
    else fails = middle;
  }
  return enough;
}

/**
 * The memory of an experiment of these sizes, solved by a method. Nothing is computed; the engine's backend lends a few
 * bytes for it.
 */
export async function gpMemory(
  experiment: GpExperiment,
  sizes = sizesOf(experiment),
  method: SolveMethod = "cholesky",
): Promise<GpMemory> {
  const { engine, dataset, arch, stores } = experiment;
  const program = compile(arch, shapeOf(dataset.shape));
  const backend = experiment.precision === "f64" ? await engine.cpu() : engine.backend;
  const { train: n, stored } = sizes;
  const scalar = experiment.precision === "f64" ? 8 : 4;
  const side = experiment.tile ?? DEFAULT_TILE;
  requireTile(side);

  /** Peak of computing tiles, at most this large, of a kernel between so many images. */
  const computing = (rows: number, columns: number | undefined, most: number): ((memoryBytes: number) => number) => {
    const rowBlock = imageStub(program, rows);
    const columnBlock = columns === undefined ? rowBlock : imageStub(program, columns);
    const precision = experiment.precision ?? "f32";
    const settings = { backend, program, precision, memoryBytes: engine.memoryBytes };
    const tiles = new ProgramTiles({ ...settings, rows: rowBlock, columns: columnBlock });
    tiles.dispose();
    const [height, width] = [Math.min(side, most, rows), Math.min(side, columns ?? rows)];
    return (memoryBytes) => tiles.peakBytes(height, width, Math.max(0, memoryBytes));
  };
  const storeParts = (rows: number, columns: number | undefined): Parts => {
    const peak = computing(rows, columns, side);
    const width = columns ?? rows;
    const grid = { rows, columns: width, tile: side, symmetric: columns === undefined };
    const [height, across] = [Math.min(side, rows), Math.min(side, width)];
    return (memoryBytes) => ({
      "images, tables and a tile": peak(memoryBytes),
      "tiles being written": 2 * 4 * height * across + chunkBytes(grid),
    });
  };
  const named: { phase: string; parts: Parts }[] = [];
  const kxxGiven = stores?.kxx !== undefined;
  const kxxBytes = kxxGiven || stored ? 0 : n * n * scalar;
  const reading =
    kxxGiven || stored
      ? { "tiles being read": 5 * chunkBytes({ rows: n, columns: n, tile: side, symmetric: true }) }
      : {};
  if (!kxxGiven) {
    const peak = computing(n, undefined, side);
    const inMemory: Parts = (memoryBytes) => ({
      Kxx: kxxBytes,
      "images, tables and a tile": peak(memoryBytes - kxxBytes),
    });
    named.push({ phase: "Kxx", parts: stored ? storeParts(n, undefined) : inMemory });
  }
  const cross = (["validation", "test"] as const).filter((name) => sizes[name] > 0);
  const given = { validation: stores?.kxv !== undefined, test: stores?.kxt !== undefined };
  for (const name of cross)
    if (stored && !given[name]) named.push({ phase: CROSS[name], parts: storeParts(n, sizes[name]) });

  if (experiment.variance === true) {
    for (const name of cross) {
      const peak = computing(sizes[name], undefined, side);
      named.push({
        phase: `variances of ${name}`,
        parts: (memoryBytes) => ({ "images and tables": peak(memoryBytes) }),
      });
    }
  }

  const solver =
    method === "cholesky"
      ? leastFactorBytes(n, engine.threads, await roomOf(experiment, sizes))
      : methodPlan(method, { ...factsOf(experiment, sizes), memoryBytes: Infinity }).memoryBytes;
  const threads = fixedBytes(engine.threads);
  const serving = servingBytes(method, n, solver, threads);
  const kernel = { ...(kxxBytes > 0 ? { Kxx: kxxBytes } : {}), ...reading };
  const classes = dataset.classes * n * 8;
  const solving = { ...kernel, "targets and weights": 4 * classes + Math.min(RHS_BYTES, classes) };
  named.push({ phase: PHASES[method], parts: () => ({ ...solving, [HOLDS[method]]: solver }) });
  const rows = Math.min(PREDICT_ROWS, Math.max(sizes.validation, sizes.test));
  const halves = method === "cg" ? rows * n * 8 : 0;
  const predicting = {
    ...(method === "cg" ? kernel : {}),
    "targets and weights": 2 * classes,
    "rows of a cross kernel": rows * n * scalar,
    ...(experiment.variance === true
      ? { "solves for variances": halves + 3 * rows * n * 8 + Math.min(RHS_BYTES, rows * n * 8) }
      : {}),
  };
  const predictBytes = sum(predicting);
  const held = { ...predicting, [HOLDS[method]]: serving };
  let besideBytes = sum(solving);
  for (const name of cross) {
    const fromDisk = given[name] || stored;
    const peak = fromDisk ? undefined : computing(sizes[name], n, rows);
    // A GPU's cross kernels leave the threads their scratch; on wasm `peak` counts it.
    const scratch = peak === undefined || backend.info.backend !== "wasm" ? { "threads' scratch": threads } : {};
    const chunks = chunkBytes({ rows: n, columns: n, tile: side, symmetric: false });
    const parts: Parts = (memoryBytes) => ({
      ...held,
      ...scratch,
      ...(peak === undefined
        ? { "tiles being read": 4 * chunks + rows * n * 4 }
        : { "images, tables and a tile": peak(memoryBytes - predictBytes - serving) }),
    });
    named.push({ phase: `predictions, ${CROSS[name]}`, parts });
    besideBytes = Math.max(besideBytes, smallestBudget((memoryBytes) => sum(parts(memoryBytes))) - solver);
  }
  const phases = named.map(({ phase, parts }) => {
    const bytes = smallestBudget((memoryBytes) => sum(parts(memoryBytes)));
    return { phase, parts: parts(bytes), bytes };
  });
  return { method, phases, peakBytes: Math.max(...phases.map(({ bytes }) => bytes)), besideBytes, predictBytes };
}

/** Bytes free for a factor's tiles; undefined without a place for them. Kernels on disk have one beside them. */
async function roomOf(experiment: GpExperiment, { stored }: GpSizes): Promise<number | undefined> {
  const scratch = scratchOf(experiment);
  if (scratch !== undefined && (stored || experiment.scratch !== undefined)) return scratchRoom(scratch);
  return stored ? Infinity : undefined;
}

/** What a solver holds, without the threads' scratch, while it serves predictions: of a decomposition the vectors. */
function servingBytes(method: SolveMethod, n: number, solverBytes: number, threads: number): number {
  return method === "eigh" ? 8 * n * n : Math.max(0, solverBytes - threads);
}

function factsOf({ engine, dataset }: GpExperiment, sizes: GpSizes): Omit<SolveFacts, "memoryBytes"> {
  const { threads } = engine;
  return { n: sizes.train, rhs: dataset.classes, lambdas: 1, entries: true, scratchBytes: undefined, threads };
}

/**
 * The method, and how the memory is divided. With "auto" the first that fits of what `chooseMethod` prefers; where none
 * does, the method that takes least is what a refusal is about: `memory` of it is more than the budget.
 */
export async function planGpSolver(
  experiment: GpExperiment,
  sizes = sizesOf(experiment),
): Promise<{ readonly memory: GpMemory; readonly budget: GpBudget | undefined }> {
  const { engine, solver = "auto" } = experiment;
  const scratchBytes = await roomOf(experiment, sizes);
  const facts = { ...factsOf(experiment, sizes), scratchBytes };
  const { n } = facts;
  const candidates: readonly SolveMethod[] = solver === "auto" ? ["cholesky", "eigh", "cg"] : [solver];
  const memories = new Map<SolveMethod, GpMemory>();
  for (const method of candidates) {
    const memory = await gpMemory(experiment, sizes, method);
    memories.set(method, memory);
    if (memory.peakBytes > engine.memoryBytes) continue;
    const solverBytes = engine.memoryBytes - memory.besideBytes;
    const chosen = solver === "auto" ? chooseMethod({ ...facts, memoryBytes: solverBytes }) : undefined;
    if (chosen !== undefined && chosen.method !== method) continue;
    const plan = methodPlan(method, { ...facts, memoryBytes: solverBytes });
    const choice = chosen ?? { ...plan, reason: `${method}, as asked for` };
    const tiles = method === "cg" ? Math.min(2 * n * (n + TILE_SIDE), solverBytes - plan.memoryBytes) : 0;
    const taken = plan.memoryBytes + tiles;
    const serving = servingBytes(method, n, taken, fixedBytes(engine.threads));
    return {
      memory,
      budget: { choice, solverBytes: method === "cg" ? taken : solverBytes, heldBytes: memory.predictBytes + serving },
    };
  }
  const least = [...memories.values()].reduce((best, each) => (each.peakBytes < best.peakBytes ? each : best));
  return { memory: least, budget: undefined };
}

/**
 * How the experiment divides its memory. Throws E_MEMORY, with every phase, what would help and how many images would
 * fit, where it does not fit the engine's budget.
 */
export async function requireGpMemory(experiment: GpExperiment): Promise<GpBudget> {
  const { engine } = experiment;
  const sizes = sizesOf(experiment);
  const { memory, budget } = await planGpSolver(experiment, sizes);
  if (budget !== undefined) {
    const { scratchBytes } = budget.choice;
    const folder = scratchOf(experiment)?.folder;
    if (scratchBytes > 0 && folder !== undefined)
      engine.log(`the factor does not fit --memory: ${mib(scratchBytes)} of it go to ${folder}`);
    return budget;
  }
  const { peakBytes, method } = memory;
  const details = { neededBytes: peakBytes, memoryBytes: engine.memoryBytes, phases: memory.phases };
  const lines = memory.phases.map(
    ({ phase, bytes, parts }) =>
      `  ${phase}: ${mib(bytes)} (${Object.entries(parts)
        .filter(([, part]) => part >= 2 ** 20)
        .map(([name, part]) => `${name} ${mib(part)}`)
        .join(", ")})`,
  );
  const most = await mostTraining(experiment, sizes, engine.memoryBytes, method);
  const advice = [`give at least --memory ${Math.ceil(peakBytes / 1024)}KiB`];
  if (!sizes.stored) {
    const kept = await gpMemory({ ...experiment, ...KEPT }, { ...sizes, stored: true }, method);
    if (kept.peakBytes <= engine.memoryBytes) advice.push("keep the kernels on disk with --store DIR, which fits");
    else if (kept.peakBytes < peakBytes)
      advice.push(`keep the kernels on disk with --store DIR (then ${mib(kept.peakBytes)} are needed)`);
  }
  if (most > 0) advice.push(`use at most ${most} training images`);
  throw new WidefieldError(
    "E_MEMORY",
    `the experiment needs ${mib(peakBytes)} of memory, the budget is ${mib(engine.memoryBytes)}:\n${lines.join("\n")}\n` +
      advice.join(", or "),
    { details: { ...details, largestTrain: most } },
  );
}

/** As if nothing stood on disk yet. */
const KEPT = { stores: undefined } as const;

/** The largest number of training images, the sets as they are, with which a method stays within a limit. */
async function mostTraining(
  experiment: GpExperiment,
  sizes: GpSizes,
  limit: number,
  method: SolveMethod,
): Promise<number> {
  let [fits, fails] = [0, sizes.train];
  while (fails - fits > 1) {
    const train = (fits + fails) >> 1;
    if ((await gpMemory(experiment, { ...sizes, train }, method)).peakBytes <= limit) fits = train;
    else fails = train;
  }
  return fits;
}

function imageStub(program: Program, count: number): ImageBlock {
  return {
    count,
    floats: program.imageFloats,
    slice: () => {
      throw new Error("images of a plan have no pixels");
    },
  };
}

function sum(parts: Readonly<Record<string, number>>): number {
  return Object.values(parts).reduce((total, bytes) => total + bytes, 0);
}

export function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
