import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { calibrationError, calibrationBins } from "./calibration.ts";

/** Rows of positive numbers, divided by their sum, and a label for each. */
const classified = fc.integer({ min: 1, max: 7 }).chain((classes) =>
  fc
    .array(
      fc.record({
        row: fc.array(fc.double({ min: 1e-3, max: 1, noNaN: true }), { minLength: classes, maxLength: classes }),
        label: fc.nat(classes - 1),
      }),
      { maxLength: 60 },
    )
    .map((images) => ({
      labels: images.map(({ label }) => label),
      scores: images.flatMap(({ row }) => {
        const sum = row.reduce((total, value) => total + value, 0);
        return row.map((value) => value / sum);
      }),
      classes,
    })),
);

describe("calibration bins", () => {
  it("share out every image, and keep the overall accuracy and mean confidence", () => {
    fc.assert(
      fc.property(classified, fc.integer({ min: 1, max: 20 }), ({ scores, labels, classes }, count) => {
        const bins = calibrationBins(scores, labels, count);
        let right = 0;
        let confidence = 0;
        labels.forEach((label, i) => {
          const row = scores.slice(i * classes, (i + 1) * classes);
          const best = Math.max(...row);
          right += Number(row.indexOf(best) === label);
          confidence += best;
        });
        const total = (pick: (bin: (typeof bins)[number]) => number) => bins.reduce((sum, bin) => sum + pick(bin), 0);
        expect(bins).toHaveLength(count);
        expect(total((bin) => bin.count)).toBe(labels.length);
        expect(total((bin) => bin.count * bin.accuracy)).toBeCloseTo(right, 9);
        expect(total((bin) => bin.count * bin.confidence)).toBeCloseTo(confidence, 9);
        for (const [i, bin] of bins.entries()) {
          if (bin.count === 0) continue;
          expect(bin.confidence).toBeGreaterThanOrEqual(i / count - 1e-12);
          expect(bin.confidence).toBeLessThanOrEqual((i + 1) / count + 1e-12);
        }
      }),
    );
  });

  it("put a certain score into the last bin", () => {
    expect(calibrationBins([1, 0], [0], 4)).toEqual([
      ...Array.from({ length: 3 }, () => ({ confidence: 0, accuracy: 0, count: 0 })),
      { confidence: 1, accuracy: 1, count: 1 },
    ]);
  });

  it("refuse scores that are no probabilities, or not a whole number for each image", () => {
    expect(() => calibrationBins([0.5, 1.5], [1])).toThrow("the score of image 0 for class 1 is 1.5, not in [0, 1]");
    expect(() => calibrationBins([0.5, Number.NaN], [1])).toThrow("is NaN, not in [0, 1]");
    expect(() => calibrationBins([0.5, 0.5, 1], [0, 1])).toThrow(
      "3 scores are not a whole number for each of 2 images",
    );
  });
});

describe("the calibration error", () => {
  it("is the mean distance of accuracy from confidence, each image counted once", () => {
    const bins = [
      { confidence: 0.5, accuracy: 0.7, count: 30 },
      { confidence: 0.9, accuracy: 0.8, count: 10 },
      { confidence: 0, accuracy: 0, count: 0 },
    ];
    expect(calibrationError(bins)).toBeCloseTo((30 * 0.2 + 10 * 0.1) / 40, 12);
    expect(calibrationError([])).toBe(0);
  });
});
