import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RandomStream } from "../engine/rng.ts";
import { EmpiricalCovariance, gaussianSamplingError } from "./empirical-covariance.ts";

const outputs = fc.double({ min: -1e3, max: 1e3, noNaN: true });

/** Draws of one size, and a symmetric matrix of that size. */
const problem = fc.integer({ min: 1, max: 7 }).chain((size) =>
  fc.record({
    size: fc.constant(size),
    draws: fc.array(fc.array(outputs, { minLength: size, maxLength: size }), { minLength: 2, maxLength: 12 }),
    kernel: fc.array(outputs, { minLength: size * size, maxLength: size * size }).map((values) =>
      Float64Array.from(values, (_, at) => {
        const [i, j] = [Math.floor(at / size), at % size];
        return values[Math.max(i, j) * size + Math.min(i, j)] ?? NaN;
      }),
    ),
  }),
);

function accumulated(size: number, draws: readonly (readonly number[])[]): EmpiricalCovariance {
  const estimate = new EmpiricalCovariance(size);
  for (const draw of draws) estimate.add(draw);
  return estimate;
}

const square = (values: readonly number[]) => values.reduce((sum, value) => sum + value * value, 0);

describe("the covariance over draws", () => {
  it("is the mean of f f', and its errors are Frobenius norms of full matrices", () => {
    fc.assert(
      fc.property(problem, ({ size, draws, kernel }) => {
        const n = draws.length;
        const estimate = accumulated(size, draws);
        const products = draws.map((f) => f.flatMap((a) => f.map((b) => a * b)));
        const mean = products
          .reduce((sum, one) => sum.map((v, k) => v + (one[k] ?? NaN)), new Array<number>(size * size).fill(0))
          .map((v) => v / n);
        const scale = Math.max(...mean.map(Math.abs), 1e-300);
        mean.forEach((value, k) =>
          expect(Math.abs(estimate.at(Math.floor(k / size), k % size) - value)).toBeLessThanOrEqual(1e-12 * scale),
        );
        const norm = square([...kernel]);
        if (norm < 1e-6) return;
        const { error, sampling, rest } = estimate.compare(kernel);
        const distance = square(mean.map((value, k) => value - (kernel[k] ?? NaN)));
        expect(error ** 2 * norm).toBeCloseTo(distance, -Math.log10(1e-9 * (distance + norm + scale ** 2)));
        const spread = products.reduce((sum, one) => sum + square(one.map((v, k) => v - (mean[k] ?? NaN))), 0);
        const tolerance = 1e-9 * products.reduce((sum, one) => sum + square(one), 1e-6);
        expect(Math.abs(sampling ** 2 * norm - spread / n / (n - 1))).toBeLessThan(tolerance);
        expect(Math.abs(rest ** 2 - Math.max(0, error ** 2 - sampling ** 2)) * norm).toBeLessThan(
          tolerance + 1e-9 * distance,
        );
      }),
    );
  });

  it("written down and continued is bitwise what it is at one go", () => {
    fc.assert(
      fc.property(problem, fc.nat(12), ({ size, draws, kernel }, cut) => {
        const first = accumulated(size, draws.slice(0, cut)).sums;
        const continued = new EmpiricalCovariance(size, { ...first, products: first.products.slice() });
        for (const draw of draws.slice(cut)) continued.add(draw);
        const whole = accumulated(size, draws);
        expect(continued.sums).toEqual(whole.sums);
        expect(continued.compare(kernel)).toEqual(whole.compare(kernel));
      }),
    );
  });

  it("errs for Gaussian outputs as Isserlis' theorem says, and the draws tell the same error", () => {
    // 400 estimates from 40 draws each of N(0, K), K of rank 3. One estimate's squared error has a relative standard
    // deviation below 2 (that of a chi-squared mean square, for a spectrum that one eigenvalue leads), so that the mean
    // of 400 has 0.1: four of them.
    const [size, rank, n, turns] = [5, 3, 40, 400];
    const random = new RandomStream(3, "covariance");
    const root = Float64Array.from({ length: size * rank }, () => random.normal());
    const kernel = Float64Array.from({ length: size * size }, (_, at) => {
      let sum = 0;
      for (let r = 0; r < rank; r++)
        sum += (root[Math.floor(at / size) * rank + r] ?? NaN) * (root[(at % size) * rank + r] ?? NaN);
      return sum;
    });
    let [errors, samplings] = [0, 0];
    for (let turn = 0; turn < turns; turn++) {
      const estimate = new EmpiricalCovariance(size);
      for (let draw = 0; draw < n; draw++) {
        const z = Array.from({ length: rank }, () => random.normal());
        estimate.add(
          Array.from({ length: size }, (_, i) =>
            z.reduce((sum, value, r) => sum + value * (root[i * rank + r] ?? NaN), 0),
          ),
        );
      }
      const { error, sampling } = estimate.compare(kernel);
      errors += error ** 2 / turns;
      samplings += sampling ** 2 / turns;
    }
    const expected = gaussianSamplingError(kernel, size, n) ** 2;
    expect(Math.abs(errors / expected - 1)).toBeLessThan(0.4);
    expect(Math.abs(samplings / expected - 1)).toBeLessThan(0.4);
  });

  it("refuses outputs that are not finite, naming the input, and adds nothing of that draw", () => {
    const estimate = accumulated(3, [[1, 2, 3]]);
    for (const value of [NaN, Infinity, -Infinity])
      expect(() => estimate.add([1, value, 3])).toThrow(/output for input 1 is (NaN|-?Infinity)/);
    expect(() => estimate.add([1, 2])).toThrow(expect.objectContaining({ code: "E_SHAPE" }) as Error);
    expect(estimate.sums).toEqual(accumulated(3, [[1, 2, 3]]).sums);
    expect(() => estimate.compare(new Float64Array(4))).toThrow(expect.objectContaining({ code: "E_SHAPE" }) as Error);
    expect(() => new EmpiricalCovariance(2).compare(new Float64Array(4))).toThrow(/no draws/);
  });
});
