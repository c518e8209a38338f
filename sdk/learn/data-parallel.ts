/**
 * One training step on several engines. A batch is cut into as many runs of examples; each engine computes the gradients of
 * its part, which come to the host, are averaged (in float64, in the order of the engines) by how many examples they are
 * of, and go back to every engine, whose optimisers do the same update: the replicas stay equal.
 *
 * It is the step of one engine with the whole batch but for rounding, for models whose examples do not see each other.
 * Batch normalisation takes its statistics over a part of the batch, as in PyTorch's DataParallel; those that inference uses
 * are the first engine's. Dropout's masks are those of a batch of their own on each engine.
 */
import type { Engine } from "../engine/engine.ts";
import type { WidefieldError } from "../errors.ts";
import type { Model } from "../tensor/model.ts";
import { Tensor } from "../tensor/tensor.ts";
import { Turns } from "../tensor/turns.ts";
import type { PlacedBatch } from "./batch-tensors.ts";
import { explainDivergence, type Diverged } from "./divergence.ts";
import type { Optimiser, RunningOptimiser } from "./optimisers.ts";
import type { TrainingBatch } from "./training-data.ts";
import type { BatchReport } from "./training-loss.ts";
import {
  disposeGradients,
  GradientPass,
  Guard,
  type MeanGradients,
  type StepAt,
  type StepOptions,
  type Stepper,
} from "./training-step.ts";
import { captureModel, restoreModel, type OptimiserState } from "./training-state.ts";

/** An engine with a model of its own on it. */
export interface Replica {
  readonly engine: Engine;
  readonly model: Model;
}

interface Worker {
  readonly pass: GradientPass;
  readonly optimiser: RunningOptimiser;
  readonly guard: Guard;
  /** What all engines have made together: the loss, and gradients in the order of the parameters. */
  readonly together: readonly [loss: Tensor, ...gradients: Tensor[]];
}

/** A batch's part on one engine; none where there are fewer examples than engines. */
interface Part {
  readonly placed: PlacedBatch;
  report?: BatchReport;
}

/** Gives every replica the parameters and states of the first. Throws E_CONFIG where it is another model. */
export async function synchronise([first, ...others]: readonly Replica[]): Promise<void> {
  if (first === undefined) return;
  const arrays = await captureModel(first.model);
  for (const { model } of others) restoreModel(model, arrays);
}

export class DataParallelStep implements Stepper {
  private readonly workers: readonly Worker[];
  private readonly turns = new Turns();
  /** Parts of the last two batches, by the batch. */
  private readonly parts = new Map<number, readonly (Part | undefined)[]>();

  /** Replicas that are the same model with the same weights (`synchronise`). */
  constructor({
    replicas,
    optimiser,
    ...options
  }: Omit<StepOptions, "engine" | "model"> & {
    readonly replicas: readonly Replica[];
    readonly optimiser: Optimiser;
  }) {
    this.workers = replicas.map(({ engine, model }) => {
      const pass = new GradientPass({ ...options, engine, model });
      return {
        pass,
        optimiser: optimiser.start(pass.device, model.parameters),
        guard: new Guard(pass.device),
        together: [
          Tensor.empty(pass.device, []),
          ...model.parameters.map(({ tensor }) => Tensor.empty(pass.device, tensor.shape)),
        ],
      };
    });
  }

  append(batch: TrainingBatch, at: StepAt): Promise<BatchReport> {
    const cut = cutBatch(batch, this.workers.length);
    const parts = this.workers.map(({ pass }, index): Part | undefined => {
      const part = cut[index];
      return part && { placed: pass.places.place(part) };
    });
    this.parts.set(at.step, parts);
    this.parts.delete(at.step - 2);
    return this.turns.take(() => this.run(parts, at));
  }

  flush(factor: number): Promise<void> {
    return this.turns.take(() => this.update(factor));
  }

  /** The first engine's, which all others' are equal to. */
  capture(): Promise<OptimiserState> {
    return this.first.optimiser.capture();
  }

  restore(state: OptimiserState): void {
    for (const { optimiser } of this.workers) optimiser.restore(state);
  }

  explain(diverged: Diverged): Promise<WidefieldError> {
    const parts = this.parts.get(diverged.step) ?? [];
    const index = parts.findIndex((part) => part?.report !== undefined && !Number.isFinite(part.report.loss));
    const [worker, part] = [this.workers[index], parts[index]];
    if (worker === undefined || part === undefined) throw new Error(`batch ${diverged.step} is gone`);
    const step = this.stepOf(diverged.step, index);
    const { pass } = worker;
    return explainDivergence(diverged, pass.model, part.placed.images, (observe) => pass.passAt({ step, observe }));
  }

  dispose(): void {
    for (const { pass, optimiser, guard, together } of this.workers) {
      pass.dispose();
      optimiser.dispose();
      guard.dispose();
      for (const tensor of together) tensor.dispose();
    }
  }

  private get first(): Worker {
    const [first] = this.workers;
    if (first === undefined) throw new Error("there is no engine");
    return first;
  }

  /** Masks of an engine's own. */
  private stepOf(step: number, worker: number): number {
    return step * this.workers.length + worker;
  }

  private async run(parts: readonly (Part | undefined)[], at: StepAt): Promise<BatchReport> {
    const reading = this.workers.map(async ({ pass }, index) => {
      const part = parts[index];
      if (part === undefined) return undefined;
      const observe = index === 0 ? at.observe : undefined;
      const read = pass.append(part.placed, { step: this.stepOf(at.step, index), observe });
      part.report = await read();
      return part.report;
    });
    const reports = await Promise.all(reading);
    if (at.update) await this.update(at.factor);
    return together(reports.filter((report) => report !== undefined));
  }

  private async update(factor: number): Promise<void> {
    const means = this.workers.map(({ pass }) => pass.take());
    const given = means.filter((mean) => mean !== undefined);
    if (given.length === 0) return;
    const arrays = await Promise.all(
      given.map(({ loss, gradients }) => Promise.all([loss, ...gradients].map((one) => one.readFinal()))),
    );
    for (const mean of means) disposeGradients(mean);
    this.first.together.forEach((_, which) => {
      const mean = weightedMean(
        arrays.map((all) => all[which] ?? new Float32Array()),
        given,
      );
      for (const worker of this.workers) worker.together[which]?.write(mean);
    });
    for (const {
      optimiser,
      guard,
      together: [loss, ...gradients],
    } of this.workers)
      optimiser.step(gradients, guard.after(loss), factor);
  }
}

function cutBatch({ count, images, labels, targets }: TrainingBatch, parts: number): (TrainingBatch | undefined)[] {
  return Array.from({ length: parts }, (_, part) => {
    const [begin, end] = [Math.floor((part * count) / parts), Math.floor(((part + 1) * count) / parts)];
    if (begin === end) return undefined;
    const rows = <T extends Float32Array | Uint32Array>(of: T): T =>
      of.subarray((begin * of.length) / count, (end * of.length) / count) as T;
    return { count: end - begin, images: rows(images), labels: rows(labels), targets: targets && rows(targets) };
  });
}

/** By how many examples each array is of. */
function weightedMean(arrays: readonly Float32Array[], means: readonly Pick<MeanGradients, "count">[]): Float32Array {
  const total = means.reduce((sum, { count }) => sum + count, 0);
  const weights = means.map(({ count }) => count / total);
  const mean = new Float32Array(arrays[0]?.length ?? 0);
  for (let index = 0; index < mean.length; index++) {
    let sum = 0;
    for (let which = 0; which < arrays.length; which++)
      sum += (weights[which] ?? 0) * (arrays[which]?.[index] ?? Number.NaN);
    mean[index] = sum;
  }
  return mean;
}

function together(reports: readonly BatchReport[]): BatchReport {
  const count = reports.reduce((sum, report) => sum + report.count, 0);
  const total = (of: (report: BatchReport) => number | undefined): number | undefined =>
    reports.reduce<number | undefined>((sum, report) => {
      const value = of(report);
      return sum === undefined || value === undefined ? undefined : sum + value;
    }, 0);
  const loss = (total((report) => report.count * report.loss) ?? Number.NaN) / count;
  return { count, loss, top1: total(({ top1 }) => top1), top5: total(({ top5 }) => top5) };
}
