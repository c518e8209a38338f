import { afterEach, describe, expect, it, vi } from "vitest";
import { elementwise, ElementwiseOperation } from "../kernels/elementwise.ts";
import { matmul } from "../kernels/matmul.ts";
import { d, defineKernel } from "../schema.ts";
import type { WebGpuBackend, WebGpuOptions } from "./backend.ts";
import { openForTests } from "./testing.ts";

let backend: WebGpuBackend | undefined;
async function open(options?: WebGpuOptions): Promise<WebGpuBackend> {
  backend = await openForTests(options);
  return backend;
}
afterEach(async () => {
  await backend?.close();
  backend = undefined;
});

const { fill, affine } = ElementwiseOperation;
const square = { m: 4, n: 4, k: 4, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };

describe("the queue", () => {
  it("runs dispatches, writes and reads in the order in which they were appended", async () => {
    const gpu = await open();
    const a = gpu.allocate(16, "a");
    const b = gpu.allocate(16, "b");
    gpu.write(a, 0, Float32Array.of(1, 2, 3, 4));
    gpu.dispatch(elementwise, { count: 4, operation: affine, alpha: 10, beta: 0 }, [a, a, b]);
    gpu.write(a, 4, Float32Array.of(9)); // the dispatch saw the 2
    const early = gpu.read(b, 0, 16);
    gpu.dispatch(elementwise, { count: 4, operation: affine, alpha: 1, beta: 1 }, [a, a, b]);
    expect([...new Float32Array(await early)]).toEqual([10, 20, 30, 40]);
    expect([...new Float32Array(await gpu.read(b, 4, 8))]).toEqual([10, 4]);
  });
  it("takes more dispatches than fit in one submit", async () => {
    const gpu = await open();
    const a = gpu.allocate(4, "a");
    for (let i = 0; i < 600; i++) {
      gpu.dispatch(elementwise, { count: 1, operation: affine, alpha: 1, beta: 1 }, [a, a, a]);
    }
    expect(new Float32Array(await gpu.read(a, 0, 4))[0]).toBe(600);
    expect(gpu.stats().dispatches).toBe(600);
  });
  it("frees a buffer that appended work still uses, after that work", async () => {
    const gpu = await open();
    const a = gpu.allocate(4, "a");
    const b = gpu.allocate(4, "b");
    gpu.dispatch(elementwise, { count: 1, operation: fill, alpha: 3, beta: 0 }, [b, b, a]);
    gpu.dispatch(elementwise, { count: 1, operation: affine, alpha: 2, beta: 0 }, [a, a, b]);
    gpu.free(a);
    expect(new Float32Array(await gpu.read(b, 0, 4))[0]).toBe(6);
    expect(gpu.stats()).toMatchObject({ slots: 1, bytes: 4 });
    gpu.free(b);
    expect(gpu.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });
  it("binds the same buffers once, whatever the params, and anew where one is another", async () => {
    const gpu = await open();
    const bound = vi.spyOn(gpu.device, "createBindGroup");
    const [a, b] = [gpu.allocate(16, "a"), gpu.allocate(16, "b")];
    gpu.write(a, 0, Float32Array.of(1, 2, 3, 4));
    for (let step = 1; step <= 3; step++) {
      gpu.dispatch(elementwise, { count: 4, operation: affine, alpha: step, beta: 0 }, [a, a, b]);
      expect([...new Float32Array(await gpu.read(b, 0, 16))]).toEqual([step, 2 * step, 3 * step, 4 * step]);
    }
    expect(bound).toHaveBeenCalledTimes(1);
    gpu.free(b);
    const c = gpu.allocate(16, "c");
    gpu.dispatch(elementwise, { count: 4, operation: affine, alpha: 5, beta: 0 }, [a, a, c]);
    expect([...new Float32Array(await gpu.read(c, 0, 16))]).toEqual([5, 10, 15, 20]);
    expect(bound).toHaveBeenCalledTimes(2);
    expect(() => gpu.dispatch(elementwise, { count: 4, operation: affine, alpha: 5, beta: 0 }, [a, a, b])).toThrow(
      /not allocated/,
    );
    // In place, it reads a copy that goes with the submit: that binding is not kept.
    for (let step = 1; step <= 2; step++)
      gpu.dispatch(elementwise, { count: 4, operation: affine, alpha: 2, beta: 0 }, [a, a, a]);
    expect([...new Float32Array(await gpu.read(a, 0, 16))]).toEqual([4, 8, 12, 16]);
    expect(bound).toHaveBeenCalledTimes(4);
  });
  it("allows empty buffers, reads and dispatches", async () => {
    const gpu = await open();
    const empty = gpu.allocate(0, "empty");
    gpu.write(empty, 0, new Float32Array(0));
    gpu.dispatch(elementwise, { count: 0, operation: fill, alpha: 1, beta: 0 }, [empty, empty, empty]);
    expect((await gpu.read(empty, 0, 0)).byteLength).toBe(0);
    expect(gpu.stats().dispatches).toBe(0);
  });
  it("refuses bytes outside a buffer, and slots that were freed", async () => {
    const gpu = await open();
    const a = gpu.allocate(8, "weights");
    expect(() => gpu.write(a, 4, new Float32Array(2))).toThrow(/weights: bytes 4 .. 12 of 8/);
    gpu.free(a);
    expect(() => gpu.write(a, 0, new Float32Array(1))).toThrow(/not allocated/);
  });
  it("refuses two outputs in one buffer, naming both", async () => {
    const gpu = await open();
    const twice = defineKernel({
      name: "twice",
      params: { count: d.u32 },
      buffers: [
        { name: "left", access: "write", element: "f32" },
        { name: "right", access: "readwrite", element: "f32" },
      ],
      geometry: () => ({ workgroups: [1, 1, 1], shader: "elementwise" }),
      split: () => ({ items: 1, grain: 1 }),
    });
    const a = gpu.allocate(4, "a");
    expect(() => gpu.dispatch(twice, { count: 1 }, [a, a])).toThrow(/left and right/);
  });
  it("says that a float64 kernel exists on wasm only", async () => {
    const gpu = await open();
    const float64 = defineKernel({
      name: "cholesky",
      params: { n: d.u32 },
      buffers: [],
      split: () => ({ items: 1, grain: 1 }),
    });
    expect(() => gpu.dispatch(float64, { n: 1 }, [])).toThrow(
      expect.objectContaining({ code: "E_CONFIG", message: expect.stringContaining("cholesky") as string }),
    );
  });
});

describe("faults", () => {
  it("an allocation beyond the limit is refused with both numbers", async () => {
    const gpu = await open();
    const bytes = gpu.info.maxBufferBytes + 4;
    expect(() => gpu.allocate(bytes, "kernel matrix")).toThrow(
      expect.objectContaining({
        code: "E_MEMORY",
        message: expect.stringMatching(`kernel matrix: ${bytes} .* ${gpu.info.maxBufferBytes}`) as string,
      }),
    );
  });
  it("a shader that does not compile is reported by finish() with its kernel's name, each time it is used", async () => {
    const gpu = await open({ sources: { matmul: "@compute @workgroup_size(1) fn main() { nonsense(); }" } });
    const [a, b, c] = [gpu.allocate(64, "a"), gpu.allocate(64, "b"), gpu.allocate(64, "c")];
    for (let i = 0; i < 2; i++) {
      gpu.dispatch(matmul, square, [a, b, c]);
      await expect(gpu.finish()).rejects.toMatchObject({
        code: "E_DEVICE",
        message: expect.stringMatching(/matmul.*nonsense/s) as string,
        details: { kernels: ["matmul"] },
      });
    }
    // The rest of the backend still works.
    gpu.dispatch(elementwise, { count: 16, operation: fill, alpha: 5, beta: 0 }, [a, a, b]);
    expect(new Float32Array(await gpu.read(b, 60, 4))[0]).toBe(5);
  });
  it("of several kernels in a submit, only the one at fault is named", async () => {
    const gpu = await open({ sources: { matmul: "@compute @workgroup_size(1025) fn main() {}" } });
    const [a, b] = [gpu.allocate(64, "a"), gpu.allocate(64, "b")];
    gpu.dispatch(elementwise, { count: 16, operation: fill, alpha: 5, beta: 0 }, [a, a, b]);
    gpu.dispatch(matmul, square, [a, a, b]);
    await expect(gpu.read(b, 0, 4)).rejects.toMatchObject({ code: "E_DEVICE", details: { kernels: ["matmul"] } });
    await gpu.finish();
  });
  it("a lost device fails everything at once, and says what it was running", async () => {
    const gpu = await open();
    const a = gpu.allocate(4, "a");
    gpu.dispatch(elementwise, { count: 1, operation: fill, alpha: 1, beta: 0 }, [a, a, a]);
    const reading = gpu.read(a, 0, 4);
    gpu.device.destroy();
    await expect(reading).rejects.toMatchObject({
      code: "E_DEVICE",
      message: expect.stringContaining("while running elementwise") as string,
    });
    await expect(gpu.finish()).rejects.toMatchObject({ code: "E_DEVICE" });
    expect(() => gpu.allocate(4, "b")).toThrow(expect.objectContaining({ code: "E_DEVICE" }));
    expect(() => gpu.write(a, 0, new Float32Array(1))).toThrow(expect.objectContaining({ code: "E_DEVICE" }));
    gpu.free(a);
  });
  it("close() ends a wait and every later call with E_CLOSED, and may be repeated", async () => {
    const gpu = await open();
    const waiting = gpu.finish();
    await gpu.close();
    await gpu.close();
    await waiting.catch((error: unknown) => expect(error).toMatchObject({ code: "E_CLOSED" }));
    await expect(gpu.finish()).rejects.toMatchObject({ code: "E_CLOSED" });
    expect(() => gpu.allocate(4, "a")).toThrow(expect.objectContaining({ code: "E_CLOSED" }));
  });
});
