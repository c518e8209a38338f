/** What the interface of `backend.ts` promises, on every backend that there is. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openWasm, upload, wasmConfigurations } from "../../test/wasm.ts";
import type { Backend, Slot } from "./backend.ts";
import { elementwise, ElementwiseOperation } from "./kernels/elementwise.ts";
import { matmul } from "./kernels/matmul.ts";
import { openForTests } from "./webgpu/testing.ts";

const backends: readonly { readonly name: string; readonly open: () => Promise<Backend> }[] = [
  ...wasmConfigurations.map((configuration) => ({
    name: `wasm ${configuration.variant}, ${configuration.threads} threads`,
    open: () => openWasm(configuration),
  })),
  { name: "webgpu", open: () => openForTests() },
];

describe.each(backends)("$name", ({ open }) => {
  let backend: Backend;
  let busy: readonly [Slot, Slot, Slot];
  beforeAll(async () => {
    backend = await open();
    const square = new Float32Array(256 * 256).fill(1);
    busy = [upload(backend, square), upload(backend, square), upload(backend, square)];
  });
  afterAll(() => backend.close());

  /** Appends work that takes milliseconds, so that what is appended next stays in the queue for a while. */
  const occupy = (): void => {
    const params = { m: 256, n: 256, k: 256, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };
    for (let i = 0; i < 4; i++) backend.dispatch(matmul, params, busy);
  };
  const copy = (from: Slot, to: Slot, count: number, plus = 0): void =>
    backend.dispatch(elementwise, { count, operation: ElementwiseOperation.affine, alpha: 1, beta: plus }, [
      from,
      from,
      to,
    ]);
  const floats = async (slot: Slot, count: number): Promise<number[]> => [
    ...new Float32Array(await backend.read(slot, 0, 4 * count)),
  ];

  it("a dispatch sees the bytes that were written before it, and not those written after it", async () => {
    const [x, first, second] = [1, 2, 3].map((value) => upload(backend, new Float32Array(5).fill(value))) as [
      Slot,
      Slot,
      Slot,
    ];
    occupy();
    copy(x, first, 5);
    backend.write(x, 4, Float32Array.of(7, 8));
    copy(x, second, 5);
    expect(await floats(first, 5)).toEqual([1, 1, 1, 1, 1]);
    expect(await floats(second, 5)).toEqual([1, 7, 8, 1, 1]);
    for (const slot of [x, first, second]) backend.free(slot);
  });

  it("a read gives the bytes of its place in the queue, whatever is appended while it waits", async () => {
    const x = upload(backend, Float32Array.of(1, 2, 3));
    occupy();
    copy(x, x, 3, 10);
    const before = floats(x, 3);
    copy(x, x, 3, 100);
    const between = floats(x, 3);
    backend.write(x, 0, Float32Array.of(0, 0, 0));
    occupy();
    copy(x, x, 3, 1);
    expect(await before).toEqual([11, 12, 13]);
    expect(await between).toEqual([111, 112, 113]);
    expect(await floats(x, 3)).toEqual([1, 1, 1]);
    backend.free(x);
  });

  it("memory that is freed while commands use it stays theirs until they have run", async () => {
    const out = backend.allocate(4 * 1000, "out");
    occupy();
    const lent = upload(backend, new Float32Array(1000).fill(5));
    copy(lent, out, 1000);
    backend.free(lent);
    const next = upload(backend, new Float32Array(1000).fill(6));
    expect(new Set(await floats(out, 1000))).toEqual(new Set([5]));
    expect(new Set(await floats(next, 1000))).toEqual(new Set([6]));
    backend.free(next);
    backend.free(out);
  });

  it("runs more commands than any queue holds, in order", async () => {
    const x = upload(backend, Float32Array.of(0, 0));
    const count = 3000;
    for (let i = 0; i < count; i++) copy(x, x, 1, 1);
    expect(await floats(x, 2)).toEqual([count, 0]);
    backend.free(x);
  });

  it("several may wait at once, and each sees what was appended before it waited", async () => {
    const x = upload(backend, Float32Array.of(0));
    const seen: Promise<number[]>[] = [];
    const waits: Promise<void>[] = [];
    for (let i = 1; i <= 40; i++) {
      copy(x, x, 1, 1);
      waits.push(backend.finish());
      if (i % 10 === 0) seen.push(floats(x, 1));
    }
    await Promise.all(waits);
    expect(await Promise.all(seen)).toEqual([[10], [20], [30], [40]]);
    await backend.finish();
    backend.free(x);
  });

  it("empty buffers, dispatches, writes and reads are nothing, and no error", async () => {
    const empty = backend.allocate(0, "nothing");
    backend.write(empty, 0, new Float32Array(0));
    copy(empty, empty, 0);
    expect((await backend.read(empty, 0, 0)).byteLength).toBe(0);
    backend.free(empty);
  });

  it("counts what is allocated, and forgets what is freed", () => {
    const before = backend.stats();
    const slots = [100, 1000, 10_000].map((bytes) => backend.allocate(bytes, "counted"));
    expect(backend.stats().slots).toBe(before.slots + 3);
    expect(backend.stats().bytes).toBeGreaterThanOrEqual(before.bytes + 11_100);
    for (const slot of slots) backend.free(slot);
    expect(backend.stats()).toMatchObject({ slots: before.slots, bytes: before.bytes });
  });
});

describe.each(backends)("closing $name", ({ open }) => {
  it("work that is waited for rejects with E_CLOSED, and so does every later call; close() may come twice", async () => {
    const backend = await open();
    const size = 256;
    const x = upload(backend, new Float32Array(size * size));
    const y = upload(backend, new Float32Array(size * size));
    const params = { m: size, n: size, k: size, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };
    for (let i = 0; i < 30; i++) backend.dispatch(matmul, params, [x, x, y]);
    const waiting = [backend.finish(), backend.read(y, 0, 4)].map(codeOf);
    await Promise.all([backend.close(), backend.close()]);
    expect(await Promise.all(waiting)).toEqual(["E_CLOSED", "E_CLOSED"]);
    const calls = [
      () => backend.allocate(4, "late"),
      () => backend.write(x, 0, Float32Array.of(1)),
      () => backend.dispatch(matmul, params, [x, x, y]),
      () => backend.read(x, 0, 4),
      () => backend.finish(),
    ];
    for (const call of calls) expect(await codeOf((async () => call())())).toBe("E_CLOSED");
    backend.free(x);
    await backend.close();
    expect(backend.stats()).toMatchObject({ slots: 0, bytes: 0 });
  });
});

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => "resolved",
    (error: unknown) => (error as { code?: string }).code ?? error,
  );
}
