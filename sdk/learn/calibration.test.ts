import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mulberry32 } from "../../test/reference/programs.ts";
import { fitTemperature, logLoss, scores } from "./calibration.ts";

/** Means of n inputs with labels that the largest mean gets right most of the time. */
function heldOut(n: number, classes: number, scale: number): { mean: Float64Array; labels: Int32Array } {
  const random = mulberry32(Date.now());
  const labels = Int32Array.from({ length: n }, () => Math.floor(random() * classes));
  const mean = Float64Array.from({ length: n * classes }, (_, at) => {
    const right = labels[Math.floor(at / classes)] === at % classes;
    return scale * ((right ? 0.6 : -0.6) + 1.5 * (random() - 0.5));
  });
  return { mean, labels };
}

describe("scores", () => {
  it("are positive, sum to 1, and rank as the means do, whatever the temperature", () => {
    const means = fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 12, maxLength: 12 });
    fc.assert(
      fc.property(means, fc.double({ min: 0.02, max: 100, noNaN: true }), (values, temperature) => {
        const mean = Float64Array.from(values);
        const table = scores(mean, 4, temperature);
        for (let row = 0; row < 3; row++) {
          const own = [...table.subarray(4 * row, 4 * row + 4)];
          expect(own.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 12);
          for (const value of own) expect(value).toBeGreaterThanOrEqual(0);
          for (let a = 0; a < 4; a++)
            for (let b = 0; b < 4; b++)
              if ((mean[4 * row + a] ?? 0) > (mean[4 * row + b] ?? 0))
                expect(own[a]).toBeGreaterThanOrEqual(own[b] ?? NaN);
        }
      }),
    );
  });

  it("do not overflow for means that are large, or temperatures that are small", () => {
    expect([...scores(Float64Array.of(1e6, -1e6, 0), 3, 1e-3)]).toEqual([1, 0, 0]);
  });
});

describe("the fitted temperature", () => {
  it("has a log loss that no temperature of a fine grid beats", () => {
    for (const scale of [0.1, 1, 30]) {
      const { mean, labels } = heldOut(200, 5, scale);
      const fitted = logLoss(scores(mean, 5, fitTemperature(mean, 5, labels)), 5, labels);
      for (let exponent = -3; exponent <= 3; exponent += 0.01)
        expect(fitted).toBeLessThanOrEqual(logLoss(scores(mean, 5, 10 ** exponent), 5, labels) + 1e-9);
    }
  });

  it("scales with the means", () => {
    const { mean, labels } = heldOut(300, 3, 1);
    const once = fitTemperature(mean, 3, labels);
    expect(
      fitTemperature(
        mean.map((value) => 8 * value),
        3,
        labels,
      ) / once,
    ).toBeCloseTo(8, 3);
  });

  it("needs held-out labels, one for each row", () => {
    expect(() => fitTemperature(new Float64Array(0), 3, [])).toThrow(
      expect.objectContaining({ code: "E_SHAPE" }) as Error,
    );
    expect(() => fitTemperature(new Float64Array(7), 3, [1, 2])).toThrow(/7 means and 2 labels of 3 classes/);
  });
});

describe("logLoss", () => {
  it("is the mean negative logarithm of what the right classes got", () => {
    const table = Float64Array.of(0.5, 0.5, 0.125, 0.875);
    expect(logLoss(table, 2, [0, 0])).toBeCloseTo((Math.log(2) + Math.log(8)) / 2, 12);
    expect(logLoss(Float64Array.of(0, 1), 2, [0])).toBeGreaterThan(700);
  });
});
