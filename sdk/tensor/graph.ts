/**
 * A feed-forward computation as data: values (so many floats for each example of a batch), parameters (the same for all
 * examples), and kernel calls in the order in which they run. Nothing here knows what a layer is, or runs anything:
 * `forward.ts` does.
 */
import type { Fields, KernelSchema, ParamsOf } from "../engine/schema.ts";

/** What an operation makes: `floats` numbers for each example of a batch, contiguous by example. */
export interface Value {
  readonly kind: "value";
  readonly id: number;
  readonly floats: number;
}

/** An array that operations read, whatever the batch: weights, biases. */
export interface Parameter {
  readonly kind: "parameter";
  readonly id: number;
  readonly floats: number;
  readonly label: string;
}

/** One dispatch. Its output is the kernel's last buffer. */
export interface Operation {
  readonly kernel: KernelSchema;
  /** Params for a batch of so many examples. */
  readonly params: (batch: number) => ParamsOf<Fields>;
  /** In the kernel's order. */
  readonly inputs: readonly (Value | Parameter)[];
  readonly output: Value;
}

export class Graph {
  readonly input: Value;
  readonly operations: Operation[] = [];
  readonly parameters: Parameter[] = [];
  private values = 1;

  /** A graph of inputs of so many floats an example. */
  constructor(inputFloats: number) {
    this.input = { kind: "value", id: 0, floats: inputFloats };
  }

  parameter(floats: number, label: string): Parameter {
    const parameter = { kind: "parameter", id: this.parameters.length, floats, label } as const;
    this.parameters.push(parameter);
    return parameter;
  }

  /** Appends a dispatch of `kernel` that makes `floats` numbers an example. */
  apply<F extends Fields>(
    kernel: KernelSchema<F>,
    params: (batch: number) => ParamsOf<F>,
    inputs: readonly (Value | Parameter)[],
    floats: number,
  ): Value {
    const output: Value = { kind: "value", id: this.values++, floats };
    this.operations.push({ kernel: kernel as unknown as KernelSchema, params, inputs, output });
    return output;
  }
}

/** Which of few buffers each value lives in. */
export interface BufferPlan {
  /** Floats for each example, by buffer. */
  readonly buffers: readonly number[];
  /** Buffer of each value, by the value's id. Values that nothing reads have one too. */
  readonly bufferOf: readonly number[];
}

/**
 * Values share buffers once nothing reads them any more. Each takes the smallest free buffer that holds it, else the
 * largest free one, which grows. No operation works in place: WebGPU would have to copy its input first.
 */
export function planBuffers(graph: Graph, output: Value): BufferPlan {
  const lastUse = new Map<number, number>([[output.id, Number.POSITIVE_INFINITY]]);
  graph.operations.forEach(({ inputs }, index) => {
    for (const input of inputs)
      if (input.kind === "value") lastUse.set(input.id, Math.max(index, lastUse.get(input.id) ?? 0));
  });
  const buffers: number[] = [];
  const bufferOf: number[] = [];
  const free = new Set<number>();
  const place = ({ id, floats }: Value): void => {
    const sizes = [...free].map((buffer) => ({ buffer, size: buffers[buffer] ?? 0 }));
    const fitting = sizes.filter(({ size }) => size >= floats).sort((a, b) => a.size - b.size)[0];
    const chosen = fitting ?? sizes.sort((a, b) => b.size - a.size)[0] ?? { buffer: buffers.length, size: 0 };
    free.delete(chosen.buffer);
    buffers[chosen.buffer] = Math.max(chosen.size, floats);
    bufferOf[id] = chosen.buffer;
  };
  place(graph.input);
  graph.operations.forEach(({ inputs, output: made }, index) => {
    place(made);
    const ended = new Set(inputs.filter((input) => input.kind === "value" && lastUse.get(input.id) === index));
    if (!lastUse.has(made.id)) ended.add(made);
    for (const { id } of ended) free.add(bufferOf[id] ?? 0);
  });
  return { buffers, bufferOf };
}
