/**
 * covariance: runs a covariance program on a tile of pairs, one image of the rows against four of the columns.
 *
 *     item = (column group, block of 16 rows);  for each of its rows, all steps run on one group of four pairs, whose
 *     map (12.5 KB for 28 x 28) stays in L1, while the column group's table (176 KB for seven relus) stays in L2.
 *
 * Every pair's arithmetic is the same sequence of lane-wise float32 operations wherever it stands in a tile, and every
 * product of the two images commutes: the value depends neither on tiling nor on the order of the pair.
 *
 * Cost per pixel and layer of [conv 7x7, relu]: about 33 instructions for four pairs (see `lines7.ts`, `kappa.ts`).
 */
import { CovarianceParams, StepKind, STEP_BYTES } from "./generated/kernels";
import { buffer } from "./dispatch";
import { biasLine, boxLine, kappaLine, scatterLine } from "./covariance/lines";
import { boxLines7, kappaLines7 } from "./covariance/lines7";
import { biasOf, clearBorders, constantsOf, mapBytes, Plan, PLAN_BYTES, planMaps, planOf } from "./covariance/maps";
import { LANES, lanesOf, LANES_RELU_BYTES, LANE_BYTES, SPLAT_RELU_BYTES, splatOf } from "./covariance/table";
import { Step } from "./covariance/step";

/** Rows of one work item; the schema's `split` counts with the same number. */
const ROWS_PER_ITEM: u32 = 16;

export function covariance(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<CovarianceParams>(params);
  const program = buffer(buffers, 0);
  const output = buffer(buffers, 4);
  const plans = scratch;
  planMaps(program, p.steps, plans);
  const maps = (scratch + <usize>p.steps * PLAN_BYTES + 63) & ~63;
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
  const xRelus = x + (<usize>p.imageFloats << 2);
  const yRelus = y + <usize>p.imageFloats * LANE_BYTES;
  for (let index: u32 = 0; index < p.steps; index++) {
    const step = changetype<Step>(program + <usize>index * STEP_BYTES);
    const plan = planOf(plans, index);
    if (step.kind == StepKind.conv) {
      const next = changetype<Step>(program + <usize>(index + 1) * STEP_BYTES);
      const table = plan.fused ? <usize>next.table : 0;
      const xTable = xRelus + table * SPLAT_RELU_BYTES;
      const yTable = yRelus + table * LANES_RELU_BYTES;
      convolve(step, planOf(plans, index - 1), plan, planOf(plans, index + 1), xTable, yTable, maps);
      index += plan.fused;
    } else if (step.kind == StepKind.input) {
      multiplyImages(step, plan, x, y, maps);
    } else if (step.kind == StepKind.relu) {
      const table = <usize>step.table;
      relu(step, plan, xRelus + table * SPLAT_RELU_BYTES, yRelus + table * LANES_RELU_BYTES, maps);
    } else {
      mean(step, planOf(plans, index - 1), plan, maps);
    }
  }
  return v128.load(maps);
}

/** K = factor * sum over channels of x y; more than a few channels are summed in float64, whose products are exact. */
function multiplyImages(step: Step, plan: Plan, x: usize, y: usize, map: usize): void {
  const pixels = <usize>(step.inHeight * step.inWidth);
  const factor = f32x4.splat(step.factor);
  const pitch = <usize>plan.pitch;
  clearBorders(map, step.inWidth, plan.pitch, plan.front, step.inHeight);
  for (let row: u32 = 0; row < step.inHeight; row++) {
    let target = map + plan.front + <usize>row * LANE_BYTES;
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

/** Both passes of a convolution, with the relu behind it where there is one. M lies at `maps`, V behind it. */
function convolve(step: Step, source: Plan, plan: Plan, after: Plan, x: usize, y: usize, maps: usize): void {
  const target = plan.fused ? after : plan;
  const rows = maps + <usize>mapBytes(step, source, target);
  if (plan.clearRows) clearBorders(rows, step.outHeight, plan.rowPitch, plan.rowFront, step.inWidth);
  sumColumns(step, source, plan, maps, rows);
  if (plan.clearMap) clearBorders(maps, step.outWidth, target.pitch, target.front, step.outHeight);
  sumRows(step, plan, target, rows, x, y, maps);
}

/** Pass 1: down the columns of M, into the rows of V. Lines behind V are free for the general code. */
function sumColumns(step: Step, source: Plan, plan: Plan, map: usize, rows: usize): void {
  const dense = step.filterHeight == 7 && step.strideHeight == 1 && step.dilationHeight == 1;
  const blocks = dense ? step.outHeight / 7 : 0;
  const target = rows + plan.rowFront;
  if (blocks) boxLines7(map, source.pitch, target, LANE_BYTES, plan.rowPitch, step.inWidth, blocks);
  const done = <usize>blocks * 7;
  const rest = step.outHeight - <u32>done;
  if (!rest) return;
  const line = rows + <usize>plan.rowPitch * step.outHeight;
  const suffix = line + <usize>step.outHeight * LANE_BYTES;
  for (let column: u32 = 0; column < step.inWidth; column++) {
    const from = map + <usize>column * source.pitch + done * LANE_BYTES;
    boxLine(from, line, rest, step.filterHeight, step.strideHeight, step.dilationHeight, suffix);
    scatterLine(line, target + <usize>column * LANE_BYTES + done * plan.rowPitch, plan.rowPitch, rest);
  }
}

/** Pass 2: along the rows of V, through the relu if it is fused, into the columns of M. */
function sumRows(step: Step, plan: Plan, target: Plan, rows: usize, x: usize, y: usize, map: usize): void {
  const dense = step.filterWidth == 7 && step.strideWidth == 1 && step.dilationWidth == 1;
  const blocks = dense ? step.outWidth / 7 : 0;
  const done = blocks * 7;
  const rest = step.outWidth - done;
  const bias = biasOf(plan);
  let to = map + target.front;
  if (blocks && !rest && plan.fused && target.positive) {
    kappaLines7(rows, plan.rowPitch, to, target.pitch, step.outHeight, blocks, bias, x, y, constantsOf(target));
    return;
  }
  const line = rows + <usize>plan.rowPitch * step.outHeight;
  const suffix = line + <usize>step.outWidth * LANE_BYTES;
  const offset = <usize>done * LANE_BYTES;
  for (let row: u32 = 0; row < step.outHeight; row++) {
    if (blocks) boxLines7(rows, 0, line, 0, LANE_BYTES, 1, blocks);
    if (rest)
      boxLine(rows + offset, line + offset, rest, step.filterWidth, step.strideWidth, step.dilationWidth, suffix);
    if (plan.fused) kappaLine(line, to, target.pitch, step.outWidth, bias, x, y, constantsOf(target));
    else biasLine(line, to, target.pitch, step.outWidth, bias);
    rows += plan.rowPitch;
    to += LANE_BYTES;
    x += <usize>step.outWidth * SPLAT_RELU_BYTES;
    y += <usize>step.outWidth * LANES_RELU_BYTES;
  }
}

/** A relu that no convolution precedes (on the input, or behind a read-out), in place. */
function relu(step: Step, plan: Plan, x: usize, y: usize, map: usize): void {
  for (let row: u32 = 0; row < step.inHeight; row++) {
    for (let column: u32 = 0; column < step.inWidth; column++) {
      const at = map + plan.front + <usize>column * plan.pitch + <usize>row * LANE_BYTES;
      kappaLine(at, at, 0, 1, biasOf(plan), x, y, constantsOf(plan)); // its bias is zero
      x += SPLAT_RELU_BYTES;
      y += LANES_RELU_BYTES;
    }
  }
}

/** The read-out; lines are summed in float32, lines together in float64. */
function mean(step: Step, source: Plan, plan: Plan, map: usize): void {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (let column: u32 = 0; column < step.inWidth; column++) {
    let at = map + source.front + <usize>column * source.pitch;
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
  clearBorders(map, 1, plan.pitch, plan.front, 1);
  v128.store(
    map + plan.front,
    v128.shuffle<f64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2),
  );
}
