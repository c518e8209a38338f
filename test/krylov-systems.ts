/** Systems for the tests of Krylov methods, their solutions by the plain dense algorithm, and refusals. */
import { expect } from "vitest";
import { naiveCholesky, naiveForward, withSpectrum } from "./spectra.ts";
import { WidefieldError } from "../sdk/errors.ts";

/** The WidefieldError that a promise is rejected with. */
export async function refusal(promise: Promise<unknown>): Promise<WidefieldError> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(outcome).toBeInstanceOf(WidefieldError);
  return outcome as WidefieldError;
}

/** A + shift I. */
export function shifted(a: Float64Array, n: number, shift: number): Float64Array {
  return a.map((value, at) => (at % (n + 1) === 0 ? value + shift : value));
}

/** The solution of a dense positive definite system by the plain Cholesky algorithm. */
export function denseSolve(a: Float64Array, n: number, b: Float64Array, m = 1): Float64Array {
  const { l } = naiveCholesky(a, n);
  const y = naiveForward(l, n, b, m);
  const reversed = (values: Float64Array) => {
    const out = new Float64Array(values.length);
    for (let i = 0; i < n; i++) out.set(values.subarray(i * m, (i + 1) * m), (n - 1 - i) * m);
    return out;
  };
  const transposed = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) transposed[(n - 1 - i) * n + (n - 1 - j)] = l[j * n + i] as number;
  return reversed(naiveForward(transposed, n, reversed(y), m));
}

/** Eigenvalues from 1 down to 10^-decades, evenly in their logarithms. */
export const graded = (n: number, decades: number) =>
  Array.from({ length: n }, (_, i) => 10 ** ((-decades * i) / Math.max(1, n - 1)));
/** Condition below 11. */
export const mild = (n: number) => withSpectrum(Array.from({ length: n }, () => 0.1 + Math.random()));
