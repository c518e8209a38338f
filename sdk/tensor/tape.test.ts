/** The tape: what is recorded, what gradients are of, and that a pass leaves nothing behind, failed or not. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import type { Engine } from "../engine/engine.ts";
import { deviceOf } from "./device.ts";
import * as ops from "./ops.ts";
import { customGradient, gradients, type Gradients } from "./tape.ts";
import { scope, tensor, type Tensor } from "./tensor.ts";

const seed = freshSeed();

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(async () => engine.close());

async function held(): Promise<number> {
  await engine.backend.finish();
  deviceOf(engine).pool.trim();
  return engine.backend.stats().slots;
}

const refused = (code: string, message: RegExp): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(message) as string });

/** The gradients' numbers; everything is disposed of. */
async function numbers({ value, gradients: found }: Gradients): Promise<number[][]> {
  const read = await Promise.all(found.map(async (one) => [...(await one.read())]));
  for (const one of [value, ...found]) one.dispose();
  return read;
}

describe("gradients", () => {
  it("add up over every use of a tensor, in any graph of sums and products", async () => {
    // Each step is a sum or a product of two of the values so far; forward mode in numbers is the reference.
    const step = fc.record({ product: fc.boolean(), left: fc.nat(), right: fc.nat() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
        const start = [0.5, -0.75];
        const values = start.map((value, i) => ({ value, slopes: [Number(i === 0), Number(i === 1)] }));
        for (const { product, left, right } of steps) {
          const a = values[left % values.length] ?? { value: NaN, slopes: [] };
          const b = values[right % values.length] ?? a;
          values.push({
            value: product ? a.value * b.value : a.value + b.value,
            slopes: [0, 1].map((i) => {
              const [da, db] = [a.slopes[i] ?? NaN, b.slopes[i] ?? NaN];
              return product ? da * b.value + a.value * db : da + db;
            }),
          });
        }
        const watched = start.map((value) => tensor(engine, [value]));
        const result = gradients(engine, watched, () => {
          const made: Tensor[] = [...watched];
          for (const { product, left, right } of steps) {
            const [a, b] = [made[left % made.length] as Tensor, made[right % made.length] as Tensor];
            made.push(product ? ops.multiply(a, b) : ops.add(a, b));
          }
          return made.at(-1) as Tensor;
        });
        const expected = values.at(-1);
        expect((await result.value.read())[0]).toBeCloseTo(expected?.value ?? NaN, 3);
        const found = await numbers(result);
        found.forEach(([slope = NaN], i) => {
          const wanted = expected?.slopes[i] ?? NaN;
          expect(Math.abs(slope - wanted)).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(wanted)));
        });
        for (const one of watched) one.dispose();
        expect(await held()).toBe(0);
      }),
      { seed, numRuns: 60 },
    );
  });

  it("are 1 of the value itself, 0 of what it does not depend on, and the same for a tensor that is watched twice", async () => {
    const [w, other] = [tensor(engine, [3]), tensor(engine, [1, 2])];
    const result = gradients(engine, [w, other, w], () => w);
    expect(await numbers(result)).toEqual([[1], [0, 0], [1]]);
    // The value was disposed of: what it is a view of is the caller's.
    expect([...(await w.read())]).toEqual([3]);
    for (const one of [w, other]) one.dispose();
    expect(await held()).toBe(0);
  });

  it("of a value that does not depend on anything watched are 0", async () => {
    const [w, x] = [tensor(engine, [3]), tensor(engine, [1, 2])];
    expect(await numbers(gradients(engine, [w], () => ops.sum(ops.square(x))))).toEqual([[0]]);
    for (const one of [w, x]) one.dispose();
    expect(await held()).toBe(0);
  });

  it("are refused of several numbers, inside of gradients, and across engines", async () => {
    const w = tensor(engine, [1, 2]);
    expect(() => gradients(engine, [w], () => ops.relu(w))).toThrow(refused("E_SHAPE", /one number, not of \[2\]/));
    const nested = (): Gradients => gradients(engine, [w], () => gradients(engine, [w], () => ops.sum(w)).value);
    expect(nested).toThrow(refused("E_CONFIG", /no second derivatives/));
    const second = await wasmEngine({ variant: "single", threads: 1 });
    expect(() => gradients(second, [w], () => ops.sum(w))).toThrow(refused("E_CONFIG", /another engine/));
    await second.close();
    w.dispose();
    expect(await held()).toBe(0);
  });

  it("leave nothing behind where the forward or the backward pass throws, and work the next time", async () => {
    const w = tensor(engine, [1, -2, 3]);
    const forward = (): Tensor => {
      ops.multiply(w, ops.relu(w));
      throw new RangeError("forward");
    };
    expect(() => gradients(engine, [w], forward)).toThrow(RangeError);
    const backward = (): Tensor => {
      const before = ops.multiply(w, ops.square(w));
      const failing = customGradient([before], {
        forward: ([x]) => ops.relu(x as Tensor),
        backward: () => {
          throw new RangeError("backward");
        },
      });
      return ops.sum(ops.multiply(failing, failing));
    };
    expect(() => gradients(engine, [w], backward)).toThrow(RangeError);
    expect(deviceOf(engine).scopes).toEqual([]);
    expect(await held()).toBe(1);
    expect(await numbers(gradients(engine, [w], () => ops.sum(ops.square(w))))).toEqual([[2, -4, 6]]);
    w.dispose();
    expect(await held()).toBe(0);
  });

  it("allocate nothing when a step is repeated", async () => {
    const x = tensor(
      engine,
      Float32Array.from({ length: 60 }, (_, i) => Math.sin(i)),
      [12, 5],
    );
    const w = tensor(
      engine,
      Float32Array.from({ length: 35 }, (_, i) => Math.cos(i)),
      [5, 7],
    );
    const b = tensor(engine, new Float32Array(7));
    const step = (): void => {
      const { value, gradients: found } = gradients(engine, [w, b], () =>
        ops.mean(ops.square(ops.tanh(ops.bias(ops.matmul(x, w), b)))),
      );
      for (const one of [value, ...found]) one.dispose();
    };
    step();
    const { allocations } = engine.backend.stats();
    for (let repeat = 0; repeat < 5; repeat++) step();
    expect(engine.backend.stats().allocations).toBe(allocations);
    for (const one of [x, w, b]) one.dispose();
    expect(await held()).toBe(0);
  });
});

describe("a custom gradient", () => {
  it("is what its backward pass gives, of the gradient, the inputs and the output", async () => {
    const [a, b] = [tensor(engine, [1, 2, 3]), tensor(engine, [4, 5, 6])];
    const result = gradients(engine, [a, b], () => {
      const made = customGradient([a, b], {
        forward: ([x, y]) => ops.add(ops.square(x as Tensor), y as Tensor),
        backward: (g, [x, y], output) => [ops.multiply(g, ops.add(x as Tensor, y as Tensor)), ops.multiply(g, output)],
      });
      return ops.sum(ops.affine(made, 10));
    });
    expect((await result.value.read())[0]).toBe(10 * (1 + 4 + 9 + 4 + 5 + 6));
    expect(await numbers(result)).toEqual([
      [50, 70, 90],
      [50, 90, 150],
    ]);
    for (const one of [a, b]) one.dispose();
    expect(await held()).toBe(0);
  });

  it("of the identity turns a gradient around: its output may be its input, or another tensor on the tape", async () => {
    const w = tensor(engine, [1, 2]);
    const reversed = (x: Tensor): Tensor =>
      customGradient([x], { forward: ([z]) => z as Tensor, backward: (g) => [ops.affine(g, -1)] });
    expect(await numbers(gradients(engine, [w], () => ops.sum(ops.square(reversed(w)))))).toEqual([[-2, -4]]);
    // Beside a path that is not turned, and behind an operation.
    const both = (): Tensor => {
      const h = ops.affine(w, 3);
      return ops.sum(ops.add(reversed(h), h, 1, 5));
    };
    expect(await numbers(gradients(engine, [w], both))).toEqual([[12, 12]]);
    const captured = (): Tensor => {
      const h = ops.affine(w, 3);
      const replaced = customGradient([w], { forward: () => h, backward: (g) => [ops.affine(g, 7)] });
      return ops.sum(ops.add(replaced, h));
    };
    expect(await numbers(gradients(engine, [w], captured))).toEqual([[10, 10]]);
    expect(w.isDisposed).toBe(false);
    w.dispose();
    expect(await held()).toBe(0);
  });

  it("may leave out gradients, and is refused where one has not its input's shape", async () => {
    const [a, b] = [tensor(engine, [1, 2]), tensor(engine, [3, 4])];
    const only = (second: Tensor | undefined): Gradients =>
      gradients(engine, [a, b], () =>
        ops.sum(
          customGradient([a, b], {
            forward: ([x, y]) => ops.add(x as Tensor, y as Tensor),
            backward: (g) => [g, second],
          }),
        ),
      );
    expect(await numbers(only(undefined))).toEqual([
      [1, 1],
      [0, 0],
    ]);
    using wrong = tensor(engine, [1, 2, 3]);
    expect(() => only(wrong)).toThrow(refused("E_SHAPE", /input 1 .*\[2\] and \[3\]/));
    expect(() => customGradient([], { forward: () => a, backward: () => [] })).toThrow(
      refused("E_CONFIG", /one input/),
    );
    for (const one of [a, b, wrong]) one.dispose();
    expect(await held()).toBe(0);
  });

  it("outside of gradients is its forward pass, with nothing left behind", async () => {
    const a = tensor(engine, [-1, 2]);
    const made = customGradient([a], { forward: ([x]) => ops.relu(ops.affine(x as Tensor, 2)), backward: (g) => [g] });
    expect([...(await made.read())]).toEqual([0, 4]);
    made.dispose();
    const same = scope(engine, () => customGradient([a], { forward: ([x]) => x as Tensor, backward: (g) => [g] }));
    same.dispose();
    expect([...(await a.read())]).toEqual([-1, 2]);
    a.dispose();
    expect(await held()).toBe(0);
  });
});
