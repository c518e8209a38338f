/** Where float64 work runs: on the wasm backend, GPUs have no float64. */
import type { Backend } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";

/** An engine, or its float64 backend. */
export type LinalgTarget = Backend | { cpu(): Promise<Backend>; readonly memoryBytes?: number };

/** The wasm backend of a target. Throws E_CONFIG. */
export async function wasmOf(target: LinalgTarget): Promise<Backend> {
  const backend = "cpu" in target ? await target.cpu() : target;
  if (backend.info.backend === "wasm") return backend;
  throw new WidefieldError("E_CONFIG", `float64 work needs the wasm backend, not ${backend.info.backend}`);
}
