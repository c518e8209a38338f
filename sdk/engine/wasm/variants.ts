/** Which wasm build a runtime takes: relaxed SIMD with threads, SIMD with threads, or SIMD on one thread. */
import type { Platform, WasmVariant } from "../../platform/platform.ts";

/** (module (func (result v128) (f32x4.relaxed_madd (three zero vectors)))): valid where relaxed SIMD is on. */
const RELAXED_PROBE = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, 0x03, 0x02, 0x01, 0x00,
  0x0a, 0x13, 0x01, 0x11, 0x00, 0x41, 0x00, 0xfd, 0x0f, 0x41, 0x00, 0xfd, 0x0f, 0x41, 0x00, 0xfd, 0x0f, 0xfd, 0x85,
  0x02, 0x0b,
]);

export function hasRelaxedSimd(): boolean {
  return WebAssembly.validate(RELAXED_PROBE);
}

export function chooseVariant(platform: Platform): WasmVariant {
  if (!platform.sharedMemory) return "single";
  return hasRelaxedSimd() ? "relaxed" : "threads";
}
