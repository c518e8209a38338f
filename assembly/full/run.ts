/**
 * One run of a full program on a row's image and four columns' images: where everything stands, and how the words of
 * `sdk/covariance/encode-full.ts` are read.
 *
 * A pixel of a map is one vector of four half squared distances D and, where the program carries an NTK, one of four
 * NTKs T behind it, so that one address serves both. Maps of an offset are dense and row-major: (H - |sy|) rows of
 * W - |sx| pixels. A thread's memory, in its scratch or in its slice of the workspace:
 *
 *     Run | constants of each step | state of the four pairs | slots | one map between the passes of a convolution |
 *     two lines | two padded maps | the row's standard deviations, spread out
 */
import { STEP_BYTES } from "../generated/kernels";
import { Step } from "../covariance/step";
import { LANE_BYTES } from "../covariance/table";

/** In an axis: an offset that is not needed. */
export const ABSENT: u32 = 0xffffffff;
/** No table. */
export const NO_TABLE: u32 = 0xffffffff;

export const STAGE_BYTES: usize = 40;
export const TRANSFER_BYTES: usize = 40;
export const CLEAR_BYTES: usize = 8;

/** Bytes of a table pixel of the row's image, spread out for a run: sigma, 2 sigma, 1/s, and room. */
export const ROW_PIXEL_BYTES: usize = 16;

@unmanaged export class Run {
  program: usize;
  stagesAt: usize;
  stages: u32;
  steps: u32;
  ntk: u32;
  outputTable: u32;
  /** Bytes of a pixel of a map: 32 with an NTK, 16 without. */
  unit: usize;
  plans: usize;
  state: usize;
  slots: usize;
  slotBytes: usize;
  sums: usize;
  line: usize;
  /** Two padded maps (`chain.ts`). */
  padded: usize;
  paddedBytes: usize;
  /** The row's image (splats) and its spread-out table; the columns' images and their table (lanes). */
  x: usize;
  xTable: usize;
  y: usize;
  yTable: usize;
  rowTable: usize;
  /** 1: one of the five images has a negative pixel, so that covariances may be negative where inputs decide it. */
  signed: u32;
  /** The offset at which the stage is. */
  baseY: i32;
  baseX: i32;
}

/** Room for a `Run`, and behind it for its three limits. */
export const RUN_BYTES: usize = 192;
const LIMITS: usize = RUN_BYTES - 3 * LANE_BYTES;

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

/**
 * What d may be at most, in units of n, lane by lane, for each `Sign`: 1 where no covariance can be negative, 2 where
 * any can, and one of them for each pair where that depends on the two images having negative pixels.
 */
// @ts-ignore: decorator
@inline
export function limitOf(run: Run, sign: u32): usize {
  return changetype<usize>(run) + LIMITS + <usize>sign * LANE_BYTES;
}

// @ts-ignore: decorator
@inline
export function stepAt(run: Run, index: u32): Step {
  return changetype<Step>(run.program + <usize>index * STEP_BYTES);
}

// @ts-ignore: decorator
@inline
export function stageAt(run: Run, index: u32): Stage {
  return changetype<Stage>(run.stagesAt + <usize>index * STAGE_BYTES);
}

// @ts-ignore: decorator
@inline
export function transferAt(run: Run, at: u32, index: u32): Transfer {
  return changetype<Transfer>(run.program + (<usize>at << 2) + <usize>index * TRANSFER_BYTES);
}

// @ts-ignore: decorator
@inline
export function slotOf(run: Run, slot: u32): usize {
  return run.slots + <usize>slot * run.slotBytes;
}

/** Pixels of a map along an axis, and the lines of all its needed offsets. */
// @ts-ignore: decorator
@inline
export function lengthOf(run: Run, axis: u32): i32 {
  return load<i32>(run.program + (<usize>axis << 2));
}

// @ts-ignore: decorator
@inline
export function linesOf(run: Run, axis: u32): u32 {
  return load<u32>(run.program + (<usize>axis << 2), 4);
}

/** Lines in front of those of an offset, or ABSENT. */
// @ts-ignore: decorator
@inline
export function frontOf(run: Run, axis: u32, offset: i32): u32 {
  const length = lengthOf(run, axis);
  if (offset <= -length || offset >= length) return ABSENT;
  return load<u32>(run.program + (<usize>(<i32>axis + 2 + length - 1 + offset) << 2));
}

/** The places of a pool's sums: from base offset 0, from those after it, from those before it. */
export namespace Side {
  export const OWN: u32 = 0;
  export const AFTER: u32 = 1;
  export const BEFORE: u32 = 2;
}

/** The same of the vertical axis of a pool's sums, with a table for each side; at near offsets they differ. */
// @ts-ignore: decorator
@inline
export function sideFrontOf(run: Run, axis: u32, offset: i32, side: u32): u32 {
  const length = lengthOf(run, axis);
  if (offset <= -length || offset >= length) return ABSENT;
  return load<u32>(run.program + (<usize>(<i32>axis + 2 + (2 * length - 1) * side + length - 1 + offset) << 2));
}

/** The offset of a map with a ratio, on one axis; NOWHERE where the map is not there at this base offset. */
export const NOWHERE: i32 = i32.MIN_VALUE;

// @ts-ignore: decorator
@inline
export function offsetOn(run: Run, axis: u32, base: i32, ratio: i32): i32 {
  let offset = base;
  if (ratio != 1) {
    offset = base / ratio;
    if (offset * ratio != base) return NOWHERE;
  }
  return frontOf(run, axis, offset) == ABSENT ? NOWHERE : offset;
}

/** What a length has lost at an offset, and where the images' pixels of a map's first one stand. */
// @ts-ignore: decorator
@inline
export function magnitude(offset: i32): i32 {
  return offset < 0 ? -offset : offset;
}

// @ts-ignore: decorator
@inline
export function firstOfX(offset: i32): i32 {
  return offset < 0 ? -offset : 0;
}

// @ts-ignore: decorator
@inline
export function firstOfY(offset: i32): i32 {
  return offset < 0 ? 0 : offset;
}

/** The first pixel of an offset of a map in the state, by what stands in front of it on both axes. */
// @ts-ignore: decorator
@inline
export function stateAt(run: Run, state: u32, axisX: u32, frontY: u32, height: i32, frontX: u32): usize {
  return run.state + (<usize>state + frontY * linesOf(run, axisX) + <usize>height * frontX) * run.unit;
}
