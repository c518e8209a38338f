import { appendFile, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { diskOf } from "../../test/full-disk.ts";
import { freshSeed } from "../../test/seed.ts";
import { nodeFiles } from "../platform/files.node.ts";
import type { Files } from "../platform/files.ts";
import { MetricsLog, readMetrics, type StepMetrics } from "./metrics-log.ts";
import type { EpochRecord } from "./training-state.ts";

const seed = freshSeed();
const files = await nodeFiles();

async function freshPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "widefield-metrics-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "metrics.jsonl");
}

const BATCHES = 3;
const epochOf = (epoch: number): EpochRecord => ({
  ...{ epoch, step: BATCHES * epoch, rate: 1e-3 / epoch },
  training: { count: 96, loss: 2 / epoch, accuracy: 1 - 1 / (epoch + 1) },
  validation: { loss: Number.NaN, count: 0 },
  ...{ seconds: 1.5, examplesPerSecond: 64 },
});
const stepOf = (step: number): StepMetrics => ({
  ...{ epoch: Math.ceil(step / BATCHES), step, rate: 1e-3, loss: 3 / step },
});

/** Trains from epoch `from` until `lines` lines are written, or to the end of epoch `to`. */
async function logged(path: string, from: number, to: number, lines = Infinity, on: Files = files): Promise<void> {
  const history = Array.from({ length: from }, (_, index) => epochOf(index + 1));
  await using log = await MetricsLog.open(on, path, history);
  let left = lines;
  for (let epoch = from + 1; epoch <= to; epoch++) {
    for (let batch = 1; batch <= BATCHES && left > 0; batch++, left--)
      await log.step(stepOf(BATCHES * (epoch - 1) + batch));
    if (left-- <= 0) return;
    await log.epoch(epochOf(epoch));
  }
}

describe("a log of metrics", () => {
  it("gives back every epoch and step", async () => {
    const path = await freshPath();
    await logged(path, 0, 2);
    const { epochs, steps } = await readMetrics(files, path);
    expect(epochs).toEqual([epochOf(1), epochOf(2)]);
    expect(steps).toEqual([1, 2, 3, 4, 5, 6].map(stepOf));
    const [first] = (await readFile(path, "utf8")).split("\n");
    expect(first).toBe('{"kind":"step","epoch":1,"step":1,"rate":0.001,"loss":3}');
  });

  it("becomes that of a run that was never stopped, wherever it was cut and whichever checkpoint is gone on from", async () => {
    const [path, whole] = [await freshPath(), await freshPath()];
    await logged(whole, 0, 4);
    const expected = await readFile(whole, "utf8");
    const property = fc.asyncProperty(fc.nat(3), fc.nat(20), fc.nat(90), async (checkpoint, lines, cut) => {
      await rm(path, { force: true });
      // A checkpoint may be written just before its epoch's line: then the line is lost, or cut. Those before it are there.
      const least = (BATCHES + 1) * checkpoint - 1;
      await logged(path, 0, 4, Math.max(lines, least));
      const bytes = (await readFile(path)).length;
      const lastLine = (await readFile(path, "utf8")).trimEnd().split("\n").at(-1)?.length ?? 0;
      await truncate(path, bytes - (lines > least ? Math.min(cut, lastLine) : 0));
      await logged(path, checkpoint, 4);
      expect(await readFile(path, "utf8")).toBe(expected);
    });
    await fc.assert(property, { seed, numRuns: 20 });
  });

  it("that is being written is read up to its last whole line", async () => {
    const path = await freshPath();
    await logged(path, 0, 1);
    await appendFile(path, '{"kind":"epoch","epo');
    expect((await readMetrics(files, path)).epochs).toEqual([epochOf(1)]);
  });

  it("with a line that is none is refused with its number, and one that is not there with its name", async () => {
    const path = await freshPath();
    await writeFile(path, '{"kind":"step","epoch":1,"step":1,"rate":1,"loss":1}\nnothing\n');
    const expected = { code: "E_CORRUPT", message: expect.stringMatching(/metrics\.jsonl, line 2, is no/) as string };
    await expect(readMetrics(files, path)).rejects.toMatchObject(expected);
    await expect(MetricsLog.open(files, path)).rejects.toMatchObject(expected);
    await expect(readMetrics(files, `${path}.none`)).rejects.toMatchObject({ code: "E_DATA" });
  });

  it("goes on behind its last whole line when a full disk has room again", async () => {
    const path = await freshPath();
    const disk = diskOf(files);
    const torn: Files = {
      ...disk.files,
      openScratch: async (name) => {
        const [file, raw] = [await disk.files.openScratch(name), await files.openScratch(name)];
        return {
          ...file,
          // Half of it fits.
          write: async (bytes, position) => {
            await raw.write(bytes.subarray(0, bytes.length >> 1), position);
            await file.write(bytes, position);
          },
          close: async () => {
            await raw.close();
            await file.close();
          },
        };
      },
    };
    await using log = await MetricsLog.open(torn, path);
    await log.epoch(epochOf(1));
    disk.fullAt = disk.operations;
    await expect(log.epoch(epochOf(2))).rejects.toMatchObject({ code: "E_IO" });
    disk.fullAt = Infinity;
    await log.step(stepOf(4));
    const { epochs, steps } = await readMetrics(files, path);
    expect([epochs, steps]).toEqual([[epochOf(1)], [stepOf(4)]]);
    await log.close();
    await expect(log.step(stepOf(5))).rejects.toMatchObject({ code: "E_CLOSED" });
  });
});
