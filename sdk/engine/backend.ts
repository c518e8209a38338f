/**
 * The narrow interface behind which both instruction sets stand. A backend is a queue: `dispatch` appends and returns
 * at once, commands run in the order in which they were appended, each sees the writes of all before it, and `read` or
 * `finish` wait. Memory is handed out as opaque slots; only the backend knows what is behind one.
 */
import type { KernelSchema, ParamsOf, Fields } from "./schema.ts";

declare const slotBrand: unique symbol;
/** A piece of a backend's memory, valid until it is freed. */
export type Slot = number & { readonly [slotBrand]: true };

export type BackendName = "wasm" | "webgpu";

export interface BackendInfo {
  readonly backend: BackendName;
  /** The GPU's name, or the wasm build: "threads", "single", "relaxed". */
  readonly adapter: string;
  /** True for a GPU that is emulated on the CPU. */
  readonly software: boolean;
  readonly threads: number;
  /** Largest buffer in bytes. */
  readonly maxBufferBytes: number;
  /** Bytes of memory that a workgroup's lanes share; 0 on wasm. */
  readonly workgroupBytes: number;
  readonly features: readonly string[];
}

export interface Backend {
  readonly info: BackendInfo;
  /**
   * The bytes of a slot themselves, where the calling thread can reach them (wasm); valid until the next `await`. Not
   * ordered with anything: the caller sees to it that no command under way writes what is read here, or touches what is
   * written. For streams of data that would not bear a copy, or waiting for the queue.
   */
  view?(slot: Slot, byteOffset: number, bytes: number): Uint8Array;
  allocate(bytes: number, label: string): Slot;
  free(slot: Slot): void;
  /** Ordered with the dispatches: a dispatch appended before it still sees the old bytes. */
  write(slot: Slot, byteOffset: number, data: ArrayBufferView): void;
  /** Waits for everything appended so far. The result is a copy. */
  read(slot: Slot, byteOffset: number, bytes: number): Promise<ArrayBuffer>;
  dispatch<F extends Fields>(kernel: KernelSchema<F>, params: ParamsOf<F>, buffers: readonly Slot[]): void;
  /** Resolves when everything appended so far has run; rejects with the WidefieldError of the first kernel that failed. */
  finish(): Promise<void>;
  /** Releases everything. Idempotent; pending work is abandoned. */
  close(): Promise<void>;
  /** For leak tests and `engine.stats()`. */
  stats(): BackendStats;
}

export interface BackendStats {
  /** Buffers that are allocated now, and their bytes. */
  readonly slots: number;
  readonly bytes: number;
  /** Since the backend was opened: buffers allocated, those of its own copies too; kernels dispatched; submits to a GPU. */
  readonly allocations: number;
  readonly dispatches: number;
  readonly submits: number;
}
