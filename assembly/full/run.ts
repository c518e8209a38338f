/**
 * One run of a full program (`words.ts`) on a row's image and four columns' images: where everything stands.
 *
 * A pixel of a map is one vector of four half squared distances D and, where the program carries an NTK, one of four
 * NTKs T behind it, so that one address serves both. Maps of an offset are dense and row-major: (H - |sy|) rows of
 * W - |sx| pixels. A thread's memory, in its scratch or in its slice of the workspace:
 *
 *     Run | constants of each step | state of the four pairs | slots | one map between the passes of a convolution |
 *     two lines | two padded maps | the row's standard deviations, spread out
 */
import { LANE_BYTES } from "../covariance/table";
import { linesOf } from "./words";

/** Bytes of a table pixel of the row's image, spread out for a run: sigma, 2 sigma, 1/s, and room. */
export const ROW_PIXEL_BYTES: usize = 16;

@unmanaged export class Run {
  program: usize;
  /** Word of the program. */
  stagesAt: u32;
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
export function slotOf(run: Run, slot: u32): usize {
  return run.slots + <usize>slot * run.slotBytes;
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
  return run.state + (<usize>state + frontY * linesOf(run.program, axisX) + <usize>height * frontX) * run.unit;
}
