/**
 * What a training run is, apart from where it reads and writes: the options of Friesen and Domingos' published script under
 * their own names, checked. A command line, a recipe and a resumed run all come through here, and what comes out is JSON:
 * equal runs have equal settings.
 */
import * as z from "zod";
import { closest, distance } from "fastest-levenshtein";
import { WidefieldError } from "../errors.ts";
import { targetRuleNames } from "../tensor/target-rules.ts";

export const TRAIN_DATASETS = ["mnist", "cifar10", "cifar100", "svhn", "imagenet", "digits"] as const;
export const TRAIN_ARCHS = ["convnet4", "convnet8", "alexnet_drf", "resnet18"] as const;
export const TRAIN_LOSSES = ["crossent", "hinge", "hingeL2", "hingeSM", "hingeTrunc"] as const;
export const TRAIN_OPTIMISERS = ["sgd", "adam", "rmsprop"] as const;
export const TRAIN_SCHEDULES = ["steps", "linear", "cosine"] as const;

/** The published script's. */
const SEED = 468412397;

function positive(name: string) {
  return z.number(`${name} is a number`).positive(`${name} must be above 0`);
}

function count(name: string, least: number) {
  return z.int(`${name} is a whole number`).min(least, `${name} must be at least ${least}`);
}

export const trainSettingsSchema = z.strictObject({
  ds: z.enum(TRAIN_DATASETS, `ds is one of ${TRAIN_DATASETS.join(", ")}`).default("cifar10"),
  /** One of TRAIN_ARCHS, or what `archFromJson` reads. */
  arch: z.union([z.string(), z.looseObject({ type: z.string() })], "arch is a name or an architecture's JSON"),
  /** What `nonlinearity` reads; of named architectures only. */
  nonlin: z.string("nonlin is a name").default("relu"),
  tpRule: z.string("tp-rule is a name").default("SoftHinge"),
  /** False: losses of hard thresholds are divided by the batch size, and not weighted by the gradient that arrives. */
  tpGradScale: z.boolean().default(true),
  loss: z.enum(TRAIN_LOSSES, `loss is one of ${TRAIN_LOSSES.join(", ")}`).default("crossent"),
  useBn: z.boolean().default(false),
  opt: z.enum(TRAIN_OPTIMISERS, `opt is one of ${TRAIN_OPTIMISERS.join(", ")}`).default("sgd"),
  lr: positive("lr"),
  momentum: z
    .number("momentum is a number")
    .min(0, "momentum must not be negative")
    .lt(1, "momentum must be below 1")
    .default(0.9),
  wtdecay: z.number("wtdecay is a number").min(0, "wtdecay must not be negative").default(0),
  /** Factor of the rate at each of `lrDecayEpochs`, which are counted from 1: the rate changes before that epoch. */
  lrDecay: positive("lr-decay").default(0.1),
  lrDecayEpochs: z.array(count("an epoch of lr-decay-epochs", 1)).default([]),
  schedule: z.enum(TRAIN_SCHEDULES, `schedule is one of ${TRAIN_SCHEDULES.join(", ")}`).default("steps"),
  /** Epochs over which a cosine's rate rises first. */
  warmup: count("warmup", 0).default(0),
  epochs: count("epochs", 1).default(300),
  batch: count("batch", 1).default(64),
  /** 0: as `batch`. */
  testBatch: count("test-batch", 0).default(0),
  /** Batches whose gradients one step adds up. */
  accumulate: count("accumulate", 1).default(1),
  /** False: train on everything, keep the last model as the best. */
  val: z.boolean().default(true),
  /** Evaluates test images after each epoch. */
  plotTest: z.boolean().default(false),
  testFinalModel: z.boolean().default(false),
  aug: z.boolean().default(true),
  /** Training images; 0: all. */
  dbgDsSize: count("dbg-ds-size", 0).default(0),
  init: z.string("init is a name").default("pytorch"),
  seed: count("seed", 0)
    .max(2 ** 32 - 1, "seed must be below 2^32")
    .default(SEED),
});

export type TrainSettings = z.output<typeof trainSettingsSchema>;
/** With everything left out that has a default. */
export type TrainSettingsInput = z.input<typeof trainSettingsSchema>;

/** Settings with every default written out. Throws E_CONFIG, a line for each thing that is wrong. */
export function trainSettings(input: TrainSettingsInput): TrainSettings {
  const result = trainSettingsSchema.safeParse(input);
  if (!result.success) {
    const lines = result.error.issues.map(({ message }) => message);
    throw new WidefieldError("E_CONFIG", lines.join("\n"), { cause: result.error });
  }
  const { arch, tpRule, schedule, warmup } = result.data;
  if (warmup > 0 && schedule !== "cosine")
    throw new WidefieldError("E_CONFIG", `warmup goes with the schedule cosine, not with ${schedule}`);
  if (!targetRuleNames.some((name) => name === tpRule))
    throw new WidefieldError("E_CONFIG", unknownName("rule of target propagation", tpRule, targetRuleNames));
  if (typeof arch === "string" && !TRAIN_ARCHS.some((name) => name === arch))
    throw new WidefieldError("E_CONFIG", unknownName("architecture to train", arch, TRAIN_ARCHS));
  return result.data;
}

/** "there is no recipe "x"; did you mean "y"? recipes are ..": for names that people type. */
export function unknownName(what: string, name: string, known: readonly string[]): string {
  const nearest = closest(name, known);
  const near = distance(name, nearest) <= Math.max(2, nearest.length / 2) ? ` did you mean "${nearest}"?` : "";
  return `there is no ${what} "${name}";${near} there are ${known.join(", ")}`;
}
