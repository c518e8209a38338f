/** What the settings of a training run mean: its network, data, loss, optimiser, schedule, and what tells it from others. */
import { archToJson, type Arch } from "../arch/arch.ts";
import type { Initialiser } from "../arch/initialisers.ts";
import { archFromJson } from "../arch/json.ts";
import { network, type Network } from "../arch/network.ts";
import { trainableArch, trainableInit, trainableNames } from "../arch/trainable.ts";
import type { Json } from "../covariance/store/manifest.ts";
import type { BatchSource } from "../data/batch-source.ts";
import { epochOrder, release, type Batch, type BatchLoader } from "../data/batches.ts";
import { normalisationOf } from "../data/normalisation.ts";
import { trainingSplit, type TrainingSplit } from "../data/splits.ts";
import type { Engine } from "../engine/engine.ts";
import type { RunIdentity } from "../learn/checkpoint.ts";
import { adam, rmsprop, sgd, type Optimiser } from "../learn/optimisers.ts";
import { constantRate, cosine, linearToZero, stepDecay, type Schedule } from "../learn/schedules.ts";
import type { TrainingBatch, TrainingData } from "../learn/training-data.ts";
import type { LossName } from "../learn/training-loss.ts";
import { nonlinearity } from "./nonlinearities.ts";
import type { TrainSettings } from "./train-settings.ts";

/** Images to train on, and behind them images to test on. */
export interface TrainImages {
  /** Its name decides splits and the constants of normalisation. */
  readonly source: BatchSource;
  /** Training images of the source. */
  readonly trainCount: number;
  /** Stands for the images in checkpoints. */
  readonly digest: string;
}

/** The architecture of settings, for the images of a source. Throws E_CONFIG, E_SHAPE. */
export function archOf(settings: TrainSettings, { shape, classes }: Pick<BatchSource, "shape" | "classes">): Arch {
  const { arch, nonlin, tpRule, tpGradScale, useBn } = settings;
  if (typeof arch !== "string") return archFromJson(arch);
  const activation = nonlinearity(nonlin, { rule: tpRule, gradScale: tpGradScale });
  return trainableArch(arch, { input: shape, classes, activation, batchNorm: useBn });
}

/** Width of layers without one of their own, in architectures given as JSON. */
const CHANNELS = 100;

/** A network of the architecture, its weights drawn from the settings' seed. */
export function networkOf(engine: Engine, arch: Arch, settings: TrainSettings, source: BatchSource): Network {
  const { shape, classes } = source;
  const { init, seed } = settings;
  const named = trainableNames.find((name) => name === settings.arch);
  // What "pytorch" means of a residual network is its authors' own.
  const initialiser = named !== undefined && init === "pytorch" ? trainableInit(named) : (init as Initialiser);
  const outputs = named === undefined ? { outputs: classes } : {};
  return network(engine, arch, { input: shape, channels: CHANNELS, ...outputs, seed, init: initialiser });
}

const LOSSES: Readonly<Record<TrainSettings["loss"], LossName>> = {
  crossent: "crossEntropy",
  hinge: "hinge",
  hingeL2: "squaredHinge",
  hingeSM: "logHinge",
  hingeTrunc: "truncatedHinge",
};

export function lossNameOf({ loss }: TrainSettings): LossName {
  return LOSSES[loss];
}

export function optimiserOf({ opt, lr, momentum, wtdecay }: TrainSettings): Optimiser {
  if (opt === "sgd") return sgd({ rate: lr, momentum, weightDecay: wtdecay });
  // As published, momentum is sgd's alone.
  return opt === "adam" ? adam({ rate: lr, weightDecay: wtdecay }) : rmsprop({ rate: lr, weightDecay: wtdecay });
}

export function scheduleOf({ schedule, lrDecay, lrDecayEpochs, epochs, warmup }: TrainSettings): Schedule {
  if (schedule === "linear") return linearToZero({ epochs });
  if (schedule === "cosine") return cosine({ epochs, warmup });
  return lrDecayEpochs.length === 0 ? constantRate : stepDecay({ factor: lrDecay, epochs: lrDecayEpochs });
}

export function splitOf(settings: TrainSettings, { source, trainCount }: TrainImages): TrainingSplit {
  const { val: validation, seed, dbgDsSize } = settings;
  const limit = dbgDsSize === 0 ? undefined : dbgDsSize;
  return trainingSplit(source.name, { trainCount, testCount: source.count - trainCount }, { validation, seed, limit });
}

/** Batches of a run, and those of its test images, which are looked at after each epoch only where `plotTest` says so. */
export interface RunData {
  readonly data: TrainingData;
  readonly test: (() => AsyncIterable<TrainingBatch>) | undefined;
}

export function runDataOf(
  settings: TrainSettings,
  source: BatchSource,
  split: TrainingSplit,
  loader: BatchLoader,
): RunData {
  const { batch, testBatch, aug: augment, seed, plotTest } = settings;
  const { channels, height, width } = source.shape;
  const common = { seed, normalisation: normalisationOf(source.name) };
  const inOrder = (order: Uint32Array) => {
    const plan = { ...common, order, batch: testBatch === 0 ? batch : testBatch, augment: false, epoch: 0 };
    return order.length === 0 ? undefined : () => loader.batches(plan);
  };
  const test = inOrder(split.test);
  const data: TrainingData = {
    inputShape: [channels, height, width],
    classes: source.classes,
    trainCount: split.train.length,
    batchCount: () => Math.ceil(split.train.length / batch),
    batchesOf: (epoch) => {
      // The loader counts epochs from 0.
      const order = epochOrder(split.train, seed, epoch - 1);
      return loader.batches({ ...common, order, batch, augment, epoch: epoch - 1 });
    },
    evaluation: { validation: inOrder(split.validation), test: plotTest ? test : undefined },
    release: (given) => release(given as Batch),
  };
  return { data, test };
}

/**
 * What a checkpoint has to share with a run that goes on from it: everything that its numbers depend on. More epochs may be
 * asked for, unless the schedule depends on them.
 */
export function identityOf(
  settings: TrainSettings,
  arch: Arch,
  { source, digest }: TrainImages,
  [engine, ...replicas]: readonly [Pick<Engine, "info">, ...Pick<Engine, "info">[]],
): RunIdentity {
  const { epochs, warmup, schedule } = settings;
  // What only looks at the model, and what stands below in another form.
  const others = new Set(["epochs", "warmup", "schedule", "arch", "plotTest", "testBatch", "testFinalModel"]);
  const decisive = Object.fromEntries(Object.entries(settings).filter(([name]) => !others.has(name)));
  const placeOf = ({ info: { backend, adapter } }: Pick<Engine, "info">) => ({ backend, adapter });
  return {
    ...decisive,
    schedule: schedule === "steps" ? { kind: schedule } : { kind: schedule, epochs, warmup },
    architecture: archToJson(arch) as Json,
    data: { name: source.name, sha256: digest },
    // Resumed bits are those of an uninterrupted run on one backend only, and of batches that are cut in as many parts.
    backend: placeOf(engine),
    ...(replicas.length === 0 ? {} : { replicas: replicas.map(placeOf) }),
  };
}
