/** Memory that the kernels of full programs need for plans, maps and states: the buffer `workspace`, slice by slice. */
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

/**
 * The workspace of a program's wasm kernels, a slice for each thread; none where a thread's scratch is enough. `forced`
 * has one even then, for tests.
 */
export function fullWasmWorkspace(
  shape: FullShape,
  precision: "f32" | "f64",
  threads: number,
  forced = false,
): Workspace {
  const needed = precision === "f64" ? doubleSliceBytes(shape) : singleSliceBytes(shape);
  if (!forced && needed <= SCRATCH_BYTES) return { slices: 0, sliceFloats: 0, bytes: 0 };
  const sliceBytes = align(needed);
  return { slices: threads, sliceFloats: sliceBytes / (precision === "f64" ? 8 : 4), bytes: threads * sliceBytes };
}

function align(bytes: number): number {
  return Math.ceil(bytes / CACHE_LINE) * CACHE_LINE;
}

/**
 * A run of four pairs in float32 (`prepareRun` in `assembly/full/stage.ts`, counted), and behind it the variances of an
 * image in float64 (`assembly/fullVariance.ts`): a map a slot, a step, the sums between two passes, and one result.
 */
function singleSliceBytes(shape: FullShape): number {
  const { steps, slots, mapPixels, sumPixels, statePixels, line, tablePixels, ntk } = shape;
  const unit = LANE_BYTES << ntk;
  const run =
    CACHE_LINE +
    align(RUN_BYTES) +
    steps * PLAN_BYTES +
    align(statePixels * unit) +
    slots * align(mapPixels * unit) +
    align(sumPixels * unit) +
    align(2 * line * unit + 8 * slots) +
    align(tablePixels * ROW_PIXEL_BYTES);
  const variances = 8 * (slots * mapPixels + line * line + line + mapPixels) + 4 * STEP_WORDS;
  return run + variances;
}

/** A pair's run in float64: `assembly/fullCovarianceF64.ts`, counted. */
function doubleSliceBytes({ slots, mapPixels, sumPixels, statePixels, line, ntk }: FullShape): number {
  const maps = (1 + ntk) * (statePixels + slots * mapPixels + sumPixels + line);
  return 8 * (maps + slots * mapPixels + line * line + line + mapPixels);
}
