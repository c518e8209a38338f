import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { freshSeed } from "../../test/seed.ts";
import { Histogram } from "./histogram.ts";

const seed = freshSeed();
const values = fc.array(
  fc.oneof(fc.float(), fc.float({ min: -2, max: 2, noNaN: true }), fc.constantFrom(0, -0, 1, -1, 1e-12, 1e20, 3e38)),
  { maxLength: 60 },
);

describe("a histogram of a stream", () => {
  it("has every finite number between its bucket's limits, once, and counts the others apart", () => {
    fc.assert(
      fc.property(values, (numbers) => {
        const histogram = new Histogram().add(numbers);
        const finite = numbers.filter((value) => Number.isFinite(value));
        expect(histogram.count).toBe(finite.length);
        expect(histogram.nonFinite).toBe(numbers.length - finite.length);
        expect(histogram.min).toBe(finite.length === 0 ? 0 : finite.reduce((a, b) => (b < a ? b : a), Infinity));
        expect(histogram.max).toBe(finite.length === 0 ? 0 : finite.reduce((a, b) => (b > a ? b : a), -Infinity));
        expect(histogram.sum).toBe(finite.reduce((a, b) => a + b, 0));
        expect(histogram.sumOfSquares).toBe(finite.reduce((a, b) => a + b * b, 0));
        const { limits, counts } = histogram.buckets();
        limits.forEach((limit, at) => {
          const below = limits[at - 1] ?? -Infinity;
          expect(counts[at]).toBe(finite.filter((value) => value >= below && value < limit).length);
        });
        // A run of empty buckets is one.
        counts.forEach((count, at) => expect(count === 0 && counts[at + 1] === 0).toBe(false));
      }),
      { seed },
    );
  });

  it("of two parts is that of the whole", () => {
    fc.assert(
      fc.property(values, values, (a, b) => {
        const [merged, whole] = [
          new Histogram().add(a).merge(new Histogram().add(b)),
          new Histogram().add([...a, ...b]),
        ];
        expect(merged.buckets()).toEqual(whole.buckets());
        expect([merged.count, merged.nonFinite, merged.min, merged.max]) //
          .toEqual([whole.count, whole.nonFinite, whole.min, whole.max]);
      }),
      { seed },
    );
  });

  it("tells numbers apart that differ by more than a tenth, of either sign, from 1e-12 on", () => {
    for (const size of [2e-12, 1e-5, 1, 3e7]) {
      const { counts } = new Histogram().add([size, 1.11 * size, -size, -1.11 * size, 0]).buckets();
      expect(counts.filter((count) => count === 1)).toHaveLength(5);
    }
  });
});
