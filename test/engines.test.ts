import { expect, it } from "vitest";
import { worstRelative } from "./engines.ts";

it("a NaN is the worst error, wherever it stands and whatever follows it", () => {
  expect(worstRelative([1, 2.002, 3], [1, 2, 3])).toBeCloseTo(1e-3);
  expect(worstRelative([Number.NaN, 2, 3], [1, 2, 3])).toBeNaN();
  expect(worstRelative([1, 2, 3], [1, Number.NaN, 3])).toBeNaN();
  expect(worstRelative([1, 2], [1, 2, 3])).toBeNaN();
  expect(worstRelative([0, 2], [0, 2])).toBe(0);
});
