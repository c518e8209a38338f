/** The wasm matmul against a float64 loop, entry by entry, within the bound that float32 summation guarantees. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openWasm, upload, wasmConfigurations } from "../../../test/wasm.ts";
import type { Backend } from "../backend.ts";
import { matmul } from "./matmul.ts";

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: number;
  readonly transposeB: number;
  readonly alpha: number;
  readonly beta: number;
}

const EPSILON = 2 ** -23;
/** Entries behind C that a kernel must leave alone. */
const GUARD = 16;

function randoms(length: number): Float32Array {
  return new Float32Array(length).map(() => Math.random() * 2 - 1);
}

async function multiply(backend: Backend, p: Product, a: Float32Array, b: Float32Array, c: Float32Array) {
  const slots = [a, b, c].map((data) => upload(backend, data));
  backend.dispatch(matmul, p, slots);
  const result = new Float32Array(await backend.read(slots[2] as (typeof slots)[0], 0, c.byteLength));
  for (const slot of slots) backend.free(slot);
  return result;
}

/** The largest error in units of its bound (k + 3) epsilon (|alpha| sum |a b| + |beta c|). */
function worstError(p: Product, a: Float32Array, b: Float32Array, c: Float32Array, result: Float32Array): number {
  const { m, n, k, transposeA, transposeB } = p;
  const [alpha, beta] = [Math.fround(p.alpha), Math.fround(p.beta)];
  const at = (array: Float32Array, index: number): number => array[index] ?? Number.NaN;
  let worst = 0;
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      let size = 0;
      for (let q = 0; q < k; q++) {
        const x = at(a, transposeA === 1 ? q * m + i : i * k + q);
        const y = at(b, transposeB === 1 ? j * k + q : q * n + j);
        sum += x * y;
        size += Math.abs(x * y);
      }
      const old = beta === 0 ? 0 : beta * at(c, i * n + j);
      const bound = (k + 3) * EPSILON * (Math.abs(alpha) * size + Math.abs(old)) + Number.MIN_VALUE;
      const error = Math.abs(at(result, i * n + j) - (alpha * sum + old)) / bound;
      if (!(error <= worst)) worst = error;
    }
  }
  return worst;
}

const side = fc.constantFrom(0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 64, 127, 129, 257);
const bit = fc.constantFrom(0, 1);
const product = fc.record({
  m: side,
  n: side,
  k: fc.oneof({ weight: 5, arbitrary: side }, { weight: 1, arbitrary: fc.constantFrom(511, 512, 513, 1031) }),
  transposeA: bit,
  transposeB: bit,
  alpha: fc.constantFrom(1, -1, 0, 0.37, -2.5),
  beta: fc.constantFrom(0, 1, -0.5),
});

describe.each(wasmConfigurations)("matmul on wasm: $variant, $threads threads", (configuration) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm(configuration);
  });
  afterAll(() => backend.close());

  it("is the product for any shape, transpose, alpha and beta, and writes nothing beside C", async () => {
    await fc.assert(
      fc.asyncProperty(product, async (p) => {
        const [a, b, c] = [randoms(p.m * p.k), randoms(p.k * p.n), randoms(p.m * p.n + GUARD)];
        const result = await multiply(backend, p, a, b, c);
        expect(worstError(p, a, b, c, result)).toBeLessThanOrEqual(1);
        expect(result.slice(p.m * p.n)).toEqual(c.slice(p.m * p.n));
      }),
      { numRuns: 120 },
    );
  });

  it("never reads C when beta is 0", async () => {
    for (const k of [0, 5, 600]) {
      const p = { m: 37, n: 21, k, transposeA: 0, transposeB: 1, alpha: 1.5, beta: 0 };
      const [a, b] = [randoms(p.m * k), randoms(k * p.n)];
      const c = new Float32Array(p.m * p.n).fill(Number.NaN);
      expect(worstError(p, a, b, c, await multiply(backend, p, a, b, c))).toBeLessThanOrEqual(1);
    }
  });

  it("does not touch A or B when alpha is 0", async () => {
    const p = { m: 9, n: 13, k: 6, transposeA: 1, transposeB: 0, alpha: 0, beta: 2 };
    const nan = new Float32Array(200).fill(Number.NaN);
    const c = randoms(p.m * p.n);
    expect(await multiply(backend, p, nan, nan, c)).toEqual(c.map((x) => 2 * x));
  });

  it("takes a matrix times a vector and an outer product", async () => {
    for (const [m, n, k] of [
      [1000, 1, 777],
      [1, 1000, 777],
      [700, 900, 1],
    ] as const) {
      const p = { m, n, k, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };
      const [a, b, c] = [randoms(m * k), randoms(k * n), randoms(m * n)];
      expect(worstError(p, a, b, c, await multiply(backend, p, a, b, c))).toBeLessThanOrEqual(1);
    }
  });
});

it("gives the same bits on one thread and on two, and for an entry wherever its block lies", async () => {
  const p = { m: 301, n: 517, k: 1100, transposeA: 0, transposeB: 0, alpha: 0.7, beta: 0.3 };
  const [a, b, c] = [randoms(p.m * p.k), randoms(p.k * p.n), randoms(p.m * p.n)];
  const results: Float32Array[] = [];
  for (const configuration of wasmConfigurations.filter(({ variant }) => variant !== "relaxed")) {
    const backend = await openWasm(configuration);
    results.push(await multiply(backend, p, a, b, c));
    // The last row alone: another block size, another place in its micro-tile.
    const row = { ...p, m: 1 };
    const last = await multiply(backend, row, a.slice(300 * p.k), b, c.slice(300 * p.n));
    expect(last).toEqual(results[0]?.slice(300 * p.n));
    await backend.close();
  }
  for (const result of results) expect(result).toEqual(results[0]);
});
