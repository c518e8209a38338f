/**
 * What a training run leaves in its folder beside its checkpoints: metrics as JSON lines and event files for TensorBoard,
 * with histograms of what hard thresholds take and give where they are asked for.
 */
import { MetricsLog } from "../learn/metrics-log.ts";
import { StepHistograms } from "../learn/step-histograms.ts";
import type { Diagnostics, TrainingProgress } from "../learn/train.ts";
import type { EpochRecord, TrainingState } from "../learn/training-state.ts";
import type { Files } from "../platform/files.ts";
import { scoreScalars, TensorBoard } from "../report/tensorboard.ts";

export interface DiagnosticsSettings {
  /** Part of an array's numbers that histograms count, in (0, 1]; default 0.01. */
  readonly sample?: number | undefined;
  /** Part of the batches that they leave out, in [0, 1]; default 0.95. */
  readonly drop?: number | undefined;
}

export interface TrainRecordsOptions {
  readonly folder?: { readonly files: Files; readonly path: string } | undefined;
  /** Default true. */
  readonly tensorBoard?: boolean | undefined;
  readonly diagnostics?: DiagnosticsSettings | undefined;
  readonly seed: number;
}

/** Batches from one that event files tell of to the next, as published. */
const EVENT_STEPS = 200;
/** Batches from one that the metrics tell of to the next: enough for a curve within an epoch. */
const METRIC_STEPS = 10;

export class TrainRecords {
  readonly diagnostics: Diagnostics | undefined;
  private readonly metrics: MetricsLog | undefined;
  private readonly board: TensorBoard | undefined;
  private readonly histograms: StepHistograms | undefined;
  /** Losses of an epoch's batches since the last line of metrics: single ones are noise. */
  private since = { epoch: 0, sum: 0, count: 0 };
  /** Event files are written behind the steps; what failed comes out at the epoch's end. */
  private writing: Promise<void> = Promise.resolve();
  private failed: { readonly thrown: unknown } | undefined;

  private constructor(
    metrics: MetricsLog | undefined,
    board: TensorBoard | undefined,
    histograms: StepHistograms | undefined,
  ) {
    this.metrics = metrics;
    this.board = board;
    this.histograms = histograms;
    this.diagnostics = histograms;
  }

  /** Opens the files; `found`: the checkpoint that the run goes on from. Throws E_IO, E_CORRUPT, E_CONFIG. */
  static async open(options: TrainRecordsOptions, found: TrainingState | undefined): Promise<TrainRecords> {
    const { folder, tensorBoard = true, diagnostics, seed } = options;
    if (folder === undefined) return new TrainRecords(undefined, undefined, undefined);
    const { files, path } = folder;
    const metrics = await MetricsLog.open(files, `${path}/metrics.jsonl`, found?.history);
    try {
      const board = tensorBoard ? await TensorBoard.open(files, path, { resumedAt: found?.step }) : undefined;
      const wanted = board !== undefined && diagnostics !== undefined;
      return new TrainRecords(metrics, board, wanted ? new StepHistograms({ seed, ...diagnostics }) : undefined);
    } catch (thrown) {
      await metrics.close();
      throw thrown;
    }
  }

  /** After a batch; waits for nothing. */
  step(progress: Pick<TrainingProgress, "epoch" | "step" | "rate" | "loss" | "scores">): void {
    const { board, metrics } = this;
    const { epoch, step, rate, loss, scores } = progress;
    // A run that goes on begins with an epoch, and so does the mean.
    const before = this.since.epoch === epoch ? this.since : { sum: 0, count: 0 };
    const since = { epoch, sum: before.sum + loss, count: before.count + 1 };
    this.since = since;
    if (metrics !== undefined && step % METRIC_STEPS === 0) {
      this.since = { epoch, sum: 0, count: 0 };
      this.later(() => metrics.step({ epoch, step, rate, loss: since.sum / since.count }));
    }
    if (board === undefined || step % EVENT_STEPS !== 0) return;
    this.later(async () => {
      await board.scalars(step, scoreScalars("train/", { ...scores, loss }));
      const collected = await this.histograms?.collect("train/");
      if (collected !== undefined && collected.size > 0) await board.histograms(step, collected);
    });
  }

  /** After an epoch. Throws what writing it, or a batch before it, threw. */
  async epoch(record: EpochRecord): Promise<void> {
    await this.settled();
    await this.metrics?.epoch(record);
    await this.board?.epoch(record);
  }

  async close(): Promise<void> {
    await this.writing;
    await this.metrics?.close();
    await this.board?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private later(work: () => Promise<void>): void {
    this.writing = this.writing.then(work).catch((thrown: unknown) => void (this.failed ??= { thrown }));
  }

  private async settled(): Promise<void> {
    await this.writing;
    const { failed } = this;
    this.failed = undefined;
    if (failed !== undefined) throw failed.thrown;
  }
}
