/**
 * A feed-forward computation as data: values (an array for each example of a batch), parameters (the same for all
 * examples), and operations on them in the order in which they run. An operation is a function of tensors, so one graph
 * serves inference (`forward.ts`) and, on a tape, training. Nothing here knows what a layer is.
 */
import type { Pass } from "./model.ts";
import { reshape } from "./ops/copies.ts";
import { scope, type Tensor } from "./tensor.ts";

/** What an operation makes: an array of `shape` for each example, a tensor of [batch, ...shape]. */
export interface Value {
  readonly kind: "value";
  readonly id: number;
  readonly shape: readonly number[];
  /** Numbers in one. */
  readonly floats: number;
}

/** An array that operations read, whatever the batch: weights, biases, running statistics. */
export interface Parameter {
  readonly kind: "parameter";
  readonly id: number;
  /** Unique in the graph: "layers.0.weights". */
  readonly name: string;
  readonly shape: readonly number[];
  readonly floats: number;
  /** False for what training passes write by themselves, and no gradient reaches: running statistics. */
  readonly trained: boolean;
}

/** The tensor of a value that the operation has as an input, or of any parameter. */
export type Read = (operand: Value | Parameter) => Tensor;

export interface Operation {
  /** Of the layer that it belongs to, for those who watch passes: "layers.3", and "relu". */
  readonly layer: string;
  readonly title: string;
  /** The values that it reads, the main one first. */
  readonly inputs: readonly Value[];
  readonly output: Value;
  readonly apply: (pass: Pass, read: Read) => Tensor;
}

export class Graph {
  readonly input: Value;
  readonly operations: Operation[] = [];
  readonly parameters: Parameter[] = [];
  private values = 1;

  /** A graph of inputs of a shape. */
  constructor(inputShape: readonly number[]) {
    this.input = { kind: "value", id: 0, shape: inputShape, floats: product(inputShape) };
  }

  parameter(name: string, shape: readonly number[], trained = true): Parameter {
    const parameter = {
      ...({ kind: "parameter", id: this.parameters.length } as const),
      ...{ name, shape, floats: product(shape), trained },
    };
    this.parameters.push(parameter);
    return parameter;
  }

  /** Appends an operation that makes an array of `shape` for each example. */
  append(operation: Omit<Operation, "output">, shape: readonly number[]): Value {
    const output: Value = { kind: "value", id: this.values++, shape, floats: product(shape) };
    this.operations.push({ ...operation, output });
    return output;
  }
}

/** A graph's way from its input to one of its values; it knows when a value on it is read for the last time. */
export class Computation {
  readonly graph: Graph;
  readonly output: Value;
  /** Values that nothing reads behind operation i. */
  private readonly ended: readonly (readonly Value[])[];

  constructor(graph: Graph, output: Value) {
    this.graph = graph;
    this.output = output;
    const lastUse = new Map<Value, number>();
    graph.operations.forEach(({ inputs, output: made }, index) => {
      for (const value of [...inputs, made]) lastUse.set(value, index);
    });
    for (const kept of [graph.input, output]) lastUse.delete(kept);
    const ended = graph.operations.map((): Value[] => []);
    for (const [value, index] of lastUse) ended[index]?.push(value);
    this.ended = ended;
  }

  /**
   * The output for inputs x [batch, ...shape], which stay the caller's. `parameters` are in the graph's order. A value is
   * let go of behind its last use; a tape holds what the way back needs.
   */
  run(x: Tensor, parameters: readonly Tensor[], pass: Pass): Tensor {
    const { device } = x;
    return scope(device, () => {
      const values = new Map<number, Tensor>([[this.graph.input.id, x]]);
      const read = (operand: Value | Parameter): Tensor => {
        const found = operand.kind === "value" ? values.get(operand.id) : parameters[operand.id];
        if (found === undefined) throw new Error("an operation reads what is not there");
        return found;
      };
      this.graph.operations.forEach(({ layer, title, inputs, output, apply }, index) => {
        const made = scope(device, () => owned(apply(pass, read), inputs.map(read)));
        values.set(output.id, made);
        const [main] = inputs;
        if (main !== undefined) pass.observe?.(layer, title, read(main), made);
        for (const { id } of this.ended[index] ?? []) values.get(id)?.dispose();
      });
      return owned(read(this.output), [x]);
    });
  }
}

/** An operation that has nothing to do hands its input back: then a view of it, with a life of its own. */
function owned(made: Tensor, inputs: readonly Tensor[]): Tensor {
  return inputs.includes(made) ? reshape(made, made.shape) : made;
}

function product(shape: readonly number[]): number {
  return shape.reduce((total, side) => total * side, 1);
}
