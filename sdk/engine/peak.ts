/**
 * How many floating-point operations a second the instruction set can do on all of a backend's threads at the same time:
 * what the rates of kernels are shares of. "At the same time" because two cores that a machine offers may be two threads
 * of one, and because a core that works alone may run at a higher clock.
 */
import type { Backend } from "./backend.ts";
import { PEAK_START_BYTES, peakOperations, simdPeak } from "./kernels/simd-peak.ts";

export interface PeakSample {
  readonly operations: number;
  readonly seconds: number;
}

/** About 25 microseconds: short against a sample, so threads end together; long against the taking of an item. */
const TURNS = 8192;

/**
 * Keeps every thread of a wasm backend at nothing but multiply-adds in registers (products and sums where the build has
 * no fused ones) for about so many seconds.
 */
export async function samplePeak(backend: Backend, precision: "f32" | "f64", seconds = 0.02): Promise<PeakSample> {
  const wide = precision === "f64" ? 1 : 0;
  const vectors = wide === 1 ? new Float64Array(PEAK_START_BYTES / 8) : new Float32Array(PEAK_START_BYTES / 4);
  vectors.fill(0.5);
  const start = backend.allocate(PEAK_START_BYTES, "chains of multiply-adds");
  try {
    backend.write(start, 0, vectors);
    const run = async (items: number): Promise<PeakSample> => {
      const out = backend.allocate(16 * items, "sums of chains");
      try {
        const params = { items, turns: TURNS, wide };
        const begun = performance.now();
        backend.dispatch(simdPeak, params, [start, out]);
        await backend.finish();
        return { operations: peakOperations(params), seconds: (performance.now() - begun) / 1000 };
      } finally {
        backend.free(out);
      }
    };
    for (let items = 4 * backend.info.threads; ; items *= 2) {
      const sample = await run(items);
      if (sample.seconds > seconds / 2) return sample;
    }
  } finally {
    backend.free(start);
  }
}

/** The highest rate of some samples, in operations a second: on a machine with other work, some of them are disturbed. */
export async function measurePeak(backend: Backend, precision: "f32" | "f64", samples = 5): Promise<number> {
  let highest = 0;
  for (let index = 0; index < samples; index++) {
    const { operations, seconds } = await samplePeak(backend, precision);
    highest = Math.max(highest, operations / seconds);
  }
  return highest;
}
