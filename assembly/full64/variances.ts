/**
 * The variances of one image through a stage of a full program, in float64, and what of them goes into its table:
 * standard deviations in front of nonlinearities and behind layers that learn, and the spreads within pools' windows.
 */
import { StepKind } from "../generated/kernels";
import { affineLine, conv64, mean64, put64 } from "../covariance/map64";
import { Step } from "../covariance/step";
import { NO_TABLE, Stage, stepAt } from "../full/words";
import { bendVariance64 } from "./bend";
import { Room } from "./room";
import { poolTotals } from "./state";

/** Runs the variances of a stage's steps, and writes the standard deviations that the stage looks up. */
export function runVariances(room: Room, stage: Stage): void {
  for (let index = stage.begin; index < stage.end; index++) {
    const step = stepAt(room.program, index);
    const from = room.variances + <usize>step.from * room.slotBytes;
    const to = room.variances + <usize>step.to * room.slotBytes;
    switch (step.kind) {
      case StepKind.input:
        input(room, step, to);
        break;
      case StepKind.pool:
        windowMeans(room, step, from);
        memory.copy(to, room.spareVariance, <usize>(step.outHeight * step.outWidth) << 3);
        break;
      case StepKind.conv:
      case StepKind.affine:
      case StepKind.mean:
        linear(room, step, from, to);
        break;
      default:
        nonlinear(room, step, from, to);
    }
  }
}

/**
 * When a stage has been run on the image and itself: the spreads of its pools, the mean distances within windows, by
 * which the variances of the means fall short of the mean variances.
 */
export function takeSpreads(room: Room, stage: Stage): void {
  for (let index = stage.begin; index < stage.end; index++) {
    const step = stepAt(room.program, index);
    if (step.kind != StepKind.pool) continue;
    const spreads = tableOf(room, step);
    poolTotals(room, step.state, step.stateAxisY, step.stateAxisX, 0, 0, step.factor64, 0, spreads);
    const variances = room.variances + <usize>step.to * room.slotBytes;
    for (let at: usize = 0; at < <usize>(step.outHeight * step.outWidth) << 3; at += 8)
      store<f64>(variances + at, Math.max(0, load<f64>(variances + at) - load<f64>(spreads + at)));
  }
}

function tableOf(room: Room, step: Step): usize {
  return room.x + room.deviations + (<usize>step.table << 3);
}

function input(room: Room, step: Step, to: usize): void {
  const plane = step.inHeight * step.inWidth;
  for (let p: u32 = 0; p < plane; p++) {
    let sum: f64 = 0;
    for (let c: u32 = 0; c < step.channels; c++) {
      const value = load<f64>(room.x + (<usize>(c * plane + p) << 3));
      sum += value * value;
    }
    store<f64>(to + (<usize>p << 3), step.factor64 * sum);
  }
}

function windowMeans(room: Room, step: Step, from: usize): void {
  const taps = <f64>(step.filterHeight * step.filterWidth);
  for (let row: u32 = 0; row < step.outHeight; row++) {
    for (let column: u32 = 0; column < step.outWidth; column++) {
      let sum: f64 = 0;
      for (let a: u32 = 0; a < step.filterHeight; a++) {
        const line = (row * step.strideHeight + a) * step.inWidth + column * step.strideWidth;
        for (let b: u32 = 0; b < step.filterWidth; b++) sum += load<f64>(from + (<usize>(line + b) << 3));
      }
      store<f64>(room.spareVariance + (<usize>(row * step.outWidth + column) << 3), sum / taps);
    }
  }
}

function linear(room: Room, step: Step, from: usize, to: usize): void {
  const own = room.cut;
  memory.copy(changetype<usize>(own), changetype<usize>(step), offsetof<Step>());
  own.accumulate = 0;
  const result = room.spareVariance;
  if (step.kind == StepKind.conv && step.state != NO_TABLE) {
    const edge = room.x + room.deviations + (<usize>step.state << 3);
    for (let at: usize = 0; at < <usize>(step.inHeight * step.inWidth) << 3; at += 8)
      store<f64>(edge + at, Math.sqrt(load<f64>(from + at)));
  }
  if (step.kind == StepKind.conv) conv64(own, from, result, room.sums);
  else if (step.kind == StepKind.mean) mean64(own, from, result);
  else affineLine(own, from, result, step.inHeight * step.inWidth);
  const table = tableOf(room, step);
  for (let at: usize = 0; at < <usize>(step.outHeight * step.outWidth) << 3; at += 8) {
    const variance = load<f64>(result + at);
    if (step.learns) store<f64>(table + at, Math.sqrt(variance));
    put64(step, to + at, variance);
  }
}

function nonlinear(room: Room, step: Step, from: usize, to: usize): void {
  const table = tableOf(room, step);
  for (let at: usize = 0; at < <usize>(step.outHeight * step.outWidth) << 3; at += 8) {
    const variance = load<f64>(from + at);
    store<f64>(table + at, Math.sqrt(variance));
    put64(step, to + at, bendVariance64(step, variance));
  }
}
