/** Architectures that papers published, by name. */
import { WidefieldError } from "../errors.ts";
import { conv, dense, flatten, relu, serial, type Arch } from "./arch.ts";

const presets: Readonly<Record<string, () => Arch>> = {
  /** The ConvNet GP for MNIST of Garriga-Alonso et al. 2019, table 1: seven 7x7 layers, hyperparameters by random search. */
  "convnet-gp": () => {
    const weightVariance = 2.79;
    const biasVariance = 7.86;
    const layers = Array.from({ length: 7 }, () => [
      conv({ filter: 7, padding: "same", weightVariance: weightVariance * 49, biasVariance }),
      relu(),
    ]);
    return serial(...layers.flat(), flatten(), dense({ weightVariance, biasVariance }));
  },
};

export const presetNames: readonly string[] = Object.keys(presets);

/** Throws E_CONFIG for a name that is not a preset. */
export function preset(name: string): Arch {
  const make = Object.hasOwn(presets, name) ? presets[name] : undefined;
  if (make !== undefined) return make();
  throw new WidefieldError(
    "E_CONFIG",
    `there is no preset "${name}"; presets are ${presetNames.join(", ")} (or give a JSON file)`,
  );
}
