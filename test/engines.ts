/** Engines for tests, on any build of the wasm backend and on WebGPU, and images as they take them. */
import { Engine } from "../sdk/engine/engine.ts";
import type { Backend } from "../sdk/engine/backend.ts";
import type { ImageSet } from "../sdk/arch/image-set.ts";
import type { Shape } from "../sdk/arch/layer.ts";
import { errorOf, worst } from "../sdk/engine/conformance/row.ts";
import { openForTests } from "../sdk/engine/webgpu/testing.ts";
import { openWasm, type WasmConfiguration } from "./wasm.ts";

/** An engine around a backend; `memoryBytes` is what jobs may hold. */
export function engineOf(
  backend: Backend,
  memoryBytes = 2 ** 30,
  log: (line: string) => void = () => undefined,
): Engine {
  return new Engine(backend, { memoryBytes, seed: 0, threads: 2, log });
}

export async function wasmEngine(
  configuration: WasmConfiguration = { variant: "threads", threads: 2 },
  memoryBytes?: number,
): Promise<Engine> {
  return engineOf(await openWasm(configuration), memoryBytes);
}

export async function gpuEngine(): Promise<Engine> {
  return engineOf(await openForTests());
}

/** Images one after the other. */
export function imageSet(images: readonly Float32Array[], shape: Shape): ImageSet {
  const floats = shape.reduce((product, size) => product * size, 1);
  const all = new Float32Array(images.length * floats);
  images.forEach((image, index) => all.set(image, index * floats));
  return { images: all, shape };
}

/** Largest |actual - expected| / |expected|; 0 / 0 is no error, NaN is the worst. */
export function worstRelative(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.NaN;
  return worst(expected.length, (i) => {
    const value = expected[i] ?? Number.NaN;
    return errorOf(actual[i], value, Math.abs(value));
  });
}
