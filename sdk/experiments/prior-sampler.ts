/** Finite networks of an architecture, drawn from the prior, as the convergence experiment asks for them. */
import type { Arch } from "../arch/arch.ts";
import { shapeOf, type ImageSet } from "../arch/image-set.ts";
import { network } from "../arch/network.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import type { PriorSampler } from "./converge.ts";

/**
 * Networks with one output each; number i is drawn from the engine's seed and i. The inputs are checked here and must
 * not change. `memoryBytes`: what weights and activations may take.
 *
 * Throws what `network` throws, and E_CONFIG where the last layer gives more than one number.
 */
export function priorSampler(
  engine: Engine,
  arch: Arch,
  channels: number,
  inputs: ImageSet,
  memoryBytes?: number,
): PriorSampler {
  const finite = network(engine, arch, { input: shapeOf(inputs.shape), channels, outputs: 1, memoryBytes });
  try {
    if (finite.outputs !== 1) {
      throw new WidefieldError(
        "E_CONFIG",
        `the network has ${finite.outputs} outputs for each input, and converge needs one: remove the last layer's own ` +
          `\`units\` or \`channels\`, or put flatten and dense behind a map`,
        { details: { outputs: finite.outputs } },
      );
    }
    const checked = finite.inputs(inputs);
    return {
      draw: (draw) => {
        finite.resample(draw);
        return finite.forward(checked);
      },
      dispose: () => finite.dispose(),
    };
  } catch (thrown) {
    finite.dispose();
    throw thrown;
  }
}
