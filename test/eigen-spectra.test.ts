/** Eigenproblems of 0 to 300 rows on spectra of all kinds, against bisection and Jacobi rotations in plain float64. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../sdk/engine/backend.ts";
import { eigh } from "../sdk/linalg/eigh.ts";
import { refusal } from "./krylov-systems.ts";
import { jacobiEigenvalues, naiveEigenvalues } from "./naive-eigen.ts";
import {
  difference,
  matrixChoices,
  norm,
  SPECTRA,
  spectralMatrix,
  times,
  type Matrix,
  type MatrixChoice,
} from "./spectra.ts";
import { openWasm, wasmConfigurations } from "./wasm.ts";

/** The largest sizes of each kind, in every run. */
const large = SPECTRA.map((kind, seed): [MatrixChoice, number] => [{ kind, n: 300 - seed, seed }, 1]);

const worst = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  difference(a, b).reduce((most, x) => Math.max(most, Math.abs(x)), 0);

describe.each(wasmConfigurations)("eigenproblems of any spectrum: $variant, $threads threads", (configuration) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm(configuration);
  });
  afterAll(() => backend.close());

  /** Residual and orthogonality below 1e-13 n (of |A|, of 1), entry by entry; returns the values. */
  async function decomposed(a: Matrix, n: number, largest: number): Promise<Float64Array> {
    const { values, vectors = new Float64Array(0) } = await eigh(backend, a, { largest });
    const k = largest;
    const scale = a.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const product = times(a, n, vectors, k);
    const miss = product.map((x, at) => x - (values[at % k] ?? NaN) * (vectors[at] ?? NaN));
    expect(norm(miss)).toBeLessThan(1e-13 * n * scale);
    const transposed = vectors.map((_, at) => vectors[(at % n) * k + Math.floor(at / n)] ?? NaN);
    const overlaps = new Float64Array(k * k);
    for (let i = 0; i < k; i++) {
      for (let r = 0; r < n; r++) {
        const factor = transposed[i * n + r] ?? NaN;
        for (let j = 0; j < k; j++)
          overlaps[i * k + j] = (overlaps[i * k + j] ?? NaN) + factor * (vectors[r * k + j] ?? NaN);
      }
      overlaps[i * k + i] = (overlaps[i * k + i] ?? NaN) - 1;
    }
    expect(norm(overlaps)).toBeLessThan(1e-13 * n);
    expect(backend.stats().slots).toBe(0);
    return values;
  }

  it("values are those of plain bisection; residual and orthogonality are below 1e-13 n", async () => {
    await fc.assert(
      fc.asyncProperty(matrixChoices({ min: 0 }), fc.double({ min: 0, max: 1, noNaN: true }), async (choice, share) => {
        const { kind, n, seed } = choice;
        if (n === 0) {
          const error = await refusal(eigh(backend, new Float64Array(0)));
          expect([error.code, error.message]).toEqual([
            "E_SHAPE",
            "an empty matrix has no eigenvalues: it needs at least one row",
          ]);
          return;
        }
        const { a } = spectralMatrix(kind, n, seed);
        const largest = 1 + Math.floor(share * (n - 1));
        const values = await decomposed(a, n, largest);
        const expected = naiveEigenvalues(a, n);
        expect(worst(values, expected.subarray(n - largest))).toBeLessThan(1e-15 * (n + 8) * (expected[n - 1] ?? NaN));
      }),
      { numRuns: 15, examples: [[{ kind: "random", n: 0, seed: 0 }, 1], ...large] },
    );
  });

  it("values are those of Jacobi rotations, with signs of both kinds", async () => {
    await fc.assert(
      fc.asyncProperty(matrixChoices({ max: 40 }), async ({ kind, n, seed }) => {
        const { a, uniform } = spectralMatrix(kind, n, seed);
        const shift = 2 * uniform();
        const moved = a.map((x, at) => (at % (n + 1) === 0 ? x - shift : x));
        const values = await decomposed(moved, n, n);
        expect(worst(values, jacobiEigenvalues(moved, n))).toBeLessThan(1e-15 * (n + 8) * 6);
      }),
      { numRuns: 15 },
    );
  });
});
