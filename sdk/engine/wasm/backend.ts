/**
 * The wasm backend: kernels on CPU threads over one shared memory.
 *
 * With threads, a dispatch is written into the ring (`layout.ts`) and published; the workers are already spinning or
 * asleep on it. Only a fence, which `finish` and `read` append, costs a message. Without shared memory the same
 * commands wait in a list and run on the calling thread, with a pause for the event loop now and then.
 */
import { messageOf, WidefieldError } from "../../errors.ts";
import type { Platform, WasmVariant, WorkerHandle } from "../../platform/platform.ts";
import type { Backend, BackendInfo, BackendStats, Slot } from "../backend.ts";
import { kernels } from "../kernels/index.ts";
import { encodeParams, paramsBytes, type Fields, type KernelSchema, type ParamsOf } from "../schema.ts";
import { WasmAllocator } from "./allocator.ts";
import { copyCommand, FENCE, writeCommand, type Command } from "./command.ts";
import * as layout from "./layout.ts";
import { startThreads } from "./threads.ts";
import { chooseVariant } from "./variants.ts";

const PAGE = 65536;
const GIBIBYTE = 2 ** 30;
/** Milliseconds that the single-threaded queue works before it lets the event loop breathe. */
const BREATH = 30;

export interface WasmOptions {
  readonly threads: number;
  /** Bytes that the backend's memory may grow to; at most 4 GiB. */
  readonly memoryBytes: number;
  /** For tests and measurements: a build other than the best that the runtime takes. */
  readonly variant?: WasmVariant | undefined;
}

interface Waiter {
  readonly passed: number;
  resolve(): void;
  reject(error: WidefieldError): void;
}

type Execute = (opcode: number, params: number, buffers: number, begin: number, end: number, scratch: number) => void;

const opcodes = new Map(kernels.map((kernel, index) => [kernel.name, index]));

export class WasmBackend implements Backend {
  readonly info: BackendInfo;
  /** Emptied by close(), with the allocator and the instance: an engine that somebody still holds keeps no memory. */
  private memory: WebAssembly.Memory;
  private allocator: WasmAllocator;
  private readonly control: number;
  private readonly ring: number;
  private readonly workers: readonly WorkerHandle[];
  private execute: Execute | undefined;
  private readonly scratch: number;

  /** Commands not yet in the ring (or, without threads, not yet run). */
  private readonly waiting: Command[] = [];
  /** Names of the commands in the ring, for error messages, by position. */
  private readonly names = new Array<string>(layout.RING_CAPACITY).fill("");
  private published = 0;
  private passed = 0;
  /** Commands appended since the last fence: the ring must not fill up without one. */
  private unfenced = 0;
  private waiters: Waiter[] = [];
  private graves: { readonly after: number; readonly address: number }[] = [];
  private failure: WidefieldError | undefined;
  private closed = false;
  private dispatched = 0;
  private allocated = 0;
  private draining: Promise<void> | undefined;

  static async open(platform: Platform, options: WasmOptions): Promise<WasmBackend> {
    const variant = options.variant ?? chooseVariant(platform);
    const module = await platform.compileWasm(variant);
    const shared = variant !== "single";
    const threads = shared ? options.threads : 1;
    const limit = Math.min(options.memoryBytes, 4 * GIBIBYTE - PAGE);
    const fixed = layout.fixedBytes(threads);
    if (limit < fixed + PAGE) {
      throw new WidefieldError(
        "E_MEMORY",
        `a memory of ${options.memoryBytes} bytes is too small for ${threads} threads: at least ${fixed + PAGE} are needed`,
      );
    }
    const memory = reserve(Math.max(Math.ceil(fixed / PAGE) + 1, 64), Math.floor(limit / PAGE), shared);
    const workers = shared ? await Promise.all(Array.from({ length: threads }, () => platform.startWorker())) : [];
    const backend = new WasmBackend(module, memory, workers, { variant, threads, limit });
    try {
      await backend.startWorkers(module);
    } catch (thrown) {
      await backend.close();
      throw thrown;
    }
    return backend;
  }

  private constructor(
    module: WebAssembly.Module,
    memory: WebAssembly.Memory,
    workers: readonly WorkerHandle[],
    { variant, threads, limit }: { variant: WasmVariant; threads: number; limit: number },
  ) {
    this.memory = memory;
    this.workers = workers;
    this.control = layout.CONTROL_BEGIN;
    this.ring = this.control + layout.CONTROL_BYTES;
    this.scratch = layout.SCRATCH_BEGIN;
    this.allocator = new WasmAllocator(memory, layout.fixedBytes(threads), limit);
    if (workers.length === 0) {
      const instance = new WebAssembly.Instance(module, { env: { memory } });
      this.execute = instance.exports["execute"] as Execute;
    }
    this.info = {
      backend: "wasm",
      adapter: variant,
      software: false,
      threads,
      maxBufferBytes: limit - layout.fixedBytes(threads),
      workgroupBytes: 0,
      features: [
        "simd",
        ...(variant === "single" ? [] : ["threads"]),
        ...(variant === "relaxed" ? ["relaxed-simd"] : []),
      ],
    };
  }

  private async startWorkers(module: WebAssembly.Module): Promise<void> {
    this.keepAlive(true);
    const { memory, control, ring } = this;
    const start = { module, memory, control, ring, threads: this.workers.length };
    await startThreads(this.workers, start, {
      passed: (count) => this.onPassed(count),
      failed: (reason) => this.workerFailed(reason),
    });
    this.keepAlive(false);
  }

  allocate(bytes: number, label: string): Slot {
    this.assertUsable();
    const slot = this.allocator.allocate(bytes, label) as Slot;
    this.allocated++;
    return slot;
  }

  free(slot: Slot): void {
    if (this.closed) return;
    if (this.idle()) this.allocator.release(slot);
    else this.graves.push({ after: this.published + this.waiting.length, address: slot });
  }

  write(slot: Slot, byteOffset: number, data: ArrayBufferView): void {
    this.assertUsable();
    if (data.byteLength === 0) return;
    if (this.idle()) {
      this.copyIn(slot + byteOffset, data);
      return;
    }
    // Something that was dispatched before may still read the old bytes: stage the new ones behind it.
    const staging = this.allocate(data.byteLength, "staging for a write");
    this.copyIn(staging, data);
    this.append(copyCommand(slot + byteOffset, staging, data.byteLength));
    this.free(staging);
  }

  async read(slot: Slot, byteOffset: number, bytes: number): Promise<ArrayBuffer> {
    this.assertUsable();
    if (this.idle() || bytes === 0) {
      await this.finish();
      return this.copyOut(slot + byteOffset, bytes);
    }
    // What is appended while the caller waits may change these bytes: the copy is made at its place in the queue.
    const staging = this.allocate(bytes, "staging for a read");
    this.append(copyCommand(staging, slot + byteOffset, bytes));
    try {
      await this.finish();
      return this.copyOut(staging, bytes);
    } finally {
      this.free(staging);
    }
  }

  view(slot: Slot, byteOffset: number, bytes: number): Uint8Array {
    this.assertUsable();
    return new Uint8Array(this.memory.buffer, slot + byteOffset, bytes);
  }

  dispatch<F extends Fields>(kernel: KernelSchema<F>, params: ParamsOf<F>, buffers: readonly Slot[]): void {
    this.assertUsable();
    const opcode = opcodes.get(kernel.name);
    if (opcode === undefined) throw new Error(`kernel ${kernel.name} is not registered`);
    if (buffers.length !== kernel.buffers.length)
      throw new Error(`${kernel.name} takes ${kernel.buffers.length} buffers, got ${buffers.length}`);
    const { items, grain } = kernel.split(params);
    this.dispatched++;
    if (items <= 0) return;
    const bytes = new Uint8Array(paramsBytes(kernel as unknown as KernelSchema));
    encodeParams(kernel, params, new DataView(bytes.buffer));
    this.append({ opcode, name: kernel.name, items, grain: Math.max(1, grain), buffers, params: bytes });
  }

  async finish(): Promise<void> {
    this.assertUsable();
    if (this.execute !== undefined) {
      await (this.draining ??= this.drain(this.execute));
      return;
    }
    if (this.idle()) return;
    if (this.unfenced > 0) this.appendFence();
    this.publishWaiting();
    const target = this.published + this.waiting.length;
    if (this.waiters.length === 0) this.keepAlive(true);
    await new Promise<void>((resolve, reject) => this.waiters.push({ passed: target, resolve, reject }));
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.rejectAll(closedError());
    const control = this.controlWords();
    if (this.workers.length > 0) {
      Atomics.store(control, layout.CONTROL_STOP / 4, 1);
      Atomics.notify(control, layout.CONTROL_PUBLISHED / 4);
    }
    await Promise.all(this.workers.map((worker) => worker.terminate()));
    this.execute = undefined;
    this.memory = new WebAssembly.Memory({ initial: 0, maximum: 0 });
    this.allocator = new WasmAllocator(this.memory, 0, 0);
  }

  stats(): BackendStats {
    const { allocated: allocations, dispatched: dispatches, allocator } = this;
    return { slots: allocator.count, bytes: allocator.bytes, allocations, dispatches, submits: 0 };
  }

  // --- the queue -----------------------------------------------------------------------------------------------

  private idle(): boolean {
    return this.waiting.length === 0 && this.passed === this.published && this.draining === undefined;
  }

  private append(command: Command): void {
    this.waiting.push(command);
    if (this.execute !== undefined) return;
    this.unfenced++;
    if (this.unfenced >= layout.RING_CAPACITY / 4) this.appendFence();
    this.publishWaiting();
  }

  private appendFence(): void {
    this.waiting.push(FENCE);
    this.unfenced = 0;
  }

  /** Moves what fits into the ring. A slot is free again once a fence behind it has been passed by every thread. */
  private publishWaiting(): void {
    let moved = 0;
    for (const command of this.waiting) {
      if (this.published - this.passed >= layout.RING_CAPACITY - 1) break;
      this.publish(command);
      moved++;
    }
    if (moved === 0) return;
    this.waiting.splice(0, moved);
    const control = this.controlWords();
    Atomics.store(control, layout.CONTROL_PUBLISHED / 4, this.published | 0);
    Atomics.notify(control, layout.CONTROL_PUBLISHED / 4);
  }

  private publish(command: Command): void {
    const position = this.published % layout.RING_CAPACITY;
    writeCommand(this.memory, this.ring + position * layout.COMMAND_BYTES, command);
    this.names[position] = command.name;
    this.published++;
  }

  private onPassed(count: number): void {
    // The threads count in 32 bits. Fences may be reported by different threads, whose messages can overtake each other.
    const ahead = (count - (this.passed | 0)) | 0;
    if (ahead <= 0 || this.closed) return;
    this.passed += ahead;
    this.bury();
    this.publishWaiting();
    const ready = this.waiters.filter((waiter) => waiter.passed <= this.passed);
    this.waiters = this.waiters.filter((waiter) => waiter.passed > this.passed);
    if (ready.length > 0 && this.waiters.length === 0) this.keepAlive(false);
    for (const waiter of ready) waiter.resolve();
  }

  /** Only a thread that somebody waits for keeps the process running. */
  private keepAlive(on: boolean): void {
    for (const worker of this.workers) worker.keepAlive(on);
  }

  private bury(): void {
    const done = this.execute === undefined ? this.passed : Number.POSITIVE_INFINITY;
    for (const { after, address } of this.graves) if (after <= done) this.allocator.release(address);
    this.graves = this.graves.filter(({ after }) => after > done);
  }

  /** Runs the waiting commands on this thread. */
  private async drain(execute: Execute): Promise<void> {
    await Promise.resolve();
    let pause = performance.now() + BREATH;
    try {
      for (let command = this.waiting[0]; command !== undefined; command = this.waiting[0]) {
        this.assertUsable();
        writeCommand(this.memory, this.ring, command);
        const [params, buffers] = [this.ring + layout.COMMAND_PARAMS, this.ring + layout.COMMAND_BUFFERS];
        for (let begin = 0; begin < command.items; begin += command.grain) {
          const end = Math.min(begin + command.grain, command.items);
          execute(command.opcode, params, buffers, begin, end, this.scratch);
          if (performance.now() < pause) continue;
          await new Promise((resolve) => setTimeout(resolve, 0));
          this.assertUsable();
          pause = performance.now() + BREATH;
        }
        this.waiting.shift();
      }
    } catch (thrown) {
      this.draining = undefined;
      if (thrown instanceof WidefieldError) throw thrown;
      const failure = new WidefieldError(
        "E_DEVICE",
        `kernel ${this.waiting[0]?.name ?? "?"} failed on wasm: ${messageOf(thrown)}`,
        { cause: thrown },
      );
      this.fail(failure);
      throw failure;
    }
    this.draining = undefined;
    this.bury();
  }

  // --- failures ------------------------------------------------------------------------------------------------

  private fail(error: WidefieldError): void {
    if (this.closed) return;
    this.failure ??= error;
    this.rejectAll(this.failure);
  }

  private workerFailed(reason: string): WidefieldError {
    const running = this.names[this.passed % layout.RING_CAPACITY];
    const suspects = new Set<string>();
    for (let position = this.passed; position < this.published; position++) {
      const name = this.names[position % layout.RING_CAPACITY];
      if (name !== undefined && name !== "fence") suspects.add(name);
    }
    const kernel = suspects.size > 0 ? [...suspects].join(" or ") : running;
    const what = this.published === 0 ? "a wasm thread could not start" : `a wasm thread failed in kernel ${kernel}`;
    const failure = new WidefieldError("E_DEVICE", `${what}: ${reason}`, { details: { kernel } });
    this.fail(failure);
    return failure;
  }

  private rejectAll(error: WidefieldError): void {
    const waiters = this.waiters;
    this.waiters = [];
    if (waiters.length > 0) this.keepAlive(false);
    for (const waiter of waiters) waiter.reject(error);
  }

  private assertUsable(): void {
    if (this.closed) throw closedError();
    if (this.failure !== undefined) throw this.failure;
  }

  // --- memory --------------------------------------------------------------------------------------------------

  private copyIn(address: number, data: ArrayBufferView): void {
    const source = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    new Uint8Array(this.memory.buffer, address, data.byteLength).set(source);
  }

  private copyOut(address: number, bytes: number): ArrayBuffer {
    const copy = new Uint8Array(bytes);
    copy.set(new Uint8Array(this.memory.buffer, address, bytes));
    return copy.buffer;
  }

  private controlWords(): Int32Array {
    return new Int32Array(this.memory.buffer, this.control, layout.CONTROL_BYTES / 4);
  }
}

function closedError(): WidefieldError {
  return new WidefieldError("E_CLOSED", "the engine is closed");
}

/** Reserves address space for `maximum` pages; runtimes that cannot are asked for less. */
function reserve(initial: number, maximum: number, shared: boolean): WebAssembly.Memory {
  for (let pages = maximum; ; pages = Math.max(initial, pages >> 1)) {
    try {
      return new WebAssembly.Memory({ initial, maximum: pages, shared });
    } catch (cause) {
      if (pages > initial) continue;
      throw new WidefieldError("E_MEMORY", `the runtime grants no wasm memory of ${initial * PAGE} bytes`, { cause });
    }
  }
}
