/** The training loop: what it learns, what it resumes, what it refuses, and how it stops. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuEngine, wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import { clusterData, clusters, perceptron, weightsOf } from "../../test/training-models.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import * as ops from "../tensor/ops.ts";
import { customGradient } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { evaluate } from "./evaluate.ts";
import { adam, rmsprop, sgd } from "./optimisers.ts";
import { stepDecay } from "./schedules.ts";
import { train, type TrainOptions } from "./train.ts";
import { arrayData, type TrainingData } from "./training-data.ts";
import { LOSS_NAMES, type CustomLoss } from "./training-loss.ts";
import type { TrainingState } from "./training-state.ts";

const seed = freshSeed();

async function errorOf(work: Promise<unknown>): Promise<WidefieldError> {
  try {
    await work;
  } catch (thrown) {
    if (thrown instanceof WidefieldError) return thrown;
    throw thrown;
  }
  throw new Error("nothing was thrown");
}

/** Keeps every state that is saved. */
function keeping(states: TrainingState[], best: boolean[] = []) {
  return (state: TrainingState, about: { readonly best: boolean }): Promise<void> => {
    states.push(state);
    best.push(about.best);
    return Promise.resolve();
  };
}

describe.each(["wasm", "webgpu"] as const)("training on %s", (backend) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = backend === "wasm" ? await wasmEngine() : await gpuEngine();
  });
  afterAll(() => engine.close());

  it("two well separated classes are told apart to the last example", async () => {
    const data = clusterData({ count: 90, inputs: 5, classes: 2, batch: 16, seed });
    const model = perceptron(engine, { inputs: 5, hidden: 17, outputs: 2, seed });
    const { history, best, step } = await train({ engine, model, data, optimiser: adam({ rate: 0.02 }), epochs: 12 });
    expect(history.map(({ epoch }) => epoch)).toEqual(Array.from({ length: 12 }, (_, index) => index + 1));
    expect(step).toBe(12 * 6);
    const last = history.at(-1);
    expect(last?.training).toMatchObject({ accuracy: 1, count: 90 });
    expect(last?.validation).toMatchObject({ accuracy: 1, count: 90 });
    expect(last?.training.loss).toBeLessThan(history[0]?.training.loss ?? 0);
    expect(best?.scores.accuracy).toBe(1);
  });

  it("3 epochs, a checkpoint and 3 more are 6 epochs to the bit, with dropout, batch norm and a schedule", async () => {
    const options = { inputs: 7, hidden: 33, outputs: 3, dropout: 0.3, batchNorm: true };
    const data = clusterData({ count: 50, inputs: 7, classes: 3, batch: 12, seed });
    const run = async (
      epochs: number,
      modelSeed: number,
      resume?: TrainingState,
    ): Promise<{ readonly states: TrainingState[]; readonly weights: Float32Array }> => {
      const model = perceptron(engine, { ...options, seed: modelSeed });
      const states: TrainingState[] = [];
      await train({
        ...{ engine, model, data, epochs, resume, seed, optimiser: rmsprop({ rate: 3e-3, momentum: 0.5 }) },
        schedule: stepDecay({ epochs: [3, 5] }),
        checkpoint: { save: keeping(states), every: 3 },
      });
      return { states, weights: await weightsOf(model) };
    };
    const whole = await run(6, seed);
    const first = await run(3, seed);
    const resumed = await run(6, seed + 1, first.states.at(-1));
    expect(resumed.weights).toEqual(whole.weights);
    const [a, b] = [whole.states.at(-1), resumed.states.at(-1)];
    expect(b?.parameters).toEqual(a?.parameters);
    expect(b?.states).toEqual(a?.states);
    expect(b?.optimiser).toEqual(a?.optimiser);
    expect(b?.step).toBe(a?.step);
    const scores = ({ history }: TrainingState) =>
      history.map(({ training, validation, rate }) => [training, validation, rate]);
    expect(b && scores(b)).toEqual(a && scores(a));
    expect(b?.best).toEqual(a?.best);
  });
});

describe("the loop", () => {
  let engine: Engine;
  beforeAll(async () => (engine = await wasmEngine()));
  afterAll(() => engine.close());

  const data = clusterData({ count: 30, inputs: 4, classes: 3, batch: 8, seed });
  const model = (outputs = 3) => perceptron(engine, { inputs: 4, hidden: 6, outputs, seed });
  const optimiser = sgd({ rate: 0.05 });
  const base = (): TrainOptions => ({ engine, model: model(), data, optimiser, epochs: 2 });

  it.each(LOSS_NAMES)("the loss %s falls", async (loss) => {
    const { images, labels } = clusters(40, 4, 3, seed);
    const targets = Float32Array.from({ length: 120 }, (_, i) => (labels?.[Math.floor(i / 3)] === i % 3 ? 1 : 0));
    const arrays = arrayData({ inputShape: [4], classes: 3, train: { images, labels, targets }, batch: 8, seed });
    const wide = perceptron(engine, { inputs: 4, hidden: 24, outputs: 3, seed });
    const { history } = await train({
      ...base(),
      model: wide,
      data: arrays,
      loss,
      optimiser: adam({ rate: 0.02 }),
      epochs: 15,
    });
    expect(history[14]?.training.loss).toBeLessThan(history[0]?.training.loss ?? 0);
    // A truncated hinge lets go of examples that are far on the wrong side.
    expect(history[14]?.training.accuracy).toBeGreaterThanOrEqual(loss === "truncatedHinge" ? 0 : 0.6);
  });

  it("a loss of one's own sees scores, batch and pass; without ranks there is no accuracy", async () => {
    const { images } = clusters(20, 4, 4, seed);
    const targets = images.map((value) => 0.5 * value);
    const seen: boolean[] = [];
    const { history, best } = await train({
      ...base(),
      model: model(4),
      optimiser: adam({ rate: 0.003 }),
      data: arrayData({
        inputShape: [4],
        train: { images, targets },
        validation: { images, targets },
        batch: 6,
      }),
      loss: (scores, batch, pass) => {
        seen.push(pass.training);
        return { loss: ops.meanSquaredError(scores, batch.targets ?? scores) };
      },
    });
    expect(seen).toEqual([true, true, true, true, false, true, true, true, true, false]);
    expect(history[1]?.training).not.toHaveProperty("accuracy");
    expect(best).toEqual({ epoch: 2, scores: history[1]?.validation });
  });

  it("evaluates and saves as often as asked, and after the last epoch; the best epoch is always saved", async () => {
    const [states, best, seen]: [TrainingState[], boolean[], number[]] = [[], [], []];
    const { history } = await train({
      ...{ ...base(), epochs: 5, evaluateEvery: 2, optimiser: sgd({ rate: 0 }) },
      checkpoint: { every: 3, save: keeping(states, best) },
      onEpoch: ({ epoch }) => void seen.push(epoch),
    });
    expect(history.map(({ validation }) => validation !== undefined)).toEqual([false, true, false, true, true]);
    // Nothing is learnt at a rate of 0, so the first epoch that was evaluated stays the best.
    expect(states.map(({ epoch }) => epoch)).toEqual([2, 3, 5]);
    expect(best).toEqual([true, false, false]);
    expect(states.at(-1)?.best?.epoch).toBe(2);
    expect(seen).toEqual([1, 2, 3, 4, 5]);
  });

  it("evaluation is by running over examples of any count, and top-5 counts where there are more than five classes", async () => {
    const examples = clusters(29, 4, 8, seed, 3);
    const wide = perceptron(engine, { inputs: 4, hidden: 9, outputs: 8, seed });
    const set = arrayData({ inputShape: [4], classes: 8, train: examples, test: examples, batch: 4, testBatch: 7 });
    const batches = set.evaluation.test?.() ?? set.batchesOf(1);
    const scores = await evaluate({ engine, model: wide, batches });
    const weights = await Promise.all(wide.parameters.map((one) => one.tensor.read()));
    const [w1 = [], b1 = [], w2 = [], b2 = []] = weights;
    let [loss, first, five] = [0, 0, 0];
    for (let row = 0; row < 29; row++) {
      const x = examples.images.subarray(4 * row, 4 * row + 4);
      const hidden = Array.from({ length: 9 }, (_, j) =>
        Math.max(
          0,
          x.reduce((sum, value, i) => sum + value * (w1[9 * i + j] ?? 0), b1[j] ?? 0),
        ),
      );
      const out = Array.from({ length: 8 }, (_, k) =>
        hidden.reduce((sum, value, j) => sum + value * (w2[8 * j + k] ?? 0), b2[k] ?? 0),
      );
      const own = out[examples.labels?.[row] ?? 0] ?? 0;
      const rank = out.filter((value) => value > own).length;
      first += Number(rank === 0);
      five += Number(rank < 5);
      loss += Math.log(out.reduce((sum, value) => sum + Math.exp(value - own), 0));
    }
    expect(scores).toMatchObject({ accuracy: first / 29, top5: five / 29, count: 29 });
    expect(scores.loss).toBeCloseTo(loss / 29, 5);
  });

  it("factors of a parameter reach its updates: a rate of 0 leaves it as it was", async () => {
    const still = perceptron(engine, { inputs: 4, hidden: 6, outputs: 3, seed, rates: { "first.bias": 0 } });
    const before = await Promise.all(still.parameters.map((one) => one.tensor.read()));
    await train({ ...base(), model: still });
    const after = await Promise.all(still.parameters.map((one) => one.tensor.read()));
    const changed = still.parameters.map(({ name }, index) => [name, String(before[index]) !== String(after[index])]);
    expect(Object.fromEntries(changed)).toEqual({
      "first.weights": true,
      "first.bias": false,
      "second.weights": true,
      "second.bias": true,
    });
  });

  it("diagnostics see each layer's input and output in every n-th step", async () => {
    const seen: string[] = [];
    const outputs: Promise<Float32Array>[] = [];
    await train({
      ...base(),
      diagnostics: {
        every: 3,
        see: ({ layer, step, output }) => {
          seen.push(`${step} ${layer}`);
          outputs.push(output.read());
        },
      },
    });
    expect(seen).toEqual(
      [0, 3, 6].flatMap((step) => ["first", "activation", "second"].map((name) => `${step} ${name}`)),
    );
    const sizes = (await Promise.all(outputs)).map(({ length }) => length);
    // The fourth batch of an epoch has 30 - 24 examples.
    expect(sizes).toEqual([48, 48, 24, 36, 36, 18, 48, 48, 24]);
  });

  it("stops after the step under way when told to, in the middle of an epoch, and keeps what was saved", async () => {
    const states: TrainingState[] = [];
    const controller = new AbortController();
    let steps = 0;
    const stopped = await errorOf(
      train({
        ...{ ...base(), epochs: 9, signal: controller.signal, checkpoint: { save: keeping(states) } },
        onProgress: ({ step }) => {
          steps = step;
          if (step === 6) controller.abort();
        },
      }),
    );
    expect(stopped.code).toBe("E_ABORTED");
    expect(stopped.message).toMatch(
      /stopped in epoch 2 after [34] of 4 batches; the checkpoint of epoch 1 is as it was/,
    );
    expect(steps).toBeLessThanOrEqual(7);
    const resumed = await train({ ...base(), resume: states[0] });
    expect(resumed.history).toEqual(
      (await train(base())).history.map((one, index) => ({
        ...one,
        ...(({ seconds, examplesPerSecond }) => ({ seconds, examplesPerSecond }))(resumed.history[index] ?? one),
      })),
    );
  });

  it("says what there is to go on from wherever it is stopped: while it waits for data, or evaluates", async () => {
    const checkpoint = { save: keeping([]) };
    const waiting: TrainingData = {
      ...data,
      batchesOf: async function* (epoch) {
        if (epoch === 2) throw new WidefieldError("E_ABORTED", "stopped while preparing batches");
        yield* data.batchesOf(epoch);
        await Promise.resolve();
      },
    };
    expect((await errorOf(train({ ...base(), data: waiting, checkpoint }))).message).toBe(
      "stopped in epoch 2 (stopped while preparing batches); the checkpoint of epoch 1 is as it was, and the same run goes on from it",
    );
    const other = new AbortController();
    const evaluating: TrainingData = {
      ...data,
      evaluation: {
        validation: async function* () {
          other.abort();
          yield* data.batchesOf(1);
          await Promise.resolve();
        },
      },
    };
    expect((await errorOf(train({ ...base(), data: evaluating, checkpoint, signal: other.signal }))).message).toBe(
      "stopped in epoch 1 (stopped after evaluating 0 examples); nothing had been saved yet",
    );
  });

  describe("a model that is not finite behind losses that are", () => {
    /** The usual loss, whose gradient is infinite in one step. */
    const bursting =
      (at: number): CustomLoss =>
      (scores, { labels }, { training, step }) => {
        const { loss, ranks } = ops.classLoss(scores, labels ?? scores);
        const infinite = training && step === at;
        const backward = (g: Tensor): Tensor[] => [infinite ? ops.reciprocal(ops.affine(g, 0)) : g];
        return { loss: customGradient([loss], { forward: ([x = loss]) => ops.affine(x, 1), backward }), ranks };
      };

    it("is not saved after the last step of an epoch: the checkpoint before it stays the last", async () => {
      const states: TrainingState[] = [];
      const saving = { save: keeping(states) };
      // Four batches an epoch: step 7 is the second one's last, and no loss comes behind it.
      const error = await errorOf(train({ ...base(), epochs: 5, loss: bursting(7), checkpoint: saving }));
      expect(error.code).toBe("E_DIVERGED");
      expect(error.message).toMatch(
        /^the losses of epoch 2 are finite, and the model behind it \(step 8\) is not:\n {2}not finite: first\.weights: \d+ of 24/,
      );
      expect(error.message).toContain("the checkpoint of epoch 1 is as it was");
      expect(error.details).toEqual({ step: 8, epoch: 2, parameter: "first.weights" });
      expect(states.map(({ epoch }) => epoch)).toEqual([1]);
      expect(states[0]?.best?.epoch).toBe(1);
    });

    it("is not given back by a run that saves nothing", async () => {
      expect((await errorOf(train({ ...base(), loss: bursting(7) }))).message).toContain("nothing had been saved yet");
    });

    it("is told by the next loss within an epoch, with the parameter", async () => {
      const { code, message } = await errorOf(train({ ...base(), loss: bursting(5) }));
      expect([code, message]).toEqual(["E_DIVERGED", expect.stringContaining("not finite: parameter first.weights")]);
    });
  });

  it("an evaluation whose loss is not finite is never the best", async () => {
    let evaluations = 0;
    const { history, best } = await train({
      ...{ ...base(), epochs: 3 },
      loss: (scores, { labels }, { training }) => {
        const { loss } = ops.classLoss(scores, labels ?? scores);
        const first = !training && evaluations++ < 2;
        return { loss: first ? ops.log(ops.affine(loss, 0, -1)) : loss };
      },
    });
    // Two batches an evaluation, the first of which is NaN.
    expect(history.map(({ validation }) => Number.isFinite(validation?.loss))).toEqual([false, true, true]);
    expect(best?.epoch).toBeGreaterThan(1);
  });

  describe("refuses, before anything runs,", () => {
    const refused = async (options: Partial<TrainOptions>): Promise<string> => {
      const before = engine.backend.stats().dispatches;
      const { code, message } = await errorOf(train({ ...base(), ...options }));
      // A model, an evaluator and an optimiser may be made; no step is taken.
      expect(engine.backend.stats().dispatches - before).toBeLessThan(20);
      return `${code}: ${message}`;
    };

    it("data that does not meet the model", async () => {
      const wide = clusterData({ count: 8, inputs: 5, classes: 3, batch: 4, seed });
      expect(await refused({ data: wide })).toMatch(
        /^E_SHAPE: the model takes inputs of \[4\], and the data's are of \[5\]/,
      );
      expect(await refused({ model: model(2) })).toMatch(
        /^E_DATA: the data has 3 classes, and the model gives 2 scores/,
      );
      expect(await refused({ loss: "squareError" })).toMatch(/^E_DATA: .*targets, and a batch has none/);
    });

    it("labels beyond the number of classes, by example", async () => {
      const { images } = clusters(4, 4, 2, seed);
      const labels = [0, 1, 3, 1];
      const make = () => arrayData({ inputShape: [4], classes: 3, train: { images, labels }, batch: 4 });
      expect(make).toThrow(/training example 2 has the label 3, and there are 3 classes/);
      const careless: TrainingData = {
        ...data,
        batchesOf: async function* () {
          yield await Promise.resolve({ count: 4, images, labels: Uint32Array.from(labels) });
        },
      };
      expect(await refused({ data: careless })).toMatch(/^E_DATA: example 2 has the label 3/);
    });

    it("a state of another model, with what differs", async () => {
      const states: TrainingState[] = [];
      await train({ ...base(), epochs: 1, checkpoint: { save: keeping(states) } });
      const other = perceptron(engine, { inputs: 4, hidden: 7, outputs: 3, seed, batchNorm: true });
      const message = await refused({ model: other, resume: states[0] });
      expect(message).toMatch(/^E_CONFIG: the state is of another model:/);
      expect(message).toContain("first.weights is [4, 6], and the model's is [4, 7]");
      expect(message).toContain("norm.scale [7] is missing");
      expect(await refused({ optimiser: adam(), resume: states[0] })).toMatch(
        /of the optimiser sgd, and this one is adam/,
      );
    });

    it("numbers that cannot be meant, and replicas on one engine", async () => {
      expect(await refused({ epochs: 0 })).toMatch(/^E_CONFIG: epochs is a whole number from 1/);
      expect(await refused({ accumulate: 1.5 })).toMatch(/^E_CONFIG: accumulate/);
      expect(await refused({ replicas: [{ engine, model: model() }] })).toMatch(/an engine of its own/);
      expect(await refused({ loss: "hingle" as "hinge" })).toMatch(/no loss "hingle": crossEntropy, hinge/);
    });
  });
});
