/** A run and everything that it writes down: one that was stopped and went on leaves what one that was not leaves. */
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { CheckpointFolder } from "../sdk/learn/checkpoint.ts";
import { MetricsLog, readMetrics } from "../sdk/learn/metrics-log.ts";
import { adam } from "../sdk/learn/optimisers.ts";
import { StepHistograms } from "../sdk/learn/step-histograms.ts";
import { train } from "../sdk/learn/train.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { TensorBoard } from "../sdk/report/tensorboard.ts";
import { wasmEngine } from "./engines.ts";
import { freshSeed } from "./seed.ts";
import { clusterData, perceptron } from "./training-models.ts";

const seed = freshSeed();
const files = await nodeFiles();

/** Trains in a folder until so many epochs are done. */
async function trained(folder: string, epochs: number): Promise<void> {
  await using engine = await wasmEngine();
  const [inputs, classes] = [7, 3];
  const model = perceptron(engine, { inputs, hidden: 11, outputs: classes, seed, dropout: 0.2, batchNorm: true });
  const data = clusterData({ count: 53, inputs, classes, batch: 8, seed });
  await using checkpoints = await CheckpointFolder.open(files, folder, { model: "perceptron", seed });
  const { found } = checkpoints;
  await using metrics = await MetricsLog.open(files, `${folder}/metrics.jsonl`, found?.history);
  await using board = await TensorBoard.open(files, folder, { resumedAt: found?.step });
  const histograms = new StepHistograms({ seed, sample: 0.5, drop: 0.5, layers: (layer) => layer === "activation" });
  await train({
    ...{ engine, model, data, epochs, seed, optimiser: adam({ rate: 0.01 }) },
    ...(found && { resume: found }),
    checkpoint: { save: (state, about) => checkpoints.save(state, about) },
    diagnostics: histograms,
    onEpoch: async (record) => {
      await metrics.epoch(record);
      await board.epoch(record);
      await board.histograms(record.step, await histograms.collect("train/"));
    },
  });
}

describe("what training writes down", () => {
  it("after 3 epochs and 3 more is what 6 epochs leave: the same bytes of weights, the same metrics", async () => {
    const parent = await mkdtemp(join(tmpdir(), "widefield-record-"));
    onTestFinished(() => rm(parent, { recursive: true, force: true }));
    const [whole, stopped] = [join(parent, "whole"), join(parent, "stopped")];
    await trained(whole, 6);
    await trained(stopped, 3);
    await trained(stopped, 6);
    for (const name of ["last.safetensors", "best.safetensors"])
      expect((await readFile(join(stopped, name))).equals(await readFile(join(whole, name))), name).toBe(true);
    const metricsOf = async (folder: string) =>
      (await readMetrics(files, join(folder, "metrics.jsonl"))).epochs.map((record) => ({
        ...record,
        seconds: 0,
        examplesPerSecond: 0,
      }));
    expect(await metricsOf(stopped)).toEqual(await metricsOf(whole));
    expect(await metricsOf(whole)).toHaveLength(6);
    const events = (await readdir(stopped)).filter((name) => name.includes("tfevents"));
    expect(events).toHaveLength(2);
  });
});
