/** The run of a full program on one row's image and four columns' images: its memory, its stages, its result. */
import { StepKind } from "../generated/kernels";
import { Step } from "../covariance/step";
import { LANES_PIXEL_BYTES, LANE_BYTES, lanesOf, SPLAT_PIXEL_BYTES, splatOf } from "../covariance/table";
import { erfRow } from "./arcsine";
import { planChains, runChain } from "./chain";
import { gapOf, normOf, rectifierRow, stepRow } from "./bend";
import { affineMap, convMap, inputMap, meanMap, pixelOfX, pixelOfY } from "./linear";
import { bendOf, makePlans, Plan, planAt, PLAN_BYTES, Sign } from "./plan";
import { loadMap, poolMap, storeMap } from "./pool";
import { limitOf, magnitude, ROW_PIXEL_BYTES, Run, RUN_BYTES, slotOf } from "./run";
import { baseXOf, baseYOf, clearAt, NOWHERE, offsetOn, Stage, stageAt, stepAt, transferAt } from "./words";

// @ts-ignore: decorator
@inline
function align(bytes: usize): usize {
  return (bytes + 63) & ~63;
}

/**
 * Lays a run out at `memory` and makes its plans; `sdk/covariance/full-memory.ts` counts the same bytes. Both kernels
 * call it once a command.
 */
export function prepareRun(
  memory: usize, program: usize, stagesAt: u32, stages: u32, steps: u32, ntk: u32, outputTable: u32, statePixels: u32,
  slots: u32, mapPixels: u32, sumPixels: u32, line: u32,
): Run {
  const run = changetype<Run>(memory);
  run.program = program;
  run.stagesAt = stagesAt;
  run.stages = stages;
  run.steps = steps;
  run.ntk = ntk;
  run.outputTable = outputTable;
  run.unit = LANE_BYTES << <usize>ntk;
  run.plans = align(memory + RUN_BYTES);
  run.state = run.plans + <usize>steps * PLAN_BYTES;
  run.slotBytes = align(<usize>mapPixels * run.unit);
  run.slots = align(run.state + <usize>statePixels * run.unit);
  run.sums = run.slots + <usize>slots * run.slotBytes;
  run.line = run.sums + align(<usize>sumPixels * run.unit);
  run.padded = run.line + align(2 * <usize>line * run.unit + 8 * <usize>slots);
  run.paddedBytes = align((<usize>mapPixels + 4 * <usize>line + 4) * run.unit); // (h + 2) (w + 2) at most
  run.rowTable = run.padded + 2 * run.paddedBytes;
  v128.store(limitOf(run, Sign.POSITIVE), f32x4.splat(1));
  v128.store(limitOf(run, Sign.ANY), f32x4.splat(2));
  makePlans(run, run.line);
  for (let stage: u32 = 0; stage < stages; stage++) planChains(run, stageAt(program, stagesAt, stage));
  return run;
}

/** The first byte behind a run's memory. */
export function endOf(run: Run, tablePixels: u32): usize {
  return run.rowTable + align(<usize>tablePixels * ROW_PIXEL_BYTES);
}

/** Points a run at its images, and finds out whether any of them has negative pixels. */
export function pointRun(
  run: Run, rowTable: usize, row: u32, columnTable: usize, group: u32, imageFloats: u32, tablePixels: u32,
): void {
  run.x = splatOf(rowTable, row, imageFloats, tablePixels);
  run.y = lanesOf(columnTable, group, imageFloats, tablePixels);
  run.xTable = run.x + (<usize>imageFloats << 2);
  run.yTable = run.y + <usize>imageFloats * LANE_BYTES;
  let lowest = f32x4.splat(0);
  for (let i: usize = 0; i < <usize>imageFloats; i++) {
    const both = f32x4.pmin(v128.load32_splat(run.x + (i << 2)), v128.load(run.y + i * LANE_BYTES));
    lowest = f32x4.pmin(lowest, both);
  }
  const negative = f32x4.lt(lowest, f32x4.splat(0));
  run.signed = v128.any_true(negative) ? 1 : 0;
  v128.store(limitOf(run, Sign.AS_IMAGES), v128.bitselect(f32x4.splat(2), f32x4.splat(1), negative));
  spreadRow(run, tablePixels);
}

/** The row's table, spread out for loads that need nothing more done to them. */
export function spreadRow(run: Run, tablePixels: u32): void {
  let from = run.xTable;
  let to = run.rowTable;
  for (; tablePixels; tablePixels--) {
    const sigma = load<f32>(from);
    store<f32>(to, sigma);
    store<f32>(to, 2 * sigma, 4);
    store<f32>(to, load<f32>(from, 4), 8);
    from += SPLAT_PIXEL_BYTES;
    to += ROW_PIXEL_BYTES;
  }
}

/** One stage: its clears, then its offsets in their order. */
export function runStage(run: Run, index: u32): void {
  const stage = stageAt(run.program, run.stagesAt, index);
  for (let c: u32 = 0; c < stage.clears; c++) {
    const clear = clearAt(run.program, stage.clearsAt, c);
    memory.fill(run.state + <usize>clear.state * run.unit, 0, <usize>clear.pixels * run.unit);
  }
  for (let o: u32 = 0; o < stage.offsets; o++) {
    run.baseY = baseYOf(run.program, stage, o);
    run.baseX = baseXOf(run.program, stage, o);
    for (let t: u32 = 0; t < stage.loads; t++) loadMap(run, transferAt(run.program, stage.loadsAt, t));
    for (let step = stage.begin; step < stage.end; ) step += runStep(run, stage, step);
    for (let t: u32 = 0; t < stage.stores; t++) storeMap(run, transferAt(run.program, stage.storesAt, t));
  }
}

/** One step or a chain of them, if their map is there at this offset. Returns how many were seen to. */
function runStep(run: Run, stage: Stage, index: u32): u32 {
  const step = stepAt(run.program, index);
  const sy = offsetOn(run.program, step.axisY, run.baseY, step.ratioY);
  const sx = offsetOn(run.program, step.axisX, run.baseX, step.ratioX);
  const plan = planAt(run, index);
  if (sy == NOWHERE || sx == NOWHERE) return 1;
  if (plan.blocks) return runChain(run, index, false, sy, sx, stage.end);
  if (step.kind == StepKind.input && plan.feeds) return 1 + runChain(run, index + 1, true, sy, sx, stage.end);
  const from = slotOf(run, step.from);
  const to = slotOf(run, step.to);
  switch (step.kind) {
    case StepKind.input:
      inputMap(run, step, to, sy, sx);
      break;
    case StepKind.conv:
      convMap(run, step, plan, from, to, sy, sx);
      break;
    case StepKind.affine:
      affineMap(run, step, plan, from, to, sy, sx);
      break;
    case StepKind.mean:
      meanMap(run, step, plan, from, to);
      break;
    case StepKind.pool:
      poolMap(run, step, from, <usize>(<i32>step.inWidth - magnitude(sx)) * run.unit, sy, sx);
      break;
    default:
      bendMap(run, step, plan, from, to, sy, sx);
  }
  return 1;
}

/** A nonlinearity. */
function bendMap(run: Run, step: Step, plan: Plan, from: usize, to: usize, sy: i32, sx: i32): void {
  const columns = <u32>(<i32>step.inWidth - magnitude(sx));
  const constants = bendOf(plan);
  const limit = limitOf(run, plan.sign);
  const unit = run.unit;
  const pitch = <usize>columns * unit;
  for (let row = 0, rows = <i32>step.inHeight - magnitude(sy); row < rows; row++) {
    const x = run.rowTable + <usize>pixelOfX(step.table, step.inWidth, row, sy, sx) * ROW_PIXEL_BYTES;
    const y = run.yTable + <usize>pixelOfY(step.table, step.inWidth, row, sy, sx) * LANES_PIXEL_BYTES;
    if (step.kind == StepKind.rectifier)
      rectifierRow(constants, from, to, columns, x, y, unit, run.ntk, step.accumulate, limit);
    else if (step.kind == StepKind.step) stepRow(constants, from, to, columns, x, y, unit, step.accumulate, limit);
    else erfRow(step, constants, from, to, columns, x, y, unit, run.ntk);
    from += pitch;
    to += pitch;
  }
}

/** The covariances of the four pairs when all stages are over; the NTKs stand behind the distances in the same slot. */
export function outputOf(run: Run): v128 {
  const at = slotOf(run, stepAt(run.program, run.steps - 1).to);
  const x = run.rowTable + <usize>run.outputTable * ROW_PIXEL_BYTES;
  const y = run.yTable + <usize>run.outputTable * LANES_PIXEL_BYTES;
  const n = normOf(x, y);
  const limit = f32x4.mul(v128.load(limitOf(run, planAt(run, run.steps - 1).sign)), n);
  return f32x4.sub(n, gapOf(v128.load(at), x, y, limit));
}

export function tangentOf(run: Run): v128 {
  return v128.load(slotOf(run, stepAt(run.program, run.steps - 1).to), LANE_BYTES);
}
