/** From a finished GP experiment to the data of its report page. */
import { archToJson } from "../arch/arch.ts";
import type { Dataset } from "../data/dataset.ts";
import { countOf, formatRanges, indicesOf, type Ranges } from "../data/ranges.ts";
import type { MisclassifiedImage, GpReport } from "../report/gp-report.ts";
import { calibrationBins } from "../report/calibration.ts";
import type { GpExperiment, GpResult, SetName } from "./gp.ts";

const SETS = ["train", "validation", "test"] as const;
const NAMED_CLASSES: Readonly<Record<string, readonly string[]>> = {
  notmnist: Array.from("ABCDEFGHIJ"),
  fmnist: ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"],
};

export interface ReportFacts {
  /** The command line that repeats the run. */
  readonly command?: string | undefined;
  readonly title: string;
  readonly version: string;
  readonly runtime: string;
}

export function gpReport(experiment: GpExperiment, result: GpResult, facts: ReportFacts): GpReport {
  const { engine, dataset, arch } = experiment;
  const sets = SETS.filter((name) => result.error[name] !== undefined);
  const last = sets.at(-1) ?? "train";
  const precision = experiment.precision ?? "f32";
  const ranges = Object.fromEntries(sets.map((name) => [name, formatRanges(experiment[name] ?? [])]));
  const { backend, adapter, threads } = engine.info;
  const scores = result.scores[last];
  const labels = result.labels[last];
  return {
    title: facts.title,
    command: facts.command,
    config: { data: dataset.name, ...ranges, ...ridgeOf(experiment), solver: experiment.solver ?? "auto", precision },
    errors: sets.map((split) => ({ split, images: countOf(experiment[split] ?? []), wrong: wrongOf(result, split) })),
    classes: NAMED_CLASSES[dataset.name] ?? Array.from({ length: dataset.classes }, (_, c) => String(c)),
    confusion: confusionOf(result, last, dataset.classes),
    misclassified: misclassifiedOf(dataset, experiment[last] ?? [], result, last),
    kernel: result.kernel,
    solve: { ...result.solve, n: countOf(experiment.train) },
    model: modelOf(result, sets),
    environment: {
      backend,
      adapter,
      threads,
      seed: engine.seed,
      widefield: facts.version,
      runtime: facts.runtime,
      date: new Date().toISOString(),
    },
    manifest: {
      arch: archToJson(arch),
      data: dataset.name,
      ranges,
      precision,
      seed: engine.seed,
      ...ridgeOf(experiment),
      solver: result.solve.solver,
      tolerance: result.solve.solver === "cg" ? (experiment.tolerance ?? 1e-8) : undefined,
    },
    calibration: scores === undefined || labels === undefined ? undefined : calibrationBins(scores, labels),
  };
}

/** What was asked to be added to the diagonal. */
function ridgeOf({ jitter = "noise", lambda }: GpExperiment): Record<string, unknown> {
  return lambda === undefined ? { jitter } : { lambda };
}

/** Marginal likelihood, and what was measured of probabilities and variances, in words that a page shows. */
function modelOf(result: GpResult, sets: readonly SetName[]): Record<string, unknown> {
  const { logMarginalLikelihood, temperature, calibration, variance } = result;
  const shown = (value: number) => Number(value.toPrecision(5));
  const perSet = sets.flatMap((name): [string, unknown][] => {
    const [probabilities, spread] = [calibration[name], variance[name]];
    return [
      [`negative log-likelihood, ${name}`, probabilities && shown(probabilities.negativeLogLikelihood)],
      [`expected calibration error, ${name}`, probabilities && shown(probabilities.expectedCalibrationError)],
      [
        `predictive variance, ${name}`,
        spread &&
          `mean ${shown(spread.mean)}, ${shown(spread.smallest)} to ${shown(spread.largest)}; prior ${shown(spread.prior)}`,
      ],
    ];
  });
  return {
    "log marginal likelihood, nats":
      logMarginalLikelihood === undefined ? "not known to conjugate gradients" : shown(logMarginalLikelihood),
    "temperature of the class probabilities": temperature && shown(temperature),
    ...Object.fromEntries(perSet),
  };
}

function pairsOf(result: GpResult, name: SetName): [label: number, predicted: number][] {
  const predicted = result.predictions[name]?.labels ?? new Int32Array();
  return Array.from(result.labels[name] ?? [], (label, i) => [label, predicted[i] ?? Number.NaN]);
}

function wrongOf(result: GpResult, name: SetName): number {
  return pairsOf(result, name).filter(([label, predicted]) => label !== predicted).length;
}

function confusionOf(result: GpResult, name: SetName, classes: number): number[][] {
  const counts = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (const [label, predicted] of pairsOf(result, name)) {
    const row = counts[label];
    if (row !== undefined) row[predicted] = (row[predicted] ?? 0) + 1;
  }
  return counts;
}

function misclassifiedOf(dataset: Dataset, ranges: Ranges, result: GpResult, name: SetName): MisclassifiedImage[] {
  const indices = indicesOf(ranges);
  return pairsOf(result, name).flatMap(([label, predicted], row) => {
    if (label === predicted) return [];
    const index = indices[row] ?? 0;
    const { images } = dataset.select([{ start: index, end: index + 1 }]);
    return [{ image: images, shape: dataset.shape, label, predicted, index }];
  });
}
