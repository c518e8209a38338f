/** From what `runGp` was given and gave to a report's data: counts, the confusion matrix, the misclassified images. */
import type { Dataset } from "../data/dataset.ts";
import { countOf, indicesOf, formatRanges } from "../data/ranges.ts";
import type { GpExperiment, GpResult, SetName } from "../experiments/gp.ts";
import { archToJson } from "../arch/arch.ts";
import type { GpReport, MisclassifiedImage, SplitErrors } from "./gp-report.ts";
import { reliabilityBins } from "./reliability.ts";

/** What the experiment does not know of itself. */
export interface RunFacts {
  readonly title: string;
  readonly command?: string | undefined;
  /** Names of the classes; default: their numbers. */
  readonly classes?: readonly string[] | undefined;
  /** Shown after backend, adapter, threads and seed: versions, date, host, ... */
  readonly environment: Readonly<Record<string, unknown>>;
}

const SETS: readonly SetName[] = ["train", "validation", "test"];

/** confusion[true class][predicted class], in images. */
export function confusionMatrix(labels: ArrayLike<number>, predicted: ArrayLike<number>, classes: number): number[][] {
  const matrix = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (let i = 0; i < labels.length; i++) {
    const row = matrix[labels[i] ?? -1];
    const column = predicted[i] ?? -1;
    if (row?.[column] !== undefined) row[column]++;
  }
  return matrix;
}

/** Figures are of the test images where there are any, else of the validation images, else of the training images. */
export function gpReportOf(experiment: GpExperiment, result: GpResult, facts: RunFacts): GpReport {
  const { dataset, arch, engine } = experiment;
  const names = SETS.filter((name) => result.predictions[name] !== undefined);
  const last = names.at(-1) ?? "train";
  const labels = result.labels[last] ?? new Int32Array(0);
  const predicted = result.predictions[last]?.labels ?? new Int32Array(0);
  const scores = result.scores[last];
  const ranges = Object.fromEntries(
    SETS.map((name) => {
      const asked = experiment[name];
      return [name, asked === undefined ? undefined : formatRanges(asked)];
    }),
  );
  const config = {
    data: dataset.name,
    ...ranges,
    precision: experiment.precision ?? "f32",
    jitter: experiment.jitter ?? "auto",
    temperature: result.temperature,
    arch: archToJson(arch),
  };
  const { backend, adapter, threads } = engine.info;
  const environment = { backend, adapter, threads, seed: engine.seed, ...facts.environment };
  return {
    title: facts.title,
    command: facts.command,
    config,
    errors: names.map((name) => errorsOf(name, result)),
    classes: facts.classes ?? Array.from({ length: dataset.classes }, (_, c) => String(c)),
    confusion: confusionMatrix(labels, predicted, dataset.classes),
    misclassified: misclassified(dataset, indicesOf(experiment[last] ?? []), labels, predicted),
    kernel: result.kernel,
    solve: { ...result.solve, n: countOf(experiment.train) },
    environment,
    manifest: { ...config, command: facts.command, environment, error: result.error },
    calibration: scores === undefined ? undefined : reliabilityBins(scores, labels),
  };
}

function errorsOf(split: SetName, { labels, predictions }: GpResult): SplitErrors {
  const [truth, predicted] = [labels[split] ?? [], predictions[split]?.labels ?? []];
  let wrong = 0;
  for (let i = 0; i < truth.length; i++) wrong += Number(predicted[i] !== truth[i]);
  return { split, images: truth.length, wrong };
}

function misclassified(
  dataset: Dataset,
  indices: ArrayLike<number>,
  labels: Int32Array,
  predicted: Int32Array,
): MisclassifiedImage[] {
  const found: MisclassifiedImage[] = [];
  labels.forEach((label, i) => {
    const [guess, index] = [predicted[i] ?? label, indices[i]];
    if (guess === label || index === undefined) return;
    const { images, shape } = dataset.select([{ start: index, end: index + 1 }]);
    found.push({ image: images, shape, label, predicted: guess, index });
  });
  return found;
}
