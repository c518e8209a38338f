/** Training runs in folders: what they keep, how they go on, and which model is tested in the end. */
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import { datasetSource } from "../data/batch-source.ts";
import { digits } from "../data/digits.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { loadCheckpoint } from "../learn/checkpoint.ts";
import { readMetrics } from "../learn/metrics-log.ts";
import type { EpochRecord } from "../learn/training-state.ts";
import { nodeFiles } from "../platform/files.node.ts";
import type { TrainImages } from "./train-parts.ts";
import { trainSettings, type TrainSettings, type TrainSettingsInput } from "./train-settings.ts";
import { runTraining, testModel, type TrainExperiment } from "./train.ts";

const seed = freshSeed();
const files = await nodeFiles();
const dataset = digits({ seed, trainCount: 90, testCount: 25 });
const images: TrainImages = {
  source: datasetSource(dataset),
  trainCount: dataset.trainCount,
  digest: await dataset.sha256(),
};

/** Batch norm, a hard threshold, dropout, and widths that are given and that are not. */
const arch = {
  type: "serial",
  layers: [
    { type: "conv", filter: 5, stride: 3, padding: "valid", channels: 4 },
    { type: "batchNorm" },
    { type: "threshold", low: -1, backward: "SoftHinge" },
    { type: "flatten" },
    { type: "dropout", rate: 0.25 },
    { type: "dense", units: 11, bias: true },
    { type: "relu" },
    { type: "dense", bias: true },
  ],
};

const settingsOf = (changes: Partial<TrainSettingsInput> = {}): TrainSettings =>
  trainSettings({
    ...{ ds: "digits", arch, opt: "adam", lr: 0.01, wtdecay: 1e-3, batch: 8, accumulate: 2, epochs: 3, seed },
    ...changes,
  });

async function freshFolder(): Promise<{ readonly files: typeof files; readonly path: string }> {
  const parent = await mkdtemp(join(tmpdir(), "widefield-train-"));
  onTestFinished(() => rm(parent, { recursive: true, force: true }));
  return { files, path: join(parent, "run") };
}

async function errorOf(work: Promise<unknown>): Promise<WidefieldError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (thrown instanceof WidefieldError) return thrown;
  throw new Error("no WidefieldError was thrown", { cause: thrown });
}

/** What does not depend on the clock. */
const timeless = (history: readonly EpochRecord[]) =>
  history.map(({ epoch, step, rate, training, validation }) => ({ epoch, step, rate, training, validation }));

describe("a training run", () => {
  let engine: Engine;
  beforeAll(async () => (engine = await wasmEngine()));
  afterAll(() => engine.close());

  const run = (changes: Partial<TrainSettingsInput>, more: Partial<TrainExperiment> = {}) =>
    runTraining({ engine, settings: settingsOf(changes), images, workers: 0, ...more });

  it("of 3 epochs and 3 more ends with the bits and the records of one of 6", async () => {
    const [whole, parts] = [await freshFolder(), await freshFolder()];
    const schedule = { lrDecayEpochs: [2, 5] };
    const six = await run({ ...schedule, epochs: 6 }, { folder: whole });
    const three = await run({ ...schedule, epochs: 3 }, { folder: parts, tensorBoard: false });
    expect(three.history.map(({ epoch }) => epoch)).toEqual([1, 2, 3]);
    const more = await run({ ...schedule, epochs: 6 }, { folder: parts, resume: true, workers: 1 });
    expect(more.resumedAt).toBe(3);
    expect(timeless(more.history)).toEqual(timeless(six.history));
    expect(more.best).toEqual(six.best);
    for (const name of ["last.safetensors", "best.safetensors"])
      expect(await readFile(join(parts.path, name))).toEqual(await readFile(join(whole.path, name)));
    const [a, b] = [await loadCheckpoint(files, whole.path, "last"), await loadCheckpoint(files, parts.path, "last")];
    expect(b.state.optimiser).toEqual(a.state.optimiser);
    expect(b.run).toEqual(a.run);
    const [m, n] = [
      await readMetrics(files, `${whole.path}/metrics.jsonl`),
      await readMetrics(files, `${parts.path}/metrics.jsonl`),
    ];
    expect(n.steps).toEqual(m.steps);
    expect(timeless(n.epochs)).toEqual(timeless(m.epochs));
    // 75 of 90 train, in batches of 8; the rate is that of the steps' own epochs.
    expect(six.images).toEqual({ train: 75, validation: 15, test: 25 });
    expect(six.step).toBe(6 * 10);
    expect(six.history.map(({ rate }) => rate)).toEqual(
      [0.01, 0.001, 0.001, 0.001, 1e-4, 1e-4].map((x) => expect.closeTo(x, 12) as number),
    );
  });

  it("counts parameters and takes layers without a width as 100 wide, the last one as wide as there are classes", async () => {
    const dense = {
      type: "serial",
      layers: [{ type: "flatten" }, { type: "dense" }, { type: "relu" }, { type: "dense" }],
    };
    expect((await run({ arch: dense, epochs: 1 })).parameters).toBe(784 * 100 + 100 * 10);
  });

  it("that is done gives its history back, and the model that is tested is the trained one", async () => {
    for (const val of [true, false]) {
      const folder = await freshFolder();
      const settings = { val, testFinalModel: true, epochs: 2, lr: 0.02 };
      const first = await run(settings, { folder });
      const again = await run(settings, { folder });
      expect(again.history).toEqual(first.history);
      expect(again.resumedAt).toBe(2);
      expect(again.final).toEqual(first.final);
      expect(first.final?.epoch).toBe(val ? first.best?.epoch : 2);
      const { final } = first;
      expect(
        await testModel({ engine, settings: settingsOf(settings), images, workers: 0, files, from: folder.path }),
      ).toEqual(
        // Without validation images there is no best model on disk, and the last is tested.
        final,
      );
    }
  });

  it("tests the model that was best on the validation images in the end, with a folder and without", async () => {
    // So slowly that no image changes sides: of epochs of one accuracy the first is the best.
    const slow: Partial<TrainSettingsInput> = {
      ...{ opt: "sgd", lr: 1e-6, momentum: 0, epochs: 3, testFinalModel: true, plotTest: true },
      arch: { type: "serial", layers: [{ type: "flatten" }, { type: "dense" }] },
    };
    const folder = await freshFolder();
    const kept = await run(slow, { folder });
    expect(kept.best?.epoch).toBe(1);
    expect(kept.final).toEqual({ epoch: 1, test: kept.history[0]?.test });
    expect(kept.final?.test.loss).not.toBe(kept.history[2]?.test?.loss);
    const one = await run({ ...slow, epochs: 1 });
    expect(kept.final).toEqual(one.final);
    expect((await run(slow)).final).toEqual(one.final);
    expect(
      await testModel({ engine, settings: settingsOf(slow), images, workers: 0, files, from: folder.path }),
    ).toEqual(one.final);
  });

  it("refuses the model of another architecture though its weights fit, with what differs", async () => {
    const folder = await freshFolder();
    const { layers } = arch;
    await run({ epochs: 1 }, { folder });
    const other = { type: "serial", layers: layers.map((layer) => (layer.type === "relu" ? { type: "tanh" } : layer)) };
    const error = await errorOf(
      testModel({ engine, settings: settingsOf({ arch: other }), images, workers: 0, files, from: folder.path }),
    );
    expect(error.code).toBe("E_MISMATCH");
    expect(error.message).toContain("architecture.layers[6].type: relu -> tanh");
  });

  it("refuses the folder of another run, and to resume where there is nothing, which makes no folder", async () => {
    const folder = await freshFolder();
    await run({ epochs: 1 }, { folder });
    const error = await errorOf(run({ epochs: 2, lr: 0.02 }, { folder }));
    expect([error.code, error.message]).toEqual(["E_MISMATCH", expect.stringContaining("lr: 0.01 -> 0.02")]);
    const elsewhere = await freshFolder();
    const missing = await errorOf(run({}, { folder: elsewhere, resume: true }));
    expect([missing.code, missing.message]).toEqual(["E_DATA", `${elsewhere.path} holds no checkpoint to go on from`]);
    expect(await readdir(join(elsewhere.path, ".."))).toEqual([]);
  });

  it("goes on in its folder only with as many engines as it began with", async () => {
    const folder = await freshFolder();
    const second = await wasmEngine();
    onTestFinished(() => second.close());
    await run({ epochs: 1 }, { folder, replicas: [second] });
    const error = await errorOf(run({ epochs: 2 }, { folder }));
    expect([error.code, error.message]).toEqual(["E_MISMATCH", expect.stringContaining("replicas")]);
    expect((await run({ epochs: 2 }, { folder, replicas: [second] })).resumedAt).toBe(1);
  });

  it("that diverges says where, keeps its checkpoint, and a lower rate is another run", async () => {
    const folder = await freshFolder();
    const settings: Partial<TrainSettingsInput> = {
      ...{ opt: "sgd", lr: 0.01, lrDecay: 1e35, lrDecayEpochs: [2], momentum: 0, epochs: 4 },
    };
    const error = await errorOf(run(settings, { folder }));
    expect(error.code).toBe("E_DIVERGED");
    expect(error.message).toMatch(/in batch \d+ of epoch 2 \(step \d+, rate 1e\+33\)|the losses of epoch 2 are finite/);
    expect(error.message).toContain("the checkpoint of epoch 1 is as it was");
    const { state } = await loadCheckpoint(files, folder.path, "last");
    expect(state.epoch).toBe(1);
    expect(state.parameters.every(({ data }) => data.every(Number.isFinite))).toBe(true);
    // The same run would come to the same end; one with other settings is another.
    expect((await errorOf(run(settings, { folder }))).message).toBe(error.message);
    expect((await errorOf(run({ ...settings, lrDecay: 0.1 }, { folder }))).code).toBe("E_MISMATCH");
  });

  it("takes only the first images of a limit, and refuses images that the network is not made for", async () => {
    const { images: counts } = await run({ epochs: 1, dbgDsSize: 20 });
    expect(counts).toEqual({ train: 20, validation: 15, test: 25 });
    const short = { type: "serial", layers: [{ type: "flatten" }, { type: "dense", units: 7 }] };
    expect((await errorOf(run({ arch: short }))).message).toMatch(/network has 7 outputs.*the dataset has 10 classes/);
    const unflattened = { type: "serial", layers: [{ type: "dense" }] };
    expect((await errorOf(run({ arch: unflattened }))).message).toContain("put flatten before it");
    expect((await errorOf(run({ init: "hee" }))).message).toMatch(/^init is prior, pytorch.*not "hee"/);
    expect((await errorOf(run({ arch: "resnet18" }))).message).toContain("--use-bn");
  });
});
