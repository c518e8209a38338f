/**
 * fullVariance: runs a full covariance program on each image paired with itself, and writes the image's table.
 *
 * Stage by stage: the variances of the stage's maps first, in float64, with the standard deviations that go into the
 * table; then all offsets of the stage for the pair (x, x), in float32 and with `fullCovariance`'s code, which gives
 * the pools' spreads and the NTK T(x, x). For that an image meets the group that it belongs to, and its own lane
 * counts. A table pixel holds s / sqrt 2 and SLANT / s (see `full/bend.ts`), or a pool's spread, of large windows as the
 * sum of two float32; images have sqrt(factor / 2) of the input step multiplied in, so that a distance takes no product.
 * K(x, x) is the last variance, exactly. Variances take the constants as float32 has them, and the scaled images: where
 * pools of images with mean zero leave a thousandth of a variance, distances must be off by the same factors.
 */
import { FullVarianceParams, STEP_BYTES, StepKind } from "./generated/kernels";
import { buffer } from "./dispatch";
import { affineLine, conv64, mean64, put64 } from "./covariance/map64";
import { ownVariance64 } from "./covariance/nonlinear64";
import { LANES, lanesOf, LANES_PIXEL_BYTES, LANE_BYTES, S_MIN, SPLAT_PIXEL_BYTES, splatOf } from "./covariance/table";
import { Step } from "./covariance/step";
import { memoryOf } from "./covariance/workspace";
import { SLANT } from "./full/bend";
import { Run, stateAt } from "./full/run";
import { endOf, pointRun, prepareRun, runStage, spreadRow, tangentOf } from "./full/stage";
import { frontOf, NO_TABLE, restOf, Side, sideFrontOf, stageAt, stepAt } from "./full/words";

const NNGP: u32 = 1;
const NTK: u32 = 2;

export function fullVariance(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  const p = changetype<FullVarianceParams>(params);
  const memory = memoryOf(scratch, buffer(buffers, 4), p.slices, <usize>p.sliceFloats << 2);
  const run = prepareRun(
    memory, buffer(buffers, 0), p.stagesAt, p.stages, p.steps, p.ntk, p.outputTable, p.statePixels, p.slots,
    p.mapPixels, p.sumPixels, p.line,
  );
  const maps = endOf(run, p.tablePixels);
  const table = buffer(buffers, 2);
  for (let group = <u32>begin; group < <u32>end; group++) {
    // Lanes behind the last image repeat it: they must hold finite numbers, and nobody reads their results.
    for (let lane: u32 = 0; lane < LANES; lane++) copyImage(p, run, buffer(buffers, 1), table, group * LANES + lane);
    for (let lane: u32 = 0; lane < LANES; lane++) {
      const image = group * LANES + lane;
      pointRun(run, table, image, table, group, p.imageFloats, p.tablePixels);
      const value = runImage(p, run, lane, maps);
      if (image >= p.images) continue;
      let target = buffer(buffers, 3) + (<usize>image << 2);
      if (p.kinds & NNGP) {
        store<f32>(target, <f32>value);
        target += <usize>p.images << 2;
      }
      if (p.kinds & NTK) store<f32>(target, laneOf(tangentOf(run), lane));
    }
  }
}

function laneOf(four: v128, lane: u32): f32 {
  if (lane == 0) return f32x4.extract_lane(four, 0);
  if (lane == 1) return f32x4.extract_lane(four, 1);
  return lane == 2 ? f32x4.extract_lane(four, 2) : f32x4.extract_lane(four, 3);
}

/** An image into its table, scaled and with the channels of a pixel side by side, and a table that is zero so far. */
function copyImage(p: FullVarianceParams, run: Run, images: usize, table: usize, image: u32): void {
  const source = images + ((<usize>min(image, p.images - 1) * p.imageFloats) << 2);
  const lanes = lanesOf(table, image / LANES, p.imageFloats, p.tablePixels) + (<usize>(image % LANES) << 2);
  const splat = splatOf(table, image, p.imageFloats, p.tablePixels);
  const input = stepAt(run.program, 0);
  const scale = <f32>Math.sqrt(0.5 * input.factor64);
  const channels = <usize>input.channels;
  const pixels = <usize>p.imageFloats / channels;
  for (let i: usize = 0; i < <usize>p.imageFloats; i++) {
    const value = scale * load<f32>(source + (((i % channels) * pixels + i / channels) << 2));
    store<f32>(lanes + i * LANE_BYTES, value);
    store<f32>(splat + (i << 2), value);
  }
  for (let i: usize = 0; i < 2 * <usize>p.tablePixels; i++) {
    store<f32>(lanes + (<usize>p.imageFloats + i) * LANE_BYTES, 0);
    store<f32>(splat + ((<usize>p.imageFloats + i) << 2), 0);
  }
}

/** All stages of one image: K(x, x). */
function runImage(p: FullVarianceParams, run: Run, lane: u32, maps: usize): f64 {
  const slotBytes = <usize>p.mapPixels << 3;
  const rows = maps + <usize>p.slots * slotBytes;
  const lanes = run.yTable + (<usize>lane << 2);
  const splat = run.xTable;
  for (let index: u32 = 0; index < p.stages; index++) {
    const stage = stageAt(run.program, run.stagesAt, index);
    for (let at = stage.begin; at < stage.end; at++) {
      const step = stepAt(run.program, at);
      const from = maps + <usize>step.from * slotBytes;
      const to = maps + <usize>step.to * slotBytes;
      variancesOf(step, run.x, from, to, rows, lanes, splat);
      if (at == p.steps - 1) putEntry(lanes, splat, p.outputTable, load<f64>(to), false);
    }
    spreadRow(run, p.tablePixels);
    runStage(run, index);
    for (let at = stage.begin; at < stage.end; at++) {
      const step = stepAt(run.program, at);
      if (step.kind == StepKind.pool) subtractSpread(run, step, maps + <usize>step.to * slotBytes, lane, lanes, splat);
    }
  }
  spreadRow(run, p.tablePixels);
  return load<f64>(maps + <usize>stepAt(run.program, p.steps - 1).to * slotBytes);
}

/** One step on the variances; its entries of the table. `rows` has room for the sums between a convolution's passes. */
function variancesOf(step: Step, image: usize, from: usize, to: usize, rows: usize, lanes: usize, splat: usize): void {
  const pixels = <usize>(step.outHeight * step.outWidth);
  if (step.kind == StepKind.input) {
    inputVariances(step, image, to);
    return;
  }
  if (step.kind == StepKind.pool) {
    pool64(step, from, to, rows);
    return;
  }
  if (step.kind != StepKind.conv && step.kind != StepKind.affine && step.kind != StepKind.mean) {
    const rectifier = step.kind == StepKind.rectifier;
    const rounded = rectifier ? ratioOf(step.positive, step.positive64) : ratioOf(step.factor, step.factor64);
    for (let p: usize = 0; p < pixels; p++) {
      const value = load<f64>(from + (p << 3));
      const alive = putEntry(lanes, splat, step.table + <u32>p, value, !rectifier);
      put64(step, to + (p << 3), alive || rectifier ? rounded * ownVariance64(step, value) : 0);
    }
    return;
  }
  // A gradient's entries are of what the step itself makes, before it is added to anything.
  const adds = step.accumulate != 0;
  const result = adds ? rows + STEP_BYTES + lineBytes(step) : to;
  const alone = changetype<Step>(rows);
  memory.copy(rows, changetype<usize>(step), STEP_BYTES);
  alone.accumulate = 0;
  alone.factor64 = <f64>step.factor;
  if (step.kind == StepKind.conv && step.state != NO_TABLE) {
    for (let p: usize = 0; p < <usize>(step.inHeight * step.inWidth); p++)
      putEntry(lanes, splat, step.state + <u32>p, load<f64>(from + (p << 3)), false);
  }
  if (step.kind == StepKind.conv) conv64(alone, from, result, rows + STEP_BYTES);
  else if (step.kind == StepKind.affine) affineLine(alone, from, result, <u32>pixels);
  else mean64(alone, from, result);
  if (step.learns) {
    for (let p: usize = 0; p < pixels; p++)
      putEntry(lanes, splat, step.table + <u32>p, load<f64>(result + (p << 3)), false);
  }
  if (!adds) return;
  for (let p: usize = 0; p < pixels; p++)
    store<f64>(to + (p << 3), load<f64>(to + (p << 3)) + load<f64>(result + (p << 3)));
}

/** A pixel's variance, of an image that has sqrt(factor / 2) in it and the channels of a pixel side by side. */
function inputVariances(step: Step, image: usize, to: usize): void {
  const channels = <usize>step.channels;
  for (let p: usize = 0, pixels = <usize>(step.inHeight * step.inWidth); p < pixels; p++) {
    let sum: f64 = 0;
    for (let c: usize = 0; c < channels; c++) {
      const value = <f64>load<f32>(image + ((p * channels + c) << 2));
      sum += value * value;
    }
    store<f64>(to + (p << 3), 2 * sum);
  }
}

/** What rounding has made of a constant, in units of it. */
function ratioOf(rounded: f32, constant: f64): f64 {
  return constant != 0 ? <f64>rounded / constant : 1;
}

/** Bytes of the sums between two passes of `conv64`, and its line. */
function lineBytes(step: Step): usize {
  if (step.kind != StepKind.conv) return 0;
  return <usize>(step.outHeight * step.inWidth + step.outWidth) << 3;
}

/**
 * One table pixel of a variance; false where the standard deviation is too small for 1/s. `whole`: it counts as zero
 * then.
 */
function putEntry(lanes: usize, splat: usize, entry: u32, variance: f64, whole: bool): bool {
  const s = Math.sqrt(Math.max(variance, 0));
  const alive = s >= S_MIN;
  const sigma = alive || !whole ? <f32>(Math.SQRT1_2 * s) : 0;
  const inverse = alive ? <f32>(SLANT / s) : 0;
  putPair(lanes, splat, entry, sigma, inverse);
  return alive;
}

function putPair(lanes: usize, splat: usize, entry: u32, first: f32, second: f32): void {
  store<f32>(lanes + <usize>entry * LANES_PIXEL_BYTES, first);
  store<f32>(lanes + <usize>entry * LANES_PIXEL_BYTES, second, LANE_BYTES);
  store<f32>(splat + <usize>entry * SPLAT_PIXEL_BYTES, first);
  store<f32>(splat + <usize>entry * SPLAT_PIXEL_BYTES, second, 4);
}

/** The mean of the variances in each window, from which the spread is still to be taken. */
function pool64(step: Step, from: usize, to: usize, rows: usize): void {
  const count = <f64>(step.filterHeight * step.filterWidth);
  const pixels = <usize>(step.outHeight * step.outWidth);
  for (let p: usize = 0; p < pixels; p++) {
    const top = <u32>p / step.outWidth * step.strideHeight;
    const left = <u32>p % step.outWidth * step.strideWidth;
    let sum: f64 = 0;
    for (let a: u32 = 0; a < step.filterHeight; a++) {
      for (let b: u32 = 0; b < step.filterWidth; b++)
        sum += load<f64>(from + (<usize>((top + a) * step.inWidth + left + b) << 3));
    }
    store<f64>(rows + (p << 3), sum / count);
  }
  memory.copy(to, rows, pixels << 3);
}

/** The sums of a pool at offset 0 from one side of the base offsets; the three never share a place. */
function sumsOf(run: Run, step: Step, side: u32, height: i32, frontX: u32): usize {
  return stateAt(run, step.state, step.stateAxisX, sideFrontOf(run.program, step.stateAxisY, 0, side), height, frontX);
}

function threeOf(own: usize, after: usize, before: usize): f64 {
  return <f64>load<f32>(after) + <f64>load<f32>(before) + <f64>load<f32>(own);
}

/** The spread within each window: the mean of D over the pairs of its pixels. */
function subtractSpread(run: Run, step: Step, to: usize, lane: u32, lanes: usize, splat: usize): void {
  const height = <i32>step.outHeight;
  const frontX = frontOf(run.program, step.stateAxisX, 0);
  const shift = <usize>lane << 2;
  const rest = <usize>restOf(run.program, step.stateAxisY) * run.unit;
  const own = sumsOf(run, step, Side.OWN, height, frontX) + shift;
  const after = sumsOf(run, step, Side.AFTER, height, frontX) + shift;
  const before = sumsOf(run, step, Side.BEFORE, height, frontX) + shift;
  for (let p: usize = 0, pixels = <usize>(step.outHeight * step.outWidth); p < pixels; p++) {
    const at = p * run.unit;
    // As `loadMap` adds and multiplies, to the bit: an image's distance to itself has to come out as 0.
    let spread: f32;
    let second: f32 = 0;
    if (rest) {
      const mean = step.factor64 * (threeOf(own + at, after + at, before + at) +
        threeOf(own + rest + at, after + rest + at, before + rest + at));
      spread = <f32>mean;
      second = <f32>(mean - <f64>spread);
    } else spread = step.factor * (load<f32>(after + at) + load<f32>(before + at) + load<f32>(own + at));
    store<f64>(to + (p << 3), Math.max(0, load<f64>(to + (p << 3)) - (<f64>spread + <f64>second)));
    putPair(lanes, splat, step.table + <u32>p, spread, second);
  }
}
