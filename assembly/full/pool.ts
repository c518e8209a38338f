/**
 * What goes between the maps of an offset and a pair's state: sums of pools, loads and stores. See the head of
 * `sdk/covariance/offsets.ts` for the order that makes K(x, y) and K(y, x) the same to the bit.
 */
import { Step } from "../covariance/step";
import { LANES_PIXEL_BYTES, LANE_BYTES } from "../covariance/table";
import { firstOfX, firstOfY, magnitude, ROW_PIXEL_BYTES, Run, slotOf, stateAt } from "./run";
import { ABSENT, frontOf, lengthOf, NO_TABLE, NOWHERE, offsetOn, restOf, Side, sideFrontOf, Transfer } from "./words";

/** Floor of a / b, b > 0. */
// @ts-ignore: decorator
@inline
function floorOver(a: i32, b: i32): i32 {
  const q = a / b;
  return q * b > a ? q - 1 : q;
}

/** On which side of base offset 0 the stage is. */
// @ts-ignore: decorator
@inline
function sideOf(run: Run): u32 {
  const sign = run.baseY != 0 ? run.baseY : run.baseX;
  return sign == 0 ? Side.OWN : sign > 0 ? Side.AFTER : Side.BEFORE;
}

/**
 * Adds the map at offset s to the sums of all offsets D that it meets in a window. Pixels that both have their pixel in
 * the windows P and P + D make a block of one, two or more rows and columns, whose sum is taken first: each is added
 * once.
 */
export function poolMap(run: Run, step: Step, from: usize, pitch: usize, sy: i32, sx: i32): void {
  const windowY = <i32>step.filterHeight;
  const windowX = <i32>step.filterWidth;
  const strideY = <i32>step.strideHeight;
  const strideX = <i32>step.strideWidth;
  const side = sideOf(run);
  const rest = <usize>restOf(run.program, step.stateAxisY) * run.unit;
  const lastY = floorOver(sy + windowY - 1, strideY);
  const lastX = floorOver(sx + windowX - 1, strideX);
  for (let dy = -floorOver(windowY - 1 - sy, strideY); dy <= lastY; dy++) {
    const front = sideFrontOf(run.program, step.stateAxisY, dy, side);
    if (front == ABSENT) continue;
    const height = <i32>step.outHeight - magnitude(dy);
    const top = max(0, strideY * dy - sy);
    const rows = min(windowY, windowY + strideY * dy - sy) - top;
    const line = from + <usize>(firstOfX(dy) * strideY + top - firstOfX(sy)) * pitch;
    for (let dx = -floorOver(windowX - 1 - sx, strideX); dx <= lastX; dx++) {
      const frontX = frontOf(run.program, step.stateAxisX, dx);
      if (frontX == ABSENT) continue;
      const width = <i32>step.outWidth - magnitude(dx);
      const left = max(0, strideX * dx - sx);
      const columns = min(windowX, windowX + strideX * dx - sx) - left;
      const to = stateAt(run, step.state, step.stateAxisX, front, height, frontX);
      const source = line + <usize>(firstOfX(dx) * strideX + left - firstOfX(sx)) * run.unit;
      const down = <usize>strideY * pitch;
      if (rest) poolLarge(run.unit, rows, columns, height, width, source, pitch, down, strideX, to, rest);
      else poolBlocks(run.unit, rows, columns, height, width, source, pitch, down, strideX, to);
    }
  }
}

/** Blocks of rows x columns pixels, `height` x `width` of them, one after the other in `to`. */
function poolBlocks(
  unit: usize, rows: i32, columns: i32, height: i32, width: i32, from: usize, pitch: usize, down: usize, stride: i32,
  to: usize,
): void {
  const along = <usize>stride * unit;
  for (let p = 0; p < height; p++) {
    const end = to + <usize>width * unit;
    let at = from;
    if (unit == 32 && columns == 1 && rows == 1) to = smallBlocks(1, 1, at, pitch, along, to, end);
    else if (unit == 32 && columns == 2 && rows == 1) to = smallBlocks(1, 2, at, pitch, along, to, end);
    else if (unit == 32 && columns == 1 && rows == 2) to = smallBlocks(2, 1, at, pitch, along, to, end);
    else if (unit == 32 && columns == 2 && rows == 2) to = smallBlocks(2, 2, at, pitch, along, to, end);
    else {
      for (; to < end; to += unit) {
        for (let part: usize = 0; part < unit; part += 16) {
          const sum = blockSum(at + part, pitch, unit, rows, columns);
          v128.store(to + part, f32x4.add(v128.load(to + part), sum));
        }
        at += along;
      }
    }
    from += down;
  }
}

// @ts-ignore: decorator
@inline
function smallBlocks(rows: i32, columns: i32, from: usize, pitch: usize, along: usize, to: usize, end: usize): usize {
  let at = from;
  let target = to;
  while (target < end) {
    let d = v128.load(at);
    let t = v128.load(at, 16);
    if (columns == 2) {
      d = f32x4.add(d, v128.load(at, 32));
      t = f32x4.add(t, v128.load(at, 48));
    }
    if (rows == 2) {
      const below = at + pitch;
      let d1 = v128.load(below);
      let t1 = v128.load(below, 16);
      if (columns == 2) {
        d1 = f32x4.add(d1, v128.load(below, 32));
        t1 = f32x4.add(t1, v128.load(below, 48));
      }
      d = f32x4.add(d, d1);
      t = f32x4.add(t, t1);
    }
    v128.store(target, f32x4.add(v128.load(target), d));
    v128.store(target, f32x4.add(v128.load(target, 16), t), 16);
    at += along;
    target += 32;
  }
  return target;
}

/** The same for pools whose windows see so many offsets that their sums have rests, `rest` bytes behind them. */
function poolLarge(
  unit: usize, rows: i32, columns: i32, height: i32, width: i32, from: usize, pitch: usize, down: usize, stride: i32,
  to: usize, rest: usize,
): void {
  const along = <usize>stride * unit;
  for (let p = 0; p < height; p++) {
    let at = from;
    for (let q = 0; q < width; q++) {
      for (let part: usize = 0; part < unit; part += 16) {
        const block = blockSum(at + part, pitch, unit, rows, columns);
        const old = v128.load(to + part);
        const sum = f32x4.add(old, block);
        // What is lost of either (Knuth's two-sum); wasm rounds each operation, and reorders none.
        const added = f32x4.sub(sum, old);
        const lost = f32x4.add(f32x4.sub(old, f32x4.sub(sum, added)), f32x4.sub(block, added));
        v128.store(to + part, sum);
        v128.store(to + rest + part, f32x4.add(v128.load(to + rest + part), lost));
      }
      at += along;
      to += unit;
    }
    from += down;
  }
}

/** Rows first, so that a large window's sum is not one long chain of roundings. */
function blockSum(from: usize, pitch: usize, unit: usize, rows: i32, columns: i32): v128 {
  let sum = f32x4.splat(0);
  for (; rows; rows--) {
    let at = from;
    let line = v128.load(at);
    for (let left = columns - 1; left; left--) {
      at += unit;
      line = f32x4.add(line, v128.load(at));
    }
    sum = f32x4.add(sum, line);
    from += pitch;
  }
  return sum;
}

/** Brings a map from the state to its slot, if it is there at this offset. */
export function loadMap(run: Run, transfer: Transfer): void {
  const sy = offsetOn(run.program, transfer.axisY, run.baseY, transfer.ratioY);
  const sx = offsetOn(run.program, transfer.axisX, run.baseX, transfer.ratioX);
  if (sy == NOWHERE || sx == NOWHERE) return;
  const rows = lengthOf(run.program, transfer.axisY) - magnitude(sy);
  const width = lengthOf(run.program, transfer.axisX);
  const columns = width - magnitude(sx);
  const frontX = frontOf(run.program, transfer.axisX, sx);
  const frontY = frontOf(run.program, transfer.axisY, sy);
  const bytes = <usize>(rows * columns) * run.unit;
  const own = stateAt(run, transfer.state, transfer.axisX, frontY, rows, frontX);
  let to = slotOf(run, transfer.slot);
  if (transfer.table == NO_TABLE) {
    memory.copy(to, own, bytes);
    return;
  }
  const factor = f32x4.splat(transfer.factor);
  const half = f32x4.splat(0.5);
  const frontAfter = sideFrontOf(run.program, transfer.axisY, sy, Side.AFTER);
  const frontBefore = sideFrontOf(run.program, transfer.axisY, sy, Side.BEFORE);
  const after = stateAt(run, transfer.state, transfer.axisX, frontAfter, rows, frontX) - own;
  const before = stateAt(run, transfer.state, transfer.axisX, frontBefore, rows, frontX) - own;
  const rest = <usize>restOf(run.program, transfer.axisY) * run.unit;
  let at = own;
  for (let row = 0; row < rows; row++) {
    const pixelX = (row + firstOfX(sy)) * width + firstOfX(sx);
    const pixelY = (row + firstOfY(sy)) * width + firstOfY(sx);
    let x = run.rowTable + <usize>(transfer.table + pixelX) * ROW_PIXEL_BYTES;
    let y = run.yTable + <usize>(transfer.table + pixelY) * LANES_PIXEL_BYTES;
    for (let left = columns; left; left--) {
      for (let part: usize = 0; part < run.unit; part += 16) {
        if (rest) {
          const low = largeMean(transfer, at + part, after, before, rest, x, y, 0, part == 0);
          const high = largeMean(transfer, at + part, after, before, rest, x, y, 8, part == 0);
          v128.store(to + part, v128.shuffle<f64>(low, high, 0, 2));
          continue;
        }
        let sum = v128.load(at + part);
        if (after) {
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

/**
 * Two pairs' means over a large pool's windows, lanes 0 and 1 or, `half` = 8, 2 and 3; a distance's less by half of the
 * two images' spreads. In float64, as the difference is small where images have mean zero; the mean in the two float32
 * that a spread has in the table, so that an image's distance to itself is 0 exactly.
 */
function largeMean(
  transfer: Transfer, at: usize, after: usize, before: usize, rest: usize, x: usize, y: usize, half: usize,
  distance: bool,
): v128 {
  at += half;
  let sum = promoted(at);
  let lost = promoted(at + rest);
  if (after) {
    sum = f64x2.add(f64x2.add(promoted(at + after), promoted(at + before)), sum);
    lost = f64x2.add(f64x2.add(promoted(at + rest + after), promoted(at + rest + before)), lost);
  }
  const mean = f64x2.mul(f64x2.splat(transfer.factor64), f64x2.add(sum, lost));
  const first = f32x4.demote_f64x2_zero(mean);
  if (!distance) return first;
  const leading = f64x2.promote_low_f32x4(first);
  const second = f32x4.demote_f64x2_zero(f64x2.sub(mean, leading));
  const whole = f64x2.add(leading, f64x2.promote_low_f32x4(second));
  const spreadX = f64x2.splat(<f64>load<f32>(x) + <f64>load<f32>(x, 8));
  const spreadY = f64x2.add(promoted(y + half), promoted(y + half + LANE_BYTES));
  const spread = f64x2.mul(f64x2.splat(0.5), f64x2.add(spreadX, spreadY));
  return f32x4.demote_f64x2_zero(f64x2.sub(whole, spread));
}

// @ts-ignore: decorator
@inline
function promoted(at: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(at));
}

/** Takes a map from its slot to the state, if it is there at this offset. */
export function storeMap(run: Run, transfer: Transfer): void {
  const sy = offsetOn(run.program, transfer.axisY, run.baseY, transfer.ratioY);
  const sx = offsetOn(run.program, transfer.axisX, run.baseX, transfer.ratioX);
  if (sy == NOWHERE || sx == NOWHERE) return;
  const rows = lengthOf(run.program, transfer.axisY) - magnitude(sy);
  const columns = lengthOf(run.program, transfer.axisX) - magnitude(sx);
  const frontX = frontOf(run.program, transfer.axisX, sx);
  const at = stateAt(run, transfer.state, transfer.axisX, frontOf(run.program, transfer.axisY, sy), rows, frontX);
  memory.copy(at, slotOf(run, transfer.slot), <usize>(rows * columns) * run.unit);
}
