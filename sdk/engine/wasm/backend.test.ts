/** What is wasm's own: its memory, its threads, and what happens when either fails. */
import { describe, expect, it } from "vitest";
import { openWasm, upload, wasmConfigurations } from "../../../test/wasm.ts";
import { runProgram } from "../../../test/runtimes/processes.ts";
import { nodePlatform } from "../../platform/node.ts";
import type { Platform, WorkerHandle } from "../../platform/platform.ts";
import { elementwise, ElementwiseOperation } from "../kernels/elementwise.ts";
import { matmul } from "../kernels/matmul.ts";
import { reduce, ReduceOperation } from "../kernels/reduce.ts";
import { WasmBackend } from "./backend.ts";

const MIB = 2 ** 20;

describe.each(wasmConfigurations)("wasm $variant, $threads threads", (configuration) => {
  it("memory grows to the budget and no further; a refusal names the buffer and the sizes, and leaves things as they were", async () => {
    const backend = await openWasm({ ...configuration, memoryBytes: 100 * MIB });
    const held = [1, 2, 3].map((value) => upload(backend, new Float32Array(5 * MIB).fill(value)));
    const before = backend.stats();
    expect(() => backend.allocate(80 * MIB, "a tile too many")).toThrow(
      expect.objectContaining({
        code: "E_MEMORY",
        message: expect.stringMatching(/a tile too many needs 80\.0 MiB.* 60\.0 MiB .* 100\.0 MiB/) as string,
      }),
    );
    expect(backend.stats()).toEqual(before);
    for (const [index, slot] of held.entries()) {
      const [first] = new Float32Array(await backend.read(slot, 20 * MIB - 4, 4));
      expect(first).toBe(index + 1);
      backend.free(slot);
    }
    const whole = backend.allocate(60 * MIB, "all of it again");
    backend.free(whole);
    await backend.close();
  });

  it("a budget that does not hold the threads' own memory is refused", async () => {
    await expect(openWasm({ ...configuration, memoryBytes: MIB })).rejects.toMatchObject({ code: "E_MEMORY" });
  });

  it("a trap is an E_DEVICE that names the kernel; the process lives on, and the engine closes", async () => {
    const backend = await openWasm(configuration);
    const [from, out] = [upload(backend, new Float32Array(4)), backend.allocate(4, "out")];
    // A row that ends behind the memory's end.
    backend.dispatch(reduce, { rows: 1, columns: 2 ** 30, operation: ReduceOperation.sum }, [from, out]);
    const failure = { code: "E_DEVICE", message: expect.stringContaining("reduce") as string };
    await expect(backend.finish()).rejects.toMatchObject(failure);
    await expect(backend.read(out, 0, 4)).rejects.toMatchObject(failure);
    expect(() => backend.allocate(4, "more")).toThrow(expect.objectContaining(failure));
    await backend.close();
  });
});

describe("wasm on one thread", () => {
  it("lets the event loop turn while it works", async () => {
    const backend = await openWasm({ variant: "single", threads: 1 });
    const size = 512;
    const x = upload(backend, new Float32Array(size * size));
    const y = upload(backend, new Float32Array(size * size));
    const params = { m: size, n: size, k: size, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };
    for (let i = 0; i < 40; i++) backend.dispatch(matmul, params, [x, x, y]);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await backend.finish();
    clearInterval(timer);
    expect(turns).toBeGreaterThan(2);
    await backend.close();
  });
});

describe("wasm threads", () => {
  const count = { operation: ElementwiseOperation.affine, count: 1, alpha: 1, beta: 1 };

  it("fences whose messages overtake each other lose nothing", async () => {
    const backend = await WasmBackend.open(withLateFirstWorker(), {
      threads: 3,
      memoryBytes: 256 * MIB,
      variant: "threads",
    });
    const x = upload(backend, Float32Array.of(0));
    for (let round = 0; round < 20; round++) {
      const waits: Promise<void>[] = [];
      for (let i = 0; i < 25; i++) {
        backend.dispatch(elementwise, count, [x, x, x]);
        waits.push(backend.finish());
      }
      await Promise.all(waits);
      await new Promise((resolve) => setTimeout(resolve, 20)); // until the late ones are there too
      await backend.finish();
    }
    expect(new Float32Array(await backend.read(x, 0, 4))[0]).toBe(500);
    await backend.close();
  });

  it("a thread that cannot start fails open(), and names the reason", async () => {
    const platform: Platform = { ...nodePlatform, compileWasm: async () => WebAssembly.compile(IMPORTS_MORE) };
    const opening = WasmBackend.open(platform, { threads: 2, memoryBytes: 64 * MIB, variant: "threads" });
    await expect(opening).rejects.toMatchObject({
      code: "E_DEVICE",
      message: expect.stringMatching(/could not start.*import/i) as string,
    });
  });

  it("a thread that dies while it works is an E_DEVICE that names the kernel, and no unhandled error", async () => {
    const workers: WorkerHandle[] = [];
    const errors: ((error: Error) => void)[] = [];
    const platform: Platform = {
      ...nodePlatform,
      startWorker: async () => {
        const worker = await nodePlatform.startWorker();
        workers.push(worker);
        return { ...worker, onError: (listener) => errors.push(listener) };
      },
    };
    const backend = await WasmBackend.open(platform, { threads: 2, memoryBytes: 64 * MIB, variant: "threads" });
    await workers[0]?.terminate();
    const x = upload(backend, Float32Array.of(0));
    backend.dispatch(elementwise, count, [x, x, x]);
    const waiting = backend.finish();
    errors[0]?.(new Error("killed"));
    await expect(waiting).rejects.toMatchObject({
      code: "E_DEVICE",
      message: expect.stringMatching(/elementwise.*killed/) as string,
    });
    await backend.close();
  });

  it.each([
    ["forgets close()", ""],
    ["forgets close() after work", "await engine.backend.finish();"],
    ["forgets close() after a trap", "await trap(engine.backend).catch(({ code }) => console.log(code));"],
  ])("a script that %s ends by itself", async (_, work) => {
    const entry = new URL("../../../dist/index.js", import.meta.url).href;
    const script = `
      import { open } from ${JSON.stringify(entry)};
      const engine = await open({ backend: "wasm", threads: 2 });
      const trap = async (backend) => {
        const slot = backend.allocate(16, "x");
        const reduce = { name: "reduce", buffers: [0, 1], params: { propTypes: { rows: U, columns: U, operation: U } },
          split: () => ({ items: 1, grain: 1 }) };
        backend.dispatch(reduce, { rows: 1, columns: 2 ** 30, operation: 0 }, [slot, slot]);
        await backend.finish();
      };
      const U = { type: "u32" };
      ${work}
      console.log("end");`;
    const { code, stdout } = await runProgram(process.execPath, ["--input-type=module", "-e", script], 30_000);
    expect(stdout.trim().split("\n")).toEqual(work.includes("trap") ? ["E_DEVICE", "end"] : ["end"]);
    expect(code).toBe(0);
  });
});

/** (module (import "env" "memory" (memory 1 65536 shared)) (import "env" "more" (func))) */
const IMPORTS_MORE = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x04, 0x01, 0x60, 0x00, 0x00, 0x02, 0x1d, 0x02, 0x03, 0x65,
  0x6e, 0x76, 0x06, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 0x02, 0x03, 0x01, 0x80, 0x80, 0x04, 0x03, 0x65, 0x6e, 0x76,
  0x04, 0x6d, 0x6f, 0x72, 0x65, 0x00, 0x00,
]);

/** Node's platform, but the first worker's messages arrive a little later than they were sent. */
function withLateFirstWorker(): Platform {
  let started = 0;
  return {
    ...nodePlatform,
    startWorker: async () => {
      const late = started++ === 0;
      const worker = await nodePlatform.startWorker();
      if (!late) return worker;
      return {
        ...worker,
        onMessage: (listener) => worker.onMessage((message) => setTimeout(() => listener(message), 5)),
      };
    },
  };
}
