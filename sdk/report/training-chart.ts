/**
 * Charts of training: loss and accuracy of one run against its epochs, and several runs in one figure. Accuracy is in
 * percent; runs without classes have the panel of losses alone.
 */
import type { TopLevelSpec } from "vega-lite";
import type { StepMetrics } from "../learn/metrics-log.ts";
import type { EpochRecord, Scores } from "../learn/training-state.ts";
import { BLUE, figureConfig, MUTED, ORANGE } from "./figure.ts";
import { COLOURS } from "./sweep-chart.ts";

export interface TrainingTitles {
  readonly title: string;
  readonly subtitle?: readonly string[] | undefined;
}

/** A run as `readMetrics` gives it, with the name of its line. */
export interface ComparedRun {
  readonly name: string;
  readonly epochs: readonly EpochRecord[];
  /** Single batches; with them the loss is drawn within epochs, too. */
  readonly steps?: readonly StepMetrics[] | undefined;
}

type Panel = Extract<TopLevelSpec, { hconcat: unknown[] }>["hconcat"][number];

const SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json";
const WIDTH = 330;
const HEIGHT = 270;

/** Values that differ by more than this factor go on a logarithmic axis. */
const LINEAR_UP_TO = 30;

const SETS = ["training", "validation", "test"] as const;
const SET_COLOURS = { training: MUTED, validation: BLUE, test: ORANGE } as const;

interface Point {
  readonly line: string;
  readonly epoch: number;
  readonly value: number;
}

/** Loss and accuracy of training, validation and test examples against the epoch, for one run. */
export function trainingSpec(epochs: readonly EpochRecord[], { title, subtitle }: TrainingTitles): TopLevelSpec {
  const of = (pick: (scores: Scores) => number | undefined): Point[] =>
    epochs.flatMap((record) => SETS.flatMap((line) => pointOf(line, record.epoch, scoreOf(record[line], pick))));
  const loss = of((scores) => scores.loss);
  const accuracy = of(percent);
  const sets = SETS.filter((line) => loss.some((point) => point.line === line));
  const scale = { domain: sets, range: sets.map((line) => SET_COLOURS[line]) };
  const panels = [
    panel(loss, { name: "loss", scale, marks: epochs.length <= MARKS_UP_TO, logarithmic: isWide(loss) }),
    panel(accuracy, { name: "accuracy, percent", scale, marks: epochs.length <= MARKS_UP_TO }),
  ];
  return figure(title, [...(subtitle ?? []), ...bestOf(epochs)], accuracy.length > 0 ? panels : panels.slice(0, 1));
}

/**
 * Several runs in one figure, one line each: training loss, smoothed over half an epoch (`smoothed`; the losses as they were stand behind it,
 * pale), and accuracy on test examples, or on validation examples where no run has the others.
 */
export function compareSpec(runs: readonly ComparedRun[], { title, subtitle }: TrainingTitles): TopLevelSpec {
  const raw = runs.flatMap(({ name, epochs, steps }) => lossPoints(name, epochs, steps ?? []));
  const smooth = runs.flatMap(({ name, epochs }) => {
    const points = raw.filter(({ line }) => line === name);
    const memory = Math.exp(-epochs.length / (SMOOTH_OVER * points.length));
    const values = smoothed(
      points.map(({ value }) => value),
      memory,
    );
    return points.map((point, at) => ({ ...point, value: values[at] ?? point.value }));
  });
  const accuracies = (set: "test" | "validation"): Point[] =>
    runs.flatMap(({ name, epochs }) =>
      epochs.flatMap((record) => pointOf(name, record.epoch, scoreOf(record[set], percent))),
    );
  const [test, validation] = [accuracies("test"), accuracies("validation")];
  const accuracy = test.length > 0 ? test : validation;
  const names = runs.map(({ name }) => name);
  const scale = { domain: names, range: names.map((_, at) => COLOURS[at % COLOURS.length] ?? MUTED) };
  const most = Math.max(0, ...runs.map(({ epochs }) => epochs.length));
  const set = test.length > 0 ? "test" : "validation";
  const panels = [
    panel(smooth, { name: "training loss, smoothed", scale, behind: raw, logarithmic: isWide(smooth) }),
    panel(accuracy, { name: `${set} accuracy, percent`, scale, marks: most <= MARKS_UP_TO }),
  ];
  return figure(title, subtitle ?? [], accuracy.length > 0 ? panels : panels.slice(0, 1));
}

/** Epochs up to which each has a mark on the line. */
const MARKS_UP_TO = 30;

/** Epochs in which the weight of a loss falls by a factor of e. */
const SMOOTH_OVER = 0.5;

/**
 * Exponential smoothing: each value is a mean of those up to it whose weights fall by a factor of `memory` a step, and sum
 * to 1 from the first on (as TensorBoard smooths). Values that are not finite are left as they are, and left out.
 */
export function smoothed(values: readonly number[], memory: number): number[] {
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    sum = memory * sum + (1 - memory) * value;
    weight = memory * weight + (1 - memory);
    return sum / weight;
  });
}

/** Points of a line of single batches at most: more than a pixel each adds nothing. */
const MOST_POINTS = 300;

/** A run's losses: of single batches, averaged where there are many, else of its epochs. */
function lossPoints(line: string, epochs: readonly EpochRecord[], steps: readonly StepMetrics[]): Point[] {
  const last = epochs.at(-1);
  if (steps.length <= epochs.length || last === undefined)
    return epochs.flatMap(({ epoch, training }) => pointOf(line, epoch, training.loss));
  const batches = last.step / last.epoch;
  const each = Math.ceil(steps.length / MOST_POINTS);
  return Array.from({ length: Math.ceil(steps.length / each) }, (_, group) => {
    const some = steps.slice(group * each, (group + 1) * each);
    const mean = (pick: (one: StepMetrics) => number): number =>
      some.reduce((sum, one) => sum + pick(one), 0) / some.length;
    return pointOf(
      line,
      mean(({ step }) => step / batches),
      mean(({ loss }) => loss),
    );
  }).flat();
}

/** None where there is no number to draw. */
function pointOf(line: string, epoch: number, value: number | undefined): Point[] {
  return value !== undefined && Number.isFinite(value) ? [{ line, epoch, value }] : [];
}

function scoreOf(scores: Scores | undefined, pick: (scores: Scores) => number | undefined): number | undefined {
  return scores === undefined || scores.count === 0 ? undefined : pick(scores);
}

function percent({ accuracy }: Scores): number | undefined {
  return accuracy === undefined ? undefined : 100 * accuracy;
}

interface PanelOptions {
  readonly name: string;
  readonly scale: { readonly domain: readonly string[]; readonly range: readonly string[] };
  /** Lines that stand pale behind the others. */
  readonly behind?: readonly Point[] | undefined;
  readonly marks?: boolean | undefined;
  readonly logarithmic?: boolean | undefined;
}

function panel(points: readonly Point[], { name, scale, behind, marks, logarithmic }: PanelOptions): Panel {
  const domain = [...scale.domain];
  const encoding = {
    x: {
      field: "epoch",
      type: "quantitative",
      title: "epoch",
      scale: { nice: false, zero: false, padding: 6 },
      axis: { tickMinStep: 1, tickCount: 6, grid: false },
    },
    y: {
      field: "value",
      type: "quantitative",
      title: name,
      scale: { ...(logarithmic === true ? { type: "log" as const } : { zero: false, nice: false }), padding: 6 },
      // Never as 8e+1, nor as 0.30000000000000004.
      axis: { tickCount: 6, format: ".4~r" },
    },
    color: {
      field: "line",
      type: "nominal",
      scale: { domain, range: [...scale.range] },
      title: null,
      legend: { symbolType: "stroke", symbolOpacity: 1, labelLimit: 300 },
    },
  } as const;
  const line = { type: "line", strokeWidth: 1.8 } as const;
  const mark = marks === true ? { ...line, point: { filled: true, size: 26, opacity: 1 } } : line;
  const pale = {
    data: { values: [...(behind ?? [])] },
    mark: { type: "line", strokeWidth: 1, opacity: 0.25 },
    encoding,
  } as const;
  return {
    width: WIDTH,
    height: HEIGHT,
    layer: [...(behind === undefined ? [] : [pale]), { data: { values: [...points] }, mark, encoding }],
  };
}

function figure(title: string, subtitle: readonly string[], panels: readonly Panel[]): TopLevelSpec {
  return {
    $schema: SCHEMA,
    title: { text: title, ...(subtitle.length === 0 ? {} : { subtitle: [...subtitle] }) },
    spacing: 34,
    hconcat: [...panels],
    config: { ...figureConfig, legend: { ...figureConfig.legend, symbolStrokeWidth: 2.4, symbolSize: 160 } },
  };
}

/** The epoch that a run would be judged by, in words. */
function bestOf(epochs: readonly EpochRecord[]): string[] {
  const set = epochs.some(({ validation }) => validation?.accuracy !== undefined) ? "validation" : "test";
  const best = epochs.reduce<EpochRecord | undefined>(
    (found, record) => ((record[set]?.accuracy ?? -1) > (found?.[set]?.accuracy ?? -1) ? record : found),
    undefined,
  );
  const accuracy = best?.[set]?.accuracy;
  if (best === undefined || accuracy === undefined) return [];
  const other = set === "validation" ? best.test?.accuracy : undefined;
  const beside = other === undefined ? "" : ` (test ${(100 * other).toFixed(2)} %)`;
  return [`Best ${set} accuracy: ${(100 * accuracy).toFixed(2)} % after epoch ${best.epoch}${beside}`];
}

function isWide(points: readonly Point[]): boolean {
  const values = points.map(({ value }) => value);
  const least = values.reduce((a, b) => Math.min(a, b), Infinity);
  return least > 0 && values.reduce((a, b) => Math.max(a, b), 0) > LINEAR_UP_TO * least;
}
