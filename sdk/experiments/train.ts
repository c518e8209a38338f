/**
 * A training run from settings to scores: data that are split, shuffled and augmented, a network of a named architecture,
 * an optimiser and its schedule, checkpoints, metrics and event files in a folder. `train()` of `sdk/learn/train.ts` is what
 * trains; here stands only what the settings mean.
 */
import { archFromJson } from "../arch/json.ts";
import { network, type Network } from "../arch/network.ts";
import { archToJson, type Arch } from "../arch/arch.ts";
import { trainableArch, trainableInit, trainableNames } from "../arch/trainable.ts";
import type { Initialiser } from "../arch/initialisers.ts";
import type { BatchSource } from "../data/batch-source.ts";
import { requireFit } from "../data/batch-source.ts";
import { BatchLoader, epochOrder, release, type BadImage, type Batch } from "../data/batches.ts";
import { normalisationOf } from "../data/normalisation.ts";
import { trainingSplit, type TrainingSplit } from "../data/splits.ts";
import type { Json } from "../covariance/store/manifest.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { CheckpointFolder, loadCheckpoint, restoreCheckpoint, type RunIdentity } from "../learn/checkpoint.ts";
import { evaluate } from "../learn/evaluate.ts";
import { adam, rmsprop, sgd, type Optimiser } from "../learn/optimisers.ts";
import { constantRate, cosine, linearToZero, stepDecay, type Schedule } from "../learn/schedules.ts";
import { train, type TrainingProgress, type TrainingResult } from "../learn/train.ts";
import type { TrainingData } from "../learn/training-data.ts";
import type { LossName } from "../learn/training-loss.ts";
import type { EpochRecord, Scores, TrainingState } from "../learn/training-state.ts";
import type { Replica } from "../learn/data-parallel.ts";
import type { Files } from "../platform/files.ts";
import { nonlinearity } from "./nonlinearities.ts";
import { TrainRecords, type DiagnosticsSettings } from "./train-records.ts";
import type { TrainSettings } from "./train-settings.ts";

export interface TrainExperiment {
  readonly engine: Engine;
  readonly settings: TrainSettings;
  /** Its name decides splits and constants of normalisation. */
  readonly source: BatchSource;
  /** Training images of the source; those behind them are for testing. */
  readonly trainCount: number;
  /** Stands for the source in checkpoints. */
  readonly digest: string;
  /** Threads that prepare batches. Default 2. */
  readonly workers?: number | undefined;
  readonly skipBad?: boolean | undefined;
  /** Keeps checkpoints and records here, and goes on from the last checkpoint that is there. */
  readonly folder?: { readonly files: Files; readonly path: string } | undefined;
  /** True: the folder has to hold a checkpoint to go on from. */
  readonly resume?: boolean | undefined;
  /** Event files for TensorBoard in the folder. Default true. */
  readonly tensorBoard?: boolean | undefined;
  /** Histograms of what layers with hard thresholds take and give. */
  readonly diagnostics?: DiagnosticsSettings | undefined;
  /** More engines, among which every batch is cut. */
  readonly replicas?: readonly Engine[] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: TrainingProgress) => void) | undefined;
  readonly onEpoch?: ((record: EpochRecord) => void) | undefined;
}

export interface TrainExperimentResult extends TrainingResult {
  readonly parameters: number;
  readonly images: { readonly train: number; readonly validation: number; readonly test: number };
  /** Of the best model on the validation images, or of the last where there were none; asked for by `testFinalModel`. */
  readonly test?: Scores | undefined;
  readonly badImages: readonly BadImage[];
  /** Epochs that were there already. */
  readonly resumedAt: number;
}

/**
 * Trains, or goes on, until the settings' epochs are done. Throws what data, network, checkpoints and `train` throw; see
 * there.
 */
export async function runTraining(experiment: TrainExperiment): Promise<TrainExperimentResult> {
  const { engine, settings, source, folder, signal } = experiment;
  const arch = archOf(settings, source);
  const split = splitOf(experiment);
  const nets: Network[] = [];
  const networkOn = (on: Engine): Network => {
    const made = network(on, arch, networkOptions(settings, source));
    nets.push(made);
    return made;
  };
  try {
    const model = networkOn(engine);
    requireFit(source, { input: source.shape, outputs: model.outputs });
    const replicas = (experiment.replicas ?? []).map((other): Replica => ({ engine: other, model: networkOn(other) }));
    await using checkpoints =
      folder && (await CheckpointFolder.open(folder.files, folder.path, identityOf(experiment, arch)));
    const found = checkpoints?.found;
    if (experiment.resume === true && found === undefined)
      throw new WidefieldError("E_DATA", `${folder?.path ?? "no folder"} holds no checkpoint to go on from`);
    await using loader = await loaderOf(experiment);
    const data = dataOf(experiment, split, loader.loader);
    const records = await TrainRecords.open(experiment, found);
    try {
      const result =
        found !== undefined && found.epoch >= settings.epochs
          ? finished(found, model)
          : await train({
              ...{ engine, model, data, replicas, signal, resume: found, onProgress: experiment.onProgress },
              ...{ epochs: settings.epochs, accumulate: settings.accumulate, seed: settings.seed },
              optimiser: optimiserOf(settings),
              loss: LOSSES[settings.loss],
              schedule: scheduleOf(settings),
              checkpoint: checkpoints && { save: (state, { best }) => checkpoints.save(state, { best }) },
              diagnostics: records.diagnostics,
              onEpoch: async (record) => {
                await records.epoch(record);
                experiment.onEpoch?.(record);
              },
            });
      const test = settings.testFinalModel ? await finalTest(experiment, { data, model, result }) : undefined;
      await records.finish(result.history);
      return {
        ...result,
        ...(test && { test }),
        parameters: model.parameterCount,
        images: { train: split.train.length, validation: split.validation.length, test: split.test.length },
        badImages: loader.loader.badImages,
        resumedAt: found?.epoch ?? 0,
      };
    } finally {
      await records.close();
    }
  } finally {
    for (const net of nets) net.dispose();
  }
}

export interface TestExperiment extends Pick<
  TrainExperiment,
  "engine" | "settings" | "source" | "trainCount" | "workers" | "skipBad" | "signal"
> {
  readonly files: Files;
  /** Folder of the run whose model is tested: the best, or the last where no epoch was the best. */
  readonly from: string;
}

/** Scores of a run's model on the test images (`--test-model`). Throws as `loadCheckpoint`, `restoreCheckpoint`. */
export async function testModel(experiment: TestExperiment): Promise<Scores> {
  const { engine, settings, source, files, from, signal } = experiment;
  const best = (await files.size(`${from}/best.json`)) === undefined ? "last" : "best";
  const checkpoint = await loadCheckpoint(files, from, best);
  using model = network(engine, archOf(settings, source), networkOptions(settings, source));
  restoreCheckpoint(checkpoint, model);
  await using loader = await loaderOf(experiment);
  const { evaluation } = dataOf(experiment, splitOf(experiment), loader.loader);
  return scoresOf({ engine, model, loss: LOSSES[settings.loss], batches: evaluation.test?.(), signal });
}

/** The architecture of settings, for the images of a source. */
export function archOf(settings: TrainSettings, { shape, classes }: Pick<BatchSource, "shape" | "classes">): Arch {
  const { arch, nonlin, tpRule, tpGradScale, useBn } = settings;
  if (typeof arch !== "string") return archFromJson(arch);
  const activation = nonlinearity(nonlin, { rule: tpRule, gradScale: tpGradScale });
  const flag = arch === "convnet4" || useBn ? { batchNorm: useBn } : {};
  return trainableArch(arch, { input: shape, classes, activation, ...flag });
}

const LOSSES: Readonly<Record<TrainSettings["loss"], LossName>> = {
  crossent: "crossEntropy",
  hinge: "hinge",
  hingeL2: "squaredHinge",
  hingeSM: "logHinge",
  hingeTrunc: "truncatedHinge",
};

/** Width of layers without one of their own, in architectures given as JSON. */
const CHANNELS = 100;

function networkOptions({ arch, init, seed }: TrainSettings, { shape, classes }: BatchSource) {
  const named = trainableNames.find((name) => name === arch);
  const initialiser = named !== undefined && init === "pytorch" ? trainableInit(named) : (init as Initialiser);
  const outputs = named === undefined ? { outputs: classes } : {};
  return { input: shape, channels: CHANNELS, ...outputs, seed, init: initialiser };
}

function optimiserOf({ opt, lr, momentum, wtdecay }: TrainSettings): Optimiser {
  if (opt === "sgd") return sgd({ rate: lr, momentum, weightDecay: wtdecay });
  // As published, momentum is sgd's alone.
  return opt === "adam" ? adam({ rate: lr, weightDecay: wtdecay }) : rmsprop({ rate: lr, weightDecay: wtdecay });
}

function scheduleOf({ schedule, lrDecay, lrDecayEpochs, epochs, warmup }: TrainSettings): Schedule {
  if (schedule === "linear") return linearToZero({ epochs });
  if (schedule === "cosine") return cosine({ epochs, warmup });
  return lrDecayEpochs.length === 0 ? constantRate : stepDecay({ factor: lrDecay, epochs: lrDecayEpochs });
}

function splitOf({ settings, source, trainCount }: Pick<TrainExperiment, "settings" | "source" | "trainCount">): TrainingSplit {
  const { val: validation, seed, dbgDsSize } = settings;
  const counts = { trainCount, testCount: source.count - trainCount };
  const limit = dbgDsSize === 0 ? undefined : dbgDsSize;
  return trainingSplit(source.name, counts, { validation, seed, limit });
}

/** A loader that closes itself. */
async function loaderOf({ source, workers = 2, skipBad, signal, engine }: Omit<TrainExperiment, "digest" | "folder">) {
  const loader = await BatchLoader.open({ source, workers, skipBad, signal, log: engine.log });
  return { loader, [Symbol.asyncDispose]: () => loader.close() };
}

function dataOf(
  { settings, source }: Pick<TrainExperiment, "settings" | "source">,
  split: TrainingSplit,
  loader: BatchLoader,
): TrainingData {
  const { batch, testBatch, aug: augment, seed, plotTest, testFinalModel } = settings;
  const { channels, height, width } = source.shape;
  const common = { seed, normalisation: normalisationOf(source.name) };
  const inOrder = (order: Uint32Array) =>
    order.length === 0
      ? undefined
      : () => loader.batches({ ...common, order, batch: testBatch === 0 ? batch : testBatch, augment: false, epoch: 0 });
  void testFinalModel;
  return {
    inputShape: [channels, height, width],
    classes: source.classes,
    trainCount: split.train.length,
    batchCount: () => Math.ceil(split.train.length / batch),
    batchesOf: (epoch) =>
      loader.batches({ ...common, order: epochOrder(split.train, seed, epoch - 1), batch, augment, epoch: epoch - 1 }),
    evaluation: { validation: inOrder(split.validation), test: plotTest ? inOrder(split.test) : undefined },
    release: (given) => release(given as Batch),
  };
}
