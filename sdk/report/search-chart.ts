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

/** So many of the best networks, by validation error, are labelled with their seeds. */
const LABELLED = 3;
/** Errors that differ by more than this factor go on logarithmic axes, where the best networks stand apart. */
const LINEAR_UP_TO = 8;

/** `points` are in the order of merit. A network that the validation images judge fairly lies on the diagonal. */
export function searchSpec(points: readonly SearchPoint[], title: string): TopLevelSpec {
  const errors = points.flatMap(({ validation, test }) => [validation, test]);
  const [least, most] = [Math.min(...errors), Math.max(...errors)];
  const logarithmic = least > 0 && most / least > LINEAR_UP_TO;
  const scale = logarithmic
    ? { type: "log" as const, domain: [least / 1.15, most * 1.15], nice: false }
    : { domain: [0, Math.max(1.05 * most, 1)], nice: true };
  const axis = { tickCount: 6, format: "~g" };
  const x = { type: "quantitative", scale, axis, title: "validation error, percent" } as const;
  const y = { type: "quantitative", scale, axis, title: "test error, percent" } as const;
  const [low, high] = scale.domain;
  const values = points.map((point, rank) => ({
    ...point,
    connections: point.residual ? "residual" : "plain",
    label: rank < LABELLED ? `seed ${point.seed}` : "",
  }));
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title,
    width: 380,
    height: 380,
    layer: [
      {
        data: { values: [low, high].map((error) => ({ error })) },
        mark: { type: "line", color: MUTED, strokeDash: [5, 4], strokeWidth: 1, clip: true },
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
        data: { values: values.filter(({ label }) => label !== "") },
        mark: { type: "text", align: "right", dx: -9, dy: 1, color: INK },
        encoding: {
          x: { ...x, field: "validation" },
          y: { ...y, field: "test" },
          text: { field: "label", type: "nominal" },
        },
      },
    ],
    config: figureConfig,
  };
}
