/**
 * The ring around a padded map at offset s: what a convolution's taps see beside it. There at most one of the two
 * images has a pixel, and D is half its variance, sigma^2 of the convolution's input; T is zero.
 *
 *     above: x where sy < 0, y where sy > 0        below: the other one
 *     left:  x where sx < 0, y where sx > 0        right: the other one
 *
 * A corner belongs to the image that both of its sides belong to. A map of 32 x 32 pixels and all its offsets has one
 * pixel of ring for every six of map, so these loops count.
 */
import { Step } from "../covariance/step";
import { LANES_PIXEL_BYTES, LANE_BYTES } from "../covariance/table";
import { firstOfX, firstOfY, ROW_PIXEL_BYTES, Run } from "./run";
import { NO_TABLE } from "./words";

export function surround(
  run: Run, conv: Step, map: usize, unit: usize, rows: i32, columns: i32, sy: i32, sx: i32,
): void {
  const pitch = <usize>(columns + 2) * unit;
  const below = map + <usize>(rows + 1) * pitch;
  if (conv.state == NO_TABLE) {
    memory.fill(map, 0, pitch);
    memory.fill(below, 0, pitch);
    clearSide(map + pitch, unit, pitch, rows);
    clearSide(map + 2 * pitch - unit, unit, pitch, rows);
    return;
  }
  const width = <i32>conv.inWidth;
  const x = run.rowTable + <usize>conv.state * ROW_PIXEL_BYTES;
  const y = run.yTable + <usize>conv.state * LANES_PIXEL_BYTES;
  const firstX = firstOfX(sx);
  const firstY = firstOfY(sx);
  const topX = firstOfX(sy);
  const topY = firstOfY(sy);
  // Above and below: from the first map column that the image has a pixel in, -1 or 0, to the last but one behind it.
  if (sy == 0) {
    memory.fill(map, 0, pitch);
    memory.fill(below, 0, pitch);
  } else {
    const fromX = firstX > 0 ? -1 : 0;
    const endX = firstX + columns < width ? columns + 1 : columns;
    const fromY = firstY > 0 ? -1 : 0;
    const endY = firstY + columns < width ? columns + 1 : columns;
    const rowX = sy < 0 ? topX - 1 : topX + rows;
    const rowY = sy < 0 ? topY + rows : topY - 1;
    const lineX = sy < 0 ? map : below;
    const lineY = sy < 0 ? below : map;
    clearEnds(lineX, unit, pitch);
    clearEnds(lineY, unit, pitch);
    sideOfX(
      lineX + <usize>(fromX + 1) * unit, unit, unit, x + <usize>(rowX * width + firstX + fromX) * ROW_PIXEL_BYTES,
      ROW_PIXEL_BYTES, endX - fromX,
    );
    sideOfY(
      lineY + <usize>(fromY + 1) * unit, unit, unit, y + <usize>(rowY * width + firstY + fromY) * LANES_PIXEL_BYTES,
      LANES_PIXEL_BYTES, endY - fromY,
    );
  }
  const left = map + pitch;
  const right = left + pitch - unit;
  if (sx == 0) {
    clearSide(left, unit, pitch, rows);
    clearSide(right, unit, pitch, rows);
    return;
  }
  const columnX = sx < 0 ? firstX - 1 : firstX + columns;
  const columnY = sx < 0 ? firstY + columns : firstY - 1;
  sideOfX(
    sx < 0 ? left : right, unit, pitch, x + <usize>(topX * width + columnX) * ROW_PIXEL_BYTES,
    <usize>width * ROW_PIXEL_BYTES, rows,
  );
  sideOfY(
    sx < 0 ? right : left, unit, pitch, y + <usize>(topY * width + columnY) * LANES_PIXEL_BYTES,
    <usize>width * LANES_PIXEL_BYTES, rows,
  );
}

/** `count` pixels of ring along one side, from one image's sigmas. */
function sideOfX(to: usize, unit: usize, pitch: usize, x: usize, xPitch: usize, count: i32): void {
  const zero = f32x4.splat(0);
  for (; count; count--) {
    const sigma = v128.load32_splat(x);
    v128.store(to, f32x4.mul(sigma, sigma));
    if (unit == 32) v128.store(to, zero, LANE_BYTES);
    to += pitch;
    x += xPitch;
  }
}

function sideOfY(to: usize, unit: usize, pitch: usize, y: usize, yPitch: usize, count: i32): void {
  const zero = f32x4.splat(0);
  for (; count; count--) {
    const sigma = v128.load(y);
    v128.store(to, f32x4.mul(sigma, sigma));
    if (unit == 32) v128.store(to, zero, LANE_BYTES);
    to += pitch;
    y += yPitch;
  }
}

function clearSide(to: usize, unit: usize, pitch: usize, count: i32): void {
  const zero = f32x4.splat(0);
  for (; count; count--) {
    v128.store(to, zero);
    if (unit == 32) v128.store(to, zero, LANE_BYTES);
    to += pitch;
  }
}

/** The corners of a line of the ring. */
function clearEnds(line: usize, unit: usize, pitch: usize): void {
  clearSide(line, unit, pitch - unit, 2);
}
