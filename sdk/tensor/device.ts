/**
 * Where tensors live: an engine's backend with a pool of buffers, the scopes that are open on it and the tape that
 * records. One for each engine, made when its first tensor is.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import type { Engine } from "../engine/engine.ts";
import type { Fields, KernelSchema, ParamsOf } from "../engine/schema.ts";
import { BufferPool, type Buffers } from "./pool.ts";
import type { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

export class Device {
  readonly engine: Engine;
  readonly backend: Backend;
  readonly pool: Buffers;
  /** Tensors of the open scopes, the innermost last. */
  readonly scopes: Set<Tensor>[] = [];
  /** What records; undefined: nothing does. */
  tape: Tape | undefined;

  /** Without more than an engine, what `deviceOf` gives; a computation may have a device of its own, with its memory. */
  constructor(engine: Engine, pool: Buffers = new BufferPool(engine.backend), backend: Backend = engine.backend) {
    this.engine = engine;
    this.backend = backend;
    this.pool = pool;
  }

  dispatch<F extends Fields>(kernel: KernelSchema<F>, params: ParamsOf<F>, buffers: readonly Slot[]): void {
    this.backend.dispatch(kernel, params, buffers);
  }

  /** Runs `work` with nothing recorded. */
  paused<T>(work: () => T): T {
    const tape = this.tape;
    this.tape = undefined;
    try {
      return work();
    } finally {
      this.tape = tape;
    }
  }
}

const devices = new WeakMap<Engine, Device>();

/** The device of an engine. Throws E_CLOSED where the engine is closed. */
export function deviceOf(engine: Engine): Device {
  engine.assertOpen();
  let device = devices.get(engine);
  if (device === undefined) {
    device = new Device(engine);
    devices.set(engine, device);
  }
  return device;
}
