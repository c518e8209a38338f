/** Commands of the wasm queue, and how one is written into the memory that the threads read (`layout.ts`). */
import * as layout from "./layout.ts";

export interface Command {
  readonly opcode: number;
  /** The kernel's, for messages. */
  readonly name: string;
  readonly items: number;
  readonly grain: number;
  /** Addresses, in the order of the kernel's schema. */
  readonly buffers: readonly number[];
  readonly params: Uint8Array;
}

/** Each thread passes it when all commands before it have run; the last one reports that. */
export const FENCE: Command = {
  opcode: layout.FENCE_OPCODE,
  name: "fence",
  items: 0,
  grain: 1,
  buffers: [],
  params: new Uint8Array(0),
};

/** Copies bytes inside the memory. */
export function copyCommand(target: number, source: number, bytes: number): Command {
  const params = new Uint8Array(new Uint32Array([target, source, bytes]).buffer);
  return { opcode: layout.COPY_OPCODE, name: "copy", items: 1, grain: 1, buffers: [], params };
}

export function writeCommand(
  memory: WebAssembly.Memory,
  at: number,
  { opcode, items, grain, buffers, params }: Command,
): void {
  const view = new DataView(memory.buffer, at, layout.COMMAND_BYTES);
  view.setInt32(layout.COMMAND_OPCODE, opcode, true);
  view.setInt32(layout.COMMAND_ITEMS, items, true);
  view.setInt32(layout.COMMAND_GRAIN, grain, true);
  view.setInt32(layout.COMMAND_NEXT, 0, true);
  view.setInt32(layout.COMMAND_DONE, 0, true);
  view.setInt32(layout.COMMAND_PASSED, 0, true);
  buffers.forEach((address, index) => view.setUint32(layout.COMMAND_BUFFERS + index * 4, address, true));
  new Uint8Array(memory.buffer, at + layout.COMMAND_PARAMS, params.byteLength).set(params);
}
