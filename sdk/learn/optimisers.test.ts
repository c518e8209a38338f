/** Optimisers against PyTorch's formulas in float64, on both backends. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuEngine, wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";
import { deviceOf } from "../tensor/device.ts";
import { tensor } from "../tensor/tensor.ts";
import { adam, rmsprop, sgd, type Optimiser } from "./optimisers.ts";

const seed = freshSeed();
const STEPS = 6;
const SIZES = [1, 67, 300];

/** One number's memory and new value after a gradient. */
type Formula = (w: number, gradient: number, memory: Record<string, number>, t: number, rate: number) => number;

function sgdFormula(momentum: number, nesterov: boolean): Formula {
  return (w, g, memory, _t, rate) => {
    if (momentum === 0) return w - rate * g;
    memory["v"] = momentum * (memory["v"] ?? 0) + g;
    return w - rate * (nesterov ? g + momentum * memory["v"] : memory["v"]);
  };
}

const adamFormula: Formula = (w, g, memory, t, rate) => {
  const m = (memory["m"] = 0.9 * (memory["m"] ?? 0) + 0.1 * g);
  const v = (memory["v"] = 0.999 * (memory["v"] ?? 0) + 0.001 * g * g);
  return w - (rate * m) / (1 - 0.9 ** t) / (Math.sqrt(v / (1 - 0.999 ** t)) + 1e-8);
};

function rmspropFormula(momentum: number): Formula {
  return (w, g, memory, _t, rate) => {
    const v = (memory["v"] = 0.99 * (memory["v"] ?? 0) + 0.01 * g * g);
    const u = g / (Math.sqrt(v) + 1e-8);
    if (momentum === 0) return w - rate * u;
    const b = (memory["b"] = momentum * (memory["b"] ?? 0) + u);
    return w - rate * b;
  };
}

interface Row {
  readonly name: string;
  readonly optimiser: Optimiser;
  readonly formula: Formula;
  readonly decay: number;
}

const ROWS: readonly Row[] = [
  { name: "sgd", optimiser: sgd({ rate: 0.1 }), formula: sgdFormula(0, false), decay: 0 },
  {
    name: "sgd with momentum and weight decay",
    optimiser: sgd({ rate: 0.1, momentum: 0.9, weightDecay: 0.01 }),
    formula: sgdFormula(0.9, false),
    decay: 0.01,
  },
  {
    name: "sgd with Nesterov's momentum",
    optimiser: sgd({ rate: 0.1, momentum: 0.8, nesterov: true }),
    formula: sgdFormula(0.8, true),
    decay: 0,
  },
  { name: "adam", optimiser: adam({ rate: 0.01 }), formula: adamFormula, decay: 0 },
  { name: "adam with decay", optimiser: adam({ rate: 0.01, weightDecay: 0.05 }), formula: adamFormula, decay: 0.05 },
  { name: "rmsprop", optimiser: rmsprop({ rate: 0.01 }), formula: rmspropFormula(0), decay: 0 },
  {
    name: "rmsprop with momentum and weight decay",
    optimiser: rmsprop({ rate: 0.01, momentum: 0.9, weightDecay: 0.02 }),
    formula: rmspropFormula(0.9),
    decay: 0.02,
  },
];

describe.each(["wasm", "webgpu"] as const)("optimisers on %s", (backend) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = backend === "wasm" ? await wasmEngine() : await gpuEngine();
  });
  afterAll(() => engine.close());

  /** Parameters of several sizes, the last with factors of its own. */
  function setUp(optimiser: Optimiser) {
    const random = new RandomStream(seed, "optimisers");
    const drawn = (size: number): Float32Array => random.fillNormal(new Float32Array(size));
    const starts = SIZES.map(drawn);
    const parameters = starts.map((values, index) => ({
      name: `p${index}`,
      tensor: tensor(engine, values),
      ...(index === SIZES.length - 1 ? { rate: 3, decay: 0.5 } : {}),
    }));
    const given = Array.from({ length: STEPS }, () => SIZES.map(drawn));
    const running = optimiser.start(deviceOf(engine), parameters);
    const step = (t: number, loss = 1, factor = 1): void => {
      const gradients = (given[t] ?? []).map((values) => tensor(engine, values));
      const guard = tensor(engine, [loss]);
      running.step(gradients, guard, factor);
      for (const one of [...gradients, guard]) one.dispose();
    };
    const values = (): Promise<Float32Array[]> => Promise.all(parameters.map((one) => one.tensor.read()));
    return { starts, parameters, given, running, step, values };
  }

  it.each(ROWS)("$name is PyTorch's over several steps, with factors of rate and decay", async (row) => {
    const { starts, given, running, step, values } = setUp(row.optimiser);
    for (let t = 0; t < STEPS; t++) step(t, 1, t < 3 ? 1 : 0.5);
    const actual = await values();
    starts.forEach((start, index) => {
      const last = index === SIZES.length - 1;
      start.forEach((w0, i) => {
        const memory: Record<string, number> = {};
        let w = w0;
        for (let t = 0; t < STEPS; t++) {
          const g = (given[t]?.[index]?.[i] ?? 0) + row.decay * (last ? 0.5 : 1) * w;
          w = row.formula(w, g, memory, t + 1, row.optimiser.rate * (last ? 3 : 1) * (t < 3 ? 1 : 0.5));
        }
        // Where a decayed gradient nearly cancels, adam's and rmsprop's u = g / sqrt(g^2) amplifies what rounding left of g.
        expect(Math.abs((actual[index]?.[i] ?? Number.NaN) - w)).toBeLessThan(2e-6 * (1 + Math.abs(w)));
      });
    });
    running.dispose();
  });

  it.each(ROWS)("$name changes nothing where the loss is not finite", async ({ optimiser }) => {
    const { running, step, values } = setUp(optimiser);
    step(0);
    const before = [await values(), (await running.capture()).arrays];
    step(1, Number.NaN);
    step(2, Number.POSITIVE_INFINITY);
    expect([await values(), (await running.capture()).arrays]).toEqual(before);
    running.dispose();
  });

  it.each(ROWS)("$name goes on from its state to the same bits", async ({ optimiser }) => {
    const whole = setUp(optimiser);
    for (let t = 0; t < STEPS; t++) whole.step(t);
    const first = setUp(optimiser);
    for (let t = 0; t < 3; t++) first.step(t);
    const state = await first.running.capture();
    const kept = await first.values();
    const second = setUp(optimiser);
    second.parameters.forEach((one, index) => one.tensor.write(kept[index] ?? new Float32Array()));
    second.running.restore(state);
    for (let t = 3; t < STEPS; t++) second.step(t);
    expect(await second.values()).toEqual(await whole.values());
    for (const { running } of [whole, first, second]) running.dispose();
  });
});

describe("options and states of optimisers", () => {
  it("what cannot be meant is refused", () => {
    expect(() => sgd({ rate: -1 })).toThrow(/rate/);
    expect(() => sgd({ rate: Number.NaN })).toThrow(/rate/);
    expect(() => sgd({ rate: 1, momentum: 1 })).toThrow(/momentum/);
    expect(() => sgd({ rate: 1, nesterov: true })).toThrow(/momentum above 0/);
    expect(() => adam({ beta1: 1 })).toThrow(/beta1/);
    expect(() => adam({ weightDecay: -1 })).toThrow(/weight decay/);
    expect(() => rmsprop({ alpha: 2 })).toThrow(/alpha/);
  });

  it("a state of another optimiser, or of other parameters, is refused with what differs", async () => {
    await using engine = await wasmEngine();
    const parameters = [{ name: "w", tensor: tensor(engine, [1, 2, 3]) }];
    const running = adam().start(deviceOf(engine), parameters);
    const state = await running.capture();
    expect(state.arrays.map(({ name }) => name)).toEqual(["w.first", "w.second"]);
    const other = sgd({ rate: 1 }).start(deviceOf(engine), parameters);
    expect(() => other.restore(state)).toThrow(/of the optimiser adam, and this one is sgd/);
    const renamed = adam().start(deviceOf(engine), [{ name: "u", tensor: tensor(engine, [1, 2]) }]);
    expect(() => renamed.restore(state)).toThrow(/u.first \[2\] is missing\n.*\n {2}w.first \[3\] is none of/);
  });
});
