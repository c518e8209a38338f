/**
 * What a GP experiment holds at its peak, phase by phase, worked out before it starts: the training kernel, the factor
 * and the cross kernels together. Images stand in for themselves here: only their number counts.
 */
import { compile } from "../arch/arch.ts";
import { DEFAULT_TILE, shapeOf } from "../arch/kernel.ts";
import { requireTile } from "../covariance/matrix.ts";
import { smallestBudget } from "../covariance/memory.ts";
import { chunkBytes } from "../covariance/store/chunk.ts";
import { type ImageBlock, ProgramTiles } from "../covariance/tiles.ts";
import type { Program } from "../covariance/program.ts";
import { countOf } from "../data/ranges.ts";
import { fixedBytes } from "../engine/wasm/layout.ts";
import { WidefieldError } from "../errors.ts";
import { PREDICT_ROWS } from "../learn/gp.ts";
import { tileSize } from "../linalg/tiling.ts";
import type { GpExperiment } from "./gp.ts";
import { CROSS } from "./gp-kernels.ts";

export interface MemoryPhase {
  /** "Kxx", "Kxv", "Kxt", "Cholesky", "predictions". */
  readonly phase: string;
  /** Bytes by what takes them, with a budget just large enough. */
  readonly parts: Readonly<Record<string, number>>;
  readonly bytes: number;
}

export interface GpMemory {
  readonly phases: readonly MemoryPhase[];
  /** The smallest budget that does. */
  readonly peakBytes: number;
  /** Of that, what the factorisation needs at once in WebAssembly's address space. */
  readonly factorBytes: number;
  /** Held in the last phase whatever the cross kernels are: the factor and what a prediction works with. */
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

/** Bytes that a factorisation can have: what WebAssembly addresses. */
export const WASM_BYTES = 2 ** 32 - 65536;

/** A block of the matrix on its way into the factorisation, at both ends; right-hand sides under way (64 MiB at most). */
const SOURCE_BLOCK = 512;
const RHS_BYTES = 64 * 2 ** 20;

type Parts = (memoryBytes: number) => Record<string, number>;

export function sizesOf({ train, validation, test, folder }: GpExperiment): GpSizes {
  const count = (ranges: GpExperiment["test"]) => (ranges === undefined ? 0 : countOf(ranges));
  return { train: countOf(train), validation: count(validation), test: count(test), stored: folder !== undefined };
}

/** Bytes of the factor: whole tiles on and below the diagonal, in float64. */
export function triangleBytes(n: number): number {
  const [tile, padded] = [tileSize(n), Math.ceil(n / 4) * 4];
  const last = padded % tile;
  const diagonal = Math.floor(padded / tile) * tile ** 2 + last ** 2;
  return 4 * (padded ** 2 + diagonal);
}

/** The memory of an experiment of these sizes. Nothing is computed; the engine's backend lends a few bytes for it. */
export async function gpMemory(experiment: GpExperiment, sizes = sizesOf(experiment)): Promise<GpMemory> {
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

  const factor = triangleBytes(n);
  const threads = fixedBytes(engine.threads);
  const classes = dataset.classes * n * 8;
  const block = SOURCE_BLOCK ** 2 * 8;
  const factorParts = {
    ...(kxxBytes > 0 ? { Kxx: kxxBytes } : {}),
    ...reading,
    factor,
    "threads' scratch and a block": threads + 3 * block,
    "targets and weights": 4 * classes + Math.min(RHS_BYTES, classes),
  };
  named.push({ phase: "Cholesky", parts: () => factorParts });
  const rows = Math.min(PREDICT_ROWS, Math.max(sizes.validation, sizes.test));
  const held = {
    factor,
    "targets and weights": 2 * classes,
    "rows of a cross kernel": rows * n * scalar,
    ...(experiment.variance === true ? { "half solves": 3 * rows * n * 8 + Math.min(RHS_BYTES, rows * n * 8) } : {}),
  };
  const predictBytes = sum(held);
  for (const name of cross) {
    const fromDisk = given[name] || stored;
    const peak = fromDisk ? undefined : computing(sizes[name], n, rows);
    // A GPU's cross kernels leave the threads their scratch; on wasm `peak` counts it.
    const scratch = peak === undefined || backend.info.backend !== "wasm" ? { "threads' scratch": threads } : {};
    const chunks = chunkBytes({ rows: n, columns: n, tile: side, symmetric: false });
    named.push({
      phase: `predictions, ${CROSS[name]}`,
      parts: (memoryBytes) => ({
        ...held,
        ...scratch,
        ...(peak === undefined
          ? { "tiles being read": 4 * chunks + rows * n * 4 }
          : { "images, tables and a tile": peak(memoryBytes - predictBytes) }),
      }),
    });
  }
  const phases = named.map(({ phase, parts }) => {
    const bytes = smallestBudget((memoryBytes) => sum(parts(memoryBytes)));
    return { phase, parts: parts(bytes), bytes };
  });
  return {
    phases,
    peakBytes: Math.max(...phases.map(({ bytes }) => bytes)),
    factorBytes: factor + threads + block + RHS_BYTES,
    predictBytes,
  };
}

/**
 * What predictions hold beside the computation of cross kernels. Throws E_MEMORY, with every phase, what would help and
 * how many images would fit, where the experiment does not fit the engine's budget or its factor WebAssembly.
 */
export async function requireGpMemory(experiment: GpExperiment): Promise<number> {
  const { engine } = experiment;
  const sizes = sizesOf(experiment);
  const memory = await gpMemory(experiment, sizes);
  const { peakBytes, factorBytes, predictBytes } = memory;
  if (peakBytes <= engine.memoryBytes && factorBytes <= WASM_BYTES) return predictBytes;
  const details = { neededBytes: peakBytes, memoryBytes: engine.memoryBytes, phases: memory.phases };
  const lines = memory.phases.map(
    ({ phase, bytes, parts }) =>
      `  ${phase}: ${mib(bytes)} (${Object.entries(parts)
        .filter(([, part]) => part >= 2 ** 20)
        .map(([name, part]) => `${name} ${mib(part)}`)
        .join(", ")})`,
  );
  if (factorBytes > WASM_BYTES) {
    throw new WidefieldError(
      "E_MEMORY",
      `the Cholesky factor of ${sizes.train} training images takes ${mib(triangleBytes(sizes.train))} in float64, and it ` +
        `has to fit the 4096 MiB that WebAssembly addresses, whatever --memory says: use at most ` +
        `${await mostTraining(experiment, sizes, WASM_BYTES, ({ factorBytes: own }) => own)} training images; their ` +
        `kernels may be larger than that (widefield kernel)`,
      { details },
    );
  }
  const most = await mostTraining(experiment, sizes, engine.memoryBytes, ({ peakBytes: own }) => own);
  const advice = [`give at least --memory ${Math.ceil(peakBytes / 1024)}KiB`];
  if (!sizes.stored) {
    const kept = await gpMemory({ ...experiment, ...KEPT }, { ...sizes, stored: true });
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

/** The largest number of training images, the sets as they are, for which a size stays within a limit. */
async function mostTraining(
  experiment: GpExperiment,
  sizes: GpSizes,
  limit: number,
  pick: (memory: GpMemory) => number,
): Promise<number> {
  let [fits, fails] = [0, sizes.train];
  while (fails - fits > 1) {
    const train = (fits + fails) >> 1;
    if (pick(await gpMemory(experiment, { ...sizes, train })) <= limit) fits = train;
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
