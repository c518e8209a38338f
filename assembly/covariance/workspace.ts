/**
 * Where a thread has its plans and its maps: in its scratch, or, where they are too large for it, in its slice of a
 * buffer that the command brings along, a slice for every thread. Nothing else differs, so both give the same bits.
 */
import { SCRATCH_BEGIN, SCRATCH_BYTES } from "../generated/layout";

export function memoryOf(scratch: usize, workspace: usize, slices: u32, sliceBytes: usize): usize {
  if (!slices) return scratch;
  const thread = (scratch - SCRATCH_BEGIN) / SCRATCH_BYTES;
  if (thread >= <usize>slices) unreachable(); // two threads would share a slice
  return workspace + thread * sliceBytes;
}
