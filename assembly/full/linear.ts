/**
 * Linear steps on the maps of one offset: the input, convolutions of any shape, affine steps, the read-out, and what
 * layers with weights add to the NTK. Convolutions sum tap by tap, along the rows first; those that most networks are
 * made of have loops of their own in `block.ts`.
 */
import { Step } from "../covariance/step";
import { LANES_PIXEL_BYTES, LANE_BYTES } from "../covariance/table";
import { gapOf, multiplyAdd, normOf } from "./bend";
import { gainOf, offsetOf, Plan, weightOf } from "./plan";
import { firstOfX, firstOfY, limitOf, magnitude, ROW_PIXEL_BYTES, Run } from "./run";
import { NO_TABLE } from "./words";

/** More channels than this are summed in float64. */
export const FEW_CHANNELS: u32 = 16;

/** D = sum over channels of (x - y)^2 of a pixel, with the step's factor / 2 in it: see `copyImage`. */
// @ts-ignore: decorator
@inline
export function distanceOf(channels: u32, x: usize, y: usize): v128 {
  let h = f32x4.sub(v128.load32_splat(x), v128.load(y));
  let sum = f32x4.mul(h, h);
  for (let c: u32 = 1; c < channels; c++) {
    x += 4;
    y += LANE_BYTES;
    h = f32x4.sub(v128.load32_splat(x), v128.load(y));
    sum = multiplyAdd(h, h, sum);
  }
  return sum;
}

function distanceOfMany(channels: u32, x: usize, y: usize): v128 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (let c: u32 = 0; c < channels; c++) {
    const h = f32x4.sub(v128.load32_splat(x), v128.load(y));
    const square = f32x4.mul(h, h);
    low = f64x2.add(low, f64x2.promote_low_f32x4(square));
    high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<f64>(square, square, 1, 1)));
    x += 4;
    y += LANE_BYTES;
  }
  return v128.shuffle<f64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
}

export function inputMap(run: Run, step: Step, to: usize, sy: i32, sx: i32): void {
  const width = <i32>step.inWidth;
  const rows = <i32>step.inHeight - magnitude(sy);
  const columns = width - magnitude(sx);
  const channels = <usize>step.channels;
  for (let row = 0; row < rows; row++) {
    let x = run.x + ((<usize>((row + firstOfX(sy)) * width + firstOfX(sx)) * channels) << 2);
    let y = run.y + <usize>((row + firstOfY(sy)) * width + firstOfY(sx)) * channels * LANE_BYTES;
    for (let left = columns; left; left--) {
      const few = step.channels <= FEW_CHANNELS;
      v128.store(to, few ? distanceOf(step.channels, x, y) : distanceOfMany(step.channels, x, y));
      if (run.ntk) v128.store(to, f32x4.splat(0), 16);
      x += channels << 2;
      y += channels * LANE_BYTES;
      to += run.unit;
    }
  }
}

/** Outputs [first, end) of a filter's tap lie inside the map. */
// @ts-ignore: decorator
@inline
function firstInside(shift: i32, stride: i32): i32 {
  return shift >= 0 ? 0 : (stride - 1 - shift) / stride;
}

// @ts-ignore: decorator
@inline
function endInside(shift: i32, stride: i32, length: i32, outputs: i32): i32 {
  const last = length - 1 - shift;
  return last < 0 ? 0 : min(outputs, last / stride + 1);
}

/** The box filter, from the map at in offset s * stride to that at s; the weight and what follows is `weighRow`'s. */
export function convMap(run: Run, step: Step, plan: Plan, from: usize, to: usize, sy: i32, sx: i32): void {
  const strideY = <i32>step.strideHeight;
  const strideX = <i32>step.strideWidth;
  const inRows = <i32>step.inHeight - magnitude(sy) * strideY;
  const inColumns = <i32>step.inWidth - magnitude(sx) * strideX;
  const rows = <i32>step.outHeight - magnitude(sy);
  const columns = <i32>step.outWidth - magnitude(sx);
  const unit = run.unit;
  const outPitch = <usize>columns * unit;
  // Along the rows.
  let sums = run.sums;
  for (let row = 0; row < inRows; row++) {
    memory.fill(sums, 0, outPitch);
    for (let tap: u32 = 0; tap < step.filterWidth; tap++) {
      const shift = <i32>(tap * step.dilationWidth) - <i32>step.padLeft;
      const first = firstInside(shift, strideX);
      const count = endInside(shift, strideX, inColumns, columns) - first;
      if (count <= 0) continue;
      addRow(
        sums + <usize>first * unit, from + <usize>(first * strideX + shift) * unit, count, <usize>strideX * unit, unit,
      );
    }
    from += <usize>inColumns * unit;
    sums += outPitch;
  }
  // Down the columns.
  for (let row = 0; row < rows; row++) {
    memory.fill(run.line, 0, outPitch);
    for (let tap: u32 = 0; tap < step.filterHeight; tap++) {
      const source = row * strideY + <i32>(tap * step.dilationHeight) - <i32>step.padTop;
      if (source >= 0 && source < inRows) addRow(run.line, run.sums + <usize>source * outPitch, columns, unit, unit);
    }
    const x = run.rowTable + <usize>pixelOfX(step.table, step.outWidth, row, sy, sx) * ROW_PIXEL_BYTES;
    const y = run.yTable + <usize>pixelOfY(step.table, step.outWidth, row, sy, sx) * LANES_PIXEL_BYTES;
    if (step.state != NO_TABLE && (sy | sx)) addEdges(run, step, row, columns, sy, sx);
    weighRow(run, step, plan, run.line, to, columns, x, y);
    to += outPitch;
  }
}

/**
 * Adds to a row of sums D the taps beside the map of an offset, where one image has a pixel and the other padding:
 * there K = 0, and D is half the pixel's variance, sigma^2 of the convolution's input. The two images' taps are summed
 * apart, so that their total does not depend on which is x.
 */
function addEdges(run: Run, step: Step, row: i32, columns: i32, sy: i32, sx: i32): void {
  const fromY = sy * <i32>step.strideHeight;
  const fromX = sx * <i32>step.strideWidth;
  const height = <i32>step.inHeight;
  const width = <i32>step.inWidth;
  const inRows = height - magnitude(fromY);
  const inColumns = width - magnitude(fromX);
  const top = row * <i32>step.strideHeight - <i32>step.padTop;
  const inside = top >= 0 && top + <i32>((step.filterHeight - 1) * step.dilationHeight) < inRows;
  const reach = <i32>((step.filterWidth - 1) * step.dilationWidth);
  for (let column = 0; column < columns; column++) {
    const left = column * <i32>step.strideWidth - <i32>step.padLeft;
    if (inside && left >= 0 && left + reach < inColumns) continue;
    let mine = f32x4.splat(0);
    let other = f32x4.splat(0);
    for (let a: u32 = 0; a < step.filterHeight; a++) {
      const down = top + <i32>(a * step.dilationHeight);
      for (let b: u32 = 0; b < step.filterWidth; b++) {
        const along = left + <i32>(b * step.dilationWidth);
        if (down >= 0 && along >= 0 && down < inRows && along < inColumns) continue; // in both images
        const downX = down + firstOfX(fromY);
        const alongX = along + firstOfX(fromX);
        if (downX >= 0 && alongX >= 0 && downX < height && alongX < width) {
          const pixel = <usize>step.state + <usize>(downX * width + alongX);
          const sigma = v128.load32_splat(run.rowTable + pixel * ROW_PIXEL_BYTES);
          mine = multiplyAdd(sigma, sigma, mine);
        }
        const downY = down + firstOfY(fromY);
        const alongY = along + firstOfY(fromX);
        if (downY >= 0 && alongY >= 0 && downY < height && alongY < width) {
          const pixel = <usize>step.state + <usize>(downY * width + alongY);
          const sigma = v128.load(run.yTable + pixel * LANES_PIXEL_BYTES);
          other = multiplyAdd(sigma, sigma, other);
        }
      }
    }
    const at = run.line + <usize>column * run.unit;
    v128.store(at, f32x4.add(v128.load(at), f32x4.add(mine, other)));
  }
}

/** The table entry of the first pixel of a map's row, of the image x and of y. */
// @ts-ignore: decorator
@inline
export function pixelOfX(table: u32, width: u32, row: i32, sy: i32, sx: i32): u32 {
  return table + <u32>(row + firstOfX(sy)) * width + <u32>firstOfX(sx);
}

// @ts-ignore: decorator
@inline
export function pixelOfY(table: u32, width: u32, row: i32, sy: i32, sx: i32): u32 {
  return table + <u32>(row + firstOfY(sy)) * width + <u32>firstOfY(sx);
}

/** target += source, whose pixels stand `stride` bytes apart. */
function addRow(target: usize, source: usize, count: i32, stride: usize, unit: usize): void {
  if (unit == 16) {
    for (; count; count--) {
      v128.store(target, f32x4.add(v128.load(target), v128.load(source)));
      target += 16;
      source += stride;
    }
    return;
  }
  for (; count; count--) {
    v128.store(target, f32x4.add(v128.load(target), v128.load(source)));
    v128.store(target, f32x4.add(v128.load(target, 16), v128.load(source, 16)), 16);
    target += 32;
    source += stride;
  }
}

export function affineMap(run: Run, step: Step, plan: Plan, from: usize, to: usize, sy: i32, sx: i32): void {
  const columns = <i32>step.outWidth - magnitude(sx);
  const pitch = <usize>columns * run.unit;
  for (let row = 0, rows = <i32>step.outHeight - magnitude(sy); row < rows; row++) {
    const x = run.rowTable + <usize>pixelOfX(step.table, step.outWidth, row, sy, sx) * ROW_PIXEL_BYTES;
    const y = run.yTable + <usize>pixelOfY(step.table, step.outWidth, row, sy, sx) * LANES_PIXEL_BYTES;
    weighRow(run, step, plan, from, to, columns, x, y);
    from += pitch;
    to += pitch;
  }
}

/** The read-out, at offset 0: the mean over all pixels, summed in float64. */
export function meanMap(run: Run, step: Step, plan: Plan, from: usize, to: usize): void {
  const pixels = step.inHeight * step.inWidth;
  for (let part: usize = 0; part < run.unit; part += 16) {
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    let at = from + part;
    for (let left = pixels; left; left--) {
      const four = v128.load(at);
      low = f64x2.add(low, f64x2.promote_low_f32x4(four));
      high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<f64>(four, four, 1, 1)));
      at += run.unit;
    }
    const sum = v128.shuffle<f64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
    v128.store(run.line + part, sum);
  }
  const x = run.rowTable + <usize>step.table * ROW_PIXEL_BYTES;
  const y = run.yTable + <usize>step.table * LANES_PIXEL_BYTES;
  weighRow(run, step, plan, run.line, to, 1, x, y);
}

/** weight * sums, and what a gradient adds to T, into `to`, or added to it. */
function weighRow(run: Run, step: Step, plan: Plan, from: usize, to: usize, count: i32, x: usize, y: usize): void {
  const weight = v128.load(weightOf(plan));
  const limit = v128.load(limitOf(run, plan.sign));
  for (; count; count--) {
    const distance = f32x4.mul(weight, v128.load(from));
    v128.store(to, step.accumulate ? f32x4.add(v128.load(to), distance) : distance);
    if (run.ntk) {
      let slope = f32x4.mul(weight, v128.load(from, 16));
      if (step.learns) {
        const n = normOf(x, y);
        const k = f32x4.sub(n, gapOf(distance, x, y, f32x4.mul(limit, n)));
        slope = f32x4.add(slope, multiplyAdd(v128.load(gainOf(plan)), k, v128.load(offsetOf(plan))));
      }
      v128.store(to, step.accumulate ? f32x4.add(v128.load(to, 16), slope) : slope, 16);
    }
    from += run.unit;
    to += run.unit;
    x += ROW_PIXEL_BYTES;
    y += LANES_PIXEL_BYTES;
  }
}
