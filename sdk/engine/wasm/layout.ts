/**
 * Where things stand in the wasm backend's shared memory. The build writes these numbers to
 * `assembly/generated/layout.ts`, so they are declared here only.
 *
 *     [0, 1024)            unused: address 0 stays invalid
 *     static data          AssemblyScript's constants, up to __heap_base
 *     control block        64 bytes, one cache line
 *     command ring         RING_CAPACITY * COMMAND_BYTES
 *     scratch              SCRATCH_BYTES a thread
 *     buffers              the rest, handed out by `allocator.ts`
 */

/** Commands published so far, and the stop flag. */
export const CONTROL_PUBLISHED = 0;
export const CONTROL_STOP = 4;
export const CONTROL_BYTES = 64;

/** One command: its counters and buffers in the first two cache lines, its params struct behind them. */
export const COMMAND_OPCODE = 0;
export const COMMAND_ITEMS = 4;
export const COMMAND_GRAIN = 8;
export const COMMAND_NEXT = 12;
export const COMMAND_DONE = 16;
export const COMMAND_PASSED = 20;
export const COMMAND_BUFFERS = 32;
export const COMMAND_PARAMS = 64;
export const COMMAND_BYTES = 192;

/** A power of two. */
export const RING_CAPACITY = 1024;
/** Opcodes that are not kernels: a fence that threads report, and a copy inside the memory (params: target, source, bytes). */
export const FENCE_OPCODE = -1;
export const COPY_OPCODE = -2;

/** Turns of a waiting loop before a thread sleeps: about 20 microseconds, more than a barrier between small commands. */
export const SPINS = 4000;

/** Packing buffers of the matrix kernels and the maps of one covariance program. */
export const SCRATCH_BYTES = 4 * 1024 * 1024;

/** The first byte behind unused memory and static data, which end below one page: the build has a few constants and no heap. */
export const CONTROL_BEGIN = 65536;

/** The first thread's scratch; the others' follow. */
export const SCRATCH_BEGIN = CONTROL_BEGIN + CONTROL_BYTES + RING_CAPACITY * COMMAND_BYTES;

/** Bytes in front of the buffers: a page of static data, the queue, and every thread's scratch. */
export function fixedBytes(threads: number): number {
  return SCRATCH_BEGIN + threads * SCRATCH_BYTES;
}
