/**
 * What goes between the maps of an offset and a pair's state: sums of pools, loads and stores. See the head of
 * `sdk/covariance/offsets.ts` for the order that makes K(x, y) and K(y, x) the same to the bit.
 */
import { Step } from "../covariance/step";
import { LANES_PIXEL_BYTES } from "../covariance/table";
import {
  ABSENT, firstOfX, firstOfY, frontOf, lengthOf, linesOf, magnitude, NO_TABLE, NOWHERE, offsetOn, ROW_PIXEL_BYTES, Run,
  slotOf, stateAt, Transfer,
} from "./run";

/** Floor of a / b, b > 0. */
// @ts-ignore: decorator
@inline
function floorOver(a: i32, b: i32): i32 {
  const q = a / b;
  return q * b > a ? q - 1 : q;
}

/** The first of the outputs whose window, of `window` pixels every `stride`, reaches pixel `at`, and the last one. */
// @ts-ignore: decorator
@inline
function firstWindow(at: i32, window: i32, stride: i32): i32 {
  return max(0, -floorOver(window - 1 - at, stride));
}

// @ts-ignore: decorator
@inline
function lastWindow(at: i32, stride: i32, outputs: i32): i32 {
  return min(outputs - 1, at / stride);
}

/**
 * Lines in front of those where the sums of vertical offset D go: horizontal ones (D = 0) stand apart for base offsets
 * after 0 and before it.
 */
// @ts-ignore: decorator
@inline
export function frontOfSums(run: Run, axis: u32, offset: i32): u32 {
  const front = frontOf(run, axis, offset);
  if (offset != 0 || front == ABSENT) return front;
  const sign = run.baseY != 0 ? run.baseY : run.baseX;
  if (sign == 0) return front;
  return linesOf(run, axis) + (sign > 0 ? 0 : <u32>lengthOf(run, axis));
}

/** Adds the map at offset s to the sums of all offsets whose windows meet in it, a row after the other. */
export function poolMap(run: Run, step: Step, from: usize, sy: i32, sx: i32): void {
  const window = <i32>step.filterHeight;
  const stride = <i32>step.strideHeight;
  const outputs = <i32>step.outHeight;
  const pitch = <usize>(<i32>step.inWidth - magnitude(sx)) * run.unit;
  for (let row = 0, rows = <i32>step.inHeight - magnitude(sy); row < rows; row++) {
    const y = row + firstOfX(sy);
    const other = y + sy;
    for (let p = firstWindow(y, window, stride); p <= lastWindow(y, stride, outputs); p++) {
      for (let q = firstWindow(other, window, stride); q <= lastWindow(other, stride, outputs); q++) {
        const front = frontOfSums(run, step.stateAxisY, q - p);
        if (front != ABSENT) poolRow(run, step, from, sx, q - p, p - firstOfX(q - p), front);
      }
    }
    from += pitch;
  }
}

/** One row, into row `row` of the sums of vertical offset `dy`. */
function poolRow(run: Run, step: Step, from: usize, sx: i32, dy: i32, row: i32, front: u32): void {
  const window = <i32>step.filterWidth;
  const stride = <i32>step.strideWidth;
  const unit = run.unit;
  const height = <i32>step.outHeight - magnitude(dy);
  const last = floorOver(sx + window - 1, stride);
  for (let dx = -floorOver(window - 1 - sx, stride); dx <= last; dx++) {
    const frontX = frontOf(run, step.stateAxisX, dx);
    if (frontX == ABSENT) continue;
    // Pixels P stride + [first, end) of x are in the window at P, and theirs of y in the one at P + dx.
    const first = max(0, stride * dx - sx);
    const end = min(window, window + stride * dx - sx);
    const width = <i32>step.outWidth - magnitude(dx);
    let to = stateAt(run, step.state, step.stateAxisX, front, height, frontX) + <usize>(row * width) * unit;
    let source = from + <usize>(firstOfX(dx) * stride + first - firstOfX(sx)) * unit;
    for (let p = 0; p < width; p++) {
      for (let part: usize = 0; part < unit; part += 16) {
        let at = source + part;
        let sum = v128.load(at);
        for (let a = first + 1; a < end; a++) {
          at += unit;
          sum = f32x4.add(sum, v128.load(at));
        }
        v128.store(to + part, f32x4.add(v128.load(to + part), sum));
      }
      to += unit;
      source += <usize>stride * unit;
    }
  }
}

/** Brings a map from the state to its slot, if it is there at this offset. */
export function loadMap(run: Run, transfer: Transfer): void {
  const sy = offsetOn(run, transfer.axisY, run.baseY, transfer.ratioY);
  const sx = offsetOn(run, transfer.axisX, run.baseX, transfer.ratioX);
  if (sy == NOWHERE || sx == NOWHERE) return;
  const rows = lengthOf(run, transfer.axisY) - magnitude(sy);
  const width = lengthOf(run, transfer.axisX);
  const columns = width - magnitude(sx);
  const frontX = frontOf(run, transfer.axisX, sx);
  const frontY = frontOf(run, transfer.axisY, sy);
  const bytes = <usize>(rows * columns) * run.unit;
  const own = stateAt(run, transfer.state, transfer.axisX, frontY, rows, frontX);
  let to = slotOf(run, transfer.slot);
  if (transfer.table == NO_TABLE) {
    memory.copy(to, own, bytes);
    return;
  }
  const factor = f32x4.splat(transfer.factor);
  const half = f32x4.splat(0.5);
  const lines = linesOf(run, transfer.axisY);
  const after = stateAt(run, transfer.state, transfer.axisX, lines, rows, frontX) - own;
  const before = stateAt(run, transfer.state, transfer.axisX, lines + <u32>lengthOf(run, transfer.axisY), rows, frontX) - own;
  let at = own;
  for (let row = 0; row < rows; row++) {
    const pixelX = (row + firstOfX(sy)) * width + firstOfX(sx);
    const pixelY = (row + firstOfY(sy)) * width + firstOfY(sx);
    let x = run.rowTable + <usize>(transfer.table + pixelX) * ROW_PIXEL_BYTES;
    let y = run.yTable + <usize>(transfer.table + pixelY) * LANES_PIXEL_BYTES;
    for (let left = columns; left; left--) {
      for (let part: usize = 0; part < run.unit; part += 16) {
        let sum = v128.load(at + part);
        if (sy == 0) {
          sum = f32x4.add(f32x4.add(v128.load(at + after + part), v128.load(at + before + part)), sum);
        }
        sum = f32x4.mul(factor, sum);
        if (part == 0) {
          sum = f32x4.sub(sum, f32x4.mul(half, f32x4.add(v128.load32_splat(x), v128.load(y))));
        }
        v128.store(to + part, sum);
      }
      at += run.unit;
      to += run.unit;
      x += ROW_PIXEL_BYTES;
      y += LANES_PIXEL_BYTES;
    }
  }
}

/** Takes a map from its slot to the state, if it is there at this offset. */
export function storeMap(run: Run, transfer: Transfer): void {
  const sy = offsetOn(run, transfer.axisY, run.baseY, transfer.ratioY);
  const sx = offsetOn(run, transfer.axisX, run.baseX, transfer.ratioX);
  if (sy == NOWHERE || sx == NOWHERE) return;
  const rows = lengthOf(run, transfer.axisY) - magnitude(sy);
  const columns = lengthOf(run, transfer.axisX) - magnitude(sx);
  const frontX = frontOf(run, transfer.axisX, sx);
  const at = stateAt(run, transfer.state, transfer.axisX, frontOf(run, transfer.axisY, sy), rows, frontX);
  memory.copy(at, slotOf(run, transfer.slot), <usize>(rows * columns) * run.unit);
}
