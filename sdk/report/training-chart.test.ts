import { describe, expect, it } from "vitest";
import type { TopLevelSpec } from "vega-lite";
import type { StepMetrics } from "../learn/metrics-log.ts";
import type { EpochRecord } from "../learn/training-state.ts";
import { renderSvgFile } from "./figure.ts";
import { compareSpec, smoothed, trainingSpec } from "./training-chart.ts";

const BATCHES = 50;

function epochsOf(count: number, level: number, classes = true): EpochRecord[] {
  return Array.from({ length: count }, (_, index) => {
    const [epoch, loss] = [index + 1, level + 2 / (index + 1)];
    const scores = (more: number) => ({
      loss: loss + more,
      count: 10,
      ...(classes && { accuracy: 1 / (1 + loss + more) }),
    });
    const evaluated = epoch % 2 === 0 ? { validation: scores(0.1), test: scores(0.2) } : {};
    const timing = { seconds: 1, examplesPerSecond: 1 };
    return { epoch, step: BATCHES * epoch, rate: 1, training: scores(0), ...evaluated, ...timing };
  });
}

const stepsOf = (count: number, level: number): StepMetrics[] =>
  Array.from({ length: count }, (_, index) => ({
    ...{ epoch: 1 + Math.floor(index / BATCHES), step: index + 1, rate: 1 },
    loss: level + 2 / (1 + index / BATCHES) + 0.3 * Math.sin(17 * index),
  }));

interface Spec {
  readonly title: { readonly subtitle?: readonly string[] };
  readonly hconcat: readonly {
    readonly layer: readonly {
      readonly data: { readonly values: readonly { line: string; epoch: number; value: number }[] };
      readonly encoding: { readonly y: { readonly title: string; readonly scale: { readonly type?: string } } };
    }[];
  }[];
}
const partsOf = (spec: TopLevelSpec) => spec as unknown as Spec;
const titlesOf = (spec: TopLevelSpec) => partsOf(spec).hconcat.map(({ layer }) => layer[0]?.encoding.y.title);

describe("the chart of a run", () => {
  const titles = { title: "convnet4 on digits", subtitle: ["step11, SoftHinge"] };

  it("shows loss and accuracy of each set where it was scored, names the best epoch, and is the same every time", async () => {
    const spec = trainingSpec(epochsOf(6, 0.2), titles);
    const svg = await renderSvgFile(spec);
    for (const text of ["convnet4 on digits", "loss", "accuracy, percent", "training", "validation", "test", "epoch"])
      expect(svg).toContain(text);
    expect(svg).toMatch(/Best validation accuracy: 61\.22 % after epoch 6 \(test 57\.69 %\)/);
    expect(await renderSvgFile(trainingSpec(epochsOf(6, 0.2), titles))).toBe(svg);
    const [loss] = partsOf(spec).hconcat;
    const values = loss?.layer[0]?.data.values ?? [];
    expect(values.filter(({ line }) => line === "training").map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(values.filter(({ line }) => line === "test").map(({ epoch }) => epoch)).toEqual([2, 4, 6]);
  });

  it("has no accuracy where there are no classes, and leaves out what is no number", async () => {
    const [first, ...rest] = epochsOf(3, 0.2, false);
    if (first === undefined) throw new Error("three epochs");
    const spec = trainingSpec([{ ...first, test: { loss: Number.NaN, count: 0 } }, ...rest], titles);
    expect(titlesOf(spec)).toEqual(["loss"]);
    expect(await renderSvgFile(spec)).not.toContain("NaN");
    expect(titlesOf(trainingSpec([], titles))).toEqual(["loss"]);
  });

  it("has a logarithmic axis for losses far apart", () => {
    const scaleOf = (level: number) =>
      partsOf(trainingSpec(epochsOf(100, level), titles)).hconcat[0]?.layer[0]?.encoding.y.scale.type;
    expect([scaleOf(0), scaleOf(1)]).toEqual(["log", undefined]);
  });
});

describe("the chart of several runs", () => {
  it("has a line a run: smoothed training loss, and test accuracy", async () => {
    const runs = ["relu <1>", "step11"].map((name, at) => ({ name, epochs: epochsOf(4, at), steps: stepsOf(200, at) }));
    const spec = compareSpec(runs, { title: "Six activations" });
    expect(titlesOf(spec)).toEqual(["training loss, smoothed", "test accuracy, percent"]);
    const [pale, lines] = partsOf(spec).hconcat[0]?.layer ?? [];
    expect(pale?.data.values).toHaveLength(400);
    const values = (lines?.data.values ?? []).filter(({ line }) => line === "step11");
    expect(values.map(({ value }) => value)).toEqual(
      smoothed(
        stepsOf(200, 1).map(({ loss }) => loss),
        Math.exp(-1 / 25),
      ),
    );
    expect(values.at(-1)?.epoch).toBeCloseTo(4);
    const svg = await renderSvgFile(spec);
    for (const text of ["relu &lt;1&gt;", "step11", "Six activations"]) expect(svg).toContain(text);
    expect(svg).not.toContain("e+1");
  });

  it("averages batches where there are more than pixels, and takes epochs where there are none", () => {
    const spec = compareSpec(
      [
        { name: "a", epochs: epochsOf(40, 1), steps: stepsOf(2000, 1) },
        { name: "b", epochs: epochsOf(3, 1) },
      ],
      {
        title: "x",
      },
    );
    const [pale] = partsOf(spec).hconcat[0]?.layer ?? [];
    const of = (name: string) => pale?.data.values.filter(({ line }) => line === name) ?? [];
    expect(of("a").length).toBeLessThanOrEqual(300);
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(of("a")[0]?.value).toBeCloseTo(mean(stepsOf(7, 1).map(({ loss }) => loss)));
    expect(of("b").map(({ epoch }) => epoch)).toEqual([1, 2, 3]);
  });

  it("takes validation accuracy where no run was tested", () => {
    const epochs = epochsOf(4, 1).map((record) => ({ ...record, test: undefined }));
    expect(titlesOf(compareSpec([{ name: "a", epochs }], { title: "x" }))[1]).toBe("validation accuracy, percent");
  });
});

describe("smoothing", () => {
  it("keeps constants, leaves out what is no number, and stays between what it has seen", () => {
    expect(smoothed([3, 3, 3], 0.8)).toEqual([3, 3, 3].map((value) => expect.closeTo(value, 12) as number));
    expect(smoothed([1, Number.NaN, 1], 0.8)).toEqual([1, Number.NaN, expect.closeTo(1, 12)]);
    for (const value of smoothed([5, 1, 4, 2], 0.9)) {
      expect(value).toBeGreaterThan(1);
      expect(value).toBeLessThanOrEqual(5);
    }
    expect(smoothed([4, 0], 0.5)[1]).toBeCloseTo(4 / 3, 12);
  });
});
