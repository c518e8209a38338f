/** open() and the engine: options, memory sizes, the float64 backend beside a GPU, close(). */
import { afterEach, describe, expect, it } from "vitest";
import { nodePlatform } from "../platform/node.ts";
import { installPlatform } from "../platform/platform.ts";
import { Engine, open, parseBytes, type OpenOptions } from "./engine.ts";
import { openForTests } from "./webgpu/testing.ts";

installPlatform(nodePlatform);
afterEach(() => installPlatform(nodePlatform));

const settings = { memoryBytes: 2 ** 28, seed: 0, threads: 2, log: () => undefined };

describe("open", () => {
  it.each<[string, OpenOptions, RegExp]>([
    ["threads: 0", { threads: 0 }, /threads must be at least 1/],
    ["threads: 1.5", { threads: 1.5 }, /threads is a whole number/],
    ["threads: NaN", { threads: Number.NaN }, /threads/],
    ["threads: 5000", { threads: 5000 }, /threads must be at most 1024/],
    ["a backend that there is not", { backend: "cuda" as never }, /auto, webgpu, wasm/],
    ["a negative seed", { seed: -1 }, /seed must not be negative/],
    ["a memory that is no size", { memory: "lots" }, /"lots" is not an amount of memory/],
    ["no memory", { memory: 0 }, /"0" is not an amount of memory/],
    ["an empty adapter name", { adapter: "" }, /adapter is part of a GPU's name/],
    ["two faults at once", { threads: 0, seed: -1 }, /threads must be at least 1.*seed must not be negative/],
  ])("refuses %s", async (_, options, message) => {
    await expect(open(options)).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses a memory that does not hold the threads' own", async () => {
    await expect(open({ backend: "wasm", memory: "2MB", threads: 2 })).rejects.toMatchObject({ code: "E_MEMORY" });
  });

  it("takes a software adapter only by name, and wasm where there is no other", async () => {
    const gpu = await open({ adapter: "SwiftShader" });
    expect(gpu.info).toMatchObject({ backend: "webgpu", software: true });
    await gpu.close();
    const automatic = await open({ threads: 2 });
    expect(automatic.info).toMatchObject({ backend: "wasm", threads: 2, software: false });
    await automatic.close();
    await expect(open({ backend: "webgpu" })).rejects.toMatchObject({ code: "E_NO_ADAPTER" });
  });

  it("keeps what it was asked for", async () => {
    await using engine = await open({ backend: "wasm", threads: 3, memory: "0.5 GiB", seed: 7 });
    expect(engine).toMatchObject({ memoryBytes: 2 ** 29, seed: 7, threads: 3 });
    expect(engine.info.maxBufferBytes).toBeLessThanOrEqual(2 ** 29);
    expect(await engine.stats()).toEqual({ buffers: 0, bytes: 0, allocations: 0, dispatches: 0, submits: 0 });
  });
});

describe("parseBytes", () => {
  it.each([
    ["1", 1],
    [12345, 12345],
    ["512MB", 2 ** 29],
    ["1.5 GiB", 1.5 * 2 ** 30],
    ["2g", 2 ** 31],
    [" 3 kb ", 3072],
    ["1T", 2 ** 40],
  ])("%s is %d bytes", (text, bytes) => expect(parseBytes(text)).toBe(bytes));

  it.each(["", "MB", "-1GB", "1 GB extra", "1e9", "0", "0.0001k", "infinity", Number.NaN, -5])(
    "%s is refused",
    (text) => {
      expect(() => parseBytes(text)).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
    },
  );
});

describe("an engine on a GPU", () => {
  it("opens wasm beside it once, when float64 is first asked for, counts both, and closes both", async () => {
    const engine = new Engine(await openForTests(), settings);
    const cpu = await engine.cpu();
    expect(await engine.cpu()).toBe(cpu);
    expect(cpu.info).toMatchObject({ backend: "wasm", threads: 2 });
    cpu.allocate(64, "on wasm");
    engine.backend.allocate(64, "on the GPU");
    expect(await engine.stats()).toMatchObject({ buffers: 2, bytes: 128 });
    await Promise.all([engine.close(), engine.close()]);
    await expect(engine.cpu()).rejects.toMatchObject({ code: "E_CLOSED" });
    await expect(cpu.finish()).rejects.toMatchObject({ code: "E_CLOSED" });
    await expect(engine.backend.finish()).rejects.toMatchObject({ code: "E_CLOSED" });
  });

  it("can be asked again, counted and closed when wasm did not open", async () => {
    const engine = new Engine(await openForTests(), settings);
    installPlatform({ ...nodePlatform, compileWasm: () => Promise.reject(new Error("no such build")) });
    await expect(engine.cpu()).rejects.toThrow("no such build");
    expect(await engine.stats()).toMatchObject({ buffers: 0 });
    installPlatform(nodePlatform);
    expect((await engine.cpu()).info.backend).toBe("wasm");
    await engine.close();
  });
});
