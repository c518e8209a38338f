/**
 * covariance: runs a covariance program on a tile of pairs, one image of the rows against four of the columns.
 *
 *     item = (column group, block of 16 rows);  for each of its rows, all steps run on one group of four pairs, whose
 *     map (12.5 KB for 28 x 28) stays in L1, while the column group's table (176 KB for seven relus) stays in L2.
 *
 * Every pair's arithmetic is the same sequence of lane-wise float32 operations wherever it stands in a tile, and every
 * product of the two images commutes: the value depends neither on tiling nor on the order of the pair.
 *
 * Cost per pixel and layer of [conv 7x7, relu]: about 33 instructions for four pairs (see `window.ts`, `kappa.ts`).
 */
import { CovarianceParams, StepKind } from "./generated/kernels";
import { buffer } from "./dispatch";
import { affineLine, boxLine, clearBorders, linearLine, nonlinearLine, scatterLine } from "./covariance/lines";
import { biasOf, Layout, Plan, planMaps, planOf, stepOf, weightOf } from "./covariance/plan";
import { LANES, lanesOf, LANES_PIXEL_BYTES, LANE_BYTES, SPLAT_PIXEL_BYTES, splatOf } from "./covariance/table";
import { Step } from "./covariance/step";
import { slideColumns, slideRows } from "./covariance/window-passes";
import { memoryOf } from "./covariance/workspace";

/** Rows of one work item; the schema's `split` counts with the same number. */
const ROWS_PER_ITEM: u32 = 16;

export function covariance(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<CovarianceParams>(params);
  const program = buffer(buffers, 0);
  const output = buffer(buffers, 4);
  const plans = memoryOf(scratch, buffer(buffers, 5), p.slices, <usize>p.sliceFloats << 2);
  const maps = (planMaps(program, p.steps, p.slots, plans) + 63) & ~63;
  const rowBlocks = (p.rows + ROWS_PER_ITEM - 1) / ROWS_PER_ITEM;
  for (let item = <u32>begin; item < <u32>end; item++) {
    const group = item / rowBlocks;
    const firstRow = (item % rowBlocks) * ROWS_PER_ITEM;
    const lastRow = min(firstRow + ROWS_PER_ITEM, p.rows);
    const columnGroup = lanesOf(buffer(buffers, 2), group, p.imageFloats, p.tablePixels);
    for (let row = firstRow; row < lastRow; row++) {
      if (p.lower && <i32>(group * LANES) > <i32>row + p.diagonal) continue;
      const rowImage = splatOf(buffer(buffers, 1), row, p.imageFloats, p.tablePixels);
      const result = runProgram(p, program, plans, rowImage, columnGroup, maps);
      storeFour(p, result, row, group, output, buffer(buffers, 3));
    }
  }
}

/** Writes four results into their row, the image that meets itself from its variance. */
function storeFour(p: CovarianceParams, result: v128, row: u32, group: u32, output: usize, variances: usize): void {
  const column = group * LANES;
  const target = output + ((<usize>row * p.columns + column) << 2);
  if (column + LANES <= p.columns) {
    v128.store(target, result);
  } else {
    const count = p.columns - column;
    store<f32>(target, f32x4.extract_lane(result, 0));
    if (count > 1) store<f32>(target, f32x4.extract_lane(result, 1), 4);
    if (count > 2) store<f32>(target, f32x4.extract_lane(result, 2), 8);
  }
  const itself = <i32>row + p.diagonal - <i32>column;
  if (p.diagonal != i32.MAX_VALUE && itself >= 0 && itself < <i32>min(LANES, p.columns - column))
    store<f32>(target + (<usize>itself << 2), load<f32>(variances + (<usize>row << 2)));
}

function runProgram(p: CovarianceParams, program: usize, plans: usize, x: usize, y: usize, maps: usize): v128 {
  const xTable = x + (<usize>p.imageFloats << 2);
  const yTable = y + <usize>p.imageFloats * LANE_BYTES;
  const layout = changetype<Layout>(plans);
  for (let index: u32 = 0; index < p.steps; index++) {
    const step = stepOf(program, index);
    const plan = planOf(plans, index);
    if (step.kind == StepKind.conv) {
      const rows = maps + layout.rows;
      if (plan.clearRows) clearBorders(rows, step.outHeight, plan.rowPitch, plan.rowFront, step.inWidth);
      sumColumns(step, plan, maps, rows, maps + layout.line);
      if (plan.clearMap) clearMap(step, plan, maps);
      const next = stepOf(program, index + 1);
      const after = planOf(plans, index + 1);
      const table = plan.fused ? <usize>next.table : 0;
      if (plan.fused && after.clearMap) clearMap(next, after, maps);
      sumRows(
        step, plan, next, after, rows, maps + layout.line,
        xTable + table * SPLAT_PIXEL_BYTES, yTable + table * LANES_PIXEL_BYTES, maps,
      );
      index += plan.fused;
      continue;
    }
    if (step.kind == StepKind.mean) {
      mean(step, plan, maps);
      continue;
    }
    if (plan.clearMap) clearMap(step, plan, maps);
    if (step.kind == StepKind.input) multiplyImages(step, plan, x, y, maps);
    else if (step.kind == StepKind.affine) affine(step, plan, maps);
    else {
      const table = <usize>step.table;
      nonlinear(step, plan, xTable + table * SPLAT_PIXEL_BYTES, yTable + table * LANES_PIXEL_BYTES, maps);
    }
  }
  return v128.load(maps + planOf(plans, p.steps - 1).to);
}

/** Writes the zeros around a step's result. */
function clearMap(step: Step, plan: Plan, maps: usize): void {
  const front = plan.front * <u32>LANE_BYTES;
  clearBorders(maps + plan.to - front, step.outWidth, plan.toPitch, front, step.outHeight);
}

/** K = factor * sum over channels of x y; more than a few channels are summed in float64, whose products are exact. */
function multiplyImages(step: Step, plan: Plan, x: usize, y: usize, maps: usize): void {
  const pixels = <usize>(step.inHeight * step.inWidth);
  const factor = f32x4.splat(step.factor);
  const pitch = <usize>plan.toPitch;
  for (let row: u32 = 0; row < step.inHeight; row++) {
    let target = maps + plan.to + <usize>row * LANE_BYTES;
    const end = target + pitch * step.inWidth;
    if (step.channels == 1) {
      do {
        v128.store(target, f32x4.mul(f32x4.mul(v128.load32_splat(x), v128.load(y)), factor));
        target += pitch;
        x += 4;
        y += LANE_BYTES;
      } while (target < end);
      continue;
    }
    do {
      const product =
        step.channels <= 4 ? multiplyFew(step.channels, pixels, x, y) : multiplyMany(step.channels, pixels, x, y);
      v128.store(target, f32x4.mul(product, factor));
      target += pitch;
      x += 4;
      y += LANE_BYTES;
    } while (target < end);
  }
}

function multiplyFew(channels: u32, pixels: usize, x: usize, y: usize): v128 {
  let product = f32x4.mul(v128.load32_splat(x), v128.load(y));
  for (let c: u32 = 1; c < channels; c++) {
    x += pixels << 2;
    y += pixels * LANE_BYTES;
    product = f32x4.add(product, f32x4.mul(v128.load32_splat(x), v128.load(y)));
  }
  return product;
}

function multiplyMany(channels: u32, pixels: usize, x: usize, y: usize): v128 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (let c: u32 = 0; c < channels; c++) {
    const factor = f64x2.splat(<f64>load<f32>(x));
    const four = v128.load(y);
    low = f64x2.add(low, f64x2.mul(factor, f64x2.promote_low_f32x4(four)));
    high = f64x2.add(high, f64x2.mul(factor, f64x2.promote_low_f32x4(v128.shuffle<f64>(four, four, 1, 1))));
    x += pixels << 2;
    y += pixels * LANE_BYTES;
  }
  return v128.shuffle<f64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
}

/** Pass 1: down the columns of M, into the rows of V. */
function sumColumns(step: Step, plan: Plan, maps: usize, rows: usize, line: usize): void {
  if (slideColumns(step, plan, maps, rows)) return;
  const suffix = line + <usize>step.outHeight * LANE_BYTES;
  let from = maps + plan.from;
  let to = rows + plan.rowFront;
  for (let column: u32 = 0; column < step.inWidth; column++) {
    boxLine(from, line, step.outHeight, step.filterHeight, step.strideHeight, step.dilationHeight, suffix);
    scatterLine(line, to, plan.rowPitch, step.outHeight);
    from += plan.fromPitch;
    to += LANE_BYTES;
  }
}

/** Pass 2: along the rows of V, through the nonlinearity if it is fused, into the columns of M. */
function sumRows(
  step: Step, plan: Plan, next: Step, after: Plan, rows: usize, line: usize, x: usize, y: usize, maps: usize,
): void {
  if (slideRows(step, plan, next, after, rows, x, y, maps)) return;
  const suffix = line + <usize>step.outWidth * LANE_BYTES;
  let to = maps + plan.to;
  let through = maps + after.to;
  for (let row: u32 = 0; row < step.outHeight; row++) {
    boxLine(rows, line, step.outWidth, step.filterWidth, step.strideWidth, step.dilationWidth, suffix);
    linearLine(line, to, plan.toPitch, step.outWidth, weightOf(plan), biasOf(plan), step.accumulate, plan.keep);
    if (plan.fused) nonlinearLine(next, after, line, LANE_BYTES, through, after.toPitch, step.outWidth, x, y);
    rows += plan.rowPitch;
    to += LANE_BYTES;
    through += LANE_BYTES;
    x += <usize>step.outWidth * SPLAT_PIXEL_BYTES;
    y += <usize>step.outWidth * LANES_PIXEL_BYTES;
  }
}

/** A nonlinearity that no convolution precedes. */
function nonlinear(step: Step, plan: Plan, x: usize, y: usize, maps: usize): void {
  for (let row: u32 = 0; row < step.inHeight; row++) {
    const offset = <usize>row * LANE_BYTES;
    const from = maps + plan.from + offset;
    nonlinearLine(step, plan, from, plan.fromPitch, maps + plan.to + offset, plan.toPitch, step.inWidth, x, y);
    x += <usize>step.inWidth * SPLAT_PIXEL_BYTES;
    y += <usize>step.inWidth * LANES_PIXEL_BYTES;
  }
}

function affine(step: Step, plan: Plan, maps: usize): void {
  for (let column: u32 = 0; column < step.inWidth; column++) {
    const from = maps + plan.from + <usize>column * plan.fromPitch;
    affineLine(
      from, maps + plan.to + <usize>column * plan.toPitch, step.inHeight, weightOf(plan), biasOf(plan), step.accumulate,
    );
  }
}

/** The read-out; lines are summed in float32, lines together in float64. */
function mean(step: Step, plan: Plan, maps: usize): void {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (let column: u32 = 0; column < step.inWidth; column++) {
    let at = maps + plan.from + <usize>column * plan.fromPitch;
    let sum = v128.load(at);
    for (let row: u32 = 1; row < step.inHeight; row++) {
      at += LANE_BYTES;
      sum = f32x4.add(sum, v128.load(at));
    }
    low = f64x2.add(low, f64x2.promote_low_f32x4(sum));
    high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<f64>(sum, sum, 1, 1)));
  }
  const factor = f64x2.splat(step.factor64 / <f64>(step.inHeight * step.inWidth));
  const bias = f64x2.splat(step.bias64);
  low = f64x2.add(f64x2.mul(low, factor), bias);
  high = f64x2.add(f64x2.mul(high, factor), bias);
  if (plan.clearMap) clearMap(step, plan, maps);
  v128.store(
    maps + plan.to,
    v128.shuffle<f64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2),
  );
}
