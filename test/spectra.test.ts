/** The test matrices have the spectra that they say, and the plain algorithms agree with each other and with those. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { gaussSolve, jacobiEigenvalues, naiveEigenvalues } from "./naive-eigen.ts";
import { difference, entry, matrixChoices, norm, randomOrthogonal, spectralMatrix, times } from "./spectra.ts";

const worst = (a: Float64Array, b: Float64Array) =>
  difference(a, b).reduce((most, x) => Math.max(most, Math.abs(x)), 0);

it("matrices of a spectrum have it, by bisection and by Jacobi rotations, and a seed is a matrix", () => {
  fc.assert(
    fc.property(matrixChoices({ max: 60 }), ({ kind, n, seed }) => {
      const { a, eigenvalues } = spectralMatrix(kind, n, seed);
      expect(spectralMatrix(kind, n, seed).a).toEqual(a);
      const sorted = eigenvalues.slice().sort();
      const largest = sorted[n - 1] ?? NaN;
      expect(worst(naiveEigenvalues(a, n), sorted)).toBeLessThan(1e-15 * n * largest + 2e-15 * largest);
      expect(worst(jacobiEigenvalues(a, n), sorted)).toBeLessThan(1e-15 * n * largest + 2e-15 * largest);
    }),
    { numRuns: 40 },
  );
});

it("random orthogonal matrices are orthogonal", () => {
  const n = 50;
  const q = randomOrthogonal(n);
  const transposed = q.map((_, at) => entry(q, n, at % n, Math.floor(at / n)));
  const product = times(transposed, n, q, n);
  for (let i = 0; i < n; i++) product[i * n + i] = (product[i * n + i] ?? NaN) - 1;
  expect(norm(product)).toBeLessThan(1e-13);
});

it("Gaussian elimination solves with a residual of rounding", () => {
  fc.assert(
    fc.property(matrixChoices({ max: 60 }), fc.integer({ min: 1, max: 4 }), ({ kind, n, seed }, m) => {
      const { a, uniform } = spectralMatrix(kind, n, seed);
      const b = new Float64Array(n * m).map(() => uniform() - 0.5);
      const x = gaussSolve(a, n, b, m);
      expect(norm(difference(times(a, n, x, m), b))).toBeLessThan(1e-14 * (1 + norm(a)) * (norm(x) + norm(b)));
    }),
    { numRuns: 40 },
  );
});
