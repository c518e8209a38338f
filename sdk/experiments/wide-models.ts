/**
 * The models of a sweep over trained networks, and how each is fitted: by conjugate gradients, which serve a whole grid of
 * ridges at once, or step by step, one ridge after the other.
 */
import type { Json } from "../covariance/store/manifest.ts";
import type { Problem } from "../data/problem.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { LinearWideNetwork } from "../learn/wide/linear-networks.ts";
import { MeanFieldNetwork } from "../learn/wide/mean-field.ts";
import { MyrtleNetwork } from "../learn/wide/myrtle.ts";
import type { WideName } from "../learn/wide/paper.ts";
import { WIDE_ITERATIONS, WIDE_TOLERANCE } from "../learn/wide/ridge.ts";
import { requireSizes, type WideNetwork } from "../learn/wide/wide-network.ts";

/** Least squares of `rf` and `nt`, by conjugate gradients on the normal equations. */
export interface ConjugateGradients {
  readonly solver: "cg";
  readonly maxIterations: number;
  readonly tolerance: number;
}

/** Step by step: Adam for `rf` and `nt`, gradient descent with momentum 0.9 for the others. */
export interface GradientSteps {
  readonly solver: "steps";
  readonly epochs: number;
  readonly rate: number;
  readonly loss: WideLoss;
  /** Images of a batch; undefined: the paper's, by epoch. */
  readonly batch?: number | undefined;
}

/**
 * The squared error summed over outputs, or cross-entropy, of problems with classes: what is then recorded as squared error
 * is that of the probabilities (Brier's score).
 */
export type WideLoss = "square" | "crossEntropy";

export interface WideModel {
  readonly name: WideName;
  /** Hidden units of each layer, or channels of `myrtle`. */
  readonly width: number;
  /** Layers of `nn`; default 1. */
  readonly hidden?: number | undefined;
  /** Of `nn`; default 0. */
  readonly dropout?: number | undefined;
  /** Of the weights, the order of examples, and dropout. */
  readonly seed: number;
  readonly fit: ConjugateGradients | GradientSteps;
}

/** What the paper has, where it says so: of conjugate gradients all, of steps the epochs and the rate of its script. */
export const PAPER_CG: ConjugateGradients = {
  ...{ solver: "cg", maxIterations: WIDE_ITERATIONS, tolerance: WIDE_TOLERANCE },
};
export const PAPER_STEPS: GradientSteps = { solver: "steps", epochs: 750, rate: 1e-3, loss: "square" };

/** Throws E_CONFIG for a model that cannot be meant. */
export function requireWideModel({ name, width, hidden = 1, dropout = 0, fit }: WideModel): void {
  requireSizes(name, { width, hidden });
  if (name !== "nn" && (hidden !== 1 || dropout !== 0))
    throw new WidefieldError("E_CONFIG", `${name} has no hidden layers to choose, and no dropout: those are nn's`);
  if (!(dropout >= 0 && dropout < 1))
    throw new WidefieldError("E_CONFIG", `${name}: a dropout's rate is in [0, 1), not ${dropout}`);
  if (fit.solver === "cg") {
    if (name !== "rf" && name !== "nt")
      throw new WidefieldError(
        "E_CONFIG",
        `${name} is no least squares problem: conjugate gradients are for rf and nt`,
      );
    requireSizes(name, { "the number of iterations": fit.maxIterations });
    if (!(fit.tolerance > 0 && fit.tolerance < 1))
      throw new WidefieldError("E_CONFIG", `tolerance must be a number above 0 and below 1, not ${fit.tolerance}`);
    return;
  }
  requireSizes(name, { "the number of epochs": fit.epochs, "a batch": fit.batch ?? 1 });
  if (!(fit.rate > 0 && Number.isFinite(fit.rate)))
    throw new WidefieldError("E_CONFIG", `${name}: a learning rate is a positive number, not ${fit.rate}`);
}

/** Throws E_CONFIG where the model cannot learn the problem, E_SHAPE for images that it does not take. */
export function requireProblem(
  { name, fit }: WideModel,
  { decision, name: problem, dataset: { shape } }: Problem,
): void {
  if (fit.solver === "steps" && fit.loss === "crossEntropy" && decision !== "argmax")
    throw new WidefieldError(
      "E_CONFIG",
      `cross-entropy is of classes, and ${problem} is learned as numbers: choose square`,
    );
  if (name === "myrtle" && Math.min(shape.height, shape.width) < 32)
    throw new WidefieldError(
      "E_SHAPE",
      `myrtle takes images of 32 x 32 at least, and those of ${problem} are ${shape.height} x ${shape.width}`,
    );
}

/** The line of a chart: "nn 4096x2", "rf 4096", "nt 512 adam", "nn 4096 dropout 0.5 cross-entropy". */
export function wideLine({ name, width, hidden = 1, dropout = 0, fit }: WideModel): string {
  const steps = fit.solver === "steps" && (name === "rf" || name === "nt") ? " adam" : "";
  const dropped = dropout > 0 ? ` dropout ${dropout}` : "";
  const loss = fit.solver === "steps" && fit.loss === "crossEntropy" ? " cross-entropy" : "";
  return `${name} ${width}${hidden > 1 ? `x${hidden}` : ""}${steps}${dropped}${loss}`;
}

/** All its parameters, for records. */
export function wideJson({ name, width, hidden = 1, dropout = 0, seed, fit }: WideModel): Json {
  const own = name === "nn" ? { hidden, dropout } : {};
  if (fit.solver === "cg") return { name, width, seed, ...fit };
  const { solver, epochs, rate, loss, batch } = fit;
  return { name, width, ...own, seed, solver, epochs, rate, loss, batch: batch ?? "paper" };
}

/** The network, for training. Throws E_CONFIG, E_SHAPE, E_MEMORY. */
export async function openWideNetwork(engine: Engine, model: WideModel, problem: Problem): Promise<WideNetwork> {
  const { name, width, hidden, dropout, seed } = model;
  const { outputs, dataset } = problem;
  const { channels, height, width: breadth } = dataset.shape;
  const inputs = dataset.imageFloats;
  switch (name) {
    case "nn":
      return new MeanFieldNetwork(engine, { inputs, width, hidden, outputs, dropout, seed });
    case "myrtle":
      return new MyrtleNetwork(engine, { input: [channels, height, breadth], width, outputs, seed });
    case "rf":
    case "nt":
      return LinearWideNetwork.open(engine, { name, width, inputs, outputs, seed });
  }
}
