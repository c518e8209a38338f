import fc from "fast-check";
import { expect, it } from "vitest";
import { angleOf } from "./arc.ts";

it("is the arc tangent of the first quadrant to a few units of the last place", () => {
  const side = fc.oneof(
    fc.double({ min: 1e-9, max: 1, noNaN: true }),
    fc.double({ min: 1e-30, max: 1e30, noNaN: true }),
  );
  fc.assert(
    fc.property(side, side, (y, x) => {
      expect(Math.abs(angleOf(y, x) - Math.atan2(y, x))).toBeLessThanOrEqual(1e-15 * Math.atan2(y, x));
    }),
  );
  expect([angleOf(0, 0), angleOf(0, 1), angleOf(1, 0), angleOf(1, 1)]).toEqual([0, 0, Math.PI / 2, Math.PI / 4]);
});
