/**
 * A training run from settings to scores, in a folder of its own: checkpoints, metrics, event files. `train()` of
 * `sdk/learn/train.ts` is what trains, `train-parts.ts` says what the settings mean.
 */
import { archToJson, type Arch } from "../arch/arch.ts";
import type { Network } from "../arch/network.ts";
import { differences, type Json } from "../covariance/store/manifest.ts";
import { requireFit } from "../data/batch-source.ts";
import { BatchLoader, release, type BadImage, type Batch } from "../data/batches.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { CheckpointFolder, loadCheckpoint, restoreCheckpoint, type Checkpoint } from "../learn/checkpoint.ts";
import { Evaluator } from "../learn/evaluate.ts";
import { train, type Checkpointing, type TrainingProgress, type TrainingResult } from "../learn/train.ts";
import { restoreModel, type EpochRecord, type ModelArrays } from "../learn/training-state.ts";
import type { Scores, TrainingState } from "../learn/training-state.ts";
import type { Files } from "../platform/files.ts";
import {
  archOf,
  identityOf,
  lossNameOf,
  networkOf,
  optimiserOf,
  runDataOf,
  scheduleOf,
  splitOf,
  type RunData,
  type TrainImages,
} from "./train-parts.ts";
import { TrainRecords, type DiagnosticsSettings } from "./train-records.ts";
import type { TrainSettings } from "./train-settings.ts";

interface Loading {
  readonly engine: Engine;
  readonly settings: TrainSettings;
  readonly images: TrainImages;
  /** Threads that prepare batches; default 2. */
  readonly workers?: number | undefined;
  /** Images that do not decode are left out, and counted. */
  readonly skipBad?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface TrainExperiment extends Loading {
  /** Keeps checkpoints and records here, and goes on from the last checkpoint that is there. */
  readonly folder?: { readonly files: Files; readonly path: string } | undefined;
  /** True: the folder has to hold a checkpoint to go on from. */
  readonly resume?: boolean | undefined;
  /** Event files for TensorBoard in the folder; default true. */
  readonly tensorBoard?: boolean | undefined;
  /** Histograms of what layers with hard thresholds take and give, in the event files. */
  readonly diagnostics?: DiagnosticsSettings | undefined;
  /** More engines, among which every batch is cut. */
  readonly replicas?: readonly Engine[] | undefined;
  readonly onProgress?: ((progress: TrainingProgress) => void) | undefined;
  readonly onEpoch?: ((record: EpochRecord) => void) | undefined;
}

export interface TrainExperimentResult extends TrainingResult {
  readonly parameters: number;
  readonly images: { readonly train: number; readonly validation: number; readonly test: number };
  /**
   * Of the best model on the validation images, or of the last where there were none: what `testFinalModel` asks for.
   * `epoch` is that model's.
   */
  readonly final?: { readonly epoch: number; readonly test: Scores } | undefined;
  /** Images that were left out. */
  readonly badImages: readonly BadImage[];
  /** Epochs that had been trained before. */
  readonly resumedAt: number;
}

/**
 * Trains, or goes on, until the settings' epochs are done.
 *
 * Throws E_CONFIG, E_SHAPE and E_DATA where settings, architecture and images do not fit together, E_MISMATCH, E_CORRUPT and
 * E_LOCKED of its folder, and what `train` throws.
 */
export async function runTraining(experiment: TrainExperiment): Promise<TrainExperimentResult> {
  const { engine, settings, images, folder, signal, resume = false } = experiment;
  const { source } = images;
  const arch = archOf(settings, source);
  const split = splitOf(settings, images);
  const nets: Network[] = [];
  const networkOn = (on: Engine): Network => {
    const made = networkOf(on, arch, settings, source);
    nets.push(made);
    return made;
  };
  try {
    const model = networkOn(engine);
    requireFit(source, { input: source.shape, outputs: model.outputs });
    const replicas = (experiment.replicas ?? []).map((other) => ({ engine: other, model: networkOn(other) }));
    if (resume) await requireCheckpoint(folder);
    const identity = identityOf(settings, arch, images, [engine, ...(experiment.replicas ?? [])]);
    await using checkpoints = folder && (await CheckpointFolder.open(folder.files, folder.path, identity));
    const found = checkpoints?.found;
    await using loading = await loadingOf(experiment);
    const run = runDataOf(settings, source, split, loading.loader);
    await using records = await recordsOf(experiment, found);
    // Without a folder the best model is kept here, where it is asked for.
    let best: ModelArrays | undefined;
    const keepBest: Checkpointing = {
      every: settings.epochs,
      save: (state, about) => {
        if (about.best) best = state;
        return Promise.resolve();
      },
    };
    const done = found !== undefined && found.epoch >= settings.epochs;
    if (done) restoreModel(model, found);
    const result = done
      ? resultOf(found)
      : await train({
          ...{ engine, model, data: run.data, replicas, signal, resume: found },
          ...{ epochs: settings.epochs, accumulate: settings.accumulate, seed: settings.seed },
          optimiser: optimiserOf(settings),
          loss: lossNameOf(settings),
          schedule: scheduleOf(settings),
          checkpoint:
            checkpoints === undefined
              ? settings.testFinalModel
                ? keepBest
                : undefined
              : { save: (state, about) => checkpoints.save(state, about) },
          diagnostics: records.diagnostics,
          onProgress: (progress) => {
            records.step(progress);
            experiment.onProgress?.(progress);
          },
          onEpoch: async (record) => {
            await records.epoch(record);
            experiment.onEpoch?.(record);
          },
        });
    const final = settings.testFinalModel
      ? await finalTest(experiment, model, run, { ...result, kept: best })
      : undefined;
    return {
      ...result,
      ...(final && { final }),
      parameters: model.parameterCount,
      images: { train: split.train.length, validation: split.validation.length, test: split.test.length },
      badImages: loading.loader.badImages,
      resumedAt: found?.epoch ?? 0,
    };
  } finally {
    for (const net of nets) net.dispose();
  }
}

export interface TestExperiment extends Loading {
  readonly files: Files;
  /** Folder of the run whose model is tested: its best, or its last where no epoch was the best. */
  readonly from: string;
}

/**
 * Scores of a run's model on the test images, and its epoch. Throws E_MISMATCH, line by line, where the settings' architecture
 * is not the model's, activations and all; and as `loadCheckpoint`, `restoreCheckpoint`.
 */
export async function testModel(
  experiment: TestExperiment,
): Promise<{ readonly epoch: number; readonly test: Scores }> {
  const { engine, settings, images, files, from, signal } = experiment;
  const { source } = images;
  const best = (await files.size(`${from}/best.json`)) !== undefined;
  const checkpoint = await loadCheckpoint(files, from, best ? "best" : "last");
  const arch = archOf(settings, source);
  requireArch(checkpoint, from, arch);
  using model = networkOf(engine, arch, settings, source);
  requireFit(source, { input: source.shape, outputs: model.outputs });
  restoreCheckpoint(checkpoint, model);
  await using loading = await loadingOf(experiment);
  const run = runDataOf(settings, source, splitOf(settings, images), loading.loader);
  return { epoch: checkpoint.state.epoch, test: await scoresOf({ engine, settings, signal }, model, run) };
}

/** Weights of two architectures may have the same shapes: those of a step and of a relu do. */
function requireArch({ path, run }: Checkpoint, folder: string, arch: Arch): void {
  const lines = differences(run["architecture"], archToJson(arch) as Json, "architecture");
  if (lines.length === 0) return;
  throw new WidefieldError(
    "E_MISMATCH",
    `${folder} holds a model of another architecture (stored -> asked for):\n` +
      lines.map((line) => `  ${line}\n`).join("") +
      "Give the options that it was trained with.",
    { details: { path, differences: lines } },
  );
}

/** Before anything is made there. Throws E_DATA. */
async function requireCheckpoint(folder: TrainExperiment["folder"]): Promise<void> {
  if (folder !== undefined && (await folder.files.size(`${folder.path}/last.json`)) !== undefined) return;
  throw new WidefieldError("E_DATA", `${folder?.path ?? "no folder"} holds no checkpoint to go on from`);
}

/** The best model where it is not the one that has just been trained, or read: of the folder, else `kept`. */
async function finalTest(
  { engine, settings, folder, signal }: TrainExperiment,
  model: Network,
  run: RunData,
  { best, history, kept }: TrainingResult & { readonly kept: ModelArrays | undefined },
): Promise<{ readonly epoch: number; readonly test: Scores }> {
  const trained = history.at(-1)?.epoch ?? 0;
  const epoch = best?.epoch ?? trained;
  if (epoch !== trained) {
    if (folder !== undefined) restoreCheckpoint(await loadCheckpoint(folder.files, folder.path, "best"), model);
    else if (kept !== undefined) restoreModel(model, kept);
  }
  return { epoch, test: await scoresOf({ engine, settings, signal }, model, run) };
}

async function scoresOf(
  { engine, settings, signal }: Pick<TrainExperiment, "engine" | "settings" | "signal">,
  model: Network,
  { data, test }: RunData,
): Promise<Scores> {
  if (test === undefined) throw new WidefieldError("E_DATA", "there are no test images");
  const evaluator = new Evaluator({ engine, model, classes: data.classes, loss: lossNameOf(settings) });
  try {
    return await evaluator.run(test(), { signal, release: (batch) => release(batch as Batch) });
  } finally {
    evaluator.dispose();
  }
}

function resultOf({ history, step, best }: TrainingState): TrainingResult {
  return { history, step, ...(best && { best }) };
}

/** A loader that closes itself. */
async function loadingOf({ images, workers = 2, skipBad, signal, engine }: Loading) {
  const loader = await BatchLoader.open({ source: images.source, workers, skipBad, signal, log: engine.log });
  return { loader, [Symbol.asyncDispose]: () => loader.close() };
}

function recordsOf({ folder, tensorBoard, diagnostics, settings }: TrainExperiment, found: TrainingState | undefined) {
  return TrainRecords.open({ folder, tensorBoard, diagnostics, seed: settings.seed }, found);
}
