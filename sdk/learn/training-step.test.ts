/** One step: what it allocates and submits, what it averages, what it does where a loss is not finite, and on two engines. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuEngine, wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import { clusterData, clusters, perceptron, weightsOf } from "../../test/training-models.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import * as ops from "../tensor/ops.ts";
import type { Model } from "../tensor/model.ts";
import { adam, sgd } from "./optimisers.ts";
import { train } from "./train.ts";
import type { TrainingBatch, TrainingData } from "./training-data.ts";
import { LOSS_NAMES } from "./training-loss.ts";

const seed = freshSeed();

/** Batches given one by one. */
function listed(batches: readonly TrainingBatch[], inputs: number, classes: number): TrainingData {
  return {
    inputShape: [inputs],
    classes,
    trainCount: batches.reduce((sum, { count }) => sum + count, 0),
    batchCount: () => batches.length,
    batchesOf: async function* () {
      for (const batch of batches) yield await Promise.resolve(batch);
    },
    evaluation: {},
  };
}

function batchesOf(counts: readonly number[], inputs: number, classes: number): TrainingBatch[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const { images, labels } = clusters(total, inputs, classes, seed);
  let end = 0;
  return counts.map((count) => {
    const begin = end;
    end += count;
    return {
      count,
      images: images.slice(begin * inputs, end * inputs),
      labels: Uint32Array.from(Array.from(labels ?? []).slice(begin, end)),
    };
  });
}

function worstDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, value, index) => Math.max(worst, Math.abs(value - (b[index] ?? Number.NaN))), 0);
}

describe.each(["wasm", "webgpu"] as const)("a step on %s", (backend) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = backend === "wasm" ? await wasmEngine() : await gpuEngine();
  });
  afterAll(() => engine.close());

  it("allocates nothing once it has seen every size of batch, and goes out in one submit", async () => {
    const data = clusterData({ count: 90, inputs: 6, classes: 4, batch: 16, seed });
    const model = perceptron(engine, { inputs: 6, hidden: 19, outputs: 4, seed, dropout: 0.2, batchNorm: true });
    const [allocations, submits]: [number[], number[]] = [[], []];
    await train({
      ...{ engine, model, data, epochs: 4, optimiser: adam(), evaluateEvery: 9 },
      // Behind batch k + 1, and before batch k + 2.
      onProgress: () => {
        allocations.push(engine.backend.stats().allocations);
        submits.push(engine.backend.stats().submits);
      },
    });
    const between = (of: readonly number[], from: number, to: number): number => (of[to] ?? 0) - (of[from] ?? 0);
    // The third to the fifth batch are as large as the first two, the sixth is smaller, and so is the last of all.
    expect(between(allocations, 1, 3)).toBe(0);
    expect(between(allocations, 12, 22)).toBe(0);
    expect(between(submits, 12, 16)).toBe(backend === "webgpu" ? 4 : 0);
  });

  it("gives back all that it took", async () => {
    const data = clusterData({ count: 20, inputs: 6, classes: 4, batch: 8, seed });
    const model = perceptron(engine, { inputs: 6, hidden: 5, outputs: 4, seed, batchNorm: true });
    const run = (): Promise<unknown> =>
      train({ engine, model, data, epochs: 2, accumulate: 2, optimiser: adam() }).then(() => undefined);
    await run();
    const { bytes } = engine.backend.stats();
    for (let again = 0; again < 3; again++) await run();
    expect(engine.backend.stats().bytes).toBe(bytes);
  });

  it("gradients of several batches make the update of one large batch, whatever their sizes", async () => {
    const counts = [7, 5, 12, 1, 9];
    const [small, one] = [batchesOf(counts, 5, 3), batchesOf([24, 10], 5, 3)];
    const trained = async (batches: readonly TrainingBatch[], accumulate: number): Promise<Float32Array> => {
      const model = perceptron(engine, { inputs: 5, hidden: 11, outputs: 3, seed });
      const optimiser = sgd({ rate: 0.1, momentum: 0.9, weightDecay: 0.01 });
      await train({ engine, model, data: listed(batches, 5, 3), optimiser, accumulate, epochs: 2 });
      return weightsOf(model);
    };
    expect(worstDifference(await trained(small, 3), await trained(one, 1))).toBeLessThan(5e-6);
  });

  it("a loss that is not finite stops the run at its step, names the layer, and changes no weight", async () => {
    const batches = batchesOf([8, 8, 8, 8, 8, 8], 5, 3);
    const bad = batches[3]?.images;
    // Finite, and its square is not.
    if (bad !== undefined) bad[12] = 1e30;
    const options = { inputs: 5, hidden: 11, outputs: 3, seed, activation: ops.square };
    const model = perceptron(engine, options);
    const common = { engine, optimiser: adam({ rate: 1e-3 }), epochs: 2 };
    const failed = await train({ ...common, model, data: listed(batches, 5, 3) }).catch((thrown: unknown) => thrown);
    if (!(failed instanceof WidefieldError)) throw new Error("the run did not stop");
    expect(failed.code).toBe("E_DIVERGED");
    expect(failed.message).toMatch(/the loss is (NaN|Infinity) in batch 4 of epoch 1 \(step 3, rate 0.001\)/);
    expect(failed.message).toMatch(/the first layer whose output is not finite is activation: \d+ of 88 numbers/);
    expect(failed.message).toContain("nothing had been saved yet");
    expect(failed.details).toMatchObject({ step: 3, epoch: 1, layer: "activation", parameter: undefined });
    const until = perceptron(engine, options);
    await train({ ...common, model: until, data: listed(batches.slice(0, 3), 5, 3), epochs: 1 });
    expect(await weightsOf(model)).toEqual(await weightsOf(until));
  });

  it("inputs and parameters that are not finite are named as such", async () => {
    const batches = batchesOf([6], 5, 3);
    const images = batches[0]?.images ?? new Float32Array();
    const run = async (model: Model): Promise<string> => {
      const data = listed(batches, 5, 3);
      const failed: unknown = await train({ engine, model, data, optimiser: adam(), epochs: 1 }).catch(
        (thrown: unknown) => thrown,
      );
      return failed instanceof Error ? failed.message : "";
    };
    const model = () => perceptron(engine, { inputs: 5, hidden: 4, outputs: 3, seed, activation: ops.tanh });
    const poisoned = model();
    poisoned.parameters[2]?.tensor.write(new Float32Array(12).fill(Number.NaN, 5, 7));
    const parameter = await run(poisoned);
    expect(parameter).toContain("parameter second.weights: 2 of 12 numbers, the first is NaN at 5");
    expect(parameter).toContain("the first layer whose output is not finite is second");
    // A relu does not hide what is not a number, on a GPU neither.
    const behind = perceptron(engine, { inputs: 5, hidden: 4, outputs: 3, seed });
    behind.parameters[0]?.tensor.write(new Float32Array(20).fill(Number.NaN));
    expect(await run(behind)).toContain("the first layer whose output is not finite is first");
    images[7] = Number.NaN;
    const input = await run(model());
    expect(input).toContain("the batch's inputs: 1 of 30 numbers, the first is NaN at 7");
    expect(input).toContain("the first layer whose output is not finite is first");
  });

  it.each(LOSS_NAMES)("%s of a score that is NaN is not finite: no step is taken", async (loss) => {
    const [batch] = batchesOf([6], 5, 3);
    if (batch === undefined) throw new Error("there is a batch");
    const data = listed([{ ...batch, targets: new Float32Array(18) }], 5, 3);
    const model = perceptron(engine, { inputs: 5, hidden: 4, outputs: 3, seed });
    const bias = model.parameters[3]?.tensor;
    // The score of one class, for every example.
    bias?.write(Float32Array.of(0, Number.NaN, 0));
    const before = await weightsOf(model);
    const failed: unknown = await train({ engine, model, data, loss, optimiser: adam(), epochs: 1 }).catch(
      (thrown: unknown) => thrown,
    );
    expect(failed).toBeInstanceOf(WidefieldError);
    expect(failed instanceof WidefieldError && failed.code).toBe("E_DIVERGED");
    expect(await weightsOf(model)).toEqual(before);
  });
});

describe("two engines", () => {
  it("make the steps of one engine with the whole batch, and their replicas stay equal", async () => {
    await using one = await wasmEngine();
    await using a = await wasmEngine({ variant: "threads", threads: 1 });
    await using b = await wasmEngine({ variant: "threads", threads: 1 });
    const options = { inputs: 5, hidden: 11, outputs: 3 };
    // The last batch has fewer examples than engines.
    const data = listed(batchesOf([9, 8, 7, 1], 5, 3), 5, 3);
    // Adam divides by the gradient's size: where that is all cancellation, rounding would be amplified.
    const common = { data, optimiser: sgd({ rate: 0.05, momentum: 0.9 }), epochs: 3, accumulate: 2 };
    const whole = perceptron(one, { ...options, seed });
    const single = await train({ ...common, engine: one, model: whole });
    const first = perceptron(a, { ...options, seed });
    // Replicas start from the first model's weights.
    const second = perceptron(b, { ...options, seed: seed + 1 });
    const both = await train({ ...common, engine: a, model: first, replicas: [{ engine: b, model: second }] });
    expect(await weightsOf(second)).toEqual(await weightsOf(first));
    expect(worstDifference(await weightsOf(first), await weightsOf(whole))).toBeLessThan(2e-5);
    both.history.forEach(({ training }, index) => {
      const expected = single.history[index]?.training;
      expect(training.accuracy).toBe(expected?.accuracy);
      expect(training.loss).toBeCloseTo(expected?.loss ?? Number.NaN, 5);
    });
  });

  it("a loss that is not finite on one of them stops both", async () => {
    await using a = await wasmEngine({ variant: "threads", threads: 1 });
    await using b = await wasmEngine({ variant: "threads", threads: 1 });
    const batches = batchesOf([8, 8], 5, 3);
    const bad = batches[1]?.images;
    if (bad !== undefined) bad[7 * 5] = 1e30;
    const options = { inputs: 5, hidden: 4, outputs: 3, seed, activation: ops.square };
    const [first, second] = [perceptron(a, options), perceptron(b, options)];
    const failed: unknown = await train({
      ...{ engine: a, model: first, replicas: [{ engine: b, model: second }] },
      ...{ data: listed(batches, 5, 3), optimiser: sgd({ rate: 1e-3 }), epochs: 1 },
    }).catch((thrown: unknown) => thrown);
    expect(failed).toBeInstanceOf(WidefieldError);
    expect(failed instanceof WidefieldError && failed.details["layer"]).toBe("activation");
    expect(await weightsOf(second)).toEqual(await weightsOf(first));
  });
});
