/** Wasm backends for tests: every build that this runtime takes, with as many threads as asked for. */
import { installPlatform, type WasmVariant } from "../sdk/platform/platform.ts";
import { nodePlatform } from "../sdk/platform/node.ts";
import { WasmBackend } from "../sdk/engine/wasm/backend.ts";
import { hasRelaxedSimd } from "../sdk/engine/wasm/variants.ts";
import type { Backend, Slot } from "../sdk/engine/backend.ts";

installPlatform(nodePlatform);

export interface WasmConfiguration {
  readonly variant: WasmVariant;
  readonly threads: number;
  /** Default: 1 GiB. */
  readonly memoryBytes?: number;
}

/** Relaxed SIMD is a feature of the runtime, not of the machine: Node 20 lacks it, and its absence is no failure. */
export const wasmConfigurations: readonly WasmConfiguration[] = [
  { variant: "single", threads: 1 },
  { variant: "threads", threads: 1 },
  { variant: "threads", threads: 2 },
  ...(hasRelaxedSimd() ? [{ variant: "relaxed", threads: 2 } as const] : []),
];

export function openWasm({ variant, threads, memoryBytes = 2 ** 30 }: WasmConfiguration): Promise<Backend> {
  return WasmBackend.open(nodePlatform, { variant, threads, memoryBytes });
}

/** Allocates a slot that holds `data`. */
export function upload(backend: Backend, data: ArrayBufferView): Slot {
  const slot = backend.allocate(data.byteLength, "test data");
  backend.write(slot, 0, data);
  return slot;
}
