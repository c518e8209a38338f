/** Tensors' lives: views, scopes, disposal, engines that close. Their numbers: `ops.test.ts`. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import type { Engine } from "../engine/engine.ts";
import { deviceOf } from "./device.ts";
import * as ops from "./ops.ts";
import { labelTensor, scope, tensor, type Tensor } from "./tensor.ts";

const seed = freshSeed();

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(async () => engine.close());

/** Buffers that tensors hold. */
async function held(): Promise<number> {
  await engine.backend.finish();
  deviceOf(engine).pool.trim();
  return engine.backend.stats().slots;
}

const refused = (code: string, message: RegExp): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(message) as string });

describe("a tensor", () => {
  it("holds its numbers until it is disposed of, once or again", async () => {
    const one = tensor(engine, [1, 2, 3, 4, 5, 6], [2, 3]);
    expect([...(await one.read())]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...(await one.readFinal())]).toEqual([1, 2, 3, 4, 5, 6]);
    one.write(Float32Array.of(6, 5, 4, 3, 2, 1));
    one.dispose();
    one.dispose();
    expect(one.isDisposed).toBe(true);
    await expect(one.read()).rejects.toThrow(refused("E_CLOSED", /tensor of \[2, 3\] has been disposed of/));
    expect(() => one.write(new Float32Array(6))).toThrow(refused("E_CLOSED", /disposed/));
    expect(() => one.share()).toThrow(refused("E_CLOSED", /disposed/));
    expect(await held()).toBe(0);
  });

  it("gives its buffer back with the last of its views, in whatever order they go", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(), { minLength: 1, maxLength: 6 }), async (order) => {
        const first = tensor(engine, [1, 2, 3, 4]);
        const views = [first, ...order.map(() => first.share([2, 2]))];
        for (const pick of order) {
          views.splice(pick % views.length, 1)[0]?.dispose();
          expect(await held()).toBe(1);
          expect([...((await views[0]?.read()) ?? [])]).toEqual([1, 2, 3, 4]);
        }
        views[0]?.dispose();
        expect(await held()).toBe(0);
      }),
      { seed, numRuns: 20 },
    );
  });

  it("is refused where numbers and shape do not meet", async () => {
    expect(() => tensor(engine, [1, 2, 3], [2, 2])).toThrow(refused("E_SHAPE", /3 numbers .*\[2, 2\]/));
    expect(() => tensor(engine, [1, 2], [-1, -2])).toThrow(refused("E_SHAPE", /whole numbers/));
    expect(() => tensor(engine, [1], [0.5, 2])).toThrow(refused("E_SHAPE", /whole numbers/));
    using one = tensor(engine, [1, 2]);
    expect(() => one.write(new Float32Array(3))).toThrow(refused("E_SHAPE", /3 numbers/));
    expect(() => ops.reshape(one, [3, -1])).toThrow(refused("E_SHAPE", /whole numbers/));
    expect(() => ops.reshape(one, [4])).toThrow(refused("E_SHAPE", /cannot be seen/));
    using labels = labelTensor(engine, Uint32Array.of(1, 2));
    await expect(labels.read()).rejects.toThrow(refused("E_CONFIG", /labels/));
  });
});

describe("a scope", () => {
  it("keeps what is returned, alone, in an array or in an object, and nothing else", async () => {
    const x = tensor(engine, [1, -2]);
    const one = scope(engine, () => ops.relu(ops.affine(x, 2)));
    const list = scope(engine, () => [ops.affine(x, 2), ops.square(ops.abs(x))]);
    const named = scope(engine, () => ({ value: ops.abs(ops.square(x)), parts: [ops.square(x)], count: 3 }));
    expect(await held()).toBe(6);
    expect([...(await one.read())]).toEqual([2, 0]);
    expect([...((await list[1]?.read()) ?? [])]).toEqual([1, 4]);
    expect([...(await named.value.read())]).toEqual([1, 4]);
    for (const made of [x, one, ...list, named.value, ...named.parts]) made.dispose();
    expect(await held()).toBe(0);
  });

  it("hands what it keeps to the scope around, and leaves the tensors of others alone", async () => {
    const x = tensor(engine, [1, 2]);
    const kept = scope(engine, () => {
      const outer = ops.affine(x, 2);
      const inner = scope(engine, () => [outer, x, ops.affine(ops.affine(outer, 3), 5)] as const);
      expect(inner.some(({ isDisposed }) => isDisposed)).toBe(false);
      return inner[2];
    });
    expect([...(await kept.read())]).toEqual([30, 60]);
    expect(x.isDisposed).toBe(false);
    for (const one of [x, kept]) one.dispose();
    expect(await held()).toBe(0);
  });

  it("that throws leaves nothing behind, and is closed", async () => {
    const x = tensor(engine, [1, 2]);
    const failing = (): Tensor =>
      scope(engine, () => {
        scope(engine, () => ops.relu(x));
        throw new RangeError("in the middle");
      });
    expect(failing).toThrow(RangeError);
    expect(deviceOf(engine).scopes).toEqual([]);
    x.dispose();
    expect(await held()).toBe(0);
  });

  it("may give the promise of a read, whose numbers were there when it ended", async () => {
    const x = tensor(engine, [1, -2]);
    const reading = scope(engine, () => ops.affine(ops.relu(x), 3).read());
    // Takes the buffers that the scope gave back.
    for (let again = 0; again < 3; again++) ops.affine(x, 100).dispose();
    expect([...(await reading)]).toEqual([3, 0]);
    x.dispose();
    expect(await held()).toBe(0);
  });
});

describe("a closed engine", () => {
  it("refuses new tensors and work with its old ones, which may still be disposed of", async () => {
    const closing = await wasmEngine({ variant: "single", threads: 1 });
    const x = tensor(closing, [1, 2]);
    ops.relu(x).dispose();
    await closing.close();
    expect(() => tensor(closing, [1])).toThrow(refused("E_CLOSED", /closed/));
    expect(() => ops.relu(x)).toThrow(refused("E_CLOSED", /closed/));
    await expect(x.read()).rejects.toThrow(refused("E_CLOSED", /closed/));
    x.dispose();
    x.device.pool.trim();
  });
});
