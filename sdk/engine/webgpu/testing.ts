/** What the tests of the WebGPU backend share: an adapter that must be there, and float32 buffers in and out. */
import { findDawnAdapter } from "../../platform/adapters.node.ts";
import { explainNoVulkan } from "../../platform/adapters.node.ts";
import type { Slot } from "../backend.ts";
import type { Fields, KernelSchema, ParamsOf } from "../schema.ts";
import { WebGpuBackend, type WebGpuOptions } from "./backend.ts";

/** A backend on any adapter, software too; a machine without one fails the tests, it does not skip them. */
export async function openForTests(options?: WebGpuOptions): Promise<WebGpuBackend> {
  const found = await findDawnAdapter({ software: true });
  if (found === undefined) throw new Error(`no GPU adapter for the tests:\n${(await explainNoVulkan()).join("\n")}`);
  return WebGpuBackend.open(found, options);
}

/**
 * Runs one dispatch: arrays become buffers (a number: a zeroed buffer of so many floats), and the last buffer's floats
 * come back. Everything is freed.
 */
export async function runKernel<F extends Fields>(
  backend: WebGpuBackend,
  kernel: KernelSchema<F>,
  params: ParamsOf<F>,
  inputs: readonly (Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | number)[],
): Promise<Float32Array> {
  const slots = inputs.map((input, index): Slot => {
    const data = typeof input === "number" ? new Float32Array(input) : input;
    const slot = backend.allocate(data.byteLength, kernel.buffers[index]?.name ?? "buffer");
    backend.write(slot, 0, data);
    return slot;
  });
  backend.dispatch(kernel, params, slots);
  const last = slots.at(-1);
  const input = inputs.at(-1);
  const floats = typeof input === "number" ? input : (input?.length ?? 0);
  try {
    return new Float32Array(last === undefined ? new ArrayBuffer(0) : await backend.read(last, 0, 4 * floats));
  } finally {
    for (const slot of slots) backend.free(slot);
  }
}
