import { describe, expect, it } from "vitest";
import { renderFigure } from "./figure.node.ts";
import { renderSvgFile } from "./figure.ts";
import { searchSpec, type SearchPoint } from "./search-chart.ts";

const point = (seed: number, validation: number, test: number): SearchPoint => ({
  ...{ seed, validation, test },
  nonlinearity: seed % 2 === 0 ? "relu" : "erf",
  residual: seed % 3 === 0,
});

/** The axes' scale of the points' layer. */
function scaleOf(points: readonly SearchPoint[]) {
  const spec = searchSpec(points, "title") as { layer: { encoding: { x: { scale: object }; y: { scale: object } } }[] };
  const { x, y } = spec.layer[1]?.encoding ?? {};
  expect(x?.scale).toEqual(y?.scale);
  return x?.scale;
}

describe("the chart of a search", () => {
  it("names the best network, in an SVG document that is the same every time", async () => {
    const points = [point(31, 1.03, 1.2), point(2, 4.5, 5), point(3, 30, 33)];
    const svg = await renderSvgFile(searchSpec(points, "Random architectures"));
    expect(svg).toMatch(/^<svg xmlns=/);
    for (const text of [
      "Random architectures",
      "seed 31, 1.03 % (test 1.20 %)",
      "validation error, percent",
      "residual",
    ])
      expect(svg).toContain(text);
    expect(await renderSvgFile(searchSpec(points, "Random architectures"))).toBe(svg);
  });

  it("has one scale for both axes, which holds every point, logarithmic only where errors differ much", () => {
    expect(scaleOf([point(1, 6, 8), point(2, 9, 7)])).toMatchObject({ domain: [0, 10], nice: false });
    const wide = scaleOf([point(1, 1, 0.9), point(2, 50, 60)]) as { type: string; domain: [number, number] };
    expect(wide.type).toBe("log");
    expect(wide.domain[0]).toBeLessThan(0.9);
    expect(wide.domain[1]).toBeGreaterThan(60);
    // No logarithm of 0, and an axis of some length where nothing is wrong.
    expect(scaleOf([point(1, 1, 1.3), point(2, 8, 7)])).toMatchObject({ domain: [0, 10] });
    expect(scaleOf([point(1, 11, 11.2)])).toMatchObject({ domain: [0, 12] });
    expect(scaleOf([point(1, 0, 0)])).toMatchObject({ domain: [0, 1] });
    expect(scaleOf([point(1, 0, 10), point(2, 80, 80)])).toMatchObject({ domain: [0, 100] });
  });

  it.each([
    ["linear", [point(31, 6, 8), point(2, 9, 7)]],
    ["logarithmic", [point(31, 1.03, 1.2), point(3, 30, 33)]],
    ["empty", []],
  ])("fills its picture: %s axes", async (_, points) => {
    const { png } = await renderFigure(searchSpec(points, "Random architectures"));
    const view = new DataView(png.buffer, png.byteOffset);
    // Two pixels each: a margin of 14 around a panel of 380 with its axis' labels and title, the legend, and two titles.
    expect(view.getUint32(16)).toBeLessThan(2 * (28 + 60 + 380 + 140));
    expect(view.getUint32(20)).toBeLessThan(2 * (28 + 50 + 380 + 50));
  });
});
