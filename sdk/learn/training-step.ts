/**
 * One training step: forward pass, loss, backward pass and update, appended to the queue without waiting. After the first
 * steps it allocates nothing, and on a GPU it leaves in one submit, with the loss and the ranks of its labels.
 *
 *     const report = step.append(batch, { step: k, factor: 1, update: true });   // of batch k
 *     ... the batch before this one is waited for here ...
 *
 * The update asks whether the loss is finite, on the device: a step after which it is not has changed no weight, nor has
 * any that was appended behind it before the host has heard of it.
 */
import { elementwise, ElementwiseOperation } from "../engine/kernels/elementwise.ts";
import type { Engine } from "../engine/engine.ts";
import type { WidefieldError } from "../errors.ts";
import { deviceOf, type Device } from "../tensor/device.ts";
import type { Model, Pass } from "../tensor/model.ts";
import { filled, gradients } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { BatchPlaces, type PlacedBatch } from "./batch-tensors.ts";
import { explainDivergence, type Diverged } from "./divergence.ts";
import type { Optimiser, RunningOptimiser } from "./optimisers.ts";
import type { TrainingBatch } from "./training-data.ts";
import { readReport, writeReport, type BatchReport, type CustomLoss } from "./training-loss.ts";
import type { OptimiserState } from "./training-state.ts";

export interface StepAt {
  /** Batches before this one: the number of dropout's masks. */
  readonly step: number;
  /** The schedule's. */
  readonly factor: number;
  /** False: the gradients are kept, and averaged with those of the batches that follow. */
  readonly update: boolean;
  readonly observe?: Pass["observe"];
}

/** What the loop drives: one engine, or several that share the work. */
export interface Stepper {
  /** The batch's arrays are free again when this returns. The report of the batch before the last has been seen. */
  append(batch: TrainingBatch, at: StepAt): Promise<BatchReport>;
  /** Updates with the gradients that are kept, if there are any. */
  flush(factor: number): Promise<void>;
  capture(): Promise<OptimiserState>;
  restore(state: OptimiserState): void;
  /** Why a batch's loss is not finite; of the last two batches. */
  explain(diverged: Diverged): Promise<WidefieldError>;
  dispose(): void;
}

export interface StepOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly loss: CustomLoss;
  /** Of labels. */
  readonly classes: number;
  /** Of dropout. */
  readonly seed: number;
}

/** Gradients of the mean over some examples. */
export interface MeanGradients {
  readonly loss: Tensor;
  readonly gradients: readonly Tensor[];
  readonly count: number;
}

/** Forward and backward passes on one engine; what they give is kept until it is taken. */
export class GradientPass {
  readonly device: Device;
  readonly model: Model;
  readonly places: BatchPlaces;
  private readonly loss: CustomLoss;
  private readonly seed: number;
  private kept: MeanGradients | undefined;

  constructor({ engine, model, loss, classes, seed }: StepOptions) {
    this.device = deviceOf(engine);
    this.model = model;
    this.places = new BatchPlaces(this.device, model.inputShape, classes);
    this.loss = loss;
    this.seed = seed;
  }

  /** Appends both passes, and averages the gradients with those that are kept. Returns what reads the report. */
  append(placed: PlacedBatch, at: Pick<StepAt, "step" | "observe">): () => Promise<BatchReport> {
    const pass = this.passAt(at);
    let ranked = false;
    const watched = this.model.parameters.map(({ tensor }) => tensor);
    const { value, gradients: found } = gradients(this.device, watched, () => {
      const result = this.loss(this.model.apply(placed.images, pass), placed, pass);
      ranked = result.ranks !== undefined;
      writeReport(result, placed);
      return result.loss;
    });
    const fresh = { loss: value, gradients: found, count: placed.count };
    this.kept = this.kept === undefined ? fresh : average(this.device, this.kept, fresh);
    return () => readReport(placed, ranked);
  }

  /** The pass of a step, as it was: the same masks. */
  passAt({ step, observe }: Pick<StepAt, "step" | "observe">): Pass {
    return { training: true, seed: this.seed, step, observe };
  }

  /** The gradients since the last call, which are the caller's to dispose of. */
  take(): MeanGradients | undefined {
    const { kept } = this;
    this.kept = undefined;
    return kept;
  }

  dispose(): void {
    disposeGradients(this.take());
    this.places.dispose();
  }
}

/** A loss that stays what is not finite once it has been. */
export class Guard {
  private readonly device: Device;
  private readonly both: readonly [Tensor, Tensor];
  private turn = 0;

  constructor(device: Device) {
    this.device = device;
    this.both = [filled(device, [1], 0), filled(device, [1], 0)];
  }

  /** The guard after a loss: loss + 0 x the guard before, and 0 times what is not finite is not. */
  after(loss: Tensor): Tensor {
    const [before, now] = this.turn === 0 ? this.both : [this.both[1], this.both[0]];
    this.turn = 1 - this.turn;
    const params = { count: 1, operation: ElementwiseOperation.add, alpha: 1, beta: 0 };
    this.device.dispatch(elementwise, params, [loss.slot, before.slot, now.slot]);
    return now;
  }

  dispose(): void {
    for (const one of this.both) one.dispose();
  }
}

/** Training steps on one engine. */
export class TrainingStep implements Stepper {
  private readonly pass: GradientPass;
  private readonly optimiser: RunningOptimiser;
  private readonly guard: Guard;
  private readonly placed = new Map<number, PlacedBatch>();

  constructor(options: StepOptions & { readonly optimiser: Optimiser }) {
    this.pass = new GradientPass(options);
    this.optimiser = options.optimiser.start(this.pass.device, options.model.parameters);
    this.guard = new Guard(this.pass.device);
  }

  append(batch: TrainingBatch, at: StepAt): Promise<BatchReport> {
    const placed = this.pass.places.place(batch);
    this.placed.set(at.step, placed);
    this.placed.delete(at.step - 2);
    const read = this.pass.append(placed, at);
    if (at.update) this.update(at.factor);
    return read();
  }

  flush(factor: number): Promise<void> {
    this.update(factor);
    return Promise.resolve();
  }

  private update(factor: number): void {
    const mean = this.pass.take();
    if (mean === undefined) return;
    this.optimiser.step(mean.gradients, this.guard.after(mean.loss), factor);
    disposeGradients(mean);
  }

  capture(): Promise<OptimiserState> {
    return this.optimiser.capture();
  }

  restore(state: OptimiserState): void {
    this.optimiser.restore(state);
  }

  explain(diverged: Diverged): Promise<WidefieldError> {
    const placed = this.placed.get(diverged.step);
    if (placed === undefined) throw new Error(`batch ${diverged.step} is gone`);
    const { pass } = this;
    return explainDivergence(diverged, pass.model, placed.images, (observe) => pass.passAt({ ...diverged, observe }));
  }

  dispose(): void {
    this.pass.dispose();
    this.optimiser.dispose();
    this.guard.dispose();
  }
}

export function disposeGradients(mean: MeanGradients | undefined): void {
  mean?.loss.dispose();
  for (const one of mean?.gradients ?? []) one.dispose();
}

/** The mean over the examples of both, which it disposes of. */
function average(device: Device, a: MeanGradients, b: MeanGradients): MeanGradients {
  const count = a.count + b.count;
  const [alpha, beta] = [a.count / count, b.count / count];
  const mean = (x: Tensor, y: Tensor): Tensor => {
    const out = Tensor.empty(device, x.shape);
    const params = { count: x.size, operation: ElementwiseOperation.add, alpha, beta };
    device.dispatch(elementwise, params, [x.slot, y.slot, out.slot]);
    return out;
  };
  const result = {
    loss: mean(a.loss, b.loss),
    gradients: a.gradients.map((one, index) => mean(one, b.gradients[index] ?? one)),
    count,
  };
  disposeGradients(a);
  disposeGradients(b);
  return result;
}
