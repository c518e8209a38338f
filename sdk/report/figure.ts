/**
 * Figures that stand for themselves, as files: a Vega-Lite specification, its SVG and its PNG. The look that they
 * share is here; Vega is megabytes of JavaScript and is loaded when the first figure is drawn. PNG is `figure.node.ts`.
 */
import type { TopLevelSpec } from "vega-lite";

export const INK = "#1b1f24";
export const MUTED = "#57606a";
export const BLUE = "#1f5fa8";
export const ORANGE = "#d9730d";

/** DejaVu Sans is the font of the PNG; Verdana, of nearly the same metrics, is what most other systems have. */
export const FONT = "DejaVu Sans, Verdana, sans-serif";

const text = {
  labelColor: INK,
  titleColor: INK,
  labelFontSize: 11,
  titleFontSize: 12,
  titleFontWeight: "normal",
} as const;

/** One weight of one font: the PNG's font file has no other. */
export const figureConfig = {
  font: FONT,
  background: "white",
  padding: 12,
  aria: false,
  view: { stroke: "#8b949e" },
  // Flush: the label of an axis' end stays within the panel, whose title would move up otherwise.
  axis: { ...text, gridColor: "#e6e9ed", domain: false, tickColor: "#8b949e", titlePadding: 8, labelFlush: true },
  legend: { ...text, titleLimit: 300 },
  title: {
    color: INK,
    fontSize: 13,
    fontWeight: "normal",
    subtitleColor: MUTED,
    subtitleFontSize: 11,
    subtitleFontWeight: "normal",
    anchor: "start",
    offset: 6,
  },
  text: { color: INK, fontSize: 11 },
} as const satisfies TopLevelSpec["config"];

/** Draws a specification as an SVG document without a background. The same specification gives the same text. */
export async function renderSvgFile(spec: TopLevelSpec): Promise<string> {
  const [vega, { compile }] = await Promise.all([import("vega"), import("vega-lite")]);
  // Ids of gradients and clip paths count on from one figure of a process to the next.
  vega.resetSVGDefIds();
  const drawn = compile(spec).spec;
  delete drawn.background;
  const view = new vega.View(vega.parse(drawn), { renderer: "none", logLevel: vega.Error });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
