/**
 * Runs a computation for inference: nothing is recorded, and its memory is bounded. Activations are allocated at the first
 * pass and kept: a later pass of no more examples allocates nothing. A batch too large for the memory is cut: one part
 * computes while the next is written, and the one after that waits, because a queue holds a copy of what it has not come
 * to yet.
 */
import type { Backend } from "../engine/backend.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { Device } from "./device.ts";
import type { Computation } from "./graph.ts";
import type { Pass } from "./model.ts";
import { idleDevice, MemoryPlans, PlannedPool, TracingPool } from "./planned-pool.ts";
import { scope, Tensor } from "./tensor.ts";
import { Turns } from "./turns.ts";

/** Activations larger than this make no pass faster. */
const MOST_ACTIVATION_BYTES = 2 ** 29;

/** Part of a wasm memory that one computation may take. */
const WASM_SHARE = 0.75;

/** Parts of a batch, and so copies of their inputs and outputs, that are in the queue at once. */
const PARTS_UNDER_WAY = 2;

/** Statistics are those that training has gathered, and no number is dropped. */
export const INFERENCE: Pass = { training: false, seed: 0, step: 0 };

export interface Examples {
  readonly count: number;
  /** Examples [begin, end), contiguous. */
  slice(begin: number, end: number): Float32Array | Float64Array;
}

export class Forward {
  private readonly backend: Backend;
  private readonly computation: Computation;
  private readonly plans: MemoryPlans;
  private readonly pool: PlannedPool;
  /** Of this computation alone: activations come from its own pool, and no tape records. */
  private readonly device: Device;
  /** Most examples at once. */
  private readonly mostExamples: number;
  /** Examples that the activations have room for. */
  private capacity = 0;
  private readonly turns = new Turns();
  /** Reads of outputs that have not come back, the oldest first. */
  private readonly reads = new Set<Promise<void>>();
  private disposed = false;

  /** `memoryBytes`: for parameters, activations, and what waits to be copied. Throws E_MEMORY where one example does not fit. */
  constructor(engine: Engine, computation: Computation, memoryBytes: number) {
    this.backend = engine.backend;
    this.computation = computation;
    this.plans = memoryPlans(engine, computation);
    this.mostExamples = mostExamples(engine.backend, computation, this.plans, memoryBytes);
    this.pool = new PlannedPool(engine.backend);
    this.device = new Device(engine, this.pool);
  }

  /** The output for every example, [count, output floats]; passes and changes of parameters keep their order. */
  async run(examples: Examples, parameters: readonly Tensor[]): Promise<Float32Array<ArrayBuffer>> {
    this.assertLive();
    const result = new Float32Array(examples.count * this.computation.output.floats);
    const reads: Promise<void>[] = [];
    try {
      await this.turns.take(() => this.send(examples, parameters, result, reads));
    } finally {
      await Promise.allSettled(reads); // none is left to fail unheard
    }
    await Promise.all(reads);
    return result;
  }

  /** Calls `change`, which dispatches new parameters, once all passes asked for before it have read the old ones. */
  update(change: () => void): void {
    this.assertLive();
    this.turns.order(change);
  }

  /** Frees everything, after what was asked for before, and then calls `then`. Idempotent. */
  dispose(then: () => void): void {
    if (this.disposed) return;
    this.disposed = true;
    this.turns.order(() => {
      this.pool.trim();
      then();
    });
  }

  assertLive(): void {
    if (this.disposed) throw new WidefieldError("E_CLOSED", "this has been disposed of, and its buffers are freed");
  }

  /** Queues all parts, and for each a read into `result`. Returns with the last ones still under way. */
  private async send(
    examples: Examples,
    parameters: readonly Tensor[],
    result: Float32Array,
    reads: Promise<void>[],
  ): Promise<void> {
    const { count } = examples;
    const width = this.computation.output.floats;
    const part = Math.min(count, this.mostExamples);
    if (part > this.capacity) await this.reserve(part);
    for (let begin = 0; begin < count; begin += this.capacity) {
      const end = Math.min(begin + this.capacity, count);
      const [oldest] = this.reads;
      // A failure of an earlier pass is that pass's; a backend that is lost throws below.
      if (this.reads.size >= PARTS_UNDER_WAY) await Promise.allSettled([oldest]);
      const read = this.pass(float32(examples.slice(begin, end)), end - begin, parameters)
        .then((numbers) => result.set(numbers, begin * width))
        .finally(() => this.reads.delete(read));
      this.reads.add(read);
      reads.push(read);
    }
  }

  /** Dispatches one part; what it gives is read behind it, whatever comes next. */
  private pass(data: Float32Array, batch: number, parameters: readonly Tensor[]): Promise<Float32Array> {
    this.pool.rewind();
    return scope(this.device, () => part(this.device, this.computation, batch, parameters, data).read());
  }

  /** Makes room for so many examples. The old activations go first: there may be no memory for both. */
  private async reserve(examples: number): Promise<void> {
    if (this.capacity > 0) await this.backend.finish();
    this.capacity = 0;
    this.pool.reserve(this.plans.plan(examples));
    this.capacity = examples;
  }
}

/** One part of a batch; without data, inputs of anything. */
function part(
  device: Device,
  computation: Computation,
  batch: number,
  parameters: readonly Tensor[],
  data?: Float32Array,
): Tensor {
  const x = Tensor.empty(device, [batch, ...computation.graph.input.shape]);
  if (data !== undefined) x.write(data);
  return computation.run(x, parameters, INFERENCE);
}

function memoryPlans(engine: Engine, computation: Computation): MemoryPlans {
  const elsewhere = idleDevice(engine, new TracingPool());
  const parameters = computation.graph.parameters.map(({ shape }) => Tensor.empty(elsewhere, shape));
  return new MemoryPlans(engine, (device, batch) => {
    scope(device, () => part(device, computation, batch, parameters));
  });
}

function float32(data: Float32Array | Float64Array): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

/** How many examples go through the computation at once. */
function mostExamples(
  backend: Backend,
  { graph, output }: Computation,
  plans: MemoryPlans,
  memoryBytes: number,
): number {
  // On wasm all buffers, queued copies and other people's work share one memory, which ends at 4 GiB.
  const { backend: name, maxBufferBytes } = backend.info;
  const budget = name === "wasm" ? Math.min(memoryBytes, WASM_SHARE * maxBufferBytes) : memoryBytes;
  const parameterBytes = 4 * graph.parameters.reduce((sum, each) => sum + each.floats, 0);
  const available = Math.min(budget - parameterBytes, MOST_ACTIVATION_BYTES);
  const needs = (examples: number): { readonly bytes: number; readonly largest: number } => {
    const { buffers } = plans.plan(examples);
    const copies = 4 * PARTS_UNDER_WAY * (graph.input.floats + output.floats) * examples;
    return { bytes: buffers.reduce((sum, each) => sum + each, copies), largest: Math.max(...buffers) };
  };
  const fits = (examples: number): boolean => {
    const { bytes, largest } = needs(examples);
    return bytes <= available && largest <= maxBufferBytes;
  };
  if (fits(1)) return largestThat(fits);
  const { bytes, largest } = needs(1);
  if (largest > maxBufferBytes || bytes > MOST_ACTIVATION_BYTES) {
    throw new WidefieldError(
      "E_MEMORY",
      `one input takes ${bytes} bytes of activations, ${largest} in one buffer, more than this engine handles: ` +
        `use fewer channels`,
      { details: { neededBytes: bytes } },
    );
  }
  const needed = parameterBytes + bytes;
  throw new WidefieldError(
    "E_MEMORY",
    `the parameters and one input's activations need ${needed} bytes, and ${Math.max(0, Math.floor(budget))} are left: ` +
      `give the engine more memory, or use fewer channels`,
    { details: { neededBytes: needed, availableBytes: budget } },
  );
}

/** The largest number for which something holds that holds for 1, and for no number above one for which it does not. */
function largestThat(holds: (value: number) => boolean): number {
  let low = 1;
  while (holds(2 * low)) low *= 2;
  let high = 2 * low;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (holds(middle)) low = middle;
    else high = middle;
  }
  return low;
}
