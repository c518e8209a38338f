import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { constantRate, cosine, factorAt, linearToZero, scheduleFrom, stepDecay } from "./schedules.ts";

describe("schedules", () => {
  it("a step decay changes the rate before the named epoch: 200 is the first with the lower rate", () => {
    const schedule = stepDecay({ epochs: [200, 250] });
    const at = (epoch: number): number => schedule(epoch, 0, 10);
    expect([1, 199, 200, 249, 250, 300].map(at)).toEqual([1, 1, 0.1, 0.1, 0.1 ** 2, 0.1 ** 2]);
    expect(schedule(199, 9, 10)).toBe(1);
    expect(schedule(200, 9, 10)).toBe(0.1);
  });

  it("a straight line starts at 1 and is at 0 when the last epoch has ended", () => {
    const schedule = linearToZero({ epochs: 4 });
    expect(schedule(1, 0, 5)).toBe(1);
    expect(schedule(3, 0, 5)).toBe(0.5);
    expect(schedule(4, 4, 5)).toBeCloseTo(1 / 20, 12);
    expect(schedule(5, 0, 5)).toBe(0);
    expect(schedule(9, 0, 5)).toBe(0);
  });

  it("a cosine rises to 1 at the last update of its warm-up, and falls to 0 from there", () => {
    const schedule = cosine({ epochs: 10, warmup: 2 });
    expect(schedule(1, 0, 5)).toBeCloseTo(1 / 10, 12);
    expect(schedule(2, 4, 5)).toBe(1);
    expect(schedule(3, 0, 5)).toBe(1);
    expect(schedule(7, 0, 5)).toBeCloseTo(0.5, 12);
    expect(schedule(11, 0, 5)).toBe(0);
    expect(cosine({ epochs: 3 })(1, 0, 7)).toBe(1);
  });

  it("none leaves [0, 1], and none but the warm-up ever rises", () => {
    const whole = fc.integer({ min: 1, max: 8 });
    fc.assert(
      fc.property(whole, whole, fc.integer({ min: 0, max: 7 }), (epochs, steps, warmup) => {
        const warm = Math.min(warmup, epochs - 1);
        const all = [linearToZero({ epochs }), cosine({ epochs, warmup: warm }), stepDecay({ epochs: [2, 5] })];
        for (const [index, schedule] of all.entries()) {
          let before = 1;
          for (let epoch = 1; epoch <= epochs; epoch++)
            for (let step = 0; step < steps; step++) {
              const factor = schedule(epoch, step, steps);
              expect(factor).toBeGreaterThanOrEqual(0);
              expect(factor).toBeLessThanOrEqual(1);
              if (index === 1 && epoch <= warm) continue;
              expect(factor).toBeLessThanOrEqual(before + 1e-15);
              before = factor;
            }
        }
      }),
      { numRuns: 20 },
    );
  });

  it("a function of the epoch is one, as is any function of its own", () => {
    const paper = scheduleFrom((t) => (t < 15 ? (2 * t) / 15 : 1));
    expect(paper(3, 7, 9)).toBe(0.4);
    expect(constantRate(100, 3, 4)).toBe(1);
  });

  it("what is no factor is refused where it is used", () => {
    for (const bad of [Number.NaN, -0.1, Number.POSITIVE_INFINITY])
      expect(() => factorAt(() => bad, 2, 3, 4)).toThrow(/update 3 of epoch 2/);
    expect(() => stepDecay({ factor: 0, epochs: [1] })).toThrow(/positive/);
    expect(() => stepDecay({ epochs: [0] })).toThrow(/counted from 1/);
    expect(() => cosine({ epochs: 3, warmup: 3 })).toThrow(/does not fit/);
    expect(() => linearToZero({ epochs: 0 })).toThrow(/positive/);
  });
});
