import { describe, expect, it } from "vitest";
import { renderSvgFile } from "./figure.ts";
import { sweepPage, sweepSpec, type SweepPoint } from "./sweep-chart.ts";

const point = (line: string, level: number, squaredError: number, accuracy: number | null = 0.9): SweepPoint => ({
  ...{ line, level, squaredError, accuracy },
  ...{ r2: 1 - squaredError, lambda: 0.1 },
});

interface Spec {
  readonly hconcat: {
    encoding: { x: { scale: { domain: number[] } }; y: { title: string; scale: { type?: string } } };
  }[];
}

describe("the chart of a sweep", () => {
  const points = [
    point("ntk2", 0, 0.2),
    point("ntk2", 7, 0.5),
    point("poly2 <b>", 0, 0.25),
    point("poly2 <b>", 7, 0.4),
  ];
  const titles = { title: "KRR on digits", subtitle: ["train 0:10"] };

  it("shows test error and accuracy, a line a model, and is the same every time", async () => {
    const svg = await renderSvgFile(sweepSpec(points, titles));
    for (const text of ["KRR on digits", "test squared error", "test accuracy, percent", "ntk2", "noise level"])
      expect(svg).toContain(text);
    expect(await renderSvgFile(sweepSpec(points, titles))).toBe(svg);
  });

  it("has R² where there are no classes, a logarithmic axis for errors far apart, and room for a single level", () => {
    const { hconcat } = sweepSpec([point("a", 3, 1e-3, null), point("b", 3, 0.5, null)], titles) as unknown as Spec;
    expect(hconcat[1]?.encoding.y.title).toBe("test R²");
    expect(hconcat[0]?.encoding.y.scale.type).toBe("log");
    expect(hconcat[0]?.encoding.x.scale.domain).toEqual([2, 4]);
    const near = sweepSpec(points, titles) as unknown as Spec;
    expect(near.hconcat[0]?.encoding.y.scale.type).toBeUndefined();
    expect(near.hconcat[0]?.encoding.x.scale.domain).toEqual([0, 7]);
  });

  it("writes levels as they are named, however far apart", async () => {
    const levels = [0, 5, 10, 14].map((level) => point("a", level, 0.1 + level));
    const svg = await renderSvgFile(sweepSpec(levels, titles));
    for (const level of ["0", "5", "10", "14"]) expect(svg).toContain(`>${level}</text>`);
    expect(svg).not.toContain("e+1");
  });

  it("stands in a page with its numbers, names escaped", async () => {
    const text = await sweepPage(points, titles, { command: "widefield sweep krr", train: "0:10" });
    expect(text).toMatch(/^<!doctype html>/);
    expect(text).toContain("<svg");
    expect(text).toContain("poly2 &lt;b&gt;");
    expect(text).not.toContain("poly2 <b>");
    expect(text).toContain("90.00 %");
    expect(await sweepPage([], titles, {})).not.toContain("<svg");
  });
});
