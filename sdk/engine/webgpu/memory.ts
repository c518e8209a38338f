/**
 * Storage buffers behind slots, the scratch copies of in-place dispatches, and the staging buffers of reads. A buffer
 * that commands not yet submitted may still name is destroyed after the next submit (`sweep`).
 */
import { WidefieldError } from "../../errors.ts";
import type { Slot } from "../backend.ts";
import { BufferUsage } from "./flags.ts";
import type { Faults } from "./faults.ts";

/** Staging buffers are kept for reuse up to this many bytes each: above it a read's own time hides the allocation. */
const KEPT_STAGING_BYTES = 1 << 20;
const KEPT_STAGING_BUFFERS = 4;

export class Memory {
  readonly #device: GPUDevice;
  readonly #faults: Faults;
  readonly #maxBytes: number;
  readonly #buffers = new Map<Slot, { readonly buffer: GPUBuffer; readonly bytes: number }>();
  readonly #condemned: GPUBuffer[] = [];
  readonly #staging: GPUBuffer[] = [];
  readonly #mapped = new Set<GPUBuffer>();
  #next = 1;
  #bytes = 0;
  #created = 0;

  constructor(device: GPUDevice, faults: Faults, maxBytes: number) {
    this.#device = device;
    this.#faults = faults;
    this.#maxBytes = maxBytes;
  }

  get slots(): number {
    return this.#buffers.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws E_MEMORY beyond the device's limit; running out of memory below it is reported by the next finish(). */
  allocate(bytes: number, label: string): Slot {
    if (bytes > this.#maxBytes) {
      throw new WidefieldError(
        "E_MEMORY",
        `${label}: ${bytes} bytes asked for, and a buffer of this GPU holds at most ${this.#maxBytes}: use smaller tiles`,
        { details: { neededBytes: bytes, availableBytes: this.#maxBytes } },
      );
    }
    const buffer = this.#create(bytes, label);
    const slot = this.#next++ as Slot;
    this.#buffers.set(slot, { buffer, bytes });
    this.#bytes += bytes;
    return slot;
  }

  /** `inUse`: commands that are not submitted yet may name it. */
  free(slot: Slot, inUse: boolean): void {
    const { buffer, bytes } = this.#entry(slot);
    this.#buffers.delete(slot);
    this.#bytes -= bytes;
    if (inUse) this.#condemned.push(buffer);
    else buffer.destroy();
  }

  buffer(slot: Slot): GPUBuffer {
    return this.#entry(slot).buffer;
  }

  /** The buffer, after checking that [offset, offset + bytes) lies in it, on words of four bytes. */
  range(slot: Slot, offset: number, bytes: number): GPUBuffer {
    const entry = this.#entry(slot);
    if (offset < 0 || offset + bytes > entry.bytes || offset % 4 !== 0 || bytes % 4 !== 0) {
      throw new Error(`${entry.buffer.label}: bytes ${offset} .. ${offset + bytes} of ${entry.bytes}`);
    }
    return entry.buffer;
  }

  /** A buffer for the commands of this submit only. */
  scratch(bytes: number, label: string): GPUBuffer {
    const buffer = this.#create(bytes, label);
    this.#condemned.push(buffer);
    return buffer;
  }

  takeStaging(bytes: number): GPUBuffer {
    const at = this.#staging.findIndex((buffer) => buffer.size >= bytes);
    const [kept] = at < 0 ? [] : this.#staging.splice(at, 1);
    const size = Math.max(4096, 2 ** Math.ceil(Math.log2(bytes)));
    const buffer =
      kept ??
      this.#faults.scoped("allocating a staging buffer", [], () =>
        this.#device.createBuffer({
          label: "staging",
          size: bytes <= KEPT_STAGING_BYTES ? size : bytes,
          usage: BufferUsage.mapRead | BufferUsage.copyDestination,
        }),
      );
    this.#mapped.add(buffer);
    return buffer;
  }

  returnStaging(buffer: GPUBuffer): void {
    this.#mapped.delete(buffer);
    if (buffer.mapState !== "unmapped") buffer.unmap();
    if (buffer.size <= KEPT_STAGING_BYTES && this.#staging.length < KEPT_STAGING_BUFFERS) this.#staging.push(buffer);
    else buffer.destroy();
  }

  /** Destroys what waited for the submit that has just happened. */
  sweep(): void {
    for (const buffer of this.#condemned.splice(0)) buffer.destroy();
  }

  destroy(): void {
    this.sweep();
    for (const { buffer } of this.#buffers.values()) buffer.destroy();
    for (const buffer of [...this.#staging, ...this.#mapped]) buffer.destroy();
    this.#buffers.clear();
    this.#staging.length = 0;
    this.#bytes = 0;
  }

  /** Buffers made so far, scratch copies and staging too. */
  get created(): number {
    return this.#created;
  }

  #create(bytes: number, label: string): GPUBuffer {
    this.#created++;
    return this.#faults.scoped(`allocating ${bytes} bytes for ${label}`, [], () =>
      this.#device.createBuffer({
        label,
        size: Math.max(4, Math.ceil(bytes / 4) * 4), // a binding needs one element
        usage: BufferUsage.storage | BufferUsage.copySource | BufferUsage.copyDestination,
      }),
    );
  }

  #entry(slot: Slot): { readonly buffer: GPUBuffer; readonly bytes: number } {
    const entry = this.#buffers.get(slot);
    if (entry === undefined) throw new Error(`slot ${slot} is not allocated`);
    return entry;
  }
}
