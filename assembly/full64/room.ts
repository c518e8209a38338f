/**
 * The memory of one pair (or image) in float64: a thread's slice of the workspace, for as long as a command runs.
 *
 *     | Room | a step cut to an offset | slots: D, T of each | one map more: D, T | V: slots, one map more
 *     | sums between a convolution's two passes, and a line | state: D, T |
 *
 * T stands behind all D of the same kind, and is there only if the program carries the NTK. `full-memory-f64.ts` in
 * sdk/covariance counts the same numbers.
 */
import { STEP_BYTES } from "../generated/kernels";
import { Step } from "../covariance/step";
import { SCRATCH_BEGIN, SCRATCH_BYTES } from "../generated/layout";

@unmanaged export class Room {
  program: usize;
  /** The two images' tables, and where standard deviations begin in them. */
  x: usize;
  y: usize;
  deviations: usize;
  ntk: u32;
  /** First pixels of D: slot 0, the spare map, the state; those of T are so many bytes behind them. */
  maps: usize;
  spare: usize;
  state: usize;
  mapsToT: usize;
  spareToT: usize;
  stateToT: usize;
  slotBytes: usize;
  /** Variances of an image: slot 0, the spare map. */
  variances: usize;
  spareVariance: usize;
  sums: usize;
  /** A step whose maps are as small as an offset leaves them, without bias and addition. */
  cut: Step;
}

/** Bytes in front of the maps. */
const HEAD_BYTES: usize = 320;
const CUT_AT: usize = 128;

/** Lays out the slice of the calling thread. `imageFloats` in front of the standard deviations in a table. */
export function roomOf(
  scratch: usize, workspace: usize, slices: u32, sliceFloats: u32, program: usize, imageFloats: u32, ntk: u32,
  slots: u32, mapPixels: u32, passPixels: u32, statePixels: u32,
): Room {
  const thread = (scratch - SCRATCH_BEGIN) / SCRATCH_BYTES;
  if (thread >= <usize>slices) unreachable(); // two threads would share a slice
  const head = workspace + ((thread * <usize>sliceFloats) << 3);
  const room = changetype<Room>(head);
  const mapBytes = <usize>mapPixels << 3;
  const maps: usize = ntk ? 2 : 1;
  room.program = program;
  room.deviations = <usize>imageFloats << 3;
  room.ntk = ntk;
  room.slotBytes = mapBytes;
  room.maps = head + HEAD_BYTES;
  room.mapsToT = <usize>slots * mapBytes;
  room.spare = room.maps + maps * room.mapsToT;
  room.spareToT = mapBytes;
  room.variances = room.spare + maps * mapBytes;
  room.spareVariance = room.variances + <usize>slots * mapBytes;
  room.sums = room.spareVariance + mapBytes;
  room.state = room.sums + (<usize>passPixels << 3);
  room.stateToT = <usize>statePixels << 3;
  room.cut = changetype<Step>(head + CUT_AT);
  if (room.state + maps * room.stateToT > head + (<usize>sliceFloats << 3)) unreachable(); // a slice too small
  return room;
}

/** `step` for maps of these sizes, as the float64 kernels of diagonal programs run it, into the spare map. */
export function cutTo(room: Room, step: Step, inHeight: u32, inWidth: u32, outHeight: u32, outWidth: u32): Step {
  const cut = room.cut;
  memory.copy(changetype<usize>(cut), changetype<usize>(step), STEP_BYTES);
  cut.inHeight = inHeight;
  cut.inWidth = inWidth;
  cut.outHeight = outHeight;
  cut.outWidth = outWidth;
  cut.bias64 = 0;
  cut.accumulate = 0;
  return cut;
}

/** Pixel of x, in its whole map, at (row, column) of the map of offset (y, x); of y that of the opposite offset. */
// @ts-ignore: decorator
@inline
export function pixelOf(wholeWidth: u32, row: i32, column: i32, y: i32, x: i32): u32 {
  return <u32>(row + max(0, -y)) * wholeWidth + <u32>(column + max(0, -x));
}
