/**
 * Reverse-mode differentiation. While a tape records, every operation on a tensor that depends on a watched one leaves an
 * entry: what it read, what it made, and how a gradient of the output becomes gradients of the inputs. `gradients` walks
 * the entries backwards; each lets go of what it held as soon as it has been used, so memory falls as the walk goes on.
 *
 * An entry's backward pass may be anything: `customGradient` is the public door to that, and feasible target propagation
 * goes through it.
 */
import { WidefieldError } from "../errors.ts";
import { elementwise } from "../engine/kernels/index.ts";
import { ElementwiseOperation } from "../engine/kernels/elementwise.ts";
import type { Engine } from "../engine/engine.ts";
import { deviceOf, type Device } from "./device.ts";
import { requireAlive, requireSameShape } from "./ops/shapes.ts";
import { scope, Tensor } from "./tensor.ts";

/**
 * From the gradient of an operation's output (of the output's shape) to those of its inputs, each of its input's shape;
 * undefined, or left out, where there is none. `saved` is what `record` was given; `needs[i]`: the i-th one is asked for.
 */
export type Backward = (
  gradient: Tensor,
  saved: readonly Tensor[],
  needs: readonly boolean[],
) => readonly (Tensor | undefined)[];

interface Entry {
  readonly inputs: readonly number[];
  readonly needs: readonly boolean[];
  readonly output: number;
  readonly saved: readonly Tensor[];
  readonly backward: Backward;
}

export class Tape {
  private entries: Entry[] = [];
  /** Tensors that depend on a watched one. */
  private readonly dependent: Set<number>;

  constructor(watched: readonly Tensor[]) {
    this.dependent = new Set(watched.map(({ id }) => id));
  }

  depends({ id }: Tensor): boolean {
    return this.dependent.has(id);
  }

  push(entry: Entry): void {
    this.entries.push(entry);
    this.dependent.add(entry.output);
  }

  /** Gradients by the id of what they belong to. Takes the entries with it. */
  walk(device: Device, output: Tensor, wanted: ReadonlySet<number>): Map<number, Tensor> {
    const gradients = new Map<number, Tensor>([[output.id, ones(device, output.shape)]]);
    for (let entry = this.entries.pop(); entry !== undefined; entry = this.entries.pop()) {
      try {
        const gradient = gradients.get(entry.output);
        if (gradient === undefined) continue;
        this.step(device, entry, gradient, gradients);
        if (wanted.has(entry.output)) continue;
        gradients.delete(entry.output);
        gradient.dispose();
      } finally {
        // No longer among the entries: a pass that fails here would leave it to nobody.
        for (const one of entry.saved) one.dispose();
      }
    }
    return gradients;
  }

  /** Lets go of everything, for a pass that failed. */
  clear(): void {
    for (const { saved } of this.entries) for (const one of saved) one.dispose();
    this.entries = [];
  }

  private step(device: Device, entry: Entry, gradient: Tensor, gradients: Map<number, Tensor>): void {
    // What it keeps belongs to the scope around the walk, and to the map.
    scope(device, () => {
      const parts = entry.backward(gradient, entry.saved, entry.needs);
      return entry.inputs.map((input, index) => {
        const part = parts[index];
        if (part === undefined || entry.needs[index] !== true) return undefined;
        const before = gradients.get(input);
        const after = before === undefined ? part.share() : addition(before, part);
        // What another input of the same entry adds to.
        if (before !== undefined) before.dispose();
        gradients.set(input, after);
        return after;
      });
    });
  }
}

/**
 * Puts an operation on the tape, if one records and an input depends on what it watches; returns the output. `saved` are
 * held until the backward pass, whatever happens to the tensors given.
 */
export function record(
  output: Tensor,
  inputs: readonly Tensor[],
  saved: readonly Tensor[],
  backward: Backward,
): Tensor {
  const { device } = output;
  const { tape } = device;
  if (tape === undefined) return output;
  const needs = inputs.map((input) => tape.depends(input));
  if (!needs.includes(true)) return output;
  const held = saved.map((one) => unscoped(one));
  tape.push({ inputs: inputs.map(({ id }) => id), needs, output: output.id, saved: held, backward });
  return output;
}

/** The same numbers in a tensor that no scope disposes of. */
function unscoped(tensor: Tensor): Tensor {
  const shared = tensor.share();
  tensor.device.scopes.at(-1)?.delete(shared);
  return shared;
}

export interface Gradients {
  /** What `forward` returned. */
  readonly value: Tensor;
  /** d value / d watched[i], of that shape; zeros where nothing depends on it. */
  readonly gradients: Tensor[];
}

/**
 * The value of `forward`, a tensor of one number, and its gradients with respect to `watched`. What `forward` made on the
 * way is disposed of. Throws E_SHAPE where the value has more than one number, and E_CONFIG for tensors of another engine.
 */
export function gradients(engine: Engine | Device, watched: readonly Tensor[], forward: () => Tensor): Gradients {
  const device = "pool" in engine ? engine : deviceOf(engine);
  for (const one of watched)
    if (one.device.engine !== device.engine)
      throw new WidefieldError("E_CONFIG", "gradients() with respect to a tensor on another engine");
  if (device.tape !== undefined)
    throw new WidefieldError("E_CONFIG", "gradients() inside of gradients(): there are no second derivatives");
  const tape = new Tape(watched);
  return scope(device, () => {
    try {
      device.tape = tape;
      const value = scope(device, forward);
      device.tape = undefined;
      if (value.size !== 1)
        throw new WidefieldError("E_SHAPE", `gradients are of one number, not of [${value.shape.join(", ")}]`);
      const wanted = new Set(watched.map(({ id }) => id));
      const found = tape.walk(device, value, wanted);
      const all = watched.map((one) => found.get(one.id) ?? filled(device, one.shape, 0));
      // A view: what `forward` returned may be a tensor of the caller's, who disposes of this one.
      return { value: value.share(), gradients: all };
    } finally {
      device.tape = undefined;
      tape.clear();
    }
  });
}

export interface CustomGradient {
  /** The operation itself; what it does inside is not recorded. */
  readonly forward: (inputs: readonly Tensor[]) => Tensor;
  /** See `Backward`, with the inputs and the output. */
  readonly backward: (gradient: Tensor, inputs: readonly Tensor[], output: Tensor) => readonly (Tensor | undefined)[];
}

/**
 * An operation with a gradient of its own making: a straight-through estimator, a target, a fused backward pass. Throws
 * E_CONFIG without inputs and for those of different engines; the backward pass E_SHAPE for gradients of other shapes.
 *
 *     const sign = customGradient([z], { forward: ([z]) => ops.sign(z), backward: (g) => [g] });
 */
export function customGradient(inputs: readonly Tensor[], { forward, backward }: CustomGradient): Tensor {
  const [first] = inputs;
  if (first === undefined) throw new WidefieldError("E_CONFIG", "an operation has at least one input");
  requireAlive("customGradient", ...inputs);
  // A view: what `forward` gives may be an input, or another tensor that the tape knows as something else.
  const output = first.device.paused(() => scope(first.device, () => forward(inputs).share()));
  return record(output, inputs, [...inputs, output], (gradient, saved) => {
    const parts = backward(gradient, saved.slice(0, inputs.length), saved.at(-1) ?? gradient);
    inputs.forEach((input, index) => {
      const part = parts[index];
      if (part !== undefined) requireSameShape(`customGradient (input ${index} and its gradient)`, input, part);
    });
    return parts;
  });
}

/** A tensor of one number everywhere. */
export function filled(device: Device, shape: readonly number[], value: number): Tensor {
  const made = Tensor.empty(device, shape);
  const params = { count: made.size, operation: ElementwiseOperation.fill, alpha: value, beta: 0 };
  // A fill reads neither input; WebGPU wants them in other buffers than the output.
  const other = Tensor.empty(device, [1]);
  device.dispatch(elementwise, params, [other.slot, other.slot, made.slot]);
  other.dispose();
  return made;
}

/** The gradient of the output with respect to itself: operations may look for it to save a product with 1. */
function ones(device: Device, shape: readonly number[]): Tensor {
  const made = filled(device, shape, 1);
  one.add(made);
  return made;
}

const one = new WeakSet<Tensor>();

/** True for the gradient that a walk starts with. */
export function isOne(gradient: Tensor): boolean {
  return one.has(gradient);
}

function addition(a: Tensor, b: Tensor): Tensor {
  const sum = Tensor.empty(a.device, a.shape);
  const params = { count: a.size, operation: ElementwiseOperation.add, alpha: 1, beta: 1 };
  a.device.dispatch(elementwise, params, [a.slot, b.slot, sum.slot]);
  return sum;
}
