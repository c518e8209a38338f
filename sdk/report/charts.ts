/**
 * The figures of a report as Vega-Lite specifications, which hold their data, and their rendering to SVG. Vega is
 * megabytes of JavaScript: it is loaded when the first figure is drawn.
 */
import type { TopLevelSpec } from "vega-lite";
import { Markup } from "./html.ts";
import type { CalibrationBin } from "./calibration.ts";

const INK = "#1b1f24";
const RIGHT = "#dbe6f4";
const WRONG = "#b3261e";
const LINE = "#1f5fa8";

const config = {
  font: 'system-ui, "Segoe UI", "Open Sans", Arial, sans-serif',
  background: "white",
  // The page describes each figure as a whole; a label on every cell of a matrix helps nobody.
  aria: false,
  view: { stroke: null },
  axis: {
    labelColor: INK,
    titleColor: INK,
    labelFontSize: 13,
    titleFontSize: 13,
    titleFontWeight: 500,
    titlePadding: 10,
    gridColor: "#e6e9ed",
    domainColor: "#8b949e",
    tickColor: "#8b949e",
  },
  legend: {
    labelColor: INK,
    titleColor: INK,
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: 500,
    titleLimit: 200,
  },
} as const;

type ConfusionLayer = Extract<TopLevelSpec, { layer: unknown[] }>["layer"][number];

/** Above this many classes a matrix shows colours only: numbers would not fit its cells. */
const NUMBERS_UP_TO = 20;

/** Labels under a column stand upright where they are longer than a cell. */
function columnAngle(classes: readonly string[]): number {
  return classes.some((name) => name.length > 3) ? -45 : 0;
}

/**
 * A confusion matrix, confusion[true class][predicted class] in images. Colour is the share of a true class that went
 * wrong in that way: the diagonal holds nearly everything and would wash out all else.
 */
export function confusionSpec(confusion: readonly (readonly number[])[], classes: readonly string[]): TopLevelSpec {
  const values = confusion.flatMap((row, i) => {
    const total = row.reduce((sum, count) => sum + count, 0);
    return row.map((count, j) => ({
      actual: classes[i],
      predicted: classes[j],
      count,
      share: total === 0 ? 0 : count / total,
      right: i === j,
    }));
  });
  const most = Math.max(...values.map(({ right, share }) => (right ? 0 : share)), 1e-3);
  const step = Math.max(10, Math.min(42, Math.floor(560 / classes.length)));
  const numbers: ConfusionLayer = {
    transform: [{ filter: "datum.count > 0" }],
    mark: { type: "text", fontSize: step > 32 ? 13 : 11 },
    encoding: {
      text: { field: "count", type: "quantitative" },
      color: { condition: { test: `!datum.right && datum.share > ${0.55 * most}`, value: "white" }, value: INK },
    },
  };
  return {
    data: { values },
    width: { step },
    height: { step },
    encoding: {
      x: {
        field: "predicted",
        type: "nominal",
        sort: [...classes],
        title: "predicted class",
        axis: { labelAngle: columnAngle(classes), labelLimit: 140 },
      },
      y: { field: "actual", type: "nominal", sort: [...classes], title: "true class", axis: { labelLimit: 140 } },
    },
    layer: [
      {
        transform: [{ filter: "!datum.right" }],
        mark: { type: "rect", stroke: "#e6e9ed" },
        encoding: {
          color: {
            field: "share",
            type: "quantitative",
            // In RGB: Vega's default, HCL, has no hue for white and starts from cream.
            scale: { domain: [0, most], range: ["#ffffff", WRONG], interpolate: "rgb" },
            legend: { title: "of the true class", format: ".1~%", gradientLength: 160 },
          },
        },
      },
      { transform: [{ filter: "datum.right" }], mark: { type: "rect", color: RIGHT, stroke: "#e6e9ed" } },
      ...(classes.length <= NUMBERS_UP_TO ? [numbers] : []),
    ],
    config,
  };
}

/** The error rate of each true class, in percent, as bars labelled with the counts. */
export function classErrorSpec(confusion: readonly (readonly number[])[], classes: readonly string[]): TopLevelSpec {
  const values = confusion.map((row, i) => {
    const total = row.reduce((sum, count) => sum + count, 0);
    const wrong = total - (row[i] ?? 0);
    return { name: classes[i], percent: total === 0 ? 0 : (100 * wrong) / total, label: `${wrong} of ${total}` };
  });
  const y = { field: "name", type: "nominal", sort: [...classes], title: "true class" } as const;
  const numbers = {
    mark: { type: "text", align: "left", dx: 5, fontSize: 12, color: INK },
    encoding: { text: { field: "label", type: "nominal" } },
  } as const;
  return {
    data: { values },
    width: 300,
    height: { step: classes.length <= NUMBERS_UP_TO ? 24 : 12 },
    encoding: {
      y: { ...y, axis: { labelLimit: 140 } },
      x: {
        field: "percent",
        type: "quantitative",
        title: "error, percent",
        // Room at the right end for the longest bar's label.
        scale: { domain: [0, 1.35 * Math.max(...values.map(({ percent }) => percent), 1)], nice: false },
        axis: { tickCount: 5 },
      },
    },
    layer: [
      { mark: { type: "bar", color: LINE, height: { band: 0.7 } } },
      ...(classes.length <= NUMBERS_UP_TO ? [numbers] : []),
    ],
    config,
  };
}

/** Accuracy against confidence; a calibrated classifier lies on the diagonal. */
export function calibrationSpec(bins: readonly CalibrationBin[]): TopLevelSpec {
  const unit = { domain: [0, 1] };
  const x = { type: "quantitative", scale: unit, title: "mean score of the predicted class" } as const;
  const y = { type: "quantitative", scale: unit, title: "share predicted correctly" } as const;
  const filled = bins.filter(({ count }) => count > 0);
  const most = Math.max(...filled.map(({ count }) => count), 1);
  // The legend's circles: the largest bin and a quarter of it, to one digit.
  const sizes = [...new Set([most / 4, most].map((count) => Number(count.toPrecision(1))))].filter(Number.isInteger);
  const diagonal = [
    { confidence: 0, accuracy: 0 },
    { confidence: 1, accuracy: 1 },
  ];
  return {
    width: 300,
    height: 300,
    layer: [
      {
        data: { values: diagonal },
        mark: { type: "line", color: "#8b949e", strokeDash: [5, 4] },
        encoding: { x: { ...x, field: "confidence" }, y: { ...y, field: "accuracy" } },
      },
      {
        data: { values: filled },
        mark: { type: "line", color: LINE },
        encoding: { x: { ...x, field: "confidence" }, y: { ...y, field: "accuracy" } },
      },
      {
        data: { values: filled },
        mark: { type: "circle", color: LINE, opacity: 1 },
        encoding: {
          x: { ...x, field: "confidence" },
          y: { ...y, field: "accuracy" },
          size: {
            field: "count",
            type: "quantitative",
            scale: { type: "sqrt", rangeMin: 20, rangeMax: 300 },
            legend: { title: "images", symbolFillColor: LINE, symbolStrokeWidth: 0, values: sizes },
          },
        },
      },
    ],
    config,
  };
}

/** Vega numbers gradients and clip paths on from one figure to the next. */
const COUNTED_ID = /( id="|"url\(#)((?:gradient|clip)_?\d+)/g;

/** Draws a specification as inline SVG, whose ids start with `id`; the same specification gives the same text. */
export async function renderSvg(spec: TopLevelSpec, id: string): Promise<Markup> {
  const [vega, { compile }] = await Promise.all([import("vega"), import("vega-lite")]);
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: "none", logLevel: vega.Error });
  try {
    const svg = await view.toSVG();
    const names: string[] = [];
    const numbered = svg.replace(COUNTED_ID, (_, before: string, name: string) => {
      if (!names.includes(name)) names.push(name);
      return `${before}${id}-${names.indexOf(name)}`;
    });
    // Inside HTML the elements' namespace is understood.
    return new Markup(numbered.replace(/^<svg[^>]*>/, (tag) => tag.replace(/ xmlns(:\w+)?="[^"]*"/g, "")));
  } finally {
    view.finalize();
  }
}
