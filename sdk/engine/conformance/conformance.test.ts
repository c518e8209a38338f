/** The suite on every wasm build, and what it promises about itself. The other runtimes: `test/runtimes/`. */
import { describe, expect, it } from "vitest";
import { openWasm, wasmConfigurations, type WasmConfiguration } from "../../../test/wasm.ts";
import type { Backend } from "../backend.ts";
import { elementwise } from "../kernels/elementwise.ts";
import { kernels } from "../kernels/index.ts";
import { offRows, rows, runConformance } from "./conformance.ts";

describe("the conformance suite", () => {
  it("has one row for every registered kernel, and no other", () => {
    expect(rows.map(({ kernel }) => kernel.name).sort()).toEqual(kernels.map(({ name }) => name).sort());
  });

  it("says what each tolerance is relative to, and why no correct kernel exceeds it", () => {
    for (const { measure, reason } of rows) {
      expect(measure).not.toBe("");
      expect(reason).not.toBe("");
    }
  });

  it("finds a kernel that is off in one place", async () => {
    const backend = await openWasm({ variant: "single", threads: 1 });
    const results = await runConformance(slightlyOff(backend), { kernels: ["elementwise"], rateSeconds: 0 });
    expect(results.map(({ ok }) => ok)).toEqual([false]);
    expect(offRows(results)).toEqual([expect.stringMatching(/^elementwise: error .* in .*100003 elements/)]);
    await backend.close();
  });

  it("finds a kernel that writes beyond its output", async () => {
    const backend = await openWasm({ variant: "single", threads: 1 });
    const [row] = await runConformance(oneTooMany(backend), { kernels: ["elementwise"], rateSeconds: 0 });
    expect(row?.maxError).toBe(Infinity);
    await backend.close();
  });
});

describe("wasm in this runtime", () => {
  const digests = new Map<WasmConfiguration, string>();

  it.each(wasmConfigurations)("every kernel agrees with float64: $variant, $threads threads", async (configuration) => {
    const backend = await openWasm(configuration);
    const results = await runConformance(backend, { rateSeconds: 0.02 });
    expect(offRows(results)).toEqual([]);
    expect(results.map(({ kernel }) => kernel)).toEqual(rows.map(({ kernel }) => kernel.name));
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
    await backend.close();
    digests.set(configuration, results.map(({ kernel, digest }) => `${kernel} ${digest}`).join("\n"));
  });

  it("gives the same bits on one thread and on several, and in the builds with and without threads", () => {
    const plain = [...digests].filter(([{ variant }]) => variant !== "relaxed").map(([, digest]) => digest);
    expect(plain.length).toBeGreaterThan(2);
    expect(new Set(plain).size).toBe(1);
  });
});

/** The backend with another dispatch. */
function withDispatch(backend: Backend, dispatch: Backend["dispatch"]): Backend {
  return {
    info: backend.info,
    allocate: (bytes, label) => backend.allocate(bytes, label),
    free: (slot) => backend.free(slot),
    write: (slot, offset, data) => backend.write(slot, offset, data),
    read: (slot, offset, bytes) => backend.read(slot, offset, bytes),
    finish: () => backend.finish(),
    close: () => backend.close(),
    stats: () => backend.stats(),
    dispatch,
  };
}

/** Long arrays come out with one wrong element. */
function slightlyOff(backend: Backend): Backend {
  return withDispatch(backend, (kernel, params, buffers) => {
    backend.dispatch(kernel, params, buffers);
    const [, , out] = buffers;
    if ((params["count"] ?? 0) < 100_000 || out === undefined) return;
    backend.write(out, 4 * 77_777, Float32Array.of(1e9));
  });
}

/** Works on one element more than it was asked for. */
function oneTooMany(backend: Backend): Backend {
  return withDispatch(backend, (kernel, params, buffers) => {
    if (kernel.name !== elementwise.name) throw new Error("only elementwise");
    backend.dispatch(kernel, { ...params, count: (params["count"] ?? 0) + 1 }, buffers);
  });
}
