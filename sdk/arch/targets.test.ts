/** Steps and staircases in networks: their values, and what target propagation sends back through them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import type { Engine } from "../engine/engine.ts";
import * as ops from "../tensor/ops.ts";
import { gradients } from "../tensor/tape.ts";
import { targetFunction, type TargetActivation } from "../tensor/target-rules.ts";
import { scope, tensor } from "../tensor/tensor.ts";
import { archToJson, serial, staircase, threshold, type Arch } from "./arch.ts";
import { archFromJson } from "./json.ts";
import { network } from "./network.ts";

const random = mulberry32(freshSeed());
const COUNT = 203;
const BATCH = 7;

let engine: Engine;
beforeAll(async () => {
  engine = await wasmEngine();
});
afterAll(() => engine.close());

/** What a layer makes of numbers x, and what comes back to x where the gradient g arrives. */
async function both(layer: Arch, x: Float32Array, g: Float32Array) {
  using net = network(engine, serial(layer), { input: [COUNT / BATCH] });
  const found = scope(engine, () => {
    const shape = [BATCH, COUNT / BATCH];
    const [input, weights] = [tensor(engine, x, shape), tensor(engine, g, shape)];
    const pass = { training: true, seed: 0, step: 0 };
    let y = input;
    const { gradients: back } = gradients(engine, [input], () => {
      y = net.apply(input, pass);
      return ops.sum(ops.multiply(y, weights));
    });
    return [net.apply(input, pass).read(), ...back.map((one) => one.read())];
  });
  const [values, back] = await Promise.all(found);
  return { values: values ?? [], back: back ?? [] };
}

function inputs(): { readonly x: Float32Array; readonly g: Float32Array } {
  const x = Float32Array.from({ length: COUNT }, () => 4 * random() - 2);
  x[3] = 0;
  const g = Float32Array.from({ length: COUNT }, () => 2 * random() - 1);
  g[5] = 0;
  return { x, g };
}

/** d loss / dx of a rule for the target -sign(g), with |g| = 1. */
function slope(rule: string, activation: TargetActivation, x: number, g: number, steps?: number): number {
  if (g === 0) return 0;
  const options = steps === undefined ? {} : { steps };
  return targetFunction(rule, activation, options).derivative(x, -Math.sign(g));
}

function expectNear(actual: ArrayLike<number>, expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  expected.forEach((value, i) => expect(Math.abs((actual[i] ?? NaN) - value), `entry ${i}`).toBeLessThan(1e-5));
}

describe("threshold", () => {
  it.each([
    ["step01", 0, "SSTE"],
    ["step01", 0, "TruncWtHinge2"],
    ["step11", -1, "SoftHinge"],
    ["step11", -1, "TruncWtHinge"],
  ] as const)("%s gives %d or 1, and goes back by %s", async (activation, low, backward) => {
    const { x, g } = inputs();
    for (const gradScale of backward === "SSTE" ? [true] : [true, false]) {
      const { values, back } = await both(threshold({ low, backward, gradScale }), x, g);
      expectNear(
        values,
        Array.from(x, (z) => (z > 0 ? 1 : low)),
      );
      const scale = (value: number): number => (gradScale ? Math.abs(value) : 1 / BATCH);
      expectNear(
        back,
        Array.from(x, (z, i) => slope(backward, activation, z, g[i] ?? NaN) * scale(g[i] ?? NaN)),
      );
    }
  });

  it("refuses rules that do not go with it, and says which do", () => {
    expect(() => threshold({ backward: "Adaline" })).toThrow(/^threshold\.backward: .*Adaline.*step01.* are STE, SSTE/);
    expect(() => threshold({ low: -1, backward: "SSTE", gradScale: false })).toThrow(/^threshold\.backward: .*SSTE/);
    expect(() => threshold({ low: 0.5 } as never)).toThrow(/^threshold\.low: low is 0 or -1/);
  });
});

describe("staircase", () => {
  const climbed = (z: number, steps: number): number =>
    Array.from({ length: steps }, (_, i) => Number(z > Math.fround(i / (steps - 1)))).reduce((a, b) => a + b) / steps;

  it.each([
    ["SSTE", 3],
    ["SoftHinge", 5],
    ["TruncWtHinge", 7],
  ] as const)("goes back by %s as one unit, moved and stretched from [0, 1] to its range", async (backward, steps) => {
    const { x, g } = inputs();
    for (const [low, high] of [
      [0, 1],
      [-1, 1],
      [-1, 3],
    ] as const) {
      const unit = (z: number): number => (z - low) / (high - low);
      for (const gradScale of backward === "SSTE" ? [true] : [true, false]) {
        const { values, back } = await both(staircase({ steps, backward, low, high, gradScale }), x, g);
        expectNear(
          values,
          Array.from(x, (z) => low + (high - low) * climbed(unit(z), steps)),
        );
        const scale = (value: number): number => (gradScale ? Math.abs(value) : 1 / (BATCH * (high - low)));
        expectNear(
          back,
          Array.from(x, (z, i) => slope(backward, "staircase", unit(z), g[i] ?? NaN, steps) * scale(g[i] ?? NaN)),
        );
      }
    }
  });

  it.each([
    ["SSTE", true],
    ["SoftHinge", true],
    ["SoftHinge", false],
  ] as const)(
    "summed, is the mean of single steps that go back by %s each (gradScale %s)",
    async (backward, gradScale) => {
      const { x, g } = inputs();
      const [steps, low, high] = [4, -1, 2];
      const { values, back } = await both(staircase({ steps, low, high, backward, gradScale, summed: true }), x, g);
      expectNear(
        values,
        Array.from(x, (z) => low + (high - low) * climbed((z - low) / (high - low), steps)),
      );
      const expected = Array.from(x, (z, i) => {
        const each = ((g[i] ?? NaN) * (high - low)) / steps;
        const scale = gradScale ? Math.abs(each) : 1 / BATCH;
        const parts = Array.from({ length: steps }, (_, k) =>
          slope(backward, "step01", z - low - (k * (high - low)) / (steps - 1), each),
        );
        return scale * parts.reduce((a, b) => a + b);
      });
      expectNear(back, expected);
    },
  );

  it("refuses what is no staircase", () => {
    expect(() => staircase({ steps: 1 })).toThrow(/^staircase\.steps: steps must be at least 2/);
    expect(() => staircase({ low: 1, high: 1 })).toThrow(/^staircase\.low: low must be below high/);
    expect(() => staircase({ backward: "LogLoss" })).toThrow(
      /^staircase\.backward: .* are SSTE, TruncWtHinge, SoftHinge/,
    );
    expect(() => staircase({ backward: "TruncWtHinge", summed: true })).toThrow(/^staircase\.backward: .*step01/);
  });
});

it("steps and staircases are the same after a way through JSON", () => {
  for (const layer of [
    threshold(),
    threshold({ low: -1, backward: "SoftHinge", gradScale: false }),
    staircase({ steps: 3, low: -1 }),
    staircase({ summed: true, backward: "LogLoss" }),
  ])
    expect(archToJson(archFromJson(JSON.stringify(archToJson(layer))))).toEqual(archToJson(layer));
});
