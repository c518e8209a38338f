/**
 * Runs a graph on a backend. Parameters are allocated at once, activations at the first forward pass, and both are kept:
 * a later pass of no more examples allocates nothing. A batch too large for the memory is cut; all parts go out without
 * waiting for each other.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import { planBuffers, type BufferPlan, type Graph, type Parameter, type Value } from "./graph.ts";

/** Activations larger than this make no pass faster. */
const MOST_ACTIVATION_BYTES = 2 ** 29;

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

  /** The output for every example, [count, output floats]. Ordered with what was dispatched before, such as new parameters. */
  async run(examples: Examples): Promise<Float32Array<ArrayBuffer>> {
    this.assertLive();
    const { count } = examples;
    const width = this.output.floats;
    const reads: Promise<ArrayBuffer>[] = [];
    if (count > 0) this.reserve(Math.min(count, this.mostExamples));
    try {
      for (let begin = 0; begin < count; begin += this.capacity) {
        const end = Math.min(begin + this.capacity, count);
        this.backend.write(this.slotOf(this.graph.input), 0, float32(examples.slice(begin, end)));
        this.dispatch(end - begin);
        reads.push(this.backend.read(this.slotOf(this.output), 0, 4 * width * (end - begin)));
      }
    } catch (thrown) {
      await Promise.allSettled(reads); // none is left to fail unheard
      throw thrown;
    }
    const result = new Float32Array(count * width);
    let at = 0;
    for (const part of await Promise.all(reads)) {
      result.set(new Float32Array(part), at);
      at += part.byteLength / 4;
    }
    return result;
  }

  /** Idempotent. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    for (const slot of [...this.parameters, ...this.activations]) this.backend.free(slot);
  }

  assertLive(): void {
    if (this.disposed) throw new WidefieldError("E_CLOSED", "the network has been disposed of");
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

  /** Makes room for so many examples, if there is not enough. */
  private reserve(examples: number): void {
    if (examples <= this.capacity) return;
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
  // Inputs and outputs may each stand in a queue beside the buffer that they go to or come from.
  const parameterBytes = 4 * graph.parameters.reduce((sum, each) => sum + each.floats, 0);
  const exampleBytes = 4 * (floats + graph.input.floats + output.floats);
  const available = Math.min(memoryBytes - parameterBytes, MOST_ACTIVATION_BYTES);
  const largest = Math.max(...buffers);
  const examples = Math.floor(Math.min(available / exampleBytes, backend.info.maxBufferBytes / (4 * largest)));
  if (examples >= 1) return examples;
  if (4 * largest > backend.info.maxBufferBytes || exampleBytes > MOST_ACTIVATION_BYTES) {
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
    `the network's weights and one input's activations need ${needed} bytes, and ${Math.max(0, memoryBytes)} are left: ` +
      `give the engine more memory, or use fewer channels`,
    { details: { neededBytes: needed, availableBytes: memoryBytes } },
  );
}
