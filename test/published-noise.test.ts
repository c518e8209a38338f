/** The published generator's noise on images of MNIST, where they are there: against NumPy 2.4 and SciPy 1.17. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Dataset, fromArrays } from "../sdk/data/dataset.ts";
import { readFileFromDisk } from "../sdk/data/files.ts";
import { loadDataset } from "../sdk/data/registry.ts";
import { highFrequencyNoise } from "../sdk/data/transforms/high-frequency.ts";
import { lowFrequencyNoise } from "../sdk/data/transforms/low-frequency.ts";
import { worstDifference } from "../sdk/data/transforms/testing.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { wasmEngine } from "./engines.ts";
import { hasMnist, mnistFolder } from "./golden-files.ts";

const RANGES = "1:2,2002:2003";

/** Four pixels of a training and of a test image. */
function pixels(dataset: Dataset): number[] {
  const { images } = dataset.selectFloat64(RANGES);
  return [0, 1].flatMap((row) => [0, 100, 400, 783].map((at) => images[row * 784 + at] ?? NaN));
}

describe.runIf(hasMnist)("2,000 training and 3 test images of MNIST with NumPy's noise", () => {
  let engine: Engine;
  let source: Dataset;
  beforeAll(async () => {
    engine = await wasmEngine();
    const mnist = await loadDataset("mnist", { dataDir: mnistFolder, readFile: readFileFromDisk });
    const { images, labels, shape } = mnist.select("0:2000,60000:60003");
    source = fromArrays({
      shape,
      images: Uint8Array.from(images, (value) => Math.round(255 * value)),
      labels,
      trainCount: 2000,
    });
  });
  afterAll(async () => engine.close());

  it("have SciPy's pixels with high-frequency noise", async () => {
    const noisy = await highFrequencyNoise(source, { multiplier: 1.5, rng: "numpy", ranges: RANGES });
    const numpy = [
      ...[-0.7053177508268298, -0.28470659648617097, 0.8545773982471335, -1.5829565664526692],
      ...[1.1835254611209047, -0.6636109986437468, -0.36352772823260504, -0.5922499527105702],
    ];
    expect(worstDifference(pixels(noisy), numpy)).toBeLessThan(1e-12);
  });

  it("have SciPy's pixels with low-frequency noise", async () => {
    const noisy = await lowFrequencyNoise(engine, source, { threshold: 7, rng: "numpy", ranges: RANGES });
    const numpy = [
      ...[-0.5608090554150452, -0.9652343865332941, 0.8274010433883545, -0.38003503691431273],
      ...[-0.40038235350733525, -0.3123194911123779, 2.0561922664758123, -0.6284997750738432],
    ];
    // The covariance is singular: roots of its zero eigenvalues are 1e-8 of the largest on either side.
    expect(worstDifference(pixels(noisy), numpy)).toBeLessThan(1e-6);
  });
});
