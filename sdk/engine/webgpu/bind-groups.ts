/**
 * Bind groups that are kept: a training step binds the same buffers each time, and to make a group costs the host more
 * than to encode its dispatch. A group is known by its kernel (whose layout all its pipelines share) and its slots, of which
 * none is ever given to another buffer; it goes with the first of its buffers.
 */
import type { Slot } from "../backend.ts";

/** More are kept by no training step; work that binds ever other buffers starts over here. */
const MOST = 8192;

export class BindGroups {
  readonly #groups = new Map<string, GPUBindGroup>();
  /** Keys of the groups that name a slot. */
  readonly #keys = new Map<Slot, Set<string>>();

  get(kernel: string, slots: readonly Slot[]): GPUBindGroup | undefined {
    return this.#groups.get(keyOf(kernel, slots));
  }

  keep(kernel: string, slots: readonly Slot[], group: GPUBindGroup): void {
    if (this.#groups.size === MOST) {
      this.#groups.clear();
      this.#keys.clear();
    }
    const key = keyOf(kernel, slots);
    this.#groups.set(key, group);
    for (const slot of slots) {
      const keys = this.#keys.get(slot);
      if (keys === undefined) this.#keys.set(slot, new Set([key]));
      else keys.add(key);
    }
  }

  /** Lets go of the groups that name one of these. */
  forget(...slots: readonly Slot[]): void {
    for (const slot of slots) {
      for (const key of this.#keys.get(slot) ?? []) {
        this.#groups.delete(key);
        for (const other of slotsOf(key)) if (other !== slot) this.#keys.get(other)?.delete(key);
      }
      this.#keys.delete(slot);
    }
  }

  get size(): number {
    return this.#groups.size;
  }
}

function keyOf(kernel: string, slots: readonly Slot[]): string {
  return `${kernel} ${slots.join(" ")}`;
}

function slotsOf(key: string): Slot[] {
  return key
    .split(" ")
    .slice(1)
    .map((text) => Number(text) as Slot);
}
