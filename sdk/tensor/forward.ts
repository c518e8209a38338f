/**
 * Runs a graph on a backend. Parameters are allocated at once, activations at the first forward pass, and both are kept:
 * a later pass of no more examples allocates nothing. A batch too large for the memory is cut: one part computes while
 * the next is written, and the one after that waits, because a queue holds a copy of what it has not come to yet.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import { planBuffers, type BufferPlan, type Graph, type Parameter, type Value } from "./graph.ts";
import { Turns } from "./turns.ts";

/** Activations larger than this make no pass faster. */
const MOST_ACTIVATION_BYTES = 2 ** 29;

/** Part of a wasm memory that one graph may take. */
const WASM_SHARE = 0.75;

/** Parts of a batch, and so copies of their inputs and outputs, that are in the queue at once. */
const PARTS_UNDER_WAY = 2;

export interface Examples {
  readonly count: number;
  /** Examples [begin, end), contiguous. */
  slice(begin: number, end: number): Float32Array | Float64Array;
}

export class Forward {
  private readonly backend: Backend;
  private readonly graph: Graph;
  private readonly output: Value;
  private readonly plan: BufferPlan;
  /** Most examples at once. */
  private readonly mostExamples: number;
  private readonly parameters: readonly Slot[];
  private activations: readonly Slot[] = [];
  /** Examples that the activations have room for. */
  private capacity = 0;
  private readonly turns = new Turns();
  /** Reads of outputs that have not come back, the oldest first. */
  private readonly reads = new Set<Promise<void>>();
  private disposed = false;

  /** `memoryBytes`: for parameters, activations, and what waits to be copied. Throws E_MEMORY where one example does not fit. */
  constructor(backend: Backend, graph: Graph, output: Value, memoryBytes: number) {
    this.backend = backend;
    this.graph = graph;
    this.output = output;
    this.plan = planBuffers(graph, output);
    this.mostExamples = mostExamples(backend, graph, output, this.plan, memoryBytes);
    const slots: Slot[] = [];
    try {
      for (const { floats, label } of graph.parameters) slots.push(backend.allocate(4 * floats, label));
    } catch (thrown) {
      for (const slot of slots) backend.free(slot);
      throw thrown;
    }
    this.parameters = slots;
  }

  /** The buffer of a parameter, for whoever fills it. */
  slot({ id }: Parameter): Slot {
    const slot = this.parameters[id];
    if (slot === undefined) throw new Error("the parameter belongs to another graph");
    return slot;
  }

  /** The output for every example, [count, output floats]; passes and changes of parameters keep their order. */
  async run(examples: Examples): Promise<Float32Array<ArrayBuffer>> {
    this.assertLive();
    const result = new Float32Array(examples.count * this.output.floats);
    const reads: Promise<void>[] = [];
    try {
      await this.turns.take(() => this.send(examples, result, reads));
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

  /** Frees everything, after what was asked for before. Idempotent. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.turns.order(() => {
      for (const slot of [...this.parameters, ...this.activations]) this.backend.free(slot);
    });
  }

  assertLive(): void {
    if (this.disposed) throw new WidefieldError("E_CLOSED", "this has been disposed of, and its buffers are freed");
  }

  /** Queues all parts, and for each a read into `result`. Returns with the last ones still under way. */
  private async send(examples: Examples, result: Float32Array, reads: Promise<void>[]): Promise<void> {
    const { count } = examples;
    const width = this.output.floats;
    const part = Math.min(count, this.mostExamples);
    if (part > this.capacity) await this.reserve(part);
    for (let begin = 0; begin < count; begin += this.capacity) {
      const end = Math.min(begin + this.capacity, count);
      const [oldest] = this.reads;
      // A failure of an earlier pass is that pass's; a backend that is lost throws below.
      if (this.reads.size >= PARTS_UNDER_WAY) await Promise.allSettled([oldest]);
      this.backend.write(this.slotOf(this.graph.input), 0, float32(examples.slice(begin, end)));
      this.dispatch(end - begin);
      const read = this.backend
        .read(this.slotOf(this.output), 0, 4 * width * (end - begin))
        .then((bytes) => result.set(new Float32Array(bytes), begin * width))
        .finally(() => this.reads.delete(read));
      this.reads.add(read);
      reads.push(read);
    }
  }

  private dispatch(batch: number): void {
    for (const { kernel, params, inputs, output } of this.graph.operations) {
      const buffers = [...inputs, output].map((operand) => this.slotOf(operand));
      this.backend.dispatch(kernel, params(batch), buffers);
    }
  }

  private slotOf(operand: Value | Parameter): Slot {
    if (operand.kind === "parameter") return this.slot(operand);
    const slot = this.activations[this.plan.bufferOf[operand.id] ?? -1];
    if (slot === undefined) throw new Error("the value belongs to another graph");
    return slot;
  }

  /** Makes room for so many examples. The old activations go first: there may be no memory for both. */
  private async reserve(examples: number): Promise<void> {
    if (this.activations.length > 0) await this.backend.finish();
    for (const slot of this.activations) this.backend.free(slot);
    const slots: Slot[] = [];
    this.activations = slots;
    this.capacity = 0;
    for (const floats of this.plan.buffers) slots.push(this.backend.allocate(4 * floats * examples, "activations"));
    this.capacity = examples;
  }
}

function float32(data: Float32Array | Float64Array): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

/** How many examples go through the graph at once. */
function mostExamples(
  backend: Backend,
  graph: Graph,
  output: Value,
  { buffers }: BufferPlan,
  memoryBytes: number,
): number {
  const floats = buffers.reduce((sum, each) => sum + each, 0);
  // On wasm all buffers, queued copies and other people's work share one memory, which ends at 4 GiB.
  const { backend: name, maxBufferBytes } = backend.info;
  const budget = name === "wasm" ? Math.min(memoryBytes, WASM_SHARE * maxBufferBytes) : memoryBytes;
  const parameterBytes = 4 * graph.parameters.reduce((sum, each) => sum + each.floats, 0);
  const exampleBytes = 4 * (floats + PARTS_UNDER_WAY * (graph.input.floats + output.floats));
  const available = Math.min(budget - parameterBytes, MOST_ACTIVATION_BYTES);
  const largest = Math.max(...buffers);
  const examples = Math.floor(Math.min(available / exampleBytes, maxBufferBytes / (4 * largest)));
  if (examples >= 1) return examples;
  if (4 * largest > maxBufferBytes || exampleBytes > MOST_ACTIVATION_BYTES) {
    throw new WidefieldError(
      "E_MEMORY",
      `one input takes ${exampleBytes} bytes of activations, ${4 * largest} in one buffer, more than this engine handles: ` +
        `use fewer channels`,
      { details: { neededBytes: exampleBytes } },
    );
  }
  const needed = parameterBytes + exampleBytes;
  throw new WidefieldError(
    "E_MEMORY",
    `the parameters and one input's activations need ${needed} bytes, and ${Math.max(0, Math.floor(budget))} are left: ` +
      `give the engine more memory, or use fewer channels`,
    { details: { neededBytes: needed, availableBytes: budget } },
  );
}
