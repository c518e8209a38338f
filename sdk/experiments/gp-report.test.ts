import { describe, expect, it } from "vitest";
import { conv, dense, flatten, relu, serial } from "../arch/arch.ts";
import { digits } from "../data/digits.ts";
import { open } from "../index.node.ts";
import { renderGpReport } from "../report/gp-report.ts";
import { gpReport } from "./gp-report.ts";
import { runGp } from "./gp.ts";

describe("the report of an experiment", () => {
  it("counts as the experiment does: errors, confusion matrix, images and scores agree", async () => {
    await using engine = await open({ backend: "wasm", threads: 1 });
    const arch = serial(conv({ filter: 3 }), relu(), flatten(), dense());
    const range = (start: number, end: number) => [{ start, end }];
    const dataset = digits({ size: 12 });
    const sets = { train: range(0, 60), validation: range(100, 141), test: range(60000, 60053) };
    const experiment = { engine, dataset, arch, ...sets };
    const result = await runGp(experiment);
    const report = gpReport(experiment, result, { title: "digits", version: "0", runtime: "node" });

    const counts = report.errors.map(({ split, images }) => [split, images]);
    expect(counts).toEqual([
      ["train", 60],
      ["validation", 41],
      ["test", 53],
    ]);
    for (const { split, images, wrong } of report.errors)
      expect((100 * wrong) / images).toBeCloseTo(result.error[split as "train"] ?? Number.NaN, 9);
    const wrong = report.errors.at(-1)?.wrong ?? 0;
    expect(wrong).toBeGreaterThan(0);
    const diagonal = report.confusion.reduce((sum, row, i) => sum + (row[i] ?? 0), 0);
    expect(report.confusion.flat().reduce((sum, count) => sum + count, 0)).toBe(53);
    expect(diagonal).toBe(53 - wrong);
    expect(report.misclassified).toHaveLength(wrong);
    for (const { label, predicted, index, image } of report.misclassified) {
      expect(label).toBe(dataset.labels[index]);
      expect(predicted).toBe(result.predictions.test?.labels[index - 60000]);
      expect(image).toEqual(dataset.select(range(index, index + 1)).images);
    }
    expect(report.calibration?.reduce((sum, { count }) => sum + count, 0)).toBe(53);
    expect(await renderGpReport(report)).toContain(`${report.misclassified[0]?.index ?? ""}`);
  });
});
