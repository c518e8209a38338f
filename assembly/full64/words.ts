/**
 * The words of a full program behind its steps, read in place: stages, transfers, and the axes that say which offsets
 * of a map are needed and where they stand. The layout is declared in `sdk/covariance/encode-full.ts`.
 */
import { STEP_BYTES } from "../generated/kernels";
import { Step } from "../covariance/step";

/** Front of an offset that is not needed. */
export const ABSENT: u32 = 0xffffffff;
/** Table of a transfer that has none. */
export const NO_TABLE: u32 = 0xffffffff;

export const STAGE_BYTES: usize = 40;
export const TRANSFER_BYTES: usize = 40;
export const CLEAR_BYTES: usize = 8;

/** Addresses are word indices into the program. */
@unmanaged export class Stage {
  begin: u32;
  end: u32;
  offsetsAt: u32;
  offsets: u32;
  loadsAt: u32;
  loads: u32;
  storesAt: u32;
  stores: u32;
  clearsAt: u32;
  clears: u32;
}

@unmanaged export class Transfer {
  slot: u32;
  state: u32;
  axisY: u32;
  axisX: u32;
  ratioY: i32;
  ratioX: i32;
  factor: f32;
  table: u32;
  factor64: f64;
}

@unmanaged export class Clear {
  state: u32;
  pixels: u32;
}

// @ts-ignore: decorator
@inline
export function wordAt(program: usize, index: u32): u32 {
  return load<u32>(program + (<usize>index << 2));
}

// @ts-ignore: decorator
@inline
export function stepAt(program: usize, index: u32): Step {
  return changetype<Step>(program + <usize>index * STEP_BYTES);
}

// @ts-ignore: decorator
@inline
export function stageAt(program: usize, stagesAt: u32, index: u32): Stage {
  return changetype<Stage>(program + (<usize>stagesAt << 2) + <usize>index * STAGE_BYTES);
}

/** Base offset `index` of a stage. */
// @ts-ignore: decorator
@inline
export function offsetY(program: usize, stage: Stage, index: u32): i32 {
  return <i32>(wordAt(program, stage.offsetsAt + index) << 16) >> 16;
}

// @ts-ignore: decorator
@inline
export function offsetX(program: usize, stage: Stage, index: u32): i32 {
  return <i32>wordAt(program, stage.offsetsAt + index) >> 16;
}

/** Length of an axis, and its lines over all offsets. */
// @ts-ignore: decorator
@inline
export function lengthOf(program: usize, axis: u32): i32 {
  return <i32>wordAt(program, axis);
}

// @ts-ignore: decorator
@inline
export function linesOf(program: usize, axis: u32): u32 {
  return wordAt(program, axis + 1);
}

/** Lines in front of those of offset s, or ABSENT. */
export function frontOf(program: usize, axis: u32, s: i32): u32 {
  const length = lengthOf(program, axis);
  if (abs(s) >= length) return ABSENT;
  return wordAt(program, axis + 2 + <u32>(length - 1 + s));
}

/** The same of an axis of a pool's sums, of which there is one more such table for each side of base offset 0. */
export function sideFrontOf(program: usize, axis: u32, s: i32, side: u32): u32 {
  const length = lengthOf(program, axis);
  return wordAt(program, axis + 2 + side * <u32>(2 * length - 1) + <u32>(length - 1 + s));
}

/** Whether a map with these axes is wanted at a base offset: there, it has offset base / ratio. */
export function isNeeded(
  program: usize, axisY: u32, axisX: u32, ratioY: i32, ratioX: i32, baseY: i32, baseX: i32,
): bool {
  if (baseY % ratioY != 0 || baseX % ratioX != 0) return false;
  return frontOf(program, axisY, baseY / ratioY) != ABSENT && frontOf(program, axisX, baseX / ratioX) != ABSENT;
}
