/** Wasm backends for tests: every build that this runtime takes, with as many threads as asked for. */
import { type WasmVariant } from "../sdk/platform/platform.ts";
import type { Backend, Slot } from "../sdk/engine/backend.ts";
export interface WasmConfiguration {
    readonly variant: WasmVariant;
    readonly threads: number;
    /** Default: 1 GiB. */
    readonly memoryBytes?: number;
}
/** Relaxed SIMD is a feature of the runtime, not of the machine: Node 20 lacks it, and its absence is no failure. */
export declare const wasmConfigurations: readonly WasmConfiguration[];
export declare function openWasm({ variant, threads, memoryBytes }: WasmConfiguration): Promise<Backend>;
/** Allocates a slot that holds `data`. */
export declare function upload(backend: Backend, data: ArrayBufferView): Slot;
