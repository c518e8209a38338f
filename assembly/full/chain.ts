/**
 * Runs of [convolution, relu] within a stage, as most networks are made of them: an input or a slot's map is brought
 * into a padded map, goes to and fro between two of them, and ends in a pool's sums or in a slot.
 *
 * Which steps these are depends on the program alone, never on images or tiles: `block.ts` sums in another order than
 * `linear.ts`, and a pair's bits must not depend on its neighbours.
 */
import { StepKind } from "../generated/kernels";
import { LANES_PIXEL_BYTES, LANE_BYTES } from "../covariance/table";
import { Step } from "../covariance/step";
import { multiplyAdd } from "./bend";
import { convRelu, Mode } from "./block";
import { distanceOf, FEW_CHANNELS, pixelOfX, pixelOfY } from "./linear";
import { bendOf, mayBeNegative, Plan, planAt, Sign } from "./plan";
import { poolMap } from "./pool";
import { surround } from "./ring";
import { firstOfX, firstOfY, limitOf, magnitude, ROW_PIXEL_BYTES, Run, slotOf } from "./run";
import { NOWHERE, offsetOn, Stage, stepAt, transferAt } from "./words";

/** Steps of a block. */
const BLOCK: u32 = 2;

/** Marks, in the plans of a stage's steps, the convolutions that begin a chain, and how many blocks it has. */
export function planChains(run: Run, stage: Stage): void {
  for (let at = stage.begin; at < stage.end; at++) planAt(run, at).feeds = 0;
  for (let at = stage.begin; at < stage.end; ) {
    let blocks: u32 = 0;
    while (at + BLOCK * blocks + 1 < stage.end && isBlock(run, at, at + BLOCK * blocks)) blocks++;
    planAt(run, at).blocks = blocks;
    const behind = at + max(1, BLOCK * blocks);
    if (blocks) {
      if (at > stage.begin && isFeed(run, at - 1)) planAt(run, at - 1).feeds = 1;
      if (behind < stage.end && stepAt(run.program, behind).kind == StepKind.pool)
        planAt(run, behind).feeds = isRead(run, stage, behind) ? 1 : 0;
    }
    at = behind;
  }
}

/** Whether a step is an input that only the convolution behind it reads, of few channels. */
function isFeed(run: Run, at: u32): bool {
  const input = stepAt(run.program, at);
  const conv = stepAt(run.program, at + 1);
  if (input.kind != StepKind.input || input.channels > FEW_CHANNELS) return false;
  return input.to == conv.from && input.to == conv.to && input.axisY == conv.axisY && input.axisX == conv.axisX;
}

/** Whether the map that a pool takes is read behind it. */
function isRead(run: Run, stage: Stage, pool: u32): bool {
  const slot = stepAt(run.program, pool).from;
  if (stepAt(run.program, pool).to == slot) return false;
  for (let at = pool + 1; at < stage.end; at++) {
    const step = stepAt(run.program, at);
    if (step.kind != StepKind.input && step.from == slot) return true;
    if (step.to == slot && step.kind != StepKind.pool) return step.accumulate != 0;
  }
  for (let t: u32 = 0; t < stage.stores; t++) {
    if (transferAt(run.program, stage.storesAt, t).slot == slot) return true;
  }
  return false;
}

/** Whether the steps `at` and `at + 1` are such a block, in the slot and at the offsets of the chain's first. */
function isBlock(run: Run, first: u32, at: u32): bool {
  const conv = stepAt(run.program, at);
  const relu = stepAt(run.program, at + 1);
  const head = stepAt(run.program, first);
  if (conv.kind != StepKind.conv || relu.kind != StepKind.rectifier || conv.accumulate || relu.accumulate) return false;
  if (conv.to != relu.from || relu.from != relu.to || (at != first && conv.from != conv.to)) return false;
  if (conv.to != head.to || conv.axisY != head.axisY || conv.axisX != head.axisX) return false;
  if (conv.ratioY != head.ratioY || conv.ratioX != head.ratioX) return false;
  if (relu.axisY != head.axisY || relu.axisX != head.axisX) return false;
  if (conv.filterHeight != 3 || conv.filterWidth != 3 || conv.padTop != 1 || conv.padLeft != 1) return false;
  if (conv.strideHeight != 1 || conv.strideWidth != 1) return false;
  if (conv.dilationHeight != 1 || conv.dilationWidth != 1) return false;
  if (conv.inHeight != conv.outHeight || conv.inWidth != conv.outWidth) return false;
  if (conv.factor64 != 1 || relu.positive64 != 1 || relu.negative64 != 0 || relu.factor64 != 2) return false;
  if (!run.ntk) return true;
  if (!conv.learns || conv.gain64 != 1 || conv.offset64 != 0 || conv.table != relu.table) return false;
  return planAt(run, at).idle != 0 || planAt(run, at + 1).sign == Sign.POSITIVE;
}

/**
 * Runs the chain that begins at step `at`; `input`: the step in front of it is an input that nobody else reads. Returns
 * the steps that are done.
 */
export function runChain(run: Run, at: u32, input: bool, sy: i32, sx: i32, end: u32): u32 {
  const head = stepAt(run.program, at);
  const blocks = planAt(run, at).blocks;
  const rows = <i32>head.inHeight - magnitude(sy);
  const columns = <i32>head.inWidth - magnitude(sx);
  const padded = <usize>(columns + 2);
  let map = run.padded;
  let other = run.padded + run.paddedBytes;
  let unit: usize = run.ntk && !planAt(run, at).idle ? 32 : LANE_BYTES;
  if (input) bringInput(run, stepAt(run.program, at - 1), map, rows, columns, sy, sx);
  else bringMap(run, slotOf(run, head.from), map, unit, rows, columns);
  for (let block: u32 = 0; block < blocks; block++) {
    const conv = stepAt(run.program, at + BLOCK * block);
    const relu = stepAt(run.program, at + BLOCK * block + 1);
    const plan = planAt(run, at + BLOCK * block + 1);
    surround(run, conv, map, unit, rows, columns, sy, sx);
    const x = run.rowTable + <usize>pixelOfX(relu.table, relu.inWidth, 0, sy, sx) * ROW_PIXEL_BYTES;
    const y = run.yTable + <usize>pixelOfY(relu.table, relu.inWidth, 0, sy, sx) * LANES_PIXEL_BYTES;
    const pitch = padded * run.unit;
    pass(run, plan, unit, rows, columns, map, padded * unit, other + pitch + run.unit, pitch, relu.inWidth, x, y);
    unit = run.unit;
    const swap = map;
    map = other;
    other = swap;
  }
  const done = BLOCK * blocks;
  const first = map + padded * unit + unit;
  const next = stepAt(run.program, at + done);
  if (at + done < end && next.kind == StepKind.pool && next.from == head.to && !planAt(run, at + done).feeds) {
    if (isThere(run, next)) poolMap(run, next, first, padded * unit, sy, sx);
    return done + 1;
  }
  let target = slotOf(run, head.to);
  for (let row = 0, from = first; row < rows; row++) {
    memory.copy(target, from, <usize>columns * unit);
    target += <usize>columns * unit;
    from += padded * unit;
  }
  return done;
}

function pass(
  run: Run, plan: Plan, unit: usize, rows: i32, columns: i32, from: usize, fromPitch: usize, to: usize, toPitch: usize,
  width: u32, x: usize, y: usize,
): void {
  const xp = <usize>width * ROW_PIXEL_BYTES;
  const yp = <usize>width * LANES_PIXEL_BYTES;
  const c = bendOf(plan);
  const limits = limitOf(run, plan.sign);
  const negative = mayBeNegative(run, plan);
  if (!run.ntk) {
    if (negative) signedNngp(rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
    else nngp(rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
  } else if (unit == 32) {
    ntk(rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
  } else {
    if (negative) signedFirst(rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
    else first(rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
  }
}

function nngp(
  rows: u32, columns: u32, from: usize, fromPitch: usize, to: usize, toPitch: usize, x: usize, xp: usize, y: usize,
  yp: usize, c: usize, limits: usize,
): void {
  convRelu(0, rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
}

function signedNngp(
  rows: u32, columns: u32, from: usize, fromPitch: usize, to: usize, toPitch: usize, x: usize, xp: usize, y: usize,
  yp: usize, c: usize, limits: usize,
): void {
  convRelu(Mode.SIGNED, rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
}

function first(
  rows: u32, columns: u32, from: usize, fromPitch: usize, to: usize, toPitch: usize, x: usize, xp: usize, y: usize,
  yp: usize, c: usize, limits: usize,
): void {
  convRelu(Mode.TANGENT_OUT, rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
}

function signedFirst(
  rows: u32, columns: u32, from: usize, fromPitch: usize, to: usize, toPitch: usize, x: usize, xp: usize, y: usize,
  yp: usize, c: usize, limits: usize,
): void {
  convRelu(Mode.TANGENT_OUT | Mode.SIGNED, rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
}

function ntk(
  rows: u32, columns: u32, from: usize, fromPitch: usize, to: usize, toPitch: usize, x: usize, xp: usize, y: usize,
  yp: usize, c: usize, limits: usize,
): void {
  convRelu(Mode.TANGENT_IN | Mode.TANGENT_OUT, rows, columns, from, fromPitch, to, toPitch, x, xp, y, yp, c, limits);
}

/** The images' distances, straight into a padded map of D alone. */
function bringInput(run: Run, step: Step, map: usize, rows: i32, columns: i32, sy: i32, sx: i32): void {
  const width = <i32>step.inWidth;
  const channels = <usize>step.channels;
  const padded = <usize>(columns + 2);
  let x = run.x + ((<usize>(firstOfX(sy) * width + firstOfX(sx)) * channels) << 2);
  let y = run.y + <usize>(firstOfY(sy) * width + firstOfY(sx)) * channels * LANE_BYTES;
  let to = map + (padded + 1) * LANE_BYTES;
  for (let row = 0; row < rows; row++) {
    if (step.channels == 3) threeChannels(to, columns, x, y);
    else
      for (let column: usize = 0; column < <usize>columns; column++)
        v128.store(
          to + column * LANE_BYTES,
          distanceOf(step.channels, x + ((column * channels) << 2), y + column * channels * LANE_BYTES),
        );
    x += (<usize>width * channels) << 2;
    y += <usize>width * channels * LANE_BYTES;
    to += padded * LANE_BYTES;
  }
}

function threeChannels(to: usize, columns: u32, x: usize, y: usize): void {
  do {
    const h = f32x4.sub(v128.load32_splat(x), v128.load(y));
    const i = f32x4.sub(v128.load32_splat(x, 4), v128.load(y, LANE_BYTES));
    const j = f32x4.sub(v128.load32_splat(x, 8), v128.load(y, 2 * LANE_BYTES));
    v128.store(to, multiplyAdd(j, j, multiplyAdd(i, i, f32x4.mul(h, h))));
    x += 12;
    y += 3 * LANE_BYTES;
    to += LANE_BYTES;
  } while (--columns);
}

/** A slot's map into a padded one, of D alone where T is zero. */
function bringMap(run: Run, from: usize, map: usize, unit: usize, rows: i32, columns: i32): void {
  const padded = <usize>(columns + 2);
  let to = map + (padded + 1) * unit;
  for (let row = 0; row < rows; row++) {
    if (unit == run.unit) {
      memory.copy(to, from, <usize>columns * unit);
      from += <usize>columns * unit;
    } else {
      for (let column: usize = 0; column < <usize>columns; column++) {
        v128.store(to + column * LANE_BYTES, v128.load(from));
        from += run.unit;
      }
    }
    to += padded * unit;
  }
}

/** Whether a step runs at this base offset. */
function isThere(run: Run, step: Step): bool {
  return (
    offsetOn(run.program, step.axisY, run.baseY, step.ratioY) != NOWHERE &&
    offsetOn(run.program, step.axisX, run.baseX, step.ratioX) != NOWHERE
  );
}
