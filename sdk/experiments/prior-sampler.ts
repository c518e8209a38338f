/** Finite networks of an architecture, drawn from the prior, as the convergence experiment asks for them. */
import type { Arch } from "../arch/arch.ts";
import { shapeOf, type ImageSet } from "../arch/kernel.ts";
import { network } from "../arch/network.ts";
import type { Engine } from "../engine/engine.ts";
import type { PriorSampler } from "./converge.ts";

/** Networks with one output each; number i is drawn from the engine's seed and i. Throws what `network` throws. */
export function priorSampler(engine: Engine, arch: Arch, channels: number, inputs: ImageSet): PriorSampler {
  const finite = network(engine, arch, { input: shapeOf(inputs.shape), channels, outputs: 1 });
  return {
    draw: (draw) => {
      finite.resample(draw);
      return finite.forward(inputs);
    },
    dispose: () => finite.dispose(),
  };
}
