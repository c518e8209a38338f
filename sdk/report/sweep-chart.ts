/**
 * The chart of a sweep: test error and accuracy (without classes: R^2) against noise level, one line a model, each point
 * the best of its ridges and parameters; and the page that shows it with its numbers. Any model may be a line.
 */
import type { TopLevelSpec } from "vega-lite";
import { BLUE, figureConfig, INK, ORANGE } from "./figure.ts";
import { renderSvg } from "./charts.ts";
import { facts, html, page, table } from "./html.ts";

export interface SweepPoint {
  readonly line: string;
  readonly level: number;
  /** Of test images: summed over the outputs, averaged over the images. */
  readonly squaredError: number;
  readonly r2: number | null;
  /** 0 to 1. */
  readonly accuracy: number | null;
  /** The ridge it was reached with, where there is one. */
  readonly lambda?: number | undefined;
}

export interface SweepTitles {
  readonly title: string;
  readonly subtitle?: readonly string[] | undefined;
  /** Of the horizontal axis; default "noise level". */
  readonly level?: string | undefined;
}

/** Told apart in print and by most who do not see all colours; shapes say it again. */
export const COLOURS = [BLUE, ORANGE, "#2a8a57", "#b3261e", "#7a4fb5", INK, "#9a7b1c", "#0f8b99", "#c2528b", "#6b7480"];
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"];

type Panel = Extract<TopLevelSpec, { hconcat: unknown[] }>["hconcat"][number];

/** The specification, which holds its data. Lines have the colours of their first appearance, here and in the next chart. */
export function sweepSpec(points: readonly SweepPoint[], { title, subtitle, level }: SweepTitles): TopLevelSpec {
  const lines = [...new Set(points.map(({ line }) => line))];
  const levels = [...new Set(points.map((point) => point.level))].sort((a, b) => a - b);
  const classes = points.some(({ accuracy }) => accuracy !== null);
  const values = points.map(({ line, squaredError, r2, accuracy, ...point }) => ({
    ...{ line, level: point.level, squaredError },
    right: classes ? (accuracy === null ? null : 100 * accuracy) : r2,
  }));
  const cycled = (of: readonly string[]) => lines.map((_, at) => of[at % of.length] ?? "");
  const panel = (field: "squaredError" | "right", name: string): Panel => ({
    width: 330,
    height: 270,
    mark: { type: "line", point: { filled: true, size: 45, opacity: 1 }, strokeWidth: 1.8 },
    encoding: {
      x: {
        field: "level",
        type: "quantitative",
        title: level ?? "noise level",
        scale: { domain: reach(levels), nice: false, padding: 12 },
        // A label under every level, as far as there is room.
        axis: { values: levels, labelExpr: "'' + datum.value", labelOverlap: "greedy", grid: false },
      },
      y: {
        field,
        type: "quantitative",
        title: name,
        scale: { zero: false, padding: 8, ...(field === "squaredError" && isWide(points) ? { type: "log" } : {}) },
        axis: { tickCount: 6 },
      },
      color: { field: "line", type: "nominal", scale: { domain: lines, range: cycled(COLOURS) }, title: null },
      shape: { field: "line", type: "nominal", scale: { domain: lines, range: cycled(SHAPES) }, title: null },
    },
  });
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: title, ...(subtitle === undefined ? {} : { subtitle: [...subtitle] }) },
    data: { values },
    spacing: 34,
    hconcat: [
      panel("squaredError", "test squared error"),
      panel("right", classes ? "test accuracy, percent" : "test R²"),
    ],
    config: { ...figureConfig, legend: { ...figureConfig.legend, symbolStrokeWidth: 1.8, symbolSize: 70 } },
  };
}

/** From the first level to the last; one level stands in the middle. */
function reach(levels: readonly number[]): [number, number] {
  const [first = 0, last = 1] = [levels[0], levels.at(-1)];
  return first === last ? [first - 1, last + 1] : [first, last];
}

/** Errors that differ by more than this factor go on a logarithmic axis. */
const LINEAR_UP_TO = 10;

function isWide(points: readonly SweepPoint[]): boolean {
  const errors = points.map(({ squaredError }) => squaredError);
  const least = errors.reduce((a, b) => Math.min(a, b), Infinity);
  return least > 0 && errors.reduce((a, b) => Math.max(a, b), 0) > LINEAR_UP_TO * least;
}

/** One HTML document: the chart, its numbers, and what it was made from. */
export async function sweepPage(
  points: readonly SweepPoint[],
  titles: SweepTitles,
  made: Readonly<Record<string, unknown>>,
): Promise<string> {
  const svg = points.length === 0 ? undefined : await renderSvg(sweepSpec(points, titles), "sweep");
  const classes = points.some(({ accuracy }) => accuracy !== null);
  const columns = [
    { title: "model" },
    { title: titles.level ?? "noise level", number: true },
    { title: "lambda", number: true },
    { title: "test squared error", number: true },
    { title: "test R²", number: true },
    ...(classes ? [{ title: "test accuracy", number: true }] : []),
  ];
  const rows = points.map(({ line, level, lambda, squaredError, r2, accuracy }) => [
    line,
    level,
    lambda === undefined ? "" : Number(lambda.toPrecision(4)),
    squaredError.toPrecision(5),
    r2?.toFixed(5) ?? "",
    ...(classes ? [accuracy === null ? "" : `${(100 * accuracy).toFixed(2)} %`] : []),
  ]);
  return page(
    titles.title,
    html`<h1>${titles.title}</h1>
      <p>${(titles.subtitle ?? []).join(" ")}</p>
      <figure>${svg}</figure>
      <h2>The best of each model at each level</h2>
      ${table(columns, rows)}
      <h2>Made from</h2>
      ${facts(made)}`,
  );
}
