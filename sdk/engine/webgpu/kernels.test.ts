/** matmul, elementwise and reduce on a GPU against float64 loops, on awkward shapes. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mulberry32 } from "../../../test/reference/programs.ts";
import { offRows, runConformance } from "../conformance/conformance.ts";
import { erf } from "../conformance/activate.ts";
import { activate, ActivateOperation } from "../kernels/activate.ts";
import { covariance, variance } from "../kernels/covariance.ts";
import { elementwise, ElementwiseOperation } from "../kernels/elementwise.ts";
import { matmul } from "../kernels/matmul.ts";
import { reduce, ReduceOperation } from "../kernels/reduce.ts";
import type { WebGpuBackend } from "./backend.ts";
import { openForTests, runKernel } from "./testing.ts";

let backend: WebGpuBackend;
beforeAll(async () => {
  backend = await openForTests();
});
afterAll(async () => {
  expect(backend.stats().slots).toBe(0);
  await backend.close();
});

const random = mulberry32(Date.now());
const floats = (count: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, () => random() * 2 - 1);
const at = (values: ArrayLike<number>, index: number): number => values[index] ?? NaN;

describe("matmul", () => {
  const shapes = [
    [1, 1, 1],
    [1, 67, 5],
    [65, 1, 17],
    [64, 64, 16],
    [37, 101, 53],
    [130, 66, 129],
    [3, 4, 0],
  ] as const;
  for (const [m, n, k] of shapes) {
    it(`is op(A) op(B) for ${m} x ${k} times ${k} x ${n}, transposed or not, with alpha and beta`, async () => {
      for (const transposeA of [0, 1]) {
        for (const transposeB of [0, 1]) {
          const a = floats(m * k);
          const b = floats(k * n);
          const c = floats(m * n);
          const params = { m, n, k, transposeA, transposeB, alpha: 0.7, beta: -1.5 };
          const result = await runKernel(backend, matmul, params, [a, b, c]);
          for (let i = 0; i < m; i++) {
            for (let j = 0; j < n; j++) {
              let sum = 0;
              for (let t = 0; t < k; t++) {
                sum +=
                  at(a, transposeA === 1 ? t * m + i : i * k + t) * at(b, transposeB === 1 ? j * k + t : t * n + j);
              }
              const expected = 0.7 * sum - 1.5 * at(c, i * n + j);
              if (!(Math.abs(at(result, i * n + j) - expected) <= 1e-5))
                expect([i, j, at(result, i * n + j)]).toBe(expected);
            }
          }
        }
      }
    });
  }
  it("with beta = 0 never reads C", async () => {
    const params = { m: 3, n: 5, k: 2, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };
    const result = await runKernel(backend, matmul, params, [floats(6), floats(10), new Float32Array(15).fill(NaN)]);
    expect(result.every(Number.isFinite)).toBe(true);
  });
  it("does nothing for an empty product", async () => {
    const params = { m: 0, n: 5, k: 2, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };
    expect(await runKernel(backend, matmul, params, [0, floats(10), 0])).toHaveLength(0);
  });
});

describe("elementwise", () => {
  const { fill, affine, add, multiply } = ElementwiseOperation;
  const alpha = 1.25;
  const beta = -0.5;
  const operations = [
    [fill, () => alpha],
    [affine, (x: number) => alpha * x + beta],
    [add, (x: number, y: number) => alpha * x + beta * y],
    [multiply, (x: number, y: number) => alpha * x * y + beta],
  ] as const;
  for (const count of [1, 255, 257, 4099]) {
    it(`computes each operation on ${count} elements`, async () => {
      for (const [operation, f] of operations) {
        const a = floats(count);
        const b = floats(count);
        const result = await runKernel(backend, elementwise, { count, operation, alpha, beta }, [a, b, count]);
        result.forEach((value, i) => expect(value).toBeCloseTo(f(at(a, i), at(b, i)), 6));
      }
    });
  }
  it("works in place, on either input", async () => {
    const a = floats(100);
    const slot = backend.allocate(400, "a");
    const other = backend.allocate(400, "b");
    backend.write(slot, 0, a);
    backend.write(other, 0, a);
    const params = { count: 100, operation: add, alpha: 2, beta: 3 };
    backend.dispatch(elementwise, params, [slot, other, slot]); // 5 a
    backend.dispatch(elementwise, params, [other, slot, slot]); // 17 a
    const result = new Float32Array(await backend.read(slot, 0, 400));
    result.forEach((value, i) => expect(value).toBeCloseTo(17 * at(a, i), 5));
    backend.free(slot);
    backend.free(other);
  });
});

describe("what finite networks are made of", () => {
  it("agrees with float64 loops", async () => {
    const kernels = ["conv2d", "elementwise", "broadcastAdd", "randomNormal"];
    kernels.push("conv2dInput", "conv2dWeights", "pool2d", "pool2dInput");
    const results = await runConformance(backend, { kernels, rateSeconds: 0 });
    expect(results.map(({ kernel }) => kernel).sort()).toEqual(kernels.sort());
    expect(offRows(results)).toEqual([]);
  });
  it("has an erf within 2e-7 of 1 and 3e-7 of itself, odd", async () => {
    const a = Float32Array.from({ length: 50_001 }, (_, i) => 4.5 * (i / 50_000) ** 2);
    const params = { count: a.length, operation: ActivateOperation.erf, p: 0, q: 0 };
    const values = await runKernel(backend, activate, params, [a, a.length]);
    values.forEach((value, i) => {
      const exact = erf(at(a, i));
      if (!(Math.abs(value - exact) <= Math.min(2e-7, 3e-7 * exact))) expect([at(a, i), value]).toBe(exact);
    });
    const mirrored = await runKernel(backend, activate, params, [a.map((x) => -x), a.length]);
    mirrored.forEach((value, i) => expect(value + at(values, i)).toBe(0));
  });
});

describe("reduce", () => {
  const { sum, max, min, argmax } = ReduceOperation;
  for (const [rows, columns] of [
    [1, 1],
    [3, 255],
    [2, 257],
    [67, 10],
    [5, 4099],
    [1, 70001],
  ] as const) {
    it(`sums and finds extremes of ${rows} rows of ${columns}`, async () => {
      const a = floats(rows * columns);
      a[columns - 1] = 2; // twice the largest: the first counts
      a[Math.floor(columns / 2)] = 2;
      const run = (operation: number): Promise<Float32Array> =>
        runKernel(backend, reduce, { rows, columns, operation }, [a, rows]);
      const row = (r: number): Float32Array => a.subarray(r * columns, (r + 1) * columns);
      const [sums, largest, smallest, places] = [await run(sum), await run(max), await run(min), await run(argmax)];
      for (let r = 0; r < rows; r++) {
        const exact = row(r).reduce((total, value) => total + value, 0);
        const size = row(r).reduce((total, value) => total + Math.abs(value), 0);
        expect(Math.abs(at(sums, r) - exact)).toBeLessThan(3e-7 * size);
        expect(at(largest, r)).toBe(Math.max(...row(r)));
        expect(at(smallest, r)).toBe(Math.min(...row(r)));
        expect(at(places, r)).toBe(row(r).indexOf(Math.max(...row(r))));
      }
    });
  }
  it("gives the neutral element for empty rows", async () => {
    const run = (operation: number): Promise<Float32Array> =>
      runKernel(backend, reduce, { rows: 2, columns: 0, operation }, [0, new Float32Array([7, 7])]);
    expect([...(await run(sum))]).toEqual([0, 0]);
    expect([...(await run(max))]).toEqual([-Infinity, -Infinity]);
    expect([...(await run(min))]).toEqual([Infinity, Infinity]);
    expect([...(await run(argmax))]).toEqual([0, 0]);
  });
  it("strides over what exceeds the grid", async () => {
    const cramped: typeof reduce = {
      ...reduce,
      geometry: (params, limits) => ({ ...reduce.geometry?.(params, limits), workgroups: [2, 1, 1] }),
    };
    const a = floats(777 * 3);
    const params = { rows: 777, columns: 3, operation: max };
    const result = await runKernel(backend, cramped, params, [a, 777]);
    result.forEach((value, r) => expect(value).toBe(Math.max(...a.subarray(3 * r, 3 * r + 3))));
  });
});

it("no kernel asks for more than 65,535 workgroups in a dimension, or more memory than a workgroup has", () => {
  const limits = { invocations: 256, preferred: 256, storageBytes: 16384 };
  const maps = { slots: 1, places: 0, mapPixels: 784, sumPixels: 784, nonlinearities: 1, slices: 0, sliceFloats: 0 };
  const shape = { steps: 3, imageFloats: 784, tablePixels: 784, ...maps, box: 7, boxPad: 3 };
  const many = 60000;
  const tile = { ...shape, rows: many, columns: many, diagonal: 0, lower: 0 };
  const grids = [
    reduce.geometry?.({ rows: 1e9, columns: 1, operation: 0 }, limits),
    elementwise.geometry?.({ count: 4e9, operation: 0, alpha: 0, beta: 0 }, limits),
    variance.geometry?.({ ...shape, line: 28, images: 1e6 }, limits),
    covariance.geometry?.({ ...tile, line: 28 }, limits),
    covariance.geometry?.({ ...tile, line: 28, places: 2 }, limits),
    covariance.geometry?.({ ...tile, line: 100 }, limits),
    covariance.geometry?.({ ...tile, line: 100, slices: 70000, sliceFloats: 1568 }, limits),
  ];
  for (const grid of grids) expect(Math.max(...(grid?.workgroups ?? [Infinity]))).toBeLessThanOrEqual(65535);
  expect(grids[3]?.constants).toMatchObject({ LINE: 28, PAIRS: 5 });
  expect(grids[4]?.constants).toMatchObject({ LINE: 28, PAIRS: 1, PLACES: 2 });
});
