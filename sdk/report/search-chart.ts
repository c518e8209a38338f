/** The chart of an architecture search: each network's test error against its validation error. */
import type { TopLevelSpec } from "vega-lite";
import { BLUE, figureConfig, INK, MUTED, ORANGE } from "./figure.ts";

/** A network, with errors in percent. */
export interface SearchPoint {
  readonly seed: number;
  readonly validation: number;
  readonly test: number;
  readonly nonlinearity: "relu" | "erf";
  readonly residual: boolean;
}

/** Errors that differ by more than this factor go on logarithmic axes, where the best networks stand apart. */
const LINEAR_UP_TO = 8;

/**
 * `points` come with the best first: it is ringed, and named below the title. A network that is as good on test images
 * as on validation images lies on the diagonal.
 */
export function searchSpec(points: readonly SearchPoint[], title: string): TopLevelSpec {
  const errors = points.flatMap(({ validation, test }) => [validation, test]);
  const [least, most] = [Math.min(...errors), Math.max(...errors)];
  const logarithmic = least > 0 && most / least > LINEAR_UP_TO;
  const domain: [low: number, high: number] = logarithmic ? [least / 1.15, 1.15 * most] : [0, niceEnd(1.05 * most)];
  const scale = logarithmic ? { type: "log" as const, domain, nice: false } : { domain, nice: false };
  const axis = { tickCount: 6, format: "~g" };
  const x = { type: "quantitative", scale, axis, title: "validation error, percent" } as const;
  const y = { type: "quantitative", scale, axis, title: "test error, percent" } as const;
  const [low, high] = domain;
  const values = points.map((point) => ({ ...point, connections: point.residual ? "residual" : "plain" }));
  const best = values.slice(0, 1);
  const named = best.map(
    ({ seed, validation, test }) =>
      `Least validation error: seed ${seed}, ${validation.toFixed(2)} % (test ${test.toFixed(2)} %), ringed`,
  );
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: title, subtitle: named },
    width: 380,
    height: 380,
    layer: [
      {
        // No further than the axes: what is clipped counts as drawn where the figure is cut to its size.
        data: { values: [low, high].map((error) => ({ error })) },
        mark: { type: "line", color: MUTED, strokeDash: [5, 4], strokeWidth: 1 },
        encoding: { x: { ...x, field: "error" }, y: { ...y, field: "error" } },
      },
      {
        data: { values },
        mark: { type: "point", filled: true, size: 60, opacity: 0.75 },
        encoding: {
          x: { ...x, field: "validation" },
          y: { ...y, field: "test" },
          color: {
            field: "nonlinearity",
            type: "nominal",
            scale: { domain: ["relu", "erf"], range: [BLUE, ORANGE] },
            title: "nonlinearity",
          },
          shape: {
            field: "connections",
            type: "nominal",
            scale: { domain: ["plain", "residual"], range: ["circle", "triangle-up"] },
            title: "connections",
          },
        },
      },
      {
        data: { values: best },
        mark: { type: "point", filled: false, color: INK, size: 220, strokeWidth: 1.5, opacity: 1 },
        encoding: { x: { ...x, field: "validation" }, y: { ...y, field: "test" } },
      },
    ],
    config: figureConfig,
  };
}

/** The end of an axis from 0 that holds `most` percent: a whole number of at most six steps of 1, 2 or 5 times a power of ten. */
function niceEnd(most: number): number {
  const least = Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(least / 6));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((each) => least / each <= 6) ?? least;
  return step * Math.ceil(least / step);
}
