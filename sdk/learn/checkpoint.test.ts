import { mkdtemp, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { diskOf } from "../../test/full-disk.ts";
import { freshSeed } from "../../test/seed.ts";
import { RandomStream } from "../engine/rng.ts";
import { nodeFiles } from "../platform/files.node.ts";
import type { Files } from "../platform/files.ts";
import { decodeSafetensors, type NamedArray } from "../platform/safetensors.ts";
import { CheckpointFolder, loadCheckpoint, restoreCheckpoint, type RunIdentity } from "./checkpoint.ts";
import { sizeOf, tensor } from "../tensor/tensor.ts";
import type { EpochRecord, TrainingState } from "./training-state.ts";

const seed = freshSeed();
const files = await nodeFiles();

const run: RunIdentity = {
  arch: { layers: [{ layer: "conv", channels: 32 }, { layer: "relu" }] },
  dataset: "ab".repeat(32),
  optimiser: { name: "adam", rate: 2.5e-4 },
  seed: 7,
};

async function freshFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "widefield-checkpoint-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "run");
}

const array = (name: string, shape: number[], stream: RandomStream): NamedArray => ({
  name,
  shape,
  data: stream.fillNormal(new Float32Array(shape.reduce((product, side) => product * side, 1))),
});

/** A state after so many epochs, of fresh numbers. */
function stateAfter(epoch: number, changes: Partial<TrainingState> = {}): TrainingState {
  const stream = new RandomStream(seed, "state", epoch);
  const scores = () => ({ loss: stream.uniform(), accuracy: stream.uniform(), count: 100 });
  const history: EpochRecord[] = Array.from({ length: epoch }, (_, index) => ({
    epoch: index + 1,
    step: 13 * (index + 1),
    rate: 2.5e-4 * stream.uniform(),
    training: scores(),
    validation: { ...scores(), top5: 1 },
    seconds: stream.uniform(),
    examplesPerSecond: 1e3 * stream.uniform(),
  }));
  return {
    epoch,
    step: 13 * epoch,
    parameters: [array("layers.0.weights", [5, 3, 1, 2], stream), array("layers.0.bias", [5], stream)],
    states: [array("layers.1.mean", [5], stream)],
    optimiser: {
      name: "adam",
      steps: 13 * epoch,
      arrays: [array("layers.0.weights.first", [5, 3, 1, 2], stream), array("layers.0.bias", [5], stream)],
    },
    history,
    best: epoch === 0 ? undefined : { epoch, scores: scores() },
    ...changes,
  };
}

/** The last checkpoint, as a process that comes later finds it. */
async function reopened(path: string, identity = run): Promise<TrainingState | undefined> {
  await using folder = await CheckpointFolder.open(files, path, identity);
  return folder.found;
}

async function saved(path: string, ...states: readonly TrainingState[]): Promise<void> {
  await using folder = await CheckpointFolder.open(files, path, run);
  for (const state of states) await folder.save(state, { best: true });
}

const shown = (folder: string) => readdir(folder).then((names) => names.sort());
const PAIRS = ["best.json", "best.safetensors", "last.json", "last.safetensors"];

describe("a checkpoint", () => {
  it("gives back the state bit for bit, and again the same files", async () => {
    const path = await freshFolder();
    expect(await reopened(path)).toBeUndefined();
    const bits = Float32Array.of(-0, Number.NaN, Infinity, 1e-45);
    const state = stateAfter(3, { states: [{ name: "odd", shape: [2, 2], data: bits }] });
    await saved(path, stateAfter(2), state);
    const found = await reopened(path);
    expect(found).toEqual(state);
    const [odd] = found?.states ?? [];
    expect(new Uint32Array(odd?.data.buffer ?? new ArrayBuffer(0))).toEqual(new Uint32Array(bits.buffer));
    const before = await Promise.all(PAIRS.map((name) => readFile(join(path, name))));
    await saved(path, found ?? stateAfter(0));
    expect(await Promise.all(PAIRS.map((name) => readFile(join(path, name))))).toEqual(before);
    expect(await shown(path)).toEqual(PAIRS);
  });

  it("keeps the best one while later ones replace the last, without the optimiser's arrays", async () => {
    const path = await freshFolder();
    await saved(path, stateAfter(1));
    {
      await using folder = await CheckpointFolder.open(files, path, run);
      await folder.save(stateAfter(2));
      // Read by another process while one trains.
      expect((await loadCheckpoint(files, path, "last")).state).toEqual(stateAfter(2));
    }
    const best = await loadCheckpoint(files, path, "best");
    expect(best.run).toEqual(run);
    const { optimiser, ...rest } = stateAfter(1);
    expect(best.state).toEqual({ ...rest, optimiser: { ...optimiser, arrays: [] } });
  });

  it("has its arrays under their own names, the optimiser's under its", async () => {
    const path = await freshFolder();
    await saved(path, stateAfter(1));
    const { tensors, verified } = decodeSafetensors(await readFile(join(path, "last.safetensors")), "last");
    expect([...tensors.keys()].sort()).toEqual([
      "layers.0.bias",
      "layers.0.weights",
      "layers.1.mean",
      "optimiser/layers.0.bias",
      "optimiser/layers.0.weights.first",
    ]);
    expect(verified).toBe(true);
  });

  it("keeps scores that JSON has no word for", async () => {
    const path = await freshFolder();
    const scores = { loss: Number.NaN, count: 0 };
    const [epoch] = stateAfter(1).history;
    if (epoch === undefined) throw new Error("one epoch has a record");
    const state = stateAfter(1, { history: [{ ...epoch, test: scores, examplesPerSecond: Infinity }] });
    await saved(path, state);
    expect(await reopened(path)).toEqual(state);
  });

  it("of another run is refused line by line, of another patch release or order of keys it is not", async () => {
    const path = await freshFolder();
    await saved(path, stateAfter(1));
    const { seed: number, ...others } = run;
    expect(await reopened(path, { seed: number ?? null, ...others })).toBeDefined();
    await expect(reopened(path, { ...run, arch: { layers: [{ layer: "conv", channels: 48 }] }, seed: 8 }))
      .rejects //
      .toMatchObject({
        code: "E_MISMATCH",
        details: {
          differences: [
            "arch.layers[0].channels: 32 -> 48",
            'arch.layers[1]: {"layer":"relu"} -> (absent)',
            "seed: 7 -> 8",
          ],
        },
      });
    expect(await reopened(path)).toEqual(stateAfter(1));
  });

  it("is made by one process at a time", async () => {
    const path = await freshFolder();
    const folder = await CheckpointFolder.open(files, path, run);
    await expect(CheckpointFolder.open(files, path, run)).rejects.toMatchObject({ code: "E_LOCKED" });
    await folder.close();
    await expect(folder.save(stateAfter(1))).rejects.toMatchObject({ code: "E_CLOSED" });
    expect(await shown(path)).toEqual([]);
  });

  it("goes into a model of its own architecture, and is refused by another one's with file and tensors", async () => {
    const path = await freshFolder();
    await saved(path, stateAfter(1));
    const checkpoint = await loadCheckpoint(files, path, "best");
    await using engine = await wasmEngine();
    const zeros = (name: string, shape: readonly number[]) => ({
      name,
      tensor: tensor(engine, new Float32Array(sizeOf(shape)), shape),
    });
    const bias = zeros("layers.0.bias", [5]);
    const states = [zeros("layers.1.mean", [5])];
    restoreCheckpoint(checkpoint, { parameters: [zeros("layers.0.weights", [5, 3, 1, 2]), bias], states });
    expect(await bias.tensor.read()).toEqual(checkpoint.state.parameters[1]?.data);
    const other = { parameters: [zeros("layers.0.weights", [5, 3, 3, 3]), bias], states: [] };
    expect(() => restoreCheckpoint(checkpoint, other)).toThrow(
      expect.objectContaining({
        code: "E_CONFIG",
        message: expect.stringMatching(
          /best\.json: [^]*layers\.0\.weights is \[5, 3, 1, 2\][^]*layers\.1\.mean/,
        ) as string,
      }) as Error,
    );
  });

  it("that is not there is named", async () => {
    const path = await freshFolder();
    await expect(loadCheckpoint(files, path, "best")).rejects.toMatchObject({
      code: "E_DATA",
      message: expect.stringMatching(/no best\.json/) as string,
    });
  });
});

describe("a damaged checkpoint", () => {
  const flip = async (path: string, at: number) => {
    const bytes = await readFile(path);
    const place = at < 0 ? bytes.length + at : at;
    bytes[place] = (bytes[place] ?? 0) ^ 1;
    await writeFile(path, bytes);
  };
  it.each<[string, (path: string) => Promise<void>, RegExp]>([
    ["cut arrays", (path) => truncate(join(path, "last.safetensors"), 200), /has 200 bytes, and \d+ are expected/],
    ["half-written JSON", (path) => truncate(join(path, "last.json"), 100), /last\.json is damaged or no checkpoint/],
    ["a wrong bit in a weight", (path) => flip(join(path, "last.safetensors"), -1), /payload has the CRC-32C/],
    [
      "a wrong bit in the arrays' header",
      (path) => flip(join(path, "last.safetensors"), 12),
      /last\.safetensors is dam/,
    ],
    ["a wrong digit in the JSON", misstep, /last\.json is damaged or no checkpoint: its checksum is wrong/],
    ["no arrays", (path) => rm(join(path, "last.safetensors")), /last\.safetensors is damaged: it is missing/],
    ["no JSON", (path) => rm(join(path, "last.json")), /has no last\.json beside it/],
    ["arrays of another time", (path) => swap(path), /not the one that last\.json was written with/],
  ])("with %s is refused with its file and what to do", async (_, damage, message) => {
    const path = await freshFolder();
    await saved(path, stateAfter(1));
    await damage(path);
    await expect(reopened(path)).rejects.toMatchObject({
      code: "E_CORRUPT",
      message: expect.stringMatching(message) as string,
    });
    await expect(reopened(path)).rejects.toThrow(/put (that )?back/);
  });

  async function misstep(path: string): Promise<void> {
    const text = await readFile(join(path, "last.json"), "utf8");
    await writeFile(join(path, "last.json"), text.replace('"step": 13', '"step": 14'));
  }

  async function swap(path: string): Promise<void> {
    const other = await freshFolder();
    await saved(other, stateAfter(1, { step: 99, states: [{ name: "other", shape: [5], data: new Float32Array(5) }] }));
    await writeFile(join(path, "last.safetensors"), await readFile(join(other, "last.safetensors")));
  }
});

describe("a run that ends in the middle of saving", () => {
  /** The same files, until `operations` changes have been made: the process is gone, and nothing more happens. */
  function mortal(operations: number): Files {
    let left = operations;
    const living = async <T>(operation: () => Promise<T>): Promise<T> => {
      if (left-- <= 0) throw new Error("the process is gone");
      return operation();
    };
    return {
      ...files,
      create: (path) =>
        living(async () => {
          const file = await files.create(path);
          return {
            write: (bytes) => living(() => file.write(bytes)),
            sync: () => living(() => file.sync()),
            close: () => file.close(),
          };
        }),
      rename: (from, to) => living(() => files.rename(from, to)),
      remove: (path) => living(() => files.remove(path)),
    };
  }

  it("leaves the old checkpoint or the new one, whatever its last operation was", async () => {
    const outcomes = new Set<number>();
    for (let operations = 0; ; operations++) {
      const path = await freshFolder();
      await saved(path, stateAfter(1));
      // The lock is taken with other files: a dead process's one is taken over, which lock tests see to.
      const open = mortal(Infinity);
      const folder = await CheckpointFolder.open(open, path, run);
      Object.assign(open, mortal(operations));
      const survived = await folder.save(stateAfter(2), { best: true }).then(
        () => true,
        () => false,
      );
      Object.assign(open, files);
      await folder.close();
      const [last, best] = [await loadCheckpoint(files, path, "last"), await loadCheckpoint(files, path, "best")];
      expect(last.state).toEqual(stateAfter(last.state.epoch));
      // The best one is written first: what it names is never ahead of its arrays.
      expect(best.state.epoch).toBeGreaterThanOrEqual(last.state.best?.epoch ?? 0);
      expect(best.state.parameters).toEqual(stateAfter(best.state.epoch).parameters);
      expect(await reopened(path)).toEqual(last.state);
      await saved(path, stateAfter(3));
      expect(await reopened(path)).toEqual(stateAfter(3));
      const left = (await shown(path)).filter((name) => !name.endsWith(".tmp"));
      expect(left).toEqual(PAIRS);
      outcomes.add(last.state.epoch);
      if (survived) break;
    }
    expect([...outcomes]).toEqual([1, 2]);
  });

  it("because the disk is full leaves the last good checkpoint, no litter, and can save when there is room again", async () => {
    const path = await freshFolder();
    const disk = diskOf(files);
    await using folder = await CheckpointFolder.open(disk.files, path, run);
    await folder.save(stateAfter(1), { best: true });
    let good = 1;
    for (let operations = 0, failed = true; failed; operations++) {
      disk.fullAt = disk.operations + operations;
      failed = await folder.save(stateAfter(good + 1), { best: true }).then(
        () => false,
        (error: unknown) => {
          expect(error).toMatchObject({ code: "E_IO", message: expect.stringMatching(/the disk is full/) as string });
          return true;
        },
      );
      if (!failed) good++;
      expect((await loadCheckpoint(files, path, "last")).state).toEqual(stateAfter(good));
      expect((await shown(path)).filter((name) => name !== ".run.lock")).toEqual(PAIRS);
    }
    disk.fullAt = Infinity;
    await folder.save(stateAfter(9));
    expect((await loadCheckpoint(files, path, "last")).state).toEqual(stateAfter(9));
  });

  it("goes on after a rename whose failure was only reported", async () => {
    const path = await freshFolder();
    const lying: Files = { ...files };
    await using folder = await CheckpointFolder.open(lying, path, run);
    await folder.save(stateAfter(1));
    for (const file of ["last.json", "last.safetensors"]) {
      lying.rename = async (from, to) => {
        await files.rename(from, to);
        if (to.endsWith(file)) throw new Error("stale handle");
      };
      await expect(folder.save(stateAfter(2))).rejects.toThrow("stale handle");
      expect((await loadCheckpoint(files, path, "last")).state).toEqual(stateAfter(2));
      lying.rename = files.rename.bind(files);
      await folder.save(stateAfter(3));
      expect((await loadCheckpoint(files, path, "last")).state).toEqual(stateAfter(3));
    }
  });
});
