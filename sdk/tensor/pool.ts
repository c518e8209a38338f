/**
 * Buffers that tensors come from and go back to. A queue runs its commands in order, so a buffer may be handed out again
 * as soon as the last command that reads it has been appended: nothing waits. After the first step of a loop nearly every
 * buffer that it needs is here, and after the first step that allocates nothing none does: as all buffers come back, the
 * next finds what that one found. (A second or third step may allocate where a small request was served by a larger buffer.)
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";

/** A free buffer serves requests down to this part of its size: a last, smaller batch needs no buffers of its own. */
const LEAST_USE = 0.5;
const WORD = 4;

/** What tensors take their memory from. */
export interface Buffers {
  /** A buffer of at least so many bytes, its contents anything. Throws E_MEMORY. */
  take(bytes: number, label: string): Slot;
  /** Takes a buffer back. Commands appended so far may still use it. */
  give(slot: Slot): void;
  /** Frees the buffers that nobody uses. */
  trim(): void;
  /** Bytes of all buffers, in use and free. */
  readonly bytes: number;
}

export class BufferPool implements Buffers {
  private readonly backend: Backend;
  /** Free buffers by their size in bytes. */
  private readonly free = new Map<number, Slot[]>();
  private readonly bytesOf = new Map<Slot, number>();

  constructor(backend: Backend) {
    this.backend = backend;
  }

  get bytes(): number {
    let total = 0;
    for (const bytes of this.bytesOf.values()) total += bytes;
    return total;
  }

  take(bytes: number, label: string): Slot {
    const wanted = Math.max(WORD, bytes);
    const size = this.free.has(wanted) ? wanted : this.nearest(wanted);
    const slots = size === undefined ? undefined : this.free.get(size);
    const slot = slots?.pop();
    if (size !== undefined && slots?.length === 0) this.free.delete(size);
    return slot ?? this.allocate(wanted, label);
  }

  give(slot: Slot): void {
    const bytes = this.bytesOf.get(slot);
    if (bytes === undefined) throw new Error("the buffer is not of this pool");
    const slots = this.free.get(bytes);
    if (slots === undefined) this.free.set(bytes, [slot]);
    else slots.push(slot);
  }

  trim(): void {
    for (const slots of this.free.values()) {
      for (const slot of slots) {
        this.bytesOf.delete(slot);
        this.backend.free(slot);
      }
    }
    this.free.clear();
  }

  private nearest(wanted: number): number | undefined {
    let best: number | undefined;
    for (const size of this.free.keys()) {
      if (size < wanted || size * LEAST_USE > wanted) continue;
      if (best === undefined || size < best) best = size;
    }
    return best;
  }

  private allocate(bytes: number, label: string): Slot {
    const slot = this.allocateOrTrim(bytes, label);
    this.bytesOf.set(slot, bytes);
    return slot;
  }

  private allocateOrTrim(bytes: number, label: string): Slot {
    try {
      return this.backend.allocate(bytes, label);
    } catch (thrown) {
      if (!(thrown instanceof WidefieldError) || thrown.code !== "E_MEMORY" || this.free.size === 0) throw thrown;
      this.trim();
      return this.backend.allocate(bytes, label);
    }
  }
}
