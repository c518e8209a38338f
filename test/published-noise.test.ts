/** The published noise on MNIST itself, where it is there: against NumPy 2.4 and SciPy 1.17. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readFileFromDisk } from "../sdk/data/files.ts";
import { openProblem } from "../sdk/data/problems.ts";
import { worstDifference } from "../sdk/data/transforms/testing.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { wasmEngine } from "./engines.ts";
import { hasMnist, mnistFolder } from "./golden-files.ts";

describe.runIf(hasMnist)("MNIST with the published generator's noise", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await wasmEngine();
  });
  afterAll(async () => engine.close());

  const PIXELS = [0, 100, 400, 783];
  const ranges = "1:2,60002:60003";

  async function pixels(name: string, level: number): Promise<number[]> {
    const options = { engine, dataDir: mnistFolder, readFile: readFileFromDisk, level, rng: "numpy", ranges } as const;
    const { images } = (await openProblem(name, options)).dataset.selectFloat64(ranges);
    return [0, 1].flatMap((row) => PIXELS.map((at) => images[row * 784 + at] ?? NaN));
  }

  it("has NumPy's pixels, of a training and of a test image, in high frequencies", async () => {
    const numpy = [
      ...[-0.7053177508268298, -0.28470659648617097, 0.8545773982471335, -1.5829565664526692],
      ...[-0.21265703496971872, 0.47588948542844456, 1.3196506276826796, -1.3873054389687558],
    ];
    expect(worstDifference(await pixels("mnist-hf", 7), numpy)).toBeLessThan(1e-12);
  });

  it("has NumPy's pixels, of a training and of a test image, in low frequencies", async () => {
    const numpy = [
      ...[-0.511611796396713, -0.8830300095651192, 0.7810282032152909, -0.36581699670008483],
      ...[-0.426213697245552, 0.12735480641112046, 0.3323286535639673, -0.5491263641433535],
    ];
    // MNIST's covariance is singular: roots of its zero eigenvalues are 1e-8 of the largest on either side.
    expect(worstDifference(await pixels("mnist-lf", 3), numpy)).toBeLessThan(1e-6);
  });
});
