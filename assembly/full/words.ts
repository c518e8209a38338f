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

/** Offset of a map that is not there at a base offset. */
export const NOWHERE: i32 = i32.MIN_VALUE;

/** The places of a pool's sums at near offsets: from base offset 0, from those after it, from those before it. */
export namespace Side {
  export const OWN: u32 = 0;
  export const AFTER: u32 = 1;
  export const BEFORE: u32 = 2;
}

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
  return changetype<Stage>(program + (<usize>stagesAt << 2) + <usize>index * offsetof<Stage>());
}

// @ts-ignore: decorator
@inline
export function transferAt(program: usize, transfersAt: u32, index: u32): Transfer {
  return changetype<Transfer>(program + (<usize>transfersAt << 2) + <usize>index * offsetof<Transfer>());
}

// @ts-ignore: decorator
@inline
export function clearAt(program: usize, clearsAt: u32, index: u32): Clear {
  return changetype<Clear>(program + (<usize>clearsAt << 2) + <usize>index * offsetof<Clear>());
}

/** Base offset `index` of a stage. */
// @ts-ignore: decorator
@inline
export function baseYOf(program: usize, stage: Stage, index: u32): i32 {
  return <i32>(wordAt(program, stage.offsetsAt + index) << 16) >> 16;
}

// @ts-ignore: decorator
@inline
export function baseXOf(program: usize, stage: Stage, index: u32): i32 {
  return <i32>wordAt(program, stage.offsetsAt + index) >> 16;
}

/** Pixels of a map along an axis, and the lines of all its needed offsets. */
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

/** Lines in front of those of an offset, or ABSENT. */
// @ts-ignore: decorator
@inline
export function frontOf(program: usize, axis: u32, offset: i32): u32 {
  const length = lengthOf(program, axis);
  if (offset <= -length || offset >= length) return ABSENT;
  return wordAt(program, axis + 2 + <u32>(length - 1 + offset));
}

/** The same of the vertical axis of a pool's sums, with a table for each side; at near offsets they differ. */
// @ts-ignore: decorator
@inline
export function sideFrontOf(program: usize, axis: u32, offset: i32, side: u32): u32 {
  const length = lengthOf(program, axis);
  if (offset <= -length || offset >= length) return ABSENT;
  return wordAt(program, axis + 2 + <u32>(2 * length - 1) * side + <u32>(length - 1 + offset));
}

/** Pixels from each of a pool's sums to its rest, by the vertical axis of its state; 0: there are none. */
// @ts-ignore: decorator
@inline
export function restOf(program: usize, axis: u32): u32 {
  return wordAt(program, axis + 2 + 3 * <u32>(2 * lengthOf(program, axis) - 1));
}

/** The offset of a map at a base offset, on one axis, or NOWHERE. */
// @ts-ignore: decorator
@inline
export function offsetOn(program: usize, axis: u32, base: i32, ratio: i32): i32 {
  let offset = base;
  if (ratio != 1) {
    offset = base / ratio;
    if (offset * ratio != base) return NOWHERE;
  }
  return frontOf(program, axis, offset) == ABSENT ? NOWHERE : offset;
}
