/**
 * One stage of a full program on one pair of images, in float64: its base offsets one after the other, all maps row by
 * row. What a step does to a map of an offset is what it does to offset 0, on a smaller map: see the head of
 * `sdk/covariance/offsets.ts`.
 */
import { StepKind } from "../generated/kernels";
import { conv64, affineLine, mean64, put64 } from "../covariance/map64";
import { Step } from "../covariance/step";
import { baseXOf, baseYOf, clearAt, NO_TABLE, NOWHERE, offsetOn, Stage, stepAt, transferAt } from "../full/words";
import { bend64, gap64 } from "./bend";
import { cutTo, pixelOf, Room } from "./room";
import { loadMap, poolMap, storeMap } from "./state";

/** Runs a stage on the pair (room.x, room.y); their tables have to hold what it looks up. */
export function runStage(room: Room, stage: Stage): void {
  const program = room.program;
  for (let index: u32 = 0; index < stage.clears; index++) {
    const clear = clearAt(program, stage.clearsAt, index);
    const at = room.state + (<usize>clear.state << 3);
    memory.fill(at, 0, <usize>clear.pixels << 3);
    if (room.ntk) memory.fill(at + room.stateToT, 0, <usize>clear.pixels << 3);
  }
  for (let index: u32 = 0; index < stage.offsets; index++) {
    const baseY = baseYOf(program, stage, index);
    const baseX = baseXOf(program, stage, index);
    for (let which: u32 = 0; which < stage.loads; which++) {
      const transfer = transferAt(program, stage.loadsAt, which);
      const y = offsetOn(program, transfer.axisY, baseY, transfer.ratioY);
      const x = offsetOn(program, transfer.axisX, baseX, transfer.ratioX);
      if (y != NOWHERE && x != NOWHERE) loadMap(room, transfer, y, x);
    }
    for (let which = stage.begin; which < stage.end; which++) {
      const step = stepAt(program, which);
      const y = offsetOn(program, step.axisY, baseY, step.ratioY);
      const x = offsetOn(program, step.axisX, baseX, step.ratioX);
      if (y != NOWHERE && x != NOWHERE) runStep(room, step, y, x);
    }
    for (let which: u32 = 0; which < stage.stores; which++) {
      const transfer = transferAt(program, stage.storesAt, which);
      const y = offsetOn(program, transfer.axisY, baseY, transfer.ratioY);
      const x = offsetOn(program, transfer.axisX, baseX, transfer.ratioX);
      if (y != NOWHERE && x != NOWHERE) storeMap(room, transfer, y, x);
    }
  }
}

/** A step at offset (y, x) of the map that decides, which is a pool's or a mean's input, else the output. */
function runStep(room: Room, step: Step, y: i32, x: i32): void {
  const from = room.maps + <usize>step.from * room.slotBytes;
  const to = room.maps + <usize>step.to * room.slotBytes;
  switch (step.kind) {
    case StepKind.input:
      input(room, step, to, y, x);
      break;
    case StepKind.pool:
      poolMap(room, step, from, y, x);
      break;
    case StepKind.conv:
    case StepKind.affine:
    case StepKind.mean:
      linear(room, step, from, to, y, x);
      break;
    default:
      nonlinear(room, step, from, to, y, x);
  }
}

/** D = factor * sum over channels of (x - y)^2 / 2; no weight has acted yet: T = 0. */
function input(room: Room, step: Step, to: usize, y: i32, x: i32): void {
  const plane = step.inHeight * step.inWidth;
  const height = <i32>step.inHeight - abs(y);
  const width = <i32>step.inWidth - abs(x);
  for (let row: i32 = 0; row < height; row++) {
    for (let column: i32 = 0; column < width; column++) {
      const p = pixelOf(step.inWidth, row, column, y, x);
      const q = pixelOf(step.inWidth, row, column, -y, -x);
      let sum: f64 = 0;
      for (let c: u32 = 0; c < step.channels; c++) {
        const difference =
          load<f64>(room.x + (<usize>(c * plane + p) << 3)) - load<f64>(room.y + (<usize>(c * plane + q) << 3));
        sum += difference * difference;
      }
      const at = to + (<usize>(row * width + column) << 3);
      store<f64>(at, 0.5 * step.factor64 * sum);
      if (room.ntk) store<f64>(at + room.mapsToT, 0);
    }
  }
}

/** Both maps are summed alike, and then T gets what the layer's own weights add: gain * K' + offset. */
function linear(room: Room, step: Step, from: usize, to: usize, y: i32, x: i32): void {
  const isMean = step.kind == StepKind.mean;
  const down = step.kind == StepKind.conv ? <i32>step.strideHeight : 1;
  const along = step.kind == StepKind.conv ? <i32>step.strideWidth : 1;
  const height = isMean ? 1 : <i32>step.outHeight - abs(y);
  const width = isMean ? 1 : <i32>step.outWidth - abs(x);
  const cut = cutTo(room, step, step.inHeight - abs(y * down), step.inWidth - abs(x * along), height, width);
  sums(room, cut, from, room.spare);
  const offset = y != 0 || x != 0;
  if (step.kind == StepKind.conv && step.state != NO_TABLE && offset) addEdges(room, step, height, width, y, x);
  if (room.ntk) {
    sums(room, cut, from + room.mapsToT, room.spare + room.spareToT);
    if (step.learns) learn(room, step, height, width, isMean ? 0 : y, isMean ? 0 : x);
  }
  const pixels = <usize>(height * width);
  for (let at: usize = 0; at < pixels << 3; at += 8) {
    put64(step, to + at, load<f64>(room.spare + at));
    if (room.ntk) put64(step, to + room.mapsToT + at, load<f64>(room.spare + room.spareToT + at));
  }
}

/**
 * Taps beside the map of an offset, where one image has a pixel and the other padding: there K = 0, and D is half the
 * pixel's variance. The two images' taps are summed apart, so that their total does not depend on which is x.
 */
function addEdges(room: Room, step: Step, height: i32, width: i32, y: i32, x: i32): void {
  const table = room.deviations + (<usize>step.state << 3); // `edge`
  const fromY = y * <i32>step.strideHeight;
  const fromX = x * <i32>step.strideWidth;
  const inHeight = <i32>step.inHeight - abs(fromY);
  const inWidth = <i32>step.inWidth - abs(fromX);
  const reachDown = <i32>((step.filterHeight - 1) * step.dilationHeight);
  const reachAlong = <i32>((step.filterWidth - 1) * step.dilationWidth);
  for (let row: i32 = 0; row < height; row++) {
    const top = row * <i32>step.strideHeight - <i32>step.padTop;
    for (let column: i32 = 0; column < width; column++) {
      const left = column * <i32>step.strideWidth - <i32>step.padLeft;
      if (top >= 0 && left >= 0 && top + reachDown < inHeight && left + reachAlong < inWidth) continue;
      let ofX: f64 = 0;
      let ofY: f64 = 0;
      for (let a: u32 = 0; a < step.filterHeight; a++) {
        const down = top + <i32>(a * step.dilationHeight);
        for (let b: u32 = 0; b < step.filterWidth; b++) {
          const along = left + <i32>(b * step.dilationWidth);
          if (down >= 0 && along >= 0 && down < inHeight && along < inWidth) continue; // in both images
          ofX += varianceAt(step, room.x + table, down + max(0, -fromY), along + max(0, -fromX));
          ofY += varianceAt(step, room.y + table, down + max(0, fromY), along + max(0, fromX));
        }
      }
      const at = room.spare + (<usize>(row * width + column) << 3);
      store<f64>(at, load<f64>(at) + 0.5 * step.factor64 * (ofX + ofY));
    }
  }
}

/** The variance of a convolution's input, 0 beside it. */
function varianceAt(step: Step, table: usize, row: i32, column: i32): f64 {
  if (row < 0 || column < 0 || row >= <i32>step.inHeight || column >= <i32>step.inWidth) return 0;
  const s = load<f64>(table + (<usize>(row * <i32>step.inWidth + column) << 3));
  return s * s;
}

function sums(room: Room, cut: Step, from: usize, to: usize): void {
  // Windows may lie so far apart, in the padding, that the two images share no pixel of the input.
  if (<i32>cut.inHeight <= 0 || <i32>cut.inWidth <= 0)
    memory.fill(to, 0, <usize>(cut.outHeight * cut.outWidth) << 3);
  else if (cut.kind == StepKind.conv) conv64(cut, from, to, room.sums);
  else if (cut.kind == StepKind.mean) mean64(cut, from, to);
  else affineLine(cut, from, to, cut.inHeight * cut.inWidth);
}

function learn(room: Room, step: Step, height: i32, width: i32, y: i32, x: i32): void {
  const table = room.deviations + (<usize>step.table << 3);
  for (let row: i32 = 0; row < height; row++) {
    for (let column: i32 = 0; column < width; column++) {
      const at = room.spare + (<usize>(row * width + column) << 3);
      const s = load<f64>(room.x + table + (<usize>pixelOf(step.outWidth, row, column, y, x) << 3));
      const s2 = load<f64>(room.y + table + (<usize>pixelOf(step.outWidth, row, column, -y, -x) << 3));
      const k = s * s2 - gap64(load<f64>(at), s, s2);
      store<f64>(at + room.spareToT, load<f64>(at + room.spareToT) + (step.gain64 * k + step.offset64));
    }
  }
}

function nonlinear(room: Room, step: Step, from: usize, to: usize, y: i32, x: i32): void {
  const table = room.deviations + (<usize>step.table << 3);
  const height = <i32>step.outHeight - abs(y);
  const width = <i32>step.outWidth - abs(x);
  for (let row: i32 = 0; row < height; row++) {
    for (let column: i32 = 0; column < width; column++) {
      const at = <usize>(row * width + column) << 3;
      const s = load<f64>(room.x + table + (<usize>pixelOf(step.outWidth, row, column, y, x) << 3));
      const s2 = load<f64>(room.y + table + (<usize>pixelOf(step.outWidth, row, column, -y, -x) << 3));
      const fromT = room.ntk ? from + room.mapsToT + at : 0;
      const toT = room.ntk ? to + room.mapsToT + at : 0;
      bend64(step, from + at, to + at, fromT, toT, s, s2);
    }
  }
}
