/**
 * What can be trained: parameters, arrays that a training pass changes by itself, and a function of tensors. Networks of an
 * architecture are models, and so are those of a paper that no architecture describes.
 */
import type { Tensor } from "./tensor.ts";

export interface ModelParameter {
  /** Unique in the model, and what checkpoints know it by: "layers.0.weights". */
  readonly name: string;
  /** Written in place by optimisers. */
  readonly tensor: Tensor;
  /** Factor of the optimiser's learning rate; default 1. */
  readonly rate?: number | undefined;
  /** Factor of the optimiser's weight decay; default 1. */
  readonly decay?: number | undefined;
}

/** An array that training changes without a gradient: a layer's running statistics. */
export interface ModelState {
  readonly name: string;
  readonly tensor: Tensor;
}

/** One pass through a model. */
export interface Pass {
  readonly training: boolean;
  /** Of dropout's masks, with `step`. */
  readonly seed: number;
  /** Which training step this is, from 0. */
  readonly step: number;
  /**
   * Sees every layer's input and output as they are made: for diagnostics, and to find the layer in which something went
   * wrong. The tensors are disposed of after the call, unless shared.
   */
  readonly observe?: ((layer: string, title: string, input: Tensor, output: Tensor) => void) | undefined;
}

export interface Model {
  readonly parameters: readonly ModelParameter[];
  readonly states: readonly ModelState[];
  /** Sides of one input, [channels, height, width] or [features]. */
  readonly inputShape: readonly number[];
  /** Numbers that it gives for one input. */
  readonly outputs: number;
  /** What it makes of inputs [batch, ...inputShape]: [batch, outputs]. To be called in a `scope`. */
  apply(x: Tensor, pass: Pass): Tensor;
}
