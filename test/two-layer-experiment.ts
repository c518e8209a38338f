/** A convergence experiment whose law is known, for tests: two-layer networks, drawn by plain loops. */
import { dense, flatten, relu, serial } from "../sdk/arch/arch.ts";
import { fromArrays } from "../sdk/data/dataset.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { RandomStream } from "../sdk/engine/rng.ts";
import type { ConvergeExperiment } from "../sdk/experiments/converge.ts";
import type { Files } from "../sdk/platform/files.ts";
import { drawTwoLayer, twoLayerTheory, type TwoLayer } from "./reference/two-layer.ts";

const features = 5;
export const inputs = 6;
const images = new RandomStream(5, "inputs").fillNormal(new Float32Array(2 * inputs * features));
export const dataset = fromArrays({
  shape: { channels: 1, height: 1, width: features },
  images,
  labels: new Int32Array(2 * inputs),
  trainCount: inputs + 3,
});
export const two: TwoLayer = {
  features,
  inputs: images.subarray(0, inputs * features),
  weightVariance: 1.7,
  biasVariance: 0.3,
  readoutVariance: 2,
};
export const arch = serial(
  flatten(),
  dense({ weightVariance: two.weightVariance, biasVariance: two.biasVariance }),
  relu(),
  dense({ weightVariance: two.readoutVariance }),
);
export const theory = twoLayerTheory(two);

/** 300 draws of networks of 2 and of 16 channels, unless `changes` says otherwise. */
export function twoLayerExperiment(
  engine: Engine,
  files: Files,
  path: string,
  changes: Partial<ConvergeExperiment> = {},
): ConvergeExperiment {
  return {
    engine,
    arch,
    dataset,
    inputs,
    channels: [2, 16],
    samples: 300,
    folder: { files, path },
    sampler: async (width) => ({
      draw: async (draw) => Float32Array.from(drawTwoLayer(two, width, 0, draw)),
      dispose: () => undefined,
    }),
    ...changes,
  };
}
