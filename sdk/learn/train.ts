/**
 * `train()`: a model, data, a loss and an optimiser, for some epochs.
 *
 *     const result = await train({ engine, model, data, optimiser: adam({ rate: 1e-3 }), epochs: 10 });
 *     console.log(result.history.at(-1)?.validation?.accuracy);
 *
 * Everything random follows from seeds: the order of examples from the data's, dropout from `seed`. A run that goes on from
 * the state that `checkpoint` was given ends with the same bits as one that was never stopped, on one backend.
 */
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import type { Model } from "../tensor/model.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { DataParallelStep, synchronise, type Replica } from "./data-parallel.ts";
import { divergedArrays } from "./divergence.ts";
import { Evaluator } from "./evaluate.ts";
import { oneBehind } from "./one-behind.ts";
import type { Optimiser } from "./optimisers.ts";
import { constantRate, factorAt, type Schedule } from "./schedules.ts";
import { requireTrainable } from "./train-checks.ts";
import type { TrainingBatch, TrainingData } from "./training-data.ts";
import { lossOf, ScoreSum, type BatchReport, type CustomLoss, type LossName } from "./training-loss.ts";
import {
  captureModel,
  restoreModel,
  type BestEpoch,
  type EpochRecord,
  type Scores,
  type TrainingState,
} from "./training-state.ts";
import { TrainingStep, type Stepper } from "./training-step.ts";

/** After each batch. */
export interface TrainingProgress {
  /** Counted from 1. */
  readonly epoch: number;
  readonly epochs: number;
  /** Batches of the epoch that are done, of so many. */
  readonly batch: number;
  readonly batches: number;
  /** Batches that are done, in all epochs. */
  readonly step: number;
  readonly rate: number;
  /** Of the batch. */
  readonly loss: number;
  /** Over the epoch so far. */
  readonly scores: Scores;
  readonly examplesPerSecond: number;
}

/** A layer's input and output in a training step; both are disposed of after the call: ask for `read()` in it. */
export interface LayerSight {
  readonly layer: string;
  readonly title: string;
  readonly input: Tensor;
  readonly output: Tensor;
  readonly epoch: number;
  readonly step: number;
}

export interface TrainOptions {
  readonly engine: Engine;
  /** Its parameters are trained in place. */
  readonly model: Model;
  readonly data: TrainingData;
  readonly optimiser: Optimiser;
  /** Default "crossEntropy". */
  readonly loss?: LossName | CustomLoss | undefined;
  /** Default: the optimiser's rate throughout. */
  readonly schedule?: Schedule | undefined;
  /** In all, those of a resumed run's past too. */
  readonly epochs: number;
  /** Batches whose gradients make one update, their mean over all examples; default 1. An epoch's last update may have fewer. */
  readonly accumulate?: number | undefined;
  /** Epochs between evaluations; default 1. The last epoch is always followed by one. */
  readonly evaluateEvery?: number | undefined;
  readonly checkpoint?: Checkpointing | undefined;
  /** Of dropout; default: the engine's. */
  readonly seed?: number | undefined;
  /** Stops after the step that is under way. */
  readonly signal?: AbortSignal | undefined;
  /** Goes on from here; model and optimiser are overwritten. */
  readonly resume?: TrainingState | undefined;
  /** More engines with the same model (`data-parallel.ts`): each batch is cut among all. Evaluation stays on the first. */
  readonly replicas?: readonly Replica[] | undefined;
  readonly onProgress?: ((progress: TrainingProgress) => void) | undefined;
  readonly onEpoch?: ((record: EpochRecord) => void | Promise<void>) | undefined;
  readonly diagnostics?: Diagnostics | undefined;
}

export interface Checkpointing {
  /** Epochs between checkpoints; default 1. The last epoch, and one that is the best so far, always has one. */
  readonly every?: number | undefined;
  /** `best`: no epoch before has been better on the validation examples. */
  readonly save: (state: TrainingState, about: { readonly best: boolean }) => Promise<void>;
}

export interface Diagnostics {
  /** Steps from one that is looked at to the next. */
  readonly every: number;
  readonly see: (sight: LayerSight) => void;
}

export interface TrainingResult {
  readonly history: readonly EpochRecord[];
  /** On the validation examples; absent without any. */
  readonly best?: BestEpoch | undefined;
  /** Batches in all epochs. */
  readonly step: number;
}

/**
 * Trains until `epochs` are done.
 *
 * Throws, before anything runs, E_SHAPE and E_DATA where data does not meet the model, E_CONFIG for options that cannot be
 * meant and for a state of another model. While it runs: E_DATA and E_SHAPE for a batch that does not fit, E_DIVERGED at the
 * first loss that is not finite (the message names the first layer where something is not; the weights are those before that
 * step), and where a model that would be saved, or given back, has weights or running statistics that are not; E_ABORTED by the signal, and what data and hooks throw. What was saved last stays as it is.
 */
export async function train(options: TrainOptions): Promise<TrainingResult> {
  requireTrainable(options);
  const run = new TrainingRun(options);
  try {
    return await run.run();
  } catch (thrown) {
    throw run.told(thrown);
  } finally {
    run.dispose();
  }
}

class TrainingRun {
  private readonly options: TrainOptions;
  private readonly stepper: Stepper;
  private readonly evaluator: Evaluator;
  private readonly schedule: Schedule;
  /** Epochs done. */
  private epoch = 0;
  /** Batches done. */
  private step = 0;
  private history: readonly EpochRecord[] = [];
  private best: BestEpoch | undefined;
  /** The epoch that was saved last. */
  private saved: number | undefined;

  constructor(options: TrainOptions) {
    const { engine, model, data, loss = "crossEntropy", optimiser, seed = engine.seed, replicas = [] } = options;
    const { classes } = data;
    const common = { loss: lossOf(loss, { model, classes }), optimiser, classes, seed };
    this.options = options;
    this.schedule = options.schedule ?? constantRate;
    this.evaluator = new Evaluator({ engine, model, classes, loss });
    this.stepper =
      replicas.length === 0
        ? new TrainingStep({ ...common, engine, model })
        : new DataParallelStep({ ...common, replicas: [{ engine, model }, ...replicas] });
  }

  async run(): Promise<TrainingResult> {
    const { engine, model, epochs, replicas = [], resume, onEpoch } = this.options;
    if (resume !== undefined) this.restore(resume);
    if (replicas.length > 0) await synchronise([{ engine, model }, ...replicas]);
    while (this.epoch < epochs) {
      const trained = await this.trainEpoch(this.epoch + 1);
      const record = { ...trained, ...(await this.evaluate(trained.epoch)) };
      this.epoch = record.epoch;
      this.history = [...this.history, record];
      const improved = improvement(record.validation, this.best?.scores);
      if (improved !== undefined) this.best = { epoch: record.epoch, scores: improved };
      await this.save(improved !== undefined);
      await onEpoch?.(record);
    }
    const { history, step, best } = this;
    return { history, step, ...(best && { best }) };
  }

  /** The error of a run that was stopped, wherever that was, with what there is to go on from; others as they are. */
  told(thrown: unknown): unknown {
    if (!(thrown instanceof WidefieldError) || thrown.code !== "E_ABORTED") return thrown;
    // Data and evaluation stop without knowing of epochs.
    const { message, details } = thrown;
    const epoch = this.epoch + 1;
    const where = details["epoch"] === undefined ? `stopped in epoch ${epoch} (${message})` : message;
    const next = this.saved === undefined ? "" : ", and the same run goes on from it";
    return new WidefieldError("E_ABORTED", `${where}; ${this.intact}${next}`, {
      cause: thrown,
      details: { epoch, ...details },
    });
  }

  dispose(): void {
    this.stepper.dispose();
    this.evaluator.dispose();
  }

  private restore(state: TrainingState): void {
    restoreModel(this.options.model, state);
    this.stepper.restore(state.optimiser);
    ({ epoch: this.epoch, step: this.step, history: this.history, best: this.best } = state);
    this.saved = state.epoch;
  }

  private async trainEpoch(epoch: number): Promise<EpochRecord> {
    const { model, data, optimiser, accumulate = 1, onProgress } = this.options;
    const batches = data.batchCount(epoch);
    const updates = Math.ceil(batches / accumulate);
    const sum = new ScoreSum(model.outputs);
    const started = performance.now();
    let [begun, ended, factor] = [0, 0, 1];
    const append = (batch: TrainingBatch): Promise<BatchReport & { readonly rate: number }> => {
      this.requireGoing(epoch, begun, batches);
      // Sources that leave out what cannot be read may give fewer batches than they said, never more.
      factor = factorAt(this.schedule, epoch, Math.floor(begun / accumulate), updates);
      const rate = optimiser.rate * factor;
      const { step } = this;
      const at = { step, factor, update: (begun + 1) % accumulate === 0, observe: this.observerOf(epoch, step) };
      begun++;
      this.step++;
      const reading = this.stepper.append(batch, at);
      data.release?.(batch);
      return reading.then((report) => ({ ...report, rate }));
    };
    await oneBehind(data.batchesOf(epoch), append, async ({ rate, ...report }) => {
      const { loss } = report;
      const step = this.step - (begun - ended);
      ended++;
      if (!Number.isFinite(loss))
        throw await this.stepper.explain({ loss, step, epoch, batch: ended, rate, intact: this.intact });
      sum.add(report);
      const { scores } = sum;
      const examplesPerSecond = (1000 * scores.count) / (performance.now() - started);
      const counts = { epoch, epochs: this.options.epochs, batch: ended, batches, step: step + 1 };
      onProgress?.({ ...counts, rate, loss, scores, examplesPerSecond });
    });
    if (begun === 0) throw new WidefieldError("E_DATA", `the data gives no batches for epoch ${epoch}`);
    await this.stepper.flush(factor);
    const seconds = (performance.now() - started) / 1000;
    return {
      ...{ epoch, step: this.step, rate: optimiser.rate * factor, training: sum.scores },
      ...{ seconds, examplesPerSecond: sum.scores.count / seconds },
    };
  }

  private async evaluate(epoch: number): Promise<Pick<EpochRecord, "validation" | "test">> {
    const { data, epochs, evaluateEvery = 1, signal } = this.options;
    if (epoch % evaluateEvery !== 0 && epoch !== epochs) return {};
    const release = data.release?.bind(data);
    const scored = async (batches: (() => AsyncIterable<TrainingBatch>) | undefined): Promise<Scores | undefined> =>
      batches && this.evaluator.run(batches(), { signal, release });
    const validation = await scored(data.evaluation.validation);
    const test = await scored(data.evaluation.test);
    return { ...(validation && { validation }), ...(test && { test }) };
  }

  private async save(best: boolean): Promise<void> {
    const { checkpoint, epochs, model } = this.options;
    const { epoch, step, history, intact } = this;
    const due = checkpoint !== undefined && (best || epoch % (checkpoint.every ?? 1) === 0);
    if (!due && epoch !== epochs) return;
    const arrays = await captureModel(model);
    const diverged = divergedArrays(arrays, { epoch, step, intact });
    if (diverged !== undefined) throw diverged;
    if (checkpoint === undefined) return;
    const optimiser = await this.stepper.capture();
    const state = {
      epoch,
      step,
      ...arrays,
      optimiser,
      history,
      ...(this.best && { best: this.best }),
    };
    await checkpoint.save(state, { best });
    this.saved = epoch;
  }

  private observerOf(epoch: number, step: number) {
    const { diagnostics } = this.options;
    if (diagnostics === undefined || step % diagnostics.every !== 0) return undefined;
    return (layer: string, title: string, input: Tensor, output: Tensor): void =>
      diagnostics.see({ layer, title, input, output, epoch, step });
  }

  private requireGoing(epoch: number, batch: number, batches: number): void {
    const { signal } = this.options;
    if (signal?.aborted !== true) return;
    throw new WidefieldError("E_ABORTED", `stopped in epoch ${epoch} after ${batch} of ${batches} batches`, {
      cause: signal.reason,
      details: { epoch, batch },
    });
  }

  private get intact(): string {
    if (this.saved === undefined) return "nothing had been saved yet";
    return `the checkpoint of epoch ${this.saved} is as it was`;
  }
}

/** The scores, where they are better than the best so far; those of a loss that is not finite never are. */
function improvement(scores: Scores | undefined, best: Scores | undefined): Scores | undefined {
  if (scores === undefined || !Number.isFinite(scores.loss)) return undefined;
  if (best === undefined) return scores;
  const better =
    scores.accuracy === undefined || best.accuracy === undefined
      ? scores.loss < best.loss
      : scores.accuracy > best.accuracy;
  return better ? scores : undefined;
}
