/**
 * Memory that `fullVariance` and `fullCovariance` need on wasm beside tables: plans, maps and states of four pairs, in
 * slices of the buffer `workspace`, one for each thread.
 */
import type { Workspace } from "../engine/kernels/covariance.ts";
import { SCRATCH_BYTES } from "../engine/wasm/layout.ts";
import { STEP_WORDS } from "./encode.ts";
import type { FullShape } from "./full-shape.ts";

const CACHE_LINE = 64;
/** See `assembly/full/run.ts` and `plan.ts`. */
const RUN_BYTES = 192;
const PLAN_BYTES = 512;
const ROW_PIXEL_BYTES = 16;
const LANE_BYTES = 16;

/** The workspace of a program's kernels; `forced` has one even where a thread's scratch would do, for tests. */
export function fullWasmWorkspace(shape: FullShape, threads: number, forced = false): Workspace {
  const sliceBytes = align(runBytes(shape) + varianceBytes(shape));
  if (!forced && sliceBytes <= SCRATCH_BYTES) return { slices: 0, sliceFloats: 0, bytes: 0 };
  return { slices: threads, sliceFloats: sliceBytes / 4, bytes: threads * sliceBytes };
}

function align(bytes: number): number {
  return Math.ceil(bytes / CACHE_LINE) * CACHE_LINE;
}

/** What `prepareRun` in `assembly/full/stage.ts` lays out. */
function runBytes({ steps, slots, mapPixels, sumPixels, statePixels, line, tablePixels, ntk }: FullShape): number {
  const unit = LANE_BYTES << ntk;
  // (h + 2) (w + 2), of h w <= mapPixels and sides of at most a line.
  const padded = mapPixels + 4 * line + 4;
  return (
    align(CACHE_LINE + RUN_BYTES) +
    steps * PLAN_BYTES +
    align(statePixels * unit) +
    slots * align(mapPixels * unit) +
    align(sumPixels * unit) +
    align(2 * line * unit + 8 * slots) +
    2 * align(padded * unit) +
    align(tablePixels * ROW_PIXEL_BYTES)
  );
}

/** Behind it, of `assembly/fullVariance.ts` in float64: a map a slot, the sums between two passes, a step, a result. */
function varianceBytes({ slots, mapPixels, passPixels }: FullShape): number {
  return 8 * (slots * mapPixels + Math.max(passPixels, mapPixels) + mapPixels) + 4 * STEP_WORDS;
}
