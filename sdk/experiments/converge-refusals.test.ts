/** What the convergence experiment refuses, when, and what is left on disk then. */
import { readdir, readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, wasmEngine } from "../../test/engines.ts";
import { contentOf, freshFolder } from "../../test/kernel-job-fixtures.ts";
import { arch, inputs, twoLayerExperiment } from "../../test/two-layer-experiment.ts";
import { dense, flatten, identity, relu, serial, sum } from "../arch/arch.ts";
import type { Engine } from "../engine/engine.ts";
import { nodeFiles } from "../platform/files.node.ts";
import type { Files } from "../platform/files.ts";
import { runConverge, type ConvergeExperiment } from "./converge.ts";
import { priorSampler } from "./prior-sampler.ts";

let engine: Engine;
let files: Files;
beforeAll(async () => {
  engine = await wasmEngine();
  files = await nodeFiles();
});
afterAll(() => engine.close());

const experiment = (path: string, changes: Partial<ConvergeExperiment> = {}): ConvergeExperiment =>
  twoLayerExperiment(engine, files, path, changes);

describe("what cannot be asked", () => {
  it.each<[string, Partial<ConvergeExperiment>, string, RegExp]>([
    ["no channels", { channels: [] }, "E_CONFIG", /at least one width/],
    ["0 channels", { channels: [3, 0] }, "E_CONFIG", /at least 1 channel, not 0/],
    ["half a channel", { channels: [0.5] }, "E_CONFIG", /not 0\.5/],
    ["a width twice", { channels: [3, 5, 3] }, "E_CONFIG", /3 is listed twice/],
    ["no samples", { samples: 0 }, "E_CONFIG", /at least 2 draws, not 0/],
    ["one sample", { samples: 1 }, "E_CONFIG", /at least 2 draws, not 1/],
    ["no inputs", { inputs: 0 }, "E_CONFIG", /at least 1 image, not 0/],
    ["test images", { inputs: inputs + 4 }, "E_RANGE", /arrays has 9, not 10/],
    ["more channels than numbers count", { channels: [1e20] }, "E_CONFIG", /100000000000000000000 is too large/],
    ["an input that is not there", { show: inputs }, "E_RANGE", /the inputs are 0 to 5/],
  ])("%s", async (_, changes, code, message) => {
    const path = await freshFolder();
    await expect(runConverge(experiment(path, changes))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    expect((await contentOf(path)).size).toBe(0);
  });

  /** The engine's own networks. */
  const own = (asked: Partial<ConvergeExperiment> & Pick<ConvergeExperiment, "arch">): Partial<ConvergeExperiment> => ({
    sampler: async (width, X, memoryBytes) => priorSampler(asked.engine ?? engine, asked.arch, width, X, memoryBytes),
    ...asked,
  });

  it.each<[string, () => Partial<ConvergeExperiment>, string, RegExp]>([
    [
      "a read-out of a width of its own",
      () => own({ arch: serial(flatten(), dense(), relu(), dense({ units: 10 })) }),
      "E_CONFIG",
      /has 10 outputs for each input, and converge needs one: remove the last layer's own `units`/,
    ],
    [
      "branches whose channels differ",
      () => own({ arch: serial(flatten(), dense(), sum(identity(), dense({ units: 7 })), dense()) }),
      "E_SHAPE",
      /gives 2 features, and .* gives 7 features/,
    ],
    ["a width that is too large, behind others", () => own({ arch, channels: [2, 2 ** 40] }), "E_MEMORY", /channels/],
    [
      "too many inputs for the memory",
      () => own({ arch, engine: engineOf(engine.backend, 1500) }),
      "E_MEMORY",
      /budget is 1500; the outputs of 300 .*fewer samples/,
    ],
    [
      "too many samples for the memory",
      () => own({ arch, samples: 2, engine: engineOf(engine.backend, 1100) }),
      "E_MEMORY",
      /budget is 1100; the covariances of 6 inputs take 1152: take fewer inputs/,
    ],
  ])("%s, before a folder is made", async (_, changes, code, message) => {
    const path = `${await freshFolder()}/out`;
    const before = engine.backend.stats();
    await expect(runConverge(experiment(path, changes()))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    await expect(readdir(path)).rejects.toMatchObject({ code: "ENOENT" });
    await engine.backend.finish();
    expect(engine.backend.stats()).toMatchObject({ slots: before.slots });
  });

  it("an output that is not finite, named with its network, and the draws before it are kept", async () => {
    const path = await freshFolder();
    const sampler: ConvergeExperiment["sampler"] = async () => ({
      draw: async (draw) => new Float32Array(inputs).fill(draw === 31 ? Infinity : 1),
      dispose: () => undefined,
    });
    await expect(runConverge(experiment(path, { sampler }))).rejects.toMatchObject({
      code: "E_OVERFLOW",
      message: expect.stringMatching(/network 31 of 2 channels: the output for input 0 is Infinity/) as string,
    });
    const state = await readFile(`${path}/width-2.state`);
    expect(state.subarray(0, state.indexOf(10)).toString()).toContain('"draws":31,');
  });
});
