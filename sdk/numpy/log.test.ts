import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mantissaOf } from "../engine/portable.ts";
import { pairedLog, roundedLog } from "./log.ts";

describe("roundedLog", () => {
  it("is the double nearest to the logarithm (from 45 decimal digits)", () => {
    const nearest: [x: number, log: number][] = [
      [0.5, -0.6931471805599453],
      [0.7071067811865476, -0.3465735902799726],
      [1.4142135623730951, 0.3465735902799727],
      [0.9999999999999999, -1.1102230246251565e-16],
      [1.0000000000000002, 2.2204460492503128e-16],
      [2.2250738585072014e-308, -708.3964185322641],
      [1.7976931348623157e308, 709.782712893384],
      [1e-300, -690.7755278982137],
      [0.1, -2.3025850929940455],
      [3, 1.0986122886681098],
      [0.9999, -0.00010000500033334732],
      [1.0001, 9.999500033329732e-5],
      [0.6229016948897019, -0.47336656575977026],
      [0.7417869892607294, -0.2986931534971135],
      [0.7951935655656966, -0.22916971526494367],
      [0.9424502837770503, -0.05927211035943434],
      [0.7398985747399307, -0.3012421633399169],
      [0.922324996665417, -0.08085762657556451],
      [2.060945425598585e-16, -36.118196665920706],
      [2.427396141289914e-148, -339.8957746270773],
      [1.522558555981709e254, 585.2770058007649],
      [1.775494047323677e-73, -167.514633067846],
    ];
    expect(nearest.map(([x]) => roundedLog(x))).toEqual(nearest.map(([, log]) => log));
  });

  it("is 0 at 1", () => {
    expect(roundedLog(1)).toBe(0);
  });

  it("is what pairs throughout give, near 1, near the octaves' ends and anywhere", () => {
    const near = (middle: number) =>
      fc.integer({ min: -(2 ** 40), max: 2 ** 40 }).map((step) => middle + middle * step * 2 ** -52);
    const anywhere = fc.double({ min: 2 ** -1022, max: 2 ** 1023, noNaN: true });
    const unit = fc.double({ min: 2 ** -60, max: 1, noNaN: true });
    const octave = { exponent: 0 };
    const x = fc.oneof(anywhere, unit, near(1), near(Math.SQRT1_2), near(Math.SQRT2), near(0.25));
    fc.assert(
      fc.property(x, (value) => {
        const mantissa = mantissaOf(value, octave);
        expect(roundedLog(value)).toBe(pairedLog(mantissa, octave.exponent));
      }),
      { numRuns: 5000 },
    );
  });

  it("stays within two units in the last place of Math.log", () => {
    fc.assert(
      fc.property(fc.double({ min: 2 ** -1022, max: 2 ** 1023, noNaN: true }), (x) => {
        const log = Math.log(x);
        expect(Math.abs(roundedLog(x) - log)).toBeLessThanOrEqual(2 ** -51 * Math.abs(log));
      }),
      { numRuns: 2000 },
    );
  });
});
