/**
 * The wasm backend's queue, as its threads see it. See `sdk/engine/wasm/layout.ts` for the memory layout, which is
 * declared there and generated into `generated/layout.ts`.
 *
 * Commands stand in a ring in shared memory. Every thread walks the ring in order. Inside a command, threads take
 * pieces of `grain` items by an atomic counter until none is left, then wait for the slowest: that is the barrier
 * that orders commands. A small command therefore costs two atomics and a short spin, not a message.
 */
import {
  CONTROL_PUBLISHED,
  CONTROL_STOP,
  COMMAND_BUFFERS,
  COMMAND_BYTES,
  COMMAND_DONE,
  COMMAND_GRAIN,
  COMMAND_ITEMS,
  COMMAND_NEXT,
  COMMAND_OPCODE,
  COMMAND_PARAMS,
  COMMAND_PASSED,
  FENCE_OPCODE,
  RING_CAPACITY,
  SPINS,
} from "./generated/layout";
import { execute } from "./dispatch";

/** Commands that this thread has passed: a wasm global, so each instance has its own. */
let cursor: i32 = 0;

/**
 * Works until a fence is passed by all threads (returns the count of commands passed, to the last thread only), or
 * until stopped (-1).
 */
export function work(control: usize, ring: usize, threads: i32, scratch: usize): i32 {
  if (!ASC_FEATURE_THREADS) return -1; // the single-threaded build has no ring: its commands are executed directly
  while (awaitCommand(control)) {
    const command = ring + <usize>(cursor & (RING_CAPACITY - 1)) * COMMAND_BYTES;
    const opcode = load<i32>(command + COMMAND_OPCODE);
    cursor++;
    if (opcode == FENCE_OPCODE) {
      if (atomic.add<i32>(command + COMMAND_PASSED, 1) == threads - 1) return cursor;
      continue;
    }
    runShare(command, opcode, scratch);
    awaitOthers(command);
  }
  return -1;
}

function runShare(command: usize, opcode: i32, scratch: usize): void {
  const items = load<i32>(command + COMMAND_ITEMS);
  const grain = load<i32>(command + COMMAND_GRAIN);
  while (true) {
    const begin = atomic.add<i32>(command + COMMAND_NEXT, grain);
    if (begin >= items) return;
    const end = min(begin + grain, items);
    execute(opcode, command + COMMAND_PARAMS, command + COMMAND_BUFFERS, begin, end, scratch);
    const count = end - begin;
    if (atomic.add<i32>(command + COMMAND_DONE, count) + count == items) atomic.notify(command + COMMAND_DONE, -1);
  }
}

function awaitOthers(command: usize): void {
  const items = load<i32>(command + COMMAND_ITEMS);
  let spin = 0;
  while (true) {
    const done = atomic.load<i32>(command + COMMAND_DONE);
    if (done >= items) return;
    if (spin++ > SPINS) atomic.wait<i32>(command + COMMAND_DONE, done, -1);
  }
}

/** False when the engine is closing. */
function awaitCommand(control: usize): bool {
  let spin = 0;
  while (atomic.load<i32>(control + CONTROL_STOP) == 0) {
    const published = atomic.load<i32>(control + CONTROL_PUBLISHED);
    if (published != cursor) return true;
    if (spin++ > SPINS) atomic.wait<i32>(control + CONTROL_PUBLISHED, published, -1);
  }
  return false;
}
