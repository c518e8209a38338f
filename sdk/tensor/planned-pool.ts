/**
 * Memory of a computation that is the same each time but for the size of its batch. It is run once on a backend that does
 * nothing, which tells what it takes and gives back, in which order, and how much of that grows with the batch. Then few
 * buffers serve all that it takes, and how large they are for any batch is known before anything is allocated.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import type { Engine } from "../engine/engine.ts";
import { Device } from "./device.ts";
import type { Buffers } from "./pool.ts";

/** No buffer is smaller. */
const WORD = 4;

/** A buffer that is taken, by its number in the order of takes, or given back. */
type Event = { readonly take: number } | { readonly give: number };

/** What a computation takes and gives back for a batch of so many examples. */
interface Trace {
  readonly events: readonly Event[];
  /** Of each buffer taken. */
  readonly bytes: readonly number[];
}

/** Which of few buffers each take is served from. */
export interface BufferPlan {
  /** Sizes in bytes. */
  readonly buffers: readonly number[];
  /** By the take's number. */
  readonly bufferOf: readonly number[];
}

/** Plans for any batch, from what two small ones take: every size is a constant plus a multiple of the batch. */
export class MemoryPlans {
  private readonly one: Trace;
  private readonly two: Trace;

  /** `work` runs the computation for `batch` examples on a device whose backend does nothing. */
  constructor(engine: Engine, work: (device: Device, batch: number) => void) {
    this.one = trace(engine, (device) => work(device, 1));
    this.two = trace(engine, (device) => work(device, 2));
    if (this.one.bytes.length !== this.two.bytes.length)
      throw new Error("what a computation takes depends on the batch");
  }

  plan(batch: number): BufferPlan {
    const { events, bytes } = this.one;
    const sizes = bytes.map((size, take) => size + (batch - 1) * ((this.two.bytes[take] ?? size) - size));
    return planBuffers({ events, bytes: sizes });
  }
}

/**
 * Takes share buffers once what they were is given back. Each gets the smallest free buffer that holds it, else the
 * largest free one, which grows.
 */
function planBuffers({ events, bytes }: Trace): BufferPlan {
  const buffers: number[] = [];
  const bufferOf: number[] = [];
  const free = new Set<number>();
  for (const event of events) {
    if ("give" in event) {
      free.add(bufferOf[event.give] ?? 0);
      continue;
    }
    const wanted = bytes[event.take] ?? 0;
    const sizes = [...free].map((buffer) => ({ buffer, size: buffers[buffer] ?? 0 }));
    const fitting = sizes.filter(({ size }) => size >= wanted).sort((a, b) => a.size - b.size)[0];
    const chosen = fitting ?? sizes.sort((a, b) => b.size - a.size)[0] ?? { buffer: buffers.length, size: 0 };
    free.delete(chosen.buffer);
    buffers[chosen.buffer] = Math.max(chosen.size, wanted);
    bufferOf[event.take] = chosen.buffer;
  }
  return { buffers, bufferOf };
}

function trace(engine: Engine, work: (device: Device) => void): Trace {
  const pool = new TracingPool();
  work(idleDevice(engine, pool));
  return { events: pool.events, bytes: pool.taken };
}

/** Hands out numbers and writes down what is asked of it. */
export class TracingPool implements Buffers {
  readonly events: Event[] = [];
  /** Bytes of each take. */
  readonly taken: number[] = [];

  take(bytes: number): Slot {
    this.events.push({ take: this.taken.length });
    return (this.taken.push(Math.max(WORD, bytes)) - 1) as Slot;
  }

  give(slot: Slot): void {
    this.events.push({ give: slot });
  }

  trim(): void {
    // There is nothing to free,
  }

  get bytes(): number {
    return 0; // and nothing is held.
  }
}

/** Serves takes as planned, from buffers that it keeps. */
export class PlannedPool implements Buffers {
  private readonly backend: Backend;
  private plan: BufferPlan = { buffers: [], bufferOf: [] };
  private slots: readonly Slot[] = [];
  private takes = 0;

  constructor(backend: Backend) {
    this.backend = backend;
  }

  /** Buffers for a plan; those of the one before go first, as there may be no memory for both. */
  reserve(plan: BufferPlan): void {
    this.trim();
    const slots: Slot[] = [];
    this.slots = slots;
    this.plan = plan;
    for (const bytes of plan.buffers) slots.push(this.backend.allocate(bytes, "activations"));
  }

  /** To be called before each run of the computation. */
  rewind(): void {
    this.takes = 0;
  }

  take(bytes: number): Slot {
    const buffer = this.plan.bufferOf[this.takes++] ?? -1;
    const slot = this.slots[buffer];
    if (slot === undefined || bytes > (this.plan.buffers[buffer] ?? 0))
      throw new Error("the computation takes other buffers than its plan says");
    return slot;
  }

  give(): void {
    // The plan knows.
  }

  /** Frees all buffers, used or not: no run is under way. */
  trim(): void {
    for (const slot of this.slots) this.backend.free(slot);
    this.slots = [];
  }

  get bytes(): number {
    return this.plan.buffers.slice(0, this.slots.length).reduce((sum, bytes) => sum + bytes, 0);
  }
}

/** A device on which operations do nothing. */
export function idleDevice(engine: Engine, pool: Buffers): Device {
  return new Device(engine, pool, idle(engine.backend));
}

/** A backend that takes everything and does nothing. */
function idle({ info }: Backend): Backend {
  const nothing = (): void => undefined;
  return {
    info,
    ...{ free: nothing, write: nothing, dispatch: nothing },
    ...{ finish: () => Promise.resolve(), close: () => Promise.resolve() },
    allocate: unexpected,
    read: unexpected,
    stats: unexpected,
  };
}

function unexpected(): never {
  throw new Error("a computation that is traced neither allocates by itself nor reads");
}
