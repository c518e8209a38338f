import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { normalCdf, normalLogCdf, normalPdf, normalQuantile } from "./normal.ts";

/** Within a relative error. */
function expectNear(actual: number, expected: number, tolerance: number): void {
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(tolerance * Math.abs(expected));
}

describe("the normal distribution", () => {
  // z, P(Z <= z) and its logarithm, from 30 digits (mpmath).
  it.each([
    [-37.5, 4.6053530095819548e-308, -707.66898931750719],
    [-20, 2.7536241186062337e-89, -203.91715537109726],
    [-8.3, 5.205569744890254e-17, -37.494217423748254],
    [-4, 3.1671241833119921e-5, -10.360101486527291],
    [-2.00001, 0.022749592043913141, -3.7832080658816464],
    [-2, 0.022750131948179207, -3.7831843336820319],
    [-1.99999, 0.022750671863243466, -3.7831606015709896],
    [-0.3, 0.38208857781104737, -0.96210281816885066],
    [0, 0.5, -0.69314718055994531],
    [1e-8, 0.5000000039894228, -0.69314717258109973],
    [1.49, 0.93188788203327454, -0.07054276978051991],
    [0.9, 0.81593987465324052, -0.2034146097557469],
    [1.0000001, 0.8413447702656142, -0.17275375026345463],
    [1.86, 0.9685572370192473, -0.031947699255376278],
    [1.99, 0.97670453224978818, -0.023571096169053251],
    [3, 0.99865010196836991, -0.0013508099647481938],
    [8, 0.99999999999999938, -6.2209605742717858e-16],
  ])("at z = %d", (z, probability, logarithm) => {
    expectNear(normalCdf(z), probability, 1e-14);
    expectNear(normalLogCdf(z), logarithm, 1e-14);
  });

  it("has a logarithm where the probability itself is 0", () => {
    expect(normalCdf(-1e4)).toBe(0);
    // -z^2/2 - log z - log sqrt(2 pi) + log(1 - 1/z^2 ...)
    expectNear(normalLogCdf(-1e4), -5e7 - Math.log(1e4) - 0.5 * Math.log(2 * Math.PI) - 1e-8, 1e-15);
  });

  // SciPy's ndtri.
  it.each([
    [1e-300, -37.0470962993612],
    [1e-20, -9.262340089798409],
    [1e-5, -4.264890793922825],
    [0.025, -1.9599639845400545],
    [0.3, -0.5244005127080409],
    [0.5, 0],
    [0.77, 0.7388468491852137],
    [0.999999, 4.753424308822899],
  ])("has its quantile of %d", (p, z) => {
    expect(Math.abs(normalQuantile(p) - z)).toBeLessThanOrEqual(1e-11 * Math.max(1, Math.abs(z)));
  });

  it("is symmetric, and quantiles invert it", () => {
    fc.assert(
      fc.property(fc.double({ min: -8, max: 8, noNaN: true }), (z) => {
        expect(normalCdf(z) + normalCdf(-z)).toBeCloseTo(1, 14);
        expect(normalPdf(z)).toBe(normalPdf(-z));
        if (z < 0) expect(Math.abs(normalQuantile(normalCdf(z)) - z)).toBeLessThan(1e-13);
      }),
    );
  });

  it("refuses a quantile of what is no probability", () => {
    for (const p of [0, 1, -0.1, 1.5, NaN])
      expect(() => normalQuantile(p)).toThrow(expect.objectContaining({ code: "E_RANGE" }) as Error);
  });

  it("has quantiles near 0, to 1e-15 of 1", () => {
    for (const off of [1e-15, 1e-12, 3e-9, 1e-6]) {
      // (p - 1/2) sqrt(2 pi), and a third-order term below 1e-17; p itself is rounded.
      const p = 0.5 + off;
      expect(Math.abs(normalQuantile(p) - (p - 0.5) * Math.sqrt(2 * Math.PI))).toBeLessThan(1e-15);
    }
  });
});
