/** One fit of a sweep over trained models: from a problem's images to the errors of each ridge. */
import type { Problem } from "../data/problem.ts";
import { countOf, type Ranges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import { adam, sgd } from "../learn/optimisers.ts";
import { regressionScores } from "../learn/regression-scores.ts";
import { scheduleFrom } from "../learn/schedules.ts";
import { train as runTraining } from "../learn/train.ts";
import { arrayData } from "../learn/training-data.ts";
import type { Inputs } from "../learn/wide/design.ts";
import { modelOutputs, summedSquareLoss } from "../learn/wide/outputs.ts";
import { paperBatch, paperFactor } from "../learn/wide/paper.ts";
import { WideRidge, type WideRidgeFit } from "../learn/wide/ridge.ts";
import { scoresJson } from "./krr-files.ts";
import type { SweepFit } from "./sweep-row.ts";
import { openWideNetwork, type ConjugateGradients, type GradientSteps, type WideModel } from "./wide-models.ts";

export interface WideFitProgress {
  /** "cg", "training", "predictions". */
  readonly label: string;
  readonly detail: string;
  readonly done: number;
  readonly total: number;
}

export interface WideFitting {
  readonly engine: Engine;
  readonly model: WideModel;
  readonly problem: Problem;
  /** As on the command line: "fmnist-hf". */
  readonly problemName: string;
  readonly train: Ranges;
  readonly test: Ranges;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: WideFitProgress) => void) | undefined;
}

/** As a sweep's rows have it; `reason` beside scores: conjugate gradients did not arrive. */
export type WideFitRow = SweepFit;

/** Images and what is to be learned from them. */
interface Set {
  readonly inputs: Inputs;
  readonly labels: Int32Array;
  readonly targets: Float64Array;
}

/** Every ridge of `rf` or `nt`, in the order given. Throws what `WideRidge` throws. */
export async function fitLeastSquares(
  fitting: WideFitting & { readonly fit: ConjugateGradients; readonly lambdas: readonly number[] },
): Promise<WideFitRow[]> {
  const { engine, model, problem, fit, lambdas, signal, onProgress } = fitting;
  const { name, width, seed } = model;
  if (name !== "rf" && name !== "nt") throw new Error(`${name} is no least squares problem`);
  const [train, test] = [setOf(problem, fitting.train), setOf(problem, fitting.test)];
  const linear = { name, width, seed, inputs: problem.dataset.imageFloats, outputs: problem.outputs };
  using ridge = await WideRidge.open(engine, linear, Math.max(train.inputs.count, test.inputs.count));
  const rows = new Map<number, WideFitRow>();
  const { maxIterations, tolerance } = fit;
  const told = ({ iteration, residual }: { readonly iteration: number; readonly residual: number }): void =>
    onProgress?.({
      label: "cg",
      detail: `residual ${residual.toExponential(1)}`,
      ...{ done: iteration, total: maxIterations },
    });
  const options = { lambdas: [...new Set(lambdas)], maxIterations, tolerance, signal, onProgress: told };
  for await (const solution of ridge.fits(train.inputs, train.targets, options)) {
    onProgress?.({ label: "predictions", detail: "", done: rows.size, total: lambdas.length });
    const scores = async ({ inputs, targets }: Set) => {
      const predictions = await ridge.predict(inputs, solution, signal);
      return scoresJson(regressionScores(predictions, targets, problem.outputs, problem.decision));
    };
    const { lambda } = solution;
    rows.set(lambda, { lambda, train: await scores(train), test: await scores(test), reason: reasonOf(solution) });
  }
  return lambdas.flatMap((lambda) => rows.get(lambda) ?? []);
}

/** One ridge: weight decay while a network is trained. Throws what `train` throws. */
export async function fitStepByStep(
  fitting: WideFitting & { readonly fit: GradientSteps; readonly lambda: number },
): Promise<WideFitRow> {
  const { engine, model, problem, fit, lambda, signal, onProgress } = fitting;
  const { epochs, rate, loss } = fit;
  const [train, test] = [setOf(problem, fitting.train), setOf(problem, fitting.test)];
  using network = await openWideNetwork(engine, model, problem);
  const linear = model.name === "rf" || model.name === "nt";
  const classified = loss === "crossEntropy";
  const batch = (epoch: number): number => fit.batch ?? paperBatch(model.name, fitting.problemName, epoch);
  await runTraining({
    ...{ engine, model: network, epochs, signal, seed: model.seed },
    data: arrayData({
      inputShape: network.inputShape,
      train: {
        images: train.inputs.images,
        targets: Float32Array.from(train.targets),
        ...(classified ? { labels: train.labels } : {}),
      },
      classes: classified ? problem.outputs : 0,
      batch,
      seed: model.seed,
    }),
    loss: classified ? "crossEntropy" : summedSquareLoss,
    optimiser: linear ? adam({ rate, weightDecay: lambda }) : sgd({ rate, momentum: 0.9, weightDecay: lambda }),
    schedule: scheduleFrom((epoch) => paperFactor(epoch, epochs)),
    onProgress: ({ epoch, scores }) =>
      onProgress?.({ label: "training", detail: `loss ${scores.loss.toPrecision(4)}`, done: epoch, total: epochs }),
  });
  const scores = async ({ inputs, targets }: Set) => {
    const outputs = await modelOutputs(engine, network, inputs, batch(epochs));
    const predictions = classified ? lessAPart(outputs, problem.outputs) : outputs;
    return scoresJson(regressionScores(predictions, targets, problem.outputs, problem.decision));
  };
  return { lambda, train: await scores(train), test: await scores(test), reason: null };
}

/** Probabilities as targets are: less 1 / classes. Their squared error is Brier's score. */
function lessAPart(scores: Float64Array, classes: number): Float64Array {
  const out = new Float64Array(scores.length);
  for (let row = 0; row < scores.length; row += classes) {
    const own = scores.subarray(row, row + classes);
    const most = own.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = own.reduce((sum, score) => sum + Math.exp(score - most), 0);
    own.forEach((score, at) => (out[row + at] = Math.exp(score - most) / total - 1 / classes));
  }
  return out;
}

function reasonOf({ converged, iterations, relativeResidual }: WideRidgeFit): string | null {
  return converged
    ? null
    : `stopped after ${iterations} iterations at a relative residual of ${relativeResidual.toExponential(1)}`;
}

function setOf(problem: Problem, ranges: Ranges): Set {
  const { images, labels } = problem.dataset.select(ranges);
  return { inputs: { count: countOf(ranges), images }, labels, targets: problem.targets(ranges) };
}
