/** A training run whose disk fills up somewhere: what is left is whole, and the same run goes on from it. */
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { datasetSource } from "../sdk/data/batch-source.ts";
import { fromArrays } from "../sdk/data/dataset.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { RandomStream } from "../sdk/engine/rng.ts";
import { runTraining, type TrainExperiment } from "../sdk/experiments/train.ts";
import { trainSettings } from "../sdk/experiments/train-settings.ts";
import { loadCheckpoint } from "../sdk/learn/checkpoint.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import type { Files } from "../sdk/platform/files.ts";
import { wasmEngine } from "./engines.ts";
import { diskOf } from "./full-disk.ts";
import { freshSeed } from "./seed.ts";

const random = new RandomStream(freshSeed(), "training-disk");
const EPOCHS = 4;

let engine: Engine;
let root: string;
let files: Files;
beforeAll(async () => {
  engine = await wasmEngine();
  root = await mkdtemp(join(tmpdir(), "widefield-disk-"));
  files = await nodeFiles();
});
afterAll(async () => {
  await engine.close();
  await rm(root, { recursive: true });
});

it("names the full disk, keeps the last good checkpoint, and goes on to the same bytes when there is room", async () => {
  const count = 90;
  const images = fromArrays({
    name: "digits",
    shape: { channels: 1, height: 6, width: 6 },
    images: Uint8Array.from({ length: count * 36 }, () => random.below(256)),
    labels: Array.from({ length: count }, () => random.below(3)),
    classes: 3,
    trainCount: 60,
  });
  const layers = [{ type: "flatten" }, { type: "dense" }, { type: "tanh" }, { type: "dense" }];
  const settings = trainSettings({
    ds: "digits",
    arch: { type: "serial", layers },
    lr: 0.1,
    epochs: EPOCHS,
    batch: 16,
  });
  const experiment = (name: string, on: Files): TrainExperiment => ({
    ...{ engine, settings, workers: 0, folder: { files: on, path: join(root, name) } },
    images: { source: datasetSource(images), trainCount: 60, digest: "none" },
  });
  const whole = diskOf(files);
  const { history } = await runTraining(experiment("whole", whole.files));
  const bytes = await readFile(join(root, "whole/last.safetensors"));
  expect(history).toHaveLength(EPOCHS);
  for (let trial = 0; trial < 6; trial++) {
    const name = `full ${trial}`;
    const disk = diskOf(files);
    disk.fullAt = random.below(whole.operations);
    const failed = await runTraining(experiment(name, disk.files)).then(
      () => expect.unreachable(),
      (thrown: unknown) => thrown,
    );
    expect(failed).toMatchObject({ code: "E_IO" });
    expect(failed).toHaveProperty("message", expect.stringContaining("free some space and run the same command again"));
    const left = await readdir(join(root, name));
    expect(left.filter((file) => /\.tmp$|\.lock$/.test(file))).toEqual([]);
    const there = left.includes("last.json") ? (await loadCheckpoint(files, join(root, name), "last")).state.epoch : 0;
    const goneOn = await runTraining(experiment(name, files));
    expect(goneOn.resumedAt).toBe(there);
    expect((await readFile(join(root, name, "last.safetensors"))).equals(bytes)).toBe(true);
  }
});
