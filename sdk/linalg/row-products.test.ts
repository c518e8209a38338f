import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../engine/backend.ts";
import { RandomStream } from "../engine/rng.ts";
import { freshSeed } from "../../test/seed.ts";
import { openWasm } from "../../test/wasm.ts";
import { GramSum, RowProduct } from "./row-products.ts";

const random = new RandomStream(freshSeed(), "row-products.test");
const matrix = (rows: number, columns: number) => random.fillNormal(new Float64Array(rows * columns));
const worst = (a: Float64Array, b: Float64Array) => {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? NaN))), 0);
};

/** X Y', row by row. */
function naive(x: Float64Array, y: Float64Array, depth: number): Float64Array {
  const columns = y.length / depth;
  return Float64Array.from({ length: (x.length / depth) * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < depth; k++) sum += (x[i * depth + k] ?? NaN) * (y[j * depth + k] ?? NaN);
    return sum;
  });
}

function transposed(x: Float64Array, columns: number): Float64Array {
  const rows = x.length / columns;
  return x.map((_, at) => x[(at % rows) * columns + Math.floor(at / rows)] ?? NaN);
}

let backend: Backend;
beforeAll(async () => {
  backend = await openWasm({ variant: "threads", threads: 2 });
});
afterAll(async () => backend.close());

describe("the sum of x x' over batches of rows", () => {
  it.each([
    [1, 1, [1]],
    [3, 5, [5, 2]],
    [64, 64, [64, 1, 64]],
    [67, 130, [130, 65, 3, 129]],
    [200, 33, [33, 33]],
  ])("is X'X: %i columns, batches of up to %i rows, %j", async (columns, batch, counts) => {
    const sum = new GramSum(backend, columns, batch);
    const x = matrix(
      counts.reduce((all, count) => all + count, 0),
      columns,
    );
    let begin = 0;
    for (const count of counts) {
      const rows = x.slice(begin * columns, (begin + count) * columns);
      await sum.add(rows, count);
      rows.fill(NaN);
      begin += count;
    }
    const gram = await sum.result();
    sum.free();
    const flipped = transposed(x, columns);
    expect(worst(gram, naive(flipped, flipped, begin))).toBeLessThan(1e-11);
    expect(gram).toEqual(transposed(gram, columns));
  });
});

describe("products of batches of rows with a fixed matrix", () => {
  it.each([
    [1, 1, 1, [1]],
    [3, 7, 5, [5, 2, 5]],
    [64, 128, 64, [64, 63, 1]],
    [70, 129, 200, [200, 65, 64]],
    [5, 200, 1, [1, 1]],
  ])("are X Y': Y of %i x %i, batches of up to %i rows, %j", async (outputs, depth, batch, counts) => {
    const y = matrix(outputs, depth);
    const product = new RowProduct(backend, y, depth, batch);
    for (const count of counts) {
      const x = matrix(count, depth);
      expect(worst(await product.times(x, count), naive(x, y, depth))).toBeLessThan(1e-11);
    }
    product.free();
  });
});

it("leaves no memory behind, also where there is too little of it", async () => {
  const before = backend.stats();
  expect(() => new GramSum(backend, 10_000, 10_000)).toThrow(/memory/i);
  expect(() => new RowProduct(backend, new Float64Array(64), 64, 2 ** 24)).toThrow(/memory/i);
  expect(backend.stats()).toMatchObject({ slots: before.slots, bytes: before.bytes });
});
