/**
 * Where a thread's maps stand: in its scratch, or, where they are too large for it, in its slice of a buffer that the
 * command brings along, a slice for every thread. Nothing else differs, so both give the same bits.
 */
import { SCRATCH_BEGIN, SCRATCH_BYTES } from "../generated/layout";

/** `behind` is the first free byte of the thread's scratch. */
export function mapsOf(behind: usize, scratch: usize, workspace: usize, slices: u32, sliceBytes: usize): usize {
  if (!slices) return (behind + 63) & ~63;
  const thread = (scratch - SCRATCH_BEGIN) / SCRATCH_BYTES;
  if (thread >= <usize>slices) unreachable(); // two threads would share a slice
  return workspace + thread * sliceBytes;
}
