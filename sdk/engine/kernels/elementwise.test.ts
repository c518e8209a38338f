/** elementwise, reduce and the erf of activate on wasm, bit for bit against the arithmetic that their heads promise. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openWasm, upload, wasmConfigurations } from "../../../test/wasm.ts";
import type { Backend } from "../backend.ts";
import { erf } from "../conformance/activate.ts";
import { activate, ActivateOperation } from "./activate.ts";
import { elementwise, ElementwiseOperation } from "./elementwise.ts";
import { reduce, ReduceOperation } from "./reduce.ts";

const f = Math.fround;

function randoms(length: number): Float32Array {
  return new Float32Array(length).map(() => (Math.random() - 0.5) * 2 ** Math.floor(Math.random() * 20));
}

/** The tree of `assembly/reduce.ts`: leaves of 128 columns in 16 running sums, joined pairwise. */
function treeSum(values: Float32Array): number {
  if (values.length === 0) return 0;
  const leaves: number[] = [];
  for (let begin = 0; begin < values.length; begin += 128) {
    const lanes = new Float32Array(16);
    values.subarray(begin, begin + 128).forEach((value, i) => {
      lanes[i % 16] = i < 16 ? value : (lanes[i % 16] ?? 0) + value;
    });
    const lane = (i: number): number => lanes[i] ?? Number.NaN;
    const joined = [0, 1, 2, 3].map((i) => f(f(lane(i) + lane(i + 4)) + f(lane(i + 8) + lane(i + 12))));
    const [l0 = 0, l1 = 0, l2 = 0, l3 = 0] = joined;
    leaves.push(f(f(l0 + l2) + f(l1 + l3)));
  }
  return joinLeaves(leaves);
}

function joinLeaves(leaves: readonly number[]): number {
  if (leaves.length === 1) return leaves[0] ?? Number.NaN;
  const half = 2 ** Math.floor(Math.log2(leaves.length - 1));
  return f(joinLeaves(leaves.slice(0, half)) + joinLeaves(leaves.slice(half)));
}

describe.each(wasmConfigurations)("small kernels on wasm: $variant, $threads threads", (configuration) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasm(configuration);
  });
  afterAll(() => backend.close());

  async function map(operation: number, alpha: number, beta: number, a: Float32Array, b: Float32Array) {
    const slots = [upload(backend, a), upload(backend, b), upload(backend, new Float32Array(a.length + 4).fill(7))];
    const [slotA, slotB, out] = slots as [(typeof slots)[0], (typeof slots)[0], (typeof slots)[0]];
    backend.dispatch(elementwise, { count: a.length, operation, alpha, beta }, [slotA, slotB, out]);
    const result = new Float32Array(await backend.read(out, 0, (a.length + 4) * 4));
    for (const slot of slots) backend.free(slot);
    expect([...result.slice(a.length)]).toEqual([7, 7, 7, 7]);
    return result.slice(0, a.length);
  }

  async function reduced(a: Float32Array, rows: number, columns: number, operation: number): Promise<Float32Array> {
    const [from, out] = [upload(backend, a), backend.allocate(rows * 4, "reduced")];
    backend.dispatch(reduce, { rows, columns, operation }, [from, out]);
    const result = new Float32Array(await backend.read(out, 0, rows * 4));
    backend.free(from);
    backend.free(out);
    return result;
  }

  it("elementwise rounds each operation once, whatever the length", async () => {
    const [alpha, beta] = [f(0.3), f(-1.7)];
    for (const length of [0, 1, 2, 3, 4, 5, 7, 64, 16383, 16384, 16385, 40001]) {
      const [a, b] = [randoms(length), randoms(length)];
      const expected = (of: (x: number, y: number) => number) => a.map((x, i) => of(x, b[i] ?? Number.NaN));
      expect(await map(ElementwiseOperation.fill, alpha, beta, a, b)).toEqual(expected(() => alpha));
      expect(await map(ElementwiseOperation.affine, alpha, beta, a, b)).toEqual(
        expected((x) => f(f(alpha * x) + beta)),
      );
      expect(await map(ElementwiseOperation.add, alpha, beta, a, b)).toEqual(
        expected((x, y) => f(f(alpha * x) + f(beta * y))),
      );
      expect(await map(ElementwiseOperation.multiply, alpha, beta, a, b)).toEqual(
        expected((x, y) => f(f(f(alpha * x) * y) + beta)),
      );
    }
  });

  it("activations are what they say, bit for bit, and a NaN stays one", async () => {
    const [alpha, beta] = [f(1.7), f(-0.2)];
    const { relu, step } = ElementwiseOperation;
    for (const length of [1, 4, 7, 16387]) {
      const a = randoms(length);
      a[0] = Number.NaN;
      const expected = (of: (x: number) => number) => a.map((x) => of(x));
      expect(await map(relu, alpha, beta, a, a)).toEqual(expected((x) => f(alpha * (x < 0 ? 0 : x))));
      expect(await map(step, alpha, beta, a, a)).toEqual(expected((x) => (Number.isNaN(x) ? x : x > 0 ? alpha : 0)));
    }
  });

  it("erf is within 1.5e-7 of 1 and 2e-7 of itself, odd, and 1 from 4 on", async () => {
    const a = Float32Array.from({ length: 100_001 }, (_, i) => 4.5 * (i / 100_000) ** 2);
    const erfs = async (x: Float32Array): Promise<Float32Array> => {
      const [from, out] = [upload(backend, x), backend.allocate(4 * x.length, "erf")];
      const params = { count: x.length, operation: ActivateOperation.erf, p: 0, q: 0 };
      backend.dispatch(activate, params, [from, out]);
      const result = new Float32Array(await backend.read(out, 0, 4 * x.length));
      for (const slot of [from, out]) backend.free(slot);
      return result;
    };
    const values = await erfs(a);
    a.forEach((x, i) => {
      const error = Math.abs((values[i] ?? Number.NaN) - erf(x));
      if (!(error <= Math.min(1.5e-7, 2e-7 * erf(x)))) expect([x, error]).toBe("accurate");
      if (x >= 4) expect(values[i]).toBe(1);
    });
    const negative = a.map((x) => -x);
    expect(await erfs(negative)).toEqual(values.map((x) => -x));
    const special = Float32Array.of(Infinity, -Infinity, Number.NaN, 1e-30);
    const [one, minusOne, nan, tiny = 0] = await erfs(special);
    expect([one, minusOne, nan]).toEqual([1, -1, Number.NaN]);
    expect(Math.abs(tiny / 1.1283791670955126e-30 - 1)).toBeLessThan(2e-7);
  });

  it("a sum is the documented tree, bit for bit", async () => {
    for (const columns of [1, 3, 15, 16, 17, 127, 128, 129, 384, 1000, 5003]) {
      const rows = 5;
      const a = randoms(rows * columns);
      const expected = Array.from({ length: rows }, (_, r) => treeSum(a.subarray(r * columns, (r + 1) * columns)));
      expect([...(await reduced(a, rows, columns, ReduceOperation.sum))]).toEqual(expected);
    }
  });

  it("a sum of a million ones and of a million small numbers is exact to float32", async () => {
    const n = 2 ** 20 + 3;
    expect((await reduced(new Float32Array(n).fill(1), 1, n, ReduceOperation.sum))[0]).toBe(n);
    const tenth = f(0.1);
    const sum = (await reduced(new Float32Array(n).fill(tenth), 1, n, ReduceOperation.sum))[0] ?? Number.NaN;
    expect(Math.abs(sum / (n * tenth) - 1)).toBeLessThan(3e-7);
  });

  it("max, min and argmax are those of the row, the first of equals first", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 6 }),
        async (columns, rows, levels) => {
          const a = new Float32Array(rows * columns).map(() => Math.floor(Math.random() * levels) - 2);
          const row = (r: number): number[] => [...a.subarray(r * columns, (r + 1) * columns)];
          const each = (of: (values: number[]) => number) => Array.from({ length: rows }, (_, r) => of(row(r)));
          const largest = each((values) => Math.max(...values));
          expect([...(await reduced(a, rows, columns, ReduceOperation.max))]).toEqual(largest);
          expect([...(await reduced(a, rows, columns, ReduceOperation.min))]).toEqual(
            each((values) => Math.min(...values)),
          );
          expect([...(await reduced(a, rows, columns, ReduceOperation.argmax))]).toEqual(
            each((values) => values.indexOf(Math.max(...values))),
          );
        },
      ),
      { numRuns: 50 },
    );
  });

  it("a NaN makes its row's sum, max and min NaN and is its argmax; other rows are untouched", async () => {
    const columns = 11;
    const a = new Float32Array(2 * columns).map((_, i) => i);
    a[5] = Number.NaN;
    for (const operation of [ReduceOperation.sum, ReduceOperation.max, ReduceOperation.min])
      expect((await reduced(a, 2, columns, operation))[0]).toBeNaN();
    expect([...(await reduced(a, 2, columns, ReduceOperation.argmax))]).toEqual([5, 10]);
    expect((await reduced(a, 2, columns, ReduceOperation.max))[1]).toBe(21);
  });

  it("an empty row has sum 0, max -infinity, min infinity and argmax 0; all -infinity has argmax 0", async () => {
    const none = new Float32Array(1);
    const of = async (operation: number) => (await reduced(none, 1, 0, operation))[0];
    expect(await of(ReduceOperation.sum)).toBe(0);
    expect(await of(ReduceOperation.max)).toBe(-Infinity);
    expect(await of(ReduceOperation.min)).toBe(Infinity);
    expect(await of(ReduceOperation.argmax)).toBe(0);
    const low = new Float32Array(6).fill(-Infinity);
    expect([...(await reduced(low, 1, 6, ReduceOperation.argmax))]).toEqual([0]);
  });
});
