/**
 * Tensors: float32 arrays with a shape, in a backend's memory, row-major and contiguous. What computes with them is in
 * `ops.ts`; nothing here waits but `read`.
 *
 * A tensor holds its buffer until it is disposed of: by `dispose()`, by `using`, or by the scope in which it was made.
 * Views (`reshape`) share a buffer, which goes back to the pool with the last of them.
 */
import type { Slot } from "../engine/backend.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { deviceOf, type Device } from "./device.ts";

/** A buffer and how many tensors hold it. */
class Storage {
  readonly slot: Slot;
  private readonly device: Device;
  private holders = 1;

  constructor(device: Device, bytes: number, label: string) {
    this.device = device;
    this.slot = device.pool.take(bytes, label);
  }

  hold(): this {
    this.holders++;
    return this;
  }

  release(): void {
    if (--this.holders === 0) this.device.pool.give(this.slot);
  }
}

let made = 0;

export class Tensor {
  readonly device: Device;
  readonly shape: readonly number[];
  /** Numbers in it. */
  readonly size: number;
  /** "u32": labels, which only losses read. */
  readonly type: "f32" | "u32";
  /** What the tape knows it by. */
  readonly id: number = made++;
  readonly #storage: Storage;
  #disposed = false;

  private constructor(device: Device, shape: readonly number[], storage: Storage, type: "f32" | "u32") {
    this.device = device;
    this.shape = shape;
    this.size = sizeOf(shape);
    this.type = type;
    this.#storage = storage;
    device.scopes.at(-1)?.add(this);
  }

  /** A tensor whose numbers are whatever its buffer held. */
  static empty(device: Device, shape: readonly number[], type: "f32" | "u32" = "f32"): Tensor {
    const bytes = 4 * sizeOf(shape);
    return new Tensor(device, shape, new Storage(device, bytes, `tensor [${shape.join(", ")}]`), type);
  }

  /** The backend's memory, for kernels. Throws E_CLOSED after `dispose`. */
  get slot(): Slot {
    if (this.#disposed) throw disposedError(this.shape);
    return this.#storage.slot;
  }

  /** Another tensor of the same numbers, with a life of its own; `tape`s do not see that it is the same. */
  share(shape: readonly number[] = this.shape): Tensor {
    if (sizeOf(shape) !== this.size)
      throw new WidefieldError("E_SHAPE", `[${this.shape.join(", ")}] cannot be seen as [${shape.join(", ")}]`);
    if (this.#disposed) throw disposedError(this.shape);
    return new Tensor(this.device, shape, this.#storage.hold(), this.type);
  }

  /** Writes new numbers, after all that was dispatched before has read the old ones. Throws E_SHAPE for another number of them. */
  write(data: Float32Array | Uint32Array): void {
    if (data.length !== this.size)
      throw new WidefieldError("E_SHAPE", `${data.length} numbers for a tensor of [${this.shape.join(", ")}]`);
    this.device.backend.write(this.slot, 0, data);
  }

  /**
   * The same without a place in the queue: for a tensor that no command under way touches. It costs one copy where the
   * memory is within reach (wasm), and no staging buffer.
   */
  writeUnordered(data: Float32Array | Uint32Array): void {
    const { backend } = this.device;
    if (backend.view === undefined || data.length !== this.size) {
      this.write(data);
      return;
    }
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    backend.view(this.slot, 0, bytes.byteLength).set(bytes);
  }

  /**
   * The numbers of a tensor that nothing writes again (no optimiser, no `write`), once everything dispatched so far has
   * run: unlike `read` it takes no staging buffer on wasm, and does not wait for what is dispatched later.
   */
  async readFinal(): Promise<Float32Array<ArrayBuffer>> {
    const { backend } = this.device;
    if (backend.view === undefined) return this.read();
    await backend.finish();
    return new Float32Array(backend.view(this.slot, 0, 4 * this.size).slice().buffer);
  }

  /** The numbers, once everything dispatched so far has run: a copy. */
  async read(): Promise<Float32Array<ArrayBuffer>> {
    if (this.type !== "f32")
      throw new WidefieldError("E_CONFIG", "labels are not read back: keep the array they came from");
    return new Float32Array(await this.device.backend.read(this.slot, 0, 4 * this.size));
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }

  /** Gives the buffer back, unless a view or a tape holds it still. Idempotent. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const scope of this.device.scopes) scope.delete(this);
    this.#storage.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function disposedError(shape: readonly number[]): WidefieldError {
  return new WidefieldError("E_CLOSED", `a tensor of [${shape.join(", ")}] has been disposed of`);
}

/** Numbers in a tensor of a shape. Throws E_SHAPE for what is no shape. */
export function sizeOf(shape: readonly number[]): number {
  if (!shape.every((side) => Number.isSafeInteger(side) && side >= 0))
    throw new WidefieldError("E_SHAPE", `a shape is whole numbers from 0 on, not [${shape.join(", ")}]`);
  return shape.reduce((product, side) => product * side, 1);
}

/**
 * A tensor of numbers on an engine's backend: of a shape, or of one axis where none is given. Throws E_SHAPE where the
 * numbers do not fill the shape.
 */
export function tensor(
  engine: Engine | Device,
  data: Float32Array | readonly number[],
  shape: readonly number[] = [data.length],
): Tensor {
  if (sizeOf(shape) !== data.length)
    throw new WidefieldError("E_SHAPE", `${data.length} numbers do not fill a tensor of [${shape.join(", ")}]`);
  const made = Tensor.empty(asDevice(engine), shape);
  made.write(data instanceof Float32Array ? data : Float32Array.from(data));
  return made;
}

/** Labels for losses, each the number of a class. */
export function labelTensor(engine: Engine | Device, labels: Uint32Array): Tensor {
  const made = Tensor.empty(asDevice(engine), [labels.length], "u32");
  made.write(labels);
  return made;
}

function asDevice(engine: Engine | Device): Device {
  return "pool" in engine ? engine : deviceOf(engine);
}

/**
 * Runs `work`, and disposes of every tensor that it made but those in what it returns (a tensor, or tensors in an array
 * or object, one level deep), which belong to the scope around. `work` must not wait: a scope is open on the device. It may
 * return the promise of a read that it has asked for.
 */
export function scope<T>(engine: Engine | Device, work: () => T): T {
  const device = asDevice(engine);
  const tensors = new Set<Tensor>();
  device.scopes.push(tensors);
  let kept: readonly Tensor[] = [];
  try {
    const result = work();
    kept = tensorsIn(result);
    return result;
  } finally {
    device.scopes.pop();
    const outer = device.scopes.at(-1);
    for (const one of tensors) {
      if (kept.includes(one)) outer?.add(one);
      else one.dispose();
    }
  }
}

function tensorsIn(value: unknown): readonly Tensor[] {
  if (value instanceof Tensor) return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap((inner: unknown) =>
    inner instanceof Tensor
      ? [inner]
      : Array.isArray(inner)
        ? inner.filter((one): one is Tensor => one instanceof Tensor)
        : [],
  );
}
